"""Where the oracle itself is not what Balefire follows: predicates with their reasons, each counted."""

import dataclasses
import typing


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


KNOWN = ()


def explanation(case, version):
    """The first that applies; None where nothing explains it."""
    return next((known for known in KNOWN if known.where(version) and known.applies(case)), None)
