"""Where the oracle itself is not what Balefire follows: predicates with their reasons, each counted.

What is here is a fact about Prometheus, not an excuse: Balefire follows Prometheus 3.x, and where Go leaves
something to the processor, the definition.
"""

import collections
import dataclasses
import math
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


def series_of(case):
    """Both sides of each series that both have."""
    if not both_answer(case) or not {case.expected["data"]["resultType"], case.got["data"]["resultType"]} <= {"vector", "matrix"}:
        return
    left, right = ({comparison.key(series): series for series in answer["data"]["result"]} for answer in (case.expected, case.got))
    yield from ((left[labels], right[labels]) for labels in left.keys() & right.keys())


def at_times(series, plural, singular):
    """What a series has of numbers, or of histograms, by time."""
    one = [series[singular]] if singular in series else []
    return dict(map(tuple, series.get(plural, one)))


def pairs(case):
    """Every two numbers that differ, theirs first; series and times that one side alone has are left out."""
    for sides in series_of(case):
        theirs, ours = (at_times(side, "values", "value") for side in sides)
        yield from ((float(theirs[at]), float(ours[at])) for at in theirs.keys() & ours.keys()
                    if not comparison.same_number(theirs[at], ours[at]))


def numbers(check):
    """Whether all that differs are numbers, and all of those in this way."""
    def applies(case):
        found = list(pairs(case))
        return bool(found) and all(check(theirs, ours) for theirs, ours in found)
    return applies


def same_values(case):
    """Whether both sides have the same numbers at each time, though of other series. -0 is as great as 0."""
    sides = []
    for answer in (case.expected, case.got):
        times = {}
        for series in answer["data"]["result"]:
            for at, value in at_times(series, "values", "value").items():
                times.setdefault(at, []).append(float(value) + 0.0)
        sides.append({at: sorted(map(repr, values)) for at, values in times.items()})
    return sides[0] == sides[1]


def same_counts(case):
    """Whether both sides have as many series at each time."""
    names = (("values", "value"), ("histograms", "histogram"))
    sides = [collections.Counter(at for series in answer["data"]["result"] for name in names for at in at_times(series, *name))
             for answer in (case.expected, case.got)]
    return sides[0] == sides[1]


def same_labels(case):
    """Whether both sides have the same series but for the last digits of numbers in labels."""
    sides = [sorted(sorted((name, comparison.said(value)) for name, value in series["metric"].items())
                    for series in answer["data"]["result"]) for answer in (case.expected, case.got)]
    return sides[0] == sides[1]


def adds_up(case):
    """Whether our buckets come to the count where theirs do not, in every histogram that differs. The zero bucket
    of a histogram with a negative count is not shown, so that nothing can be told of ours there."""
    found = []
    for sides in series_of(case):
        theirs, ours = (at_times(side, "histograms", "histogram") for side in sides)
        found += [(theirs[at], ours[at]) for at in theirs.keys() & ours.keys()
                  if comparison.histogram((at, theirs[at]), (at, ours[at]), comparison.TOLERANCE)]
    return bool(found) and all(
        abs(buckets_of(left) - 1) > 1e-9 and (abs(buckets_of(right) - 1) < 1e-9 or float(right["count"]) < 0)
        for left, right in found)


def buckets_of(histogram):
    """The sum of the buckets, as a share of the count."""
    return sum(float(bucket[3]) for bucket in histogram.get("buckets", ())) / (float(histogram["count"]) or math.nan)


def names_matter(case):
    """Whether notes differ in more than those of theirs that name an empty metric."""
    sides = [{comparison.said(text) for name in ("infos", "warnings") for text in answer.get(name, ())}
             for answer in (case.expected, case.got)]
    return bool(sides[1] - sides[0]) or any(not text.endswith(' ""') for text in sides[0] - sides[1])


def call_of(names):
    """Whether the expression is a call of one of these, and nothing around it."""
    return has(rf"^\s*({names})\b.*[)\]]\s*$")


SUMS = r"\b((sum|avg|stddev|stdvar)(_over_time)?|histogram_quantile|deriv|predict_linear)\b"
SUBQUERY = r"\[[^\]]*:[^\]]*\]"
DATES = "day_of_month|day_of_week|day_of_year|days_in_month|hour|minute|month|year"

KNOWN = (
    Known("duration as number", "numbers may be written as durations since 3.0, and the other way round (`5m` is 300)", old,
          all_of(only_they_fail, lambda case: re.search("unexpected duration|missing unit character", case.expected["error"]))),
    Known("digits with underscores", "numbers may be written as 1_000 since 3.0", old,
          all_of(their_error("bad number"), has(r"\d_\d"))),
    Known("atan2 keeps the name", "2.42 does not drop the metric's name after atan2, as after other arithmetic", old,
          all_of(both_answer, has(r"\batan2\b"))),
    Known("histogram_quantile of several metrics", "2.42 does not tell buckets of different metrics apart", old,
          all_of(only_they_fail, has("histogram_quantile"), their_error("same labelset"))),
    Known("deviation of one", "2.42 has stddev and stdvar of a single number as 0, also where it is infinite or none", old,
          all_of(has(r"\bstd(dev|var)\b"), numbers(lambda theirs, ours: theirs == 0 and math.isnan(ours)))),
    Known("dots and new lines", "since 3.0 `.` in a pattern matches a new line, too", old,
          all_of(both_answer, has(r"=~|!~|label_replace"), has("utf8_labels|__name__|city"))),
    Known("beginning near zero", "2.42 extrapolates a counter further when it begins near zero", old,
          all_of(call_of("rate|increase"), numbers(lambda theirs, ours: 1 < theirs / (ours or math.nan) < 1.41))),
    Known("beginning near zero, at a subquery's steps", "as above", old,
          all_of(both_answer, has(r"\b(rate|increase)\b"), has(SUBQUERY))),
    Known("subqueries that are fixed", "2.42 gives points of the first step, or of none, where `@` fixes a subquery", old,
          all_of(both_answer, has(SUBQUERY), has("@"))),
    Known("nested subqueries", "a subquery's steps lie on a grid, where windows within begin: 2.42 has them closed on the left",
          old,
          all_of(both_answer, has(SUBQUERY + ".*:[^\\]]*\\]"))),
    Known("sums compensate", "3.x compensates errors of rounding in more places than 2.42", old,
          all_of(both_answer, has(SUMS), close(1e-9))),
    Known("sums of extremes", "… and where numbers cancel, or overflow, nothing else is left", old,
          all_of(both_answer, has(SUMS), has("odd_values|1e308"))),
    Known("functions of a newer one", "start() and end() came after 3.5", every,
          all_of(only_they_fail, has(r"(?<!@)\b(start|end) ?\(\)"))),
    Known("info over a range", "3.5 takes information of other series where one has no sample at a step", every,
          all_of(both_answer, has(r"\binfo\("), lambda case: case.expected["data"]["resultType"] == "matrix")),
    Known("timestamp of both", "3.5 forgets the offset where timestamp() has a selector with `@` as well", every,
          all_of(both_answer, has(r"\btimestamp\b"), has("@"), has("offset"))),
    Known("ties", "which of equal values is the greatest is not defined", every,
          all_of(both_answer, call_of("topk|bottomk|limitk"), same_values)),
    Known("buckets beside zero", "3.5 counts buckets twice, or not, where it adds or subtracts histograms of different zero buckets",
          every,
          all_of(both_answer, has("native"), adds_up)),
    Known("buckets that are not read", "3.5 reads counts and sums alone below histogram_count and its like, where these are not the "
          "whole expression: it misses custom bounds, and resets that the count does not show", every,
          all_of(both_answer, has(r"histogram_(count|sum|avg)"), has("native_(custom|gauge|changing|mixed)"))),
    Known("NaN observed", "3.5 takes the last bucket for a quantile where it finds that NaN observations skew it", every,
          all_of(both_answer, has("histogram_quantile"),
                 lambda case: "native_nan" in case.expr or "skewed higher" in str(case.expected.get("infos")))),
    Known("first of all", "which series limitk takes is not defined", every,
          all_of(both_answer, call_of("limitk"), same_counts)),
    Known("texts of numbers", "count_values makes labels of numbers that differ in their last digit", every,
          all_of(both_answer, has("count_values"), same_labels)),
    Known("information of another time", "3.5 reads information for the time of the argument, and looks for it at that of the query",
          every,
          all_of(both_answer, has(r"\binfo\("), has("offset|@"))),
    Known("labels of what is absent", "3.5 looks at matchers in the order in which its store has put them, negative ones last", every,
          all_of(both_answer, call_of("absent|absent_over_time"), has(r"(\w+)(=|=~)\".*\b\1!|\b(\w+)!.*\b\3="))),
    Known("natural order", "3.5 has no order for texts whose last numbers are the same, such as 0.05 and 0.005", every,
          all_of(call_of("sort_by_label|sort_by_label_desc"), lambda case: case.wrong.startswith("order"))),
    Known("names of notes", "3.5 drops a name in place, so that the steps after the first tell of one that is empty", every,
          all_of(both_answer, lambda case: case.wrong.startswith(("infos", "warnings")) and not names_matter(case))),
    Known("changes of histograms", "3.5 takes a histogram for changed where its chunk was written anew", every,
          all_of(has(r"\bchanges\b"), has("native|job|__name__"), numbers(lambda theirs, ours: theirs > ours))),
    Known("equal histograms", "3.5 compares the bits of a sum, where every NaN is as good as another", every,
          all_of(both_answer, has("native_nan|native_mixed"), has("==|!="))),
    Known("order of sums", "in which order series are added up is not defined, and numbers cancel", every,
          all_of(both_answer, has(SUMS), close(1e-9))),
    Known("matrix in parentheses", "a range selector in parentheses at the top fails with `unexpected number of samples`", every,
          all_of(only_they_fail, their_error("unexpected number of samples"))),
    Known("dates of what is no time", "Go leaves the conversion of NaN, infinities and huge numbers to integers to the processor",
          every,
          all_of(has(rf"\b({DATES})\b"), numbers(lambda _, ours: math.isnan(ours)))),
    Known("logarithms of subnormals", "Go's assembly for amd64 is wrong for them: ln(5e-324) is -744.4, not -709.1", every,
          all_of(has(r"\b(ln|log2|log10)\b"), has("odd_values"), numbers(lambda _, ours: ours < -708))),
)


# What makes much of the last digit of a number.
AMPLIFIERS = re.compile(r"%|[<>]|[=!]=|\^|\b(floor|ceil|round|sgn|resets|changes|i?rate|increase|count_values|topk|bottomk|sin|cos|tan)\b")
ROUNDING = Known("rounding", "a part agrees but for its last digits, and the rest makes much of them", every,
                 lambda case: bool(AMPLIFIERS.search(case.expr)))


def explanation(case, version):
    """The first that applies; None where nothing explains it."""
    return next((known for known in KNOWN if known.where(version) and known.applies(case)), None)
