"""Groups of equivariance, as the vocabulary claims them: random maps of vectors, and what they make of every example.

A map of vectors acts on a blade as on the outer product of its vectors: by minors, made here with torch alone. It is
held against the references. A claim is to be the largest: what is in no smaller group must not commute.
"""

from collections.abc import Callable, Iterator
from itertools import combinations

import pytest
import torch
from evaluate import drawn

from examples import spec_of
from kgen.reference import source as reference
from kgen.spec.model import Spec
from kgen.spec.vocabulary import EXAMPLES, GROUPS, VOCABULARY, read_by
from kgen.trace.trace import trace

Signature = tuple[int, int, int]
SIGNATURES = [(2, 1, 0), (2, 0, 1)]
SIZES = {"b": 2, "n": 3, "m": 3}
INCLUDES = {  # the groups of GROUPS that are in each
    "GL(n)": set(GROUPS) - {"none"},
    "SL(n)": {"SL(n)", "SO(p,q,r)", "SO(n)"},
    "O(p,q,r)": {"O(p,q,r)", "SO(p,q,r)"},
    "SO(p,q,r)": {"SO(p,q,r)"},
    "O(n)": {"O(n)", "SO(n)"},
    "SO(n)": {"SO(n)"},
    "none": set(),
}


def squares(signature: Signature) -> torch.Tensor:
    """Of the generators in kgen's order: a single null one is the first."""
    p, q, r = signature
    return torch.tensor(([0] if r == 1 else []) + [1] * p + [-1] * q + ([0] * r if r > 1 else []), dtype=torch.float64)


def general(signature: Signature, draw: Callable[..., torch.Tensor]) -> torch.Tensor:
    return torch.eye(sum(signature), dtype=torch.float64) + 0.5 * draw(sum(signature), sum(signature))


def special(signature: Signature, draw: Callable[..., torch.Tensor]) -> torch.Tensor:
    return with_determinant_one(general(signature, draw))


def with_determinant_one(a: torch.Tensor) -> torch.Tensor:
    a = a * torch.cat([a.det().sign().reshape(1), torch.ones(len(a) - 1, dtype=a.dtype)])
    return a / a.det() ** (1 / len(a))


def isometry(signature: Signature, draw: Callable[..., torch.Tensor], count: int = 3) -> torch.Tensor:
    """Reflections, one after the other; where a generator is null, it is scaled, and mixed into the others."""
    g, n = squares(signature), sum(signature)
    a = torch.eye(n, dtype=torch.float64)
    for _ in range(count):
        v = draw(n) * (g != 0)
        a = a - 2 * torch.outer(v, v * g @ a) / (v * g @ v)
    null = g == 0
    a[null] += draw(n)[None] * null.any()
    return a


def proper_isometry(signature: Signature, draw: Callable[..., torch.Tensor]) -> torch.Tensor:
    a = isometry(signature, draw, count=2)
    a[:, squares(signature) == 0] /= a.det()
    return a


def orthogonal(signature: Signature, draw: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Of determinant -1."""
    a = rotation(signature, draw)
    return a * torch.tensor([-1.0] + [1.0] * (len(a) - 1), dtype=torch.float64)


def rotation(signature: Signature, draw: Callable[..., torch.Tensor]) -> torch.Tensor:
    a: torch.Tensor = torch.linalg.qr(draw(sum(signature), sum(signature)))[0]
    return a * torch.cat([a.det().sign().reshape(1), torch.ones(len(a) - 1, dtype=a.dtype)])


MAPS = dict(zip(GROUPS, (general, special, isometry, proper_isometry, orthogonal, rotation)))


def moved(spec: Spec, x: torch.Tensor, labels: tuple[str, ...], a: torch.Tensor) -> torch.Tensor:
    """A multivector (blades, …) with these blades under a map of vectors, by the minors of its matrix."""
    assert spec.algebra is not None
    blades = {blade.name: blade for blade in spec.algebra.blades}
    result = torch.zeros_like(x)
    for (i, to), (j, of) in ((one, other) for one in enumerate(labels) for other in enumerate(labels)):
        if blades[to].grade == blades[of].grade:
            result[i] += minor(a, blades[to].mask, blades[of].mask) * x[j]
    return result


def minor(a: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    down, across = ([i for i in range(len(a)) if mask >> i & 1] for mask in (rows, columns))
    return a[down][:, across].det()


def drawing(seed: int) -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def differs(expression: str, signature: Signature, group: str) -> float:
    """How far the operation on moved inputs is from its result, moved: relative, for a map that is in the group."""
    spec, draw = spec_of(expression, signature), drawing(1)
    graph = trace(spec, spec.kernels[0], {})
    a = MAPS[group](signature, draw)
    inputs = drawn(graph, SIZES, torch.Generator().manual_seed(3))
    vectors = {t.name: t.labels for t in graph.inputs if t.labels and t.labels[0].startswith("e")}
    there = {name: moved(spec, x, vectors[name], a) if name in vectors else x for name, x in inputs.items()}
    (before,), (after,) = (reference.evaluate(spec, "f", given, {}) for given in (inputs, there))
    result = graph.outputs[0].tensor
    expected = moved(spec, before, result.labels, a) if result.labels[0].startswith("e") else before
    return float((after - expected).norm() / expected.norm())


def claims() -> Iterator[tuple[str, str, str]]:
    """Each operation with an expression and the group that is claimed for it."""
    for word in VOCABULARY.values():
        for choice, group in zip(word.word.choices if word.word else ("",), word.groups):
            told = f', {word.word.name}="{choice}")' if word.word and choice != word.word.default else ")"
            yield word.name, word.example.removesuffix(")") + told if told != ")" else word.example, group
        if word.each:
            yield word.name, word.each, word.group


def signatures(name: str) -> list[Signature]:
    return [signature for signature in SIGNATURES if name != "polarity" or not signature[2]]


@pytest.mark.parametrize(("name", "expression", "group"), list(claims()))
def test_what_is_claimed_holds(name: str, expression: str, group: str) -> None:
    for signature in signatures(name):
        for smaller in INCLUDES[group]:
            assert differs(expression, signature, smaller) < 1e-9, (signature, smaller)


@pytest.mark.parametrize(("name", "expression", "group"), list(claims()))
def test_no_larger_group_would_do(name: str, expression: str, group: str) -> None:
    for other in set(MAPS) - INCLUDES[group]:
        assert max(differs(expression, signature, other) for signature in signatures(name)) > 1e-3, other


@pytest.mark.parametrize("signature", SIGNATURES)
def test_the_maps_are_in_their_groups(signature: Signature) -> None:
    g = squares(signature).diag()
    one = torch.eye(sum(signature), dtype=torch.float64)
    for group, make in MAPS.items():
        a = make(signature, drawing(2))
        if group in ("SL(n)", "SO(n)", "SO(p,q,r)"):
            torch.testing.assert_close(a.det(), torch.tensor(1.0, dtype=torch.float64))
        if "O(p,q,r)" in group:
            torch.testing.assert_close(a.T @ g @ a, g)
        if "O(n)" in group:
            torch.testing.assert_close(a.T @ a, one)
        assert not torch.allclose(a, one), "the map does something"


@pytest.mark.parametrize("name", VOCABULARY)
def test_the_example_builds_in_every_algebra(name: str) -> None:
    for signature in ((2, 0, 0), (3, 0, 0), (1, 3, 0)):
        spec = spec_of(VOCABULARY[name].example, signature)
        assert trace(spec, spec.kernels[0], {}).outputs


def test_examples_need_their_inputs() -> None:
    assert read_by("sgp(x, y, weight)") == {name: EXAMPLES[name] for name in ("x", "y", "weight")}
    assert set(read_by("mv_linear(v, linear)")) == {"x", "v", "linear"}
    used = {name for word in VOCABULARY.values() for name in read_by(word.example)}
    assert used <= set(EXAMPLES) and {"x", "y", "r", "s", "t", "weight", "full", "linear"} <= used


def test_minors_are_outer_products() -> None:
    """Two vectors moved, and their outer product moved."""
    spec = spec_of("outer(x, y)", (3, 0, 0))
    assert spec.algebra is not None
    a, u, v = general((3, 0, 0), drawing(3)), drawing(4)(3), drawing(5)(3)
    planes = [(i, j) for i, j in combinations(range(3), 2)]

    def wedge(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.stack([u[i] * v[j] - u[j] * v[i] for i, j in planes])

    labels = ("e12", "e13", "e23")
    torch.testing.assert_close(moved(spec, wedge(u, v), labels, a), wedge(a @ u, a @ v))
