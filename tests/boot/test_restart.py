"""Restarts under load."""

import contextlib
import threading
import time
from datetime import datetime, timedelta, timezone

import grpc

from service import installed

WRITERS = 2
RESTARTS = 3
METRIC = "boot_load"


class Writer(threading.Thread):
    """Writes sample after sample into a series of its own, again where a write fails; keeps what was acknowledged."""

    def __init__(self, service, number):
        super().__init__(daemon=True)
        self.series = {"__name__": METRIC, "writer": str(number)}
        self.client = service.reflection()
        self.acknowledged, self.failed, self.value, self.ended = {}, [], 0, False

    def run(self):
        last = 0
        while not self.ended:
            self.value += 1
            last = max(last + 1, int(time.time() * 1000))
            while not self.ended and not self.write(last):
                time.sleep(0.01)

    def write(self, at):
        sample = {"timestampMs": at, "value": self.value}
        try:
            answer = self.client.call("MetricsService", "Write", series=[{"labels": self.series, "samples": [sample]}])
        except grpc.RpcError as error:
            self.failed.append(f"{error.code().name}: {error.details()}")
            return False
        assert answer.accepted_count + answer.duplicate_count == 1, answer
        self.acknowledged[at] = self.value
        return True


class Caller(threading.Thread):
    """Runs `balefire` again and again: asks, and writes. Keeps what failed."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service, self.answered, self.failed, self.ended = service, 0, [], False

    def run(self):
        while not self.ended:
            for done in (self.service.cli("query", "vector(1)"), self.service.write(f"{METRIC}_cli {self.answered}\n")):
                self.answered += done.returncode == 0
                self.failed += [done.stderr] if done.returncode else []


@contextlib.contextmanager
def load(service):
    """Writers, and a caller, for the time of a block."""
    writers, caller = [Writer(service, number) for number in range(WRITERS)], Caller(service)
    for thread in (*writers, caller):
        thread.start()
    try:
        yield writers, caller
    finally:
        for thread in (*writers, caller):
            thread.ended = True
        for thread in (*writers, caller):
            thread.join(60)


def a_restart_under_load_loses_nothing_that_was_acknowledged(suite):
    with installed(suite) as service:
        with load(service) as (writers, caller):
            for _ in range(RESTARTS):
                grow(writers)
                service.systemctl("restart")
            assert service.is_active() and service.restarts() == 0
            grow(writers)
            service.systemctl("kill", "--signal=KILL")
            grow(writers)
        assert service.is_active()
        stored = {one.labels["writer"]: {sample.timestamp_ms: sample.value for sample in one.samples}
                  for one in service.reflection().call("MetricsService", "Query", expr=f"{METRIC}[20m]", time=soon()).matrix.series}
        for writer in writers:
            kept = stored[writer.series["writer"]]
            lost = {at: value for at, value in writer.acknowledged.items() if kept.get(at) != value}
            assert not lost, f"{len(lost)} of {len(writer.acknowledged)} samples are lost: {sorted(lost.items())[:5]}"
        failed = sum(len(writer.failed) for writer in writers)
        print(f"{sum(len(writer.acknowledged) for writer in writers)} samples acknowledged, none lost, {failed} writes tried again")
        print(f"{caller.answered} calls of balefire answered, {len(caller.failed)} not: {set(caller.failed)}")
        # Whoever comes while nobody serves waits on the socket of systemd; what a stop refused is asked again.
        assert caller.answered > RESTARTS
        assert not (caller.failed and service.has_socket_unit()), caller.failed


def soon():
    """Later than any sample: those who write more than one in a millisecond are ahead of the clock."""
    return (datetime.now(timezone.utc) + timedelta(minutes=5)).isoformat()


def grow(writers):
    """Waits until each has written a hundred more."""
    wanted = [(writer, len(writer.acknowledged) + 100) for writer in writers]
    deadline = time.monotonic() + 60
    while any(len(writer.acknowledged) < count for writer, count in wanted):
        assert time.monotonic() < deadline, [writer.failed[-3:] for writer in writers]
        assert all(writer.is_alive() for writer in writers)
        time.sleep(0.02)


CASES = (a_restart_under_load_loses_nothing_that_was_acknowledged,)
