"""Fills the disk below a running daemon: it refuses writes and says why, and does the rest as before. Where
the engine is the one to meet the end of the disk, the daemon ends, to be started anew, and nothing is lost.

The disk is a small tmpfs in a mount namespace of this test's own.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import grpc

from daemon import HOUR_MS, MODULES, PATIENCE, Clock, Daemon, bits, why_not
from workload import STEP_MS, sample_series

MEBIBYTES = 160
METRIC = "full_samples"
SAMPLES_PER_WRITE = 2000
# The daemon's exit status when a new process can do what it cannot.
TRY_AGAIN = 75
# Room that is left when the daemon has found that there is enough for a partition: its engine can begin one,
# and not end it. And what is left before, which has to be enough.
LEFT_FOR_THE_ENGINE, LEFT_BEFORE = 256 << 10, 40 << 20
WRITES_PER_STEP = 30
# Races at most with an engine that is done before the disk is full; and how long one that is not may take to end,
# in seconds.
RACES, END_PATIENCE = 8, 8
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
        self.rules = set()
        self.state = disk / "state"
        self.state.mkdir()

    def fill(self, leave=0):
        """Takes all room but what is in use, and `leave` bytes."""
        with open(self.disk / "ballast", "ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while self.free() >= leave + size:
                        ballast.write(bytes(size))

    def free(self):
        about = os.statvfs(self.disk)
        return about.f_bavail * about.f_frsize

    def make_room(self):
        (self.disk / "ballast").unlink()

    def write(self, daemon):
        """One write of noise, in a series of its own; the error if it was refused."""
        self.number += 1
        now, generator = self.clock.now_ms(), self.number * 2654435761 % 2**32
        values = {}
        for place in reversed(range(SAMPLES_PER_WRITE)):
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

    def create_rule(self, daemon):
        name = f"full {self.number}"
        request = MODULES["alerts"].CreateRuleRequest(name=name, condition=f"{METRIC} > 1e308", severity="SEVERITY_LOW")
        self.rules.add(daemon.alerts.CreateRule(request, timeout=PATIENCE).rule.id)

    def partitions(self, tier="raw"):
        """The ends of the partitions of a tier, in ms, by their beginnings."""
        folder = self.state / "store/tiers" / tier
        names = [path.name.split("-") for path in folder.glob("*-*") if path.suffix != ".tmp"]
        return {int(start): int(end) for start, end in names}

    def step(self, daemon):
        """Two hours with samples, and a rule, go by; those of before are sealed. Tells whether all was taken."""
        with contextlib.suppress(grpc.RpcError):
            taken = all(self.write(daemon) is None for _ in range(WRITES_PER_STEP))
            self.create_rule(daemon)
            self.clock.move(STEP_MS, STEP_MS)
            return taken
        return False

    def hold(self, daemon):
        """All that was acknowledged is there, and nothing that was not sent."""
        lost = self.rules - daemon.read_rules()
        assert not lost, f"rules are lost: {lost}"
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


@contextlib.contextmanager
def prepared(hours):
    """A small disk, and clocks that begin some hours ago."""
    with small_disk() as disk:
        clock_file = disk.parent / f"{disk.name}.clock"
        try:
            yield Full(disk, Clock(clock_file, -hours * HOUR_MS))
        finally:
            clock_file.unlink()


def full_disk(sealing):
    with prepared(4) as full:
        with Daemon(full.state, full.clock) as daemon:
            for _ in range(20):
                assert full.write(daemon) is None
            full.create_rule(daemon)
            full.fill()
            check_refusal(full.write_until_refused(daemon))
            if sealing:
                full.clock.move(STEP_MS, STEP_MS)
            full.hold(daemon)
            goes_on_evaluating(daemon)
            full.make_room()
            eventually("it takes writes again", lambda: full.write(daemon) is None)
            full.hold(daemon)
            full.fill()
            full.write_until_refused(daemon)
            daemon.kill()
        restarted(full, full.clock)


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


def an_engine_that_meets_a_full_disk_while_sealing_loses_nothing():
    engine_meets_the_end(lambda length: length == STEP_MS)


def an_engine_that_meets_a_full_disk_while_compacting_loses_nothing():
    engine_meets_the_end(lambda length: length > STEP_MS)


def engine_meets_the_end(is_meant):
    """`is_meant` tells by its length which partition it is that finds no room. It is a race with whoever fills the
    disk, which is run again where the partition was done before."""
    for _ in range(RACES):
        with prepared(24) as full:
            if ended_for_want_of_room(full, is_meant):
                # It is started anew at once, on the same full disk.
                with Daemon(full.state, full.clock) as daemon:
                    full.hold(daemon)
                    goes_on_evaluating(daemon)
                restarted(full, full.clock)
                return
    raise AssertionError(f"the partition was done before the disk was full, {RACES} times")


def ended_for_want_of_room(full, is_meant):
    """Whether the engine met the end of the disk; where it did not, the daemon lost nothing all the same."""
    with Daemon(full.state, full.clock) as daemon:
        filler = Filler(full, is_meant)
        for step in range(10):
            # Whatever is under way when the disk is full may be refused.
            assert full.step(daemon) or filler.begun, daemon.log()
            if not step:
                full.fill(LEFT_BEFORE)
                filler.start()
            if filler.waited_for(daemon):
                break
        log = daemon.log()
        assert "panicked" not in log, log
        if daemon.child.poll() is None:
            assert filler.filled, f"nothing was begun that is meant: {log}"
            full.hold(daemon)
            print("the partition was done before the disk was full")
            return False
        assert daemon.child.poll() == TRY_AGAIN, f"it did not end so: {daemon.child.poll()}\n{log}"
        print("\n".join(line for line in log.splitlines() if "started anew" in line))
        assert "No space left on device" in log, log
        return True


class Filler(threading.Thread):
    """Fills the disk once the partition that is meant is begun."""

    def __init__(self, full, is_meant):
        super().__init__(daemon=True)
        self.full, self.is_meant, self.begun, self.filled = full, is_meant, False, False

    def run(self):
        while not any(self.is_begun(path) for path in (self.full.state / "store/tiers").glob("raw/*.tmp")):
            time.sleep(0.001)
        self.begun = True
        self.full.fill(LEFT_FOR_THE_ENGINE)
        self.filled = True

    def is_begun(self, path):
        if path.name.endswith(".old.tmp"):
            return False
        start, end = map(int, path.stem.split("-"))
        return self.is_meant(end - start)

    def waited_for(self, daemon):
        """Whether the disk is full now; then the daemon has ended, if it does so at all."""
        end = time.monotonic() + 3
        while time.monotonic() < end and not self.filled:
            time.sleep(0.02)
        if self.filled:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.child.wait(END_PATIENCE)
        return self.filled


CASES = (
    a_full_disk_refuses_writes_alone,
    a_disk_that_is_full_while_sealing_loses_nothing,
)

# Asked for with --engine, on a development build: a quicker one may have done with a partition before
# the disk is full, and then there is nothing to be seen.
ENGINE_CASES = (
    an_engine_that_meets_a_full_disk_while_sealing_loses_nothing,
    an_engine_that_meets_a_full_disk_while_compacting_loses_nothing,
)


def main():
    missing = why_not() or with_own_mounts()
    failed = False
    for case in ENGINE_CASES if "--engine" in sys.argv else CASES:
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
