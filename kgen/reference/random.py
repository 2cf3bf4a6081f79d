"""What the reference draws: which elements of a value are kept.

In: the `Values` of a kernel, a value, a probability and a seed. Out: the value without what is dropped. Guaranteed: the
seed and an element's place decide alone.
"""

from dataclasses import replace

from kgen.errors import KgenError
from kgen.reference import probe as probes
from kgen.reference.values import ATOM, Value, Values


def dropout(v: Values, x: Value, p: Value, seed: Value, number: int, each: str) -> Value:
    """x / (1 - p) where it is kept; with `each` "grade" the components of a grade are kept together."""
    if not x.axes or each not in ("element", "grade"):
        raise KgenError("dropout needs a value along some axis, of which elements or grades are dropped")
    along = tuple(v.axes.index(axis) for axis in v.axes if axis in x.axes)
    parts: tuple[int, ...] = ()
    if x.kind == "multivector":
        parts = tuple(mask.bit_count() * (each == "grade") for mask in v.masks(x.grades))
    found = tuple(
        probes.multiply(probe, probes.opaque(f"{seed.text} {number} {part}", probes.random(seed.text, 0, along)))
        for probe, part in zip(x.probes, parts or (0,))
    )
    text = f"_ref_dropout({x.text}, {p.text}, {seed.text}, {number}, {along}{f', {parts}' * bool(parts)})"
    return replace(x, text=text, level=ATOM, probes=found, view=False)
