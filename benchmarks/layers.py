"""The suite of whole layers: CGENN's block, group actions, and messages along edges.

Run it with `python -m kgen bench --suite layers --peers DIR --jobs 16 --out benchmarks/results/NAME-layers.csv`, and
what a call costs the host with `python -m benchmarks.overhead --suite layers --as-declared --peers DIR`. DIR holds the
peers' checkouts, as for `first.py`; messages are those of `messages.py`, and take no peer.

* CGENN (DavidRuhe/clifford-group-equivariant-neural-networks): a block of its CEMLP, its own modules in a sequence,
  given the parameters that ours is given. Tensors lie alike, so nothing is converted.
* cliffordlayers (microsoft/cliffordlayers; 0.1.1 on PyPI lacks these layers): `PGAConjugateLinear` on points, with
  parameters as ours, and what `CliffordG3Conv2d` calls on vectors, whose filters have one place: each row is an image
  of one place.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kgen.tools.bench.cases import Case, Peer
from kgen.tools.problem import Function, load_file
from kgen.tools.targets import find_device

messages = load_file(Path(__file__).with_name("messages.py"), "benchmarks.messages")

BLOCKS: tuple[tuple[str, tuple[int, ...], int, int], ...] = (  # package, metric, rows, channels
    ("cgenn3d", (1, 1, 1), 8192, 28),
    ("cgenn_sta", (1, -1, -1, -1), 8192, 32),
    ("cgenn5d", (1, 1, 1, 1, 1), 1024, 32),
)
PARAMETERS = (  # of theirs, in the order of the arguments of ours
    "0.weight",
    "0.bias",
    "1.a",
    "1.b",
    "2.weight",
    "2.normalization.a",
    "2.linear_right.weight",
    "2.linear_left.weight",
    "2.linear_left.bias",
    "3.a",
)


def called(module: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Any:
    """What the module makes of x with these parameters in place of its own."""
    return torch.func.functional_call(module, dict(parameters), (x,))


def cgenn(metric: tuple[int, ...], channels: int) -> Function:
    """A block of its CEMLP."""
    from algebra.cliffordalgebra import CliffordAlgebra  # type: ignore[import-not-found, unused-ignore]
    from models.modules.gp import (  # type: ignore[import-not-found, unused-ignore]
        SteerableGeometricProductLayer,
    )
    from models.modules.linear import MVLinear  # type: ignore[import-not-found, unused-ignore]
    from models.modules.mvlayernorm import MVLayerNorm  # type: ignore[import-not-found, unused-ignore]
    from models.modules.mvsilu import MVSiLU  # type: ignore[import-not-found, unused-ignore]

    algebra = CliffordAlgebra(metric)
    theirs = nn.Sequential(
        MVLinear(algebra, channels, channels),
        MVSiLU(algebra, channels),
        SteerableGeometricProductLayer(algebra, channels),
        MVLayerNorm(algebra, channels),
    ).to(find_device(""))
    shapes = [theirs.get_parameter(key).shape for key in PARAMETERS]

    def block(x: Tensor, *arguments: Tensor) -> Any:
        given = {key: value.view(shape) for key, shape, value in zip(PARAMETERS, shapes, arguments, strict=True)}
        return called(theirs, given, x)

    return block


POINTS = (11, 12, 13)  # e012, e013, e023


def conjugate_linear(n: int, m: int) -> Function:
    """cliffordlayers' layer on points."""
    from cliffordlayers.cliffordalgebra import CliffordAlgebra  # type: ignore[import-not-found, unused-ignore]
    from cliffordlayers.nn.modules.gcan import PGAConjugateLinear  # type: ignore[import-not-found, unused-ignore]

    theirs = PGAConjugateLinear(n, m, CliffordAlgebra((0, 1, 1, 1)), POINTS)
    theirs.algebra.to(find_device(""))

    def layer(x: Tensor, action: Tensor, weight: Tensor, embed: Tensor) -> Any:
        return called(theirs, {"_action": action, "weight": weight, "embed_e0": embed[:, None]}, x)

    return layer


def rotational_convolution() -> Function:
    """cliffordlayers' layer on vectors, as its module calls it."""
    from cliffordlayers.nn.functional.cliffordg3conv import (  # type: ignore[import-not-found, unused-ignore]
        clifford_g3convnd,
    )

    def layer(x: Tensor, k0: Tensor, k1: Tensor, k2: Tensor, k3: Tensor, weight: Tensor) -> Any:
        filters = [k[:, :, None, None] for k in (k0, k1, k2, k3, weight, torch.zeros_like(weight))]
        images = torch.cat(x.unbind(-1), 1)[..., None, None]
        return torch.stack(clifford_g3convnd(images, filters).flatten(1).chunk(3, 1), -1)

    return layer


def block(package: str, metric: tuple[int, ...], b: int, n: int, dtype: str) -> Case:
    sizes = {"b": b, "n": n, "m": n}
    return Case(package, "cemlp_block", sizes, dtype, (Peer("CGENN", partial(cgenn, metric, n), plain_torch=True),))


ACTIONS = {"b": 4096, "n": 64, "m": 64}
GROUP = (
    ("gcan_pga3d", "point_action", partial(conjugate_linear, 64, 64)),
    ("gcan_vga3d", "vector_action", rotational_convolution),
)
CASES = [
    *(block(*sizes, dtype) for sizes in BLOCKS for dtype in ("tf32", "float32")),
    *(
        Case(package, kernel, ACTIONS, dtype, (Peer("cliffordlayers", load, plain_torch=True),))
        for package, kernel, load in GROUP
        for dtype in ("tf32", "float32")
    ),
    *messages.CASES,
]
