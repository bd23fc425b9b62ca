"""Prints every figure of the store, with its peers in the same run; run by benches/storage.

Each part is a process of its own on a folder of its own, and writes rows of a Markdown table. What
fails is told in its row, and the rest is measured all the same. Nothing is asserted.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import BIN, Daemon, fetch, process
from storage_node import Corpus
from storage_peers import PEERS, disk_bytes

STORE = os.environ["BALEFIRE_STORE_BENCH"]
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
# From which on a child that still runs is taken for stuck.
CHILD_SECONDS = 3600


def row(what, figure, goal=""):
    print(f"| {what} | {figure} | {goal} |", flush=True)


def mib(count):
    return f"{count / MIB:,.0f} MiB"


def millions(rate):
    return f"{rate / 1e6:.2f} M/s"


def store(part, *words, **options):
    """Runs a part of the Rust half to its end; gives its figures."""
    done = subprocess.run(command(part, *words, **options), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=CHILD_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{part}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def command(part, *words, **options):
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return [STORE, part, *given, *words]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid):
    """Resident bytes now, and at their peak."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return tuple(int(re.search(rf"{name}:\s+(\d+)", status)[1]) * 1024 for name in ("VmRSS", "VmHWM"))


def write_bytes(pid):
    return int(re.search(r"^write_bytes: (\d+)", pathlib.Path(f"/proc/{pid}/io").read_text(), re.M)[1])


class Bench:
    """What the parts share."""

    def __init__(self, options, parent):
        self.options, self.parent = options, pathlib.Path(parent)
        quick = options.quick
        self.w1 = {"series": 100_000, "steps": 60 if quick else 480, "interval": 15}
        self.w2 = {"series": 5_000 if quick else 20_000, "steps": 960 if quick else 2_880, "interval": 30}
        self.many_series = 200_000 if quick else 1_000_000
        self.stream_steps = 40 if quick else 400
        self.week_steps = 2 * 2_880 if quick else 7 * 2_880
        self.dirty_bytes = (256 if quick else 2048) * MIB
        # Whole ticks of 30 s, whenever the first of them comes.
        self.idle_seconds = 60 if quick else 600
        # For the comparison at the end: figures by data and by who had them.
        self.sides = {}
        self.corpus = None

    @contextlib.contextmanager
    def folder(self):
        path = pathlib.Path(tempfile.mkdtemp(dir=self.parent))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def note(self, workload, side, **figures):
        self.sides.setdefault(workload, {}).setdefault(side, {}).update(figures)


# The parts.

def core(bench):
    """W1 into the store itself."""
    dry = store("dry", **bench.w1)
    with bench.folder() as folder:
        by_labels = store("ingest", dir=folder / "store", by="labels", **bench.w1)
    with bench.folder() as folder:
        got = store("ingest", dir=folder / "store", **bench.w1)
    samples = got["samples"]
    own = dry["cpu_seconds"] / samples * 1e6
    cpu = got["cpu_seconds"] / samples * 1e6 - own
    latency, sealing = got["latency_us"], got["latency_while_sealing_us"]
    row("W1, durable samples a second", millions(got["rate"]), "≥ 2 M/s")
    row("W1, CPU a sample (the generator's own, taken off)", f"{cpu:.2f} µs ({own:.2f})", "≤ 0.5 µs")
    row("… where each sample names its series by all labels: rate, CPU",
        f"{millions(by_labels['rate'])}, {by_labels['cpu_seconds'] / samples * 1e6 - own:.2f} µs")
    row("W1, acknowledgement of 1,000 samples, p50 / p99 / worst",
        " / ".join(f"{latency[key] / 1000:.2f}" for key in ("p50", "p99", "max")) + " ms")
    row("W1, RSS after / peak (before the first sample)",
        f"{mib(got['memory']['rss'])} / {mib(got['memory']['peak'])} ({mib(got['memory_before']['rss'])})",
        "≤ 250 / 320 MiB")
    row("W1, log, bytes a sample: on disk / written", f"{got['sizes'].get('wal', 0) / samples:.2f} / "
        f"{got['write_bytes'] / samples:.2f}")
    row("W1, peak RSS while it is sealed, writers going on", mib(got["memory_while_sealing"]["peak"]), "≤ 320 MiB")
    row(f"W1, writers while {got['sealed_samples']:,} samples are sealed in {got['seal_seconds']:.1f} s, p99",
        f"{millions(got['rate_while_sealing'])}, {sealing['p99'] / 1000:.1f} ms" if sealing["p99"] else "not one stretch")
    bench.note("W1", "balefire, core", rate=got["rate"], cpu=cpu, rss=got["memory"]["rss"])


def day(bench):
    """W2: sizes and reads."""
    with bench.folder() as folder:
        got = store("day", dir=folder / "store", **bench.w2)
    samples = got["samples"]
    row("W2, bytes a sample with index, fresh partitions of 2 h", f"{got['fresh_bytes'] / samples:.3f}", "≤ 1.15")
    row("… daily partitions", f"{got['daily_bytes'] / samples:.3f}", "≤ 1.0")
    row("… the rollups of that day, for each raw sample", f"{got['rollup_bytes'] / samples:.3f}")
    row("W2, whole fill: samples a second, CPU a sample",
        f"{millions(samples / got['fill_seconds'])}, {got['fill_cpu_seconds'] / samples * 1e6:.2f} µs")
    row("W2, RSS after / peak of the fill",
        f"{mib(got['memory_after_fill']['rss'])} / {mib(got['memory_after_fill']['peak'])}")
    for name in ("fresh", "daily"):
        reads(name, got[name])
    row("writers beside a reader that never rests", f"{got['writers']['ratio'] * 100:.0f} % of "
        f"{millions(got['writers']['alone'])} ({got['writers']['queries']} queries)", "≥ 80 %")
    row("… beside a thread that only computes, and so takes no more than a core",
        f"{got['writers']['ratio_computing'] * 100:.0f} %")
    bench.note("W2", "balefire, core", rate=samples / got["fill_seconds"], data=got["daily_bytes"] / samples, index=0,
               query=got["daily"]["query_ms"])


def reads(name, figures):
    row(f"W2 {name}, decode and all of selecting, CPU a sample", f"{figures['select_cpu_ns_per_sample']:.1f} ns",
        "decode ≤ 8 ns")
    row(f"W2 {name}, select {figures['series']:,} series × {figures['samples'] // figures['series']:,} samples, first",
        f"{figures['select_ms']:.1f} ms, {figures['select_first_ms']:.1f} ms", "≤ 30 ms")
    row(f"W2 {name}, `sum by (mode)(rate(…[5m]))` at 60 s", f"{figures['query_ms']:.1f} ms")
    row(f"W2 {name}, latest value of one series", f"{figures['latest_us']:.2f} µs", "≤ 5 µs")
    row(f"W2 {name}, list series of a host / of a pattern / of a metric",
        " / ".join(f"{figures['labels'][key]:.2f}" for key in ("host", "pattern", "metric")) + " ms")


def many(bench):
    """A million series."""
    with bench.folder() as folder:
        got = store("many", dir=folder / "store", series=bench.many_series)
    peak = max(got[key]["peak"] for key in ("memory", "memory_after_reads"))
    row(f"{bench.many_series:,} series created and queried, RSS / peak", f"{mib(got['memory_after_reads']['rss'])} / {mib(peak)}",
        "≤ 1.5 GB")
    row("… created in, written again in", f"{got['create_seconds']:.1f} s, {got['write_seconds']:.1f} s")
    if got["reads"]:
        labels = got["reads"]["labels"]
        row("… list series of a host / of a pattern / of a metric",
            " / ".join(f"{labels[key]:.2f}" for key in ("host", "pattern", "metric")) + " ms")
        row("… latest value of one series", f"{got['reads']['latest_us']:.2f} µs", "≤ 5 µs")


def start(bench):
    """How soon a store is open again after kill -9."""
    for what, words, goal in (("100k series, all in the log", (), "≤ 3 s"),
                              ("100k series, from a checkpoint", ("--upkeep",), "≤ 1 s")):
        with bench.folder() as folder:
            end = killed(folder, *words, **bench.w1)["end"]
            warm, cold = reopened(folder, end), reopened(folder, end, "--cold")
            row(f"start after kill -9, {what}, pages in memory / not",
                f"{warm['seconds']:.2f} / {cold['seconds']:.2f} s, {warm['replayed']:,} samples replayed", goal)
    with bench.folder() as folder:
        week(bench, folder)


def week(bench, folder):
    """An ordinary host's history, up to now, so that a daemon takes it for its own."""
    days = bench.week_steps // 2_880
    first = (int(time.time()) - bench.week_steps * 30) // 7200 * 7200 * 1000
    end = killed(folder, "--upkeep", series=500, steps=bench.week_steps, interval=30, writers=1, batch=100_000,
                 start=first)["end"]
    warm, cold = reopened(folder, end), reopened(folder, end, "--cold")
    row(f"start, {days} days of 500 series at 30 s, pages in memory / not",
        f"{warm['seconds'] * 1000:.0f} / {cold['seconds'] * 1000:.0f} ms", "≤ 150 ms")
    row("… of the whole daemon, from exec to READY", f"{daemon_start(folder) * 1000:.0f} ms")
    with dirtied(folder, bench.dirty_bytes):
        busy, whole = reopened(folder, end), daemon_start(folder)
    row(f"… while {bench.dirty_bytes // MIB:,} MiB of another process are dirty: store, daemon",
        f"{busy['seconds'] * 1000:.0f} ms, {whole * 1000:.0f} ms", "≤ 150 ms")


def killed(folder, *words, **options):
    """Fills a store and ends its process by SIGKILL; gives what it said of itself before."""
    with process(*command("fill", *words, dir=folder / "store", **options), stdout=subprocess.PIPE, text=True) as child:
        said = child.stdout.readline()
        if not said:
            raise RuntimeError(f"fill ended with {child.wait()}")
        child.send_signal(signal.SIGKILL)
    return json.loads(said)


def reopened(folder, end, *words):
    """Opens a copy: a start may tidy up, and the next one is to find the same."""
    copy = folder / "copy"
    shutil.copytree(folder / "store", copy)
    try:
        return store("open", *words, dir=copy, at=end)
    finally:
        shutil.rmtree(copy)


def daemon_start(folder):
    """Seconds from exec to READY on a copy of the store."""
    state = folder / "state"
    shutil.copytree(folder / "store", state / "store")
    address = folder / "ready"
    (folder / "empty.toml").write_text("")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(address))
            ready.settimeout(60)
            environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "NOTIFY_SOCKET": str(address)}
            began = time.perf_counter()
            with process(BIN / "balefired", "--config", folder / "empty.toml", "--state-dir", state, "--socket", folder / "sock",
                         "--listen", "127.0.0.1:0", env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL):
                while b"READY=1" not in ready.recv(4096):
                    pass
                return time.perf_counter() - began
    finally:
        address.unlink(missing_ok=True)
        shutil.rmtree(state)


@contextlib.contextmanager
def dirtied(folder, count):
    """Another process keeps as much unwritten in the kernel, on the same disk, until the block ends."""
    path = folder / "dirty"
    words = ["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={count // MIB}", "conv=notrunc", "status=none"]
    try:
        subprocess.run(words, check=True, timeout=300)
        with process(*words):
            yield
    finally:
        path.unlink(missing_ok=True)


def years(bench):
    """A query of two years, from the coarsest tier."""
    days = 60 if bench.options.quick else 730
    data = {"series": 100, "interval": 900, "steps": days * 96, "writers": 1, "batch": 100_000}
    with bench.folder() as folder:
        filled = store("years", dir=folder / "store", **data)
        got = store("cold", dir=folder / "store", end=filled["end"], **data)
    row(f"{days} days of {got['series']} series, daily averages, pages not in memory / warm",
        f"{got['cold_ms']:.0f} / {got['warm_ms']:.0f} ms", "≤ 200 ms")


def stream(bench):
    """`WriteStream` into the real daemon."""
    steps = bench.stream_steps
    data = {"series": 100_000, "steps": steps, "interval": 15, "batch": 25_000,
            "start": (int(time.time()) // 15 - steps) * 15_000}
    with Daemon() as daemon:
        before = cpu_seconds(daemon.child.pid)
        got = store("stream", socket=daemon.socket, **data)
        server = cpu_seconds(daemon.child.pid) - before
        rss, peak = memory(daemon.child.pid)
    samples = got["samples"]
    row(f"`WriteStream`, {samples / 1e6:.0f} M durable samples, 4 streams, requests of 25,000", millions(got["rate"]),
        "≥ 1 M/s")
    row("… CPU a sample, daemon / generator",
        f"{server / samples * 1e6:.2f} / {got['cpu_seconds'] / samples * 1e6:.2f} µs")
    row("… the daemon's RSS / peak", f"{mib(rss)} / {mib(peak)}")
    bench.note("W1", "balefire, gRPC", rate=got["rate"], cpu=server / samples * 1e6, rss=rss)


def small(bench):
    """The daemon as it comes, on this host."""
    with Daemon() as daemon:
        pid = daemon.child.pid
        # The first ticks create the series and the files.
        time.sleep(70)
        written, began = write_bytes(pid), time.monotonic()
        kinds = written_by_kind(daemon)
        time.sleep(bench.idle_seconds)
        seconds = time.monotonic() - began
        written, (rss, peak) = write_bytes(pid) - written, memory(pid)
        kinds = {kind: count - kinds.get(kind, 0) for kind, count in written_by_kind(daemon).items()}
        series = head_series(daemon)
    row(f"daemon, default collectors ({series} series), RSS / peak", f"{rss / MIB:.1f} / {peak / MIB:.1f} MiB", "≤ 20 MiB")
    a_day = 86_400 / seconds
    row(f"… `write_bytes` a day, from {seconds / 60:.0f} min of 30 s ticks (no sealing among them)",
        f"{written * a_day / MIB:.1f} MiB" + by_kind(kinds, a_day), "≤ 40 MiB")
    with bench.folder() as folder:
        got = store("fill", "--upkeep", "--close", dir=folder / "store", series=series or 500, steps=2_880, interval=30, writers=1,
                    batch=100_000)
    row("… of the store alone, a whole day of as many series with sealing and compaction, at a moved clock",
        f"{got['write_bytes'] / MIB:.1f} MiB" + by_kind(got["written"] or {}, 1), "≤ 40 MiB")


def by_kind(kinds, scale):
    parts = [f"{kind} {count * scale / MIB:.1f}" for kind, count in sorted(kinds.items())]
    return f" ({', '.join(parts)})" if parts else ""


def written_by_kind(daemon):
    pattern = r'^balefire_store_written_bytes_total\{kind="(\w+)"\} (\S+)'
    return {kind: float(count) for kind, count in re.findall(pattern, fetch(daemon.url("/metrics")), re.M)}


def head_series(daemon):
    found = re.search(r"^balefire_store_head_series (\d+)", fetch(daemon.url("/metrics")), re.M)
    return int(found[1]) if found else 0


def node(bench):
    """Real node_exporter data, here and in the peers."""
    corpus = bench.corpus.finish()
    data = {"corpus": corpus, "interval": 30, "writers": 1, "batch": 100_000}
    with bench.folder() as folder:
        got = store("day", dir=folder / "store", **data)
    samples = got["samples"]
    row(f"node_exporter, {got['series']:,} series × {got['steps']:,} scrapes, bytes a sample, fresh / daily",
        f"{got['fresh_bytes'] / samples:.3f} / {got['daily_bytes'] / samples:.3f}", "≤ 0.7")
    bench.note("node_exporter", "balefire, core", data=got["daily_bytes"] / samples, index=0)
    for kind in PEERS:
        with bench.folder() as folder, kind(folder) as peer:
            pushed = store("push", url=f"{peer.url}/api/v1/write", **(data | {"batch": 10_000}))
            sizes = peer.sizes()
        row(f"… {kind.title}", f"{sum(sizes.values()) / pushed['samples']:.3f}")
        bench.note("node_exporter", kind.title, **{key: count / pushed["samples"] for key, count in sizes.items()})


def peers(bench):
    """W1 and W2 by remote write, 1,000 samples a request, four connections."""
    query = store("query")["query"]
    for kind in PEERS:
        for data, options in (("W1", bench.w1), ("W2", bench.w2)):
            with bench.folder() as folder, kind(folder) as peer:
                push(bench, peer, data, options, query)


def push(bench, peer, data, options, query):
    before = cpu_seconds(peer.child.pid)
    got = store("push", url=f"{peer.url}/api/v1/write", **options)
    cpu, (rss, peak) = cpu_seconds(peer.child.pid) - before, memory(peer.child.pid)
    samples = got["samples"]
    row(f"{data}, {peer.title}, samples a second", millions(got["rate"]))
    row("… CPU a sample, server / generator", f"{cpu / samples * 1e6:.2f} / {got['cpu_seconds'] / samples * 1e6:.2f} µs")
    row("… RSS / peak", f"{mib(rss)} / {mib(peak)}")
    bench.note(data, peer.title, rate=got["rate"], cpu=cpu / samples * 1e6, rss=rss)
    sizes = {key: count / samples for key, count in peer.sizes().items()}
    row("… bytes a sample, data + index", f"{sizes['data']:.3f} + {sizes['index']:.3f}")
    bench.note(data, peer.title, **sizes)
    if data == "W2":
        seconds, series = peer.query_seconds(query, got["start"], got["end"])
        row("… the query of W2", f"{seconds * 1000:.1f} ms ({series} series)")
        bench.note(data, peer.title, query=seconds * 1000)


def compare(bench):
    """All sides beside each other, with ours first."""
    columns = {"rate": ("samples/s", "{:,.0f}"), "cpu": ("CPU µs a sample", "{:.2f}"), "rss": ("RSS bytes", "{:,.0f}"),
               "data": ("data, bytes a sample", "{:.3f}"), "index": ("+ index", "{:.3f}"), "query": ("query ms", "{:.1f}")}
    print(f"\n| data | store | {' | '.join(title for title, _ in columns.values())} |")
    print("|---" * (len(columns) + 2) + "|")
    for data, sides in bench.sides.items():
        for side, figures in sides.items():
            cells = [form.format(figures[key]) if key in figures else "" for key, (_, form) in columns.items()]
            print(f"| {data} | {side} | {' | '.join(cells)} |")


PARTS = {"core": core, "day": day, "many": many, "start": start, "years": years, "stream": stream, "small": small,
         "peers": peers, "node": node}


def versions():
    for program in ("prometheus", "victoria-metrics", "prometheus-node-exporter"):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", program], capture_output=True, text=True,
                              check=False)
        print(f"- {done.stdout.strip() or program + ' is not a Debian package here'}")


def head(options, parent):
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False).stdout
    print(f"- {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit {commit.strip()}{', quick' if options.quick else ''}")
    print(f"- {os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.2f}, folders below {parent}")
    versions()
    print("\n| what | figure | goal |\n|---|---|---|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: minutes, and figures to look at only")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--dir", default="/var/tmp", help="where the folders go: a real disk, with 20 GB free")
    parser.add_argument("--scrapes", type=int, help="of the real node_exporter: 2880 make a day")
    options = parser.parse_args()
    chosen = [name for name in PARTS if name in (options.only or PARTS)]
    with tempfile.TemporaryDirectory(prefix="bf-storage-", dir=options.dir) as parent:
        bench = Bench(options, parent)
        head(options, parent)
        measure(bench, chosen)
        compare(bench)


def measure(bench, chosen):
    quick = bench.options.quick
    with contextlib.ExitStack() as stack:
        if "node" in chosen:
            scrapes = bench.options.scrapes or (480 if quick else 2_880)
            bench.corpus = Corpus(bench.parent, scrapes, 0.25 if quick else 1)
            stack.callback(bench.corpus.stop)
            bench.corpus.start()
        for name in chosen:
            began = time.monotonic()
            try:
                PARTS[name](bench)
            # One part that fails leaves the others to be measured.
            except Exception as error:
                row(f"{name} FAILED", str(error).replace("|", "/").replace("\n", " ")[:300])
            row(f"*{name} took*", f"*{time.monotonic() - began:.0f} s*")


main()
