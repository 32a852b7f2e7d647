//! Another language: a Python program that knows an address and nothing else, by reflection; and gRPC
//! libraries of others, which find in errors, compression and health what they know from everywhere.
//!
//! Python with its `venv` module must be there (`script/test` installs it), and its packages come
//! from PyPI. Where they can't be had the test fails and says so.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use crate::support::cluster::Cluster;

/// For the installation of the packages.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(120);
/// With those of the program, for both tests: one environment.
const REQUIREMENTS: &str = concat!(
    include_str!("python/requirements.txt"),
    include_str!("python/requirements-libraries.txt"),
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_program_needs_only_an_address_and_libraries_show_what_was_refused() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/python");
    let python = python(&here.join("requirements-libraries.txt")).await;
    let cluster = Cluster::start().await;
    // In the other city, which leads nothing.
    let node = cluster.address(5);
    for program in ["quintet.py", "libraries.py"] {
        let mut command = Command::new(&python);
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(here.join(program)).arg(node);
        let said = run(&mut command, PROGRAM_TIMEOUT).await;
        let said = said.unwrap_or_else(|why| panic!("{program} failed: {why}"));
        assert!(said.ends_with("all done\n"), "{program}: {said}");
    }
    // Not by its own word alone.
    let client = cluster.client().await;
    let greeting = client.get("python/greeting").await.expect("read").expect("written");
    assert_eq!(&greeting.value[..], b"hello again");
    let visits = client.get("python/visits").await.expect("read").expect("written");
    assert_eq!(&visits.value[..], b"3");
    assert!(client.get("python/brief").await.expect("read").is_none());
}

/// The interpreter of a virtual environment with the packages; made once a target directory and
/// list of packages.
async fn python(requirements: &Path) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = REQUIREMENTS.split_whitespace().collect::<Vec<_>>().join("-").replace("==", "-");
    let finished = cache.join(format!("python-{name}"));
    let interpreter = finished.join("bin/python");
    if interpreter.exists() {
        return interpreter;
    }
    // Made apart and put there in one step: another test run may do the same.
    let making = cache.join(format!("python-making-{}", std::process::id()));
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&making);
    if let Err(why) = run(&mut create, INSTALL_TIMEOUT).await {
        fs::remove_dir_all(&making).ok();
        panic!(
            "no virtual environment: install python3-venv (apt-get install python3-venv): {why}"
        );
    }
    let mut install = Command::new(making.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    if let Err(why) = run(install.arg(requirements), INSTALL_TIMEOUT).await {
        fs::remove_dir_all(&making).ok();
        panic!("the packages of {} can't be had from PyPI: {why}", requirements.display());
    }
    if fs::rename(&making, &finished).is_err() {
        fs::remove_dir_all(&making).ok();
    }
    assert!(interpreter.exists(), "no {}", interpreter.display());
    interpreter
}

/// Runs a command to its end; what it printed.
async fn run(command: &mut Command, timeout: Duration) -> Result<String, String> {
    let running = command.kill_on_drop(true).output();
    let ended = tokio::time::timeout(timeout, running).await;
    let ended = ended.map_err(|_| format!("not done within {timeout:?}"))?;
    let output = ended.map_err(|error| error.to_string())?;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        Ok(out.into_owned())
    } else {
        Err(format!("{}\n{out}{err}", output.status))
    }
}
