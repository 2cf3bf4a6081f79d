"""Trains a network of charged particles, of generated layers and of plain torch, from the same parameters.

    python examples/nbody/train.py
    python examples/nbody/train.py --task forces --steps 300
    python examples/nbody/train.py --channels 28 --depth 3 --systems 10000 --steps 5000 --out build/full.csv
    torchrun --nproc-per-node 2 examples/nbody/train.py

Takes GPUs where torch finds one for each process, else the CPU, where generated functions call their references (with
TRITON_INTERPRET=1 the kernels run there, too). Each process has its share of every batch. Prints the errors on systems
that were not trained on, times and memory. The two kinds differ by rounding alone, which grows over the steps; with
--dtype float64 it stays small.
"""

import argparse
import csv
import gc
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # also where this file is imported

import torch
import torch.distributed as dist
from charges import Systems, simulate
from network import PLAIN, TASKS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn
from torch.nn.parallel import DistributedDataParallel

ALONE = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}


@dataclass(frozen=True)
class Result:
    """What came of a training: the loss before each step, the error on other systems, a step's time, memory."""

    losses: list[float]
    error: float
    milliseconds: float
    peak_mb: float


def whole(value: torch.Tensor) -> float:
    """The mean over all processes."""
    total = value.detach().double() / dist.get_world_size()
    dist.all_reduce(total)
    return total.item()


def share(systems: Systems) -> Systems:
    """What is this process's."""
    return systems.part(slice(dist.get_rank(), None, dist.get_world_size()))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device) -> float:
    """In MB: what tensors took on a GPU at most; on a CPU the process, with all that came before."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def train(model: nn.Module, systems: Systems, unseen: Systems, options: argparse.Namespace, name: str) -> Result:
    """Adam with a rate that falls to none along a cosine, over batches that are the same for every kind."""
    device = systems.place.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    run = DistributedDataParallel(model) if dist.get_world_size() > 1 else model
    optimizer = torch.optim.Adam(model.parameters(), lr=options.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    random, losses, began = torch.Generator().manual_seed(2), list[torch.Tensor](), 0.0
    columns = ("[progress.description]{task.description}", "loss {task.fields[loss]:.3e}")
    shown = Progress(
        TextColumn(columns[0]), BarColumn(), MofNCompleteColumn(), TextColumn(columns[1]), TimeRemainingColumn(),
        console=Console(stderr=True), disable=dist.get_rank() > 0,
    )  # fmt: skip
    with shown as bar:
        task = bar.add_task(name, total=options.steps, loss=float("nan"))
        for step in range(options.steps):
            if step == 1:  # the first compiles
                wait(device)
                began = time.perf_counter()
            which = torch.randint(len(systems), (options.batch,), generator=random)
            loss = run(share(systems.part(which.to(device))))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            now = {"loss": losses[-1].item()} if step % 20 == 0 else {}
            bar.update(task, advance=1, **now)
        wait(device)
        spent = time.perf_counter() - began
    model.eval()
    with torch.no_grad():
        error = whole(model(share(unseen)))
    curve = torch.stack(losses).double() / dist.get_world_size()
    dist.all_reduce(curve)
    return Result(curve.tolist(), error, 1e3 * spent / max(options.steps - 1, 1), peak(device))


def results(options: argparse.Namespace, device: torch.device) -> tuple[dict[str, Result], float, str]:
    """Of each kind, the error without a network, and what the errors are."""
    kind, generated = TASKS[options.task]
    dtype = getattr(torch, options.dtype)
    systems = simulate(options.systems, options.particles, options.time, 0).to(device, dtype)
    unseen = simulate(256, options.particles, options.time, 1).to(device, dtype)
    torch.manual_seed(0)
    start = kind(PLAIN, options.channels, options.depth).state_dict()
    found = {}
    for name, layers in {"kgen": generated, "plain torch": PLAIN}.items():
        if name in options.only:
            model = kind(layers, options.channels, options.depth)
            model.load_state_dict(start)
            found[name] = train(model.to(device, dtype), systems, unseen, options, name)
    return found, kind.without(unseen).item(), kind.unit


def table(found: dict[str, Result], without: float, unit: str, title: str) -> Table:
    """A row for each kind."""
    shown = Table("", "error", "of none", "ms a step", "peak MB", title=title)
    for name, each in found.items():
        row = (f"{each.error:.4g}", f"{each.error / without:.3f}", f"{each.milliseconds:.1f}", f"{each.peak_mb:.0f}")
        shown.add_row(name, *row)
    shown.caption = (
        f"error: {unit}, on systems that were not trained on; of none: over {without:.4g}, without a network"
    )
    return shown


def write(found: dict[str, Result], path: Path) -> None:
    """The losses, a row for each step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["step", *found])
        for step, losses in enumerate(zip(*(each.losses for each in found.values()))):
            rows.writerow([step, *(f"{loss:.6g}" for loss in losses)])


def draw(path: Path, curves: dict[str, list[float]], unit: str) -> None:
    """Both curves, each a mean over 20 steps at a time, the one wide and light, the other thin and dark upon it."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "nbody"
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    styles = ({"color": "#0072b2", "linewidth": 1.2}, {"color": "#e69f00", "linewidth": 5, "alpha": 0.6})
    for (name, losses), style in list(zip(curves.items(), styles))[::-1]:
        parts = [losses[start : start + 20] for start in range(0, len(losses), 20)]
        axes.plot([20 * k for k in range(len(parts))], [sum(part) / len(part) for part in parts], label=name, **style)
    axes.set(yscale="log", xlabel="step", ylabel=unit)
    axes.legend()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a network of charged particles with kgen and with plain torch.")
    parser.add_argument("--task", choices=TASKS, default="motion")
    parser.add_argument("--only", nargs="+", choices=("kgen", "plain torch"), default=["kgen", "plain torch"])
    parser.add_argument("--systems", type=int, default=1000, help="to train on")
    parser.add_argument("--particles", type=int, default=5, help="in each system")
    parser.add_argument("--time", type=float, default=1.0, help="after which places are predicted")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=64, help="systems in a step, of all processes together")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--depth", type=int, default=2, help="layers")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--out", type=Path, help="a CSV with the losses")
    parser.add_argument("--plot", type=Path, help="a picture of them, which needs matplotlib")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed()
    alone = "RANK" not in os.environ
    for name, value in ALONE.items():
        os.environ.setdefault(name, str(value))  # what torchrun would say of one process
    gpus = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    store: dict[str, Any] = {"store": dist.HashStore(), "rank": 0, "world_size": 1} if alone else {}
    dist.init_process_group("nccl" if gpus else "gloo", **store)
    found, without, unit = results(options, device)
    if dist.get_rank() == 0:
        processes = f"{dist.get_world_size()} x " if dist.get_world_size() > 1 else ""
        Console().print(table(found, without, unit, f"{options.task}, {options.dtype}, {processes}{device.type}"))
        if options.out:
            write(found, options.out)
        if options.plot:
            draw(options.plot, {name: each.losses for name, each in found.items()}, unit)
    gc.collect()  # of DistributedDataParallel's cycles: gloo aborts where they hold its threads at exit
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
