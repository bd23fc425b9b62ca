"""The two sides: a Prometheus as the oracle, and Balefire, each loaded with the same samples."""

import contextlib
import http.client
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse

import native
import wire
from google.protobuf import message_factory
from harness import Daemon, answers, eventually, free_port, process

# So that an hour's samples of one series come before the next hour's of another: a head takes no older ones.
SLICE_MS = 300_000
# What Balefire takes for a subquery that names no step.
CONFIG = "global:\n  evaluation_interval: 1m\n"
TIMEOUT = 130
FEATURES = ("promql-experimental-functions", "native-histograms")


class Api:
    """Prometheus' query API over one connection that is kept."""

    def __init__(self, address):
        self.address = address
        self.connection = None

    def get(self, path, **fields):
        """The answer as JSON, whatever its status."""
        target = f"{path}?{urllib.parse.urlencode(fields)}"
        for again in (True, False):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT)
            try:
                self.connection.request("GET", target)
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if not again:
                    raise
        return None

    def instant(self, expr, at):
        status, body = self.get("/api/v1/query", query=expr, time=at)
        return json.loads(body)

    def range(self, expr, start, end, step):
        status, body = self.get("/api/v1/query_range", query=expr, start=start, end=end, step=step)
        return json.loads(body)


RENAMED = (r"holt_winters", "double_exponential_smoothing")


class Oracle(Api):
    """A Prometheus in a folder of its own."""

    def __init__(self, program):
        self.program = program
        self.version = tuple(int(part) for part in version_of(program).split(".")[:2])
        super().__init__(f"127.0.0.1:{free_port()}")
        self._stack = contextlib.ExitStack()

    @property
    def modern(self):
        """Whether it has the semantics of 3.x, which Balefire follows."""
        return self.version >= (3, 0)

    def __enter__(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="bfo", dir="/tmp"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "prometheus.yml").write_text(CONFIG)
        with open(folder / "log", "wb") as log:
            self.child = self._stack.enter_context(process(
                self.program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={self.address}", "--web.enable-remote-write-receiver", "--log.level=warn",
                "--storage.tsdb.retention.time=100y", *(["--enable-feature=" + ",".join(FEATURES)] if self.modern else []),
                stdout=log, stderr=log, cwd=folder))
        try:
            eventually("Prometheus is ready", lambda: answers(f"http://{self.address}/-/ready"))
        except BaseException:
            print((folder / "log").read_text())
            self._stack.close()
            raise
        return self

    def __exit__(self, *_):
        self._stack.close()

    def get(self, path, **fields):
        # A function that 3.0 gave another name.
        fields["query"] = re.sub(*(RENAMED if self.modern else RENAMED[::-1]), fields["query"])
        return super().get(path, **fields)

    def load(self, data):
        for series in slices(data):
            mixed = [each for each in series if each[1] and each[2]]
            self._write(wire.field(1, encode(*each)) for each in series if each not in mixed)
            for each in mixed:
                for part in in_order(*each):
                    self._write([wire.field(1, encode(*part))])

    def _write(self, series):
        connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT)
        with contextlib.closing(connection):
            connection.request("POST", "/api/v1/write", wire.snappy(b"".join(series)), {
                "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                "X-Prometheus-Remote-Write-Version": "0.1.0"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status in (200, 204), f"remote write: {answer.status} {text.decode()}"


def version_of(program):
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return (said.stdout + said.stderr).split("version ")[1].split()[0].split("+")[0]


def slices(data):
    """The series with their samples, a stretch of time after the other."""
    places = {id(series): [0, 0] for series in data.series}
    for end in range(data.start_ms + SLICE_MS, data.end_ms + 2 * SLICE_MS, SLICE_MS):
        batch = []
        for series in data.series:
            place = places[id(series)]
            samples = take(series.samples, place, 0, end)
            histograms = take(series.histograms, place, 1, end)
            if samples or histograms:
                batch.append((series, samples, histograms))
        if batch:
            yield batch


def take(points, place, which, end):
    """Those from `place` on that lie before `end`; moves the place."""
    first = last = place[which]
    while last < len(points) and points[last][0] < end:
        last += 1
    place[which] = last
    return points[first:last]


def in_order(series, samples, histograms):
    """The same in parts: of one request, Prometheus takes all samples of a series before any histogram."""
    points = [(at, 0, value) for at, value in samples] + [(at, 1, value) for at, value in histograms]
    points.sort(key=lambda point: point[:2])
    for kind, run in itertools.groupby(points, key=lambda point: point[1]):
        run = [(at, value) for at, _, value in run]
        yield (series, [], run) if kind else (series, run, [])


def encode(series, samples, histograms):
    body = wire.labels(series.labels) + b"".join(wire.sample(at, value) for at, value in samples)
    return body + b"".join(wire.field(4, native.to_remote(at, histogram)) for at, histogram in histograms)


class Balefire(Api):
    """The daemon, without anything that it would do by itself."""

    def __init__(self):
        # As fast as it can be asked.
        limits = "[limits]\nhttp_requests_per_second = 100000\nhttp_burst = 100000\n"
        self.daemon = Daemon('[global]\nevaluation_interval = "1h"\n[discovery]\nenabled = false\n' + limits)

    def __enter__(self):
        self.daemon.__enter__()
        super().__init__(self.daemon.status().http_address)
        return self

    def __exit__(self, *error):
        self.daemon.__exit__(*error)

    def load(self, data):
        service = self.daemon.reflection.pool.FindServiceByName("balefire.v1.MetricsService")
        method = service.methods_by_name["Write"]
        request, response = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
        write = self.daemon.channel.unary_unary("/balefire.v1.MetricsService/Write", request.SerializeToString, response.FromString)
        for batch in slices(data):
            message = request()
            for each, samples, histograms in batch:
                series = message.series.add(labels=each.labels)
                for at, value in samples:
                    series.samples.add(timestamp_ms=at, value=value)
                for at, histogram in histograms:
                    native.to_balefire(series, at, histogram)
            answer = write(message, timeout=TIMEOUT)
            assert not answer.rejected_count, f"Balefire refuses {answer.rejections[0]}"
