"""Prints how fast exports and imports are, and what memory they take; run by benches/export."""

import argparse
import contextlib
import json
import pathlib
import re
import statistics
import subprocess
import time

from harness import Daemon

FORMATS = ("json", "csv", "prometheus", "influx")
MATCH = '{__name__=~"bench_.*"}'
MIB = 1 << 20
# Up to ten minutes ago.
END = int(time.time()) * 1000 - 600_000


def rss_mib(pid, what):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024


def reset_peak(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def value(series, n):
    """Counters, constants, temperatures and floats of full entropy, in equal parts."""
    return (1_000_000 + 37 * n * (series + 1), 4096 * series, 20 + (n * 7919 % 100) / 10, ((n * 2654435761 + series) % 2**32) / 3e7)[series % 4]


def generate(path, series, samples, step):
    """A file of JSON lines, which the daemon imports."""
    with open(path, "w") as file:
        for one in range(series):
            labels = {"__name__": f"bench_metric_{one % 10}", "instance": "localhost:9100", "job": "node", "cpu": str(one)}
            for first in range(0, samples, 1000):
                points = ((END - step * (samples - n), value(one, n)) for n in range(first, min(first + 1000, samples)))
                points = ",".join(f'[{at},"{number}"]' for at, number in points)
                file.write(f'{{"labels":{json.dumps(labels)},"samples":[{points}]}}\n')


def cli(daemon, *arguments):
    """Runs `balefire`; its time from exec to exit, 5 ms more at most, and its own peak of memory, seen as often."""
    start = time.perf_counter()
    peak = 0
    with open(daemon.dir / "said", "w+b") as said:
        child = subprocess.Popen([daemon.command[0].with_name("balefire"), "--socket", daemon.socket, *arguments],
                                 env=daemon.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        # Its resource usage would count this process, too, of which it was forked.
        while child.poll() is None:
            with contextlib.suppress(OSError, TypeError):
                peak = max(peak, rss_mib(child.pid, "VmHWM"))
            time.sleep(0.005)
        took = time.perf_counter() - start
        said.seek(0)
        assert child.returncode == 0, said.read().decode()
    return took, peak


def export(daemon, form, target):
    return cli(daemon, "export", "--format", form, "--match", MATCH, "--start", "-30d", "--file", target)


def measure(series, samples, rounds, step=1000):
    with Daemon() as daemon:
        source = daemon.dir / "source.json"
        generate(source, series, samples, step)
        pid = daemon.child.pid
        took, own = cli(daemon, "import", source)
        size = source.stat().st_size / MIB
        print(f"| {series} series × {samples}: import of json | {size:.1f} MiB | {took:.3f} s | {size / took:.0f} MiB/s, "
              f"{series * samples / took / 1e6:.2f} M samples/s | {rss_mib(pid, 'VmRSS'):.0f} | {own:.0f} |", flush=True)
        source.unlink()
        for form in FORMATS:
            target = daemon.dir / f"export.{form}"
            before = rss_mib(pid, "VmRSS")
            reset_peak(pid)
            runs = [export(daemon, form, target) for _ in range(rounds)]
            took, own = statistics.median(took for took, _ in runs), max(own for _, own in runs)
            size = target.stat().st_size / MIB
            print(f"| {series} series × {samples}: export as {form} | {size:.1f} MiB | {took:.3f} s | {size / took:.0f} MiB/s, "
                  f"{series * samples / took / 1e6:.2f} M samples/s | {before:.0f} → {rss_mib(pid, 'VmHWM'):.0f} | {own:.0f} |", flush=True)
            target.unlink()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=20_000_000, help="of the long series, and of the many in all")
    options = parser.parse_args()
    print("| what | size | wall, median | speed | daemon's RSS before → peak, MiB | the CLI's peak, MiB |\n|---|---|---|---|---|---|", flush=True)
    measure(100, 1300, 9)
    measure(200, options.samples // 200, 1)
    # No further back than the retention.
    measure(1, options.samples, 1, min(1000, 28 * 86_400_000 // options.samples))


main()
