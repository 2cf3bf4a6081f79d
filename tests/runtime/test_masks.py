"""Integers that are compared: masks against torch's own, whatever looks on, and what is refused."""

import ast
import itertools
import operator
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
import torch
from handmade import one
from modules import DEVICE, ROOT, agree, compiled, draw
from pages import Page
from torch import Tensor
from torch.nn.functional import one_hot, scaled_dot_product_attention

from kgen.errors import KgenError
from kgen.spec.load import load
from kgen.tools.comparison import launches
from kgen.tools.problem import runtime
from kgen.trace.trace import trace

TEXT = (ROOT / "tests" / "specs" / "masks.yaml").read_text(encoding="utf-8")
KINDS = [kernel.name for kernel in load("specs/masks.yaml", TEXT).kernels]
SIZES = [{"n": 5, "m": 5, "v": 6, "e": 9, "g": 3, "c": 4}, {"n": 33, "m": 33, "v": 4, "e": 40, "g": 2, "c": 17}]
pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]


@pytest.fixture
def masks(compiled_folder: Path) -> ModuleType:
    return compiled(TEXT, compiled_folder)


# what torch computes


def attention(q: Tensor, k: Tensor, v: Tensor, token: Tensor) -> Tensor:
    """No row is without an element: the first token is none of padding."""
    mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=DEVICE).tril() & (token >= 0)[..., None, :]
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.5)


def blocks(q: Tensor, k: Tensor, v: Tensor, document: Tensor) -> Tensor:
    near = torch.ones(len(q), len(k), device=DEVICE).triu(-2).tril(2)
    p = (q @ k.mT).exp() * near * (document[:, None] == document[None])
    return p @ v / (1 + p.sum(1, keepdim=True))


def messages(x: Tensor, u: Tensor, kind: Tensor, source: Tensor, target: Tensor) -> Tensor:
    kept = (source != target) & (kind[source] != kind[target])
    total = torch.zeros_like(x).index_add(0, target[kept], (x[source] * u)[kept])
    high = kind + 2 * torch.arange(len(x), device=DEVICE) > 3
    return torch.where(high[:, None], total + x.tanh(), x)


def pooled(x: Tensor, w: Tensor, y: Tensor, graph: Tensor) -> Tensor:
    mixed = (w * (graph[:, None] == graph[None])) @ x
    return torch.zeros_like(y).index_add(0, graph, torch.where(graph[:, None] == 0, mixed, mixed.tanh())) * y


def embedded(x: Tensor, table: Tensor, kind: Tensor) -> Tensor:
    """A kind that there is none of has zeros."""
    known = (kind >= 0) & (kind < len(table))
    return x * (one_hot(kind.clamp(0, len(table) - 1), len(table)).to(x) * known[:, None] @ table)


def filled(label: Tensor, position: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = x.masked_fill(label <= 0, 0.5)
    return y @ w * 0.125, y * y, y[:, position] * 3


def parts(x: Tensor, y: Tensor, w: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    chosen = torch.where(((label == 1) | (label < 0))[:, None], torch.cat([x.sin(), y * y]), w[:, None])
    return chosen, (chosen * w[:, None])[label != 2].sum(0)


def statistics(x: Tensor, w: Tensor, label: Tensor) -> Tensor:
    kept = (x.sum(1, keepdim=True) > 0) & (label[:, None] != torch.arange(x.shape[1], device=DEVICE))
    return torch.where(kept, x * x, x.tanh()) * w


BY_TORCH: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (attention, blocks, messages, pooled, embedded, filled, parts, statistics)
}


def inputs(of: ModuleType, kind: str, sizes: dict[str, int], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Few labels, so that some are alike; the first token is kept."""
    given = draw(of, kind, sizes, dtype)
    if "token" in given:
        given["token"][..., 0] = 1
    return given


def derivatives(found: Tensor | tuple[Tensor, ...], leaves: list[Tensor]) -> list[Tensor]:
    """Results, their gradients, and the gradients of these."""
    whole = torch.cat([x.flatten() for x in (found if isinstance(found, tuple) else (found,))])
    cotangent = torch.cos(torch.arange(whole.numel(), dtype=whole.dtype, device=DEVICE))
    first = torch.autograd.grad(whole, leaves, cotangent, create_graph=True, materialize_grads=True)
    square = torch.stack([*(x.sin().sum() for x in first), *(0 * x.sum() for x in leaves)]).sum()
    return [whole, *first, *torch.autograd.grad(square, leaves, materialize_grads=True)]


@pytest.mark.parametrize(("kind", "sizes"), [*itertools.product(KINDS, SIZES)], ids=str)
def test_torch_computes_the_same(kind: str, sizes: dict[str, int], masks: ModuleType) -> None:
    given = inputs(masks, kind, sizes)
    leaves = [x.requires_grad_() for x in given.values() if x.is_floating_point()]
    with launches(masks) as launched:
        found = derivatives(getattr(masks, kind)(**given), leaves)
    assert launched
    expected = derivatives(BY_TORCH[kind](**given), leaves)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        derivatives(getattr(masks, f"{kind}_reference")(**given), leaves), expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes(kind: str, dtype: torch.dtype, masks: ModuleType) -> None:
    agree(masks, kind, inputs(masks, kind, SIZES[0], dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_int32_and_strides_change_no_bit(kind: str, masks: ModuleType) -> None:
    given = inputs(masks, kind, SIZES[0])
    leaves = [x.requires_grad_() for x in given.values() if x.is_floating_point()]
    expected = derivatives(getattr(masks, kind)(**given), leaves)
    narrow = {n: x if x.is_floating_point() else x.to(torch.int32) for n, x in given.items()}
    apart = {n: x if x.is_floating_point() else x.repeat_interleave(2, -1)[..., ::2] for n, x in given.items()}
    for other in (narrow, apart):
        found = derivatives(getattr(masks, kind)(**other), leaves)
        assert all(torch.equal(x, y) for x, y in zip(found, expected))


def test_numbers_of_64_bits_are_told_apart(masks: ModuleType) -> None:
    """Such as identifiers, of which fp32 would take many for one."""
    given = inputs(masks, "blocks", SIZES[0])
    given["document"] = 2**53 + torch.tensor([0, 0, 1, 1, 1], device=DEVICE)
    torch.testing.assert_close(masks.blocks(**given), blocks(**given))


def test_the_page_on_bodies(compiled_folder: Path) -> None:
    """Its example is what it says."""
    text = next(block for block in Page(ROOT / "docs" / "bodies.md").blocks("yaml") if "name: masked" in block)
    of = compiled(text, compiled_folder)
    given = draw(of, "attention", {"n": 9, "m": 9})
    same = given["document"][:, None] == given["document"][None]
    expected = scaled_dot_product_attention(given["q"], given["k"], given["v"], attn_mask=same.tril(), scale=1.0)
    torch.testing.assert_close(of.attention(**given), expected, rtol=1e-12, atol=1e-12)


# conditions by chance

LEAVES = ("iota(n)", "iota(m)", "row", "column", "both")
FORMS = ("where({}, x, y)", "sum(where({}, x * y, 0), over=n)", "max(where({}, x, -9), over=m)", "({}) * x * x")


def integer(random: Random, depth: int) -> str:
    """An expression of integers; a number is never alone."""
    match random.randrange(5) if depth else 4:
        case 0:
            return f"({integer(random, depth - 1)} {random.choice('+-*')} {integer(random, depth - 1)})"
        case 1:
            return f"({random.randint(-3, 3)} {random.choice('+-*')} {integer(random, depth - 1)})"
        case 2:
            return f"-{integer(random, depth - 1)}"
    return random.choice(LEAVES)


def condition(random: Random, depth: int) -> str:
    operator = random.choice(("<", "<=", ">", ">=", "==", "!="))
    match random.randrange(6) if depth else 5:
        case 0 | 1:
            return f"({condition(random, depth - 1)} {random.choice(('and', 'or'))} {condition(random, depth - 1)})"
        case 2:
            return f"(not {condition(random, depth - 1)})"
        case 3:
            return f"(x {operator} y)"
    right = random.choice((str(random.randint(-2, 6)), integer(random, 1)))
    return f"({integer(random, 2)} {operator} {right})"


def evaluated(node: ast.expr, names: dict[str, Tensor]) -> Any:
    """What a condition is, by torch."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names[name]
        case ast.Call(args=[ast.Name(id=axis)]):
            return names[f"iota {axis}"]
        case ast.BoolOp(op=op, values=values):
            join = torch.logical_and if isinstance(op, ast.And) else torch.logical_or
            return reduce(join, [evaluated(value, names) for value in values])
        case ast.UnaryOp(op=op, operand=operand):
            x = evaluated(operand, names)
            return -x if isinstance(op, ast.USub) else torch.logical_not(x)
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
            return SIGNS[type(op)](evaluated(left, names), evaluated(right, names))
    raise AssertionError(ast.dump(node))


SIGNS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@pytest.mark.parametrize("seed", range(4))
def test_conditions_by_chance(seed: int, compiled_folder: Path) -> None:
    random = Random(seed)
    drawn = [condition(random, 3) for _ in range(8)]
    forms = [FORMS[i % len(FORMS)] for i in range(len(drawn))]
    body = ", ".join(form.format(text) for form, text in zip(forms, drawn))
    inputs = 'x: "[n, m]", y: "[m]", row: "integer[n]", column: "integer[m]", both: "integer[n, m]"'
    of = compiled(
        f"kgen: 1\nname: chance\nkernels:\n  f:\n    inputs: {{{inputs}}}\n    body: |\n      return {body}\n",
        compiled_folder,
    )
    given = draw(of, "f", {"n": 6, "m": 11})
    x, y, row, column, both = given.values()
    n, m = (torch.arange(count, device=DEVICE) for count in x.shape)
    names = {"x": x, "y": y, "row": row[:, None], "column": column, "both": both, "iota n": n[:, None], "iota m": m}
    leaves, found = [x.requires_grad_(), y.requires_grad_()], of.f(**given)
    expected = []
    for form, text in zip(forms, drawn):
        chosen = torch.as_tensor(evaluated(ast.parse(text, mode="eval").body, names)).expand_as(x)
        kinds = (x.where(chosen, y), (x * y * chosen).sum(0), x.masked_fill(~chosen, -9).amax(1), chosen * x * x)
        expected.append(kinds[FORMS.index(form)])
    torch.testing.assert_close(derivatives(found, leaves), derivatives(tuple(expected), leaves), rtol=1e-9, atol=1e-9)


# who looks on


@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind: str, masks: ModuleType) -> None:
    operator = next(o for o in runtime(masks, "registration").OPERATORS if o.function == kind)
    given = [x.requires_grad_() if x.is_floating_point() else x for x in inputs(masks, kind, SIZES[0]).values()]
    torch.library.opcheck(operator.op, tuple(given))


@pytest.mark.parametrize("kind", KINDS)
def test_vmap(kind: str, masks: ModuleType) -> None:
    """Of everything, and of the labels alone."""
    several = [torch.stack([x, x.flip(0)]) for x in inputs(masks, kind, SIZES[0]).values()]
    function = getattr(masks, kind)
    for dims in ([0] * len(several), [None if x.is_floating_point() else 0 for x in several]):
        given = [x if dim == 0 else x[0] for x, dim in zip(several, dims)]
        found = torch.func.vmap(function, tuple(dims))(*given)
        one_by_one = [function(*(x[i] if dim == 0 else x for x, dim in zip(given, dims))) for i in range(2)]
        if isinstance(found, tuple):
            one_by_one = [tuple(map(torch.stack, zip(*one_by_one)))]
        torch.testing.assert_close(found, one_by_one[0] if isinstance(found, tuple) else torch.stack(one_by_one))


@pytest.mark.filterwarnings("ignore:.*")  # of torch's compiler about itself
@pytest.mark.parametrize("kind", ["attention", "messages"])
def test_compiled(kind: str, masks: ModuleType) -> None:
    torch._dynamo.reset()
    given = inputs(masks, kind, SIZES[0])
    leaves = [x.requires_grad_() for x in given.values() if x.is_floating_point()]
    function = getattr(masks, kind)
    made = torch.compile(lambda *x: function(*x).sin(), fullgraph=True, backend="aot_eager")(*given.values())
    expected = torch.autograd.grad(function(*given.values()).sin().sum(), leaves)
    torch.testing.assert_close(list(torch.autograd.grad(made.sum(), leaves)), list(expected))


def test_module(masks: ModuleType) -> None:
    layer: Any = masks.Embedded(kinds=3, channels=4, device=DEVICE, dtype=torch.float64)
    given = inputs(masks, "embedded", SIZES[0])
    torch.testing.assert_close(
        layer(given["x"], given["kind"]), embedded(given["x"], layer.table, given["kind"]), rtol=1e-12, atol=1e-12
    )


def test_no_axis_along_which_places_are_counted_is_shared_among_devices(masks: ModuleType) -> None:
    operators = runtime(masks, "registration").OPERATORS
    independent = {(o.function, *o.flags.values()): o.independent for o in operators}
    assert independent["attention", True] == ("...", "d") and independent["attention", False] == ("...", "n", "d")
    assert independent["statistics",] == ("b",) and independent["embedded",] == ("n", "c")


# what is refused


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.bool], ids=str)
def test_a_wrong_dtype(dtype: torch.dtype, masks: ModuleType) -> None:
    given = inputs(masks, "blocks", SIZES[0])
    given["document"] = given["document"].to(dtype)
    with pytest.raises(ValueError, match="blocks: document must be int32 or int64, got torch"):
        masks.blocks(**given)


def test_a_wrong_shape(masks: ModuleType) -> None:
    given = inputs(masks, "blocks", SIZES[0])
    with pytest.raises(ValueError, match=r"blocks: document must have shape \(n,\) with n = 5 where it has 4"):
        masks.blocks(**given | {"document": given["document"][:4]})
    with pytest.raises(ValueError, match=r"blocks: document must have shape \(n,\), got \(5, 1\)"):
        masks.blocks(**given | {"document": given["document"][:, None]})


def test_a_constant_of_more_than_64_bits() -> None:
    spec = one((2, 0, 0), {"x": ["n"], "label": "integer[n]"}, f"return where(label * {2**62} * 4 == 1, x, 0)")
    with pytest.raises(KgenError, match="a constant is too large for an integer of 64 bits"):
        trace(spec, spec.kernels[0], {})


def test_real_numbers_are_no_label_and_labels_no_real_numbers(masks: ModuleType) -> None:
    given = inputs(masks, "blocks", SIZES[0])
    with pytest.raises(ValueError, match="blocks: q must be float16, bfloat16, float32 or float64, got torch.int64"):
        masks.blocks(**given | {"q": given["q"].long()})
