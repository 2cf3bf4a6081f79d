"""Overlong lines are broken as black would have broken them."""

import random
from collections.abc import Callable

import pytest

from kgen.emit.text.tidy import (
    LINE_LENGTH,
    _broken,
    _call_broken,
    _tuple_broken,
    exploded,
    formatted,
    laid_out,
    tidy,
)

NAMES = ("x", "weight_000", "operand5_row", "t12", "grad_grad_weight_ptr", "mask", "a_rather_long_name_for_something")
CALLEES = ("tl.store", "_load8", "f", "_some_very_long_function_name_for_a_kernel_with_options_backward_run")
ODD = (
    "-x",
    "not x",
    "a if b else c",
    "(x, y)",
    "[x, y]",
    "*x",
    "lambda x: y",
    "x for x in y",
    "a.b(c).d(e).f(g)",
    "()",
)


def expression(draw: random.Random, depth: int = 0) -> str:
    forms: tuple[Callable[[], str], ...] = (
        lambda: draw.choice(NAMES),
        lambda: " + ".join(f"{draw.randrange(9)} * {draw.choice(NAMES)}" for _ in range(draw.randrange(1, 7))),
        lambda: f"tl.exp({', '.join(expression(draw, depth + 1) for _ in range(draw.randrange(1, 4)))})",
        lambda: f"{draw.choice(NAMES)}[{expression(draw, depth + 1)}]",
        lambda: f"{draw.choice(NAMES)}.to(MATRIX)",
        lambda: f"({expression(draw, depth + 1)} - {expression(draw, depth + 1)}) * {draw.choice(NAMES)}",
        lambda: f"{draw.choice(NAMES)}={expression(draw, depth + 1)}" if depth == 0 else '"a_string"',
        lambda: draw.choice(ODD),
    )
    return draw.choice(forms if depth < 3 else forms[:1])()


def statement(draw: random.Random) -> str:
    """A call, indented, which may be no Python."""
    names = ", ".join(f"{draw.choice(NAMES)}{i}" for i in range(draw.randrange(1, 14)))
    target = draw.choice(["", "return ", f"{names} = ", f"{names} = ", "x += "])
    arguments = ", ".join(expression(draw) for _ in range(draw.randrange(1, 9)))
    end = draw.choice(["", "", ".to(REAL)"])
    return " " * 4 * draw.randrange(1, 5) + f"{target}{draw.choice(CALLEES)}({arguments}){end}"


def signature(draw: random.Random) -> str:
    plain = [f"{draw.choice(NAMES)}{i}{draw.choice(['', ': int', ''])}" for i in range(draw.randrange(1, 12))]
    ends = draw.choice([[], ["*wanted"], ["*", "eps=1e-06", "flag=True"], ["*", "eps: float = 1e-06"]])
    return f"def {draw.choice(CALLEES[1:])}({', '.join(plain + ends)}){draw.choice(['', ' -> torch.Tensor'])}:"


def is_python(line: str) -> bool:
    try:
        compile(line.lstrip() + ("\n pass" if line.endswith(":") else ""), "", "exec", dont_inherit=True)
    except SyntaxError as error:
        return "'return' outside" in str(error)
    return True


@pytest.mark.parametrize("make", [statement, signature])
def test_calls_and_signatures_are_broken_as_by_black(make: Callable[[random.Random], str]) -> None:
    draw = random.Random(7)
    drawn = (make(draw) for _ in range(2000))
    lines = [line for line in drawn if len(line) > LINE_LENGTH and is_python(line)][:300]
    broken = {line: found for line in lines if (found := _call_broken(line))}
    assert len(lines) == 300 and len(broken) > 60
    for line, found in broken.items():
        assert found == _broken(line)


def values(draw: random.Random) -> str:
    """A tuple that is returned or assigned."""
    names = ", ".join(f"{draw.choice(NAMES)}{i}" for i in range(draw.randrange(1, 5)))
    several = ", ".join(expression(draw) for _ in range(draw.randrange(1, 9)))
    return " " * 4 * draw.randrange(1, 5) + f"{draw.choice(['return ', f'{names} = '])}{several}"


def test_tuples_are_broken_as_by_black() -> None:
    draw = random.Random(11)
    drawn = (values(draw) for _ in range(4000))
    lines = [line for line in drawn if len(line) > LINE_LENGTH and is_python(line)][:300]
    broken = {line: found for line in lines if (found := _tuple_broken(line))}
    assert len(lines) == 300 and len(broken) > 30
    for line, found in broken.items():
        assert found == _broken(line)


def data(draw: random.Random, depth: int = 0) -> object:
    """What `repr` writes: tuples, dicts, names and numbers, and some strings that need other quotes."""
    if depth == 4 or draw.random() < 0.3:
        return draw.choice(
            ["n", "grad_weight", "...", 3, 1e-06, True, None, "it's", 'a "b"', "a, b", "back\\slash", ""]
        )
    parts = [data(draw, depth + 1) for _ in range(draw.randrange(5))]
    return tuple(parts) if draw.random() < 0.6 else {f"{draw.choice(NAMES)}{i}": part for i, part in enumerate(parts)}


def test_data_is_laid_out_as_by_black() -> None:
    draw, count = random.Random(3), 0
    for _ in range(120):
        rows = [f"{name}={data(draw)!r}" for name in NAMES[: draw.randrange(1, 7)]]
        assert exploded("_describe(", rows, ")") == formatted(f"_describe({', '.join(rows)},)")
        text = f"KERNELS = {data(draw)!r}\nOTHERS = {data(draw)!r}\n"
        assert laid_out(text) == formatted(text)
        count += text.count("\n") < laid_out(text).count("\n")
    assert count > 25, "some were too long for a line"


def test_black_is_asked_only_for_what_is_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        return text

    monkeypatch.setattr("kgen.emit.text.tidy.formatted", answer)
    exploded("LAUNCH = {", [f"{name!r}: launch.Launch({'elements=4, ' * 12}warps=4)" for name in NAMES], "}")
    laid_out(f"KERNELS = {dict.fromkeys(NAMES, tuple(NAMES))!r}")
    tidy("return " + ", ".join(f"{name} if wanted else None" for name in NAMES))
    assert asked == []
    laid_out("KERNELS = " + " + ".join(map(repr, NAMES * 3)))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "line",
    [
        "raise ValueError(f'x', " + "a, " * 60 + "b)",
        'f("a, b", "c(", ' + "a, " * 60 + "b)",
        "f(x ** -y, " + "a, " * 60 + "b)",
        "f(" + "a, " * 60 + "b,)",
        "f(" + "a + " * 60 + "b)",
        "f(g)(" + "a, " * 60 + "b)",
        "x[0] = f(" + "a, " * 60 + "b)",
        "if f(" + "a, " * 60 + "b):",
        "with f(" + "a, " * 60 + "b):",
        "f(" + "a, " * 60 + "b)  # a comment",
        "f(a, g(" + "a + " * 60 + "b))",
        "f(a, b[" + "a, " * 60 + "b])",
        "return a, b, lambda " + "a, " * 60 + "b: c",
        "return a, f(" + "a, " * 60 + "b)",
    ],
)
def test_what_is_more_than_that_is_blacks(line: str) -> None:
    assert _call_broken(line) is None and _tuple_broken(line) is None
    body = "\n    pass" if line.endswith(":") else ""
    assert tidy(line + body).splitlines()[: -1 if body else None] == _broken(line)
