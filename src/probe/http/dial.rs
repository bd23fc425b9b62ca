//! From a host's name to a stream of bytes: resolving, connecting and TLS, each timed apart.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::OnceCell,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use crate::probe::{fault::Fault, report::Report};

use super::Address;

/// How long one address of several may take, so that a dead one leaves time for the next.
const CONNECT_EACH: Duration = Duration::from_secs(2);

/// Both directions of a connection, encrypted or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The system's certificates, loaded when the first `https` target asks for them: they take
/// megabytes that most hosts full of local servers never need.
#[derive(Debug, Default)]
pub(in crate::probe) struct Trust(OnceCell<Arc<ClientConfig>>);

impl Trust {
    async fn connector(&self) -> Result<TlsConnector, Fault> {
        let config = self.0.get_or_try_init(load_config).await?;
        Ok(TlsConnector::from(Arc::clone(config)))
    }
}

async fn load_config() -> Result<Arc<ClientConfig>, Fault> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
    let loaded = loaded.await.map_err(|error| Fault::NoRoots(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        return Err(Fault::NoRoots(if errors.is_empty() {
            "install ca-certificates".to_owned()
        } else {
            errors.join("; ")
        }));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A connection to `address`; phases `resolve`, `connect` and `tls`.
pub(super) async fn dial(
    address: &Address,
    trust: &Trust,
    report: &mut Report,
) -> Result<Box<dyn Io>, Fault> {
    let stream = connect(&address.host, address.port, report).await?;
    if !address.tls {
        return Ok(Box::new(stream));
    }
    let fault = |source| Fault::Tls { host: address.host.clone(), source };
    let name = ServerName::try_from(address.host.clone())
        .map_err(|error| fault(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connector = trust.connector().await?;
    let shake = async { connector.connect(name, stream).await.map_err(fault) };
    Ok(Box::new(report.time("tls", shake).await?))
}

/// A TCP connection; phases `resolve` and `connect`.
pub(in crate::probe) async fn connect(
    host: &str,
    port: u16,
    report: &mut Report,
) -> Result<TcpStream, Fault> {
    let addresses = report.time("resolve", resolve(host, port)).await?;
    report.time("connect", connect_any(&addresses, host, port)).await
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    let fault = |source| Fault::Resolve { host: host.to_owned(), source };
    let addresses: Vec<_> = lookup_host((host, port)).await.map_err(fault)?.collect();
    if addresses.is_empty() {
        return Err(fault(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

async fn connect_any(addresses: &[SocketAddr], host: &str, port: u16) -> Result<TcpStream, Fault> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (index, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        // The last one may take whatever time the attempt has left.
        let connected = if index + 1 == addresses.len() {
            connecting.await
        } else {
            timeout(CONNECT_EACH, connecting).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Err(Fault::Connect { address: format!("{host}:{port}"), source: last })
}
