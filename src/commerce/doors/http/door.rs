//! The listening socket and its connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{HttpConfig, routes};
use crate::commerce::inventory::Router;

/// How long to wait before accepting again when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Most header fields of a request.
const HEADERS_MAX: usize = 64;

/// Room for the head of a request.
const BUFFER_MAX_BYTES: usize = 16 * 1024;

/// A door that listens; [`HttpDoor::run`] serves clients.
#[derive(Debug)]
pub struct HttpDoor {
    listener: TcpListener,
    address: SocketAddr,
    config: HttpConfig,
    routes: Routes,
}

impl HttpDoor {
    /// Opens the listening socket.
    pub async fn bind(config: HttpConfig, router: Router) -> io::Result<HttpDoor> {
        let listener = TcpListener::bind(&config.listen).await?;
        let address = listener.local_addr()?;
        let served = routes::routes(&config, router);
        tracing::info!(%address, "HTTP door listens");
        Ok(HttpDoor {
            listener,
            address,
            config,
            routes: served,
        })
    }

    /// The address that clients can connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves clients until `shutdown` is cancelled and their requests in progress have ended.
    pub async fn run(self, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.config.connections_max));
        let mut connections = JoinSet::new();
        loop {
            let place = tokio::select! {
                Ok(place) = Arc::clone(&places).acquire_owned() => place,
                () = shutdown.cancelled() => break,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            // What ended meanwhile is forgotten.
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let served = serve(stream, &self.config, self.routes.clone(), shutdown.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let drained = tokio::time::timeout(self.config.shutdown_timeout, async {
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
}

/// Serves one connection.
fn serve(
    stream: TcpStream,
    config: &HttpConfig,
    routes: Routes,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (header_timeout, write_timeout) = (config.header_timeout, config.request_timeout);
    async move {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection could not be set to send at once");
        }
        // A client that takes nothing of its answer is let go by the kernel: tcp(7), TCP_USER_TIMEOUT.
        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(write_timeout)) {
            tracing::debug!(%error, "connection could not be limited in time");
        }
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(BUFFER_MAX_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection lost");
        }
    }
}
