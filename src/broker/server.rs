//! The broker as its embedder sees it: bind, then run until told to stop.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::config::BrokerConfig;
use super::error::{BrokerError, StateError};
use super::net;
use super::node::Node;
use crate::log::Log;

/// A broker that listens; [`Broker::run`] serves clients.
#[derive(Debug)]
pub struct Broker {
    node: Arc<Node>,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Broker {
    /// Opens the listening socket and loads the broker's state from `log`.
    ///
    /// # Errors
    /// [`BrokerError::AddressInUse`] when another process listens there already.
    pub async fn bind(log: Log, config: BrokerConfig) -> Result<Broker, BrokerError> {
        let address = config.listen.clone();
        let listener = net::bind(&address).await?;
        let local_addr = listener
            .local_addr()
            .map_err(|source| BrokerError::Listen { address, source })?;
        let opened = tokio::task::spawn_blocking(move || Node::open(log, config)).await;
        let node = opened.map_err(|_| StateError::Cancelled)??;
        tracing::info!(address = %local_addr, cluster_id = node.state.cluster_id, "broker listens");
        Ok(Broker {
            node: Arc::new(node),
            listener,
            local_addr,
        })
    }

    /// The address that clients can connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves clients until `shutdown` is cancelled and their requests in progress have ended.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BrokerError> {
        let groups = Arc::clone(&self.node.groups);
        let timer = tokio::spawn(groups.run_timer(self.node.shutdown.clone()));
        net::serve(Arc::clone(&self.node), self.listener, shutdown).await;
        // The timer ends with the node's own token, which `serve` cancels.
        if let Err(error) = timer.await {
            tracing::error!(%error, "the timer of consumer groups failed");
        }
        Ok(())
    }
}
