"""Debian's promtool and prometheus, and VictoriaMetrics, take our exports unchanged and answer as we do."""

import json
import math
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from datetime import datetime, timezone

from harness import PATIENCE, Daemon, Skip, answers, eventually, fetch, free_port, process, run

# What ends a series; as a value of Python it is any NaN.
STALE = "StaleNaN"
# An hour of samples at 15 s with odd milliseconds, the last one ten minutes ago.
END = int(time.time()) * 1000 - 600_003
TIMES = range(END - 3_600_000, END, 15_000)
STEP = 37
MATCH = '{__name__=~"peer_.*"}'
QUERIES = ["peer_gauge", "rate(peer_total[5m])", "sum by (l) (peer_gauge)", "max(peer_total)",
           "count_over_time(peer_ended[1h])", "last_over_time(peer_ended[1h])", "peer_odd"]


def need(program):
    path = shutil.which(program) or shutil.which(program, path="/usr/bin:/usr/local/bin")
    if not path:
        raise Skip(f"{program} is not installed")
    return path


def series(name, value, **labels):
    return {"labels": {"__name__": name, **labels}, "samples": [[at, value(n)] for n, at in enumerate(TIMES)]}


def write(daemon):
    hostile = 'a "b", c=d\\e\nf ü'
    odd = [math.inf, -math.inf, math.nan, 0.1 + 0.2, -0.0, 5e-324]
    all_series = [
        series("peer_gauge", lambda n: math.sin(n) * 1000, l=hostile),
        series("peer_gauge", float, l="b"),
        series("peer_total", lambda n: n % 100 * 7.0, l="a"),
        series("peer_odd", lambda n: odd[n % len(odd)]),
        series("peer_ended", lambda n: n if n < 100 else STALE),
    ]
    # One marker ends a series, and nothing comes after it.
    all_series[-1]["samples"] = all_series[-1]["samples"][:101]
    lines = [{"metadata": {"name": "peer_total", "type": "counter", "help": 'Of "peers".\nAll.'}}]
    lines += [{**one, "samples": [[at, str(value)] for at, value in one["samples"]]} for one in all_series]
    file = daemon.dir / "written.json"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    imported = daemon.cli("-o", "json", "import", file)
    assert imported.returncode == 0, imported.stdout + imported.stderr
    assert json.loads(imported.stdout)["accepted"] == sum(len(one["samples"]) for one in all_series), imported.stdout
    return all_series


def export(daemon, form):
    path = daemon.dir / f"export.{form}"
    result = daemon.cli("export", "--format", form, "--match", MATCH, "--start", "-3h", "--file", path)
    assert result.returncode == 0, result.stderr
    return path


def ask_prometheus(url, expr, start, end):
    query = urllib.parse.urlencode({"query": expr, "start": start, "end": end, "step": STEP})
    answer = json.loads(fetch(f"{url}/api/v1/query_range?{query}"))
    assert answer["status"] == "success", answer
    return {key(one["metric"]): [(round(at * 1000), float(value)) for at, value in one["values"]]
            for one in answer["data"]["result"]}


def ask_daemon(daemon, expr, start, end):
    rfc3339 = lambda at: datetime.fromtimestamp(at, timezone.utc).isoformat()
    answer = daemon.reflection.call("MetricsService", "QueryRange", expr=expr, start=rfc3339(start), end=rfc3339(end), step=f"{STEP}s")
    return {key(dict(one.labels)): [(sample.timestamp_ms, sample.value) for sample in one.samples]
            for one in answer.matrix.series}


def equal(expr, ours, theirs):
    assert ours.keys() == theirs.keys(), (expr, ours.keys(), theirs.keys())
    for series, points in ours.items():
        assert [at for at, _ in points] == [at for at, _ in theirs[series]], (expr, series)
        for (at, a), (_, b) in zip(points, theirs[series]):
            assert math.isclose(a, b, rel_tol=1e-12) or (math.isnan(a) and math.isnan(b)), (expr, series, at, a, b)


def key(labels):
    return json.dumps(labels, sort_keys=True)


def promtool_makes_blocks_that_prometheus_answers_from():
    promtool, prometheus = need("promtool"), need("prometheus")
    with Daemon() as daemon, tempfile.TemporaryDirectory(prefix="bf", dir="/tmp") as folder:
        write(daemon)
        made = subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", export(daemon, "prometheus"), folder],
                              capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr + made.stdout
        config = pathlib.Path(folder, "none.yml")
        config.write_text("")
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with process(prometheus, f"--config.file={config}", f"--storage.tsdb.path={folder}", f"--web.listen-address=127.0.0.1:{port}",
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            eventually("prometheus is ready", lambda: answers(f"{url}/-/ready"))
            # Off the grid of the samples, and to the end of what there is.
            start, end = TIMES[0] / 1000 + 301.7, TIMES[-1] / 1000
            for expr in QUERIES:
                own = ask_daemon(daemon, expr, start, end)
                assert own, expr
                equal(expr, own, ask_prometheus(url, expr, start, end))


def victoria_metrics_takes_line_protocol():
    program = need("victoria-metrics")
    with Daemon() as daemon, tempfile.TemporaryDirectory(prefix="bf", dir="/tmp") as folder:
        written = write(daemon)
        body = export(daemon, "influx").read_bytes()
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with process(program, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}", "-influxSkipSingleField",
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            eventually("victoria-metrics is ready", lambda: answers(f"{url}/health"))
            urllib.request.urlopen(urllib.request.Request(f"{url}/write", data=body), timeout=PATIENCE).close()
            fetch(f"{url}/internal/force_flush")
            asked = urllib.parse.urlencode({"match[]": MATCH})
            lines = [json.loads(line) for line in fetch(f"{url}/api/v1/export?{asked}").splitlines()]
        found = {line["metric"]["__name__"] + line["metric"].get("l", ""): dict(zip(line["timestamps"], line["values"]))
                 for line in lines}
        for one in written:
            labels, samples = one["labels"], one["samples"]
            finite = {at: value for at, value in samples if value != STALE and math.isfinite(value)}
            # It has no word for the end of a line, and keeps ours.
            name = labels["__name__"] + labels.get("l", "").replace("\n", "\\n")
            assert name in found, (name, list(found))
            assert len(found[name]) == len(finite), name
            close = lambda at: math.isclose(found[name][at], finite[at], rel_tol=1e-12, abs_tol=1e-300)
            assert all(map(close, finite)), name


run(promtool_makes_blocks_that_prometheus_answers_from, victoria_metrics_takes_line_protocol)
