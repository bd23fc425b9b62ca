"""Expressions of published dashboards and alerts, taken from Debian's source archives when they are asked for.

None of them is kept in this repository: archives are fetched into `.cache/corpus`, expressions are cut out of
them each time. Where a file leaves something to fill in (a selector, an interval), something that fits the
data is put there; and for metrics that nobody has told of, series are made up.
"""

import json
import lzma
import re
import tarfile
import time
import urllib.request

from harness import ROOT

CACHE = ROOT / ".cache/corpus"
MIRROR = "http://deb.debian.org/debian"
SUITES = ("sid", "bookworm")
PACKAGES = ("prometheus", "prometheus-node-exporter", "prometheus-alertmanager", "prometheus-postgres-exporter",
            "prometheus-mysqld-exporter", "prometheus-elasticsearch-exporter", "prometheus-flask-exporter",
            "prometheus-haproxy-exporter", "prometheus-redis-exporter", "prometheus-snmp-exporter", "etcd")
FILES = re.compile(r"(mixin|dashboard|alert|rule|console|grafana|contrib|example)"
                   r"[^\0]*\.(libsonnet|jsonnet|json|ya?ml|html|rules)$", re.I)
PATIENCE = 60
ARCHIVE_BYTES_MAX = 64 << 20
INDEX_SECONDS_MAX = 7 * 86_400

# What files leave to be filled in: the first that matches a place is put there.
FILLINGS = (
    (r'(=~?)\s*"(\$\w+|\$\{\w+(:\w+)?\}|\[\[\w+\]\])"', r'=~".+"'),
    (r"\$__(rate_)?interval(_ms)?|\$\{__(rate_)?interval\}|\$interval|\[\[interval\]\]|%\(\w*[iI]nterval\w*\)s", "5m"),
    (r"\$__range(_s|_ms)?|\$\{__range\}|\$range", "1h"),
    (r"\[(\$\w+|\$\{\w+\}|%\(\w+\)[ds][smh]?)\]", "[5m]"),
    (r"(?<=\{)\s*%\(\w+\)s", 'job=~".+"'),
    (r"%\(\w*[sS]elector\w*\)s", 'job=~".+"'),
    (r"%\(\w*[lL]abels?\w*\)s", "instance"),
    (r"%\(\w+\)(\.\d+)?[dfgi]", "10"),
    (r"%\(\w+\)s", "job"),
    (r"\$\{?[A-Za-z_]\w*\}?|\[\[\w+\]\]", "instance"),
    (r"%%", "%"),
)


def fetch(url, to):
    """Into the cache, once; whether it is there."""
    if to.exists():
        return True
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            part = to.with_suffix(".part")
            part.write_bytes(answer.read(ARCHIVE_BYTES_MAX))
            part.rename(to)
    except OSError:
        return False
    return True


def archives():
    """Every package's archive that can be had, of the newest suite that has one."""
    found = {}
    for suite in SUITES:
        index = CACHE / f"Sources-{suite}.xz"
        if index.exists() and time.time() - index.stat().st_mtime > INDEX_SECONDS_MAX:
            index.unlink()
        if not fetch(f"{MIRROR}/dists/{suite}/main/source/Sources.xz", index):
            continue
        for paragraph in lzma.open(index, "rt", encoding="utf-8").read().split("\n\n"):
            fields = dict(re.findall(r"^(\S+): (.*)$", paragraph, re.M))
            name = fields.get("Package")
            if name in PACKAGES and name not in found:
                for file in re.findall(r"(\S+\.orig\.tar\.\S+)$", paragraph, re.M)[:1]:
                    if fetch(f"{MIRROR}/{fields['Directory']}/{file}", CACHE / file):
                        found[name] = CACHE / file
    return found


def published():
    """Expressions by package, each once; some may turn out to be none. What cannot be had is told, and left out."""
    found = archives()
    if missing := sorted(set(PACKAGES) - found.keys()):
        print(f"not to be had from {MIRROR}: {', '.join(missing)}")
    for name, path in sorted(found.items()):
        seen = dict.fromkeys(filled(text) for file, body in files(path) for text in texts(file, body))
        yield name, [text for text in seen if plausible(text)]


def files(path):
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and FILES.search(member.name) and "/vendor/" not in member.name and "test" not in member.name:
                yield member.name, archive.extractfile(member).read().decode(errors="replace")


def texts(name, body):
    """Every text that may be an expression."""
    if name.endswith(".json"):
        try:
            return list(from_json(json.loads(body)))
        except json.JSONDecodeError:
            return []
    if name.endswith(("yml", "yaml", "rules")):
        return from_yaml(body)
    if name.endswith("html"):
        return [match.replace('\\"', '"') for match in re.findall(r"""(?:expr:|query)\s*["'`](.*?)["'`](?=[\s,|}])""", body)]
    return from_jsonnet(body)


def from_json(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from from_json(value)
    elif isinstance(node, list):
        for value in node:
            yield from from_json(value)


# The key with what stands before it, then a block, or the rest of the line with what goes on below.
EXPR = re.compile(r"^([ \t-]*)expr:[ \t]*(?:[|>][-+]?[ \t]*\n((?:\1[ \t]+.*\n|[ \t]*\n)+)|(.+(?:\n\1[ \t]+\S.*)*)$)", re.M)


def from_yaml(body):
    """After `expr:`: the rest of the line, or the lines that are indented further."""
    found = []
    for match in EXPR.finditer(body):
        text = match[2] or match[3]
        if text[:1] == text.strip()[-1:] and text[:1] in "'\"":
            text = text.strip()[1:-1].replace("''", "'")
        found.append(text.strip())
    return found


def from_jsonnet(body):
    blocks = re.findall(r"\|\|\|-?\n(.*?)\|\|\|", body, re.S)
    rest = re.sub(r"\|\|\|-?\n.*?\|\|\|", "", body, flags=re.S)
    strings = re.findall(r"'((?:[^'\\\n]|\\.)*)'", rest) + re.findall(r'"((?:[^"\\\n]|\\.)*)"', rest)
    return blocks + [text.replace("\\'", "'").replace('\\"', '"') for text in strings]


def filled(text):
    for pattern, value in FILLINGS:
        text = re.sub(pattern, value, text)
    return " ".join(re.sub(r"^\s*#.*$", "", text, flags=re.M).split())


def plausible(text):
    """Whether this has what an expression has: a metric, and something done with it."""
    return bool(re.search(r"[a-z]_[a-z]", text) and re.search(r"[({\[]|[<>=]=? ?\d", text)) and "{{" not in text


# Series for what is asked about.

SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?")
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset", "atan2"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def invent(data, expressions):
    """Adds series for metrics that the data does not have, with the labels that are asked for."""
    wanted = {}
    for expr in expressions:
        labels = {name.strip() for listed in GROUPING.findall(expr) for name in listed.split(",")} - {"", "le", "__name__"}
        bare = GROUPING.sub(" ", expr)
        bare = re.sub(r"\[[^\]]*\]", " ", bare)
        for match in SELECTOR.finditer(re.sub(r'"(?:\\.|[^"\\])*"(?![^{]*\})', " ", bare)):
            name = match[1]
            if "_" in name and name not in WORDS and name not in data.metrics and bare[match.end():match.end() + 1] != "(":
                wanted.setdefault(name, {}).update(dict.fromkeys([(tuple(sorted(labels)), fixed(match[2] or ""))]))
    for name, shapes in sorted(wanted.items()):
        for series in sorted({series for shape in shapes for series in shapes_of(name, *shape)}):
            add(data, name, dict(series))


def fixed(matchers):
    """What `=` and simple alternatives ask for."""
    return tuple((label, value.split("|")[0]) for label, _, value in
                 re.findall(r'(\w+)\s*(=~?)\s*"([\w/|.: -]+)"', matchers))


def shapes_of(name, labels, matched):
    """Two instances of it; buckets have bounds."""
    for instance in ("alder:9100", "birch:9100"):
        base = {"job": "corpus", "instance": instance, **{label: "x" for label in labels if label not in ("job", "instance")},
                **dict(matched)}
        for le in ("0.1", "1", "10", "+Inf") if name.endswith("_bucket") else (None,):
            yield tuple(sorted((base | ({"le": le} if le else {})).items()))


def add(data, name, labels):
    if name.endswith("_bucket"):
        step = {"0.1": 1, "1": 2, "10": 3, "+Inf": 4}[labels["le"]]
        data.add("corpus", name, labels, (float(7 * step * at + at % 3) for at in range(10**9)), data.regular(30_000))
    elif name.endswith(("_total", "_count", "_sum")):
        data.add("corpus", name, labels, data.counter(30), data.regular(30_000))
    else:
        data.add("corpus", name, labels, data.gauge(50, 30), data.regular(30_000))
