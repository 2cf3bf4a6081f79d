"""Generated functions on several devices against one: DTensor, DDP, FSDP2, tensor parallel, twice differentiated.

    torchrun --nproc-per-node 2 tests/support/distributed.py                 on the CPU, in Triton's interpreter
    torchrun --nproc-per-node 2 tests/support/distributed.py --reference     on the CPU, without kernels
    torchrun --nproc-per-node 2 tests/support/distributed.py --backend nccl  on GPUs

Needs torch, triton and the generated modules only. Each check prints a line with the number of its launches in the
first process; all numbers are fp64 and agree with those of one process to 1e-12 of the largest.
"""

import argparse
import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--backend", choices=("gloo", "nccl"), default="gloo")
PARSER.add_argument("--reference", action="store_true", help="launch no kernels; for gloo")
PARSER.add_argument("checks", nargs="*", help="all by default")
CHOSEN = PARSER.parse_args()
if CHOSEN.backend == "gloo":  # read when a generated module is imported
    os.environ["TRITON_INTERPRET"] = "0" if CHOSEN.reference else "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import interpreter  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor  # noqa: E402
from torch.distributed.tensor.debug import CommDebugMode  # noqa: E402
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from generated import pga3d, vga2d, vga3d  # noqa: E402
from kgen.tools.problem import runtime  # noqa: E402

DEVICE = "cpu" if CHOSEN.backend == "gloo" else "cuda"
Function = Callable[..., Tensor]


def draw(*shape: int) -> Tensor:
    """Random numbers, the same in every process."""
    return torch.randn(*shape, dtype=torch.float64, device=DEVICE, requires_grad=True)


def shard(mesh: DeviceMesh, x: Tensor, dim: int | None) -> DTensor:
    placement = Replicate() if dim is None else Shard(dim)
    part = distribute_tensor(x.detach(), mesh, [placement])
    part.requires_grad_(x.requires_grad)
    return part


def same(found: Tensor | None, expected: Tensor | None) -> None:
    assert found is not None and expected is not None
    whole = found.full_tensor() if isinstance(found, DTensor) else found
    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-12 * float(expected.detach().abs().max()))


def grads(function: Function, inputs: list[Any], second: bool = False) -> list[Tensor]:
    """The result and all gradients; with `second` those of a loss on the gradients."""
    out = function(*inputs)
    loss = (out * out.detach().cos()).sum()
    found = torch.autograd.grad(loss, inputs, create_graph=second)
    if not second:
        return [out, *found]
    return [out, *torch.autograd.grad(sum(g.square().sum() for g in found), inputs)]  # type: ignore[arg-type]


def agree(mesh: DeviceMesh, function: Function, inputs: list[Tensor], dims: list[int | None]) -> list[DTensor]:
    """The function on shards gives what it gives on whole tensors, twice differentiated; the first results."""
    first: list[Any] = []
    for second in (False, True):
        shards = [shard(mesh, x, d) for x, d in zip(inputs, dims)]
        found = grads(function, shards, second)
        first = first or found
        for x, y in zip(found, grads(function, inputs, second)):
            same(x, y)
    return first


# checks


def batch(mesh: DeviceMesh) -> None:
    """Sharded along the batch, also unevenly: the weight's gradient is a partial sum, and nothing is sent."""
    for function in (vga2d.sgp, vga2d.fused_gelu_sgp_norm):
        for b in (4, 5):
            inputs = [draw(4, b, 3), draw(4, b, 3), draw(3, 10)]
            out, x, _, weight = agree(mesh, function, inputs, [1, 1, None])
            assert out.placements == x.placements == (Shard(1),)
            assert weight.placements == (Partial(),)
            shards = [shard(mesh, x, d) for x, d in zip(inputs, (1, 1, None))]
            with CommDebugMode() as sent:  # type: ignore[no-untyped-call]
                torch.autograd.grad(function(*shards).sum(), shards)
            assert sent.get_total_counts() == 0, sent.get_comm_counts()


def features(mesh: DeviceMesh) -> None:
    """Sharded along the features, the weight with them."""
    inputs = [draw(4, 3, 4), draw(4, 3, 4), draw(4, 10)]

    def product(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return vga2d.fused_gelu_sgp_norm(x, y, weight, normalize=False)  # type: ignore[no-any-return]

    for function in (vga2d.sgp, product):
        out, x, _, weight = agree(mesh, function, inputs, [2, 2, 0])
        assert out.placements == x.placements == (Shard(2),)
        assert weight.placements == (Shard(0),)


def norm(mesh: DeviceMesh) -> None:
    """A norm over the features needs all of them: torch gathers first."""
    out, *_ = agree(mesh, vga2d.fused_gelu_sgp_norm, [draw(4, 4, 4), draw(4, 4, 4), draw(4, 10)], [2, 2, 0])
    assert out.placements != (Shard(2),)


def leading(mesh: DeviceMesh) -> None:
    """Any of several leading axes; for a norm, which saves one number a row, the first."""
    inputs = [draw(2, 4, 2, 16), draw(2, 4, 2, 16)]
    for dim in (0, 1, 2):
        out, *_ = agree(mesh, pga3d.geometric_product, inputs, [dim, dim])
        assert out.placements == (Shard(dim),)
    out, *_ = agree(mesh, pga3d.geometric_product, [draw(4, 2, 16), draw(2, 16)], [0, None])  # which broadcasts
    assert out.placements == (Shard(0),)
    norm, weight = pga3d.fused_gelu_sgp_norm, draw(2, 34)
    assert agree(mesh, norm, [*inputs, weight], [0, 0, None])[0].placements == (Shard(0),)
    agree(mesh, norm, [*inputs, weight], [1, 1, None])
    uneven = [draw(mesh.size() + 1, 2, 2, 16) for _ in range(2)]
    agree(mesh, norm, [*uneven, weight], [0, 0, None])
    operator = fused_norm().op  # gives what it saves, too
    for of in (inputs, uneven):
        shards = operator(*(shard(mesh, x, d) for x, d in zip([*of, weight], (0, 0, None))), 1e-6)
        for x, y in zip(shards, operator(*of, weight, 1e-6)):
            same(x, y)


def chosen(mesh: DeviceMesh) -> None:
    """Like tensors, but other gradients wanted, other cotangents missing: torch's cached placements differ."""
    for wanted in ((0,), (2,), (0, 1, 2)):
        inputs = [draw(4, 4, 4), draw(4, 4, 4), draw(4, 10)]
        leaves = [x.detach().requires_grad_(i in wanted) for i, x in enumerate(inputs)]
        shards = [shard(mesh, x, d) for x, d in zip(leaves, (2, 2, 0))]
        both = [[of[i] for i in wanted] for of in (shards, leaves)]
        outs = [vga2d.fused_gelu_sgp_norm(*of).square().sum() for of in (shards, leaves)]
        firsts = [torch.autograd.grad(out, of, create_graph=True) for out, of in zip(outs, both)]
        for one in zip(*firsts):
            same(*one)
            seconds = [torch.autograd.grad(x.square().sum(), of, retain_graph=True) for x, of in zip(one, both)]
            for x, y in zip(*seconds):
                same(x, y)


class Network(nn.Module):
    """Linear maps along the features between products of multivectors; `normalize=False` may be sharded along them."""

    def __init__(self, features: int, normalize: bool = True) -> None:
        super().__init__()
        self.first = nn.Linear(features, features, device=DEVICE, dtype=torch.float64)
        self.product = vga3d.SGP(features, normalize=normalize, device=DEVICE, dtype=torch.float64)
        self.last = nn.Linear(features, 2, device=DEVICE, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(self.product(y, y))  # type: ignore[no-any-return]


class Forces(Network):
    """The gradient of an energy by the input, so that a loss on it differentiates twice."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        energy = super().forward(x).square().sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]


NETWORKS = (Network, Forces)


def network(kind: type[Network], normalize: bool = True) -> Network:
    torch.manual_seed(1)
    return kind(4, normalize)


def trained(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The gradients of a loss, by parameter."""
    model(x).square().sum().backward()
    return {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}  # type: ignore[misc]


def shares(mesh: DeviceMesh) -> tuple[Tensor, Tensor]:
    """A batch, and this process's part of it."""
    x = draw(8, 3 * mesh.size(), 4).detach()
    return x, x.chunk(mesh.size(), 1)[mesh.get_rank()].contiguous()


def ddp(mesh: DeviceMesh) -> None:
    """DistributedDataParallel: gradients are means over the processes."""
    x, own = shares(mesh)
    for kind in NETWORKS:
        found = trained(DistributedDataParallel(network(kind)), own)
        for name, grad in trained(network(kind), x).items():
            same(found[name] * mesh.size(), grad)


def fsdp(mesh: DeviceMesh) -> None:
    """fully_shard: parameters, the product's weight too, are in pieces."""
    x, own = shares(mesh)
    for kind in NETWORKS:
        model = network(kind)
        if kind is Network:  # a gradient inside the forward frees what was gathered for an inner module alone
            fully_shard(model.product, mesh=mesh)
        fully_shard(model, mesh=mesh)
        assert model.product.gp_weight.placements == (Shard(0),)
        found = trained(model, own)
        for name, grad in trained(network(kind), x).items():
            same(found[name] * mesh.size(), grad)


def redistributes_twice(mesh: DeviceMesh) -> bool:
    """Whether DTensor's own redistribution has second derivatives: torch 2.11 loses them silently."""
    x = shard(mesh, draw(2 * mesh.size()), 0)
    loss = x.redistribute(mesh, [Replicate()]).square().sum()
    return torch.autograd.grad(loss, x, create_graph=True)[0].grad_fn is not None


def tensor_parallel(mesh: DeviceMesh) -> None:
    """Linear maps sharded along the features, and the product's weight with them: nothing is gathered in between."""
    x, _ = shares(mesh)
    for kind in NETWORKS if redistributes_twice(mesh) else NETWORKS[:1]:
        model = network(kind, normalize=False)
        columns = ColwiseParallel(use_local_output=False)
        rows = RowwiseParallel(input_layouts=Shard(2), use_local_output=False)  # a local result has one derivative only
        parallelize_module(model, mesh, {"first": columns, "last": rows})
        model.product.gp_weight = nn.Parameter(distribute_tensor(model.product.gp_weight.detach(), mesh, [Shard(0)]))
        if kind is Network:
            with CommDebugMode() as sent:  # type: ignore[no-untyped-call]
                out = model(x)
            assert sent.get_total_counts() == 1, "only the last map's sums are sent"
            same(out, network(kind, normalize=False)(x))
        found = trained(model, shard(mesh, x, None))
        assert found["product.gp_weight"].placements == (Shard(0),)  # type: ignore[attr-defined]
        for name, grad in trained(network(kind, normalize=False), x).items():
            same(found[name], grad)


def compiled(mesh: DeviceMesh) -> None:
    """torch.compile of a function of DTensors."""
    inputs = [draw(4, 4, 3), draw(4, 4, 3), draw(3, 10)]
    shards = [shard(mesh, x, d) for x, d in zip(inputs, (1, 1, None))]
    function = torch.compile(vga2d.sgp, backend="aot_eager", fullgraph=True)
    for x, y in zip(grads(function, shards), grads(vga2d.sgp, inputs)):
        same(x, y)


def refused(mesh: DeviceMesh) -> None:
    """Without kernels shards have no gradients: torch.func, which the reference's need, does not run below DTensor."""
    x, weight = shard(mesh, draw(4, 4, 3), 1), shard(mesh, draw(3, 10), None)
    try:
        vga2d.sgp(x, x, weight).sum().backward()
    except NotImplementedError as error:
        assert "TRITON_INTERPRET" in str(error)  # noqa: PT017, pytest may be absent
    else:
        raise AssertionError("not refused")


def fused_norm() -> Any:
    """The operator of pga3d's fused function with its norm."""
    return next(
        o for o in runtime(pga3d, "registration").OPERATORS if o.launcher == "_fused_gelu_sgp_norm_with_normalize_run"
    )


KERNELS = (batch, features, norm, leading, chosen, ddp, fsdp, tensor_parallel, compiled)
CHECKS = (ddp, fsdp, refused) if CHOSEN.reference else KERNELS
MODULES = (vga2d, vga3d, pga3d)


@contextlib.contextmanager
def launches() -> Iterator[list[Any]]:
    """The kernels that are launched in the context."""
    launched: list[Any] = []

    def counted(launch: Callable[..., None]) -> Callable[..., None]:
        def call(kernel: Any, *arguments: Any) -> None:
            launched.append(kernel)
            launch(kernel, *arguments)

        return call

    with contextlib.ExitStack() as stack:
        for place in (runtime(module, "launch") for module in MODULES):
            stack.enter_context(mock.patch.object(place, "launch", counted(place.launch)))
        yield launched


def run(check: Callable[[DeviceMesh], None], mesh: DeviceMesh) -> str:
    """Says how many launches the check made, or what went wrong."""
    torch.manual_seed(0)
    try:
        with launches() as launched:
            check(mesh)
    except Exception:
        return f"{check.__name__}: failed\n{traceback.format_exc()}"
    if bool(launched) == CHOSEN.reference:
        return f"{check.__name__}: failed\n{len(launched)} launches"
    return f"{check.__name__}: ok, {len(launched)} launches"


def main() -> None:
    rank = int(os.environ["LOCAL_RANK"])
    if DEVICE == "cuda":
        torch.cuda.set_device(rank)
    interpreter.install()
    mesh = init_device_mesh(DEVICE, (int(os.environ["WORLD_SIZE"]),))
    for module in (*MODULES, vga2d):  # twice does no harm
        module.register_sharding()
    failed = False
    for check in CHECKS:
        if not CHOSEN.checks or check.__name__ in CHOSEN.checks:
            said = run(check, mesh)
            failed = failed or "failed" in said
            if rank == 0 or "failed" in said:
                print(f"{said}\n", end="", flush=True)
    gc.collect()  # of DistributedDataParallel's cycles: gloo aborts where they hold its threads at exit
    dist.destroy_process_group()
    sys.exit(failed)


if __name__ == "__main__":
    main()
