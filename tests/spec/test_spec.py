"""Loading specs: what is read, where it is, and that nothing but KgenErrors comes out of any text."""

import ast
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kgen.errors import KgenError, KgenErrors
from kgen.spec.body import parse_body, place
from kgen.spec.load import drafts, load, load_all
from kgen.spec.model import Spec, Type
from kgen.spec.schema import json_text
from kgen.spec.starter import template
from kgen.trace.trace import mistakes, trace

ROOT = Path(__file__).parents[2]
SHIPPED = [*sorted(ROOT.glob("specs/*.yaml")), *sorted(ROOT.glob("tests/specs/*.yaml"))]
SAME = ("cgenn3d", "cgenn_sta", "cgenn5d")  # the text of cgenn2d, of other algebras
EDITED = [path for path in SHIPPED if path.stem not in SAME]
SPEC = """\
kgen: 1
name: small
algebra: {algebra}
layout:
  multivector: {layout}
  weights:
    order: [left, out, right]
    memory: [n, path]
    fully_connected: [m, n, path]
    gradewise: [grade, n, m]
kernels:
  f:
    inputs:
      x: multivector
      a: {type}
    body: return x
"""


def small(type_: str = "even", layout: str = "[blade, b, n]", algebra: str = "{signature: [3, 0, 0]}") -> Spec:
    return load("small.yaml", SPEC.format(type=type_, layout=layout, algebra=algebra))


def type_of(spec: Spec) -> Type:
    found = spec.kernels[0].inputs[1].type
    assert found is not None
    return found


def complaint(text: str) -> str:
    with pytest.raises(KgenErrors) as caught:
        load("bad.yaml", text)
    return str(caught.value)


# what ships


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_load_under_their_own_name_and_name_their_schema(path: Path) -> None:
    spec = load(str(path))
    assert spec.name == path.stem and spec.doc
    assert all(kernel.doc and kernel.deterministic for kernel in spec.kernels)
    first_order: dict[str, tuple[str, ...]] = {"cga3d": ("sgp", "fused_gelu_sgp_norm")}
    first_order |= dict.fromkeys(("pga3d", "sta"), ("fused_gelu_fcgp_norm",))
    first_order |= dict.fromkeys(("vga2d", "vga3d"), ("layer", "fc_layer"))
    cgenn: tuple[str, ...] = ("cemlp_block", "fully_connected_product_layer", "steerable_product_layer")
    first_order |= {"cgenn2d": cgenn[:1], "cgenn3d": cgenn[:2], "cgenn_sta": cgenn, "cgenn5d": cgenn}
    first_order["gcan_pga3d"] = ("group_action", "point_action")
    first_order["gatr"] = ("product_and_join", "geometric_bilinear", "mlp_block", "geometric_attention")
    alone = ("equi_linear", "equi_layer_norm", "gated_gelu")  # of multivectors
    first_order["lgatr"] = tuple(k.name for k in spec.kernels if k.name not in alone)
    first_order |= {"blocks": ("block", "planes"), "dense": ("planes",)}
    first_order["attention"] = ("plain", "parts", "causal", "labelled", "own", "itself")
    assert all(
        (k.order == 1) == (k.name in first_order.get(spec.name, ())) for k in spec.kernels
    ), "as docs/limits.md says"
    first = path.read_text(encoding="utf-8").splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / schema).resolve() == ROOT / "kgen.schema.json"


def test_shipped_specs_make_modules_of_different_names() -> None:
    assert len(load_all([str(path) for path in SHIPPED])) == len(SHIPPED)


def test_the_checked_in_schema_is_current() -> None:
    assert (ROOT / "kgen.schema.json").read_text(encoding="utf-8") == json_text(), "run kgen schema > kgen.schema.json"


@pytest.mark.parametrize("signature", [[3, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 2], [3, 0, 1], [1, 3, 0]])
def test_a_new_spec_loads_and_traces(signature: list[int]) -> None:
    spec = load("specs/fresh.yaml", template("fresh", signature))
    assert spec.algebra is not None and spec.algebra.signature == tuple(signature)
    assert [bool(trace(spec, kernel, {}).outputs) for kernel in spec.kernels] == [True, True, True]


@pytest.mark.parametrize(
    ("name", "signature"), [("torch", [3, 0, 0]), ("a b", [3, 0, 0]), ("a", [7, 0, 0]), ("a", [1])]
)
def test_a_new_spec_needs_a_name_and_a_signature(name: str, signature: list[int]) -> None:
    with pytest.raises(KgenError):
        template(name, signature)


# algebras


@pytest.mark.parametrize(
    ("algebra", "squares", "first", "blades"),
    [
        ("{signature: [2, 0, 0]}", (1, 1), 1, "e e1 e2 e12"),
        ("{signature: [1, 0, 1]}", (0, 1), 0, "e e0 e1 e01"),
        ("{signature: [0, 0, 2]}", (0, 0), 1, "e e1 e2 e12"),
        ("{signature: [1, 1, 0]}", (1, -1), 1, "e e1 e2 e12"),
        ("{squares: [-1, 0], first: 0}", (-1, 0), 0, "e e0 e1 e01"),
        ("{squares: [1, -1], blades: [e12, e2, e, e1]}", (1, -1), 1, "e12 e2 e e1"),
    ],
)
def test_algebras(algebra: str, squares: tuple[int, ...], first: int, blades: str) -> None:
    found = small(algebra=algebra).algebra
    assert found is not None
    assert (found.squares, found.first) == (squares, first)
    assert [blade.name for blade in found.blades] == blades.split()


def test_blades_in_another_order_of_indices_have_the_sign_of_the_permutation() -> None:
    found = small(algebra="{signature: [3, 0, 0], blades: [e, e1, e2, e3, e12, e31, e23, e312]}").algebra
    assert found is not None
    assert [(blade.mask, blade.sign) for blade in found.blades[4:]] == [(3, 1), (5, -1), (6, 1), (7, 1)]


# types

ALL = (0, 1, 2, 3)


def weights(memory: str, *operands: tuple[str, tuple[int, ...]]) -> Type:
    words, sides = zip(*operands)
    return Type("weights", tuple(memory.split()), operands=words, sides=sides)


@pytest.mark.parametrize(
    ("written", "layout", "expected"),
    [
        ("multivector", "[blade, b, n]", Type("multivector", ("blade", "b", "n"), (0, 1, 2, 3))),
        ("even", "[blade, n]", Type("multivector", ("blade", "n"), (0, 2))),
        ("odd", "[b, n, blade]", Type("multivector", ("b", "n", "blade"), (1, 3))),
        ("grades(2, 0)", "[..., n, blade]", Type("multivector", ("...", "n", "blade"), (0, 2))),
        ("even[b]", "[blade, b, n]", Type("multivector", ("blade", "b"), (0, 2))),
        ("even[b]", "[..., n, blade]", Type("multivector", ("...", "blade"), (0, 2))),
        ("even[n]", "[..., n, blade]", Type("multivector", ("n", "blade"), (0, 2))),
        ("scalar", "[..., n, blade]", Type("field", ("...", "n"))),
        ("scalar[n]", "[blade, b, n]", Type("field", ("n",))),
        ("[v, c]", "[blade, b, n]", Type("field", ("v", "c"))),
        ("[b, n]", "[..., n, blade]", Type("field", ("...", "n"))),
        ("[10, n]", "[blade, b, n]", Type("field", (10, "n"))),
        ("[n, grade]", "[blade, b, n]", Type("field", ("n", "grade"))),
        ("weights(x, x)", "[blade, b, n]", weights("n path", ("x", ALL), ("x", ALL))),
        ("weights(x)", "[blade, b, n]", weights("n path", ("x", ALL))),
        ("weights(x, x)[n, m]", "[blade, b, n]", weights("m n path", ("x", ALL), ("x", ALL))),
        ("weights(x, x)[n, k]", "[blade, b, n]", weights("n k path", ("x", ALL), ("x", ALL))),
        ("weights(x)[n, m]", "[blade, b, n]", weights("grade n m", ("x", ALL))),
        ("weights(grades(2, 0))[n, m]", "[blade, b, n]", weights("grade n m", ("grades(2, 0)", (0, 2)))),
        ("weights( grades( 1 ) , x )", "[blade, b, n]", weights("n path", ("grades( 1 )", (1,)), ("x", ALL))),
        ("weights(x, odd)", "[blade, b, n]", weights("n path", ("x", ALL), ("odd", (1, 3)))),
        ("weights(multivector)", "[blade, b, n]", weights("n path", ("multivector", ALL))),
    ],
)
def test_types(written: str, layout: str, expected: Type) -> None:
    assert type_of(small(written, layout)) == expected


def test_a_kernel_may_have_its_own_memory_order() -> None:
    text = SPEC.format(type="even[b]", layout="[blade, b, n]", algebra="{signature: [3, 0, 0]}")
    spec = load("small.yaml", text.replace("    body", "    memory: [..., n, blade]\n    body"))
    assert spec.kernels[0].memory == ("...", "n", "blade")
    assert [a.type.memory for a in spec.kernels[0].inputs if a.type] == [("...", "n", "blade"), ("...", "blade")]


def test_an_input_hides_the_type_of_its_name() -> None:
    """`multivector` is no operation, so an input may be called so; weights of it are of that input's grades."""
    text = SPEC.format(type="odd", layout="[blade, b, n]", algebra="{signature: [3, 0, 0]}")
    text = text.replace("      a: odd", "      multivector: odd\n      a: weights(multivector)")
    (found,) = [a.type for a in load("small.yaml", text).kernels[0].inputs if a.name == "a"]
    assert found == weights("n path", ("multivector", (1, 3)))


def test_weights_may_be_declared_before_their_operands() -> None:
    swapped = SPEC.replace("      x: multivector\n      a: {type}", '      a: "weights(x, x)"\n      x: multivector')
    spec = load("s.yaml", swapped.format(layout="[blade, b, n]", algebra="{signature: [2, 0, 0]}"))
    assert [argument.name for argument in spec.kernels[0].inputs] == ["a", "x"]


def test_options_are_typed_by_kgen() -> None:
    options = "    options: {a: true, b: 3, c: 1e-6, d: 2., e_: False}\n    grads: [x]\n    order: 1\n    body"
    text = SPEC.format(type="even", layout="[blade, b, n]", algebra="{signature: [3, 0, 0]}")
    kernel = load(
        "s.yaml",
        text.replace("    body", options).replace("a: even", "y: even").replace("[blade, b, n]", "[blade, l, n]"),
    ).kernels[0]
    assert [option.default for option in kernel.options] == [True, 3, 1e-6, 2.0, False]
    assert [type(option.default) for option in kernel.options] == [bool, int, float, float, bool]
    assert (kernel.grads, kernel.order) == (("x",), 1)


# places


def test_the_digest_is_that_of_the_text() -> None:
    one, other = small(), small("odd")
    assert re.fullmatch(r"[0-9a-f]{12}", one.digest) and one.digest == small().digest != other.digest


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        ("body: |\n      y = x\n\n      return 'é' + q", 13, 20),
        ("body: |2\n        y = x\n        return q * y", 0, 0),
        ("body: |-  # a comment\n         # here too\n         return (y +\n           q)", 13, 12),
        ("body: return x * q", 10, 22),
        ("body:    'return q'", 10, 22),
        ('body:\n      "return  q"', 11, 16),
    ],
)
def test_places_in_a_body_are_places_in_the_file(written: str, line: int, column: int) -> None:
    text = "kgen: 1\nname: s\nkernels:\n  g: {inputs: {x: [n]}, body: return x}\n  f:\n\n    doc: Fine.\n"
    text += f"    inputs:\n      x: [n]\n    {written}\n"
    if not line:
        assert "unexpected indent" in complaint(text)
        return
    if "é" in text:
        assert f"bad.yaml:{line}:14:" in complaint(text), "text in an expression is refused, at its place"
        text = text.replace("'é'", "xéz")
        assert f"bad.yaml:{line}:14:" in complaint(text)
        return
    kernel = load("s.yaml", text).kernels[1]
    nodes = [n for n in ast.walk(parse_body(kernel)) if isinstance(n, ast.Name) and n.id == "q"]
    assert [(place(kernel, n).line, place(kernel, n).column) for n in nodes] == [(line, column)]
    assert text.splitlines()[line - 1][column - 1] == "q"


# anything at all

HOSTILE = {
    "nothing": "",
    "only a scalar": "kgen",
    "only a list": "- a",
    "deep nesting": "[" * 5000,
    "deep mapping": "a: " + "{a: " * 300 + "1" + "}" * 300,
    "an alias of itself": "kgen: &a [*a]",
    "a key that is a list": "? [a]\n: b\n",
    "a character that is not one": "name: \ud800",
    "a null character": "name: \x00",
    "two documents": "kgen: 1\n---\nkgen: 1\n",
    "many digits": "kgen: " + "9" * 100_000,
    "many spaces in a type": SPEC.format(
        type="'" + " " * 50_000 + "'", layout="[blade, n]", algebra="{signature: [1,0,0]}"
    ),
    "a float with many digits": "kgen: 1\nname: s\nkernels: {f: {inputs: {x: [n]}, options: {a: "
    + "1" * 50_000
    + "x}, body: x}}",
    "an enormous signature": SPEC.format(
        type="even", layout="[blade, n]", algebra="{signature: [" + "9" * 18 + ",0,0]}"
    ),
    "no kernels": "kgen: 1\nname: s\nkernels: {}\n",
    "a body that is a list": "kgen: 1\nname: s\nkernels: {f: {inputs: {x: [n]}, body: [x]}}\n",
    "a deep body": "kgen: 1\nname: s\nkernels: {f: {inputs: {x: [n]}, body: return " + "(" * 10_000 + "}}\n",
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_hostile_texts_are_refused_at_a_place(what: str) -> None:
    assert all(re.match(r"bad\.yaml:\d+:\d+: |    hint: ", line) for line in complaint(HOSTILE[what]).splitlines())


SNIPPETS = (
    *(
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        ":",
        ": ",
        "- ",
        "? ",
        ",",
        "'",
        '"',
        '"""',
        "|",
        ">",
        "#",
        "%",
        "@",
        "`",
        "!",
        "!!int",
    ),
    *(
        "&",
        "&a ",
        "*a ",
        "<<",
        "...",
        "---",
        "e12",
        "0",
        "-1",
        "1e999",
        "9" * 30,
        "blade",
        "path",
        "grade",
        "no",
        "return",
    ),
    *("\n", "\r\n", "  ", "\t", "\x07", "\u2028", "\ud800", "\ufeff", "\\", "é", "~"),
)


def mutated(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        at, lines = rng.randrange(len(text) + 1), text.split("\n")
        a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(4):
            case 0:
                text = text[:at] + rng.choice(SNIPPETS) + text[at + rng.choice([0, 0, 1, 5]) :]
            case 1:
                text = text[:at] + text[at + rng.choice([1, 2, 5, 30]) :]
            case 2:
                lines[a], lines[b] = lines[b], lines[a]
                text = "\n".join(lines)
            case 3:
                text = "\n".join([*lines[:a], lines[b], *lines[a:]])
    return text


@pytest.mark.parametrize("path", EDITED, ids=lambda path: path.stem)
def test_no_edit_of_a_spec_makes_a_traceback(path: Path) -> None:
    original = path.read_text(encoding="utf-8")
    found = [edited_errors(original, seed) for seed in range(100)]
    assert all(error.mark for errors in found for error in errors)
    assert sum(map(bool, found)) > 30, "the edits hardly touch the spec"


@pytest.mark.parametrize("path", EDITED, ids=lambda path: path.stem)
def test_bodies_of_what_is_left_of_a_spec_make_no_traceback(path: Path, tmp_path: Path) -> None:
    original, edited = path.read_text(encoding="utf-8"), tmp_path / "edited.yaml"
    told = 0
    for seed in range(40):
        edited.write_text(mutated(random.Random(seed), original), encoding="utf-8", errors="replace")
        (draft,) = drafts([str(edited)])
        if draft.spec and draft.errors:
            told += 1
            assert all(error.mark for error in mistakes(draft.spec))
    assert told > 1, "no edit leaves a draft"


def edited_errors(text: str, seed: int) -> list[KgenError]:
    try:
        load("edited.yaml", mutated(random.Random(seed), text))
    except KgenErrors as errors:
        return errors.errors or [KgenError("errors without an error")]
    return []


# files


def test_files_that_are_no_specs_are_errors(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    for name in ("missing.yaml", ".", "latin.yaml", "nul\x00.yaml", "new\nline.yaml"):
        with pytest.raises(KgenErrors):
            load(str(tmp_path / name))


def test_line_ends_do_not_change_the_digest(tmp_path: Path) -> None:
    unix, dos = tmp_path / "a.yaml", tmp_path / "b.yaml"
    text = SHIPPED[0].read_bytes()
    unix.write_bytes(text)
    dos.write_bytes(text.replace(b"\n", b"\r\n"))
    assert load(str(unix)).digest == load(str(dos)).digest


def test_loading_needs_no_heavy_module() -> None:
    heavy = ("torch", "triton", "kingdon", "sympy", "numpy")
    code = f"import sys, kgen.spec.load; print(*(m for m in {heavy} if m in sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == ""
