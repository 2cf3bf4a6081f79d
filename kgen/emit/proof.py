"""The proof of a package: a test file that needs torch, triton and pytest alone, and travels with the package.

In: a `Spec`. Out: the text of `tests/test_<name>.py`, black-formatted, the same bytes for the same spec everywhere. The
products of basis blades stand in it as data, and the expected results come from the reference's functions over that
data: both are the reference's own, and share nothing with the stages that made the kernels. From those come the names
of results, the group under which a kernel is equivariant, and whether it multiplies matrices, whose factors are rounded
in bf16: claims, which the proof puts to the test.
"""

from textwrap import fill
from typing import Any

from kgen.emit.text.banner import banner, source_name
from kgen.emit.text.render import render
from kgen.emit.text.tidy import LINE_LENGTH, exploded, laid_out, tidy
from kgen.graph.node import holds_dot
from kgen.reference import source as reference
from kgen.reference.function import Function
from kgen.reference.tables import _ref_product_rows
from kgen.spec import draws, stamp
from kgen.spec.body import parse_body
from kgen.spec.model import Algebra, Kernel, Spec
from kgen.trace.trace import by_default, equivariance, output_names


def file_name(spec: Spec) -> str:
    """The proof's file, beside the module's."""
    return f"tests/test_{spec.name}.py"


def proof(spec: Spec) -> str:
    """The text of the proof."""
    functions = {kernel.name: Function(spec, kernel, "oracle") for kernel in spec.kernels}
    groups = {kernel.name: _group(spec, kernel) for kernel in spec.kernels}
    asked = "_ref_product _ref_regrade _ref_involute" if spec.algebra else ""  # what the suite calls of them
    oracles = reference.oracles(functions.values(), callers=asked)  # first, for the shapes of results
    described = {
        kernel.name: _describe(spec, kernel, functions[kernel.name], groups[kernel.name])
        | {"spec": spec.part(kernel.name)}
        for kernel in spec.kernels
    }
    names = [f"{name!r}: {name}_oracle" for name in functions]
    text = render(
        "proof",
        name=spec.name,
        h={
            "title": f"Proof of {spec.name}: each kernel and all its derivatives against plain torch.",
            "banner": banner(spec.path),
            "stamp": stamp.line(spec.part(), source_name(spec.path), seal=False),
            "doc": "",
        },
        algebra=_algebra(spec) if spec.algebra else None,
        kernels=laid_out(f"KERNELS = {described!r}"),
        oracles=oracles + "\n\n\n" + exploded("ORACLES = {", names, "}"),
    )
    return tidy(text)


def _group(spec: Spec, kernel: Kernel) -> str | None:
    """The group under which the kernel is equivariant, if that has more than numbers in it."""
    return equivariance(spec, kernel) if spec.algebra and any(spec.algebra.squares) else None


def _describe(spec: Spec, kernel: Kernel, function: Function, group: str | None) -> dict[str, Any]:
    """What the kernel takes and gives, and whether it multiplies matrices."""
    inputs = {argument.name: function.inputs.shape(argument.name) for argument in kernel.inputs}
    outputs = dict(zip(output_names(kernel), function.results, strict=True))
    alike = function.values.alike
    rows = {
        "inputs": {name: tuple(alike.get(str(d), d) for d in shape.dims) for name, shape in inputs.items()},
        "outputs": {name: tuple(alike.get(str(d), d) for d in shape.dims) for name, shape in outputs.items()},
        "options": {option.name: option.default for option in kernel.options},
        "grads": kernel.grads,
        "indices": {name: t.into for name, t in function.inputs.types.items() if t.into},
        "integers": kernel.inputs_of("integer"),
        "seeds": kernel.inputs_of("seed"),
        "probabilities": draws.probabilities(kernel, parse_body(kernel)),
        "grades": {name: shape.grades for name, shape in (inputs | outputs).items() if shape.grades},
        "group": group,
        "products": function.contracts or holds_dot(by_default(spec, kernel).roots),
        "precision": kernel.precision,
        "joined": {alike.get(a, a): tuple(alike.get(b, b) for b in axes) for a, axes in function.values.joined.items()},
        "narrow": kernel.narrow,
    }
    return {key: value for key, value in rows.items() if value or key in ("inputs", "outputs", "grads")}


def _algebra(spec: Spec) -> dict[str, str]:
    assert spec.algebra is not None
    return {
        "blades": fill(" ".join(blade.name for blade in spec.algebra.blades), LINE_LENGTH),
        "path_order": laid_out(repr(spec.layout.path_order)).strip(),
        "products": _products(spec.algebra),
    }


def _products(algebra: Algebra) -> str:
    """The table of products of basis blades, with signs; a long row takes several lines."""
    blades = algebra.blades
    place = {blade.mask: blade for blade in blades}
    entries = [["0"] * len(blades) for _ in blades]
    rows = _ref_product_rows("geometric", None, None, algebra.squares, tuple((b.mask, b.sign) for b in blades))
    for i, j, mask, sign in rows:
        entries[i][j] = ("-" if sign * place[mask].sign < 0 else "") + place[mask].name
    width = max(len(entry) for row in entries for entry in row) + 1
    per_line = len(blades)
    while per_line * width > LINE_LENGTH:
        per_line //= 2
    lines = [row[start : start + per_line] for row in entries for start in range(0, len(blades), per_line)]
    return "\n".join("".join(entry.ljust(width) for entry in line).rstrip() for line in lines)
