"""Functions that kernels of a file share: written out, they are what each kernel computed without them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kgen.emit.kernel.forms import sections
from kgen.emit.kernel.rows import Access, Index, KernelText, Section, Statement
from kgen.emit.kernel.shared import MOST_PARAMETERS, WORTH, Function, shared
from kgen.emit.variants import variants_of
from kgen.spec.load import load

ROOT = Path(__file__).parents[2]
NOWHERE = Index("b", "B", ())


def kernel(name: str, body: str, stored: str) -> KernelText:
    """A kernel of these statements, which stores some of the fields."""
    stores = tuple(Access((value,), f"{value}_ptr", "mask", False) for value in stored.split())
    return KernelText(
        name,
        "tile",
        pointers=("x_ptr",),
        numbers=(),
        sizes=("B", "N"),
        steps=(),
        unspecialised=("B",),
        flags=(),
        rows=NOWHERE,
        kept=NOWHERE,
        whole=False,
        inner="n",
        inner_count="N",
        planes=(),
        places=(),
        before=Section(),
        body=Section(statements=statements(body), stores=stores),
        sweeps=(),
        after=Section(),
        notes=(),
        helpers=frozenset(),
    )


def statements(text: str) -> tuple[Statement, ...]:
    found = (re.fullmatch(r"(.+?) ([-+*]?=) (.+)", line.strip()) for line in text.strip().splitlines())
    return tuple(Statement(m[1], m[3], m[2]) for m in found if m)


def written_out(text: KernelText, functions: Sequence[Function]) -> list[list[Statement]]:
    """The statements of each section, calls replaced by what they call, under the caller's names."""
    by_name = {f.name: f for f in functions}
    return [list(_inlined(section.statements, by_name)) for section in text.sections]


def _inlined(given: Iterable[Statement], functions: dict[str, Function]) -> Iterator[Statement]:
    results: dict[str, tuple[str, ...]] = {}
    for s in given:
        name = s.expression.partition("(")[0]
        if name in functions:
            function = functions[name]
            assert s.expression == f"{name}({', '.join(p.argument for p in function.parameters)})"
            yield from function.statements
            if len(function.results) > 1:
                results = dict(zip(s.name.split(", "), function.results))
            else:
                assert s.name.split(", ") == list(function.results[0])
        elif s.expression in results:
            assert s.name.split(", ") == list(results[s.expression])
        else:
            yield s


def read(text: str) -> set[str]:
    return set(re.findall(r"(?<![.\w])[A-Za-z_]\w*\b(?!\()", text)) - {"tl", "float"}


def shipped(name: str) -> Iterator[list[KernelText]]:
    """The kernels of each file of a shipped package."""
    spec = load(str(ROOT / "specs" / f"{name}.yaml"))
    for function in spec.kernels:
        variants = variants_of(spec, function)
        for part in (slice(0, 2), slice(2, None)):
            programs = [p for v in variants for p in v.programs[part]]
            yield [t for p in programs for k in p.every_kernel for t in sections(k, p.graph.builder)]


@pytest.mark.parametrize("name", ["vga2d", "vga3d", "diffusion"])
def test_written_out_they_are_the_kernels(name: str) -> None:
    """Kernels have all their statements, and nothing else has changed; every name is defined before it is read."""
    functions: list[Function] = []
    for texts in shipped(name):
        found, called = shared(texts)
        functions += found
        for before, after in zip(texts, called, strict=True):
            old = [sorted(map(str, section.statements)) for section in before.sections]
            assert [sorted(map(str, section)) for section in written_out(after, found)] == old
            kept = [(s.pointers, s.loads, s.products, s.accumulators, s.stores) for s in before.sections]
            assert [(s.pointers, s.loads, s.products, s.accumulators, s.stores) for s in after.sections] == kept
            for one, other in zip(before.sections, after.sections):
                in_order(one.statements)
                in_order(other.statements)
        for function in found:
            known = {name for p in function.parameters for name in (p.name, *p.fields)}
            for s in function.statements:
                assert read(s.expression) <= known
                known.add(s.name)
            assert {name for part in function.results for name in part} <= known
            assert len(function.parameters) <= MOST_PARAMETERS
    assert bool(functions) == (name != "diffusion")


def in_order(given: Sequence[Statement]) -> None:
    """No statement reads what a later one defines."""
    later = {name for s in given for name in s.name.split(", ")}
    for s in given:
        own = s.name.split(", ")
        assert not read(s.expression) & later - set(own), s
        later -= set(own)


LONG = "\n".join(f"t{i} = {'x' if i == 0 else f't{i - 1}'} * y" for i in range(2 * WORTH))
LAST = f"t{2 * WORTH - 1}"


def test_what_two_kernels_compute_is_a_function() -> None:
    functions, texts = shared([kernel("one", LONG, LAST), kernel("two", f"{LONG}\nz = {LAST} + y", "z")])
    (function,) = functions
    assert function.statements == statements(LONG)
    assert [s.name for s in texts[0].body.statements] == [LAST]
    assert texts[1].body.statements[1:] == statements(f"z = {LAST} + y")


def test_names_of_tuples_are_nobody_elses() -> None:
    """A tuple of components of tl is not called tl, and parts of results not as anything of the kernel is."""
    body = "\n".join(f"x_e{i} = tl.cos(tl_e{i}) * y\nx_e{i} += tl.cos(y) * tl_e{i}" for i in range(1, 2 * WORTH))
    last = " ".join(f"x_e{i}" for i in range(1, WORTH))
    texts = [kernel(name, body, last) for name in ("one", "two")]
    texts = [replace(text, numbers=("x_part1",)) for text in texts]
    (function,), called = shared(texts)
    assert "tl" not in {p.name for p in function.parameters}
    assert not {"x_part1"} & {name for s in called[0].body.statements for name in s.name.split(", ")}


def test_what_is_in_between_stays_in_between() -> None:
    """Half of the chain stands behind something that only one of the kernels has: a call gives what was before it."""
    middle = WORTH - 1
    broken = LONG.replace(f"t{middle + 1} = t{middle} * y", f"u = t{middle} + 1.0\nt{middle + 1} = u * y")
    texts = [kernel("one", LONG, LAST), kernel("two", broken, LAST), kernel("three", LONG, LAST)]
    functions, called = shared(texts)
    assert functions
    for before, after in zip(texts, called):
        in_order(after.body.statements)
        expected = sorted(map(str, before.body.statements))
        assert sorted(map(str, written_out(after, functions)[1])) == expected


def test_reductions_stay_in_kernels() -> None:
    """They need the mask; what comes before and after one are functions of their own, if they are worth it."""
    body = f"{LONG}\ntotal = _row_sum({LAST}, mask)\n" + LONG.replace("t", "u").replace("x", "total")
    functions, texts = shared([kernel("one", body, f"u{2 * WORTH - 1}"), kernel("two", body, f"u{2 * WORTH - 1}")])
    assert len(functions) == 2
    assert all("_row_sum" not in s.expression for f in functions for s in f.statements)
    assert any("_row_sum" in s.expression for s in texts[0].body.statements)


@pytest.mark.parametrize("body", [LONG.replace("y", "y{}"), "a = x * y\nb = a * a"], ids=["other names", "short"])
def test_what_is_not_worth_a_function(body: str) -> None:
    """Other formulas, and few lines."""
    texts = [kernel(name, body.replace("{}", str(i)), body.split()[0]) for i, name in enumerate(("one", "two"))]
    assert shared(texts) == ([], texts)
