"""The official TypeScript SDKs as clients of the shim, in both eras, over standard input and output and over HTTP."""

import json
import shutil
import subprocess

from harness import NODE, Skip, run
from shim import HERE, READ_ONLY, TOOLS, check_definitions, command, daemon_with_servers, http


# How each of them agrees on the protocol, and the version that comes of it (the older package does not tell).
MODES = {"v1": None, "legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}


def client(*arguments):
    for package in ("@modelcontextprotocol/sdk", "@modelcontextprotocol/client"):
        if not (NODE / package).exists():
            raise Skip(f"{package} is not installed")
    # Modules are looked for beside the program.
    program = NODE.parent / "mcp-client.mjs"
    shutil.copy(HERE / "client.mjs", program)
    done = subprocess.run(["node", program, *arguments], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(mode, told, offered):
    assert told.get("version") == MODES[mode], told
    assert told["server"]["name"] == "balefire", told["server"]
    check_definitions(told["tools"], offered)
    for name, answer in told["answers"].items():
        assert not answer["isError"], (name, answer)
        assert json.loads(answer["text"]) == answer["structuredContent"], name


def over_stdio():
    with daemon_with_servers() as daemon:
        for mode in MODES:
            check(mode, client(mode, "stdio", *command(daemon.socket)), TOOLS)


def over_http():
    with daemon_with_servers() as daemon, http(daemon.socket) as url:
        for mode in MODES:
            check(mode, client(mode, "http", url), READ_ONLY)


def without_a_daemon():
    told = client("auto", "stdio", *command("/nowhere/sock"))
    check_definitions(told["tools"], TOOLS)
    for name, answer in told["answers"].items():
        assert answer["isError"] and "systemctl start balefire" in answer["text"], (name, answer)


if __name__ == "__main__":
    run(without_a_daemon, over_stdio, over_http)
