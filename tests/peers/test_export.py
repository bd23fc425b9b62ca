"""Debian's promtool and prometheus, and VictoriaMetrics, take our exports unchanged and answer as we do."""

import json
import math
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

from harness import PATIENCE, Daemon, Skip, answers, eventually, fetch, free_port, process, run

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
# An hour of samples at 15 s with odd milliseconds, the last one ten minutes ago.
END = int(time.time()) * 1000 - 600_003
TIMES = range(END - 3_600_000, END, 15_000)
MATCH = '{__name__=~"peer_.*"}'
QUERIES = ["peer_gauge", "rate(peer_total[5m])", "sum by (l) (peer_gauge)", "max(peer_total)",
           "count_over_time(peer_ended[1h])", "last_over_time(peer_ended[1h])", "peer_odd"]


def need(program):
    path = shutil.which(program) or shutil.which(program, path="/usr/bin:/usr/local/bin")
    if not path:
        raise Skip(f"{program} is not installed")
    return path


def series(name, value, **labels):
    samples = [{"timestampMs": at, "value": value(n)} for n, at in enumerate(TIMES)]
    return {"labels": {"__name__": name, **labels}, "samples": samples}


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
    metadata = [{"name": "peer_total", "type": "METRIC_TYPE_COUNTER", "help": 'Of "peers".\nAll.'}]
    answer = daemon.reflection.call("MetricsService", "Write", series=all_series, metadata=metadata)
    written = sum(len(one["samples"]) for one in all_series)
    assert answer.accepted_count == written, answer
    return all_series


def export(daemon, form):
    path = daemon.dir / f"export.{form}"
    result = daemon.cli("export", "--format", form, "--match", MATCH, "--start", "-3h", "--file", path)
    assert result.returncode == 0, result.stderr
    return path


def ask(url, expr, start, end):
    query = urllib.parse.urlencode({"query": expr, "start": start, "end": end, "step": 37})
    answer = json.loads(fetch(f"{url}/api/v1/query_range?{query}"))
    assert answer["status"] == "success", answer
    result = {json.dumps(one["metric"], sort_keys=True): one["values"] for one in answer["data"]["result"]}
    assert result, f"{expr} found nothing"
    return result


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
            own = daemon.url("").rstrip("/")
            # Off the grid of the samples, and to the end of what there is.
            start, end = TIMES[0] / 1000 + 301.7, TIMES[-1] / 1000
            for expr in QUERIES:
                assert ask(own, expr, start, end) == ask(url, expr, start, end), expr


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
            finite = {sample["timestampMs"]: sample["value"] for sample in samples if math.isfinite(sample["value"])}
            # It has no word for the end of a line, and keeps ours.
            key = labels["__name__"] + labels.get("l", "").replace("\n", "\\n")
            assert key in found, (key, list(found))
            assert len(found[key]) == len(finite), key
            close = lambda at: math.isclose(found[key][at], finite[at], rel_tol=1e-12, abs_tol=1e-300)
            assert all(map(close, finite)), key


run(promtool_makes_blocks_that_prometheus_answers_from, victoria_metrics_takes_line_protocol)
