"""The samples that queries are measured on, and how they get into each server.

A host has 100 series: 30 of requests, 36 buckets of a histogram, 24 of CPU time, 9 of memory, one of
information. Values are a function of series and step, the same for all servers.
"""

import http.client
import itertools
import time

import grpc
import wire
from google.protobuf import message_factory
from harness import Reflection

INTERVAL_MS = 30_000
LE = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
MODES = ("idle", "user", "system", "iowait", "irq", "steal")
KINDS = ("used", "free", "cached", "buffers", "slab", "swap", "mapped", "shared", "dirty")
# Samples of one request.
BATCH = 20_000


class Data:
    """So many hosts, for so many steps until a minute ago."""

    def __init__(self, hosts, hours):
        self.steps = hours * 3_600_000 // INTERVAL_MS
        # A millisecond beside the grid, so that no window ends on a sample.
        self.end_ms = (int(time.time() * 1000) - 60_000) // INTERVAL_MS * INTERVAL_MS + 1
        self.start_ms = self.end_ms - self.steps * INTERVAL_MS
        self.labels = list(itertools.chain.from_iterable(host_series(host) for host in range(hosts)))

    def blocks(self, steps_of_block):
        """Stretches of steps: for each its times, and a function from a series to its values."""
        for first in range(0, self.steps, steps_of_block):
            steps = range(first, min(first + steps_of_block, self.steps))
            times = [self.start_ms + (step + 1) * INTERVAL_MS for step in steps]
            yield times, lambda series, steps=steps: values(self.labels[series]["__name__"], series, steps)


def host_series(host):
    at = {"instance": f"host-{host:04}.example:9100", "job": "app"}
    for handler in range(10):
        for code in ("200", "404", "500"):
            yield {"__name__": "app_requests_total", **at, "handler": f"/path/{handler}", "code": code}
    for handler in range(3):
        for le in LE:
            yield {"__name__": "app_latency_seconds_bucket", **at, "handler": f"/path/{handler}", "le": le}
    for cpu in range(4):
        for mode in MODES:
            yield {"__name__": "app_cpu_seconds_total", **at, "cpu": str(cpu), "mode": mode}
    for kind in KINDS:
        yield {"__name__": "app_memory_bytes", **at, "kind": kind}
    yield {"__name__": "app_info", **at, "version": f"1.{host % 7}.0", "zone": f"zone-{host % 5}"}


def values(name, series, steps):
    """What a series says at these steps. Counters begin far from zero: Prometheus 2.42 extrapolates beside it as 3.x does not."""
    if name == "app_info":
        return [1.0] * len(steps)
    if name == "app_memory_bytes":
        return [4096.0 * (50_000 + (series * 7919 + step * 104_729) % 20_011) for step in steps]
    if name == "app_cpu_seconds_total":
        return [round(1e9 + series % 1000 + step * (3 + series % 23) + (step * 31 + series) % 7 * 0.37, 2) for step in steps]
    if name == "app_latency_seconds_bucket":
        # The buckets of a histogram are neighbours, and each holds what the one before it does.
        histogram, bucket = divmod(series % 100 - 30, len(LE))
        grows = (bucket + 1) * (histogram + series // 100 % 5 + 1)
        return [float(10**9 * (bucket + 1) + step * grows * 2 + (step % 3) * bucket) for step in steps]
    # Rates of their own: topk leaves the order of equal ones to chance.
    rate = 11 + 3 * (series * 7919 % 100_003)
    return [float(10**9 + step * rate + (step * 13 + series) % 11) for step in steps]


def to_balefire(data, socket):
    """By `WriteStream`; returns when all of it is durable."""
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
        method = Reflection(channel).pool.FindServiceByName("balefire.v1.MetricsService").methods_by_name["WriteStream"]
        request, response = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
        write = channel.stream_stream("/balefire.v1.MetricsService/WriteStream", request.SerializeToString, response.FromString)
        sent = [0]
        durable = rejected = 0
        for answer in write(stream_requests(data, request, sent), timeout=1800):
            durable, rejected = answer.durable_sequence, rejected + answer.rejected_count
            if rejected:
                raise RuntimeError(f"refused: {answer.rejections[0]}")
        if durable != sent[0]:
            raise RuntimeError(f"durable up to {durable} of {sent[0]}")


def stream_requests(data, request, sent):
    declared = set()
    steps_of_block = max(1, min(120, BATCH // 100))
    for times, of in data.blocks(steps_of_block):
        for first in range(0, len(data.labels), max(1, BATCH // len(times))):
            sent[0] += 1
            message = request(sequence=sent[0])
            for series in range(first, min(first + max(1, BATCH // len(times)), len(data.labels))):
                if series not in declared:
                    declared.add(series)
                    message.series.add(ref=series, labels=data.labels[series])
                message.refs.extend([series] * len(times))
                message.timestamps_ms.extend(times)
                message.values.extend(of(series))
            yield message


def to_remote(data, port):
    """By remote write, ten minutes of each series at a time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    encoded = [wire.labels(labels) for labels in data.labels]
    for times, of in data.blocks(20):
        batch = BATCH // len(times)
        for first in range(0, len(encoded), batch):
            body = b"".join(wire.field(1, encoded[series] + b"".join(map(wire.sample, times, of(series))))
                            for series in range(first, min(first + batch, len(encoded))))
            connection.request("POST", "/api/v1/write", wire.snappy(body), {
                "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                "X-Prometheus-Remote-Write-Version": "0.1.0"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status not in (200, 204):
                raise RuntimeError(f"remote write: {answer.status} {text.decode()}")
    connection.close()
