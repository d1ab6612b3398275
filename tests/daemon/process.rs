//! One running daemon: started, waited for, killed, and its last words kept.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest start of a daemon that a test waits for; what is promised is asserted where it is promised.
pub const READY_MAX: Duration = Duration::from_secs(30);

/// Longest time that a daemon may take to end by itself.
const END_MAX: Duration = Duration::from_secs(20);

/// A daemon that is killed when the test ends.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    address: SocketAddr,
    stderr: Receiver<String>,
    lines: Vec<String>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// All that it wrote to standard error.
    pub stderr: String,
    /// From the signal, or from the start, to the end.
    pub took: Duration,
}

/// An address on this machine that nothing listens on.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// The command `doorbuster serve` without any configuration of the environment.
pub fn serve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DOORBUSTER_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").arg("serve");
    command
}

impl Daemon {
    /// A daemon on `folder` that listens on `address` and is ready.
    pub fn start(folder: &Path, address: &str) -> Daemon {
        Daemon::started_by(serve().arg("--listen").arg(address).arg("--data-dir").arg(folder))
    }

    /// A daemon that was started by `command` and is ready.
    pub fn started_by(command: &mut Command) -> Daemon {
        let (child, stderr) = spawn(command);
        let started = Instant::now();
        let mut lines: Vec<String> = Vec::new();
        loop {
            let left = READY_MAX.saturating_sub(started.elapsed());
            match stderr.recv_timeout(left) {
                Ok(line) => {
                    let ready = ready_address(&line);
                    lines.push(line);
                    if let Some(address) = ready {
                        return Daemon {
                            child,
                            address,
                            stderr,
                            lines,
                        };
                    }
                }
                Err(why) => {
                    let mut child = child;
                    let _ = child.kill();
                    panic!("no ready line ({why}), {:?}, said: {lines:#?}", child.wait());
                }
            }
        }
    }

    /// Runs `command` to its end: for daemons that must not start.
    pub fn refused_by(command: &mut Command) -> Ended {
        let started = Instant::now();
        let (child, stderr) = spawn(command);
        wait(child, &stderr, &[], started)
    }

    /// Where the daemon listens, as its ready line says.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where a door listens, by the name that the daemon gives it.
    pub fn door(&mut self, name: &str) -> String {
        let start = format!("doorbuster: {name} door opens on ");
        let said = self.said().iter().find_map(|line| line.strip_prefix(&start));
        said.expect("the daemon names its doors before it is ready")
            .to_owned()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the daemon has said so far.
    pub fn said(&mut self) -> &[String] {
        self.lines.extend(self.stderr.try_iter());
        &self.lines
    }

    /// Ends the daemon without any warning (SIGKILL).
    pub fn kill_nine(mut self) {
        self.child.kill().expect("the daemon runs");
        self.child.wait().expect("the daemon ended");
    }

    /// Lets the daemon stand still while `act` runs.
    pub fn frozen<T>(&self, act: impl FnOnce() -> T) -> T {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).expect("the daemon runs");
        let result = act();
        kill_process(pid, Signal::CONT).expect("the daemon runs");
        result
    }

    /// Asks the daemon to stop, and waits for it.
    pub fn stop(mut self, signal: Signal) -> Ended {
        let asked = Instant::now();
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the daemon runs");
        let lines = std::mem::take(&mut self.lines);
        let ended = wait_for_end(&self.stderr, &lines);
        let status = ended.map(|said| (self.child.wait().expect("the daemon ended"), said));
        let (status, said) =
            status.unwrap_or_else(|| panic!("still runs {END_MAX:?} after {signal:?}: {lines:#?}"));
        ended_with(status, &said, asked)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failing test shows what the daemon said")]
            let () = eprintln!("--- the daemon said:\n{}\n---", self.said().join("\n"));
        }
    }
}

/// The signal of that name, so that tests need not name the crate that sends it.
pub fn signal_named(name: &str) -> Signal {
    match name {
        "SIGTERM" => Signal::TERM,
        "SIGINT" => Signal::INT,
        _ => panic!("{name} is not a signal that tests send"),
    }
}

fn spawn(command: &mut Command) -> (Child, Receiver<String>) {
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.expect("the program starts");
    let stderr = child.stderr.take().expect("standard error is piped");
    let (sender, receiver) = channel();
    // The channel closes with the pipe, and the pipe closes when the process ends.
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    (child, receiver)
}

/// The address in the line that says that the daemon is ready.
fn ready_address(line: &str) -> Option<SocketAddr> {
    if !line.contains("ready") && !line.contains("listening") {
        return None;
    }
    line.split(|c: char| c.is_whitespace() || c == ',' || c == ';')
        .find_map(|word| word.parse().ok())
}

fn wait(mut child: Child, stderr: &Receiver<String>, lines: &[String], since: Instant) -> Ended {
    let Some(said) = wait_for_end(stderr, lines) else {
        let _ = child.kill();
        panic!("still runs after {END_MAX:?}: {lines:#?}");
    };
    ended_with(child.wait().expect("the process ended"), &said, since)
}

/// All lines up to the end of the process; none if it does not end in time.
fn wait_for_end(stderr: &Receiver<String>, lines: &[String]) -> Option<Vec<String>> {
    let deadline = Instant::now() + END_MAX;
    let mut said = lines.to_vec();
    loop {
        match stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => said.push(line),
            Err(RecvTimeoutError::Disconnected) => return Some(said),
            Err(RecvTimeoutError::Timeout) => return None,
        }
    }
}

fn ended_with(status: ExitStatus, said: &[String], since: Instant) -> Ended {
    Ended {
        code: status.code(),
        stderr: said.join("\n"),
        took: since.elapsed(),
    }
}
