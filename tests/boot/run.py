"""Boots guests and tests the service in them: every case on each suite, several guests at a time.

`run.py [--suite SUITE] [CASE…]` runs some of them. Needs root and what tests/setup brings. BALEFIRE_DEB is the
package to install, with the one that tests/older-package makes of it to upgrade from; without them the programs of
BALEFIRE_BIN are installed by hand, and the cases of the package are skipped by name. Each case is told in the form
that tests/run counts, with its output where it failed.
"""

import argparse
import collections
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/peers"))

import guest
import service
import test_agent
import test_confined
import test_guest
import test_life
import test_package
import test_restart
import test_spawn
import test_trouble
import trees

CASES = {case.__name__: case for module in (test_guest, test_life, test_confined, test_trouble, test_restart, test_package, test_agent, test_spawn) for case in module.CASES}
# Guests mostly wait: for the watchdog, for a restart.
AT_ONCE = 2 * (os.cpu_count() or 1)
CASE_SECONDS = 180


def run_here(case, suite):
    try:
        CASES[case](suite)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def start(case, suite):
    """A case in a process of its own, which ends with us."""
    said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
    child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", sys.executable, __file__, "--one", "--suite", suite, case],
                             stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    return child, said


class Running:
    """A case under way, and what it says."""

    def __init__(self, case, suite):
        self.name, self.began = f"{case} on {suite}", time.monotonic()
        self.child, self.said = start(case, suite)

    def is_over(self):
        return self.child.poll() is not None or time.monotonic() - self.began > CASE_SECONDS

    def tell(self):
        self.said.seek(0)
        is_well = self.child.returncode == 0
        print(f"{'ok' if is_well else 'not ok'} - {self.name}", f"# {time.monotonic() - self.began:.1f} s", self.said.read(), sep="\n", flush=True)
        return is_well

    def end(self):
        """With it ends its guest, in order, or at once."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def run(wanted):
    """Runs all; tells whether all went well."""
    waiting, running, well = collections.deque(wanted), [], True
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(Running(*waiting.popleft()))
            for one in [one for one in running if one.is_over()]:
                one.end()
                running.remove(one)
                well &= one.tell()
            time.sleep(0.05)
    finally:
        for one in running:
            one.end()
    return well


def can_be_run(wanted):
    """Those of the cases that are; the others are told."""
    if service.OLDER and service.OLDER.is_file():
        return wanted
    lacking = [case for case, suite in wanted if CASES[case] in test_package.CASES]
    for case in dict.fromkeys(lacking):
        print(f"skip - {case}: needs BALEFIRE_DEB, and what tests/older-package makes of it")
    return [(case, suite) for case, suite in wanted if case not in lacking]


def stopped(*_):
    raise SystemExit("ended by a signal")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", choices=trees.SUITES)
    parser.add_argument("--one", action="store_true")
    parser.add_argument("cases", nargs="*", choices=[[], *CASES])
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, stopped)
    if asked.one:
        run_here(asked.cases[0], asked.suite)
        return
    if reason := guest.why_not():
        print(f"not ok - boot: {reason}")
        sys.exit(1)
    guest.sweep()
    suites = [asked.suite] if asked.suite else trees.SUITES
    wanted = [(case, suite) for case in asked.cases or CASES for suite in suites]
    sys.exit(0 if run(can_be_run(wanted)) else 1)


if __name__ == "__main__":
    main()
