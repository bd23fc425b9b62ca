"""The MCP inspector's command line lists the tools and calls one."""

import json
import subprocess

from harness import NODE, Skip, run
from shim import READ_ONLY, TOOLS, check_definitions, command, daemon_with_servers, http


def inspect(target, *arguments):
    program = NODE / ".bin/mcp-inspector"
    if not program.exists():
        raise Skip("@modelcontextprotocol/inspector is not installed")
    done = subprocess.run([program, "--cli", *target, *arguments], capture_output=True, text=True, timeout=90,
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def over_stdio():
    with daemon_with_servers() as daemon:
        target = command(daemon.socket)
        check_definitions(inspect(target, "--method", "tools/list")["tools"], TOOLS)
        answer = inspect(target, "--method", "tools/call", "--tool-name", "get_server_status")
        assert not answer.get("isError") and answer["structuredContent"]["server_name"], answer
        answer = inspect(target, "--method", "tools/call", "--tool-name", "health_check", "--tool-arg", "target=time")
        assert answer["structuredContent"]["overall_healthy"], answer


def over_http():
    with daemon_with_servers() as daemon, http(daemon.socket) as url:
        target = [url, "--transport", "http"]
        check_definitions(inspect(target, "--method", "tools/list")["tools"], READ_ONLY)


if __name__ == "__main__":
    run(over_stdio, over_http)
