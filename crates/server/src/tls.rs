//! Encrypted connections.

use axum::serve::Listener;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Who has not agreed on keys by then is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A certificate and its key, for TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Without the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Files that TLS cannot be spoken with.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file that is not there, or may not be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Of the system.
        error: io::Error,
    },
    /// PEM that is cut off or broken.
    #[error("{} is no sound PEM file: {error}; expected {expected}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: pem::Error,
        /// What should be in it.
        expected: &'static str,
    },
    /// A file with other things in it, or nothing.
    #[error("{} has nothing of what it is for: expected {expected}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// A certificate that is broken, or not the key's.
    #[error("{} and {} do not work together: {error}; expected a certificate and its own private key", certificates.display(), key.display())]
    Refused {
        /// The file of certificates.
        certificates: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        error: rustls::Error,
    },
}

const CERTIFICATES: &str = "`-----BEGIN CERTIFICATE-----` blocks, the server's own first, then those that vouch for it";
const KEY: &str = "a `-----BEGIN PRIVATE KEY-----` block that is not encrypted";

impl Tls {
    /// Of PEM files: certificates, the server's own first, and its private key.
    ///
    /// # Errors
    /// Files that cannot be read, hold something else, or do not belong together.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&read(certificates)?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| wrong(certificates, error, CERTIFICATES))?;
        if chain.is_empty() {
            return Err(wrong(certificates, pem::Error::NoItemsFound, CERTIFICATES));
        }
        let own = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| wrong(key, error, KEY))?;
        let refused = |error| TlsError::Refused { certificates: certificates.to_owned(), key: key.to_owned(), error };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let mut config = config.with_no_client_auth().with_single_cert(chain, own).map_err(refused)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// What comes in at `listener`, encrypted.
    pub(crate) fn over(self, listener: TcpListener) -> TlsListener {
        TlsListener { listener, acceptor: self.0.into(), handshakes: JoinSet::new() }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Unreadable { path: path.to_owned(), error })
}

fn wrong(path: &Path, error: pem::Error, expected: &'static str) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => TlsError::Missing { path, expected },
        error => TlsError::Pem { path, error, expected },
    }
}

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// Agrees on keys with each client in a task of its own: a slow one holds up no other. Those that are under way end with it.
pub(crate) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<Option<Accepted>>,
}

impl TlsListener {
    fn begin(&mut self, stream: TcpStream, from: SocketAddr) {
        let handshake = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream));
        self.handshakes.spawn(async move {
            match handshake.await {
                Ok(Ok(stream)) => Some((stream, from)),
                Ok(Err(error)) => {
                    tracing::info!(%from, %error, "no TLS");
                    None
                }
                Err(_) => {
                    tracing::info!(%from, "no TLS: too slow");
                    None
                }
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                (stream, from) = Listener::accept(&mut self.listener) => self.begin(stream, from),
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
