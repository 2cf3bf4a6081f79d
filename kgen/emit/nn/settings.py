"""What differs between the settings of a module, as text.

In: switches, and a function from settings (a case for each switch) to text. Out: a conditional expression, `if`
statements, or words. Only switches that make a difference come to stand in them.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

from kgen.spec.model import Case, Settings, Switch

INDENT = "    "


def usual(switches: Sequence[Switch]) -> Settings:
    """Every switch at its default."""
    return {switch.name: switch.default for switch in switches}


def expression(switches: Sequence[Switch], make: Callable[[Settings], str], owner: str = "self.") -> str:
    """An expression for each of the settings, as one conditional expression; switches are attributes of the owner."""
    return _conditional(_decisive(switches, make), usual(switches), make, owner)


def _conditional(switches: Sequence[Switch], known: Settings, make: Callable[[Settings], str], owner: str) -> str:
    if not switches:
        return make(known)
    switch, *rest = switches
    text = ""
    for case in switch.cases:
        value = _conditional(rest, {**known, switch.name: case}, make, owner)
        value = f"({value})" if rest else value
        text = f"{value} if {_test(switch, case, owner)} else {text}" if text else value
    return text


def statements(switches: Sequence[Switch], make: Callable[[Settings], Sequence[str]]) -> list[str]:
    """The lines for each of the settings, under `if self.<switch>`."""
    return _branches(_decisive(switches, make), usual(switches), make)


def _branches(switches: Sequence[Switch], known: Settings, make: Callable[[Settings], Sequence[str]]) -> list[str]:
    if not switches:
        return list(make(known))
    switch, *rest = switches
    lines: list[str] = []
    for case in switch.cases[::-1]:
        inside = _branches(rest, {**known, switch.name: case}, make)
        last = case == switch.cases[0]
        head = "else:" if last else f"{'elif' if lines else 'if'} {_test(switch, case, 'self.')}:"
        lines += [head, *(INDENT + line for line in inside)]
    return lines


def in_words(switches: Sequence[Switch], make: Callable[[Settings], str]) -> str:
    """What holds by default, then what holds otherwise: `3, or 4 with fast=True`."""
    default = usual(switches)
    others = [{**default, **chosen} for chosen in _every(_decisive(switches, make))]
    return "".join([make(default), *(f", or {make(s)} with {_deviation(s, default)}" for s in others if s != default)])


def _deviation(settings: Settings, default: Settings) -> str:
    return " and ".join(f"{name}={quoted(case)}" for name, case in settings.items() if case != default[name])


def _test(switch: Switch, case: Case, owner: str) -> str:
    return f"{owner}{switch.name}" + ("" if isinstance(case, bool) else f" == {quoted(case)}")


def quoted(case: Case) -> str:
    """A case as black writes it."""
    return f'"{case}"' if isinstance(case, str) else repr(case)


def _decisive(switches: Sequence[Switch], make: Callable[[Settings], object]) -> list[Switch]:
    """The switches that make a difference in some settings."""
    every = list(_every(switches))
    return [s for s in switches if any(make({**at, s.name: case}) != make(at) for at in every for case in s.cases)]


def _every(switches: Sequence[Switch]) -> Iterator[Settings]:
    for cases in product(*(switch.cases for switch in switches)):
        yield dict(zip((switch.name for switch in switches), cases))
