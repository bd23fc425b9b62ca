"""What the tests of the shim share: the contract of its tools, and how it is started."""

import contextlib
import json
import pathlib
import subprocess

from harness import BIN, Daemon, real_targets, server_everything

HERE = pathlib.Path(__file__).resolve().parent
CONTRACT = json.loads((HERE / "contract.json").read_text())
TOOLS = {tool["name"]: tool for tool in CONTRACT["tools"]}
READ_ONLY = {name for name, tool in TOOLS.items() if tool["read_only"]}
SHIM = BIN / "balefire-mcp"


def command(socket, *arguments):
    return [str(SHIM), "--socket", str(socket), *arguments]


@contextlib.contextmanager
def daemon_with_servers():
    """A daemon that evaluates every second and watches two real MCP servers."""
    with server_everything() as url, Daemon(CONTRACT["config"] + real_targets(url)) as daemon:
        yield daemon


@contextlib.contextmanager
def http(socket):
    """The shim over HTTP on a port of the system's choice; gives its URL. It must end cleanly."""
    child = subprocess.Popen(command(socket, "--http", "127.0.0.1:0"), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = child.stderr.readline()
        assert line.startswith("listening on http://127.0.0.1:"), line
        yield line.removeprefix("listening on ").strip()
        child.terminate()
        out, _ = child.communicate(timeout=12)
        assert child.returncode == 0, f"the shim ended with {child.returncode}"
        assert out == "", f"something stood on standard output: {out}"
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def check_definitions(tools, offered):
    """The tools are exactly those of the contract that are offered, with its arguments."""
    assert [tool["name"] for tool in tools] == [name for name in TOOLS if name in offered], tools
    for tool in tools:
        expected, schema = TOOLS[tool["name"]], tool["inputSchema"]
        missing = set(expected["arguments"]) - set(schema.get("properties", {}))
        assert not missing, f"{tool['name']} takes no {missing}"
        assert set(schema.get("required", [])) == set(expected["required"]), tool["name"]
        assert schema["additionalProperties"] is False, tool["name"]
        missing = set(expected["result"]) - set(tool["outputSchema"]["properties"])
        assert not missing, f"{tool['name']} answers no {missing}"
        hints = tool["annotations"]
        assert hints["readOnlyHint"] is expected["read_only"], tool["name"]
        assert {"title", "destructiveHint", "idempotentHint", "openWorldHint"} <= set(hints), tool["name"]
    size = len(json.dumps(tools, separators=(",", ":")))
    assert size <= 16_000, f"{size} bytes of definitions are more than about 4,000 tokens"


