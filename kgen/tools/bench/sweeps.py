"""Grids of sizes: what `--sweep` says, the cells that it makes of cases, and the parts in which they can be run.

In: texts of a command line, or extents in a suite. Out: cases, one a cell. Raises KgenError for what makes no sense.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from kgen.errors import KgenError
from kgen.tools.bench.cases import Case
from kgen.wording import counted

Axes = Mapping[str, Sequence[int]]
WRITE = "write AXIS=FROM:TO, which doubles, or AXIS=EXTENT,EXTENT,…, such as --sweep b=1024:8192"


def doubled(first: int, last: int) -> tuple[int, ...]:
    """first, twice as much and so on, up to at most last."""
    return tuple(first << k for k in range((last // first).bit_length()))


def parse_sweeps(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """{"b": (1024, 2048), "n": (32, 96)} from ["b=1024:2048", "n=32,96"]."""
    sweeps: dict[str, tuple[int, ...]] = {}
    for text in texts:
        axis, _, extents = text.partition("=")
        if axis in sweeps:
            raise KgenError(f"--sweep names {axis} twice", hint="write all its extents in one list")
        sweeps[axis] = _extents(text, axis, extents)
    return sweeps


def _extents(text: str, axis: str, extents: str) -> tuple[int, ...]:
    if not axis or not re.fullmatch(r"\d{1,18}(:\d{1,18}|(,\d{1,18})*)", extents, re.ASCII):
        raise KgenError(f"{text!r} is no sweep", hint=WRITE)
    numbers = [int(number) for number in re.split("[:,]", extents)]
    if not all(numbers):
        raise KgenError(f"--sweep {text} has an extent of 0: there is nothing to compute", hint="sizes start at 1")
    if ":" not in extents:
        return tuple(dict.fromkeys(numbers))
    first, last = numbers
    if first > last:
        raise KgenError(f"--sweep {text} goes down", hint=f"--sweep {axis}={last}:{first}")
    return doubled(first, last)


def refuse_both(sizes: Iterable[str], sweeps: Iterable[str]) -> None:
    """Raise KgenError for an axis that has a size and a sweep."""
    for axis in sweeps:
        if axis in sizes:
            raise KgenError(f"--size and --sweep both name {axis}", hint="leave one of them out")


def grid(cases: Iterable[Case], sweeps: Axes, axes: Callable[[Case], Iterable[str]] | None = None) -> list[Case]:
    """Each case at every cell of the grid of those axes that it has; those that are equal are kept once."""
    found: list[Case] = []
    for case in cases:
        own = [axis for axis in sweeps if axes is None or axis in axes(case)]
        for extents in product(*(sweeps[axis] for axis in own)):
            cell = replace(case, sizes={**case.sizes, **dict(zip(own, extents))})
            if cell not in found:
                found.append(cell)
    return found


def parse_part(text: str) -> tuple[int, int]:
    """(2, 5) from "2/5"."""
    match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    number, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= parts:
        raise KgenError(f"--part {text} is no part", hint="such as --part 1/5, the first of five")
    return number, parts


def part(cases: Sequence[Case], number: int, parts: int) -> list[Case]:
    """One part of the cases, each with small and large ones."""
    chosen = list(cases)[number - 1 :: parts]
    if not chosen:
        raise KgenError(
            f"--part {number}/{parts} of {counted(len(cases), 'cell')} is empty", hint="ask for fewer parts"
        )
    return chosen
