//! A peer's processes: started, waited for, looked at and ended.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Longest start and longest end of a server.
const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(60);

/// How often is looked whether a server is there or gone.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Seconds on processors up to one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of the generator; none where it is the server.
    pub client_cpu_seconds: Option<f64>,
    /// Of the server's processes.
    pub server_cpu_seconds: f64,
}

/// A running server, which is killed when it is dropped, and by the kernel when this process dies.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: String,
    stop_signal: Signal,
}

impl Server {
    /// Starts a program. Its output goes to `log`.
    pub fn start(
        program: &Path,
        arguments: &[String],
        user: Option<&str>,
        stop_signal: Signal,
        log: &Path,
    ) -> anyhow::Result<Server> {
        let output = fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = user {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        let errors = output.try_clone().context("the server's output")?;
        command.arg("--").arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command
            .spawn()
            .with_context(|| format!("starting {} by setpriv (of util-linux)", program.display()))?;
        Ok(Server {
            child,
            name: program.display().to_string(),
            stop_signal,
        })
    }

    /// Waits until something listens on `port`.
    pub fn wait_for_port(&mut self, port: u16, log: &Path) -> anyhow::Result<()> {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().context("looking at the server")?;
            if ended.is_some() || started.elapsed() > START_MAX {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!(
                    "{} does not listen on port {port} ({ended:?}); it said:\n{said}",
                    self.name
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// The process and its children.
    pub fn pids(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = children
            .split_ascii_whitespace()
            .filter_map(|number| number.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }

    /// Asks it to stop, and waits until it did.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| anyhow!("{} has no process id", self.name))?;
        kill_process(pid, self.stop_signal).with_context(|| format!("stopping {}", self.name))?;
        let asked = Instant::now();
        while self.child.try_wait().context("waiting for the server")?.is_none() {
            if asked.elapsed() > STOP_MAX {
                bail!("{} does not stop within {} s", self.name, STOP_MAX.as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended is no longer there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds on processors of all threads that these processes have.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let threads = pids
        .iter()
        .filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let spent = threads.flatten().flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    spent.sum::<u64>() as f64 / 1e9
}

/// Bytes of memory that these processes share with nobody else: anonymous and shared memory, not mapped files, by
/// the share of each process.
pub fn memory_bytes(pids: &[u32]) -> u64 {
    let rollups = pids
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok());
    rollups.map(|rollup| memory_in(&rollup)).sum()
}

fn memory_in(rollup: &str) -> u64 {
    let of = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_ascii_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    1024 * (of("Pss_Anon:") + of("Pss_Shmem:"))
}

/// A port of the loopback interface that nobody listens on.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp")
        .args(["--archive", "--sparse=never", "--"])
        .args([from, to])
        .status()
        .context("running cp")?;
    if !status.success() {
        bail!("copying {} to {} failed", from.display(), to.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_is_not_a_file() {
        let rollup = "Rss: 9000 kB\nPss: 8000 kB\nPss_Anon: 100 kB\nPss_File: 7000 kB\nPss_Shmem: 20 kB\n";
        assert_eq!(memory_in(rollup), 120 * 1024);
        assert_eq!(memory_in(""), 0);
    }

    #[test]
    fn this_process_has_memory_and_spends_time() {
        let own = [std::process::id()];
        assert!(memory_bytes(&own) > 0);
        assert!(cpu_seconds(&own) > 0.0);
    }
}
