"""Whether two answers say the same."""

import math
import re

TOLERANCE = 1e-12
ORDERED = re.compile(r"\s*(sort|sort_desc|sort_by_label|sort_by_label_desc|topk|bottomk)\s*\(")


def same_number(left, right, tolerance=TOLERANCE):
    left, right = float(left), float(right)
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    if left == right:
        return True
    if math.isinf(left) or math.isinf(right):
        return False
    return abs(left - right) <= tolerance * max(abs(left), abs(right))


def is_ordered(expr):
    """Whether the order of a vector is a part of the answer: a sorting call, and nothing around it."""
    called, depth = ORDERED.match(expr), 0
    if not called:
        return False
    for at, c in enumerate(expr[called.end() - 1:]):
        depth += (c == "(") - (c == ")")
        if not depth:
            return not expr[called.end() + at:].strip()
    return False


def key(series):
    return tuple(sorted(series["metric"].items()))


def difference(expr, expected, got, tolerance=TOLERANCE):
    """What differs, in a few words; None where nothing does."""
    if expected["status"] != got["status"]:
        return f"{expected['status']} against {got['status']}"
    if expected["status"] == "error":
        same = expected["errorType"] == got["errorType"]
        return None if same else f"errorType {expected['errorType']} against {got['errorType']}"
    left, right = expected["data"], got["data"]
    if left["resultType"] != right["resultType"]:
        return f"resultType {left['resultType']} against {right['resultType']}"
    check = {"scalar": point, "string": text, "vector": vector, "matrix": matrix}[left["resultType"]]
    return check(expr, left["result"], right["result"], tolerance)


def text(_, left, right, __):
    return None if left == right else "another text"


def point(_, left, right, tolerance):
    if left[0] != right[0]:
        return f"time {left[0]} against {right[0]}"
    return None if same_number(left[1], right[1], tolerance) else f"value {left[1]} against {right[1]}"


def by_labels(left, right):
    """Both sides by their labels, and what is wrong with them."""
    left, right = ({key(series): series for series in side} for side in (left, right))
    for labels in left.keys() - right.keys():
        return left, right, f"missing {dict(labels)}"
    for labels in right.keys() - left.keys():
        return left, right, f"unexpected {dict(labels)}"
    return left, right, None


def vector(expr, left, right, tolerance):
    if len(left) != len(right):
        return by_labels(left, right)[2] or f"{len(left)} series against {len(right)}"
    if is_ordered(expr) and [key(series) for series in left] != [key(series) for series in right]:
        values = [[series["value"][1] for series in side] for side in (left, right)]
        if not all(map(same_number, *values)):
            return by_labels(left, right)[2] or f"order: values {values[0][:6]} against {values[1][:6]}"
    left, right, wrong = by_labels(left, right)
    if wrong:
        return wrong
    for labels, series in left.items():
        if wrong := element(series, right[labels], "value", tolerance):
            return f"{dict(labels)}: {wrong}"
    return None


def element(left, right, name, tolerance):
    """A single value of a series: a number, or a histogram."""
    if (name in left) != (name in right):
        return "a number against a histogram" if name in left else "a histogram against a number"
    if name in left:
        return point(None, left[name], right[name], tolerance)
    return histogram(left["histogram"], right["histogram"], tolerance)


def matrix(_, left, right, tolerance):
    left, right, wrong = by_labels(left, right)
    if wrong:
        return wrong
    for labels, series in left.items():
        for name, check in (("values", lambda a, b: point(None, a, b, tolerance)),
                            ("histograms", lambda a, b: histogram(a, b, tolerance))):
            if wrong := points(series.get(name, []), right[labels].get(name, []), check):
                return f"{dict(labels)}: {wrong}"
    return None


def points(left, right, check):
    times = [[each[0] for each in side] for side in (left, right)]
    if times[0] != times[1]:
        only = [sorted(set(a) - set(b))[:3] for a, b in (times, times[::-1])]
        return f"{len(left)} values against {len(right)}; only there {only[0]}, only here {only[1]}"
    for a, b in zip(left, right):
        if wrong := check(a, b):
            return f"at {a[0]}: {wrong}"
    return None


def histogram(left, right, tolerance):
    if left[0] != right[0]:
        return f"time {left[0]} against {right[0]}"
    left, right = left[1], right[1]
    for name in ("count", "sum"):
        if not same_number(left[name], right[name], tolerance):
            return f"{name} {left[name]} against {right[name]}"
    left, right = left.get("buckets", []), right.get("buckets", [])
    if len(left) != len(right):
        return f"{len(left)} buckets against {len(right)}"
    for a, b in zip(left, right):
        if a[0] != b[0] or not all(same_number(x, y, tolerance) for x, y in zip(a[1:], b[1:])):
            return f"bucket {a} against {b}"
    return None


POSITION = re.compile(r" \(\d+:\d+\)")
NUMBER = re.compile(r"-?\d+\.\d+(e[-+]\d+)?")


def said(text):
    """Without positions, and with numbers as exact as others are."""
    return NUMBER.sub(lambda number: f"{float(number[0]):.10g}", POSITION.sub("", text))


def notes(expected, got):
    """What warnings and infos differ; positions do not count, and what was left out of many cannot be compared."""
    for name in ("warnings", "infos"):
        theirs, ours = ({said(text) for text in answer.get(name, ())} for answer in (expected, got))
        if theirs != ours and not any("omitted" in text for text in theirs):
            return f"{name}: missing {sorted(theirs - ours)}, unexpected {sorted(ours - theirs)}"
    return None
