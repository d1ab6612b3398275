//! `doorbuster serve` as an operator meets it: ready, signals, and refusals that say what to do.
#![cfg(all(feature = "daemon", target_os = "linux"))]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    command.current_dir(folder).env_remove("RUST_LOG").args(arguments);
    command
}

/// A daemon that is ready; killed when the test is over.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    ready: String,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut ready = String::new();
        while !ready.contains("ready:") {
            ready.clear();
            assert!(
                stderr.read_line(&mut ready).unwrap() > 0,
                "ended before it was ready"
            );
        }
        Running { child, stderr, ready }
    }

    fn address(&self) -> String {
        let (_, rest) = self.ready.split_once("listening on ").unwrap();
        rest.split_once(',').unwrap().0.to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    /// The exit code, and what was said after the ready line.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folder: &Path) -> Running {
    Running::start(command(
        folder,
        &["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"],
    ))
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn it_says_when_it_is_ready_and_ends_well_on_sigterm_and_sigint() {
    let folder = folder();
    for signal in [Signal::TERM, Signal::INT] {
        let running = serve(folder.path());
        for part in ["listening on 127.0.0.1:", "data in data", "written by "] {
            assert!(
                running.ready.contains(part),
                "{:?} does not say {part:?}",
                running.ready
            );
        }
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_sale_at_a_running_daemon_is_correct_twice() {
    let folder = folder();
    let running = serve(folder.path());
    for seed in ["1", "2"] {
        let address = running.address();
        let arguments = [
            "--shoppers",
            "200",
            "--units",
            "10",
            "--rate",
            "400",
            "--hold-ms",
            "1000",
        ];
        let all = [
            &["flash-sale", "--bootstrap", &address, "--seed", seed][..],
            &arguments,
        ]
        .concat();
        let output = command(folder.path(), &all).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.ends_with("verdict: correct\n"), "{stdout}");
        assert_eq!(output.status.code(), Some(0));
    }
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn an_address_in_use_is_refused() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(
        folder.path(),
        &["serve", "--listen", &address, "--data-dir", "data"],
    )
    .output()
    .unwrap();
    let said = refused(&output);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn a_data_folder_in_use_is_refused() {
    let folder = folder();
    let running = serve(folder.path());
    let second = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    let said = refused(&command(folder.path(), &second).output().unwrap());
    assert!(said.contains("data") && said.contains("in use"), "{said}");
    drop(running);
}

#[test]
fn a_data_folder_that_cannot_be_made_is_refused() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "not a folder").unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "file/data"];
    let said = refused(&command(folder.path(), &arguments).output().unwrap());
    assert!(said.contains("file/data"), "{said}");
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let folder = folder();
    let running = serve(folder.path());
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let store = folder.path().join("data/store");
    std::fs::write(&store, "garbage").unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    let said = refused(&command(folder.path(), &arguments).output().unwrap());
    assert!(said.contains("data") && said.contains("damaged"), "{said}");
    assert_eq!(std::fs::read(&store).unwrap(), b"garbage");
}

#[test]
fn other_machines_are_kept_out_unless_that_is_intended() {
    let folder = folder();
    let arguments = ["serve", "--listen", "0.0.0.0:0", "--data-dir", "data"];
    let said = refused(&command(folder.path(), &arguments).output().unwrap());
    assert!(
        said.contains("0.0.0.0:0") && said.contains("--insecure"),
        "{said}"
    );
    assert!(!folder.path().join("data").exists());
    let intended = [&arguments[..], &["--insecure"]].concat();
    let running = Running::start(command(folder.path(), &intended));
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_mistake_in_the_configuration_file_is_named_with_file_line_and_key() {
    let folder = folder();
    std::fs::write(
        folder.path().join("shop.toml"),
        "insecure = false\nlisten_adress = \"a:1\"\n",
    )
    .unwrap();
    let said = refused(
        &command(folder.path(), &["serve", "--config", "shop.toml"])
            .output()
            .unwrap(),
    );
    assert!(
        said.contains("shop.toml:2") && said.contains("listen_adress"),
        "{said}"
    );
    let missing = refused(
        &command(folder.path(), &["serve", "--config", "no.toml"])
            .output()
            .unwrap(),
    );
    assert!(missing.contains("no.toml"), "{missing}");
}

#[test]
fn the_environment_wins_over_the_file_and_flags_win_over_both() {
    let folder = folder();
    let text = "listen = \"192.0.2.1:1\"\ndata_dir = \"from-file\"\n";
    std::fs::write(folder.path().join("shop.toml"), text).unwrap();
    let mut command = command(
        folder.path(),
        &["serve", "--config", "shop.toml", "--data-dir", "from-flag"],
    );
    command
        .env("DOORBUSTER_LISTEN", "127.0.0.1:0")
        .env("DOORBUSTER_DATA_DIR", "from-environment");
    let running = Running::start(command);
    assert!(
        running.ready.contains("127.0.0.1:") && running.ready.contains("from-flag"),
        "{}",
        running.ready
    );
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}
