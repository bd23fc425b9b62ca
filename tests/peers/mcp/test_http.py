"""What the shim refuses over HTTP: strangers, other origins, other paths, too much, and changes."""

import concurrent.futures
import http.client
import json
import urllib.parse

from harness import PATIENCE, run
from shim import TOOLS, READ_ONLY, http as shim_over_http

OPENING = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
    "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "peer", "version": "1"}}}


def post(url, body=None, path="/mcp", **headers):
    """The status and the text of one POST."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE)
    standard = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    text = body if isinstance(body, bytes) else json.dumps(body or OPENING).encode()
    try:
        connection.request("POST", path, text, {**standard, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def call(url, tool):
    body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    return json.loads(post(url, body, MCP_Protocol_Version="2025-11-25")[1])


def only_loopback_hosts_and_origins():
    with shim_over_http("/nowhere/sock") as url:
        port = urllib.parse.urlsplit(url).port
        for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}"):
            assert post(url, Host=host)[0] == 200, host
        for host in ("evil.example", "127.0.0.1.evil.example", "169.254.169.254"):
            assert post(url, Host=host)[0] == 403, host
        assert post(url, Origin="http://localhost:3000")[0] == 200
        for origin in ("http://evil.example", "null", "http://localhost.evil.example"):
            assert post(url, Origin=origin)[0] == 403, origin


def only_one_path_and_bounded_bodies():
    with shim_over_http("/nowhere/sock") as url:
        status, text = post(url, path="/")
        assert status == 404 and "/mcp" in text, (status, text)
        assert post(url, b'"' + b"x" * (4 << 20) + b'"')[0] == 413
        assert post(url, b"{")[0] in (400, 415)
        assert post(url)[0] == 200, "it serves on"


def changes_nothing():
    with shim_over_http("/nowhere/sock") as url:
        for tool in set(TOOLS) - READ_ONLY:
            assert "changes things" in call(url, tool)["error"]["message"], tool
        assert call(url, "get_server_status")["result"]["isError"], "there is no daemon"


def many_at_once():
    with shim_over_http("/nowhere/sock") as url, concurrent.futures.ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: post(url), range(500)))
        assert {status for status, _ in answers} == {200}, answers


if __name__ == "__main__":
    run(only_loopback_hosts_and_origins, only_one_path_and_bounded_bodies, changes_nothing, many_at_once)
