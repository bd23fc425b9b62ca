"""The MCP inspector's command line lists the tools and calls some, in both eras."""

import json
import os
import subprocess

from harness import NODE, Skip, run
from shim import READ_ONLY, TOOLS, check_definitions, command, daemon_with_servers, http


ERAS = ("legacy", "modern")
# The inspector needs Node 22: npm's package `node` brings one.
RUNTIME = NODE / "node/bin/node"
PROGRAM = NODE / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"


def inspect(era, target, *arguments):
    for part in (RUNTIME, PROGRAM):
        if not part.exists():
            raise Skip(f"{part.relative_to(NODE)} is not installed")
    words = [RUNTIME, PROGRAM, "--cli", "--protocol-era", era, *arguments, "--", *target]
    # Its catalog belongs to the tests, not into anybody's home.
    catalog = {**os.environ, "MCP_CATALOG_PATH": str(NODE.parent / "inspector-catalog.json")}
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL, env=catalog,
                          check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def over_stdio():
    with daemon_with_servers() as daemon:
        target = command(daemon.socket)
        for era in ERAS:
            check_definitions(inspect(era, target, "--method", "tools/list")["tools"], TOOLS)
            call = ["--method", "tools/call", "--tool-name"]
            answer = inspect(era, target, *call, "get_server_status")
            assert not answer.get("isError") and answer["structuredContent"]["server_name"], answer
            answer = inspect(era, target, *call, "health_check", "--tool-arg", "target=time")
            assert answer["structuredContent"]["overall_healthy"], answer


def over_http():
    with daemon_with_servers() as daemon, http(daemon.socket) as url:
        for era in ERAS:
            answer = inspect(era, [url], "--transport", "http", "--method", "tools/list")
            check_definitions(answer["tools"], READ_ONLY)


if __name__ == "__main__":
    run(over_stdio, over_http)
