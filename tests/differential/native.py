"""Native histograms: drawn from a random source, and written for each side."""

import math
import struct

from wire import field, varint

CUSTOM = -53
# How a histogram is to be taken: its bytes in Prometheus' protobuf, and its name in Balefire's.
UNKNOWN, GAUGE = 0, 3


class Histogram:
    """One that counts observations; `copy` says what it has come to."""

    def __init__(self, schema, zero_threshold=1e-3, bounds=(), hint=UNKNOWN):
        self.schema, self.zero_threshold, self.bounds, self.hint = schema, zero_threshold, tuple(bounds), hint
        self.clear()

    def clear(self):
        self.count = self.zero_count = 0
        self.sum = 0.0
        self.positive, self.negative = {}, {}

    def observe(self, value):
        self.count += 1
        self.sum += value
        if self.schema == CUSTOM:
            index = sum(bound < value for bound in self.bounds)
            self.positive[index] = self.positive.get(index, 0) + 1
        elif math.isnan(value):
            pass
        elif abs(value) <= self.zero_threshold:
            self.zero_count += 1
        else:
            index = math.ceil(round(math.log2(abs(value)) * 2.0**self.schema, 9))
            side = self.positive if value > 0 else self.negative
            side[index] = side.get(index, 0) + 1

    def copy(self):
        twin = Histogram(self.schema, self.zero_threshold, self.bounds, self.hint)
        twin.count, twin.zero_count, twin.sum = self.count, self.zero_count, self.sum
        twin.positive, twin.negative = dict(self.positive), dict(self.negative)
        return twin


def zigzag(value):
    return value * 2 if value >= 0 else -value * 2 - 1


def side_fields(buckets, spans_field, deltas_field):
    """Spans of neighbouring buckets, and each bucket's difference from the one before."""
    spans, deltas, after, was = [], [], None, 0
    for index in sorted(buckets):
        if index != after:
            spans.append([index - (after or 0), 0])
        spans[-1][1] += 1
        deltas.append(buckets[index] - was)
        after, was = index + 1, buckets[index]
    body = b"".join(field(spans_field, varint(1 << 3) + varint(zigzag(offset)) + varint(2 << 3) + varint(length))
                    for offset, length in spans)
    return body + (field(deltas_field, b"".join(varint(zigzag(delta)) for delta in deltas)) if deltas else b"")


def to_remote(at, histogram):
    """prometheus.Histogram of remote write 1.0, with whole counts."""
    body = varint(1 << 3) + varint(histogram.count) + number(3, histogram.sum)
    body += varint(4 << 3) + varint(zigzag(histogram.schema))
    if histogram.schema != CUSTOM:
        body += number(5, histogram.zero_threshold)
    body += varint(6 << 3) + varint(histogram.zero_count)
    body += side_fields(histogram.negative, 8, 9) + side_fields(histogram.positive, 11, 12)
    body += varint(14 << 3) + varint(histogram.hint) + varint(15 << 3) + varint(at)
    if histogram.bounds:
        body += field(16, b"".join(struct.pack("<d", bound) for bound in histogram.bounds))
    return body


def number(name, value):
    return varint(name << 3 | 1) + struct.pack("<d", value)


def to_balefire(message, at, histogram):
    """Adds it to the histograms of a balefire.v1.TimeSeries."""
    said = message.histograms.add(timestamp_ms=at, count=histogram.count, sum=histogram.sum, schema=histogram.schema,
                                  zero_count=histogram.zero_count, custom_bounds=histogram.bounds,
                                  zero_threshold=0 if histogram.schema == CUSTOM else histogram.zero_threshold,
                                  reset_hint=2 if histogram.hint == GAUGE else 0)
    for side, buckets in ((said.positive, histogram.positive), (said.negative, histogram.negative)):
        for index in sorted(buckets):
            side.add(index=index, count=buckets[index])


# What is in the data.

def histograms(data):
    """Counters and gauges of several layouts, which are reset, change their layout, mix and end."""
    rng = data.random
    for handler, schema in (("/", 3), ("/login", 0), ("/search", 8)):
        for instance in ("10.0.0.1:8080", "10.0.0.2:8080"):
            labels = {"job": "api", "instance": instance, "handler": handler}
            counter(data, "native_duration_seconds", labels, Histogram(schema), lambda: rng.lognormvariate(-2, 1))
    counter(data, "native_signed", {"job": "odd", "kind": "both"}, Histogram(1, 0.01), lambda: rng.gauss(0, 3))
    counter(data, "native_signed", {"job": "odd", "kind": "below"}, Histogram(-2, 0.5), lambda: -abs(rng.gauss(50, 200)))
    counter(data, "native_custom", {"job": "odd", "kind": "a"}, Histogram(CUSTOM, 0, (0.1, 0.5, 1, 5)), lambda: rng.expovariate(1))
    counter(data, "native_custom", {"job": "odd", "kind": "b"}, Histogram(CUSTOM, 0, (0.1, 0.5, 1, 5)), lambda: rng.expovariate(2))
    counter(data, "native_custom", {"job": "odd", "kind": "other"}, Histogram(CUSTOM, 0, (0.25, 2)), lambda: rng.expovariate(1))
    counter(data, "native_nan", {"job": "odd"}, Histogram(2), lambda: math.nan if rng.random() < 0.02 else rng.expovariate(1))
    changing(data, "native_changing", {"job": "odd"})
    gauge(data, "native_gauge", {"job": "odd", "kind": "a"}, 2)
    gauge(data, "native_gauge", {"job": "odd", "kind": "b"}, 4)
    mixed(data, "native_mixed", {"job": "odd"})


def put(data, kind, name, labels, points, samples=()):
    data.add_samples(kind, name, labels, list(samples))
    data.series[-1].histograms = points


def counter(data, name, labels, histogram, draw):
    points = []
    for at in data.regular(15_000, 2000):
        if data.random.random() < 0.004:
            histogram.clear()
        for _ in range(data.random.randrange(0, 5)):
            histogram.observe(draw())
        points.append((at, histogram.copy()))
    put(data, "native", name, labels, points)


def changing(data, name, labels):
    """Another schema, or another zero bucket, every now and then."""
    points, histogram = [], Histogram(3)
    for at in data.regular(20_000):
        if data.random.random() < 0.02:
            histogram = Histogram(data.random.choice((0, 2, 3, 5)), data.random.choice((1e-3, 0.1, 0.25)))
        histogram.observe(data.random.lognormvariate(0, 2))
        histogram.observe(data.random.gauss(0, 1))
        points.append((at, histogram.copy()))
    put(data, "native", name, labels, points)


def gauge(data, name, labels, schema):
    points = []
    for at in data.regular(30_000):
        histogram = Histogram(schema, hint=GAUGE)
        for _ in range(data.random.randrange(0, 20)):
            histogram.observe(data.random.lognormvariate(1, 1))
        points.append((at, histogram))
    put(data, "native gauge", name, labels, points)


def mixed(data, name, labels):
    """Numbers for a while, histograms for a while."""
    points, samples, histogram, numbers = [], [], Histogram(2), False
    for at in data.regular(20_000):
        numbers ^= data.random.random() < 0.03
        histogram.observe(data.random.expovariate(1))
        if numbers:
            samples.append((at, float(histogram.count)))
        else:
            points.append((at, histogram.copy()))
    put(data, "native", name, labels, points, samples)
