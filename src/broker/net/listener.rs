//! The listening socket: accepts clients up to a limit, and lets them go at shutdown.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::error::BrokerError;
use super::super::node::Node;
use super::connection;

/// How long to wait before accepting again when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the listening socket.
pub(in super::super) async fn bind(address: &str) -> Result<TcpListener, BrokerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BrokerError::AddressInUse {
                address: address.to_owned(),
            },
            _ => BrokerError::Listen {
                address: address.to_owned(),
                source,
            },
        })
}

/// Serves clients until `shutdown`, then gives their requests in progress time to end.
pub(in super::super) async fn serve(node: Arc<Node>, listener: TcpListener, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if connections.len() >= node.config.connections_max {
                        let limit = node.config.connections_max;
                        tracing::warn!(client = %peer, limit, "connection refused: there are too many");
                        continue;
                    }
                    accept(&node, &mut connections, stream);
                }
                Err(error) => {
                    tracing::warn!(%error, "connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    node.shutdown.cancel();
    let drained = tokio::time::timeout(node.config.shutdown_timeout, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(
            count = connections.len(),
            "connections with requests in progress were closed"
        );
        connections.shutdown().await;
    }
}

fn accept(node: &Arc<Node>, connections: &mut JoinSet<()>, stream: TcpStream) {
    // A client that is gone already has no addresses; there is nothing to serve.
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else {
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(client = %peer, %error, "connection could not be set to send at once");
    }
    connections.spawn(connection::serve(Arc::clone(node), stream, local, peer));
}
