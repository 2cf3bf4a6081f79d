"""Names of a spec and names of generated code live apart: any name may be a kernel's, an input's, an axis's, ….

What is put to the test are the names that a generated module itself defines or uses, and those that it makes of others.
Kernels run in Triton's interpreter; results and gradients are compared with the reference in fp64.
"""

import ast
import builtins
import inspect
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
from folders import written_to
from modules import DEVICE
from triton.runtime.jit import JITFunction

from kgen.emit.package import emit
from kgen.errors import KgenErrors
from kgen.spec import class_names, names
from kgen.spec.load import load
from kgen.spec.private_names import private_names, size_name, variant_name
from kgen.spec.vocabulary import VOCABULARY
from kgen.tools.comparison import launches
from kgen.tools.problem import load_module

PLAIN = "kgen: 1\nname: named\nkernels:\n"
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
  F: {kernel: f, parameters: {layers.1.w: {input: w, init: normal(n)}, held.gain: {input: gain, init: ones}}}
"""


def identifiers(text: str) -> Iterator[str]:
    """All names that a program defines or uses; attributes of objects are none."""
    for node in ast.walk(ast.parse(text)):
        found = [getattr(node, field, None) for field in ("id", "arg", "name", "asname")]
        yield from (part for name in found if isinstance(name, str) for part in name.split("."))


@cache
def everything() -> str:
    """A module with every form."""
    return text_of(HEAD + EVERYTHING)


def text_of(spec: str) -> str:
    """The files of a package but for what is the same in all, one after the other."""
    files = emit(load("specs/named.yaml", spec))
    return "\n".join(
        text.replace("from __future__ import annotations\n", "")
        for path, text in files.items()
        if "/_runtime/" not in path
    )


@cache
def used() -> tuple[str, ...]:
    """The names of such a module, those of private things also without underscores; of numbered ones the first."""
    found = set(identifiers(everything()))
    found |= {name.strip("_") for name in found} | {name.strip("_").lower() for name in found}
    found = {re.sub("[0-9]+", "1", name) for name in found if len(name) < 60}
    return tuple(sorted(n for n in found if re.fullmatch("[A-Za-z][A-Za-z0-9_]*", n) and not keyword.iskeyword(n)))


def built(text: str, folder: Path) -> ModuleType:
    name = load("specs/named.yaml", text).name
    return load_module(written_to(folder, emit(load("specs/named.yaml", text))) / name)


def agrees(of: ModuleType, kernel: str) -> None:
    """Results and gradients are the reference's, and come from kernels."""
    dims = of.KERNELS[kernel]["inputs"].values()
    axes = dict.fromkeys(axis for row in dims for axis in row if isinstance(axis, str))
    sizes = dict(zip(axes, (2, 3, 2, 1, 2, 3)))
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


BODY = {*VOCABULARY, "e", "e1", "e12"}  # operations and blades mean something in bodies
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
    inputs:
      {0}: "[{6}, {7}, {8}, {9}, {10}, {11}]"
      {1}: "[{6}, {7}, {11}]"
      {2}: "[{11}]"
      {3}: "[{7}, {8}]"
      {4}: "[{9}, {10}, {11}]"
      {5}: "[{6}]"
    options: {{{12}: 0.5, {13}: 0.25, {14}: 2.0, {15}: 0.75, {16}: 1.5, {17}: 3.0}}
    outputs: [{18}, {19}, {20}, {21}, {22}, {23}]
    order: 1
    body: |
      {24} = {0} * {2} + {12} * {1}
      {25} = sum({24} * {3}, over={11})
      {26} = {24} * {25} * {13}
      {27} = {26} + {4} * {14}
      {28} = {25} * {15} + {5}
      {29} = {16} * {26}
      return {26}, {27}, {28}, {29}, {28} * {17}, {25}
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
    step = len(parts) // roles
    assert step
    for i in range(len(parts)):
        yield [word for role in range(roles) for word in parts[(i + step * role) % len(parts)]]


def allowed(*roles: str) -> list[str]:
    barred = {"grade"}.union(*(REFUSED[role] for role in roles))
    return [word for word in used() if word not in barred]


def all_agree(text: str, folder: Path) -> None:
    of = built(text, folder)
    for kernel in of.KERNELS:
        agrees(of, kernel)


PARTS = [0, pytest.param(1, marks=pytest.mark.slow)]  # every other word


@pytest.mark.parametrize("part", PARTS)
def test_kernels(part: int, tmp_path: Path) -> None:
    """A kernel, called as its input is where that may be; and a class around it, whose forward takes that input."""
    words = allowed("a kernel")[part::2]
    entries = [(w, "x_" if w in REFUSED["an input"] else w, i) for i, w in enumerate(words)]
    methods = [entry for entry in entries if entry[0] != "self"]
    text = "".join(KERNELS.format(*entry) for entry in entries)
    of = built(PLAIN + text + "modules:\n" + "".join(CLASSES.format(*entry) for entry in methods), tmp_path)
    for word, _, number in entries:
        agrees(of, word)
        x = torch.rand(2, 3, device=DEVICE)
        if hasattr(of, f"C{number}"):
            torch.testing.assert_close(getattr(of, f"C{number}")(3, device=DEVICE)(x), x)


@pytest.mark.parametrize("part", PARTS)
def test_arguments(part: int, tmp_path: Path) -> None:
    """Inputs, axes, numbers, outputs and variables of a kernel with row reductions and folds."""
    words = [word for word in allowed("an input", "an axis") if len(word) < 28]  # a type has at most 200 characters
    chosen = list(enumerate(rows(words, 5, 6)))[part::2]
    all_agree(PLAIN + "".join(ARGUMENTS.format(*row, number=i) for i, row in chosen), tmp_path)


def test_arguments_of_every_form(tmp_path: Path) -> None:
    """What launchers name, as inputs, axes, numbers and outputs of a kernel with matrix products, too."""
    tree = ast.parse(everything())
    launchers = [ast.unparse(n) for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.endswith("_run")]
    named = {re.sub("[0-9]+", "1", name) for text in launchers for name in identifiers(text)}
    words = [word for word in allowed("an input", "an axis") if word in named]
    all_agree(HEAD + "".join(EVERY_FORM.format(*row, number=i) for i, row in enumerate(rows(words, 4, 3))), tmp_path)


def test_flags(tmp_path: Path) -> None:
    words = allowed("an option")
    of = built(PLAIN + "".join(FLAGS.format(word, i) for i, word in enumerate(words)), tmp_path)
    x = torch.rand(3, device=DEVICE)
    for i, word in enumerate(words):
        for on, expected in ((True, x), (False, 2 * x)):
            torch.testing.assert_close(getattr(of, f"k{i}")(x, **{word: on}), expected)


def test_classes(tmp_path: Path) -> None:
    """Names of classes, and of a class's option, sizes and parameter."""
    words = [word for word in used() if word not in (*class_names.ATTRIBUTES, *class_names.CONSTRUCTOR)]
    text = "".join(SWITCHES.format(w, *rest, number=i) for i, (w, *rest) in enumerate(rows(words, 4, 1)))
    of = built(PLAIN + SWITCHED + text, tmp_path)
    for i in range(len(words)):
        made = getattr(of, f"G{i}")(3, 2, device=DEVICE)
        x, (weight,) = torch.rand(2, 3, device=DEVICE), made.parameters()
        torch.testing.assert_close(made(x), x @ weight, rtol=1e-4, atol=1e-4)


# the rules


def test_public_names_of_modules_are_refused() -> None:
    """All of them, but for the spec's own; and no others."""
    files = emit(load("specs/named.yaml", HEAD + EVERYTHING))
    named = ("named/__init__.py", "named/_functions/f.py", "named/_modules.py")
    found: set[str] = set()
    for node in (node for path in named for node in ast.parse(files[path]).body):
        match node:
            case ast.Import() | ast.ImportFrom():
                found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
    public = {name for name in found if not name.startswith("_")}
    assert public - {"f", "f_reference", "F"} == {*names.IMPORTED, *names.PUBLIC}


# what Triton itself gives to a launch by keyword
TOLD = re.findall(r'kwargs\["(\w+)"\] = ', inspect.getsource(JITFunction.run))


@pytest.mark.parametrize(
    "name", [*TOLD, "options", "params", "specialization", "backend", "grid", "num_warps", "maxnreg"]
)
def test_numbers_beside_what_triton_calls_its_own(name: str) -> None:
    """A number of a kernel is an argument of the launcher that Triton writes for it."""
    assert private_names([name], ["n"])[name] == f"own_{name}"


def test_roles_are_of_a_specs_names_alone() -> None:
    """What a module has for itself does not end as what it makes of names."""
    ends = ("_kernel", "_run", "_op", "_public", "_global")
    made = {name for name in identifiers(everything()) if name.startswith("_") and name.endswith(ends)}
    other = set(identifiers(text_of((HEAD + EVERYTHING).replace("f:", "g:").replace(": f,", ": g,"))))
    assert made and not made & other


def test_no_two_kernels_come_to_one_name() -> None:
    """What is made of a kernel's name is made of no other's, whatever may follow it."""
    follow = ["", "_backward", "_double_backward", "_triple_backward", "_results", "_results_12", "_long", "_turned"]
    follow += ["_factors", "_factors_a", "_factors_2_long", "_backward_statistics_of_inputs", "_backward_grad_a"]
    follow += ["_backward_grads", "_matmul_2_library_factors_a", "_backward_totals", "_double_backward_grads_2_long"]
    words = ["f", "f_", "name", "f_with", "f_double", "f_with_a", "f_without_a", "with", "f_with_a_backward"]
    words += [f"{word}{end}" for word in words for end in (*follow, "_", "__1")]
    flags: list[dict[str, bool]] = [
        {},
        {"a": True},
        {"a_": False},
        {"a__backward": True},
        {"backward": True},
        {"a_1": True},
    ]
    made: dict[str, str] = {}
    for word in dict.fromkeys(words):
        for chosen, end in itertools.product(flags, follow):
            assert made.setdefault(variant_name(word, chosen) + end, word) == word
    assert "name" not in made and "f" in made


def test_private_names() -> None:
    """Tensors and sizes of a launcher: names of a spec's are no other's, nor what stages name themselves."""
    words = [
        "x",
        "grad_x",
        "own_grad_x",
        "saved",
        "has_x",
        "real",
        "own_real",
        "N",
        "n",
        "n_innermost",
        "size_N",
        "LAUNCH",
    ]
    axes = ["n", "N", "bn", "Bn", "rows", "ROWS", "launch", "rows_"]
    found = private_names(words, axes)
    assert found["x"] == "x" and found["n"] == "n" and found["grad_x"] != "grad_x"
    everywhere = [
        *found.values(),
        *map(size_name, axes),
        "real",
        "saved",
        "LAUNCH",
        *(f"grad_{x}" for x in found.values()),
    ]
    assert len(set(everywhere)) == len(everywhere)
    assert size_name("n") == "N" and size_name("rows") != "ROWS"


WITNESSES = """\
kgen: 1
name: witnesses
algebra: {signature: [3, 0, 0]}
layout: {multivector: [blade, b, n]}
kernels:
  plain: {inputs: {x: multivector}, body: return 2 * x}
  compiled: {inputs: {mask: "[b, n]", b: "[n]"}, body: return mask * b}
  block: {inputs: {x: multivector, x_e1: "[b, n]"}, body: return x * x_e1}
  len: {inputs: {x: "[b, n]", grad_x: "[n]", real: "[b]"}, body: return x * grad_x * real}
  len_backward: {inputs: {t0: "[b, n]", N: "[n]"}, body: return t0 * N}
  name:
    inputs: {self: "[b, n]", saved_x: "[n]"}
    options: {float: 2.0}
    body: return sum(self * saved_x * float, over=n)
  upper:
    inputs: {x: multivector}
    body: |
      X0 = x.grade(0)
      torch = X0 + x
      return torch * x.e12 + X0
"""


def test_witnesses(tmp_path: Path) -> None:
    """Names that once broke a module, or were refused."""
    of = built(WITNESSES, tmp_path)
    for kernel in of.KERNELS:
        agrees(of, kernel)
    assert of.len.__name__ == "len" and "len" in dir(of) and not hasattr(of, "abs")
    with pytest.raises(ValueError, match=r"len: grad_x must have shape \(n,\) with n = 3"):
        of.len(torch.rand(2, 3), torch.rand(2), torch.rand(2))
