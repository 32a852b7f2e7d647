//! Where a node panicked: the panic's own words say what, this says which node and in which line.
//!
//! madsim catches a panic and hands on its words alone. The hook runs before that, where the task that
//! panicked is still the current one.

use std::{
    cell::{Cell, RefCell},
    panic::{self, PanicHookInfo},
    sync::Once,
};

use crate::cluster;

thread_local! {
    // One run a thread.
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
    static AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// madsim's own files that run outside of any task: asking for the current one there would panic again.
const OUTSIDE_TASKS: [&str; 2] = ["sim/task/mod.rs", "sim/time/"];

/// Runs something and notes where it panics.
pub(super) fn watched<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
    AT.take();
    IS_RUNNING.set(true);
    let ended = panic::catch_unwind(panic::AssertUnwindSafe(run));
    IS_RUNNING.set(false);
    ended
}

/// The last panic of this thread's run in a sentence: who, where and what it said.
pub(super) fn sentence(panic: &(dyn std::any::Any + Send)) -> String {
    let at = AT.take().unwrap_or_else(|| "a node panicked".to_owned());
    format!("{at}: {}", words(panic))
}

fn note(info: &PanicHookInfo<'_>) {
    let Some(place) = info.location().filter(|_| IS_RUNNING.get()) else { return };
    let file = place.file();
    let in_task = !(file.contains("madsim") && OUTSIDE_TASKS.iter().any(|own| file.contains(own)));
    let node = if in_task { cluster::current_node() } else { None };
    let who = node.map_or("the run".to_owned(), |node| node.to_string());
    let said = format!("{who} panicked at {}:{}", shortened(file), place.line());
    // What comes first is the cause of the others.
    AT.with_borrow_mut(|at| {
        at.get_or_insert(said);
    });
}

/// A file of this repository as it is, another one from its crate on.
fn shortened(file: &str) -> &str {
    file.split_once("/registry/src/")
        .and_then(|(_, inside)| inside.split_once('/'))
        .map_or(file, |(_, inside)| inside)
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without words".to_owned())
}
