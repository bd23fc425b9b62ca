//! The certificate that HTTP shows, and whom it lets in by theirs. Files that change are read again; where
//! the new ones cannot be used, the old ones stay.

use std::{
    fs,
    io::Read,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::uri::Authority;
use parking_lot::{Mutex, RwLock};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        client::verify_server_name,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};

use crate::{limits, telemetry::events::WebEvents};

/// `[http.tls_server_config]`, with Prometheus' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificate and those between it and its root, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// Whose certificates clients must have, PEM; `None`: they need none.
    pub client_ca_file: Option<PathBuf>,
}

/// What is wrong with the files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct TlsProblem {
    /// The setting that names the file.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What the files come to.
struct Loaded {
    config: Arc<ServerConfig>,
    own: CertificateDer<'static>,
}

/// What tells a file from what was there before: device, inode, size, time of change; `None`: not there.
type Stamp = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// The certificate in use; cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    /// Held while the files are looked at.
    files: Mutex<(TlsOptions, Stamp)>,
    loaded: RwLock<Loaded>,
    /// What is wrong with the files as they are now, where that was told.
    refused: Mutex<Option<String>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").finish_non_exhaustive()
    }
}

impl TlsOptions {
    /// Whether the files are there and belong together. Blocking.
    pub fn check(&self) -> Result<(), TlsProblem> {
        self.load().map(drop)
    }

    fn stamp(&self) -> Stamp {
        let files = [Some(&self.cert_file), Some(&self.key_file), self.client_ca_file.as_ref()];
        let stamp = |file: &PathBuf| {
            let file = fs::metadata(file).ok()?;
            Some((file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec()))
        };
        files.into_iter().flatten().map(stamp).collect()
    }

    fn load(&self) -> Result<Loaded, TlsProblem> {
        let chain = certificates("cert_file", &self.cert_file)?;
        let key = private_key(&self.key_file)?;
        let own = chain.first().cloned();
        let own = own.ok_or_else(|| problem("cert_file", "it holds no certificate"))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3");
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => builder.with_client_cert_verifier(client_verifier(file)?),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let (certificate, key) = (self.cert_file.display(), self.key_file.display());
            let text = match error {
                tokio_rustls::rustls::Error::InconsistentKeys(_) => {
                    format!("{certificate} and the key {key} are not of one pair: {error}")
                }
                _ => format!("{certificate} with the key {key} cannot be used: {error}"),
            };
            problem("cert_file", text)
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Loaded { config: Arc::new(config), own })
    }
}

fn problem(key: &'static str, message: impl Into<String>) -> TlsProblem {
    TlsProblem { key, message: message.into() }
}

/// What stands in a file; an error says which.
fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, TlsProblem> {
    let mut bytes = Vec::new();
    let opened = fs::File::open(file);
    let read = opened.and_then(|f| f.take(limits::CONFIG_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| problem(key, format!("cannot read {}: {error}", file.display())))?;
    Ok(bytes)
}

fn certificates(
    key: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let pem = read(key, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let why = match found {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => String::new(),
        Err(error) => format!(" ({error})"),
    };
    Err(problem(key, format!("{} holds no certificate in PEM{why}", file.display())))
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let pem = read("key_file", file)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let text = format!("{} holds no private key in PEM ({error})", file.display());
        problem("key_file", text)
    })
}

fn client_verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsProblem> {
    let wrong = |error: &dyn std::fmt::Display| {
        problem("client_ca_file", format!("{} cannot be used: {error}", file.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca_file", file)? {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map_err(|error| wrong(&error))
}

impl Tls {
    /// Reads the files. Blocking.
    pub fn new(options: TlsOptions) -> Result<Self, TlsProblem> {
        // First what they look like: what changes meanwhile is read again.
        let stamp = options.stamp();
        let loaded = RwLock::new(options.load()?);
        let (files, refused) = (Mutex::new((options, stamp)), Mutex::default());
        Ok(Self(Arc::new(Inner { files, loaded, refused })))
    }

    /// Reads these files from now on; where they cannot be used the old ones stay. Tells whether they
    /// differ from those before. Blocking.
    pub fn apply(&self, options: TlsOptions) -> Result<bool, TlsProblem> {
        let mut files = self.0.files.lock();
        let read = (options.stamp(), options.load()?);
        let before = std::mem::replace(&mut *files, (options, read.0));
        *self.0.loaded.write() = read.1;
        Ok(before != *files)
    }

    /// Reads the files again where they have changed. Blocking.
    pub(super) fn look(&self, events: &WebEvents) {
        // Who looks already sees what there is to see.
        let Some(mut files) = self.0.files.try_lock() else { return };
        let stamp = files.0.stamp();
        if stamp == files.1 {
            return;
        }
        match files.0.load() {
            Ok(loaded) => {
                files.1 = stamp;
                *self.0.loaded.write() = loaded;
                *self.0.refused.lock() = None;
                events.certificate_loaded();
            }
            // It is tried again, and told once.
            Err(problem) => {
                let before = self.0.refused.lock().replace(problem.to_string());
                if before.is_none_or(|before| before != problem.to_string()) {
                    events.certificate_refused(&problem.to_string());
                }
            }
        }
    }

    /// Does handshakes with the certificate of this moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.loaded.read().config))
    }

    /// Whether the certificate is for this host, as it stands in `Host`.
    pub(super) fn is_named(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_end_matches('.');
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let name = match address {
            Ok(address) => Ok(ServerName::IpAddress(address.into())),
            Err(_) => ServerName::try_from(name),
        };
        let own = self.0.loaded.read().own.clone();
        let Ok(own) = ParsedCertificate::try_from(&own) else { return false };
        name.is_ok_and(|name| verify_server_name(&own, &name).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

    use super::*;
    use crate::telemetry::Telemetry;

    /// A folder with `cert`, `key`, and what else a test writes.
    struct Files(tempfile::TempDir);

    impl Files {
        fn new(names: &[&str]) -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            files.renew(names);
            files
        }

        fn renew(&self, names: &[&str]) {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
            self.write("cert", &cert.pem());
            self.write("key", &signing_key.serialize_pem());
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn options(&self) -> TlsOptions {
            TlsOptions {
                cert_file: self.path("cert"),
                key_file: self.path("key"),
                client_ca_file: None,
            }
        }
    }

    #[track_caller]
    fn check(options: &TlsOptions, key: &str, part: &str) {
        let problem = options.check().unwrap_err();
        assert_eq!(problem.key, key, "{problem}");
        assert!(problem.message.contains(part), "{problem}");
    }

    fn shown(tls: &Tls) -> CertificateDer<'static> {
        tls.0.loaded.read().own.clone()
    }

    #[test]
    fn what_is_wrong_with_the_files_is_named() {
        let files = Files::new(&["box.lan"]);
        assert_eq!(files.options().check(), Ok(()));
        let gone = TlsOptions { cert_file: files.path("nowhere"), ..files.options() };
        check(&gone, "cert_file", "cannot read");
        let turned = TlsOptions { cert_file: files.path("key"), ..files.options() };
        check(&turned, "cert_file", "holds no certificate");
        let no_key = TlsOptions { key_file: files.path("cert"), ..files.options() };
        check(&no_key, "key_file", "holds no private key");
        let empty = TlsOptions { client_ca_file: Some(files.path("key")), ..files.options() };
        check(&empty, "client_ca_file", "holds no certificate");
        files.write("key", &KeyPair::generate().unwrap().serialize_pem());
        check(&files.options(), "cert_file", "not of one pair");
    }

    #[test]
    fn files_that_change_are_read_again_and_broken_ones_are_told_once() {
        let files = Files::new(&["box.lan"]);
        let telemetry = Telemetry::new();
        let events = WebEvents::new(&telemetry);
        let changes = |outcome: &str| {
            let families = telemetry.gather();
            let name = "balefire_http_certificate_changes_total";
            let family = families.iter().find(|family| family.name() == name);
            let rows = family.iter().flat_map(|family| family.get_metric());
            let row = rows.into_iter().find(|row| row.get_label()[0].value() == outcome);
            row.map_or(0.0, |row| row.get_counter().get_value())
        };
        let tls = Tls::new(files.options()).unwrap();
        let first = shown(&tls);
        tls.look(&events);
        assert_eq!((changes("loaded"), changes("refused")), (0.0, 0.0));

        // As if the key came later than its certificate.
        let key = fs::read_to_string(files.path("key")).unwrap();
        files.renew(&["other.lan"]);
        let new_key = fs::read_to_string(files.path("key")).unwrap();
        files.write("key", &key);
        tls.look(&events);
        tls.look(&events);
        assert_eq!((changes("loaded"), changes("refused")), (0.0, 1.0));
        assert_eq!(shown(&tls), first, "the old one stays");

        files.write("key", &new_key);
        tls.look(&events);
        assert_eq!((changes("loaded"), changes("refused")), (1.0, 1.0));
        assert!(tls.is_named("other.lan") && !tls.is_named("box.lan"));
        assert_eq!(tls.apply(files.options()), Ok(false));
        files.write("key", "");
        assert!(tls.apply(files.options()).is_err());
        assert!(tls.is_named("other.lan"));
    }

    #[test]
    fn names_of_the_certificate_are_ours() {
        let names = ["box.lan", "*.wild.lan", "192.0.2.7", "2001:db8::1"];
        let tls = Tls::new(Files::new(&names).options()).unwrap();
        for own in ["box.lan", "BOX.lan.:9494", "a.wild.lan", "192.0.2.7:1", "[2001:db8::1]:1"] {
            assert!(tls.is_named(own), "{own}");
        }
        for other in ["lan", "a.b.wild.lan", "wild.lan", "192.0.2.8", "evil.example", "", "a b"] {
            assert!(!tls.is_named(other), "{other}");
        }
    }
}
