"""HTTPS, tokens and clients' certificates, with clients of others: Python's OpenSSL, and Debian's Prometheus, in Go."""

import contextlib
import json
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
import warnings

from harness import PATIENCE, Daemon, Skip, answers, eventually, fetch, free_port, process, run


def need(program):
    path = shutil.which(program)
    if not path:
        raise Skip(f"{program} is not installed")
    return path


def certificates(folder):
    """An authority `ca`, and of it a `server` and a `client`, each as `<name>.crt` and `<name>.key`."""

    def openssl(*words):
        subprocess.run([need("openssl"), *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=peers", "-days", "2")
    for name in ("server", "client"):
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "names", "-out", f"{name}.crt")


@contextlib.contextmanager
def served(more=""):
    """A daemon with a certificate, its URL, and a token that reads."""
    daemon = Daemon()
    certificates(daemon.dir)
    daemon.configure(f"""[http.tls_server_config]
cert_file = "{daemon.dir}/server.crt"
key_file = "{daemon.dir}/server.key"
{more.replace("DIR", str(daemon.dir))}""")
    with daemon:
        created = daemon.reflection.call("SystemService", "CreateToken", name="peer", scopes=["TOKEN_SCOPE_VIEWER"])
        yield daemon, f"https://{daemon.status().http_address}", created.text


CLIENTS = 'client_auth_type = "RequireAndVerifyClientCert"\nclient_ca_file = "DIR/ca.crt"\n'


def status(url, context, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(f"{url}/metrics", headers=headers)
        with urllib.request.urlopen(request, context=context, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def refuses(url, context):
    try:
        status(url, context)
    except OSError:
        return True
    return False


def openssl_trusts_and_is_trusted():
    with served(CLIENTS) as (daemon, url, token):
        context = ssl.create_default_context(cafile=daemon.dir / "ca.crt")
        assert refuses(url, context), "without a certificate"
        context.load_cert_chain(daemon.dir / "client.crt", daemon.dir / "client.key")
        assert status(url, context) == 200
        assert status(url, context, token) == 200
        assert status(url, context, token[:-64] + "0" * 64) == 401
        assert refuses(url, ssl.create_default_context()), "a certificate of nobody known"


def old_versions_are_refused():
    with served() as (daemon, url, _):
        for version, fine in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
            context = ssl.create_default_context(cafile=daemon.dir / "ca.crt")
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                context.minimum_version = context.maximum_version = version
            assert refuses(url, context) != fine, version


def prometheus_scrapes_with_a_token():
    prometheus, port = need("prometheus"), free_port()
    with served(CLIENTS) as (daemon, url, token):
        (daemon.dir / "token").write_text(token)
        (daemon.dir / "prometheus.yml").write_text(f"""
scrape_configs:
  - job_name: balefire
    scrape_interval: 1s
    scheme: https
    authorization: {{credentials_file: {daemon.dir}/token}}
    tls_config: {{ca_file: {daemon.dir}/ca.crt, cert_file: {daemon.dir}/client.crt, key_file: {daemon.dir}/client.key}}
    static_configs: [{{targets: ["{url.removeprefix("https://")}"]}}]
""")
        own = f"http://127.0.0.1:{port}"
        with process(prometheus, f"--config.file={daemon.dir}/prometheus.yml", f"--storage.tsdb.path={daemon.dir}/tsdb",
                     f"--web.listen-address=127.0.0.1:{port}", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            eventually("Prometheus is ready", lambda: answers(f"{own}/-/ready"))
            eventually("the scrape goes well", lambda: ups(own) == ["1"])


def ups(url):
    found = json.loads(fetch(f"{url}/api/v1/query?query=up"))["data"]["result"]
    return [series["value"][1] for series in found]


run(openssl_trusts_and_is_trusted, old_versions_are_refused, prometheus_scrapes_with_a_token)
