"""Random expressions that follow PromQL's grammar, with types and labels in mind.

A generator that knew nothing would ask for series that are not there and join what cannot be joined; this
one knows the data, and mostly picks what fits. Now and then it picks what does not, and at last damages some
of the texts: errors are answers, too.
"""

import dataclasses
import random

DURATIONS = ("15s", "30s", "1m", "90s", "2m", "2m30s", "5m", "7m", "10m", "17m13s", "30m", "1h", "1h15m")
STEPS = ("", "", "15s", "30s", "1m", "7s", "2m30s", "10m")
OFFSETS = ("10s", "1m", "5m", "-1m", "-30s", "1h", "13m", "-7m30s")
NUMBERS = ("0", "1", "2", "0.5", "-1", "10", "100", "1e3", "3.7", "0x1F", "1e-3", "NaN", "Inf", "-Inf", "+Inf", ".5", "010")
# Since 3.0.
MODERN_NUMBERS = ("1_000", "5m", "0x1_F")
FACTORS = ("0.1", "0.3", "0.5", "0.8", "0.1", "0.9", "1", "0")
QUANTILES = ("0.5", "0.9", "0.99", "0", "1", "0.25", "-1", "2", "NaN")

MAPS = ("abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "deg", "rad", "sin", "cos", "tan", "asin", "acos",
        "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh")
DATES = ("day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year")
OVER_TIME = ("avg", "min", "max", "sum", "count", "last", "present", "stddev", "stdvar")
RANGES = ("rate", "increase", "irate", "delta", "idelta", "deriv", "changes", "resets")
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
SETS = ("and", "or", "unless")
# Since 3.0, or by the feature flag of experimental functions.
MODERN_OVER_TIME = ("mad", "ts_of_max", "ts_of_min", "ts_of_last")

# What stands where it should not.
PIECES = ("[5m]", " offset 5m", " @ 10", "{", ")", ",", "bool ", " by (job)", "rate(", '"', "[0s]", "[5m:0s]", " and ")
CALLS = ("rate", "nothing", "sum", "label_replace", "topk", "histogram_quantile", "time", "vector")
LINKS = ("+ on (job)", "and", "== bool", "group_left", "offset", "@")


@dataclasses.dataclass
class Vector:
    """The text of an instant vector, and the labels that its series have, as far as known."""

    text: str
    labels: frozenset
    # Whether it can stand beside an operator, or before a modifier, as it is.
    atomic: bool = True

    def __str__(self):
        return self.text if self.atomic else f"({self.text})"


class Generator:
    """Expressions over a data set; `modern` has 3.x's functions, too."""

    def __init__(self, seed, data, modern):
        self.random = random.Random(f"expressions {seed}")
        self.data, self.modern = data, modern
        self.kinds = {}
        for metric in data.metrics.values():
            self.kinds.setdefault(metric.kind, []).append(metric)

    def expression(self):
        """One expression, and which kind of value it should have."""
        depth = self.random.choices((0, 1, 2, 3, 4), (1, 4, 6, 4, 2))[0]
        kind = self.random.choices(("vector", "scalar", "matrix", "string"), (100, 8, 4, 1))[0]
        text = {"vector": lambda: self.vector(depth).text, "scalar": lambda: self.scalar(depth),
                "matrix": lambda: self.matrix(depth)[0], "string": lambda: '"text"'}[kind]()
        if self.random.random() < 0.04:
            text = self.damaged(text)
        return text

    def pick(self, options):
        return self.random.choice(options)

    def chance(self, share):
        return self.random.random() < share

    # Selectors.

    def metric(self, *kinds):
        if not kinds or self.chance(0.08):
            return self.pick(list(self.data.metrics.values()))
        return self.pick([metric for kind in kinds for metric in self.kinds.get(kind, ())] or list(self.data.metrics.values()))

    def matcher(self, metric):
        labels = [name for name in metric.labels if name != "__name__"]
        if not labels or self.chance(0.02):
            return self.pick(('nothing=""', 'nothing!=""', 'nothing="x"', 'job=~".*"', 'job!~".+"', 'job=""'))
        label = self.pick(labels)
        value = self.pick(metric.labels[label])
        other = self.pick(metric.labels[label])
        return label + self.pick((
            f"={quoted(value)}", f"={quoted(value)}", f"!={quoted(other)}",
            f"=~{quoted(escaped(value) + '|' + escaped(other))}", f"=~{quoted(escaped(value[:2]) + '.*')}",
            f"!~{quoted('.*' + escaped(other[-2:]))}", '=~".+"', f"=~{quoted('(?i)' + escaped(value.upper()))}",
            f"!~{quoted(escaped(other))}", f"=~{quoted('[' + chr(92) + 'w:./-]+')}"))

    def selector(self, metric):
        """The text of a selector without range and modifiers."""
        matchers = [self.matcher(metric) for _ in range(self.random.choices((0, 1, 2), (5, 4, 1))[0])]
        way = self.random.random()
        if way < 0.04:
            names = "|".join(sorted({metric.name, self.metric(metric.kind).name}))
            matchers.insert(0, f'__name__=~"{names}"')
            return "{" + ",".join(matchers) + "}"
        if way < 0.07:
            return "{" + ", ".join([f'__name__="{metric.name}"', *matchers]) + "}"
        if way < 0.1 and self.modern:
            return "{" + ", ".join([f'"{metric.name}"', *matchers]) + "}"
        return metric.name + ("{" + ",".join(matchers) + "}" if matchers or self.chance(0.05) else "")

    def modifiers(self):
        if not self.chance(0.15):
            return ""
        offset = f" offset {self.pick(OFFSETS)}"
        at = " @ " + self.pick(("start()", "end()", self.instant()))
        return self.pick((offset, offset, at, offset + at, at + offset))

    def instant(self):
        """A time within the data, off the grid of the samples."""
        at = self.random.randrange(self.data.start_ms + 600_000, self.data.end_ms, 1000) // 10 * 10 + 7
        return f"{at / 1000:.3f}"

    def matrix(self, depth, *kinds):
        """A range vector or a subquery, and its labels."""
        if depth <= 0 or self.chance(0.8):
            metric = self.metric(*kinds)
            text = f"{self.selector(metric)}[{self.pick(DURATIONS)}]{self.modifiers()}"
            return text, frozenset(metric.labels) - {"__name__"}
        inner = self.vector(depth - 1)
        text = f"{inner}[{self.pick(DURATIONS)}:{self.pick(STEPS)}]{self.modifiers()}"
        return text, inner.labels

    # Vectors.

    def vector(self, depth):
        if depth <= 0:
            return self.leaf()
        make = self.random.choices(
            (self.over_range, self.aggregation, self.binary, self.mapped, self.quantile, self.labels_changed, self.odd, self.leaf,
             self.with_scalar),
            (24, 20, 18, 8, 7, 5, 8, 3, 10))[0]
        return make(depth - 1)

    def leaf(self, *_):
        metric = self.metric("gauge", "counter", "gauge", "bucket", "special", "info", "native", "native gauge")
        return Vector(self.selector(metric) + self.modifiers(), frozenset(metric.labels) - {"__name__"})

    def over_range(self, depth):
        if self.chance(0.5):
            function = self.pick(RANGES)
            counters = function in ("rate", "increase", "irate", "resets")
            kinds = ("counter", "bucket", "native") if counters else ("gauge", "special", "counter", "native gauge")
            text, labels = self.matrix(depth, *kinds)
            return Vector(f"{function}({text})", labels)
        text, labels = self.matrix(depth, "gauge", "counter", "special", "native", "native gauge")
        over_time = OVER_TIME + MODERN_OVER_TIME if self.modern else OVER_TIME
        call = self.random.choices((
            lambda: f"{self.pick(over_time)}_over_time({text})",
            lambda: f"quantile_over_time({self.parameter(depth, QUANTILES)}, {text})",
            lambda: f"predict_linear({text}, {self.parameter(depth, ('600', '3600', '-60'))})",
            lambda: f"double_exponential_smoothing({text}, {self.pick(FACTORS)}, {self.pick(FACTORS)})",
            lambda: f"absent_over_time({text})"), (10, 3, 2, 2, 1))[0]()
        return Vector(call, labels)

    def parameter(self, depth, usual):
        return self.scalar(depth - 1) if self.chance(0.1) else self.pick(usual)

    def aggregation(self, depth):
        inner = self.vector(depth)
        grouping, labels = self.grouping(inner.labels)
        name = self.random.choices((*AGGREGATIONS, "topk", "bottomk", "quantile", "count_values", "limitk"),
                                   (12, 6, 4, 4, 4, 2, 2, 2, 2, 2, 2, 1, 1 if self.modern else 0))[0]
        if name in ("topk", "bottomk", "limitk"):
            call, labels = f"{self.parameter(depth, ('1', '2', '3', '5', '0', '-1', '2.7'))}, {inner.text}", inner.labels
        elif name == "quantile":
            call = f"{self.parameter(depth, QUANTILES)}, {inner.text}"
        elif name == "count_values":
            label = self.pick(("value", "job", "instance"))
            call, labels = f'"{label}", {inner.text}', labels | {label}
        else:
            call = inner.text
        return Vector(f"{name}({call}){grouping and ' ' + grouping}" if self.chance(0.5)
                      else f"{name}{grouping and ' ' + grouping + ' '}({call})", labels)

    def grouping(self, labels):
        """The text of a `by` or `without`, and the labels that are left."""
        if self.chance(0.25):
            return "", frozenset()
        known = sorted(labels) or ["job"]
        chosen = self.random.sample(known, self.random.randint(0, min(2, len(known))))
        if self.chance(0.05):
            chosen.append(self.pick(("nothing", "__name__", "le")))
        listed = ", ".join(chosen) + ("," if chosen and self.chance(0.03) else "")
        if self.chance(0.7):
            return f"by ({listed})", labels & set(chosen)
        return f"without ({listed})", labels - set(chosen)

    def binary(self, depth):
        left = self.vector(depth)
        way = self.random.random()
        if way < 0.3:
            # The same series on both sides, or the same under another time.
            right = left
            return Vector(f"{left} {self.operator()} {right}", left.labels, False)
        if way < 0.55:
            return self.grouped_join(left)
        right = self.vector(depth)
        common = sorted(left.labels & right.labels)
        if way < 0.7 or not common:
            return Vector(f"{left} {self.operator()} {right}", left.labels, False)
        return self.matched(left, right, common)

    def grouped_join(self, many):
        """A vector with the sum, maximum … of itself, or with information about its instances."""
        labels = sorted(many.labels) or ["job"]
        on = self.random.sample(labels, self.random.randint(0, min(2, len(labels))))
        info = self.kinds.get("info")
        if "instance" in many.labels and info and self.chance(0.4):
            metric, extra = self.pick(info), ""
            if self.chance(0.6):
                extra = ", ".join(self.random.sample(sorted(set(metric.labels) - {"__name__"}), 1))
            return Vector(f"{many} {self.pick(('*', '+', '/'))} on (instance) group_left ({extra}) {metric.name}",
                          many.labels | {extra}, False)
        one = f"{self.pick(AGGREGATIONS)} by ({', '.join(on)}) ({many.text})"
        rest = ", ".join(sorted(many.labels - set(on)))
        matching = self.pick((f"on ({', '.join(on)})", f"ignoring ({rest})"))
        if self.chance(0.3):
            return Vector(f"{one} {self.operator(sets=False)} {matching} group_right () {many}", many.labels, False)
        return Vector(f"{many} {self.operator(sets=False)} {matching} group_left {one}", many.labels, False)

    def matched(self, left, right, common):
        """Two different vectors, each brought to one series for each set of common labels."""
        on = self.random.sample(common, self.random.randint(1, min(2, len(common))))
        listed = ", ".join(on)
        if self.chance(0.7):
            left, right = (Vector(f"{self.pick(('sum', 'max', 'avg'))} by ({listed}) ({side.text})", frozenset(on))
                           for side in (left, right))
        matching = f"on ({listed}) {self.pick(('', '', '', 'group_left ', 'group_right '))}"
        operator = self.operator()
        if operator.split()[0] in SETS and not self.chance(0.05):
            matching = f"on ({listed}) "
        return Vector(f"{left} {operator} {matching}{right}", left.labels, False)

    def operator(self, sets=True):
        kind = self.random.choices(("arithmetic", "comparison", "set"), (5, 3, 2 if sets else 0))[0]
        if kind == "comparison":
            return self.pick(COMPARISONS) + self.pick(("", " bool"))
        return self.pick(ARITHMETIC if kind == "arithmetic" else SETS)

    def with_scalar(self, depth):
        vector, scalar = self.vector(depth), self.scalar(min(depth, 1))
        sides = [str(vector), scalar]
        self.random.shuffle(sides)
        return Vector(f"{sides[0]} {self.operator(sets=False)} {sides[1]}", vector.labels, False)

    def mapped(self, depth):
        inner = self.vector(depth)
        way = self.random.random()
        if way < 0.5:
            return Vector(f"{self.pick(MAPS)}({inner.text})", inner.labels)
        if way < 0.8:
            low, high = self.parameter(depth, NUMBERS), self.parameter(depth, NUMBERS)
            call = self.pick((f"clamp({inner.text}, {low}, {high})", f"clamp_min({inner.text}, {low})",
                              f"clamp_max({inner.text}, {high})", f"round({inner.text}, {high})", f"round({inner.text})"))
            return Vector(call, inner.labels)
        if way < 0.9:
            return Vector(f"{self.pick(DATES)}({self.pick((inner.text, inner.text, 'vector(time())', ''))})", inner.labels)
        return Vector(f"-{inner}", inner.labels, False)

    def native(self, depth):
        """What can be done with native histograms."""
        kind = self.pick(("native", "native", "native gauge"))
        text, labels = self.matrix(0, kind)
        metric = self.metric(kind)
        name = metric.name
        vector = self.pick((
            f"rate({text})", f"increase({text})", f"delta({text})", f"avg_over_time({text})", f"sum_over_time({text})",
            f"sum by (job) (rate({text}))", f"sum({name})", f"avg({self.selector(metric)})", f"-{name}", f"2 * {name}",
            f"{name} / 3", f"{name} - {name} offset 5m", f"{self.selector(metric)}{self.modifiers()}"))
        if self.chance(0.2):
            return Vector(vector, labels, False)
        function = self.pick(("quantile", "fraction", "avg", "count", "sum", "stddev", "stdvar"))
        arguments = {"quantile": f"{self.parameter(depth, QUANTILES)}, ",
                     "fraction": f"{self.pick(('0', '-Inf', '-1', '0.2'))}, {self.pick(('1', '0.5', '+Inf', '3.7'))}, "}
        return Vector(f"histogram_{function}({arguments.get(function, '')}{vector})", labels)

    def quantile(self, depth):
        """As dashboards ask for quantiles, and as they should not."""
        if "native" in self.kinds and self.chance(0.5):
            return self.native(depth)
        metric = self.pick(self.kinds["bucket"])
        buckets = f"rate({self.selector(metric)}[{self.pick(DURATIONS[2:])}]{self.modifiers()})"
        labels = frozenset(metric.labels) - {"__name__", "le"}
        way = self.random.random()
        if way < 0.6:
            kept = sorted(self.random.sample(sorted(labels), self.random.randint(0, min(2, len(labels)))))
            buckets, labels = f"sum by ({', '.join(['le', *kept])}) ({buckets})", frozenset(kept)
        elif way < 0.75:
            buckets = self.selector(metric) + self.modifiers()
        if self.modern and self.chance(0.15):
            lower, upper = self.pick(("0", "-Inf", "0.1")), self.pick(("1", "0.25", "+Inf"))
            return Vector(f"histogram_fraction({lower}, {upper}, {buckets})", labels)
        return Vector(f"histogram_quantile({self.parameter(depth, QUANTILES)}, {buckets})", labels)

    def labels_changed(self, depth):
        inner = self.vector(depth)
        source, target = self.pick(sorted(inner.labels) or ["job"]), self.pick(("new", "job", "instance", "__name__"))
        if self.chance(0.6):
            pattern, value = self.pick((("(.*)", "$1"), ("(.*):(.*)", "$2-$1"), ("(?P<a>.).*", "${a}x"), ("x", "y"), ("", ""),
                                        (".*", "fixed"), ("(.*)", "$1$3"), ("([a-z]+).*", "$1")))
            return Vector(f'label_replace({inner.text}, "{target}", "{value}", "{source}", "{pattern}")', inner.labels | {target})
        sources = ", ".join(f'"{name}"' for name in self.random.sample(sorted(inner.labels) or ["job"], 1)) + ', "job"'
        return Vector(f'label_join({inner.text}, "{target}", "{self.pick(("-", "", "/"))}", {sources})', inner.labels | {target})

    def odd(self, depth):
        inner = self.vector(depth)
        options = [lambda: Vector(f"sort({inner.text})", inner.labels), lambda: Vector(f"sort_desc({inner.text})", inner.labels),
                   lambda: Vector(f"absent({inner.text})", inner.labels), lambda: Vector(f"timestamp({inner.text})", inner.labels),
                   lambda: Vector(f"vector({self.scalar(depth)})", frozenset()), lambda: Vector(f"({inner.text})", inner.labels),
                   lambda: Vector(f"{inner} or vector(0)", inner.labels, False), lambda: inner]
        if self.modern:
            name = self.pick(sorted(inner.labels) or ["job"])
            asked = self.pick(("", ', {region=~".+"}', ', {env="prod"}', ', {__name__="build_info"}'))
            options += [lambda: Vector(f'sort_by_label({inner.text}, "{name}")', inner.labels),
                        lambda: Vector(f'sort_by_label_desc({inner.text}, "{name}", "job")', inner.labels),
                        lambda: Vector(f"info({inner.text}{asked})", inner.labels)]
        return self.pick(options)()

    # Scalars.

    def scalar(self, depth):
        if depth <= 0 or self.chance(0.4):
            return self.pick((*NUMBERS, *(MODERN_NUMBERS if self.modern else ()), "time()", "pi()"))
        way = self.random.random()
        if way < 0.5:
            return f"scalar({self.vector(depth - 1).text})"
        if way < 0.7:
            return f"-{self.scalar(0)}".replace("--", "- -")
        operator = self.pick((*ARITHMETIC, *(f"{name} bool" for name in COMPARISONS)))
        return f"({self.scalar(depth - 1)} {operator} {self.scalar(depth - 1)})"

    # Errors.

    def damaged(self, text):
        """A text that is wrong, most likely: something left out, put twice, exchanged or replaced."""
        way = self.random.random()
        at = self.random.randrange(len(text))
        if way < 0.3:
            return text[:at] + text[at + 1:]
        if way < 0.5:
            return text[:at] + text[at] + text[at:]
        if way < 0.7:
            wrong = self.pick(PIECES)
            return text[:at] + wrong + text[at:]
        if way < 0.85:
            return f"{self.pick(CALLS)}({text})"
        return f"{text} {self.pick(LINKS)} {self.pick(('1', 'up', 'time()'))}"


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def escaped(text):
    """As a part of a regular expression; PromQL's strings are escaped once more by `quoted`."""
    return "".join(f"\\{c}" if c in "\\.+*?()|[]{}^$" else c for c in text)
