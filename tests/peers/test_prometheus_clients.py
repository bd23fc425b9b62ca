"""Prometheus' own clients, unchanged: promtool, and prometheus-api-client from PyPI; and Debian's Prometheus itself,
with the same samples, whose answers ours equal byte by byte.

PROMETHEUS names another Prometheus to compare with; its promtool is taken from beside it.
"""

import contextlib
import datetime
import gzip
import json
import math
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from harness import PATIENCE, Daemon, Skip, answers, eventually, free_port, process, run

CONFIG = "[storage]\nout_of_order_window = \"1d\"\n"
STEP = 15
# Off the grid of the samples: there, both versions of range selectors hold the same samples.
END = int(time.time()) // 60 * 60 - 60
START = END - 3600
AT = END - 60 + 7.5


def prometheus():
    path = os.environ.get("PROMETHEUS") or shutil.which("prometheus", path="/usr/bin:/usr/local/bin")
    if not path:
        raise Skip("prometheus is not installed")
    return pathlib.Path(path)


def promtool():
    found = os.environ.get("PROMETHEUS")
    path = str(pathlib.Path(found).parent / "promtool") if found else shutil.which("promtool", path="/usr/bin:/usr/local/bin")
    if not path:
        raise Skip("promtool is not installed")
    return path


def the_series():
    """Labels and values at each step: counters with a reset, gauges, gaps, odd numbers, odd texts."""
    steps = range((END - START) // STEP)
    series = []
    for host in ("a", "b", "c"):
        for code in ("200", "404", "500"):
            labels = {"__name__": "peer_requests_total", "job": "peer", "host": host, "code": code}
            rate = len(series) + 1.25
            series.append((labels, [(n, (n % 170) * rate) for n in steps]))
        for bound, share in (("0.1", 0.3), ("1", 0.8), ("+Inf", 1.0)):
            labels = {"__name__": "peer_seconds_bucket", "job": "peer", "host": host, "le": bound}
            series.append((labels, [(n, math.floor(n * 7 * share)) for n in steps]))
    odd = {"__name__": "peer_gauge", "job": "peer", "text": "<a href=\"x\"> & \\ \t\n é \u2028"}
    values = [0.1, -0.0, 1e-7, 1e21, 123456789.125, math.inf, -math.inf, math.nan, 1e300, 5e-324, 767651124299950.25]
    series.append((odd, [(n, values[n % len(values)]) for n in steps if n % 20 < 15]))
    return series


def millis(step):
    return (START + step * STEP) * 1000


@contextlib.contextmanager
def balefire():
    with Daemon(CONFIG) as daemon:
        series = [{"labels": labels, "samples": [{"timestamp_ms": millis(n), "value": value} for n, value in samples]}
                  for labels, samples in json_safe(the_series())]
        metadata = [{"name": "peer_requests_total", "type": "METRIC_TYPE_COUNTER", "help": "Requests <all>."}]
        answer = daemon.reflection.call("MetricsService", "Write", series=series, metadata=metadata)
        assert answer.rejected_count == 0, answer
        yield daemon.url("").rstrip("/")


def json_safe(series):
    """Protobuf's JSON has names for what is no number."""
    names = {math.inf: "Infinity", -math.inf: "-Infinity"}
    for labels, samples in series:
        yield labels, [(n, "NaN" if value != value else names.get(value, value)) for n, value in samples]


@contextlib.contextmanager
def real_prometheus():
    """Debian's Prometheus on the same samples, which promtool makes blocks of."""
    with tempfile.TemporaryDirectory(prefix="bfprom") as folder:
        folder = pathlib.Path(folder)
        (folder / "prometheus.yml").write_text("{}")
        (folder / "samples").write_text(openmetrics(the_series()), encoding="utf-8")
        subprocess.run([promtool(), "tsdb", "create-blocks-from", "openmetrics", folder / "samples", folder / "data"],
                       check=True, capture_output=True, timeout=60)
        port = free_port()
        command = (prometheus(), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                   f"--web.listen-address=127.0.0.1:{port}")
        with process(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            eventually("prometheus is ready", lambda: answers(f"http://127.0.0.1:{port}/-/ready"))
            yield f"http://127.0.0.1:{port}"


def openmetrics(series):
    quoted = {"\\": "\\\\", "\"": "\\\"", "\n": "\\n"}
    lines = []
    for labels, samples in series:
        pairs = (f'{name}="{"".join(quoted.get(c, c) for c in value)}"' for name, value in labels.items() if name != "__name__")
        name = f'{labels["__name__"]}{{{",".join(pairs)}}}'
        lines += [f"{name} {'NaN' if value != value else repr(value).replace('inf', 'Inf')} {millis(n) // 1000}" for n, value in samples]
    return "\n".join([*lines, "# EOF", ""])


def ask(base, path, parameters=(), post=False, headers=None):
    """The status, the headers and the body."""
    query = urllib.parse.urlencode(parameters, doseq=True)
    url = f"{base}{path}" if post else f"{base}{path}?{query}"
    request = urllib.request.Request(url, data=query.encode() if post else None, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


INSTANT = [
    "peer_gauge", "peer_requests_total{host=\"a\"}", "sum(peer_requests_total) by (host)",
    "histogram_quantile(0.9, sum by (le, host) (peer_seconds_bucket))", "topk(2, peer_requests_total)",
    "peer_requests_total{code=\"500\"} / on (host) group_left () peer_seconds_bucket{le=\"+Inf\"}", "peer_gauge[3m]",
    "count by (code) (peer_requests_total > bool 100)", "1e300", "-1 / 0", "0 / 0", "vector(1e21)", "\"a<b\"", "nothing",
    "vector(767651124299950.25)", "vector(0.1) + 0.2", "time()", "max_over_time(peer_gauge[5m:1m])",
    "sort_desc(peer_requests_total{code!=\"404\"})", "bottomk by (host) (1, peer_requests_total)", "absent(nothing{a=\"b\"})",
    "count_values(\"v\", peer_seconds_bucket{le!=\"1\"})", "-peer_gauge offset 1m", "timestamp(peer_gauge)",
    "label_replace(peer_gauge, \"text\", \"$1\", \"job\", \"p(.*)\")", "quantile(0.5, peer_requests_total)",
    "peer_requests_total unless on (code) peer_requests_total{code=\"200\"}", "scalar(peer_gauge)", "sum(nothing) or vector(1)",
    "peer_requests_total{host=\"a\"} + on (code) group_right () peer_requests_total{host!=\"a\"}", "day_of_week()",
]
RANGES = ["peer_gauge", "sum(peer_requests_total) by (code)", "3.5", "peer_requests_total", "nothing",
          "avg_over_time(peer_seconds_bucket{le=\"1\"}[2m])"]
# Prometheus gives the series of these in the order of a Go map: any.
UNORDERED = ["histogram_quantile", "count_values"]
SELECTORS = [["{job=\"peer\"}"], ["peer_gauge", "peer_requests_total{code=\"404\"}"], ["nothing"]]


def the_questions():
    """Each a path and its parameters; the answers are to be the same bytes."""
    for expr in INSTANT:
        yield "/api/v1/query", {"query": expr, "time": AT}
    for expr in RANGES:
        yield "/api/v1/query_range", {"query": expr, "start": START + 607.5, "end": END, "step": "37s"}
    yield "/api/v1/query_range", {"query": "peer_gauge", "start": START + 1.5, "end": AT, "step": 600}
    yield "/api/v1/query_range", {"query": "up", "start": 0, "end": 20_000, "step": 1}
    yield "/api/v1/query_range", {"query": "up", "start": 0, "end": 2, "step": 0}
    yield "/api/v1/query_range", {"query": "up", "start": 2, "end": 1, "step": 1}
    for selectors in SELECTORS:
        window = {"match[]": selectors, "start": START, "end": END}
        yield "/api/v1/series", window
        yield "/api/v1/labels", window
        for label in ("__name__", "host", "text", "nothing"):
            yield f"/api/v1/label/{label}/values", window
    yield "/api/v1/series", {}
    yield "/api/v1/query_exemplars", {"query": "peer_gauge", "start": START, "end": END}
    for path in ("alerts", "alertmanagers"):
        yield f"/api/v1/{path}", {}
    for expr in ("sum(up)by(job)", "a<bool b", "up{a='b'}[5m:] offset 1h"):
        yield "/api/v1/format_query", {"query": expr}


def answers_equal_those_of_prometheus():
    with balefire() as ours, real_prometheus() as theirs:
        is_old = json.loads(ask(theirs, "/api/v1/status/buildinfo")[2])["data"]["version"].startswith("2.")
        for path, parameters in the_questions():
            fair = ordered if any(word in parameters.get("query", "") for word in UNORDERED) else bytes
            plain = lambda body: fair(unescaped(body) if is_old else body)
            posted = not path.endswith(("values", "alerts", "alertmanagers"))
            for post in (False, True) if posted else (False,):
                mine, wanted = ask(ours, path, parameters, post), ask(theirs, path, parameters, post)
                what = f"{path} {parameters} {'POST' if post else 'GET'}"
                assert plain(mine[2]) == plain(wanted[2]), f"{what}\n{mine[2][:3000]}\n{wanted[2][:3000]}"
                assert mine[0] == wanted[0], f"{what}: {mine[0]}, {wanted[0]}"
                assert mine[1]["content-type"] == wanted[1]["content-type"], what


def unescaped(body):
    """Prometheus 2 escaped in labels, too, what could end a script on a page."""
    for character in "<>&\u2028":
        body = body.replace(f"\\u{ord(character):04x}".encode(), character.encode())
    return body


def ordered(body):
    """The same bytes, with the series of a result in order."""
    start, _, rest = body.partition(b"[")
    items, _, end = rest.rpartition(b"]")
    return start + b"".join(sorted(items.replace(b"},{", b"}\n{").split(b"\n"))) + end


def federates_what_prometheus_does():
    """The same samples; Balefire knows their types, too, and gives no empty label."""
    with balefire() as ours, real_prometheus() as theirs:
        for selectors in (["{job=\"peer\"}"], ["peer_gauge", "{code=\"404\"}", "{code=\"404\",host=\"a\"}"], ["nothing"]):
            told = [ask(base, "/federate", {"match[]": selectors})[2].decode() for base in (ours, theirs)]
            mine, wanted = (sorted(line for line in text.splitlines() if not line.startswith("#")) for text in told)
            wanted = [line.replace(',instance=""', "") for line in wanted]
            assert mine == wanted, f"{mine}\n{wanted}"
            assert bool(mine) == (selectors != ["nothing"])
        status, headers, body = ask(ours, "/federate", {"match[]": "up{"})
        assert status == 400 and headers["content-type"].startswith("text/plain") and b"match[]" in body
        _, headers, body = ask(ours, "/federate", {"match[]": "peer_gauge"}, headers={"Accept": "application/openmetrics-text"})
        assert headers["content-type"].startswith("application/openmetrics-text") and body.endswith(b"# EOF\n")


def compressed_answers_are_the_same():
    with balefire() as base:
        question = {"query": "{job=\"peer\"}[1h]", "time": END}
        _, headers, plain = ask(base, "/api/v1/query", question)
        assert headers["content-encoding"] is None and len(plain) > 50_000
        for post in (False, True):
            _, headers, small = ask(base, "/api/v1/query", question, post, {"Accept-Encoding": "gzip"})
            assert headers["content-encoding"] == "gzip" and len(small) < len(plain) / 3
            assert gzip.decompress(small) == plain


def promtool_says(server, command, *arguments):
    told = subprocess.run([promtool(), "query", command, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert told.returncode == 0, told.stderr
    return sorted(told.stdout.replace(server, "").splitlines())


def promtool_queries():
    stamp = lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    window = (f"--start={stamp(START)}", f"--end={stamp(END)}")
    with balefire() as ours, real_prometheus() as theirs:
        for command, options, rest in (
            ("instant", (f"--time={AT}",), ("sum by (host) (peer_requests_total)",)),
            ("instant", (f"--time={AT}",), ("peer_gauge",)),
            ("range", (f"--start={START + 607}", f"--end={END}", "--step=61s"), ("peer_requests_total",)),
            ("series", (*window, "--match=peer_gauge", "--match={code=\"500\"}"), ()),
            ("labels", (*window, "--match={job=\"peer\"}"), ("host",)),
        ):
            if command == "series":
                told = [promtool_says(base, command, *options, base) for base in (ours, theirs)]
            else:
                told = [promtool_says(base, command, *options, base, *rest) for base in (ours, theirs)]
            assert told[0] == told[1] and told[0], f"{command}\n{told[0]}\n{told[1]}"


def prometheus_api_client_works():
    try:
        from prometheus_api_client import PrometheusConnect
    except ImportError:
        raise Skip("prometheus-api-client is not installed") from None
    start, end = (datetime.datetime.fromtimestamp(t) for t in (START, END))
    with balefire() as base:
        for method in ("GET", "POST"):
            client = PrometheusConnect(url=base, method=method)
            assert client.check_prometheus_connection()
            assert "peer_gauge" in client.all_metrics()
            assert {"__name__", "host", "le"} <= set(client.get_label_names())
            assert client.get_label_values("host", {"match[]": "{job=\"peer\"}"}) == ["a", "b", "c"]
            assert len(client.get_series(start, end, {"match[]": "peer_requests_total"})) == 9
            now = {"time": AT}
            assert len(client.get_current_metric_value("peer_requests_total", {"host": "a"}, now)) == 3
            assert client.custom_query("count(peer_requests_total)", now)[0]["value"][1] == "9"
            rows = client.custom_query_range("peer_requests_total", start, end, "60")
            assert len(rows) == 9 and len(rows[0]["values"]) > 50
            chunks = client.get_metric_range_data("peer_requests_total", {"host": "b"}, start, end,
                                                  chunk_size=datetime.timedelta(minutes=20))
            assert len(chunks) == 9 and sum(len(chunk["values"]) for chunk in chunks) == 3 * ((END - START) // STEP - 1)
            assert client.get_metric_metadata("peer_requests_total") == [
                {"metric_name": "peer_requests_total", "type": "counter", "help": "Requests <all>.", "unit": ""}]
            targets = client.get_targets(state="active")
            assert all(target["health"] in ("up", "down", "unknown") for target in targets["activeTargets"])
            assert set(client.get_scrape_pools()) <= {"probe"}
            assert client.get_target_metadata({"job": "probe"}) == []


run(answers_equal_those_of_prometheus, federates_what_prometheus_does, compressed_answers_are_the_same, promtool_queries, prometheus_api_client_works)
