//! A watch channel whose wake-ups come in a fixed order.
//!
//! Tokio's spreads its waiters by a random number of its own, outside the simulation's generator. Here
//! wakers are kept in a list in the order of registration: the order of wake-ups depends on nothing
//! else. It is used in production too, so that the simulation tests what runs.

use std::{
    future::poll_fn,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use openraft::{OptionalSend, OptionalSync};
use openraft_rt::watch::{self, RecvError, SendError};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// The watch channels of [`super::runtime::Runtime`].
#[derive(Debug)]
pub struct Watch;

/// A value and who waits for the next one.
struct Cell<T> {
    value: RwLock<(u64, T)>,
    waiters: Mutex<Waiters>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

#[derive(Default)]
struct Waiters {
    next: u64,
    /// In the order of registration.
    wakers: Vec<(u64, Waker)>,
}

impl<T> Cell<T> {
    fn wake(&self) {
        let wakers = std::mem::take(&mut self.waiters.lock().wakers);
        for (_, waker) in wakers {
            waker.wake();
        }
    }
}

/// Sets the value.
pub struct Sender<T>(Arc<Cell<T>>);

/// Sees the newest value, and learns when it changes.
pub struct Receiver<T> {
    cell: Arc<Cell<T>>,
    seen: u64,
}

/// The value, locked for reading.
pub struct Ref<'a, T>(RwLockReadGuard<'a, (u64, T)>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.wake();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.cell.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver { cell: self.cell.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.cell.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl watch::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let cell = Arc::new(Cell {
            value: RwLock::new((0, init)),
            waiters: Mutex::new(Waiters::default()),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        });
        (Sender(cell.clone()), Receiver { cell, seen: 0 })
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(SendError(value));
        }
        {
            let mut slot = self.0.value.write();
            slot.0 += 1;
            slot.1 = value;
        }
        self.0.wake();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        {
            let mut slot = self.0.value.write();
            if !modify(&mut slot.1) {
                return false;
            }
            slot.0 += 1;
        }
        self.0.wake();
        true
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.0.value.read())
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, Ordering::AcqRel);
        let seen = self.0.value.read().0;
        Receiver { cell: self.0.clone(), seen }
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        let mut registration = Registration { cell: &self.cell, id: None };
        let seen = self.seen;
        let now = poll_fn(|context| {
            // Registered before the check, so that no change falls between the two.
            registration.register(context.waker());
            let version = self.cell.value.read().0;
            if version != seen {
                return Poll::Ready(Ok(version));
            }
            if self.cell.senders.load(Ordering::Acquire) == 0 {
                return Poll::Ready(Err(RecvError(())));
            }
            Poll::Pending
        })
        .await?;
        drop(registration);
        self.seen = now;
        Ok(())
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.cell.value.read())
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let slot = self.cell.value.read();
        self.seen = slot.0;
        Ref(slot)
    }
}

/// Takes its waker out when the wait is given up, so that the list stays bounded by the waiters.
struct Registration<'a, T> {
    cell: &'a Cell<T>,
    id: Option<u64>,
}

impl<T> Registration<'_, T> {
    fn register(&mut self, waker: &Waker) {
        let mut waiters = self.cell.waiters.lock();
        if let Some(id) = self.id
            && let Some((_, known)) = waiters.wakers.iter_mut().find(|(other, _)| *other == id)
        {
            known.clone_from(waker);
            return;
        }
        let id = waiters.next;
        waiters.next += 1;
        waiters.wakers.push((id, waker.clone()));
        self.id = Some(id);
    }
}

impl<T> Drop for Registration<'_, T> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.cell.waiters.lock().wakers.retain(|(other, _)| *other != id);
        }
    }
}
