"""Specs made from a few arguments, for tests of the stages behind `spec.load`."""

from collections.abc import Mapping, Sequence

from kgen.errors import Mark
from kgen.spec.model import Algebra, Argument, Kernel, Layout, Option, Spec, Type
from kgen.spec.signature import generators, listed_blades, standard_blades
from kgen.spec.tensor_types import Scope, read

MARK = Mark("specs/handmade.yaml", 1, 1)
BODY = Mark("specs/handmade.yaml", 10, 7)


def algebra(signature: Sequence[int], blades: str = "") -> Algebra:
    squares, first = generators(signature)
    count = len(squares)
    listed = listed_blades(blades.split(), count, first) if blades else standard_blades(count, first)
    return Algebra(squares, first, listed)


def layout(memory: str = "blade b n", order: str = "left out right") -> Layout:
    return Layout(tuple(memory.split()), tuple(order.split()), ("n", "path"), ("path", "n", "m"), ("grade", "n", "m"))


def kernel(
    inputs: Mapping[str, str | list[str]],
    body: str,
    over: Algebra | None,
    where: Layout,
    options: Mapping[str, bool | float] | None = None,
    outputs: Mapping[str, str | list[str]] | None = None,
) -> Kernel:
    types: dict[str, Type] = {}
    scope = Scope(over, where, where.multivector, "..." in where.multivector, types)
    for name, written in inputs.items():
        types[name] = read(written, scope)
    results = tuple(Argument(name, read(written, scope), MARK) for name, written in (outputs or {}).items())
    arguments = tuple(Argument(name, declared, MARK) for name, declared in types.items())
    settings = tuple(Option(name, default, MARK) for name, default in (options or {}).items())
    memory = where.multivector if over else ()
    floating = tuple(name for name, declared in types.items() if declared.floating)
    return Kernel("f", "", arguments, settings, results, floating, 2, True, body, memory, MARK, BODY)


def spec(over: Algebra | None, where: Layout, *kernels: Kernel) -> Spec:
    return Spec("handmade", "", over, where, kernels, MARK.path, "0" * 12, MARK)


def one(
    signature: Sequence[int] | None,
    inputs: Mapping[str, str | list[str]],
    body: str,
    options: Mapping[str, bool | float] | None = None,
    outputs: Mapping[str, str | list[str]] | None = None,
    memory: str = "blade b n",
    blades: str = "",
) -> Spec:
    """A spec with the one kernel `f`; without a signature it has no algebra."""
    over = algebra(signature, blades) if signature is not None else None
    where = layout(memory) if over else Layout()
    return spec(over, where, kernel(inputs, body, over, where, options, outputs))
