"""A recorded life of a daemon: writers side by side, days of samples, restarts; and what it promised them."""

import pickle
import random
import shutil
import struct
import threading
import time
from dataclasses import dataclass, field

import grpc

from daemon import HOUR_MS, MODULES, PATIENCE, Clock, Daemon, bits

SAMPLES = "cut_samples"
WRITERS = 4
SERIES_PER_WRITER = 6
SAMPLES_PER_BATCH = 8
BATCHES_PER_STEP = 4
STEP_MS = 2 * HOUR_MS
# Once in a life time leaps, so that a window of five days is over: what lies in it is rolled up.
LEAP_MS = 126 * HOUR_MS
# Reaches back beyond what two lives write.
HOURS = 24 * 20
# Samples are up to this old when they are written: within the window for late ones, with room.
SPAN_MS = 100 * 60_000
# The log has been silent for so long, or we have waited for so long: time moves on.
QUIET_S, RESTLESS_S = 0.25, 4


@dataclass
class Batch:
    """Samples that were sent together: labels, and values' bits by time. Positions are the log's lengths."""
    samples: dict
    sent: int
    acknowledged: int | None = None


@dataclass
class RuleChange:
    """A rule that was created, or deleted."""
    id: str
    created: bool
    sent: int
    acknowledged: int | None = None


@dataclass
class Promises:
    batches: list = field(default_factory=list)
    rules: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __getstate__(self):
        return self.batches, self.rules

    def __setstate__(self, state):
        self.batches, self.rules = state
        self.lock = threading.Lock()

    def as_of(self, position):
        """What stands when the power has gone at this position: told before any log that comes after."""
        before = Promises()
        for kind in ("batches", "rules"):
            for item in getattr(self, kind):
                if item.sent <= position:
                    kept = item.acknowledged is not None and item.acknowledged <= position
                    getattr(before, kind).append(type(item)(**{**vars(item), "sent": 0, "acknowledged": 0 if kept else None}))
        return before


class Recording:
    """A folder: `log`, `base` (what the disk held before), `inodes`, `root`, `promises`; `state` while it is made."""

    def __init__(self, folder):
        self.folder = folder
        self.log, self.state, self.base = folder / "log", folder / "state", folder / "base"

    def begin(self, base=None, settled=False):
        self.folder.mkdir(parents=True)
        self.log.touch()
        if base is None:
            self.state.mkdir()
        else:
            shutil.copytree(base, self.state)
        if settled:
            with Daemon(self.state) as daemon:
                daemon.stop()
        shutil.copytree(self.state, self.base)
        paths = ["", *(str(path)[len(str(self.state)):] for path in self.state.rglob("*"))]
        # Records name files by where they were, and a recording may be moved.
        self._save("root", str(self.state))
        self._save("inodes", {path: (self.folder / f"state{path}").stat().st_ino for path in paths})

    def position(self):
        return self.log.stat().st_size

    def end(self, promises):
        self._save("promises", promises)

    def _save(self, name, value):
        (self.folder / name).write_bytes(pickle.dumps(value))

    def load(self, name):
        return pickle.loads((self.folder / name).read_bytes())


class Writer:
    """One client with series of its own."""

    def __init__(self, number, seed, recording, promises, generation):
        self.number, self.recording, self.promises = number, recording, promises
        self.random = random.Random(f"{seed}-{generation}-{number}")
        self.generation, self.step, self.failure = generation, 0, None

    def labels(self, index):
        # Series come and go: the last ones of each writer live for one step.
        born = self.step if index >= SERIES_PER_WRITER - 2 else 0
        return {"writer": str(self.number), "series": str(index), "born": f"{self.generation}.{born}"}

    def value(self, index, time_ms):
        kinds = (lambda: 4.5, lambda: time_ms // 1000 * 3.0, lambda: self.random.randint(0, 100_000) / 100,
                 lambda: struct.unpack("=d", struct.pack("=Q", self.random.getrandbits(62)))[0],
                 lambda: self.random.gauss(0, 1), lambda: float(self.random.randint(-5, 5)))
        return kinds[index % len(kinds)]()

    def batches(self, now_ms):
        """This step's samples, each time of each series once; sometimes not in order."""
        count = BATCHES_PER_STEP * SAMPLES_PER_BATCH
        times = [now_ms - SPAN_MS + SPAN_MS * place // count + self.random.randint(0, SPAN_MS // count // 2)
                 for place in range(count)]
        runs = [times[place:place + SAMPLES_PER_BATCH] for place in range(0, count, SAMPLES_PER_BATCH)]
        if self.random.random() < 0.25:
            self.random.shuffle(runs)
        for run in runs:
            yield {tuple(sorted(self.labels(index).items())): {at: self.value(index, at) for at in run}
                   for index in range(SERIES_PER_WRITER)}

    def work(self, daemon, now_ms, step):
        self.step = step
        write = self._stream(daemon) if self.number == 0 else self._write
        try:
            for samples in self.batches(now_ms):
                # Spread over what the daemon does of itself, and now and then all at once.
                if self.random.random() < 0.6:
                    time.sleep(self.random.random() * 0.05)
                self._send(write, daemon, samples)
        except (grpc.RpcError, AssertionError) as error:
            self.failure = error

    def _send(self, write, daemon, samples):
        kept = {key: {at: bits(value) for at, value in values.items()} for key, values in samples.items()}
        batch = Batch(kept, self.recording.position())
        with self.promises.lock:
            self.promises.batches.append(batch)
        answer = write(daemon, samples)
        # Taken after the answer: what the log holds up to here was done before it.
        batch.acknowledged = self.recording.position()
        assert answer.rejected_count == 0, answer.rejections

    def _write(self, daemon, samples):
        return daemon.metrics.Write(MODULES["metrics"].WriteRequest(series=sample_series(samples)), timeout=PATIENCE)

    def _stream(self, daemon):
        """Sends by `WriteStream`, and waits for each request's number to be durable."""
        requests, known = Pipe(), {}
        answers = daemon.metrics.WriteStream(iter(requests), timeout=PATIENCE)

        def write(_, samples):
            sequence = requests.sent + 1
            request = MODULES["metrics"].WriteStreamRequest(sequence=sequence)
            for key, values in samples.items():
                if key not in known:
                    known[key] = len(known) + 1
                    request.series.add(ref=known[key], labels={"__name__": SAMPLES, **dict(key)})
                for at, value in values.items():
                    request.refs.append(known[key])
                    request.timestamps_ms.append(at)
                    request.values.append(value)
            requests.put(request)
            for answer in answers:
                if answer.durable_sequence >= sequence:
                    return answer
            raise AssertionError("the stream has ended")
        return write


def sample_series(samples):
    series = []
    for key, values in samples.items():
        one = MODULES["metrics"].TimeSeries(labels={"__name__": SAMPLES, **dict(key)})
        for at, value in values.items():
            one.samples.add(timestamp_ms=at, value=value)
        series.append(one)
    return series


class Pipe:
    """Requests for a stream, one by one."""

    def __init__(self):
        self._items, self._ready, self.sent = [], threading.Condition(), 0

    def put(self, item):
        with self._ready:
            self._items.append(item)
            self.sent += 1
            self._ready.notify()

    def __iter__(self):
        while True:
            with self._ready:
                if not self._ready.wait_for(lambda: self._items, PATIENCE):
                    return
                item = self._items.pop(0)
            yield item


def record(folder, seed, steps, lives_left=0, settled=False, life=None):
    """Records `steps` of two hours each, but one that is a leap; `lives_left` more such lives fit in between
    its end and now. `life` is the disk and the promises that an earlier one has left. `settled` has the
    directory made before anything is recorded."""
    recording = Recording(folder)
    base, promises = life or (None, Promises())
    recording.begin(base, settled)
    generation = int(life is not None)
    chance = random.Random(f"{seed}-{generation}")
    leap = chance.randint(steps // 3, steps * 2 // 3)
    clock = Clock(folder / "clock", -(1 + lives_left) * ((steps - 1) * STEP_MS + LEAP_MS))
    writers = [Writer(number, seed, recording, promises, generation) for number in range(WRITERS)]
    daemon = Daemon(recording.state, clock, recording.log)
    try:
        for step in range(steps):
            move = LEAP_MS if step == leap else STEP_MS
            clock.move(move, move)
            one_step(daemon, clock, writers, step)
            change_rules(daemon, recording, promises, chance, f"g{generation} s{step}")
            if chance.random() < 0.3:
                # Opens partitions, which the engine writes to as it does so.
                daemon.read_samples(SAMPLES, HOURS)
            wait_until_quiet(recording)
            if chance.random() < 0.3:
                daemon.kill() if chance.random() < 0.5 else daemon.stop()
                daemon.close()
                daemon = Daemon(recording.state, clock, recording.log)
        daemon.kill()
    finally:
        daemon.close()
    recording.end(promises)
    return recording


def one_step(daemon, clock, writers, step):
    now = clock.now_ms()
    threads = [threading.Thread(target=writer.work, args=(daemon, now, step)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in writers:
        if writer.failure:
            raise AssertionError(f"writer {writer.number} failed\n{daemon.log()}") from writer.failure


def change_rules(daemon, recording, promises, chance, name):
    """Now and then a rule is created, or one is deleted."""
    alerts = MODULES["alerts"]
    if chance.random() < 0.6:
        change = RuleChange(f"cut {name}".replace(" ", "_"), True, recording.position())
        promises.rules.append(change)
        request = alerts.CreateRuleRequest(name=f"cut {name}", condition=f"{SAMPLES} > 1e308", severity="SEVERITY_LOW")
        answer = daemon.alerts.CreateRule(request, timeout=PATIENCE)
        change.acknowledged = recording.position()
        assert answer.rule.id == change.id, answer.rule.id
    elif promises.rules and chance.random() < 0.5:
        living = {change.id for change in promises.rules if change.created and change.acknowledged is not None}
        living -= {change.id for change in promises.rules if not change.created}
        if living:
            change = RuleChange(chance.choice(sorted(living)), False, recording.position())
            promises.rules.append(change)
            daemon.alerts.DeleteRule(alerts.DeleteRuleRequest(id=change.id), timeout=PATIENCE)
            change.acknowledged = recording.position()


def wait_until_quiet(recording):
    """Until the daemon has done what it does of itself, as far as one can see."""
    end, size, since = time.monotonic() + RESTLESS_S, recording.position(), time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < QUIET_S:
        time.sleep(0.02)
        if (now := recording.position()) != size:
            size, since = now, time.monotonic()
