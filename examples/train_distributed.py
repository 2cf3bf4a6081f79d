"""Learns a map that commutes with rotations, on one process or on several, with the same losses.

    python examples/train_distributed.py
    torchrun --nproc-per-node 2 examples/train_distributed.py

Takes GPUs where torch finds one for each process, else the CPU (with TRITON_INTERPRET=1 the kernels run there, too).
The map takes vectors u, v, w to u x (v x w): two products of a learnt mixture of its inputs are enough. Each process
has its share of the batch; DistributedDataParallel makes the gradients those of the whole.
"""

import argparse
import gc
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `generated`, which is not part of the installed package

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from generated import vga3d

VECTOR = slice(1, 4)  # where e1, e2, e3 are among the blades
ALONE = {
    "RANK": 0,
    "LOCAL_RANK": 0,
    "WORLD_SIZE": 1,
    "LOCAL_WORLD_SIZE": 1,
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": 0,
}


class Network(nn.Module):
    """(8, batch, features) to (8, batch, 1). The linear maps have no bias, which would not turn with the input."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.mix = nn.Linear(features, 2 * hidden, bias=False)
        self.first = vga3d.SGP(hidden, normalize=False)
        self.again = nn.Linear(features, hidden, bias=False)
        self.second = vga3d.SGP(hidden, normalize=False)
        self.out = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.mix(x).chunk(2, dim=-1)
        return self.out(self.second(self.again(x), self.first(left, right)))  # type: ignore[no-any-return]


def examples(count: int) -> tuple[Tensor, Tensor]:
    """Inputs (8, count, 3) and targets (3, count, 1), the same in every process."""
    u, v, w = torch.randn(3, count, 3, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(8, count, 3)
    x[VECTOR] = torch.stack((u, v, w), -1).transpose(0, 1)
    return x, torch.linalg.cross(u, torch.linalg.cross(v, w)).T.unsqueeze(-1)


def train(steps: int, batch: int) -> list[float]:
    """The loss of the whole batch before each step."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    x, target = (part.chunk(processes, 1)[rank].contiguous().to(device) for part in examples(batch))
    torch.manual_seed(0)
    model = DistributedDataParallel(Network(3, 16).to(device))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(steps):
        loss = (model(x)[VECTOR] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        whole = loss.detach() / processes
        dist.all_reduce(whole)
        losses.append(whole.item())
        if rank == 0 and (step % 10 == 0 or step == steps - 1):
            print(f"step {step:4}   loss {losses[-1]:.6f}", flush=True)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on one process, or on several with torchrun.")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=256, help="of all processes together, which divide it evenly")
    parser.add_argument("--curve", type=Path, help="write the losses there, one a line")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)  # rounding would otherwise grow over the steps
    for name, value in ALONE.items():
        os.environ.setdefault(name, str(value))  # what torchrun would say of one process
    gpus = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpus else "gloo")
    losses = train(options.steps, options.batch)
    if options.curve and dist.get_rank() == 0:
        options.curve.write_text("".join(f"{loss:.12g}\n" for loss in losses), encoding="utf-8")
    gc.collect()  # of DistributedDataParallel's cycles: gloo aborts where they hold its threads at exit
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
