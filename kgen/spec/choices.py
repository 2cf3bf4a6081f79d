"""Choices that a module's options make: `{option: {case: value, ...}}` of a spec in, `model.Choice` out.

Mistakes are noted in the document: options that are none, cases that are missing or none.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

from kgen.errors import KgenError
from kgen.spec.document import Document, Place
from kgen.spec.model import Case, Choice, Switch
from kgen.spec.names import shown

T = TypeVar("T")
V = TypeVar("V")
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")


def choice(
    document: Document,
    place: Place,
    written: Mapping[str, Mapping[str, V]],
    switches: Sequence[Switch],
    read: Callable[[V, Place], T],
) -> Choice[T] | None:
    """The choice that is written at a place, each value read; None where something is wrong, which is noted."""
    ((option, cases),) = written.items()
    switch = None
    if option:
        with document.noting((*place, option), key=True):
            switch = _switch(option, switches)
        if switch is None or not _complete(document, (*place, option), switch, cases):
            return None
    values = []
    for case in map(spelled, switch.cases) if switch else [""]:
        here = (*place, option, case) if option else place
        with document.noting(here):
            values.append(read(cases[case], here))
    return Choice(tuple(values), switch) if len(values) == len(cases) else None


def _switch(option: str, switches: Sequence[Switch]) -> Switch:
    found = next((switch for switch in switches if switch.name == option), None)
    if found is None:
        hint = nearest(option, [s.name for s in switches]) if switches else "declare it, as in options: {fast: false}"
        raise KgenError(f"{shown(option)} is not an option of this module", hint=hint)
    return found


def _complete(document: Document, here: Place, switch: Switch, cases: Mapping[str, object]) -> bool:
    """Whether the cases are those of the switch."""
    expected = [spelled(case) for case in switch.cases]
    before = len(document.errors)
    for case in cases:
        with document.noting((*here, case), key=True):
            if not WORD.fullmatch(case):
                hint = "cases are words: ASCII letters, digits and underscores, first a letter"
                raise KgenError(f"{shown(case)} cannot be a case of option `{switch.name}`", hint=hint)
            if case not in expected:
                raise KgenError(f"{shown(case)} is not a case of option `{switch.name}`", hint=nearest(case, expected))
    with document.noting(here, key=True):
        missing = [case for case in expected if case not in cases]
        if missing:
            hint = f"its cases: {', '.join(expected)}"
            raise KgenError(f"`{switch.name}` has no value here where it is {shown(missing[0])}", hint=hint)
    return len(document.errors) == before


def spelled(case: Case) -> str:
    """A case as specs write it."""
    return str(case).lower() if isinstance(case, bool) else case


def nearest(name: str, choices: Sequence[str]) -> str:
    """A hint at what may have been meant."""
    near = get_close_matches(name, choices, 1)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(choices) or 'none'}"
