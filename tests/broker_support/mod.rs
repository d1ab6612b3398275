//! A broker for tests: on a free port, over a folder that outlives it, on threads of its own.

#[allow(dead_code, reason = "not every test talks bytes")]
pub mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use doorbuster::broker::{Broker, BrokerConfig};
use doorbuster::log::{Log, LogOptions};
use tokio_util::sync::CancellationToken;

/// A broker that runs until it is stopped or dropped.
pub struct RunningBroker {
    pub address: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Configuration for tests: a free port, and groups that do not wait for more members.
pub fn config() -> BrokerConfig {
    BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        group_initial_rebalance_delay: Duration::ZERO,
        group_session_timeout_min: Duration::from_millis(100),
        shutdown_timeout: Duration::from_secs(1),
        ..BrokerConfig::default()
    }
}

impl RunningBroker {
    /// Starts a broker over `folder`.
    #[allow(dead_code, reason = "not every test is content with the defaults")]
    pub fn start(folder: &Path) -> RunningBroker {
        RunningBroker::start_with(folder, config())
    }

    /// Starts a broker over `folder` with `config`.
    pub fn start_with(folder: &Path, config: BrokerConfig) -> RunningBroker {
        let log = Log::open(folder, LogOptions::default()).expect("the log opens");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("the runtime starts");
        let broker = runtime
            .block_on(Broker::bind(log.clone(), config))
            .expect("the broker binds");
        let address = broker.local_addr();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(broker.run(token)).expect("the broker runs");
            drop(runtime);
            log.close().expect("the log closes");
        });
        RunningBroker {
            address,
            shutdown,
            thread: Some(thread),
        }
    }

    /// Stops the broker and closes its log.
    #[allow(dead_code, reason = "not every test starts it again")]
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the broker ends without a panic");
        }
    }
}

impl Drop for RunningBroker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}
