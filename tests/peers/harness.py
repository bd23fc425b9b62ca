"""What the tests with real peers share: a daemon in a folder of its own, and how cases are told.

Everything started here is a child in the test's own process group, and is ended by its pid.
"""

import asyncio
import contextlib
import inspect
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BALEFIRE_BIN", ROOT / "target/debug"))
VENV = ROOT / ".cache/venv/bin"
NODE = ROOT / ".cache/node/node_modules"
PATIENCE = 20

# grpcio names a Unix socket's path as the authority, percent-encoded, which Rust's h2 takes for malformed
# and resets the stream. Every client over a Unix socket has to name a host; which one does not matter.
CHANNEL_OPTIONS = [("grpc.default_authority", "localhost")]


class Skip(Exception):
    """A real component is missing; the text says which."""


def run(*cases):
    """Runs each case, tells how it went in the form that tests/run counts, and ends the program."""
    failed = 0
    for case in cases:
        try:
            result = case()
            if inspect.isawaitable(result):
                asyncio.run(result)
            print(f"ok - {case.__name__}", flush=True)
        except Skip as skip:
            print(f"skip - {case.__name__}: {skip}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok - {case.__name__}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)


def eventually(what, ask, patience=PATIENCE):
    """Asks until the answer is true, and gives it; fails when it never is."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
    return answer


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url, accept="text/plain;version=0.0.4"):
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=PATIENCE) as answer:
        return answer.read().decode()


def answers(url):
    with contextlib.suppress(OSError):
        return bool(fetch(url)) or True
    return False


@contextlib.contextmanager
def process(*command, **options):
    """A child that is told to end with the block, and made to if it does not."""
    child = subprocess.Popen([str(word) for word in command], **options)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(12)
            except subprocess.TimeoutExpired:
                child.kill()
        child.wait()


class Daemon:
    """`balefired` on a configuration, in a folder whose name is short enough for a socket."""

    def __init__(self, config="", arguments=(), home=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="bf", dir="/tmp"))
        self.socket = self.dir / "sock"
        self.home = self.dir / "home"
        self.home.mkdir()
        for name, text in (home or {}).items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.configure(config)
        self.environment = {"PATH": f"{VENV}:{NODE}/.bin:{BIN}:{os.environ['PATH']}", "HOME": str(self.home)}
        self.command = [BIN / "balefired", "--config", self.dir / "balefire.toml", "--state-dir", self.dir / "state",
                        "--socket", self.socket, "--listen", "127.0.0.1:0", *arguments]
        self._stack = contextlib.ExitStack()

    def configure(self, config):
        (self.dir / "balefire.toml").write_text(config)

    def __enter__(self):
        # Last in is first out: the process ends, its channel is closed, the folder goes.
        self._stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        try:
            with open(self.dir / "log", "wb") as log:
                self.child = self._stack.enter_context(
                    process(*self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            self.channel = self._stack.enter_context(grpc.insecure_channel(f"unix:{self.socket}", options=CHANNEL_OPTIONS))
            eventually("the daemon serves", self._serves)
        except BaseException:
            print(self.log(), file=sys.stderr)
            self._stack.close()
            raise
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            print(self.log(), file=sys.stderr)
        running = self.child.poll() is None
        log = self.log()
        self._stack.close()
        if error is None:
            assert running, f"the daemon ended by itself\n{log}"
            assert self.child.returncode == 0, f"the daemon ended with {self.child.returncode}\n{log}"
            assert "panicked" not in log, log

    def _serves(self):
        assert self.child.poll() is None, "the daemon ended"
        with contextlib.suppress(grpc.RpcError):
            return self.reflection.call("SystemService", "GetStatus")

    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    @property
    def reflection(self):
        return Reflection(self.channel)

    def status(self):
        return self.reflection.call("SystemService", "GetStatus")

    def url(self, path):
        return f"http://{self.status().http_address}{path}"

    def cli(self, *arguments):
        """Runs `balefire` to its end."""
        return subprocess.run([BIN / "balefire", "--socket", self.socket, *arguments], env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)


class Reflection:
    """A client that knows nothing but what the server tells of itself."""

    def __init__(self, channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    def services(self):
        return set(self.database.get_services())

    def speaks(self, version):
        """Whether the server answers this version of the reflection protocol; both are alike on the wire."""
        ask = self.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                         ServerReflectionRequest.SerializeToString, ServerReflectionResponse.FromString)
        answer = next(ask(iter([ServerReflectionRequest(list_services="")]), timeout=PATIENCE))
        return bool(answer.list_services_response.service)

    def call(self, service, method, **fields):
        found = self.pool.FindServiceByName(f"balefire.v1.{service}").methods_by_name[method]
        request, response = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
        call = self.channel.unary_unary(f"/balefire.v1.{service}/{method}", request.SerializeToString, response.FromString)
        return call(json_format.ParseDict(fields, request()), timeout=PATIENCE)


@contextlib.contextmanager
def server_everything():
    """The reference MCP server over streamable HTTP, bound to loopback; gives its URL."""
    program = NODE / "@modelcontextprotocol/server-everything/dist/index.js"
    if not program.exists():
        raise Skip("@modelcontextprotocol/server-everything is not installed")
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "NODE_OPTIONS": f"--require={ROOT}/tests/peers/loopback.cjs"}
    with process("node", program, "streamableHttp", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        eventually("server-everything listens", lambda: connects(port))
        yield f"http://127.0.0.1:{port}/mcp"


def connects(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def real_targets(url):
    """The configuration of two real MCP servers: one over stdio, one over streamable HTTP."""
    if not (VENV / "mcp-server-time").exists():
        raise Skip("mcp-server-time is not installed")
    return f"""
[[targets]]
name = "time"
kind = "mcp"
command = ["{VENV}/mcp-server-time"]
timeout = "20s"

[[targets]]
name = "everything"
kind = "mcp"
url = "{url}"
"""
