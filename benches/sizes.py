"""Prints sizes and latencies of the release binaries; run by benches/sizes."""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from google.protobuf import json_format, message_factory
from harness import BIN, PATIENCE, Daemon

TICKS = os.sysconf("SC_CLK_TCK")


def line(what, value, goal):
    print(f"{what:<44} {value:>14}   {goal}", flush=True)


def rss_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def quantile(times, share):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(call, count):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def caller(daemon, service, method, **fields):
    """A prepared call: nothing but the wire is left to time."""
    reflection = daemon.reflection
    found = reflection.pool.FindServiceByName(f"balefire.v1.{service}").methods_by_name[method]
    request, response = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
    message = json_format.ParseDict(fields, request())
    call = daemon.channel.unary_unary(f"/balefire.v1.{service}/{method}", request.SerializeToString, response.FromString)
    return lambda: call(message, timeout=PATIENCE)


def idle(daemon, options):
    before, start = cpu_seconds(daemon.child.pid), time.monotonic()
    time.sleep(options.idle_seconds)
    spent = (cpu_seconds(daemon.child.pid) - before) / (time.monotonic() - start)
    line(f"daemon, RSS after {options.idle_seconds} s idle", f"{rss_mib(daemon.child.pid):.1f} MiB", "<= 20 MiB")
    line("daemon, idle CPU", f"{spent * 100:.2f} %", "< 0.5 % of a core")


def collect(daemon, _options):
    def spent(call, count=50):
        before = cpu_seconds(daemon.child.pid)
        for _ in range(count):
            call()
        return (cpu_seconds(daemon.child.pid) - before) / count
    status = spent(caller(daemon, "SystemService", "GetStatus"))
    passes = spent(caller(daemon, "MetricsService", "CollectMetrics", source="METRIC_SOURCE_SYSTEM"))
    line("one default collection pass, CPU", f"{(passes - status) * 1000:.1f} ms", "<= 10 ms")


def write(daemon, _options):
    metrics = [{"name": f"bench_{index % 10}", "value": index, "metricType": "METRIC_TYPE_GAUGE",
                "tags": {"index": str(index)}} for index in range(1000)]
    call = caller(daemon, "MetricsService", "CollectMetrics", source="METRIC_SOURCE_CUSTOM", metrics=metrics)
    times = timed(call, 200)
    line("collect_metrics with 1,000 metrics, p50", f"{quantile(times, 0.5) * 1000:.2f} ms", "")
    line("collect_metrics with 1,000 metrics, p99", f"{quantile(times, 0.99) * 1000:.2f} ms", "< 20 ms")


def status(daemon, _options):
    if not shutil.which("h2load"):
        times = timed(caller(daemon, "SystemService", "GetStatus"), 2000)
        line("GetStatus, p50 (Python; no h2load)", f"{quantile(times, 0.5) * 1000:.3f} ms", "< 0.3 ms")
        return
    with tempfile.NamedTemporaryFile() as frame, tempfile.NamedTemporaryFile() as log:
        # An empty gRPC message: not compressed, no bytes.
        frame.write(bytes(5))
        frame.flush()
        subprocess.run(["h2load", "-n", "5000", "-c", "1", "-m", "1", "-d", frame.name, f"--log-file={log.name}",
                        "-H", "content-type: application/grpc", "-H", "te: trailers", "--base-uri", f"unix:{daemon.socket}",
                        "http://localhost/balefire.v1.SystemService/GetStatus"], check=True, stdout=subprocess.DEVNULL)
        # Start of the request, status, and the time it took in microseconds.
        rows = [row.split("\t") for row in pathlib.Path(log.name).read_text().splitlines()]
    assert all(row[1] == "200" for row in rows), "h2load was refused"
    times = [int(row[2]) / 1e6 for row in rows]
    line("GetStatus over the socket, p50", f"{quantile(times, 0.5) * 1000:.3f} ms", "< 0.3 ms")
    line("GetStatus over the socket, p99", f"{quantile(times, 0.99) * 1000:.3f} ms", "")


class Shim:
    """`balefire-mcp` over stdio, a line at a time."""

    def __init__(self, daemon):
        self.start = time.perf_counter()
        self.child = subprocess.Popen([BIN / "balefire-mcp", "--socket", daemon.socket], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "sizes", "version": "1"}}
        self.ask("initialize", client)
        self.ready = time.perf_counter() - self.start
        self.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def tell(self, message):
        self.child.stdin.write(json.dumps(message).encode() + b"\n")
        self.child.stdin.flush()

    def ask(self, method, params):
        self.tell({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        answer = json.loads(self.child.stdout.readline())
        assert "result" in answer and not answer["result"].get("isError"), answer
        return answer

    def end(self):
        self.child.stdin.close()
        self.child.wait(PATIENCE)


def shim(daemon, _options):
    starts = []
    for _ in range(50):
        each = Shim(daemon)
        starts.append(each.ready)
        each.end()
    line("shim, initialize from exec, median", f"{statistics.median(starts) * 1000:.1f} ms", "< 10 ms")
    one = Shim(daemon)
    call = lambda: one.ask("tools/call", {"name": "get_server_status", "arguments": {}})
    call()
    line("shim, RSS after a call", f"{rss_mib(one.child.pid):.1f} MiB", "< 8 MiB")
    times = timed(call, 1000)
    line("get_server_status through the shim, p50", f"{quantile(times, 0.5) * 1000:.3f} ms", "< 1 ms")
    one.end()


# Idle comes first, while the daemon has done nothing else.
PARTS = {"idle": idle, "collect": collect, "write": write, "status": status, "shim": shim}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle-seconds", type=int, default=120)
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {BIN}")
    with Daemon() as daemon:
        for name, part in PARTS.items():
            if name in (options.only or PARTS):
                part(daemon, options)


main()
