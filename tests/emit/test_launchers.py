"""Launchers as rows: each kind has a text, and memory is there for who writes it and who reads it."""

import inspect
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from bodies import BODIES, NORM, SIGNATURES
from handmade import one

from kgen.emit.host import rows, values
from kgen.emit.host.launchers import launcher_rows
from kgen.emit.host.rows import Assigned, Branch, Deleted, Reused
from kgen.emit.host.values import Partial
from kgen.emit.text.render import _macros, listed, placed
from kgen.emit.variants import variants_of
from kgen.schedule.buffers import plan
from kgen.wording import counted


def test_each_row_has_a_text_and_each_text_a_row() -> None:
    known = vars(rows) | vars(values)
    kinds = {name for name, value in known.items() if inspect.isclass(value) and is_dataclass(value)}
    parts = {"Shape", "Launcher", "Narrow", "Masked", "Seen"}  # of other rows, whose macros place them
    assert {name for name in _macros() if not name.startswith("_")} == kinds - parts


def test_parts_of_rows() -> None:
    assert [listed(names) for names in ([], ["x"], ["x", "y"])] == ["", "x,", "x, y"]
    assert [counted(n, "copy", "copies") for n in (1, 2)] == ["1 copy", "2 copies"]
    assert placed("x") == "x" and placed(Partial("x")) == "partial_x"


def test_branches_are_nested() -> None:
    inner = Branch(values.Present(("x", "y")), (Deleted(("a", "b")),), (Reused("c", "a"),))
    text = placed(Branch(values.Wanted((0, 2)), (inner,)))
    assert text.splitlines() == [
        "if wanted[0] or wanted[2]:",
        "    if has_x and has_y:",
        "        del a, b",
        "    else:",
        "        c = a  # nobody reads a any more",
    ]


@pytest.mark.parametrize("signature", SIGNATURES[:1], ids=str)
@pytest.mark.parametrize("name", BODIES)
def test_memory_is_there(name: str, signature: tuple[int, int, int]) -> None:
    """Nothing is read, written or returned that no row before has made, or that was given back."""
    body, inputs = BODIES[name]
    spec = one(signature, inputs, body, NORM)
    for variant in variants_of(spec, spec.kernels[0]):
        assert len(variant.programs) > 1
        for launcher in launcher_rows(variant, plan):
            there = followed(launcher.steps, set(launcher.parameters))
            assert names(launcher.results) <= there


def followed(steps: Iterable[rows.Step], there: set[str]) -> set[str]:
    """The tensors that are there after some steps, of those that were before."""
    for step in steps:
        match step:
            case Branch():
                assert names([step.condition]) <= there
                there = followed(step.steps, set(there)) | followed(step.others, set(there))
            case Assigned():
                assert names([step.value]) <= there
                there.add(f"partial_{step.name.result}" if isinstance(step.name, Partial) else step.name)
            case rows.Partials():
                assert {step.place, *(name for name, _ in step.results)} <= there
                there |= {f"partial_{name}" for name, _ in step.results}
            case rows.Totals() | rows.Gathered():
                assert {*step.results, *(f"partial_{name}" for name in step.results)} <= there
            case Reused():
                assert step.workspace in there
                there.add(step.name)
            case Deleted():
                assert set(step.names) <= there
                there -= set(step.names)
            case _:
                assert names([step]) <= there
    return there


def names(found: Iterable[Any]) -> set[str]:
    """The tensors that rows name."""
    result = set[str]()
    for row in found:
        if isinstance(row, str):
            result |= {row} - {"None", "[]"}
        elif isinstance(row, Partial | values.Total | values.Largest):
            result.add(f"partial_{row.result}")
        if is_dataclass(row):
            for part in fields(row):
                value = getattr(row, part.name)
                if part.name in ("tensor", "place", "value", "condition", "other", "memory", "dtype", "matrix"):
                    result |= names([value]) - {values.REAL, values.MATRIX}
                elif part.name in ("tensors", "matrices"):
                    result |= names(value)
    return result
