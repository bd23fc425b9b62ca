"""A daemon on a state directory of the test's choice: recorded or not, with its clocks moved or not."""

import contextlib
import importlib
import mmap
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BALEFIRE_BIN", ROOT / "target/debug"))
TOOLS = ROOT / ".cache/crash"
PATIENCE = 60
# See tests/peers/harness.py for the first.
CHANNEL_OPTIONS = [("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", 1 << 28),
                   ("grpc.max_reconnect_backoff_ms", 200), ("grpc.use_local_subchannel_pool", 1)]
CONFIG = '[global]\nevaluation_interval = "5s"\n[discovery]\nenabled = false\n'
HOUR_MS = 3_600_000


def build_tools():
    """The recorder and the moved clock, compiled anew when their source has changed."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    for source, target, how in (("recorder.c", "recorder", ()), ("clock.c", "clock.so", ("-shared", "-fPIC"))):
        source, target = pathlib.Path(__file__).with_name(source), TOOLS / target
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", *how, "-o", f"{target}.new", source, "-ldl"], check=True)
            os.replace(f"{target}.new", target)


def why_not():
    """Why nothing can be recorded here, or nothing."""
    if not shutil.which("gcc"):
        return "gcc is not installed"
    build_tools()
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run([TOOLS / "recorder", folder, f"{folder}/log", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode == 125 else None


def load_stubs():
    """The generated modules of proto/; made in a folder that goes at the end."""
    folder = tempfile.TemporaryDirectory()
    names = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto", f"--python_out={folder.name}",
                    f"--grpc_python_out={folder.name}", *names], check=True)
    sys.path.insert(0, folder.name)
    modules = {name: importlib.import_module(f"balefire.v1.{name}_pb2") for name in ("metrics", "alerts")}
    stubs = {name: importlib.import_module(f"balefire.v1.{name}_pb2_grpc") for name in ("metrics", "alerts")}
    folder.cleanup()
    return modules, stubs


MODULES, STUBS = load_stubs()


class Clock:
    """Moves the clocks of whoever is started with its environment."""

    def __init__(self, path, wall_ms=0):
        path.write_bytes(bytes(16))
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)
        self.environment = {"CLOCK_FILE": str(path), "LD_PRELOAD": str(TOOLS / "clock.so")}
        self.wall_ms, self.steady_ms = 0, 0
        self.move(wall_ms, 0)

    def move(self, wall_ms, steady_ms):
        self.wall_ms += wall_ms
        self.steady_ms += steady_ms
        self._map[:] = struct.pack("=qq", self.wall_ms * 1_000_000, self.steady_ms * 1_000_000)

    def now_ms(self):
        return int(time.time() * 1000) + self.wall_ms


class Daemon:
    """A running daemon; ends with the block, by SIGKILL unless it was stopped before."""

    def __init__(self, state, clock=None, log=None):
        """With `log` it is recorded there."""
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="bfc", dir="/tmp"))
        (self.dir / "home").mkdir()
        (self.dir / "balefire.toml").write_text(CONFIG)
        self.recorded = log is not None
        command = [BIN / "balefired", "--config", self.dir / "balefire.toml", "--state-dir", state,
                   "--socket", self.dir / "sock", "--listen", "127.0.0.1:0"]
        if self.recorded:
            command = [TOOLS / "recorder", state, log, *command]
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.dir / "home"),
                            "NOTIFY_SOCKET": str(self.dir / "notify")}
        self.environment |= clock.environment if clock else quick_sync()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.dir / "notify"))
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        self._stack.callback(self._notify.close)
        with open(self.dir / "log", "wb") as output:
            self.child = subprocess.Popen([str(word) for word in command], env=self.environment,
                                          stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._stack.callback(self._end)
        try:
            self._wait_until_ready()
            self.channel = self._stack.enter_context(
                grpc.insecure_channel(f"unix:{self.dir}/sock", options=CHANNEL_OPTIONS))
            self.metrics = STUBS["metrics"].MetricsServiceStub(self.channel)
            self.alerts = STUBS["alerts"].AlertsServiceStub(self.channel)
        except BaseException:
            self._stack.close()
            raise

    def _wait_until_ready(self):
        deadline = time.monotonic() + PATIENCE
        self._notify.settimeout(0.05)
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in self._notify.recv(4096):
                    # Nobody reads from here on, and who writes to a full socket waits.
                    self._notify.close()
                    return
            if self.child.poll() is not None:
                raise DidNotStart(f"ended with {self.child.returncode}\n{self.log()}")
        raise DidNotStart(f"not ready after {PATIENCE} s\n{self.log()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends it where that was not done before, and removes its folder."""
        self._stack.close()

    def _end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGUSR1 if self.recorded else signal.SIGKILL)
            self.child.wait(PATIENCE)

    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    def stop(self):
        """Tells it to stop; gives its log."""
        self.child.terminate()
        status = self.child.wait(PATIENCE)
        assert status == 0, f"it stopped with {status}\n{self.log()}"
        return self.log()

    def kill(self):
        """Ends it with no chance to do anything; recorded, between two calls."""
        self._end()
        expected = 128 + signal.SIGKILL if self.recorded else -signal.SIGKILL
        assert self.child.returncode == expected, f"it ended with {self.child.returncode}\n{self.log()}"
        return self.log()

    def read_samples(self, name, hours):
        """All samples of a metric: by labels but the name, values' bits by time in ms."""
        request = MODULES["metrics"].QueryRequest(expr=f"{name}[{hours}h]")
        try:
            answer = self.metrics.Query(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return {}
            raise
        found = {}
        for series in answer.matrix.series:
            key = tuple(sorted(item for item in series.labels.items() if item[0] != "__name__"))
            found[key] = {sample.timestamp_ms: bits(sample.value) for sample in series.samples}
        return found

    def read_rules(self):
        """The ids of all rules."""
        found, token = set(), ""
        while True:
            page = self.alerts.ListRules(MODULES["alerts"].ListRulesRequest(page_size=1000, page_token=token), timeout=PATIENCE)
            found |= {rule.id for rule in page.rules}
            token = page.next_page_token
            if not token:
                return found


class DidNotStart(Exception):
    """The daemon is not there; the text holds its log."""


def bits(value):
    return struct.unpack("=Q", struct.pack("=d", value))[0]


_quick_sync = None


def quick_sync():
    """sled runs the program `sync` as it opens, which waits for everybody's dirty pages. Where nothing is
    recorded that is waiting for nothing."""
    global _quick_sync
    if _quick_sync is None:
        _quick_sync = tempfile.TemporaryDirectory()
        os.symlink("/bin/true", f"{_quick_sync.name}/sync")
    return {"PATH": f"{_quick_sync.name}:{os.environ['PATH']}"}


