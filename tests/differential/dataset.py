"""Samples drawn from a seed: what hosts, probes and services tell, and what none of them should.

All times are odd: every sample lies 1 ms after a multiple of 10 ms, so that windows, steps and offsets in
whole hundredths of a second never begin or end on one, unless the time of evaluation does.
"""

import dataclasses
import math
import random
import struct

import native

# The NaN that ends a series: https://prometheus.io/docs/specs/prw/remote_write_spec/, stale markers.
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
NAN = math.nan
MINUTE_MS = 60_000
PHASE_MS = 1

HOSTS = ("alder:9100", "birch:9100", "cedar:9100")
LE = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")


@dataclasses.dataclass
class Series:
    """A series with its samples in order of time; `histograms` has native ones, at times of their own."""

    labels: dict
    samples: list
    histograms: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Metric:
    """What the generator of expressions knows of a metric: how it behaves, and which labels have which values."""

    name: str
    kind: str
    labels: dict


class Dataset:
    """Everything, between `start_ms` and `end_ms`."""

    def __init__(self, seed, end_ms, minutes=120, with_native=False):
        self.random = random.Random(f"data {seed}")
        self.end_ms = end_ms // MINUTE_MS * MINUTE_MS + PHASE_MS
        self.start_ms = self.end_ms - minutes * MINUTE_MS
        self.series, self.metrics = [], {}
        hosts(self)
        services(self)
        probes(self)
        oddities(self)
        if with_native:
            native.histograms(self)
        self.series.sort(key=lambda series: sorted(series.labels.items()))

    def add(self, kind, name, labels, values, times=None):
        """One series; `values` gives the next value at each time, or None for no sample."""
        times = self.regular() if times is None else times
        samples = [(at, value) for at in times if (value := next(values)) is not None]
        self.add_samples(kind, name, labels, samples)

    def add_samples(self, kind, name, labels, samples):
        self.series.append(Series({"__name__": name, **labels}, samples))
        metric = self.metrics.setdefault(name, Metric(name, kind, {}))
        for label, value in labels.items():
            metric.labels.setdefault(label, [])
            if value not in metric.labels[label]:
                metric.labels[label].append(value)

    def regular(self, interval_ms=15_000, jitter_ms=0):
        """Times at an interval, some of them a little late, as a scraper is."""
        phase = self.random.randrange(0, interval_ms // 2, self.random.choice((10, 1000)))
        for at in range(self.start_ms + phase, self.end_ms, interval_ms):
            late = self.random.randrange(0, jitter_ms, 10) if jitter_ms else 0
            yield at + late

    def irregular(self, mean_ms):
        """Times with pauses of any length; now and then of many minutes."""
        at = self.start_ms
        while at < self.end_ms:
            yield at
            pause = self.random.expovariate(1 / mean_ms) * (12 if self.random.random() < 0.03 else 1)
            at += max(10, int(pause / 10) * 10)

    # Ways to behave: endless generators of values.

    def counter(self, per_scrape, resets=0.004, whole=True):
        value = self.random.uniform(0, 1e5)
        while True:
            yield float(round(value)) if whole else value
            if self.random.random() < resets:
                value = self.random.choice((0, self.random.uniform(0, per_scrape)))
            value += max(0, self.random.gauss(per_scrape, per_scrape / 2))

    def gauge(self, middle, spread, digits=3):
        value = self.random.gauss(middle, spread)
        while True:
            yield round(value, digits)
            value += self.random.gauss((middle - value) * 0.05, spread / 6)

    def level(self, *values):
        """One of a few values, which it keeps for a while."""
        value = self.random.choice(values)
        while True:
            yield value
            if self.random.random() < 0.03:
                value = self.random.choice(values)

    def with_gaps(self, values, share=0.02, stale=False):
        """The same, with stretches left out; with `stale`, a marker at the beginning of each."""
        missing = 0
        for value in values:
            if missing:
                missing -= 1
                yield None
            elif self.random.random() < share:
                missing = self.random.randrange(1, 40)
                yield STALE if stale else None
            else:
                yield value


def hosts(data):
    rng = data.random
    for host in HOSTS:
        node = {"job": "node", "instance": host}
        flaky = host == HOSTS[2]
        shape = (lambda values: data.with_gaps(values, stale=True)) if flaky else (lambda values: values)
        times = list(data.regular())
        for cpu in ("0", "1"):
            for mode, share in (("idle", 10), ("user", 3), ("system", 1), ("iowait", 0.2)):
                labels = {**node, "cpu": cpu, "mode": mode}
                data.add("counter", "node_cpu_seconds_total", labels, shape(data.counter(share, whole=False)), times)
        total = rng.choice((8, 16, 32)) * 2.0**30
        for name, value in (("MemTotal", data.level(total)), ("MemFree", data.gauge(total / 8, total / 50, 0)),
                            ("MemAvailable", data.gauge(total / 2, total / 10, 0)),
                            ("Cached", data.gauge(total / 4, total / 20, 0)),
                            ("Buffers", data.gauge(total / 40, total / 200, 0)), ("SwapTotal", data.level(0.0))):
            data.add("gauge", f"node_memory_{name}_bytes", node, shape(value), times)
        for name, middle in (("node_load1", 1.2), ("node_load5", 1.0), ("node_load15", 0.8)):
            data.add("gauge", name, node, shape(data.gauge(middle, 0.4, 2)), times)
        filesystems(data, node, shape, times)
        for device in ("eth0", "lo"):
            for name, step in (("receive_bytes", 4e5), ("transmit_bytes", 1e5), ("receive_errs", 0.05), ("receive_drop", 0.1)):
                data.add("counter", f"node_network_{name}_total", {**node, "device": device}, shape(data.counter(step)), times)
        for name in ("reads_completed", "read_bytes", "written_bytes"):
            data.add("counter", f"node_disk_{name}_total", {**node, "device": "vda"}, shape(data.counter(500)), times)
        data.add("gauge", "node_boot_time_seconds", node, data.level(data.start_ms / 1000 - 1e6), times)
        data.add("counter", "node_context_switches_total", node, data.counter(9000), times)
        data.add("gauge", "up", node, data.level(1.0, 1.0, 0.0) if flaky else data.level(1.0), times)
        data.add("info", "node_uname_info", {**node, "nodename": host.split(":")[0], "release": rng.choice(("6.1.0", "6.12.1"))},
                 data.level(1.0), times)


def filesystems(data, node, shape, times):
    for device, mount, kind in (("/dev/vda1", "/", "ext4"), ("/dev/vdb1", "/var/lib", "xfs"), ("tmpfs", "/run", "tmpfs")):
        labels = {**node, "device": device, "mountpoint": mount, "fstype": kind}
        size = data.random.choice((20, 50, 100)) * 1e9
        data.add("gauge", "node_filesystem_size_bytes", labels, shape(data.level(size)), times)
        data.add("gauge", "node_filesystem_avail_bytes", labels, shape(data.gauge(size / 3, size / 30, 0)), times)
        data.add("gauge", "node_filesystem_files_free", labels, shape(data.gauge(3e6, 1e5, 0)), times)
        data.add("gauge", "node_filesystem_readonly", labels, data.level(0.0, 0.0, 0.0, 1.0), times)


def services(data):
    rng = data.random
    for instance in ("10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"):
        api = {"job": "api", "instance": instance}
        env = rng.choice(("prod", "staging"))
        data.add("info", "target_info", {**api, "env": env, "region": "eu"}, versions(data))
        data.add("info", "build_info", {**api, "version": rng.choice(("1.2.0", "1.3.0")), "revision": "a1b2c3"}, data.level(1.0))
        data.add("gauge", "up", api, data.with_gaps(data.level(1.0, 1.0, 0.0)))
        for handler in ("/", "/login", "/search"):
            for code in ("200", "404", "500"):
                labels = {**api, "handler": handler, "code": code, "method": rng.choice(("GET", "POST"))}
                step = {"200": 40, "404": 3, "500": 0.5}[code]
                data.add("counter", "http_requests_total", labels, data.with_gaps(data.counter(step), 0.003, True),
                         data.regular(30_000, 4000))
            histogram(data, "http_request_duration_seconds", {**api, "handler": handler})
        data.add("gauge", "process_resident_memory_bytes", api, data.gauge(2e8, 3e7, 0))
        data.add("gauge", "go_goroutines", api, data.gauge(60, 20, 0))
        for quantile in ("0.5", "0.9", "0.99"):
            data.add("gauge", "rpc_duration_seconds", {**api, "quantile": quantile}, data.gauge(float(quantile), 0.1))
    for queue in ("mail", "thumbs", "audit"):
        data.add("gauge", "queue_length", {"job": "worker", "queue": queue}, data.gauge(20, 15, 0), data.regular(10_000, 3000))
        data.add("counter", "queue_done_total", {"job": "worker", "queue": queue}, data.counter(7), data.regular(10_000, 3000))


def versions(data):
    """An information metric that ends in the middle, so that joins see it come and go."""
    return data.with_gaps(data.level(1.0), 0.01, True)


def histogram(data, name, labels, bounds=LE):
    """Classic buckets with sum and count, which are reset together."""
    times = list(data.regular(15_000, 2000))
    counts, total = [0.0] * len(bounds), 0.0
    columns = [[] for _ in range(len(bounds) + 1)]
    for at in times:
        if data.random.random() < 0.003:
            counts, total = [0.0] * len(bounds), 0.0
        for _ in range(data.random.randrange(0, 6)):
            took = data.random.lognormvariate(-2.5, 1.3)
            total += took
            counts = [count + (took <= float(le)) for count, le in zip(counts, bounds)]
        for column, value in zip(columns, (*counts, total)):
            column.append((at, value))
    for le, column in zip(bounds, columns):
        data.add_samples("bucket", f"{name}_bucket", {**labels, "le": le}, column)
    data.add_samples("counter", f"{name}_sum", labels, columns[-1])
    data.add_samples("counter", f"{name}_count", labels, columns[len(bounds) - 1])


def probes(data):
    for target, kind in (("https://alder.example/", "http"), ("birch.example:25", "tcp"), ("cedar.example", "icmp")):
        probe = {"job": "probe", "instance": target, "kind": kind}
        data.add("gauge", "probe_success", probe, data.level(1.0, 1.0, 1.0, 0.0), data.regular(60_000, 9000))
        data.add("gauge", "probe_duration_seconds", probe, data.gauge(0.2, 0.1, 6), data.regular(60_000, 9000))
        if kind == "http":
            data.add("gauge", "probe_http_status_code", probe, data.level(200.0, 503.0, 301.0), data.regular(60_000))
            data.add("gauge", "probe_ssl_earliest_cert_expiry", probe, data.level(data.end_ms / 1000 + 1e6),
                     data.regular(60_000))
            for phase in ("resolve", "connect", "tls", "processing", "transfer"):
                data.add("gauge", "probe_http_duration_seconds", {**probe, "phase": phase}, data.gauge(0.1, 0.05, 6),
                         data.regular(60_000))
    for name, severity in (("DiskFull", "critical"), ("HighLoad", "warning"), ("TargetDown", "critical")):
        for state in ("pending", "firing"):
            labels = {"alertname": name, "alertstate": state, "severity": severity, "instance": data.random.choice(HOSTS)}
            data.add("gauge", "ALERTS", labels, data.with_gaps(data.level(1.0), 0.05, True), data.regular(30_000))


def oddities(data):
    """What arithmetic, intervals and labels can do to an evaluator."""
    rng = data.random
    special = (NAN, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0)
    for kind, values in (("nan", (NAN,)), ("inf", (math.inf, 1.0)), ("neginf", (-math.inf, 1.0)), ("mixed", special),
                         ("zero", (0.0, -0.0)), ("tiny", (5e-324, 1e-300, 2e-308)), ("huge", (1e308, 1.7e308, -1e308)),
                         ("large_sum", (1e16, 1.0, -1e16))):
        data.add("special", "odd_values", {"kind": kind, "job": "odd"}, iter(lambda v=values: rng.choice(v), object()))
    for index, mean_ms in enumerate((2_000, 40_000, 200_000, 600_000)):
        labels = {"pace": str(index), "job": "odd"}
        data.add("gauge", "irregular_gauge", labels, data.gauge(100, 40), data.irregular(mean_ms))
        data.add("counter", "irregular_total", labels, data.counter(50, 0.02), data.irregular(mean_ms))
    data.add_samples("gauge", "single_sample", {"job": "odd"}, [(data.start_ms + 3_600_000, 42.0)])
    data.add_samples("counter", "ended_total", {"job": "odd"},
                     [(data.start_ms + 15_000 * i, float(i)) for i in range(200)] + [(data.start_ms + 3_000_000, STALE)])
    data.add("counter", "from_zero_total", {"job": "odd"}, iter(range(10**9)), data.regular(20_000))
    data.add("gauge", "falling", {"job": "odd"}, (1e6 - 3.25 * i for i in range(10**9)), data.regular(20_000, 5000))
    data.add("gauge", "utf8_labels", {"job": "odd", "city": "Zürich \"Süd\" \\ 1\n2", "empty_like": " "}, data.gauge(5, 1))
    data.add("gauge", "left", {"job": "odd", "a": "1", "b": "x"}, data.gauge(5, 1))
    data.add("gauge", "left", {"job": "odd", "a": "2", "b": "x"}, data.gauge(5, 1))
    data.add("gauge", "right", {"job": "odd", "a": "1", "c": "z"}, data.gauge(5, 1))
    data.add("gauge", "right", {"job": "odd", "a": "3", "c": "z"}, data.gauge(5, 1))
    histogram(data, "no_infinity", {"job": "odd"}, LE[:-1])
    for le, step in (("0.1", 5), ("0.5", 3), ("1", 4), ("+Inf", 4.5)):
        data.add("bucket", "falling_buckets_bucket", {"job": "odd", "le": le}, data.counter(step, 0.0))
    for le in ("0.1", "one", "+Inf"):
        data.add("bucket", "bad_le_bucket", {"job": "odd", "le": le}, data.counter(5, 0.0))
    for le, middle in (("-1", 1.0), ("0", 2.0), ("1", 5.0), ("+Inf", 8.0)):
        data.add("bucket", "negative_bounds_bucket", {"job": "odd", "le": le}, data.level(middle))
