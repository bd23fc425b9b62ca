//! `[http]` and `[limits]`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use http::uri::Authority;

use super::within;
use crate::{
    access::{Rate, Rates},
    config::{HttpOptions, section::Section, surroundings::Surroundings},
    web::TlsOptions,
};

/// Names in `external_hosts`.
const HOSTS_MAX: usize = 100;
/// The highest rate, burst and number of requests under way that can be asked for.
const REQUESTS_MAX: u64 = 1_000_000;
/// Prometheus' names for whether clients show certificates, those that are known here.
const NO_CLIENT_CERT: &str = "NoClientCert";
const REQUIRE_AND_VERIFY: &str = "RequireAndVerifyClientCert";

pub(super) fn http(mut section: Section<'_>, around: &Surroundings) -> HttpOptions {
    let usual = SocketAddr::from(([127, 0, 0, 1], 9494));
    let listen = section.take("listen", usual);
    let hosts =
        section.take_if("external_hosts", Vec::new(), |hosts: &Vec<String>| check_hosts(hosts));
    let has_tls = section.has("tls_server_config");
    let tls = section.section("tls_server_config");
    let tls = if has_tls { tls_server_config(tls, around) } else { None };
    if !listen.value.ip().is_loopback() && !has_tls {
        let message = format!(
            "{} can be reached from elsewhere, which needs TLS: give cert_file and key_file in \
             [http.tls_server_config], or write \"127.0.0.1:{}\"",
            listen.value,
            listen.value.port()
        );
        section.problem("listen", &listen.origin, message);
    }
    section.finish();
    let explicit = !listen.is_default();
    HttpOptions { listen: listen.value, explicit, external_hosts: hosts.value, tls }
}

fn check_hosts(hosts: &[String]) -> Result<(), String> {
    if hosts.len() > HOSTS_MAX {
        return Err(format!("has {} names; write {HOSTS_MAX} at most", hosts.len()));
    }
    let is_name = |host: &&String| {
        host.parse::<Authority>().is_ok_and(|authority| authority.host() == host.as_str())
    };
    match hosts.iter().find(|host| !is_name(host)) {
        Some(wrong) => Err(format!(
            "{wrong:?} is no host; write a name without scheme and port, \"box.example.com\""
        )),
        None => Ok(()),
    }
}

/// `[http.tls_server_config]`; the files are read, so that what is wrong with them is told with the rest.
fn tls_server_config(mut section: Section<'_>, around: &Surroundings) -> Option<TlsOptions> {
    let known = section.problem_count();
    let cert_file = file(&mut section, "cert_file", around);
    let key_file = file(&mut section, "key_file", around);
    let client_ca_file = section
        .has("client_ca_file")
        .then(|| file(&mut section, "client_ca_file", around))
        .flatten();
    let auth = section.take_if("client_auth_type", NO_CLIENT_CERT.to_owned(), check_client_auth);
    let required = auth.value == REQUIRE_AND_VERIFY;
    if required != client_ca_file.is_some() {
        let wrong = if required {
            "needs client_ca_file, the certificates that those of clients come from".to_owned()
        } else {
            format!(
                "asks nobody for a certificate; write \"{REQUIRE_AND_VERIFY}\", or remove client_ca_file"
            )
        };
        section.problem("client_auth_type", &auth.origin, wrong);
    }
    let options = TlsOptions { cert_file: cert_file?, key_file: key_file?, client_ca_file };
    if section.problem_count() == known
        && let Err(problem) = options.check()
    {
        section.problem(problem.key, section.origin(), problem.message);
    }
    section.finish();
    Some(options)
}

fn check_client_auth(kind: &String) -> Result<(), String> {
    if [NO_CLIENT_CERT, REQUIRE_AND_VERIFY].contains(&kind.as_str()) {
        return Ok(());
    }
    Err(format!("{kind:?} is not known here; write {NO_CLIENT_CERT:?} or {REQUIRE_AND_VERIFY:?}"))
}

fn file(section: &mut Section<'_>, key: &'static str, around: &Surroundings) -> Option<PathBuf> {
    let said = section
        .required(key, "a path in quotes", |file: &String| credential(file, around).map(drop))?;
    credential(&said.value, around).ok()
}

/// The place of a file; a relative path is one of systemd's credentials.
pub(super) fn credential(file: &str, around: &Surroundings) -> Result<PathBuf, String> {
    match around.var("CREDENTIALS_DIRECTORY") {
        _ if Path::new(file).is_absolute() => Ok(PathBuf::from(file)),
        Some(credentials) => Ok(Path::new(credentials).join(file)),
        None => Err(format!(
            "{file:?} is neither an absolute path nor, outside of systemd, a credential; \
             write a path that begins with \"/\""
        )),
    }
}

/// `[limits]`
pub(super) fn limits(mut section: Section<'_>) -> Rates {
    let usual = Rates::default();
    let mut number = |key, default: u32| {
        let said = section.take_if(key, u64::from(default), within(1, REQUESTS_MAX)).value;
        u32::try_from(said).unwrap_or(default)
    };
    let http = Rate {
        per_second: number("http_requests_per_second", usual.http.per_second),
        burst: number("http_burst", usual.http.burst),
        under_way: number("http_requests_under_way", usual.http.under_way),
    };
    let socket = Rate {
        per_second: number("socket_requests_per_second", usual.socket.per_second),
        burst: number("socket_burst", usual.socket.burst),
        under_way: number("socket_requests_under_way", usual.socket.under_way),
    };
    section.finish();
    Rates { http, socket }
}
