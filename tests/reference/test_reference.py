"""The reference against what is not itself: identities, loops, brute force, published orders, torch, differences."""

import itertools
import math
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import black
import pytest
import torch
from black.mode import TargetVersion
from imports import PACKAGE, of_the_compiler, packages
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kgen.emit.text.tidy import tidy
from kgen.errors import KgenError
from kgen.reference import source as reference
from kgen.reference.function import Function
from kgen.spec.load import load
from kgen.spec.model import Spec
from kgen.spec.vocabulary import VOCABULARY, Word

Signature = tuple[int, int, int]
FULL = "geometric: {x: multivector, y: multivector}"
SIGNATURES: list[Signature] = [(2, 0, 0), (3, 0, 0), (3, 0, 1), (1, 3, 0), (4, 1, 0), (1, 1, 2)]
LAYOUTS = ["blade, b, n", "..., n, blade"]
MODULES = sorted((PACKAGE / "reference").glob("[!_]*.py"))


def spec_of(
    body: str,
    inputs: str,
    signature: Signature | None = (3, 0, 0),
    memory: str = "blade, b, n",
    algebra: str = "",
    more: str = "",
) -> Spec:
    """A spec with one kernel f."""
    head = "kgen: 1\nname: trial\ndoc: A trial.\n"
    if signature is not None:
        head += f"algebra: {{{algebra or f'signature: {list(signature)}'}}}\n"
        head += f"layout: {{multivector: [{memory}], weights: {{order: [left, out, right], memory: [n, path], "
        head += "fully_connected: [path, n, m], gradewise: [grade, n, m]}}\n"
    kernel = f"inputs: {{{inputs}}}\n{more}\nbody: |\n{textwrap.indent(textwrap.dedent(body).strip(), '  ')}"
    return load("specs/trial.yaml", f"{head}kernels:\n  f:\n    doc: Tries.\n{textwrap.indent(kernel, '    ')}\n")


def run(spec: Spec, options: Mapping[str, bool | float] | None = None, /, **inputs: torch.Tensor) -> torch.Tensor:
    """The only output of the kernel f."""
    (out,) = reference.evaluate(spec, "f", inputs, options)
    return out


def apply(body: str, signature: Signature, **inputs: torch.Tensor) -> torch.Tensor:
    """A body over multivectors with all blades, of shape (b, n, blade); one with the result's blades comes back."""
    types = ", ".join(f"{name}: multivector" for name in inputs)
    return run(spec_of(body, types, signature, "b, n, blade"), **inputs)


def blade_words(spec: Spec) -> list[tuple[int, ...]]:
    """The generators of each blade as its name spells them."""
    assert spec.algebra is not None
    return [tuple(int(digit) for digit in blade.name[1:]) for blade in spec.algebra.blades]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def size(signature: Signature) -> int:
    return 1 << sum(signature)


# what it may know


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_shares_nothing_with_the_compiler(module: Path) -> None:
    allowed = {
        "spec.model",
        "errors",
        "wording",
        "spec.body",
        "spec.draws",
        "spec.terms",
        "spec.vocabulary",
        *(f"reference.{path.stem}" for path in MODULES),
    }
    found = packages(module.read_text(encoding="utf-8"))
    assert found and set(of_the_compiler(module)) <= allowed
    assert found - {"kgen"} <= sys.stdlib_module_names | {"torch", "black"}


def test_source_needs_neither_torch_nor_the_compiler() -> None:
    text = """
        import sys
        from kgen.reference import source as reference
        from kgen.spec import load as spec
        text = "kgen: 1\\nname: t\\ndoc: T.\\nkernels: {f: {doc: F., inputs: {x: [v]}, body: return x * x}}\\n"
        assert "def f_reference(x: torch.Tensor) -> torch.Tensor:" in reference.source(spec.load("t.yaml", text))
        loaded = {"torch", "kingdon", "sympy", "kgen.trace", "kgen.graph", "kgen.schedule"} & sys.modules.keys()
        assert not loaded, loaded
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(text)], check=True)


@pytest.mark.parametrize("memory", LAYOUTS)
def test_text_is_clean_and_stable(memory: str) -> None:
    body = """
        gated = sgp(gelu(x), gelu(y), weight) - (x ^ y) * -x.e12**2 / (1 + abs(x.e)) ** -3
        rotated = (r >> x.grade(1)) if rotate else odd(x)
        normed = grade_rms_norm(gated, eps=eps, metric="invariant")
        return normed if not rotate and True else gated, rotated, e12 + r, where(x.e < y.e, 1, 2)
    """
    inputs = 'x: multivector, y: multivector, weight: "weights(x, y)", r: "even[b]"'
    spec = spec_of(body, inputs, memory=memory, more="options: {rotate: true, eps: 1.0e-6}")
    text = tidy(reference.source(spec))  # as in a package
    assert black.format_str(text, mode=black.Mode({TargetVersion.PY311}, line_length=120)) == text
    assert re.search(r"rotate: bool = True,\s+eps: float = 1e-06,?\s+\) -> tuple\[torch.Tensor, torch.Tensor, ", text)
    assert text == tidy(reference.source(spec)) and "/" + "work" not in text
    compile(text, "reference", "exec")


# products, against brute force and identities


Words = dict[tuple[int, ...], float]


def brute_product(a: Words, b: Words, squares: Mapping[int, int]) -> Words:
    """The product of sums of words of generators: every word is sorted by single swaps, equal neighbours contract."""
    total: Words = {}
    for (u, x), (v, y) in itertools.product(a.items(), b.items()):
        word, value, i = list(u + v), x * y, 0
        while i + 1 < len(word):
            if word[i] == word[i + 1]:
                value *= squares[word[i]]
                del word[i : i + 2]
                i = 0
            elif word[i] > word[i + 1]:
                word[i], word[i + 1], value = word[i + 1], word[i], -value
                i = 0
            else:
                i += 1
        total[tuple(word)] = total.get(tuple(word), 0.0) + value
    return total


def sort_sign(word: tuple[int, ...]) -> int:
    """The sign of the permutation that sorts the word."""
    return -1 if sum(a > b for a, b in itertools.combinations(word, 2)) % 2 else 1


@pytest.mark.parametrize(
    "algebra",
    [
        *(
            "signature: [2, 0, 0]",
            "signature: [3, 0, 0]",
            "signature: [3, 0, 1]",
            "signature: [1, 3, 0]",
            "squares: [1, -1, 1]",
        ),
        "signature: [3, 0, 0], blades: [e, e1, e2, e3, e12, e31, e23, e123]",
        "signature: [2, 0, 1], blades: [e21, e0, e1, e2, e02, e10, e, e012]",
    ],
)
def test_products_equal_brute_force_on_words(algebra: str) -> None:
    kinds: dict[str, Callable[[int, int, int], bool]] = {
        "*": lambda r, s, k: True,
        "^": lambda r, s, k: k == r + s,
        "|": lambda r, s, k: k == abs(r - s),
    }
    for operator, keeps in kinds.items():
        spec = spec_of(
            f"return x {operator} y", "x: multivector, y: multivector", memory="b, n, blade", algebra=algebra
        )
        assert spec.algebra is not None
        words, first = blade_words(spec), spec.algebra.first
        squares = {first + i: square for i, square in enumerate(spec.algebra.squares)}
        x, y = draw(1, 1, len(words)), draw(1, 1, len(words), seed=1)
        expected = dict.fromkeys((tuple(sorted(word)) for word in words), 0.0)
        for u, v in itertools.product(range(len(words)), repeat=2):
            part = brute_product({words[u]: x[0, 0, u].item()}, {words[v]: y[0, 0, v].item()}, squares)
            for word, value in part.items():
                if keeps(len(words[u]), len(words[v]), len(word)):
                    expected[word] += value
        got = run(spec, x=x, y=y)[0, 0]
        for i, word in enumerate(words):
            assert got[i].item() == pytest.approx(sort_sign(word) * expected[tuple(sorted(word))], abs=1e-12)


def test_basis_vectors_multiply_as_their_names_say() -> None:
    for body, expected in {
        "return x.e * (e1 * e2)": "e12",
        "return x.e * (e12 * e1)": "-e2",
        "return x.e * (e2 ^ e3)": "e23",
        "return x.e * (e123 * e123)": "-e",
        "return x.e * ~e12": "-e12",
        "return x.e * dual(e2)": "-e13",
        "return x.e * undual(e13)": "-e2",
        "return x.e * (e12 & e13)": "e1",
        "return x.e * (e1 | e12)": "e2",
        "return x.e * conjugate(e1)": "-e1",
    }.items():
        out = run(spec_of(body, "x: multivector"), x=torch.ones(8, 1, 1))
        negative = run(spec_of(f"return x.e * ({expected})", "x: multivector"), x=torch.ones(8, 1, 1))
        assert out.abs().sum() == 1 and torch.equal(out, negative), body


@pytest.mark.parametrize("signature", SIGNATURES)
def test_algebraic_laws(signature: Signature) -> None:
    x, y, z = (draw(2, 3, size(signature), seed=seed) for seed in range(3))
    for left, right in [
        ("(x * y) * z", "x * (y * z)"),
        ("(x ^ y) ^ z", "x ^ (y ^ z)"),
        ("(x & y) & z", "x & (y & z)"),
        ("~(x * y)", "~y * ~x"),
        ("involute(x * y)", "involute(x) * involute(y)"),
        ("conjugate(x)", "involute(~x)"),
        ("dual(undual(x))", "1.0 * x"),
        ("undual(dual(x))", "1.0 * x"),
        ("dual(x & y)", "dual(x) ^ dual(y)"),
        ("x * y", "even(x) * y + odd(x) * y"),
        ("scalar_product(x, y) * e", "(x * y).grade(0)"),
        ("norm_squared(x) * e", "(x * ~x).grade(0)"),
        ("(x + y) * (x + y)", "x * x + x * y + y * x + y * y"),
        ("gp(y=x, x=y) + outer(y=x, x=y)", "y * x + (y ^ x)"),
        ("gp(x, y) - outer(x, y) - inner(x, y) - regressive(x, y)", "x * y - (x ^ y) - (x | y) - (x & y)"),
    ]:
        a, b = (apply(f"return {side}", signature, x=x, y=y, z=z) for side in (left, right))
        torch.testing.assert_close(a, b, msg=f"{left} = {right}")


@pytest.mark.parametrize("signature", SIGNATURES)
def test_complement_completes_the_pseudoscalar(signature: Signature) -> None:
    for i in range(size(signature)):
        x = torch.zeros(1, 1, size(signature), dtype=torch.float64)
        x[..., i] = 1.0
        wedge = apply("return x ^ dual(x)", signature, x=x)
        assert wedge[0, 0].tolist() == [0.0] * (size(signature) - 1) + [1.0]


@pytest.mark.parametrize("signature", [(3, 0, 0), (1, 3, 0), (4, 1, 0)])
def test_polarity_divides_by_the_pseudoscalar(signature: Signature) -> None:
    x = draw(2, 3, size(signature))
    whole = "e" + "".join(str(i + 1) for i in range(sum(signature)))
    torch.testing.assert_close(apply(f"return polarity(x) * {whole}", signature, x=x), x)
    with pytest.raises(KgenError, match="pseudoscalar"):
        reference.source(spec_of("return polarity(x)", "x: multivector", (2, 0, 1)))


def test_even_multivectors_of_3d_are_quaternions() -> None:
    """q v q* with i = -e23, j = -e31 = e13, k = -e12, spelled out by the textbook's rotation matrix."""
    angle, axis = 0.7, torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64) / 3
    w, (i, j, k) = math.cos(angle / 2), (math.sin(angle / 2) * axis).tolist()
    matrix = torch.tensor(
        [
            [1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)],
            [2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)],
            [2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)],
        ],
        dtype=torch.float64,
    )
    rotor = torch.tensor([w, -k, j, -i], dtype=torch.float64).reshape(4, 1)  # e, e12, e13, e23
    vectors = draw(3, 1, 5)
    spec = spec_of("return r >> x", 'r: "even[b]", x: "grades(1)"')
    turned = run(spec, r=rotor, x=vectors)
    torch.testing.assert_close(turned[:, 0], matrix @ vectors[:, 0])
    torch.testing.assert_close(run(spec, r=2 * rotor, x=vectors), 4 * turned)  # never normalised
    torch.testing.assert_close(
        run(spec_of("return sandwich(r, x)", 'r: "even[b]", x: "grades(1)"'), r=rotor, x=vectors), turned
    )


def test_reflection_keeps_what_is_normal_to_the_mirror() -> None:
    """An odd versor acts on the involuted operand: v >> v = -v |v|^2, and vectors of the mirror stay."""
    v = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64).reshape(3, 1, 1)
    x = draw(3, 1, 1)
    out = run(spec_of("return r >> x", 'r: "grades(1)", x: "grades(1)"'), r=v, x=x)
    torch.testing.assert_close(out, 9 * x * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64).reshape(3, 1, 1))


@pytest.mark.parametrize(
    ("body", "inputs", "grades"),
    [
        ("return r >> x", 'r: even, x: "grades(1)"', (1,)),
        ("return r >> x", 'r: even, x: "grades(2)"', (2,)),
        ("return r >> x", 'r: "grades(1)", x: odd', (1, 3)),
        ("return r * x * ~r", 'r: even, x: "grades(1)"', (1,)),
        ("return x * x + r", 'r: "grades(3)", x: "grades(1)"', (0, 3)),
        ("return x * r - r * x", 'r: "grades(2)", x: "grades(1)"', (1,)),
        ("return r ^ x", 'r: "grades(1)", x: "grades(2)"', (3,)),
        ("return x - x.grade(1) + r", 'r: "grades(2)", x: odd', (2, 3)),
        ("return exp(x.e) * r + x - r * exp(x.e)", 'r: "grades(2)", x: even', (0, 2)),
        ("return sum(x, over=n) - sum(x + r, over=n)", 'r: "grades(2)", x: multivector', (2,)),
        ("return mean(x * r, over=n) - mean(x, over=n) * mean(r, over=n)", 'r: "grades(1)", x: "grades(1)"', (0, 2)),
    ],
)
def test_results_have_the_grades_that_are_not_identically_zero(body: str, inputs: str, grades: tuple[int, ...]) -> None:
    spec = spec_of(body, inputs, memory="b, n, blade")
    counts = {a.name: sum(math.comb(3, g) for g in a.type.grades) for a in spec.kernels[0].inputs if a.type}
    out = run(spec, **{name: draw(2, 3, count, seed=i) for i, (name, count) in enumerate(counts.items())})
    assert out.shape[-1] == sum(math.comb(3, g) for g in grades)
    assert (out.abs().amax(tuple(range(out.ndim - 1))) > 1e-6).all()


def test_identically_zero_results_and_mixed_versors_are_refused() -> None:
    for body, inputs in [
        ("return x ^ x", 'x: "grades(1)"'),
        ("return x >> x", "x: multivector"),
        ("return gelu(x)", "x: odd"),
    ]:
        with pytest.raises(KgenError):
            reference.source(spec_of(body, inputs))


def test_permuted_blades_are_the_same_algebra() -> None:
    names = ["e", "e1", "e2", "e3", "e12", "e13", "e23", "e123"]
    permuted = ["e123", "e31", "e", "e2", "e1", "e3", "e21", "e32"]
    plain = {"".join(sorted(name)): i for i, name in enumerate(names)}
    index = [plain["".join(sorted(name))] for name in permuted]
    signs = torch.tensor([sort_sign(tuple(map(int, name[1:]))) for name in permuted], dtype=torch.float64)
    x, y, w = draw(2, 3, 8), draw(2, 3, 8, seed=1), draw(3, 20, seed=2)
    inputs = 'x: multivector, y: multivector, w: "weights(x, y)"'
    for body in [
        "return grade_rms_norm(sgp(gelu(x), gelu(y), w))",
        "return dual(x) + undual(y) * w[0, 0, 0]",
        "return (x & y) + (even(x) >> ~y) * w[0, 0, 0] + e13",
        'return grade_rms_norm(x, metric="invariant") * norm_squared(y) * w[0, 0, 0]',
    ]:
        straight = run(spec_of(body, inputs, memory="b, n, blade"), x=x, y=y, w=w)
        algebra = f"signature: [3, 0, 0], blades: [{', '.join(permuted)}]"
        other = spec_of(body.replace("+ e13", "- e31"), inputs, memory="b, n, blade", algebra=algebra)
        turned = run(other, x=x[..., index] * signs, y=y[..., index] * signs, w=w)
        torch.testing.assert_close(turned, straight[..., index] * signs)


# weights


FLASH = {
    (2, 0, 0): "000 011 022 101 110 112 121 202 211 220",
    (3, 0, 0): "000 011 022 033 101 110 112 121 123 132 202 211 213 220 222 231 303 312 321 330",
}
FROM_FLASH = {  # kingdon's order (left, right, out) in terms of flash-clifford's, as published
    (2, 0, 0): [0, 1, 2, 4, 3, 6, 5, 9, 8, 7],
    (3, 0, 0): [0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 13, 11, 15, 10, 14, 12, 19, 18, 17, 16],
}


def path_spec(signature: Signature, order: str = "left, out, right") -> Spec:
    text = "return sgp(x, y, w)"
    spec = spec_of(text, 'x: multivector, y: multivector, w: "weights(x, y)"', signature, "b, n, blade")
    return replace(spec, layout=replace(spec.layout, path_order=tuple(order.split(", "))))


def active_path(signature: Signature, order: str, index: int) -> str:
    """The (left, out, right) grades that the weight at `index` scales, found by trying all operands of one grade."""
    found = []
    grades = [bin(i).count("1") for i in range(size(signature))]
    by_grade = sorted(range(size(signature)), key=lambda i: grades[i])
    grade_of = torch.tensor([grades[i] for i in by_grade])
    count = len(FLASH[signature].split())
    weight = torch.nn.functional.one_hot(torch.tensor([[index]]), count)[0].to(torch.float64)
    spec = path_spec(signature, order)
    for left, right in itertools.product(range(sum(signature) + 1), repeat=2):
        x, y = draw(1, 1, size(signature)), draw(1, 1, size(signature), seed=1)
        out = run(spec, x=x * (grade_of == left), y=y * (grade_of == right), w=weight)[0, 0]
        found += [f"{left}{k}{right}" for k in range(sum(signature) + 1) if out[grade_of == k].abs().sum() > 0]
    (path,) = found
    return path


@pytest.mark.parametrize("signature", list(FLASH))
def test_paths_have_the_published_orders(signature: Signature) -> None:
    flash = FLASH[signature].split()
    assert [active_path(signature, "left, out, right", i) for i in range(len(flash))] == flash
    kingdon = [active_path(signature, "left, right, out", i) for i in range(len(flash))]
    assert kingdon == [flash[i] for i in FROM_FLASH[signature]]


@pytest.mark.parametrize(
    ("signature", "count"), [((2, 0, 0), 10), ((3, 0, 0), 20), ((3, 0, 1), 34), ((1, 3, 0), 35), ((4, 1, 0), 56)]
)
def test_number_of_paths(signature: Signature, count: int) -> None:
    x, y = draw(1, 2, size(signature)), draw(1, 2, size(signature), seed=1)
    one = run(path_spec(signature), x=x, y=y, w=torch.ones(2, count, dtype=torch.float64))
    torch.testing.assert_close(one, apply("return x * y", signature, x=x, y=y))
    with pytest.raises((IndexError, RuntimeError)):
        run(path_spec(signature), x=x, y=y, w=torch.ones(2, count - 1, dtype=torch.float64))


def test_weights_of_partial_operands_and_their_items() -> None:
    """even x vector in 3D: 011, 211, 231."""
    x, y, w = draw(2, 3, 4), draw(2, 3, 3, seed=1), draw(3, 3, seed=2)
    inputs = 'x: even, y: "grades(1)", w: "weights(x, y)"'
    whole = run(spec_of("return sgp(x, y, w)", inputs, memory="b, n, blade"), x=x, y=y, w=w)
    parts = """
        return (x.grade(0) * y) * w[0, 1, 1] + (x.grade(2) | y) * w[2, 1, 1] + (x.grade(2) ^ y) * w[2, 3, 1]
    """
    torch.testing.assert_close(whole, run(spec_of(parts, inputs, memory="b, n, blade"), x=x, y=y, w=w))


def test_fully_connected_product_is_a_sum_of_products() -> None:
    x, y, w = draw(8, 2, 3), draw(8, 2, 3, seed=1), draw(20, 3, 4, seed=2)
    inputs = 'x: multivector, y: multivector, w: "weights(x, y)[n, m]"'
    contracted = run(spec_of("return sum(sgp(x, y, w), over=n)", inputs), x=x, y=y, w=w)
    stepwise = run(spec_of("z = sgp(x, y, w)\nreturn sum(z, over=n)", inputs), x=x, y=y, w=w)
    assert contracted.shape == (8, 2, 4) and contracted.is_contiguous()
    torch.testing.assert_close(contracted, stepwise)
    single = spec_of("return sgp(x, y, w)", 'x: multivector, y: multivector, w: "weights(x, y)"')
    expected = [run(single, x=x, y=y, w=w[:, :, m].mT.contiguous()).sum(-1) for m in range(4)]
    torch.testing.assert_close(contracted, torch.stack(expected, -1))


# contractions of features, against loops


CONTRACTED: list[tuple[Signature, str, str]] = [
    ((2, 0, 0), "multivector", "multivector"),
    ((3, 0, 0), "multivector", "multivector"),
    ((1, 3, 0), "multivector", "multivector"),
    ((3, 0, 0), "even", "grades(1, 3)"),
    ((3, 0, 1), "grades(3)", "grades(3)"),  # of its bivectors some have no terms
]


def parts_of(spec: Spec, name: str) -> list[tuple[int, ...]]:
    """The words of an input's blades; of any other name those of the whole algebra."""
    types = {argument.name: argument.type for argument in spec.kernels[0].inputs}
    found = types.get(name)
    return [word for word in blade_words(spec) if found is None or len(word) in found.grades]


def terms_of(spec: Spec) -> list[tuple[int, int, int, float]]:
    """Of all products of words that do not vanish: components i of x and j of y, blade k of the algebra, the sign."""
    assert spec.algebra is not None
    whole = blade_words(spec)
    squares = {spec.algebra.first + i: square for i, square in enumerate(spec.algebra.squares)}
    terms = []
    for (i, u), (j, v) in itertools.product(enumerate(parts_of(spec, "x")), enumerate(parts_of(spec, "y"))):
        ((word, sign),) = brute_product({u: 1.0}, {v: 1.0}, squares).items()
        terms += [(i, j, whole.index(word), sign)] * bool(sign)
    return terms


def placed(x: torch.Tensor, memory: str) -> torch.Tensor:
    """A multivector of shape (b, n, blade), or (n, blade), in another memory order; of b = 4 rows two axes lead."""
    if memory.startswith("blade"):
        return x.movedim(-1, 0).contiguous()
    return x.reshape(2, 2, *x.shape[1:]) if x.ndim == 3 else x


def of_grades(x: torch.Tensor, spec: Spec, grades: set[int]) -> torch.Tensor:
    """The components of these grades, of all."""
    return x[..., [len(word) in grades for word in blade_words(spec)]]


@pytest.mark.parametrize("memory", LAYOUTS)
@pytest.mark.parametrize(("signature", "left", "right"), CONTRACTED)
def test_fully_connected_products_equal_loops(signature: Signature, left: str, right: str, memory: str) -> None:
    inputs = f'x: "{left}", y: "{right}", w: "weights(x, y)[n, m]"'
    spec = spec_of("return fcgp(x, y, w)", inputs, signature, memory)
    terms, words = terms_of(spec), [parts_of(spec, name) for name in ("x", "", "y")]
    path_of = {(i, j, k): (len(words[0][i]), len(words[1][k]), len(words[2][j])) for i, j, k, _ in terms}
    paths = sorted(set(path_of.values()))
    x, y, w = draw(4, 3, len(words[0])), draw(4, 3, len(words[2]), seed=1), draw(len(paths), 3, 5, seed=2)
    expected = torch.zeros(4, 5, size(signature), dtype=torch.float64)
    for (i, j, k, sign), n in itertools.product(terms, range(3)):
        expected[..., k] += sign * (x[:, n, i] * y[:, n, j])[:, None] * w[paths.index(path_of[i, j, k]), n]
    given = {"x": placed(x, memory), "y": placed(y, memory), "w": w}
    out = run(spec, **given)
    assert out.is_contiguous()
    torch.testing.assert_close(out, placed(of_grades(expected, spec, {k for _, k, _ in paths}), memory))
    torch.testing.assert_close(
        run(spec_of("return sum(sgp(x, y, w), over=n)", inputs, signature, memory), **given), out
    )


@pytest.mark.parametrize("memory", LAYOUTS)
@pytest.mark.parametrize("bias", ["", "[m]", "multivector[m]"])
@pytest.mark.parametrize(("signature", "kind"), [(signature, kind) for signature, kind, _ in CONTRACTED])
def test_gradewise_linear_maps_equal_loops(signature: Signature, kind: str, bias: str, memory: str) -> None:
    inputs, body = f'x: "{kind}", w: "weights(x)[n, m]"', "return mv_linear(x, w)"
    if bias:
        inputs, body = f'{inputs}, v: "{bias}"', "return mv_linear(x, w, bias=v)"
    spec = spec_of(body, inputs, signature, memory)
    words, whole = parts_of(spec, "x"), blade_words(spec)
    grades = sorted({len(word) for word in words})
    x, w, v = draw(4, 3, len(words)), draw(len(grades), 3, 5, seed=1), draw(5, len(whole), seed=2)
    expected = torch.zeros(4, 5, len(whole), dtype=torch.float64)
    for (i, word), n in itertools.product(enumerate(words), range(3)):
        expected[..., whole.index(word)] += x[:, n, i, None] * w[grades.index(len(word)), n]
    given, kept = {"x": placed(x, memory), "w": w}, {*grades}
    if bias == "[m]":
        given["v"], kept = v[:, 0].clone(), kept | {0}
        expected[..., 0] += v[:, 0]
    elif bias:
        given["v"], kept = placed(v, memory), {*map(len, whole)}
        expected += v
    out = run(spec, **given)
    assert out.is_contiguous()
    torch.testing.assert_close(out, placed(of_grades(expected, spec, kept), memory))


def test_layer_of_contractions() -> None:
    """Gates before, a norm after: its mean is over the features of the result."""
    body = "out = fcgp(gelu(x), gelu(mv_linear(y, l, v)), w)\nreturn grade_rms_norm(out) if normalize else out"
    inputs = 'x: "multivector[b, n]", y: "multivector[b, k]", l: "weights(y)[k, n]", v: "[n]", w: "weights(x, y)[n, m]"'
    spec = spec_of(body, inputs, more="options: {normalize: true}")
    x, y, given = draw(8, 2, 3), draw(8, 2, 4, seed=1), {"l": draw(4, 4, 3, seed=2), "v": draw(3, seed=3)}
    given["w"] = draw(20, 3, 5, seed=4)
    linear = spec_of("return gelu(mv_linear(y, l, v))", 'y: multivector, l: "weights(y)[n, m]", v: "[m]"')
    product = spec_of("return fcgp(gelu(x), y, w)", 'x: multivector, y: multivector, w: "weights(x, y)[n, m]"')
    norm = spec_of("return grade_rms_norm(x)", "x: multivector")
    expected = run(product, x=x, y=run(linear, y=y, l=given["l"], v=given["v"]), w=given["w"])
    torch.testing.assert_close(run(spec, {"normalize": False}, x=x, y=y, **given), expected)
    torch.testing.assert_close(run(spec, x=x, y=y, **given), run(norm, x=expected))


@pytest.mark.parametrize(
    ("body", "more", "message"),
    [
        ("fcgp(x, y, w)", 'w: "weights(x, y)"', "w has no axis beside n for the result"),
        ("fcgp(x, y, w)", 'w: "weights(x, y)[k, m]"', "w shares no axis with its operands"),
        ("fcgp(x, y, w)", 'w: "weights(x, y)[b, n]"', "w shares b and n with its operands"),
        ("fcgp(x, y, w)", 'u: even, w: "weights(x, u)[n, m]"', r"w has no path \[0, 1, 1\]"),
        ("fcgp(x, y, w)", 'w: "weights(x)[n, m]"', r"w has no path \[0, 0, 0\]"),
        ("fcgp(x, y, w)", 'w: "[n, m]"', "weights is needed here, not field"),
        ("fcgp(x, y.e, w)", 'w: "weights(x, y)[n, m]"', "multivector is needed here, not field"),
        ("fcgp(x, y)", 'w: "weights(x, y)[n, m]"', "fcgp takes x, y, weight"),
        ("mv_linear(x, w)", 'w: "weights(x)[n]"', "w has no axis beside n for the result"),
        ("mv_linear(x, w)", 'w: "weights(x)[k, m]"', "w shares no axis with its operands"),
        ("mv_linear(x, w)", 'u: even, w: "weights(u)[n, m]"', r"w has no path \[1\]"),
        ("mv_linear(x, w)", 'w: "weights(x, y)[n, m]"', r"w has no path \[0\]"),
        ("mv_linear(x, w, v)", 'w: "weights(x)[n, m]", v: "[n]"', "the bias varies along n"),
        ("mv_linear(x, w, w)", 'w: "weights(x)[n, m]"', "weights takes no part in arithmetic"),
    ],
)
def test_contractions_that_cannot_be_are_refused(body: str, more: str, message: str) -> None:
    spec = spec_of(f"return {body}", f"x: multivector, y: multivector, {more}")
    with pytest.raises(KgenError, match=message) as caught:
        reference.source(spec)
    assert caught.value.mark is not None and caught.value.mark.column > 0


CONTRACTIONS = [
    ("fcgp(x, gelu(y), w)", 'x: multivector, y: multivector, w: "weights(x, y)[n, m]"'),
    ("mv_linear(x, w, v)", 'x: multivector, w: "weights(x)[n, m]", v: "multivector[m]"'),
]


def drawn(spec: Spec, extents: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Random inputs of the kernel f."""
    inputs = Function(spec, spec.kernels[0]).inputs
    shapes = [[extents.get(str(dim), dim) for dim in inputs.shape(name).dims] for name in inputs.types]
    return {name: draw(*map(int, shape), seed=i) for i, (name, shape) in enumerate(zip(inputs.types, shapes))}


@pytest.mark.parametrize("signature", [(2, 0, 0), (3, 0, 0), (1, 3, 0)])
@pytest.mark.parametrize(("body", "inputs"), CONTRACTIONS)
def test_contractions_are_equivariant_under_versors(signature: Signature, body: str, inputs: str) -> None:
    spec = spec_of(f"return {body}", inputs, signature, "b, n, blade")
    given = drawn(spec, {"b": 1, "n": 3, "m": 5})
    vectors = [1.5 * draw(1, sum(signature), seed=10 + i) for i in range(3)]
    squares = torch.tensor([1.0] * signature[0] + [-1.0] * signature[1], dtype=torch.float64)
    norm = math.prod(float((v.square() * squares).sum()) for v in vectors)

    def moved(x: torch.Tensor) -> torch.Tensor:
        """Of unit scale, so that products, and gates of scalars, move along."""
        return versor_action(x.reshape(1, -1, size(signature)), vectors, signature).reshape(x.shape) / norm

    there = {name: x if name == "w" else moved(x) for name, x in given.items()}
    torch.testing.assert_close(run(spec, **there), moved(run(spec, **given)), rtol=1e-7, atol=1e-7)


# gates and norms


def torch_function(word: Word) -> Callable[[torch.Tensor], torch.Tensor]:
    """torch's own, that the row names."""
    found: Callable[[torch.Tensor], torch.Tensor] = attrgetter(word.torch.removeprefix("torch."))(torch)
    return found


@pytest.mark.parametrize("word", [word for word in VOCABULARY.values() if word.gate], ids=lambda word: word.name)
def test_a_gate_multiplies_by_a_function_of_the_scalar(word: Word) -> None:
    x = draw(2, 3, 8)
    out, scalar = apply(f"return {word.name}(x)", (3, 0, 0), x=x), torch_function(word)(x[..., 0])
    torch.testing.assert_close(out, x * (scalar / x[..., 0])[..., None])
    torch.testing.assert_close(run(spec_of(f"return {word.name}(x)", "x: scalar"), x=x[..., 0]), scalar)


@pytest.mark.parametrize("metric", ["euclidean", "invariant"])
@pytest.mark.parametrize("signature", [(3, 0, 0), (1, 3, 0), (3, 0, 1)])
def test_grade_rms_norm_equals_loops(metric: str, signature: Signature) -> None:
    spec = spec_of(f'return grade_rms_norm(x, eps=0.01, metric="{metric}")', "x: multivector", signature)
    assert spec.algebra is not None
    words, first = blade_words(spec), spec.algebra.first
    x = draw(len(words), 2, 3)
    out = run(spec, x=x)
    for b in range(2):
        for grade in range(sum(signature) + 1):
            components = [i for i, word in enumerate(words) if len(word) == grade]
            totals = []
            for n in range(3):
                total = 0.0
                for i in components:
                    sign = math.prod(spec.algebra.squares[g - first] for g in words[i]) if metric == "invariant" else 1
                    total += sign * x[i, b, n].item() ** 2
                totals.append(abs(total))
            scale = math.sqrt(sum(totals) / 3 + 0.01)
            for i, n in itertools.product(components, range(3)):
                assert out[i, b, n].item() == pytest.approx(x[i, b, n].item() / scale)


# equivariance: versors act as they should, so products commute with them


def versor_action(x: torch.Tensor, vectors: list[torch.Tensor], signature: Signature) -> torch.Tensor:
    """x under vectors v, one after the other: v involute(x) v, which for versors off the unit scales by v^2."""
    spec = spec_of("return r * involute(x) * r", 'r: "grades(1)[b]", x: multivector', signature, "b, n, blade")
    for vector in vectors:
        x = run(spec, r=vector, x=x)
    return x


@pytest.mark.parametrize("signature", [(2, 0, 0), (3, 0, 0), (3, 0, 1), (1, 3, 0), (4, 1, 0)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_products_are_equivariant_under_versors(signature: Signature, count: int) -> None:
    """(r x ~r) (r y ~r) = N r x y ~r where N = r ~r, here the product of the vectors' squares."""
    squares = torch.tensor([0.0] * signature[2] + [1.0] * signature[0] + [-1.0] * signature[1], dtype=torch.float64)
    vectors = [1.5 * draw(2, sum(signature), seed=10 + i) for i in range(count)]
    norm = torch.stack([(v.square() * squares).sum(-1) for v in vectors]).prod(0).reshape(2, 1, 1)
    x, y = draw(2, 3, size(signature)), draw(2, 3, size(signature), seed=1)
    moved_x, moved_y = versor_action(x, vectors, signature), versor_action(y, vectors, signature)
    product = apply("return x * y", signature, x=x, y=y)
    expected = norm * versor_action(product, vectors, signature)
    torch.testing.assert_close(apply("return x * y", signature, x=moved_x, y=moved_y), expected, rtol=1e-7, atol=1e-7)
    if signature in FLASH:
        w = draw(3, len(FLASH[signature].split()), seed=5)
        weighted = run(path_spec(signature), x=moved_x, y=moved_y, w=w)
        expected = norm * versor_action(run(path_spec(signature), x=x, y=y, w=w), vectors, signature)
        torch.testing.assert_close(weighted, expected, rtol=1e-7, atol=1e-7)


def test_plain_norm_fails_under_a_boost_where_the_invariant_one_holds() -> None:
    signature = (1, 3, 0)
    x = draw(2, 3, 16)
    boost = torch.zeros(2, 8, dtype=torch.float64)  # the even blades e, e12, e13, …: a boost in the plane e12
    boost[:, 0], boost[:, 1] = math.cosh(0.8), math.sinh(0.8)
    act = spec_of("return r >> x", 'r: "even[b]", x: multivector', signature, "b, n, blade")
    for metric, holds in (("invariant", True), ("euclidean", False)):
        norm = f'return grade_rms_norm(x, metric="{metric}")'
        after = apply(norm, signature, x=run(act, r=boost, x=x))
        before = run(act, r=boost, x=apply(norm, signature, x=x))
        assert torch.allclose(after, before) == holds


# plain tensors against torch


def test_plain_kernels_equal_torch() -> None:
    x, gain = draw(4, 5), draw(5, seed=1)
    softmax = "shifted = exp(x - max(x, over=c))\nreturn shifted / sum(shifted, over=c)"
    torch.testing.assert_close(run(spec_of(softmax, "x: [v, c]", None), x=x), torch.softmax(x, -1))
    layer_norm = """
        centred = x - mean(x, over=c)
        return centred * rsqrt(mean(centred**2, over=c) + eps) * gain
    """
    spec = spec_of(layer_norm, "x: [v, c], gain: [c]", None, more="options: {eps: 1.0e-5}")
    torch.testing.assert_close(run(spec, x=x, gain=gain), torch.nn.functional.layer_norm(x, (5,), gain))
    mass = draw(4, seed=2).abs()
    column = spec_of("return sum(x * mass, over=v) / sum(mass, over=v)", "x: [v, c], mass: [v]", None)
    torch.testing.assert_close(run(column, x=x, mass=mass), (x * mass[:, None]).sum(0) / mass.sum())


def test_diffusion_layer_has_two_results_and_asks_for_axes_by_name() -> None:
    body = """
        in_basis = dot(basis, x * mass, over=v)
        spectral = exp(-evalues * times) * in_basis
        return dot(basis, spectral, over=k), spectral
    """
    inputs = "x: [v, c], basis: [v, k], mass: [v], evalues: [k], times: [c]"
    more = "outputs: {out: [v, c], spectral: [k, c]}\ngrads: [x, times]"
    spec = spec_of(body, inputs, None, more=more)
    x, basis, mass, evalues, times = (
        draw(6, 3),
        draw(6, 4, seed=1),
        draw(6, seed=2).abs(),
        draw(4, seed=3),
        draw(3, seed=4),
    )
    given = {"x": x, "basis": basis, "mass": mass, "evalues": evalues, "times": times}
    out, spectral = reference.evaluate(spec, "f", given)
    expected = torch.exp(-evalues[:, None] * times) * (basis.T @ (mass[:, None] * x))
    torch.testing.assert_close(spectral, expected)
    torch.testing.assert_close(out, basis @ expected)


def test_field_functions_equal_torch() -> None:
    x, y = draw(2, 3).abs() + 0.1, draw(2, 3, seed=1)
    for word in (word for word in VOCABULARY.values() if word.pointwise):
        name, function = word.name, torch_function(word)
        torch.testing.assert_close(run(spec_of(f"return {name}(x)", "x: [v, c]", None), x=x), function(x))
        multivector = x.reshape(2, 3, 1) * draw(8).abs()
        pointwise = apply(f"return pointwise({name}, x)", (3, 0, 0), x=multivector)
        torch.testing.assert_close(pointwise, function(multivector))
    for body, expected in {
        "maximum(x, y)": torch.maximum(x, y),
        "minimum(0.3, y)": y.clamp(max=0.3),
        "where(x < y, x, 2 * y)": torch.where(x < y, x, 2 * y),
        "where(y >= 0, 1, y)": torch.where(y >= 0, 1.0, y),
        "where(y != y, 1, 2)": torch.full_like(y, 2.0),
        "x**3 - y ** 2 / x**-1": x**3 - y**2 * x,
        "-x - -(y - (x - y))": -x + (y - (x - y)),
        "(x + y) ** 0 + exp(0)": torch.full_like(x, 2.0),
        "1 / (x / (y * x))": y,
        "2": torch.tensor(2.0, dtype=torch.float64),
        "(x < y) * x": (x < y) * x,
        "detach(x) + sqrt(4) - 2": x,
    }.items():
        torch.testing.assert_close(run(spec_of(f"return {body}", "x: [v, c], y: [v, c]", None), x=x, y=y), expected)


def test_indexed_tensors_and_pieces() -> None:
    x, w, g = draw(2, 3, 8), draw(4, 3, seed=1), draw(3, 4, seed=2)
    body = "return x.e12 * w[3] + x.e * g[2] - x.grade(1, 3).e123"
    out = run(spec_of(body, "x: multivector, w: [4, n], g: [n, grade]", memory="b, n, blade"), x=x, w=w, g=g)
    torch.testing.assert_close(out, x[..., 4] * w[3] + x[..., 0] * g[:, 2] - x[..., 7])
    many = draw(2, 3, 5, seed=3)
    picked = run(spec_of("return w[1, 2] - w[0, 1]", "w: [2, 3, n]", None), w=many)
    torch.testing.assert_close(picked, many[1, 2] - many[0, 1])
    for body in ("return w[2, 0]", "return w[1]"):
        with pytest.raises(KgenError, match="extents"):
            reference.source(spec_of(body, "w: [2, 3, n]", None))


# broadcasting, layouts, dtypes


SGP_NORM = "out = sgp(gelu(x), gelu(y), w)\nreturn grade_rms_norm(out, eps=eps) if normalize else out"
SGP_NORM_INPUTS = 'x: multivector, y: multivector, w: "weights(x, y)"'
SGP_NORM_OPTIONS = "options: {normalize: true, eps: 1.0e-6}"


@pytest.mark.parametrize("normalize", [True, False])
def test_memory_orders_and_leading_axes_agree(normalize: bool) -> None:
    x, y, w = draw(2, 3, 5, 8), draw(2, 3, 5, 8, seed=1), draw(5, 20, seed=2)
    leading = spec_of(SGP_NORM, SGP_NORM_INPUTS, memory="..., n, blade", more=SGP_NORM_OPTIONS)
    blade_first = spec_of(SGP_NORM, SGP_NORM_INPUTS, more=SGP_NORM_OPTIONS)
    options = {"normalize": normalize}
    whole = run(leading, options, x=x, y=y, w=w)
    assert whole.shape == x.shape and whole.is_contiguous()
    one = run(leading, options, x=x[0], y=y[0], w=w)
    none = run(leading, options, x=x[0, 0], y=y[0, 0], w=w)
    torch.testing.assert_close(whole[0], one)
    torch.testing.assert_close(whole[0, 0], none)
    other = run(blade_first, options, x=x[0].permute(2, 0, 1), y=y[0].permute(2, 0, 1), w=w)
    assert other.shape == (8, 3, 5) and other.is_contiguous()
    torch.testing.assert_close(other.permute(1, 2, 0), one)


def test_empty_batches() -> None:
    for memory, shape in {"blade, b, n": (8, 0, 5), "..., n, blade": (2, 0, 5, 8), "b, n, blade": (0, 5, 8)}.items():
        spec = spec_of(SGP_NORM, SGP_NORM_INPUTS, memory=memory, more=SGP_NORM_OPTIONS)
        x, w = torch.zeros(shape, requires_grad=True), torch.ones(5, 20, requires_grad=True)
        out = run(spec, x=x, y=x.detach(), w=w)
        torch.autograd.backward([out.sum()])
        assert out.shape == shape and x.grad is not None and x.grad.shape == shape
        assert w.grad is not None and not w.grad.any()


def test_axes_broadcast_by_name() -> None:
    x, s, t = draw(2, 3, 8), draw(3, seed=1), draw(2, seed=2)
    spec = spec_of("return x * s / t + t", 'x: multivector, s: "scalar[n]", t: "[b]"', memory="b, n, blade")
    expected = x * s[:, None] / t[:, None, None]
    expected[..., 0] += t[:, None]
    torch.testing.assert_close(run(spec, x=x, s=s, t=t), expected)
    dropped = spec_of("return mean(x, over=n), max(x.e, over=b), sum(s, over=n)", 'x: multivector, s: "scalar[n]"')
    means, largest, total = reference.evaluate(dropped, "f", {"x": x.permute(2, 0, 1), "s": s})
    torch.testing.assert_close(means, x.mean(1).T)
    torch.testing.assert_close(largest, x[..., 0].amax(0))
    torch.testing.assert_close(total, s.sum())
    spread = spec_of("return s", "x: [v, c], s: [c]", None, more="outputs: {out: [v, c]}")
    torch.testing.assert_close(run(spread, x=x[..., 0], s=s), s.expand(2, 3))


def test_choices_between_different_types() -> None:
    spec = spec_of(
        "return x.grade(1) if flag else mean(even(x), over=n)", "x: multivector", more="options: {flag: true}"
    )
    x = draw(8, 2, 3)
    chosen, other = run(spec, {"flag": True}, x=x), run(spec, {"flag": False}, x=x)
    assert chosen.shape == other.shape == (7, 2, 3)
    assert torch.equal(chosen[1:4], x[1:4]) and not chosen[[0, 4, 5, 6]].any()
    torch.testing.assert_close(other[[0, 4, 5, 6]], x[[0, 4, 5, 6]].mean(-1, keepdim=True).expand(4, 2, 3))
    assert not other[1:4].any()
    scale = spec_of("scale = x.e if flag else 2\nreturn x * scale", "x: multivector", more="options: {flag: true}")
    torch.testing.assert_close(run(scale, {"flag": False}, x=x), 2 * x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_storage_dtypes_compute_in_single_or_double(dtype: torch.dtype) -> None:
    x, y, w = (draw(*shape, seed=i, dtype=dtype) for i, shape in enumerate([(8, 4, 5), (8, 4, 5), (5, 20)]))
    spec = spec_of(SGP_NORM, SGP_NORM_INPUTS, more=SGP_NORM_OPTIONS)
    out = run(spec, x=x, y=y, w=w)
    exact = run(spec, x=x.double(), y=y.double(), w=w.double())
    assert out.dtype == dtype
    torch.testing.assert_close(
        out.double(), exact, rtol=2 * torch.finfo(dtype).eps + 1e-5 * (dtype != torch.float64), atol=1e-5
    )
    if dtype in (torch.float16, torch.bfloat16):  # rounded once, at the end
        single = run(spec, x=x.float(), y=y.float(), w=w.float())
        assert torch.equal(out, single.to(dtype))


def test_result_dtype_is_that_of_the_differentiable_inputs() -> None:
    spec = spec_of("return x * m", "x: [v], m: [v]", None, more="grads: [x]")
    x, m = draw(3, dtype=torch.float32), draw(3, seed=1)
    out = run(spec, x=x, m=m)
    assert out.dtype == torch.float32 and torch.equal(out, (x.double() * m).float())
    both = spec_of("return x * m", "x: [v], m: [v]", None)
    assert run(both, x=x.half(), m=m.bfloat16()).dtype == torch.float32
    assert run(both, x=x.half(), m=m).dtype == torch.float64


def test_names_of_the_text_give_way_to_those_of_the_body() -> None:
    body = "out = x + dtype\nlead = out * 2\nn_size = lead - x\nreturn out if flag else n_size, lead + n_size"
    spec = spec_of(body, "x: multivector, dtype: scalar", memory="..., n, blade", more="options: {flag: false}")
    x, scalar = draw(2, 3, 8), draw(2, 3, seed=1)
    first, second = reference.evaluate(spec, "f", {"x": x, "dtype": scalar})
    lifted = torch.nn.functional.pad(scalar[..., None], (0, 7))
    torch.testing.assert_close(first, x + 2 * lifted)
    torch.testing.assert_close(second, 3 * x + 4 * lifted)


def test_what_a_spec_says_is_no_part_of_the_reference() -> None:
    spec = spec_of("return x", "x: [v]", None)
    kernel = replace(spec.kernels[0], doc='Ends """ and \\ and \\N{BULLET}, import os"')
    assert reference.source(replace(spec, kernels=(kernel,))) == reference.source(spec)


# gradients


GRADIENTS = [
    ("return grade_rms_norm(sgp(gelu(x), gelu(y), w))", SGP_NORM_INPUTS, (2, 0, 0)),
    ('return grade_rms_norm(sgp(x, y, w), metric="invariant")', SGP_NORM_INPUTS, (1, 1, 0)),
    ("return sum(sgp(x, y, w), over=n)", 'x: multivector, y: multivector, w: "weights(x, y)[n, m]"', (2, 0, 0)),
    ("return r >> x", "r: even, x: odd", (2, 0, 1)),
    ("return (dual(x) & y) * norm_squared(x) + scalar_product(x, y)", "x: multivector, y: multivector", (2, 0, 0)),
    ("return exp(x.e) * tanh(x.e12) * pointwise(sin, x) / (1 + x.e1**2)", "x: multivector", (2, 0, 0)),
]


@pytest.mark.parametrize(("body", "inputs", "signature"), GRADIENTS)
def test_gradients_of_first_and_second_order(body: str, inputs: str, signature: Signature) -> None:
    spec = spec_of(body, inputs, signature)
    extents = {"b": 2, "n": 2, "m": 2, "path": len(FLASH[(2, 0, 0)].split())}
    tensors = []
    for i, argument in enumerate(spec.kernels[0].inputs):
        assert argument.type is not None
        blades = sum(math.comb(sum(signature), grade) for grade in argument.type.grades)
        shape = [blades if dim == "blade" else extents[str(dim)] for dim in argument.type.memory]
        tensors.append(draw(*shape, seed=i).requires_grad_())
    names = [argument.name for argument in spec.kernels[0].inputs]

    def function(*values: torch.Tensor) -> torch.Tensor:
        return run(spec, **dict(zip(names, values, strict=True)))

    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("memory", LAYOUTS)
@pytest.mark.parametrize("signature", [(2, 0, 0), (3, 0, 0), (1, 3, 0)])
@pytest.mark.parametrize(("body", "inputs"), CONTRACTIONS)
def test_gradients_of_contractions(body: str, inputs: str, signature: Signature, memory: str) -> None:
    spec = spec_of(f"return {body}", inputs, signature, memory)
    given = drawn(spec, {"b": 2, "...": 2, "n": 2, "m": 3})
    tensors, fast = [x.requires_grad_() for x in given.values()], signature != (2, 0, 0)

    def function(*values: torch.Tensor) -> torch.Tensor:
        return run(spec, **dict(zip(given, values, strict=True)))

    assert torch.autograd.gradcheck(function, tensors, fast_mode=fast)
    assert torch.autograd.gradgradcheck(function, tensors, fast_mode=fast)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The number of elements of the largest tensor that an operation makes, gradients included."""

    found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [
            x.untyped_storage().size() // x.element_size() for x in tree_leaves(out) if isinstance(x, torch.Tensor)
        ]
        self.found = max([self.found, *sizes])
        return out


PRODUCTS = [
    ("x * y", "x: multivector, y: multivector"),
    ("sgp(x, y, w)", 'x: multivector, y: multivector, w: "weights(x, y)"'),
    ("r >> x", "r: even, x: grades(1)"),
    ("r >> x", 'r: "even[b]", x: "grades(1)"'),
]


@pytest.mark.parametrize("memory", ["blade, b, n", "b, n, blade"])
@pytest.mark.parametrize(("body", "inputs"), PRODUCTS)
def test_products_make_nothing_larger_than_a_multivector(body: str, inputs: str, memory: str) -> None:
    """The terms of a product, 64 for each element in three dimensions, are added one by one; so are their gradients."""
    spec = spec_of(f"return {body}", inputs, memory=memory)
    given = {name: x.requires_grad_() for name, x in drawn(spec, {"b": 32, "n": 16}).items()}
    with Largest() as largest:  # type: ignore[no-untyped-call]
        torch.autograd.backward([run(spec, **given).sum()])
    assert max(x.numel() for x in given.values()) <= largest.found <= 8 * 32 * 16


@pytest.mark.filterwarnings("error::UserWarning")  # of an operation that torch.func.vmap only repeats
@pytest.mark.parametrize(("body", "inputs"), PRODUCTS)
def test_products_are_mapped_along_one_operand(body: str, inputs: str) -> None:
    """Whichever operand torch.func.vmap goes along, alone."""
    spec = spec_of(f"return {body}", inputs)
    given = drawn(spec, {"b": 2, "n": 3})
    for name, x in given.items():
        mapped = torch.func.vmap(lambda value, name=name: run(spec, **{**given, name: value}))(torch.stack([x, 3 * x]))
        torch.testing.assert_close(mapped, torch.stack([run(spec, **{**given, name: k * x}) for k in (1, 3)]))


@pytest.mark.parametrize(("body", "inputs"), CONTRACTIONS)
def test_contractions_make_nothing_larger_than_their_operands(body: str, inputs: str) -> None:
    """In three dimensions: 8 terms of a component for each row and feature, the weights of 20 paths or 4 grades."""
    spec = spec_of(f"return {body}", inputs)
    given = {name: x.requires_grad_() for name, x in drawn(spec, {"b": 32, "n": 16, "m": 24}).items()}
    with Largest() as largest:  # type: ignore[no-untyped-call]
        torch.autograd.backward([run(spec, **given).sum()])
    assert largest.found <= max(8 * 32 * 24, 20 * 16 * 24)
    assert largest.found >= max(x.numel() for x in given.values())


def test_detach_stops_gradients() -> None:
    x = draw(8, 1, 2).requires_grad_()
    torch.autograd.backward([run(spec_of("return x * detach(x.e)", "x: multivector"), x=x).sum()])
    assert x.grad is not None
    torch.testing.assert_close(x.grad, x.detach()[:1].expand(8, 1, 2))


def test_transforms_of_torch_apply() -> None:
    """Forward mode, batching, and batched gradients go through the text."""
    spec = spec_of(SGP_NORM, SGP_NORM_INPUTS, (2, 0, 0), more=SGP_NORM_OPTIONS)
    x, y, w = draw(5, 4, 2, 3), draw(4, 2, 3, seed=1), draw(3, 10, seed=2)

    def loss(value: torch.Tensor) -> torch.Tensor:
        return run(spec, x=value, y=y, w=w).square().mean()

    batched = torch.func.vmap(torch.func.grad(loss))(x)
    single = [torch.func.grad(loss)(row) for row in x]
    torch.testing.assert_close(batched, torch.stack(single))
    tangent = draw(4, 2, 3, seed=3)
    forward = torch.func.jvp(loss, (x[0],), (tangent,))[1]
    torch.testing.assert_close(forward, (single[0] * tangent).sum())


def test_only_what_a_kernel_needs_is_emitted() -> None:
    plain = reference.source(spec_of("return sum(x, over=c)", "x: [c, v]", None))
    assert re.findall(r"^def (\w+)", plain, re.M) == ["_ref_promote", "_ref_upcast", "f_reference"]
    assert "_REF_" not in plain and "_RefGrades" not in plain
    geometric = reference.source(spec_of("return ~x", "x: multivector"))
    assert "_ref_reverse" in geometric and "_ref_product" not in geometric and "_REF_SQUARES" not in geometric


def test_shared_axes_of_one_input_may_lead() -> None:
    """even[b] under leading axes: one rotor for each sample, its axes those of x but for the features."""
    spec = spec_of("return r >> x", 'r: "even[b]", x: "grades(1)"', memory="..., n, blade")
    r, x = draw(2, 3, 4), draw(2, 3, 5, 3, seed=1)
    out = run(spec, r=r, x=x)
    single = [run(spec, r=r[i, j], x=x[i, j]) for i in range(2) for j in range(3)]
    torch.testing.assert_close(out, torch.stack(single).reshape(2, 3, 5, 3))
