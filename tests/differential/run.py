"""Asks Prometheus and Balefire the same of the same samples, and tells every difference.

Expressions are drawn from a seed, or read from files, one in each line. Each is asked at one instant and
over a range. What differs is reduced to the smallest part that does.
"""

import argparse
import collections
import contextlib
import dataclasses
import pathlib
import random
import re
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1] / "peers")]

import comparison
import corpus
import known
from dataset import Dataset
from expressions import Generator
from minimize import minimized, spans
from servers import Balefire, Oracle

OPERATORS = pathlib.Path(__file__).with_name("operators.promql")
DEBIAN = pathlib.Path("/usr/bin/prometheus")
# Of the random expressions, so many at least shall have something to give.
FULL_SHARE = 0.5
# The samples end so long ago: whatever the daemon says of itself comes later.
AGE_MS = 20 * 60_000
# The samples end at a whole multiple of every step that subqueries have, so that one run is like the next.
GRID_MS = 4_200_000


@dataclasses.dataclass
class Times:
    """When an expression is asked; in seconds."""

    instant: float
    start: float
    end: float
    step: float


@dataclasses.dataclass
class Case:
    """A difference: what was asked, and how, and both answers."""

    expr: str
    way: str
    times: Times
    expected: dict
    got: dict
    wrong: str


class Run:
    """Both servers, what was asked so far, and what came of it."""

    def __init__(self, oracle, balefire, data, seed, on_grid):
        self.oracle, self.balefire, self.data, self.on_grid = oracle, balefire, data, on_grid
        self.random = random.Random(f"times {seed}")
        self.counts = collections.Counter()
        self.explained = collections.Counter()
        self.cases = []

    def times(self):
        """Off the grid of the samples; where the oracle has the same rules at its edges, on it, too."""
        rng, phase = self.random, self.random.choice((1, 1, 7)) if self.on_grid else 7
        instant = rng.randrange(self.data.start_ms - 60_000, self.data.end_ms + 120_000, 1000) // 10 * 10 + phase
        step = rng.choice((1_000, 15_000, 30_000, 60_000, 77_000, 300_000, 601_000))
        count = rng.randrange(1, 40)
        start = rng.randrange(self.data.start_ms - 60_000, self.data.end_ms, 1000) // 10 * 10 + phase
        end = min(start + step * count + rng.choice((0, 0, 500)), self.data.end_ms + 300_000)
        return Times(*(ms / 1000 for ms in (instant, start, max(start, end), step)))

    def ask(self, expr, way, times):
        """Both answers."""
        if way == "instant":
            return tuple(server.instant(expr, times.instant) for server in (self.oracle, self.balefire))
        return tuple(server.range(expr, times.start, times.end, times.step) for server in (self.oracle, self.balefire))

    def check(self, expr):
        """Asks both ways; tells whether any of the oracle's answers had something in it."""
        full, times = False, self.times()
        self.counts["expressions"] += 1
        for way in ("instant", "range"):
            expected, got = self.ask(expr, way, times)
            self.counts[f"{way} queries"] += 1
            self.counts[f"… {answer_kind(expected)}"] += 1
            full |= answer_kind(expected) == "with a result"
            if wrong := self.difference(expr, expected, got):
                self.differs(Case(expr, way, times, expected, got, wrong))
        return full

    def differs(self, case):
        """Explained, or reduced and kept. A part that is explained explains what is around it."""
        if explained := known.explanation(case, self.oracle.version):
            self.explained[explained.name] += 1
            return
        unexplained = explained = None

        def still(part):
            nonlocal unexplained, explained
            smaller = self.case(part, case.way, case.times)
            if smaller:
                explained = known.explanation(smaller, self.oracle.version)
                unexplained = None if explained else smaller
            return smaller is not None
        minimized(case.expr, still)
        if explained:
            self.explained[explained.name] += 1
        elif self.is_rounding(unexplained or case):
            self.explained[known.ROUNDING.name] += 1
        else:
            self.cases.append(unexplained or case)

    def is_rounding(self, case):
        """Whether a part of it has the same answers, but not to the last digit."""
        if not known.ROUNDING.applies(case):
            return False
        for part in spans(case.expr):
            answers = self.ask(part, case.way, case.times)
            if comparison.difference(part, *answers, 0) and not comparison.difference(part, *answers):
                return True
        return False

    def difference(self, expr, expected, got):
        """In the answer, or in what is said beside it, which 2.42 does not do yet."""
        wrong = comparison.difference(expr, expected, got)
        return wrong or (comparison.notes(expected, got) if self.oracle.modern else None)

    def case(self, expr, way, times):
        """The difference, if there is one."""
        answers = self.ask(expr, way, times)
        wrong = self.difference(expr, *answers)
        return Case(expr, way, times, *answers, wrong) if wrong else None


def answer_kind(answer):
    if answer["status"] == "error":
        return "an error"
    return "with a result" if answer["data"]["result"] else "empty"


def random_expressions(run, generator, count):
    """So many, of which half have a result: one without is asked, but counts only while there is room."""
    empty_max = int(count * (1 - FULL_SHARE))
    done = empty = 0
    while done < count:
        full = run.check(generator.expression())
        if not full:
            empty += 1
        done += full or empty <= empty_max


def report(run, shown):
    print(f"oracle: Prometheus {'.'.join(map(str, run.oracle.version))}, {len(run.data.series)} series")
    for name, count in run.counts.items():
        print(f"  {name}: {count}")
    for name, count in run.explained.most_common():
        reason = next(each.reason for each in (*known.KNOWN, known.ROUNDING) if each.name == name)
        print(f"explained: {count} × {name}: {reason}")
    groups = collections.defaultdict(list)
    for case in run.cases:
        groups[signature(case)].append(case)
    for cases in sorted(groups.values(), key=len, reverse=True)[:shown]:
        print(f"\n{len(cases)} × like")
        tell(min(cases, key=lambda case: len(case.expr)))
    if len(groups) > shown:
        print(f"… and {len(groups) - shown} more kinds")
    print(f"{len(run.cases)} unexplained differences")


def signature(case):
    """What cases of the same cause have in common, most likely."""
    if case.got["status"] == "error":
        return re.sub(r"\\?[\"`{].*|\d+", "", case.got["error"])
    words = sorted(set(re.findall(r"[a-z_0-9]+(?=\s*\()|\bbool\b|\boffset\b|@|group_\w+", case.expr)))
    return (re.sub(r"[{\d].*", "", case.wrong), *words)


def tell(case):
    times = case.times
    when = f"at {times.instant:.3f}" if case.way == "instant" else f"{times.start:.3f} to {times.end:.3f} step {times.step:g}"
    print(f"{case.way} {when}\n  {case.expr}\n  {case.wrong}")
    for side, answer in (("Prometheus", case.expected), ("Balefire", case.got)):
        print(f"  {side}: {str(answer.get('error') or answer['data']['result'])[:400]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5000, help="of random expressions")
    parser.add_argument("--oracle", type=pathlib.Path, default=DEBIAN, help="a prometheus; Debian's, where nothing is said")
    parser.add_argument("--file", action="append", type=pathlib.Path, default=[OPERATORS],
                        help="expressions to ask beside, one in each line; operators.promql is one")
    parser.add_argument("--corpus", action="store_true", help="fetch published dashboards and alerts, and ask what they do")
    parser.add_argument("--end", type=int, help="of the samples, in Unix seconds, to repeat a run")
    parser.add_argument("--shown", type=int, default=50, help="kinds of differences to print")
    options = parser.parse_args()
    sys.exit(1 if compare(options) else 0)


def read(paths):
    """The expressions of files, one in each line."""
    for path in paths:
        lines = path.read_text().splitlines()
        yield from (line for line in lines if line.strip() and not line.startswith("#"))


def compare(options):
    """Runs it all; the number of differences that nothing explains."""
    end_ms = options.end * 1000 if options.end else (int(time.time() * 1000) - AGE_MS) // GRID_MS * GRID_MS
    oracle = Oracle(options.oracle)
    data = Dataset(options.seed, end_ms, with_native=oracle.modern)
    written = list(read(options.file))
    if options.corpus:
        for package, expressions in corpus.published():
            print(f"{len(expressions)} expressions of {package}")
            written += expressions
        corpus.invent(data, written)
    print(f"seed {options.seed}, samples until {data.end_ms // 1000}", flush=True)
    with contextlib.ExitStack() as stack:
        oracle, balefire = stack.enter_context(oracle), stack.enter_context(Balefire())
        for server in (oracle, balefire):
            server.load(data)
        run = Run(oracle, balefire, data, options.seed, on_grid=oracle.modern)
        for expr in written:
            run.check(expr)
        random_expressions(run, Generator(options.seed, data, oracle.modern), options.count)
        report(run, options.shown)
    return len(run.cases)


if __name__ == "__main__":
    main()
