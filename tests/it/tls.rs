//! HTTPS with a client that checks certificates: those of the daemon, those of clients, and new ones while
//! it runs.

use std::{fs, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use crate::{
    fixture::{Home, PATIENCE, eventually, run_to_end, text},
    tokens::token,
};

/// The one name in the daemon's certificate.
const NAME: &str = "box.example";

/// Somebody who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn sign(&self, name: &str) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client that trusts those whom this signed, and shows a certificate of its own.
    fn client(&self, own: Option<&Pair>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![chain], key).expect("a pair")
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Writes a certificate where [`config`] has it.
fn install(home: &Home, pair: &Pair) {
    fs::write(home.path("http.key"), &pair.key).expect("a writable folder");
    fs::write(home.path("http.crt"), &pair.certificate).expect("a writable folder");
}

/// A path as the configuration has it.
fn quoted(home: &Home, name: &str) -> String {
    format!("\"{}\"", home.path(name).display())
}

fn config(home: &Home, more: &str) -> String {
    let [cert, key] = ["http.crt", "http.key"].map(|name| quoted(home, name));
    format!("[http.tls_server_config]\ncert_file = {cert}\nkey_file = {key}\n{more}")
}

/// A folder with a certificate, and with the configuration that names it.
fn home(authority: &Authority) -> Home {
    let home = Home::new("");
    install(&home, &authority.sign(NAME));
    home.configure(&config(&home, ""));
    home
}

/// Asks for `/metrics`: the status and everything else, or why there is no answer.
async fn ask(
    address: &str,
    client: &TlsConnector,
    headers: &str,
) -> Result<(u16, String), std::io::Error> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(NAME).expect("a name");
    let exchange = async {
        let mut stream = client.connect(name, stream).await?;
        let head = format!("GET /metrics HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(PATIENCE, exchange).await.expect("an end")?;
    let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
    Ok((status.unwrap_or_else(|| panic!("no HTTP: {answer}")), answer))
}

async fn status(address: &str, client: &TlsConnector, headers: &str) -> u16 {
    ask(address, client, headers).await.expect("an answer").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_name_in_the_certificate_is_one_of_ours() {
    let authority = Authority::new();
    let mut daemon = home(&authority).start();
    let address = daemon.status().await.http_address;
    let client = authority.client(None);
    let host = format!("Host: {NAME}\r\n");
    assert_eq!(status(&address, &client, &host).await, 200);
    assert_eq!(status(&address, &client, "Host: evil.example\r\n").await, 403);
    let own_page = format!("{host}Origin: https://{NAME}\r\n");
    assert_eq!(status(&address, &client, &own_page).await, 200);
    let other_page = format!("{host}Origin: https://evil.example\r\n");
    assert_eq!(status(&address, &client, &other_page).await, 403);
    assert!(ask(&address, &Authority::new().client(None), &host).await.is_err());
    assert!(daemon.log().contains(&format!("https://{address}")), "{}", daemon.log());
    // Plain HTTP gets no answer, and a client that says nothing is in nobody's way.
    let mut silent = TcpStream::connect(&address).await.expect("it listens");
    silent.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("a small request");
    let _mute = TcpStream::connect(&address).await.expect("it listens");
    assert_eq!(status(&address, &client, &host).await, 200);
    let mut answer = Vec::new();
    let _reset = silent.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for_end(PATIENCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn beyond_loopback_it_needs_tls_and_a_token() {
    let everywhere = "0.0.0.0:0";
    let authority = Authority::new();
    let plain = Home::new("");
    let refused = run_to_end(plain.daemon_command_at(everywhere).arg("--check"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("which needs TLS: give cert_file"), "{}", text(&refused));
    let home = home(&authority);
    let refused = run_to_end(&mut home.daemon_command_at(everywhere));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("there is no token"), "{}", text(&refused));
    assert!(text(&refused).contains("balefire token create NAME"), "{}", text(&refused));

    let daemon = home.start();
    let shown = token(&daemon, "prometheus", "viewer", &[]);
    let daemon = daemon.kill().start_at(everywhere);
    let port = daemon.status().await.http_address.rsplit(':').next().expect("a port").to_owned();
    let address = format!("127.0.0.1:{port}");
    let client = authority.client(None);
    let host = format!("Host: {NAME}:{port}\r\n");
    let bearer = format!("{host}Authorization: Bearer {shown}\r\n");
    assert_eq!(status(&address, &client, &bearer).await, 200);
    let elsewhere = format!("{host}X-Forwarded-For: 192.0.2.7\r\n");
    assert_eq!(status(&address, &client, &elsewhere).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_show_certificates_where_they_have_to() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let home = home(&authority);
    fs::write(home.path("clients.crt"), clients.0.pem()).expect("a writable folder");
    let more = format!(
        "client_auth_type = \"RequireAndVerifyClientCert\"\nclient_ca_file = {}\n",
        quoted(&home, "clients.crt")
    );
    home.configure(&config(&home, &more));
    let daemon = home.start();
    let address = daemon.status().await.http_address;
    let host = format!("Host: {NAME}\r\n");
    let known = authority.client(Some(&clients.sign("ada")));
    assert_eq!(status(&address, &known, &host).await, 200);
    let stranger = authority.client(Some(&Authority::new().sign("ada")));
    for other in [&stranger, &authority.client(None)] {
        let answer = ask(&address, other, &host).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_certificate_is_taken_while_it_runs() {
    let (first, second, third) = (Authority::new(), Authority::new(), Authority::new());
    let daemon = home(&first).start();
    let address = daemon.status().await.http_address;
    let host = format!("Host: {NAME}\r\n");
    let trusted =
        async |authority: &Authority| ask(&address, &authority.client(None), &host).await.is_ok();
    assert!(trusted(&first).await);
    install(daemon.home(), &second.sign(NAME));
    let client = second.client(None);
    eventually("the files are read again", || async {
        ask(&address, &client, &host).await.is_ok().then_some(())
    })
    .await;
    assert!(!trusted(&first).await);

    // A reload takes it at once; one that is broken is refused, and changes nothing.
    install(daemon.home(), &third.sign(NAME));
    let reloaded = daemon.cli(&["reload"]);
    assert!(reloaded.status.success(), "{}", text(&reloaded));
    assert!(trusted(&third).await);
    let stray = first.sign(NAME);
    fs::write(daemon.home().path("http.key"), &stray.key).expect("a writable folder");
    let refused = daemon.cli(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("not of one pair"), "{}", text(&refused));
    assert!(trusted(&third).await, "the old one stays");
}
