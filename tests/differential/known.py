"""Where the oracle itself is not what Balefire follows: predicates with their reasons, each counted.

What is here is a fact about Prometheus, not an excuse: Balefire follows Prometheus 3.x, and where Go leaves
something to the processor, the definition.
"""

import dataclasses
import re
import typing

import comparison


@dataclasses.dataclass
class Known:
    """A difference that is explained: for which oracle, how to tell it, and why it is one."""

    name: str
    reason: str
    # Of the oracle's version.
    where: typing.Callable
    # Of a case: its expression, its answers.
    applies: typing.Callable


def old(version):
    return version < (3, 0)


def every(_):
    return True


def has(pattern):
    return lambda case: bool(re.search(pattern, case.expr))


def their_error(text):
    return lambda case: text in case.expected.get("error", "")


def both_answer(case):
    return case.expected["status"] == case.got["status"] == "success"


def only_they_fail(case):
    return case.expected["status"] == "error" and case.got["status"] == "success"


def close(tolerance):
    """The same but for rounding: so much, of the numbers themselves."""
    return lambda case: comparison.difference(case.expr, case.expected, case.got, tolerance) is None


def all_of(*conditions):
    return lambda case: all(condition(case) for condition in conditions)


SUMS = r"\b(sum|avg|stddev|stdvar|sum_over_time|avg_over_time|stddev_over_time|stdvar_over_time|histogram_quantile|deriv|predict_linear)\b"

KNOWN = (
    Known("duration as number", "numbers may be written as durations since 3.0 (`5m` is 300)", old,
          all_of(only_they_fail, their_error("unexpected duration"))),
    Known("atan2 keeps the name", "2.42 does not drop the metric's name after atan2, as after other arithmetic; fixed in 2.5x", old,
          all_of(both_answer, has(r"\batan2\b"))),
    Known("names are kept", "… so that series may collide, or do not, in what is done with them next", old, has(r"\batan2\b.*|.*\batan2\b")),
    Known("histogram_quantile of several metrics", "2.42 does not tell buckets of different metrics apart", old,
          all_of(only_they_fail, has("histogram_quantile"), their_error("same labelset"))),
    Known("deviation of one", "2.42 has stddev and stdvar of one infinite or missing number as 0", old,
          all_of(both_answer, has(r"\bstd(dev|var)\b"))),
    Known("dots and new lines", "since 3.0 `.` in a pattern matches a new line, too", old,
          all_of(both_answer, has(r"=~|!~|label_replace"), has("utf8_labels|__name__|city"))),
    Known("beginning near zero", "2.42 looks at zero before it looks at the threshold when it extrapolates a counter", old,
          all_of(both_answer, has(r"\b(rate|increase)\b"))),
    Known("nested subqueries", "the steps of a subquery lie on a grid, and so do the windows within: 2.42 has them closed on the left", old,
          all_of(both_answer, has(r"\[[^\]]*:[^\]]*\].*\[[^\]]*:|:[^\]]*\][^\]]*\]"))),
    Known("sums compensate", "3.x compensates errors of rounding in more places than 2.42", old, all_of(both_answer, has(SUMS), close(1e-9))),
    Known("sums of extremes", "… and where numbers cancel, or overflow, nothing else is left", old,
          all_of(both_answer, has(SUMS), has("odd_values|falling|1e308"))),
    Known("matrix in parentheses", "a range selector in parentheses at the top fails with `unexpected number of samples`", every,
          all_of(only_they_fail, their_error("unexpected number of samples"))),
    Known("dates of what is no time", "Go leaves the conversion of NaN, infinities and huge numbers to integers to the processor", every,
          all_of(both_answer, has(r"\b(day_of_month|day_of_week|day_of_year|days_in_month|hour|minute|month|year)\b"))),
    Known("logarithms of subnormals", "Go's assembly for amd64 is wrong for them: ln(5e-324) is -744.4, not -709.1", every,
          all_of(both_answer, has(r"\b(ln|log2|log10)\b"), has("odd_values"))),
)


def explanation(case, version):
    """The first that applies; None where nothing explains it."""
    return next((known for known in KNOWN if known.where(version) and known.applies(case)), None)
