"""Debian's Prometheus and Balefire give the same answers: a slice, with a seed that does not change, of tests/differential."""

import argparse
import sys

from harness import ROOT, Skip
from harness import run as run_cases

sys.path.insert(0, str(ROOT / "tests/differential"))

import run

SEED, COUNT = 42, 600


def the_same_answers_as_prometheus():
    if not run.DEBIAN.exists():
        raise Skip("prometheus is not installed")
    options = argparse.Namespace(seed=SEED, count=COUNT, oracle=run.DEBIAN, file=[run.OPERATORS], corpus=False, end=None, shown=20)
    differences = run.compare(options)
    assert not differences, f"{differences} differences, see above"


run_cases(the_same_answers_as_prometheus)
