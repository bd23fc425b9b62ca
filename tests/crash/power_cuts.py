"""Takes the power from a real daemon, again and again, and opens what is left.

A daemon is recorded at the system calls (recorder.c) while writers write and time runs fast (clock.c,
workload.py). Then, for many moments of that record, a disk is put together that a power cut may have left
(disk.py), opened by a daemon as it is, and held to what had been acknowledged by then (image.py). Each
recording goes on from one of those disks with another one, so that recovery is cut, too.

    power_cuts.py [--seed N] [--pairs N] [--cuts N] [--steps N]   records; tests/run and tests/long do this
    power_cuts.py --replay FOLDER --cut NAME                      repeats one cut of a recording that was kept

A cut that fails leaves its recording and its disk below target/crash.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import workload
from daemon import ROOT, why_not
from disk import Disk, Luck, cut, read_log
from image import check

KEPT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "crash"
# A memory file system, where there is one: a disk is read once.
DISKS = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
AT_ONCE = 2
# How many cuts may pass unnoticed before a simulator that hears no syncs counts as blind.
BLIND = 25


@dataclass(frozen=True)
class Cut:
    """After `number` records, with the luck that `seed` gives."""
    number: int
    seed: int

    def __str__(self):
        return f"{self.number}.{self.seed}"

    def chance(self):
        return random.Random(str(self))


class Life:
    """A recording with its records and promises."""

    def __init__(self, recording):
        self.recording = recording
        self.records = read_log(recording.log)
        self.promises = recording.load("promises")
        self.directories = {record.inode for record in self.records if record.kind == "D"}

    def disk(self, deaf=()):
        return Disk(self.recording.load("root"), self.recording.base, self.recording.load("inodes"), deaf)

    def position(self, cut):
        return self.records[cut.number - 1].end if cut.number else 0

    def check_record(self):
        """That the record, replayed to its end, gives the directory as it really is."""
        disk = self.disk()
        self.advance(disk, len(self.records))
        disk.compare(self.recording.state)

    def advance(self, disk, number):
        for record in self.records[disk.number:number]:
            disk.feed(record)

    def leave(self, wanted, to):
        """Makes what one cut leaves."""
        disk, chance = self.disk(), wanted.chance()
        self.advance(disk, wanted.number)
        luck = Luck.draw(chance)
        cut(disk, luck, chance, to)
        return luck

    def moments(self, count, seed):
        """Where to cut: mostly around what makes things durable, shows them, or removes them."""
        groups, chance = collections.defaultdict(list), random.Random(f"moments {seed}")
        for number, record in enumerate(self.records):
            if group := self._group(record):
                groups[group] += [number, number + 1]
        groups["any"] = range(len(self.records) + 1)
        kinds = sorted(groups)
        numbers = sorted(chance.choice(groups[kinds[place % len(kinds)]]) for place in range(count))
        return [Cut(number, chance.randrange(10_000)) for number in numbers]

    def _group(self, record):
        if record.kind in "fF":
            return "sync of names" if record.inode in self.directories else "sync of data"
        return {"R": "names", "D": "names", "U": "removals", "T": "sizes", "A": "sizes"}.get(record.kind)

    def check_cuts(self, cuts, deaf=()):
        """What was found after each cut, with its luck."""
        disk = self.disk(deaf)
        with tempfile.TemporaryDirectory(prefix="bfcut", dir=DISKS) as folder, ThreadPoolExecutor(AT_ONCE) as pool:
            running = collections.deque()
            for place, wanted in enumerate(cuts):
                self.advance(disk, wanted.number)
                chance, image = wanted.chance(), pathlib.Path(folder) / str(place)
                luck = Luck.draw(chance)
                cut(disk, luck, chance, image)
                running.append((wanted, luck, pool.submit(self._check, image, wanted, chance.random() < 0.3)))
                # Disks are not piled up.
                if len(running) > AT_ONCE:
                    yield finished(running.popleft())
            while running:
                yield finished(running.popleft())

    def _check(self, image, wanted, again):
        try:
            return check(image, self.promises, self.position(wanted), again)
        finally:
            shutil.rmtree(image, ignore_errors=True)


def finished(item):
    wanted, luck, future = item
    return wanted, luck, future.result()


def report(life, outcomes):
    """Tells how the cuts of one recording went; those that failed."""
    failed = [(wanted, luck, findings.wrong) for wanted, luck, findings in outcomes if findings.wrong]
    kept = sum(findings.kept for _, _, findings in outcomes)
    starts = sorted(findings.start_s * 1000 for _, _, findings in outcomes)
    halves = sum(findings.halves for _, _, findings in outcomes)
    print(f"{len(outcomes)} cuts of {len(life.records)} records, {len(failed)} failed; {kept} acknowledged samples read "
          f"back; {halves} unacknowledged writes half there; start {starts[len(starts) // 2]:.0f} ms in the middle, "
          f"{starts[-1]:.0f} ms at most")
    for line, count in complaints(outcomes).most_common(8):
        print(f"    logged by {count}: {line}")
    for wanted, luck, wrong in failed:
        print(f"    cut {wanted} ({luck}): {'; '.join(wrong)[:2000]}")
    return failed


def complaints(outcomes):
    """What the daemons complained of, without the time and the number of the disk."""
    return collections.Counter(line for _, _, findings in outcomes for line in {
        re.sub(r'[^ "]*/bfcut\w+/\d+/', "", line.split(" ", 1)[-1].strip())[:300] for line in findings.complaints})


def keep(name, life, failed):
    """Keeps what is needed to see a failure again."""
    folder, wanted = KEPT / name, failed[0][0]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(life.recording.folder, folder)
    life.leave(wanted, folder / f"disk-{wanted}")
    print(f"    again: python tests/crash/power_cuts.py --replay {folder} --cut {wanted}")


def lives(folder, options, seed):
    """A life, and one that goes on from where a cut has left the first."""
    first = Life(workload.record(folder / "first", seed, options.steps, lives_left=1, settled=options.settled))
    yield "first", first
    base = folder / "base"
    for wanted in reversed(first.moments(20, seed)):
        if not any(findings.wrong for _, _, findings in first.check_cuts([wanted])):
            break
    else:
        raise AssertionError("no disk that a cut has left can be gone on from")
    first.leave(wanted, base)
    before = first.promises.as_of(first.position(wanted))
    yield "second", Life(workload.record(folder / "second", seed, options.steps, life=(base, before)))


def told(name, case):
    """Runs a case, and tells how it went in the form that tests/run counts."""
    began = time.monotonic()
    try:
        good = case()
    except Exception:
        traceback.print_exc(file=sys.stdout)
        good = False
    print(f"{'ok' if good else 'not ok'} - {name} ({time.monotonic() - began:.0f} s)", flush=True)
    return good


def is_blind(life, seed, deaf):
    """A simulator that does not hear syncs of this kind has to find losses: else it could not find any."""
    for _, _, findings in life.check_cuts(life.moments(BLIND, seed), (deaf,)):
        if findings.wrong:
            print(f"deaf to syncs of {deaf}: {findings.wrong[0].splitlines()[0]}")
            return False
    return True


def run(options):
    good = True
    for seed in range(options.seed, options.seed + options.pairs):
        with tempfile.TemporaryDirectory(prefix="bfpower", dir="/tmp") as folder:
            good &= told(f"recordings of seed {seed}", lambda: pair(pathlib.Path(folder), options, seed))
    return good


def pair(folder, options, seed):
    """Both lives of one seed, and whether the simulator can find anything."""
    good = True
    for name, life in lives(folder, options, seed):
        good &= told(f"the record of seed {seed}, {name} life, is complete", lambda: life.check_record() is None)
        good &= told(f"power cuts of seed {seed}, {name} life", lambda: take_power(f"seed-{seed}-{name}", life, options, seed))
        if seed == options.seed and name == "first":
            for deaf in ("data", "names"):
                good &= told(f"a disk that forgets synced {deaf} is noticed", lambda: not is_blind(life, seed, deaf))
    return good


def take_power(name, life, options, seed):
    if failed := report(life, list(life.check_cuts(life.moments(options.cuts, seed)))):
        keep(name, life, failed)
    return not failed


def replay(options):
    number, seed = map(int, options.cut.split("."))
    life = Life(workload.Recording(options.replay))
    return not report(life, list(life.check_cuts([Cut(number, seed)])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("BALEFIRE_TEST_SEED", time.time())))
    parser.add_argument("--pairs", type=int, default=1, help="recordings, two by two")
    parser.add_argument("--cuts", type=int, default=30, help="cuts of each recording")
    parser.add_argument("--steps", type=int, default=12, help="steps of two hours in each recording, one of them a leap")
    parser.add_argument("--settled", action="store_true", help="the state directory is made before anything is recorded")
    parser.add_argument("--replay", type=pathlib.Path, help="a recording that was kept")
    parser.add_argument("--cut", help="as a failure told it")
    options = parser.parse_args()
    if missing := why_not():
        print(f"skip - power cuts: {missing}")
        return
    if options.replay:
        sys.exit(0 if replay(options) else 1)
    print(f"BALEFIRE_TEST_SEED={options.seed}", flush=True)
    sys.exit(0 if run(options) else 1)


if __name__ == "__main__":
    main()
