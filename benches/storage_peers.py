"""The servers that the store is measured beside, each on loopback with a data folder of its own."""

import contextlib
import http.client
import json
import pathlib
import shutil
import time
import urllib.parse

from harness import answers, fetch, free_port, process

# From when on a peer that has not finished its own housekeeping is measured as it is.
HOUSEKEEPING_SECONDS = 180


def disk_bytes(path):
    """Blocks, not lengths."""
    path = pathlib.Path(path)
    if not path.exists():
        return 0
    return sum(each.lstat().st_blocks * 512 for each in (path, *path.rglob("*")))


def wait_until(ask, patience):
    """Whether the answer came to be true in time."""
    deadline = time.monotonic() + patience
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return bool(answer)


def metric(url, name):
    """The sum of a metric that a server tells of itself; None where it has none of that name."""
    rows = [line.rsplit(" ", 1) for line in fetch(url).splitlines() if line.startswith((name + " ", name + "{"))]
    return sum(float(value) for _, value in rows) if rows else None


class Peer:
    """One server; a `with` block starts it empty and removes what it wrote."""

    def __init__(self, parent):
        self.dir = pathlib.Path(parent) / self.program
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self.dir.mkdir()
        self._stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        try:
            with open(self.dir / "log", "wb") as log:
                self.child = self._stack.enter_context(
                    process(self.program, *self.arguments(), stdout=log, stderr=log, cwd=self.dir))
            if not wait_until(lambda: answers(f"{self.url}{self.health}"), 30):
                raise RuntimeError(f"{self.program}: {(self.dir / 'log').read_text()}")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_):
        self._stack.close()

    def post(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        with contextlib.closing(connection):
            connection.request("POST", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def query_seconds(self, expr, start_ms, end_ms, goes=9):
        """The median of a range query at one-minute steps, and how many series it gave."""
        fields = {"query": expr, "start": start_ms / 1000, "end": end_ms / 1000, "step": 60, "nocache": 1}
        path = f"/api/v1/query_range?{urllib.parse.urlencode(fields)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        times = []
        with contextlib.closing(connection):
            for _ in range(goes + 1):
                start = time.perf_counter()
                connection.request("GET", path)
                body = connection.getresponse().read()
                times.append(time.perf_counter() - start)
        # The first one does not count.
        answer = json.loads(body)
        if answer["status"] != "success":
            raise RuntimeError(f"{self.title}: {answer}")
        return sorted(times[1:])[goes // 2], len(answer["data"]["result"])


class Prometheus(Peer):
    """Debian's, as a receiver of remote write; it acknowledges without fsync."""

    program, title, health = "prometheus", "Prometheus", "/-/ready"

    def arguments(self):
        (self.dir / "prometheus.yml").write_text("global: {}\n")
        return [f"--config.file={self.dir}/prometheus.yml", f"--storage.tsdb.path={self.dir}/data",
                "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-remote-write-receiver", "--web.enable-admin-api", "--log.level=warn"]

    def sizes(self):
        """Bytes of data and of index: blocks as it compacted them, and of what is still in memory."""
        span = lambda: (metric(f"{self.url}/metrics", "prometheus_tsdb_head_max_time")
                        - metric(f"{self.url}/metrics", "prometheus_tsdb_head_min_time"))
        wait_until(lambda: span() <= 3 * 3600 * 1000, HOUSEKEEPING_SECONDS)
        status, text = self.post("/api/v1/admin/tsdb/snapshot?skip_head=false")
        if status != 200:
            raise RuntimeError(text)
        blocks = self.dir / "data/snapshots" / json.loads(text)["data"]["name"]
        index = sum(disk_bytes(path) for path in blocks.glob("*/index"))
        return {"data": disk_bytes(blocks) - index, "index": index}


class VictoriaMetrics(Peer):
    """Debian's, single-node; it acknowledges without fsync."""

    program, title, health = "victoria-metrics", "VictoriaMetrics", "/health"

    def arguments(self):
        return [f"-storageDataPath={self.dir}/data", "-retentionPeriod=100y", f"-httpListenAddr=127.0.0.1:{self.port}",
                "-loggerLevel=WARN", "-search.latencyOffset=0s"]

    def flush(self):
        """Has it show what it has taken to queries."""
        fetch(f"{self.url}/internal/force_flush")

    def sizes(self):
        """Bytes of data and of index, after all parts were merged."""
        self.flush()
        fetch(f"{self.url}/internal/force_merge")
        time.sleep(2)
        wait_until(lambda: not metric(f"{self.url}/metrics", "vm_active_merges"), HOUSEKEEPING_SECONDS)
        return {"data": disk_bytes(self.dir / "data/data"), "index": disk_bytes(self.dir / "data/indexdb")}


PEERS = (Prometheus, VictoriaMetrics)
