"""The smallest part of an expression that still shows a difference."""

import re

TOKEN = re.compile(r"""\s+|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[A-Za-z_:][\w:]*|[\d.][\w.]*|[=!<>]=|[=!]~|.""", re.DOTALL)
# No expressions where they stand in brackets or behind `@`, but something else where they stand alone.
DURATION = re.compile(r"""-?\s*(\d+(ms|[smhdwy]))+|(start|end)\s*\(\s*\)|"[^"]*\"""")
PAIRS = {")": "(", "]": "[", "}": "{"}
TRIES_MAX = 1500


def spans(text):
    """Every stretch of tokens whose brackets match, the shortest first, without the text itself."""
    tokens = [match.span() for match in TOKEN.finditer(text) if not match[0].isspace()]
    found = set()
    for first, (start, _) in enumerate(tokens):
        open_brackets = []
        for begin, end in tokens[first:]:
            token = text[begin:end]
            if token in "([{":
                open_brackets.append(token)
            elif token in PAIRS and (not open_brackets or open_brackets.pop() != PAIRS[token]):
                break
            if not open_brackets and not DURATION.fullmatch(text[start:end]):
                found.add(text[start:end])
    return sorted(found - {text}, key=len)


def minimized(text, differs):
    """The shortest stretch for which `differs` holds; the text itself where there is none."""
    for tried, part in enumerate(spans(text)):
        if tried >= TRIES_MAX:
            break
        if differs(part):
            return part
    return text
