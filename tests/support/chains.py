"""Bodies of any depth: layers one after the other, each a linear map by grade and a gate.

In: a kind of chain, how many layers. Out: the text of a spec with the kernel `chain`; its weights are `w1`, `w2`, …
"""

from collections.abc import Mapping

KINDS = ("own", "renamed", "residual")  # see `_axes` and `_layer`


def spec(kind: str, layers: int) -> str:
    """The text of a spec. Of "own" each layer has an axis of its own, of the others all run along n."""
    axes = {f"w{i}": _axes(kind, i) for i in range(1, layers + 1)}
    inputs = {"x": '"multivector"', **{name: f'"weights(x)[{a}, {b}]"' for name, (a, b) in axes.items()}}
    body = [_layer(kind, name, axes[name]) for name in axes]
    return _text(inputs, [*body, "return h"])


def _axes(kind: str, layer: int) -> tuple[str, str]:
    """The axis that a layer contracts, and the one in its place."""
    if kind == "own":
        return ("n" if layer == 1 else f"n{layer - 1}", f"n{layer}")
    return ("n", "m") if kind == "renamed" else ("m", "n")


def _layer(kind: str, weight: str, axes: tuple[str, str]) -> str:
    """One line: "renamed" gives its result the axis n back, "residual" adds it to what it was given."""
    before = "x" if weight == "w1" else "h"
    match kind:
        case "own":
            return f"h = gelu(mv_linear({before}, {weight}))"
        case "renamed":
            return f"h = rename(gelu(mv_linear({before}, {weight})), axis=m, to=n)"
    return f"h = {before} + gelu(mv_linear(rename({before}, axis=n, to=m), {weight}))"


def _text(inputs: Mapping[str, str], body: list[str]) -> str:
    lines = "\n".join(f"      {line}" for line in body)
    given = ", ".join(f"{name}: {kind}" for name, kind in inputs.items())
    return (
        "kgen: 1\nname: chained\nalgebra: {signature: [2, 0, 0]}\n"
        "layout:\n  multivector: [blade, b, n]\n  weights: {order: [left, out, right], memory: [n, path], "
        "fully_connected: [path, n, m], gradewise: [grade, n, m]}\n"
        f"kernels:\n  chain:\n    order: 1\n    inputs: {{{given}}}\n    body: |\n{lines}\n"
    )
