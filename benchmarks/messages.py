"""The suite of messages along the edges of a graph: what is gathered from nodes, multiplied, and added to nodes again.

Run it with `python -m kgen bench --suite messages --out benchmarks/results/NAME.csv`. Edges are drawn at random, in no
order. An index is sorted when it is first used: what is measured are calls with one that is known.

"gather, einsum, index_add" is what CGENN's layers do, in plain torch: rows of nodes are copied to the edges, `einsum`
multiplies them with the dense table of all products of two blades, in whose place weights are spread over it, and
`index_add` adds the messages, in an order that varies on a GPU.

A floor has each input and result once. From memory that no cache helps, 32 channels of a million edges with two ends
are 2 GB in fp32 to gather, 1 GB where one end is read alone, as where the product with the other is made of the sum.
"""

from functools import cache
from pathlib import Path

import torch

from kgen.tools.bench.cases import Case, Peer
from kgen.tools.problem import Function, load_module

GENERATED = Path("generated")
SIZES = {"v": 100_000, "e": 1_000_000, "n": 32}
KINDS = ("message", "weighted_message", "gated_message")
Tensor = torch.Tensor


@cache
def table() -> Tensor:
    """[i, j, k]: of blade k in blade i times blade j, each pair of blades at the ends of an edge of its own."""
    basis = torch.eye(8)
    ends = [basis.repeat_interleave(8, 0), basis.repeat(8, 1)]
    x = torch.stack(ends, 1).reshape(128, 1, 8)
    source, target = torch.arange(128).view(64, 2).unbind(1)
    made = load_module(GENERATED / "message").message_reference(x, torch.ones(64, 1), source, target)
    return made[target].reshape(8, 8, 8)  # type: ignore[no-any-return]


@cache
def weighted() -> Tensor:
    """[p, i, j, k]: the same for each path alone."""
    module = load_module(GENERATED / "message")
    paths, grades = torch.tensor(module.PATHS["weighted_message.weight"]), torch.tensor(module.GRADES)
    left, result, right = (paths[:, i, None] == grades for i in range(3))
    return torch.einsum("pi,pj,pk,ijk->pijk", left.float(), right.float(), result.float(), table())


def added(sent: Tensor, like: Tensor, target: Tensor) -> Tensor:
    return torch.zeros_like(like).index_add(0, target, sent)


def message(x: Tensor, gate: Tensor, source: Tensor, target: Tensor) -> Tensor:
    sent = torch.einsum("eni,enj,ijk->enk", x[source], x[target], table().to(x))
    return added(gate[..., None] * sent, x, target)


def product(x: Tensor, weight: Tensor, source: Tensor, target: Tensor) -> Tensor:
    full = torch.einsum("np,pijk->nijk", weight, weighted().to(x))
    return torch.einsum("eni,nijk,enj->enk", x[source], full, x[target])


def weighted_message(x: Tensor, gate: Tensor, weight: Tensor, source: Tensor, target: Tensor) -> Tensor:
    return added(gate[..., None] * product(x, weight, source, target), x, target)


def gated_message(x: Tensor, gate: Tensor, weight: Tensor, source: Tensor, target: Tensor) -> Tensor:
    sent = product(x, weight, source, target)
    sent = sent * 0.5 * (1 + torch.erf(sent[..., :1] * 0.5**0.5))
    return added(gate[..., None] * sent, x, target)


PEERS: dict[str, Function] = {f.__name__: f for f in (message, weighted_message, gated_message)}


def peer(kind: str) -> Peer:
    return Peer("gather, einsum, index_add", lambda: PEERS[kind], plain_torch=True)


CASES = [Case("message", kind, SIZES, peers=(peer(kind),)) for kind in KINDS]
