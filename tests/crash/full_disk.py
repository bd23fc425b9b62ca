"""Fills the disk below a running daemon: it refuses writes and says why, and does the rest as before.

The disk is a small tmpfs in a mount namespace of this test's own.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import grpc

from daemon import HOUR_MS, MODULES, PATIENCE, Clock, Daemon, bits, why_not
from workload import STEP_MS, sample_series

MEBIBYTES = 160
METRIC = "full_samples"
SAMPLES_PER_WRITE = 2000
REFUSALS = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


def with_own_mounts():
    """Starts this program again where it may mount; tells why not, where it may not."""
    if os.environ.get("BALEFIRE_OWN_MOUNTS"):
        return None
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or not unshare:
        return "mounting a small file system needs root, and unshare"
    os.environ["BALEFIRE_OWN_MOUNTS"] = "yes"
    os.execv(unshare, [unshare, "--mount", "--propagation", "private", sys.executable, *sys.argv])


@contextlib.contextmanager
def small_disk():
    with tempfile.TemporaryDirectory(prefix="bffull", dir="/tmp") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "balefire-test", folder], check=True)
        try:
            yield pathlib.Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def eventually(what, ask, patience=PATIENCE):
    end = time.monotonic() + patience
    while not (answer := ask()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)
    return answer


class Full:
    """A daemon on a small disk, and what it has promised."""

    def __init__(self, disk, clock):
        self.disk, self.clock, self.promised, self.sent, self.number = disk, clock, {}, {}, 0
        self.state = disk / "state"
        self.state.mkdir()

    def fill(self):
        """Takes all room but what is in use."""
        with open(self.disk / "ballast", "ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        ballast.write(bytes(size))

    def make_room(self):
        (self.disk / "ballast").unlink()

    def write(self, daemon):
        """One write of noise, in a series of its own; the error if it was refused."""
        self.number += 1
        now, generator = self.clock.now_ms(), self.number * 2654435761 % 2**32
        values = {}
        for place in range(SAMPLES_PER_WRITE):
            generator = (generator * 6364136223846793005 + 1442695040888963407) % 2**64
            values[now - place * 1000] = 1.0 + generator / 2**64
        key = (("number", str(self.number)),)
        kept = {at: bits(value) for at, value in values.items()}
        self.sent[key] = kept
        request = MODULES["metrics"].WriteRequest(series=sample_series({key: values}))
        for series in request.series:
            series.labels["__name__"] = METRIC
        try:
            answer = daemon.metrics.Write(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            return error
        assert answer.rejected_count == 0, answer.rejections
        self.promised[key] = kept
        return None

    def write_until_refused(self, daemon):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if error := self.write(daemon):
                return error
        raise AssertionError("a full disk takes writes")

    def hold(self, daemon):
        """All that was acknowledged is there, and nothing that was not sent."""
        found = daemon.read_samples(METRIC, 24)
        for key, values in self.promised.items():
            assert found.get(key) == values, f"{key}: {len(found.get(key, {}))} of {len(values)} samples are there"
        for key, values in found.items():
            assert values.items() <= self.sent[key].items(), f"{key} holds what was never sent"


def goes_on_evaluating(daemon):
    """That the rules are evaluated from now on."""
    before = evaluated(daemon)
    eventually("rules are evaluated", lambda: evaluated(daemon) > before)


def evaluated(daemon):
    rules = daemon.alerts.ListRules(MODULES["alerts"].ListRulesRequest(page_size=100), timeout=PATIENCE).rules
    return max(rule.last_evaluation.ToNanoseconds() for rule in rules)


def check_refusal(error):
    text = f"{error.code()}: {error.details()}"
    print(f"refused with {text}")
    assert error.code() in REFUSALS, text
    assert any(word in error.details().lower() for word in ("no space", "disk is full", "room", "full")), text


def a_full_disk_refuses_writes_alone():
    full_disk(sealing=False)


def a_disk_that_is_full_while_sealing_loses_nothing():
    full_disk(sealing=True)


def full_disk(sealing):
    with small_disk() as disk:
        clock = Clock(disk.parent / f"{disk.name}.clock", -4 * HOUR_MS)
        full = Full(disk, clock)
        try:
            with Daemon(full.state, clock) as daemon:
                for _ in range(20):
                    assert full.write(daemon) is None
                full.fill()
                check_refusal(full.write_until_refused(daemon))
                if sealing:
                    clock.move(STEP_MS, STEP_MS)
                full.hold(daemon)
                goes_on_evaluating(daemon)
                full.make_room()
                eventually("it takes writes again", lambda: full.write(daemon) is None)
                full.hold(daemon)
                full.fill()
                full.write_until_refused(daemon)
                daemon.kill()
            restarted(full, clock)
        finally:
            (disk.parent / f"{disk.name}.clock").unlink()


def restarted(full, clock):
    """On a disk that is full still."""
    with Daemon(full.state, clock) as daemon:
        full.hold(daemon)
        full.make_room()
        eventually("it takes writes again", lambda: full.write(daemon) is None)
        full.hold(daemon)
        log = daemon.stop()
        assert "panicked" not in log, log
    with Daemon(full.state, clock) as daemon:
        full.hold(daemon)


def main():
    missing = why_not() or with_own_mounts()
    failed = False
    for case in (a_full_disk_refuses_writes_alone, a_disk_that_is_full_while_sealing_loses_nothing):
        if missing:
            print(f"skip - {case.__name__}: {missing}")
            continue
        try:
            case()
            print(f"ok - {case.__name__}", flush=True)
        except Exception:
            failed = True
            print(f"not ok - {case.__name__}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
