"""Measures queries here and in Prometheus and VictoriaMetrics; run by benches/query."""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.parse

import comparison
from harness import Daemon, fetch
from query_data import INTERVAL_MS, Data, to_balefire, to_remote
from storage_peers import Prometheus, VictoriaMetrics, metric, wait_until

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
ROOT = pathlib.Path(__file__).resolve().parents[1]
MARKS = ("<!-- benches/query begins -->", "<!-- benches/query ends -->")
TOLERANCE = 1e-9
# Of CPU time: less than so much of it is too coarse in ticks of 10 ms, so that the query is asked again.
CPU_SECONDS_LEAST = 0.3
GOES_MAX = 60
SEALING_SECONDS = 900

RANGE, INSTANT, SERIES = "range", "instant", "series"
# What is asked, of which data: name, way, data sets, expression.
QUERIES = (
    ("sum of rates", RANGE, "AB", "sum by (mode) (rate(app_cpu_seconds_total[5m]))"),
    ("sum of all rates", RANGE, "AB", 'sum by (instance) (rate({__name__=~"app_(requests|cpu|latency)_.+"}[5m]))'),
    ("quantile of a histogram", RANGE, "AB", "histogram_quantile(0.99, sum by (le) (rate(app_latency_seconds_bucket[5m])))"),
    ("topk", RANGE, "AB", "topk(10, rate(app_requests_total[5m]))"),
    ("join", RANGE, "AB", "sum by (version) (rate(app_requests_total[5m]) * on (instance) group_left (version) app_info)"),
    ("quantile over time", RANGE, "AB", "quantile_over_time(0.95, app_memory_bytes[1h])"),
    ("regex, counted", INSTANT, "AB", 'count({__name__=~"app_.+",instance=~"host-0[0-4].*"})'),
    ("regex, 5,000 of the series", INSTANT, "B", '{__name__=~"app_.+_total|app_memory_.+",instance=~"host-00[0-7].[.].+"}'),
    ("regex, over a range", RANGE, "B", 'max by (job) ({__name__=~"app_.+_total",instance=~"host-00.*"})'),
    ("regex, list of series", SERIES, "B", '{__name__=~"app_.+_total|app_memory_.+",instance=~"host-00[0-7].[.].+"}'),
)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_bytes(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


class Side:
    """A server under measurement."""

    def __init__(self, title, pid, address):
        self.title, self.pid, self.address = title, pid, address
        self.connect()

    def connect(self):
        """Anew for each query: none of them keeps a connection that is idle for ever."""
        self.connection = http.client.HTTPConnection(self.address, timeout=300)

    def fetch(self, path, fields):
        """The whole body, and the status."""
        self.connection.request("GET", f"{path}?{urllib.parse.urlencode(fields)}")
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def request_of(way, expr, data):
    """The path and its parameters; evaluated off the grid of the samples."""
    if way == RANGE:
        start = (data.start_ms + 6) / 1000
        return "/api/v1/query_range", {"query": expr, "start": start, "end": (data.end_ms + 6) / 1000, "step": 60, "nocache": 1}
    if way == INSTANT:
        return "/api/v1/query", {"query": expr, "time": (data.end_ms + 6) / 1000, "nocache": 1}
    return "/api/v1/series", {"match[]": expr, "start": data.start_ms / 1000, "end": data.end_ms / 1000, "nocache": 1}


def measure(side, path, fields, goes):
    """Median wall and mean CPU seconds, and the body; None where this server has no such thing."""
    side.connect()
    status, body = side.fetch(path, fields)
    if status != 200:
        return {"error": f"{status} {body[:200].decode(errors='replace')}"}
    walls, cpu = [], cpu_seconds(side.pid)
    while len(walls) < goes or (cpu_seconds(side.pid) - cpu < CPU_SECONDS_LEAST and len(walls) < GOES_MAX):
        start = time.perf_counter()
        body = side.fetch(path, fields)[1]
        walls.append(time.perf_counter() - start)
    return {"wall": sorted(walls)[len(walls) // 2], "cpu": (cpu_seconds(side.pid) - cpu) / len(walls), "body": body}


def sameness(way, expr, theirs, ours):
    """Whether two answers say the same, in a word or with the first difference."""
    if way == SERIES:
        left, right = (sorted(map(str, (sorted(each.items()) for each in answer["data"]))) for answer in (theirs, ours))
        return "same" if left == right else f"{len(left)} series against {len(right)}"
    return comparison.difference(expr, theirs, ours, TOLERANCE) or "same"


class Table:
    """Rows of Markdown, printed as they come."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)
        print(line, flush=True)

    def head(self):
        self.say("| data | query | Balefire wall / CPU ms | Prometheus | VictoriaMetrics | of Prometheus' CPU / wall "
                 "| of VictoriaMetrics' | answers |")
        self.say("|---|---|---|---|---|---|---|---|")

    def row(self, data, name, figures, same):
        ours, prom, vm = figures
        cells = (data, name, cell(ours), cell(prom), cell(vm), ratio(ours, prom), ratio(ours, vm), same)
        self.say(f"| {' | '.join(cells)} |")


def cell(figures):
    if "error" in figures:
        return "none: " + figures["error"].replace("|", "/")[:60]
    return f"{figures['wall'] * 1000:,.1f} / {figures['cpu'] * 1000:,.1f}"


def ratio(ours, theirs):
    if "error" in ours or "error" in theirs:
        return ""
    return " / ".join(f"{ours[key] / theirs[key]:.2f}" if theirs[key] else "?" for key in ("cpu", "wall"))


def loaded(stack, folder, data):
    """All three servers with the data in them, at rest."""
    daemon = stack.enter_context(Daemon('[global]\nevaluation_interval = "1h"\n[discovery]\nenabled = false\n'))
    prometheus, victoria = (stack.enter_context(kind(folder)) for kind in (Prometheus, VictoriaMetrics))
    took = []
    for load, to in ((to_balefire, daemon.socket), (to_remote, prometheus.port), (to_remote, victoria.port)):
        start = time.monotonic()
        load(data, to)
        took.append(time.monotonic() - start)
    print(f"<!-- loaded in {', '.join(f'{each:.0f}' for each in took)} s -->", flush=True)
    settle(data, daemon, prometheus, victoria)
    sides = [Side("Balefire", daemon.child.pid, daemon.status().http_address)]
    sides += [Side(peer.title, peer.child.pid, f"127.0.0.1:{peer.port}") for peer in (prometheus, victoria)]
    return sides


def settle(data, daemon, prometheus, victoria):
    """Waits until each has put away what is old, as it would be in life."""
    victoria.flush()
    span = lambda: (metric(f"{prometheus.url}/metrics", "prometheus_tsdb_head_max_time")
                    - metric(f"{prometheus.url}/metrics", "prometheus_tsdb_head_min_time"))
    wait_until(lambda: span() <= 3 * 3_600_000, 180)
    hours = data.steps * INTERVAL_MS // 3_600_000
    if hours > 6:
        sealed = lambda: metric(daemon.url("/metrics"), "balefire_store_sealed_samples_total")
        print("<!-- sealing:", wait_until(sealed, SEALING_SECONDS), "-->", flush=True)
    wait_until(lambda: idle((daemon.child.pid, prometheus.child.pid, victoria.child.pid)), 120)


def idle(pids):
    """Whether none of them worked for a second."""
    before = [cpu_seconds(pid) for pid in pids]
    time.sleep(1)
    return all(cpu_seconds(pid) - was <= 0.03 for pid, was in zip(pids, before))


def compare(table, name, data, options):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bf-query-", dir=options.dir))
        sides = loaded(stack, folder, data)
        after_load = [peak_bytes(side.pid) for side in sides]
        for title, way, sets, expr in QUERIES:
            if name not in sets or (options.only and options.only not in title):
                continue
            path, fields = request_of(way, expr, data)
            figures = [measure(side, path, fields, options.goes) for side in sides]
            same = "?"
            if not any("error" in each for each in figures[:2]):
                same = sameness(way, expr, *(json.loads(each["body"]) for each in (figures[1], figures[0])))
            table.row(name, f"{title}: `{expr}`".replace("|", "\\|"), figures, same)
        peaks = [f"{was / MIB:,.0f} / {peak_bytes(side.pid) / MIB:,.0f}" for was, side in zip(after_load, sides)]
        table.say(f"| {name} | peak RSS after loading / in the end, MiB | {' | '.join(peaks)} | | | |")


def write_into(document, lines):
    """Puts the table between the marks."""
    text = document.read_text()
    start, end = (text.index(mark) for mark in MARKS)
    document.write_text(text[:start] + "\n".join((MARKS[0], *lines, "")) + text[end:])


def versions():
    for program in ("prometheus", "victoria-metrics"):
        ask = ["dpkg-query", "-W", "-f", "${Package} ${Version}", program]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        yield done.stdout or f"{program} of no Debian package"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, to see that it works")
    parser.add_argument("--data", choices=("A", "B"), action="append", help="one of the data sets alone")
    parser.add_argument("--only", help="queries with this in their name")
    parser.add_argument("--goes", type=int, default=5, help="of each query, after one that does not count")
    parser.add_argument("--dir", default="/var/tmp", help="where the folders go")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    table = Table()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False).stdout.strip()
    table.say(f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} "
              f"at the start; {', '.join(versions())}.\n")
    table.head()
    part = 10 if options.quick else 1
    for name, hosts, hours in (("A", 10, 24 // (4 if options.quick else 1)), ("B", 1000 // part, 1)):
        if name in (options.data or "AB"):
            compare(table, name, Data(hosts, hours), options)
    if options.write:
        write_into(ROOT / "docs/benchmarks.md", table.lines)


if __name__ == "__main__":
    main()
