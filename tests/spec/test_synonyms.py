"""Hints at what to write instead: each expression builds and means what its name says, and nothing else is offered."""

from collections.abc import Callable

import pytest
import torch
from evaluate import evaluate

from examples import spec_of
from kgen.errors import KgenError
from kgen.graph.tensor import INDEX
from kgen.spec.signature import standard_blades
from kgen.spec.synonyms import SYNONYMS, Synonym, hint
from kgen.spec.vocabulary import VOCABULARY
from kgen.trace.trace import trace

F = torch.nn.functional
SIZES = {"b": 3, "n": 5, "m": 5}
NAMES = [name for row in SYNONYMS for name in row.names.split()]
# what expressions of the field s along n, and of t, are in torch
TORCH: dict[str, Callable[..., torch.Tensor]] = {
    "silu": F.silu,
    "quick_gelu": lambda s: s * torch.sigmoid(1.702 * s),
    "logistic": torch.sigmoid,
    "softplus": F.softplus,
    "logsigmoid": F.logsigmoid,
    "fmax": torch.maximum,
    "fmin": torch.minimum,
    "vdot": lambda s, t: s @ t,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda s, t: torch.where(s > 0, s, t * s),
    "relu6": F.relu6,
    "elu": F.elu,
    "selu": F.selu,
    "glu": lambda s, t: F.glu(torch.cat([s, t.expand_as(s)], -1)),
    "geglu": lambda s, t: s * F.gelu(t),
    "swiglu": lambda s, t: s * F.silu(t),
    "softmax": lambda s: s.softmax(-1),
    "log_softmax": lambda s: s.log_softmax(-1),
    "logsumexp": lambda s: s.logsumexp(-1),
    "rms_norm": lambda s: F.rms_norm(s, s.shape[-1:], eps=1e-6),
    "layer_norm": lambda s: F.layer_norm(s, s.shape[-1:], eps=1e-6),
    "reciprocal": torch.reciprocal,
    "square": torch.square,
    "sqr": torch.square,
    "relu2": lambda s: s.relu().square(),
    "pow": lambda s: s**3,
    "ln": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log10": torch.log10,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "erfc": torch.erfc,
    "tan": torch.tan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "sign": torch.sign,
    "clamp": lambda s: s.clamp(-1, 1),
    "min": lambda s: s.amin(-1),
    "amax": lambda s: s.amax(-1),
    "var": lambda s: s.var(-1, correction=0),
    "std": lambda s: s.std(-1, correction=0),
    "einsum": lambda s, t: s @ t,
}
POSITIVE = {"ln", "log2", "log10", "log1p"}


def value(expression: str, signature: tuple[int, int, int] = (2, 0, 0), positive: bool = False) -> torch.Tensor:
    """The expression, evaluated by its graph."""
    spec = spec_of(expression, signature)
    graph = trace(spec, spec.kernels[0], {})
    (result,) = evaluate(graph, drawn(expression, signature, positive), {}, SIZES).values()
    return result


def drawn(expression: str, signature: tuple[int, int, int], positive: bool = False) -> dict[str, torch.Tensor]:
    spec = spec_of(expression, signature)
    graph, found = trace(spec, spec.kernels[0], {}), {}
    for tensor in graph.inputs:
        shape = [SIZES[d] if isinstance(d, str) else d for d in tensor.dims]
        generator = torch.Generator().manual_seed(ord(tensor.name[0]))
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        found[tensor.name] = x.abs() + 0.1 if positive else x
        if tensor.dtype == INDEX:
            found[tensor.name] = torch.randint(min(SIZES.values()), shape, generator=generator)
    return found


@pytest.mark.parametrize("row", SYNONYMS, ids=lambda row: row.names.split()[0])
def test_what_is_to_be_written_builds(row: Synonym) -> None:
    assert row.expressions or row.remark, "a hint says something"
    for expression in row.expressions:
        for signature in ((2, 0, 0), (3, 0, 0), (1, 3, 0)):
            assert value(expression, signature, positive="log(" in expression).isfinite().all(), expression


def test_no_name_stands_twice_or_hides_an_operation() -> None:
    assert len(set(NAMES)) == len(NAMES) and not set(NAMES) & set(VOCABULARY)


@pytest.mark.parametrize("name", TORCH)
def test_of_fields_it_is_what_torch_computes(name: str) -> None:
    row = next(row for row in SYNONYMS if name in row.names.split())
    expression = next(e for e in row.expressions if not {"x", "v", "r"} & set(drawn(e, (2, 0, 0))))
    tensors = drawn(expression, (2, 0, 0), name in POSITIVE)
    expected = TORCH[name](*(tensors[key] for key in ("s", "t") if key in tensors))
    torch.testing.assert_close(value(expression, positive=name in POSITIVE), expected)


@pytest.mark.parametrize("name", ["left_contraction", "right_contraction"])
@pytest.mark.parametrize("signature", [(3, 0, 0), (1, 2, 0)])
def test_contractions_by_a_vector_lower_grades(name: str, signature: tuple[int, int, int]) -> None:
    """By a table of vectors times blades, made here."""
    expression = next(row for row in SYNONYMS if name in row.names.split()).expressions[0]
    tensors = drawn(expression, signature)
    squares, blades = [1.0] * signature[0] + [-1.0] * signature[1], standard_blades(3, 1)
    at, expected = {b.mask: i for i, b in enumerate(blades)}, torch.zeros_like(tensors["x"])
    for i, source in enumerate(blades):
        for generator in range(3):
            if source.mask >> generator & 1:
                below = (source.mask & ((1 << generator) - 1)).bit_count()
                swaps = below if name == "left_contraction" else source.grade - 1 - below
                term = (-1) ** swaps * squares[generator] * tensors["v"][generator] * tensors["x"][i]
                expected[at[source.mask & ~(1 << generator)]] += term
    found = torch.zeros_like(expected)
    spec = spec_of(expression, signature)
    labels = trace(spec, spec.kernels[0], {}).outputs[0].tensor.labels
    found[[[b.name for b in blades].index(label) for label in labels]] = value(expression, signature)
    torch.testing.assert_close(found, expected)


def test_products_of_multivectors_mean_what_they_say() -> None:
    pairs = [("x ^ y", "outer(x, y)"), ("x * y", "gp(x, y)"), ("x | y", "inner(x, y)"), ("x & y", "regressive(x, y)")]
    for written, same in [*pairs, ("~x", "reverse(x)"), ("r >> x", "sandwich(r, x)")]:
        assert torch.equal(value(written), value(same))
    torch.testing.assert_close(value("(~r / norm_squared(r)) * r * x"), value("1.0 * x"))
    one = value("norm_squared(x * rsqrt(abs(norm_squared(x)) + 1e-6))", (3, 0, 0))
    torch.testing.assert_close(one, torch.ones_like(one), atol=1e-4, rtol=0)


def test_the_cross_product_is_that_of_three_dimensions() -> None:
    expression = "dual(x.grade(1) ^ y.grade(1))"
    tensors = drawn(expression, (3, 0, 0))
    expected = torch.linalg.cross(tensors["x"][1:4], tensors["y"][1:4], dim=0)
    torch.testing.assert_close(value(expression, (3, 0, 0)), expected)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("sgpp", "sgp"),
        ("SGP", "sgp"),
        ("Gelu", "gelu"),
        ("gpp", "gp"),
        ("norm_square", "norm_squared"),
        ("grade_rmsnorm", "grade_rms_norm"),
    ],
)
def test_a_slip_of_the_pen_is_understood(name: str, offered: str) -> None:
    assert hint(name) == f"did you mean {offered}?"


@pytest.mark.parametrize("name", ["frobnicate", "swosh", "fft", "lerp", "tanhshrink", "mx", "f", "hypot", "lgamma", ""])
def test_what_is_not_near_has_no_hint(name: str) -> None:
    assert hint(name) is None


def test_functions_of_torch_are_never_taken_for_another() -> None:
    """Of all: what is offered is the same function, which torch also has in place, with an underscore, or capitals."""
    names = {name for owner in (torch, F, torch.special, torch.linalg, torch.Tensor) for name in dir(owner)}
    offered = {name: hint(name) for name in names - set(VOCABULARY) - set(NAMES) if not name.startswith("_")}
    wrong = {n: text for n, text in offered.items() if text and text != f"did you mean {n.removesuffix('_').lower()}?"}
    assert {name: text for name, text in wrong.items() if name.lower().removesuffix("_") not in NAMES} == {}


def test_an_unknown_operation_is_told_with_its_hint() -> None:
    spec = spec_of("silu(x)")
    with pytest.raises(KgenError) as caught:
        trace(spec, spec.kernels[0], {})
    assert caught.value.hint == str(next(row for row in SYNONYMS if "silu" in row.names))
