//! What a target is reached by, fit to be seen: addresses and command lines without secrets.

use crate::model::Check;

const REDACTED: &str = "<redacted>";

/// Words in the name of an option, variable or parameter whose value is a secret.
const SECRET_NAMES: [&str; 12] = [
    "token",
    "key",
    "secret",
    "password",
    "passwd",
    "pwd",
    "auth",
    "credential",
    "signature",
    "cookie",
    "bearer",
    "session",
];
/// How well-known tokens begin.
const SECRET_PREFIXES: [&str; 12] = [
    "sk-",
    "pk-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xox",
    "AKIA",
    "eyJ",
    "hf_",
    "pylf_",
];
/// A word this long, of letters and digits mixed, is a token rather than a name.
const TOKEN_LEN_MIN: usize = 32;

/// The address or command line of a check, secrets left out.
pub fn endpoint(check: &Check) -> String {
    redact(check, &mut Vec::new())
}

/// What [`endpoint`] leaves out: secrets that stand in the open in an address or a command line.
pub(super) fn hidden_words(check: &Check) -> Vec<String> {
    let mut hidden = Vec::new();
    redact(check, &mut hidden);
    hidden
}

/// `url` without user and password, and without the values of parameters that look like secrets.
pub(super) fn redact_url(url: &str) -> String {
    url_without(url, &mut Vec::new())
}

/// Each function below gives its text without secrets, and adds what it left out to `hidden`.
fn redact(check: &Check, hidden: &mut Vec<String>) -> String {
    match check {
        Check::McpStdio { command, .. } => command_without(command, hidden),
        Check::McpHttp { url, .. } | Check::Http { url, .. } => url_without(url, hidden),
        Check::Tcp { address } => address.clone(),
        Check::Balefire => "balefire".to_owned(),
        // Its agent left the secrets out.
        Check::Reported { endpoint, .. } => endpoint.clone(),
    }
}

fn hide(secret: &str, hidden: &mut Vec<String>) -> &'static str {
    hidden.push(secret.to_owned());
    REDACTED
}

fn url_without(url: &str, hidden: &mut Vec<String>) -> String {
    let (url, fragment) = url.split_once('#').map_or((url, ""), |(url, rest)| (url, rest));
    let (base, query) =
        url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let base = user_without(base, hidden);
    let mut redacted = path_without(&base, hidden);
    if let Some(query) = query {
        let pairs: Vec<String> = query.split('&').map(|pair| pair_without(pair, hidden)).collect();
        redacted = format!("{redacted}?{}", pairs.join("&"));
    }
    if fragment.is_empty() { redacted } else { format!("{redacted}#{}", hide(fragment, hidden)) }
}

fn user_without(base: &str, hidden: &mut Vec<String>) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else { return base.to_owned() };
    if let Some((_, password)) = rest[..at].split_once(':') {
        hide(password, hidden);
    }
    format!("{scheme}://{}@{}", hide(&rest[..at], hidden), &rest[at + 1..])
}

/// Some services put the key into the path.
fn path_without(base: &str, hidden: &mut Vec<String>) -> String {
    let parts =
        base.split('/').map(|part| if looks_secret(part) { hide(part, hidden) } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// `name=value` with the value left out where either looks like a secret.
fn pair_without(pair: &str, hidden: &mut Vec<String>) -> String {
    match pair.split_once('=') {
        Some((name, value)) if names_secret(name) || looks_secret(value) => {
            format!("{name}={}", hide(value, hidden))
        }
        None if looks_secret(pair) => hide(pair, hidden).to_owned(),
        _ => pair.to_owned(),
    }
}

fn command_without(command: &[String], hidden: &mut Vec<String>) -> String {
    let mut words = Vec::with_capacity(command.len());
    let mut value_is_secret = false;
    for word in command {
        let is_option = word.starts_with('-');
        let shown = if value_is_secret && !is_option {
            hide(word, hidden).to_owned()
        } else if word.contains("://") && !is_option {
            url_without(word, hidden)
        } else {
            word_without(word, hidden)
        };
        value_is_secret = is_option && !word.contains('=') && names_secret(word);
        words.push(shown);
    }
    words.join(" ")
}

fn word_without(word: &str, hidden: &mut Vec<String>) -> String {
    if let Some((name, value)) = word.split_once(": ") {
        // A header: `Authorization: Bearer …`.
        if names_secret(name) || value.split(' ').any(looks_secret) {
            return format!("{name}: {}", hide(value, hidden));
        }
        return word.to_owned();
    }
    match word.split_once('=') {
        Some((name, value)) if value.contains("://") => {
            format!("{name}={}", url_without(value, hidden))
        }
        _ => pair_without(word, hidden),
    }
}

fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|word| name.contains(word))
}

fn looks_secret(value: &str) -> bool {
    let known = SECRET_PREFIXES.iter().any(|prefix| value.starts_with(prefix) && value.len() > 12);
    let word = |c: char| c.is_ascii_alphanumeric() || "-_+=".contains(c);
    let mixed = value.chars().any(|c| c.is_ascii_digit()) && value.chars().any(char::is_alphabetic);
    known || (value.len() >= TOKEN_LEN_MIN && mixed && value.chars().all(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &[&str], expected: &str) {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(command_without(&command, &mut Vec::new()), expected);
    }

    #[test]
    fn commands_keep_what_is_no_secret() {
        check(
            &["uvx", "mcp-server-time", "--local-timezone=UTC"],
            "uvx mcp-server-time --local-timezone=UTC",
        );
        check(
            &["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me/a b"],
            "npx -y @modelcontextprotocol/server-filesystem /home/me/a b",
        );
    }

    #[test]
    fn commands_lose_their_secrets() {
        check(&["x", "--api-key", "abc", "go"], "x --api-key <redacted> go");
        check(&["x", "--token=abc"], "x --token=<redacted>");
        check(&["env", "DB_PASSWORD=p", "x"], "env DB_PASSWORD=<redacted> x");
        check(&["x", "ghp_0123456789abcdef"], "x <redacted>");
        check(
            &["x", "--header", "Authorization: Bearer abc"],
            "x --header Authorization: <redacted>",
        );
        check(&["x", "postgres://me:pw@db/a"], "x postgres://<redacted>@db/a");
        check(
            &["x", "--url=https://u@h/?api_key=1&b=2"],
            "x --url=https://<redacted>@h/?api_key=<redacted>&b=2",
        );
    }

    #[test]
    fn urls_lose_their_secrets() {
        let url = "https://me:pw@host:8443/a?token=1&page=2#frag";
        assert_eq!(
            redact_url(url),
            "https://<redacted>@host:8443/a?token=<redacted>&page=2#<redacted>"
        );
        let url = "https://host/s/0123456789abcdef0123456789abcdef/mcp";
        assert_eq!(redact_url(url), "https://host/s/<redacted>/mcp");
        assert_eq!(redact_url("http://127.0.0.1:3001/mcp"), "http://127.0.0.1:3001/mcp");
    }

    #[test]
    fn what_is_left_out_is_known() {
        let command = ["x", "--token=abcdef", "postgres://me:pw@db/a", "go"];
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let check = Check::McpStdio { command, env: [].into(), cwd: None };
        assert_eq!(hidden_words(&check), ["abcdef", "pw", "me:pw"]);
    }
}
