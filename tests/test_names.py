"""Names of a spec and names of generated code live apart: any name may be a kernel's, an input's, an axis's, ….

What is put to the test are the names that a generated module itself defines or uses, and those that it makes of others.
Kernels run in Triton's interpreter; results and gradients are compared with the reference in fp64.
"""

import ast
import builtins
import itertools
import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from kgen import class_names, names
from kgen.comparison import launches
from kgen.errors import KgenErrors
from kgen.pipeline import module as emit
from kgen.private_names import FOLLOWING, private_names, size_name, variant_name
from kgen.problem import load_module
from kgen.spec import load
from tests.modules import DEVICE

pytestmark = pytest.mark.usefixtures("one_thread")

HEAD = """\
kgen: 1
name: named
algebra: {signature: [1, 0, 0]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path], fully_connected: [path, n, m]}
kernels:
"""
EVERYTHING = """\
  f:
    inputs: {x: multivector, w: "weights(x, x)[n, m]", y: "[b, n]", gain: "[n]", v: "[b]"}
    options: {flag: true, eps: 0.5}
    outputs: {out: "multivector[b, m]", more: "[b, n]"}
    body: |
      s = grade_rms_norm(x * (gain * y if flag else gain), eps=eps) * v
      return fcgp(gelu(s), s, w), y * tanh(y * gain)
modules:
  F: {kernel: f, parameters: {w: {init: normal(n)}, gain: {init: ones}}}
"""

def identifiers(text: str) -> Iterator[str]:
    """All names that a program defines or uses; attributes of objects are none."""
    for node in ast.walk(ast.parse(text)):
        found = [getattr(node, field, None) for field in ("id", "arg", "name", "asname")]
        yield from (part for name in found if isinstance(name, str) for part in name.split("."))


@cache
def everything() -> str:
    """A module with every form."""
    return emit(load("specs/named.yaml", HEAD + EVERYTHING))


@cache
def used() -> tuple[str, ...]:
    """The names of such a module, those of private things also without underscores; of numbered ones the first."""
    found = set(identifiers(everything()))
    found |= {name.strip("_") for name in found} | {name.strip("_").lower() for name in found}
    found = {re.sub("[0-9]+", "1", name) for name in found if len(name) < 60}
    return tuple(sorted(n for n in found if re.fullmatch("[A-Za-z][A-Za-z0-9_]*", n) and not keyword.iskeyword(n)))


def built(text: str, folder: Path) -> ModuleType:
    path = folder / "named.py"
    path.write_text(emit(load("specs/named.yaml", text)), encoding="utf-8")
    return load_module(path)


def agrees(of: ModuleType, kernel: str) -> None:
    """Results and gradients are the reference's, and come from kernels."""
    dims = of.KERNELS[kernel]["inputs"].values()
    axes = dict.fromkeys(axis for row in dims for axis in row if isinstance(axis, str))
    sizes = dict(zip(axes, (2, 3, 2, 3)))
    values = [seeded([sizes.get(d, d) for d in row], place) for place, row in enumerate(dims)]
    with launches(of) as launched:
        found = derived(getattr(of, kernel), values)
    assert launched
    for a, b in zip(found, derived(getattr(of, f"{kernel}_reference"), values), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def seeded(extents: Sequence[int], seed: int) -> torch.Tensor:
    return torch.rand(extents, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(DEVICE)


def derived(function: Callable[..., Any], values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Results, and the gradients of something that is not linear in them."""
    leaves = [x.clone().requires_grad_() for x in values]
    results = function(*leaves)
    found = list(results) if isinstance(results, tuple) else [results]
    return [*found, *torch.autograd.grad([x.sin().sum() for x in found], leaves)]


# what is refused, and why


BODY = {*names.VOCABULARY, "e", "e1", "e12"}  # operations and blades mean something in bodies
REFUSED = {
    "a kernel": {*names.IMPORTED, *names.PUBLIC, "f_reference"},  # that of the kernel f
    "an input": {*BODY, "torch"},
    "an option": {*BODY, "torch"},
    "a variable": BODY,
    "an output": set[str](),
    "an axis": {"blade", "path"},  # which say where components lie, as `grade` does
}
PYTHON = [word for word in dir(builtins) if word[0] != "_" and not keyword.iskeyword(word)]
KERNEL = {
    "a kernel": "  {0}: {{inputs: {{x: [b, n]}}, body: return x}}",
    "an input": "  k{1}: {{inputs: {{{0}: [b, n]}}, body: return {0}}}",
    "an option": "  k{1}: {{inputs: {{other_: [b, n]}}, options: {{{0}: 1.0}}, body: return other_ * {0}}}",
    "a variable": "  k{1}:\n    inputs: {{x: [b, n]}}\n    body: |\n      {0} = x\n      return {0}",
    "an output": "  k{1}: {{inputs: {{other_: [b, n]}}, outputs: [{0}], body: return other_}}",
    "an axis": '  k{1}: {{inputs: {{x: "[{0}, n_]", w: [n_]}}, body: return x * w}}',
}


def refused(entries: Sequence[str], head: str = HEAD) -> set[int]:
    """Which of the entries of a spec have a mistake."""
    starts = list(itertools.accumulate([head.count("\n"), *(entry.count("\n") + 1 for entry in entries)]))
    try:
        load("specs/named.yaml", head + "\n".join(entries))
    except KgenErrors as errors:
        lines = [error.mark.line for error in errors.errors if error.mark]
        return {i for i in range(len(entries)) if any(starts[i] < line <= starts[i + 1] for line in lines)}
    return set()


@pytest.mark.parametrize("role", KERNEL)
def test_few_names_are_refused(role: str) -> None:
    words = sorted({*used(), *REFUSED[role], *PYTHON})
    found = refused([KERNEL[role].format(word, i) for i, word in enumerate(words)])
    assert {words[i] for i in found} == REFUSED[role]


# names at work: each in every role, many in one spec


KERNELS = "  {0}: {{inputs: {{{1}: [b, n], y_: [n]}}, order: 1, body: return {1} * y_}}\n"
CLASSES = "  C{2}: {{kernel: {0}, parameters: {{y_: {{init: ones}}}}}}\n"
FLAGS = "  k{1}: {{inputs: {{x_: [n]}}, options: {{{0}: true}}, order: 0, body: return x_ if {0} else 2 * x_}}\n"
ARGUMENTS = """\
  k{number}:
    inputs: {{{0}: "[{4}, {5}, {6}, {7}]", {1}: "[{4}, {5}, {7}]", {2}: "[{7}]", {3}: "[{5}, {6}]"}}
    options: {{{8}: 0.5, {9}: 0.25, {10}: 2.0, {11}: 0.75}}
    outputs: [{12}, {13}, {14}, {15}]
    order: 1
    body: |
      {16} = {0} * {2} + {8} * {1}
      {17} = sum({16} * {3}, over={7})
      {18} = {16} * {17} * {9}
      {19} = tanh({0} * {1} * {10})
      return {18}, {19}, {17} * {11}, {2} * {2}
"""
EVERY_FORM = """\
  k{number}:
    inputs: {{{0}: "multivector[{3}, {4}]", {1}: "weights({0}, {0})[{4}, {5}]", {2}: "[{3}, {4}]"}}
    options: {{{6}: 0.5, {7}: 0.25, {8}: 2.0}}
    outputs: {{{9}: "multivector[{3}, {5}]", {10}: "[{3}, {4}]", {11}: "[{3}]"}}
    order: 1
    body: |
      s_ = grade_rms_norm({0} * {2}, eps={6})
      return {7} * fcgp(gelu(s_), s_, {1}), tanh({2} * {8}), sum({2}, over={4})
"""
SWITCHED = """\
  g: {inputs: {x_: [b, n], w_: [n, m]}, order: 1, body: "return dot(x_, w_, over=n)"}
  h: {inputs: {x_: [b, n], w_: [n, m]}, order: 1, body: "return dot(tanh(x_), w_, over=n)"}
modules:
"""
SWITCHES = """\
  G{number}:
    kernel: {{{0}: {{true: g, false: h}}}}
    options: {{{0}: true}}
    sizes: {{n: {1}, m: {2}}}
    parameters: {{{3}: {{input: w_, init: normal(n)}}}}
"""


def rows(words: Sequence[str], roles: int, size: int) -> Iterator[list[str]]:
    """Words for all slots of several roles of one size: each word comes to stand in each role, and no two are one."""
    parts = [[*words, *words][i : i + size] for i in range(0, len(words), size)]
    parts = parts[:-1] + [parts[-1][: len(words) % size or size] + [f"filler_{i}" for i in range(-len(words) % size)]]
    assert len(parts) > 7 * roles
    for i in range(len(parts)):
        yield [word for role in range(roles) for word in parts[(i + 7 * role) % len(parts)]]


def allowed(*roles: str) -> list[str]:
    barred = {"grade"}.union(*(REFUSED[role] for role in roles))
    return [word for word in used() if word not in barred]


def all_agree(text: str, folder: Path) -> None:
    of = built(HEAD + text, folder)
    for kernel in of.KERNELS:
        agrees(of, kernel)


@pytest.mark.parametrize("part", range(2))
def test_kernels(part: int, tmp_path: Path) -> None:
    """A kernel, called as its input is where that may be; and a class around it, whose forward takes that input."""
    words = allowed("a kernel")[part::2]
    entries = [(w, "x_" if w in REFUSED["an input"] else w, i) for i, w in enumerate(words)]
    methods = [entry for entry in entries if entry[0] != "self"]
    text = "".join(KERNELS.format(*entry) for entry in entries)
    of = built(HEAD + text + "modules:\n" + "".join(CLASSES.format(*entry) for entry in methods), tmp_path)
    for word, _, number in entries:
        agrees(of, word)
        x = torch.rand(2, 3, device=DEVICE)
        if hasattr(of, f"C{number}"):
            torch.testing.assert_close(getattr(of, f"C{number}")(3, device=DEVICE)(x), x)


@pytest.mark.parametrize("part", range(2))
def test_arguments(part: int, tmp_path: Path) -> None:
    """Inputs, axes, numbers, outputs and variables of a kernel with row reductions and folds."""
    words = allowed("an input", "an axis")
    chosen = list(enumerate(rows(words, 5, 4)))[part::2]
    all_agree("".join(ARGUMENTS.format(*row, number=i) for i, row in chosen), tmp_path)


def test_arguments_of_every_form(tmp_path: Path) -> None:
    """What launchers name, as inputs, axes, numbers and outputs of a kernel with matrix products, too."""
    tree = ast.parse(everything())
    launchers = [ast.unparse(n) for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.endswith("_run")]
    named = {re.sub("[0-9]+", "1", name) for text in launchers for name in identifiers(text)}
    words = [word for word in allowed("an input", "an axis") if word in named]
    all_agree("".join(EVERY_FORM.format(*row, number=i) for i, row in enumerate(rows(words, 4, 3))), tmp_path)


def test_flags(tmp_path: Path) -> None:
    words = allowed("an option")
    of = built(HEAD + "".join(FLAGS.format(word, i) for i, word in enumerate(words)), tmp_path)
    x = torch.rand(3, device=DEVICE)
    for i, word in enumerate(words):
        for on, expected in ((True, x), (False, 2 * x)):
            torch.testing.assert_close(getattr(of, f"k{i}")(x, **{word: on}), expected)


def test_classes(tmp_path: Path) -> None:
    """Names of classes, and of a class's option, sizes and parameter."""
    words = [word for word in used() if word not in (*class_names.ATTRIBUTES, *class_names.CONSTRUCTOR)]
    text = "".join(SWITCHES.format(w, *rest, number=i) for i, (w, *rest) in enumerate(rows(words, 4, 1)))
    of = built(HEAD + SWITCHED + text, tmp_path)
    for i in range(len(words)):
        made = getattr(of, f"G{i}")(3, 2, device=DEVICE)
        x, (weight,) = torch.rand(2, 3, device=DEVICE), made.parameters()
        torch.testing.assert_close(made(x), x @ weight, rtol=1e-4, atol=1e-4)
