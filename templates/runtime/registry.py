"""What the package's functions take and give, as data: each function describes itself here when it is imported."""

from typing import NotRequired, TypedDict

Dims = tuple[str | int, ...]  # in memory order: axes, numbers of components, and any leading axes as "..."
Work = dict[str, dict[str, dict[str, int]]]  # by direction and axes, "b n": operations of each kind at each point


class Description(TypedDict):
    """A function's inputs, outputs, options, gradients and work, and whether it multiplies matrices."""

    inputs: dict[str, Dims]
    outputs: dict[str, Dims]
    options: dict[str, bool | int | float]
    grads: tuple[str, ...]
    work: Work
    indices: dict[str, str]
    products: bool
    precision: NotRequired[str]
    integers: NotRequired[tuple[str, ...]]
    seeds: NotRequired[tuple[str, ...]]
    joined: NotRequired[dict[str, tuple[str, ...]]]


KERNELS: dict[str, Description] = {}
PATHS: dict[str, tuple[tuple[int, ...], ...]] = {}  # of weights, as "function.input"; grades as the signature says
WEIGHTS: dict[str, tuple[str, ...]] = {}  # the axes of weights that other libraries may have, too
FILES: dict[str, tuple[str, ...]] = {}  # the files of each function's kernels


def describe(
    function: str,
    *,
    inputs: dict[str, Dims],
    outputs: dict[str, Dims],
    grads: tuple[str, ...],
    files: tuple[str, ...],
    options: dict[str, bool | int | float] | None = None,
    work: Work | None = None,
    indices: dict[str, str] | None = None,
    integers: tuple[str, ...] = (),
    seeds: tuple[str, ...] = (),
    products: bool = False,
    precision: str = "",
    joined: dict[str, tuple[str, ...]] | None = None,
    paths: dict[str, tuple[tuple[int, ...], ...]] | None = None,
    weights: dict[str, tuple[str, ...]] | None = None,
) -> str:
    """Enter a function into the tables; returns its name.

    Args:
        function: its public name.
        inputs: the dims of its tensors, in the order of its arguments.
        outputs: the dims of its results.
        grads: the inputs that have a gradient.
        files: the files of `_kernels` that hold its kernels: forward and backward, then further derivatives.
        options: keyword-only arguments with their defaults.
        work: with the default options, the arithmetic of the formula: "forward", and "forward+backward" together. A
            "product" is one of two numbers in a product of matrices, the other kinds are element by element.
        indices: the inputs that are positions along an axis, with that axis.
        integers: the inputs that are other integers.
        seeds: the inputs from which random numbers are made.
        products: whether it multiplies matrices.
        precision: how it multiplies fp32, if the spec fixes that.
        joined: the axes that are others one after the other, with these.
        paths: of its weights, the grades of the left operand, the result and the right operand, in their order.
        weights: of those, the roles of the axes, by which weights of other libraries are known.
    """
    KERNELS[function] = {
        "inputs": inputs,
        "outputs": outputs,
        "options": options or {},
        "grads": grads,
        "work": work or {},
        "indices": indices or {},
        "products": products,
    }
    if precision:
        KERNELS[function]["precision"] = precision
    if integers:
        KERNELS[function]["integers"] = integers
    if seeds:
        KERNELS[function]["seeds"] = seeds
    if joined:
        KERNELS[function]["joined"] = joined
    FILES[function] = files
    PATHS.update({f"{function}.{name}": value for name, value in (paths or {}).items()})
    WEIGHTS.update({f"{function}.{name}": value for name, value in (weights or {}).items()})
    return function
