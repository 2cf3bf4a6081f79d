"""Trains a network of charged particles, of generated layers and of plain torch, from the same parameters.

    python examples/nbody/train.py
    python examples/nbody/train.py --task forces --plot build/forces.png
    python examples/nbody/train.py --channels 28 --depth 3 --systems 10000 --steps 5000 --out build/full.csv
    torchrun --nproc-per-node 2 examples/nbody/train.py

Takes GPUs where torch finds one for each process, else the CPU, where generated functions call their references (with
TRITON_INTERPRET=1 the kernels run there, too). Each process has its share of every batch. Prints the errors on systems
that were not trained on, how far the losses of both kinds were apart, times and memory. The two kinds differ by
rounding alone.
"""

import argparse
import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # also where this file is imported

import curves
import torch
import torch.distributed as dist
from charges import Systems, simulate
from curves import KINDS, Curve, Curves
from network import PLAIN, TASKS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

ALONE = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}


EVALUATIONS = 20  # on systems that are not trained on


@dataclass(frozen=True)
class Result:
    """What came of a training: its curve, a step's time, the most memory."""

    curve: Curve
    milliseconds: float
    peak_mb: float


def whole(value: Tensor) -> float:
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


class Training:
    """A model, and Adam with a rate that falls to none along a cosine, over batches that are the same for all."""

    def __init__(self, model: nn.Module, systems: Systems, options: argparse.Namespace) -> None:
        self.model, self.systems, self.batch = model, systems, options.batch
        self.run = DistributedDataParallel(model) if dist.get_world_size() > 1 else model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=options.rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, options.steps)
        self.random = torch.Generator().manual_seed(2)

    def step(self) -> Tensor:
        """Learn from one batch; the loss before that."""
        which = torch.randint(len(self.systems), (self.batch,), generator=self.random)
        loss: Tensor = self.run(share(self.systems.part(which.to(self.systems.place.device))))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def error(self, unseen: Systems) -> float:
        """On other systems."""
        self.model.eval()
        with torch.no_grad():
            found = whole(self.model(share(unseen)))
        self.model.train()
        return found


class Bar:
    """How far a training is, on stderr: a bar on a terminal, a line now and then elsewhere, of the first process."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps, self.console = name, steps, Console(stderr=True)
        columns = ("[progress.description]{task.description}", "loss {task.fields[loss]:.3e}")
        self.shown = Progress(
            TextColumn(columns[0]), BarColumn(), MofNCompleteColumn(), TextColumn(columns[1]), TimeRemainingColumn(),
            console=self.console, disable=dist.get_rank() > 0 or not self.console.is_terminal,
        )  # fmt: skip
        self.task: TaskID = self.shown.add_task(name, total=steps, loss=float("nan"))

    def step(self) -> None:
        self.shown.advance(self.task)

    def at(self, step: int, loss: float) -> None:
        self.shown.update(self.task, loss=loss)
        if self.shown.disable and dist.get_rank() == 0:
            self.console.print(f"{self.name}: {step} of {self.steps} steps, loss {loss:.3e}", highlight=False)


def train(model: nn.Module, systems: Systems, unseen: Systems, options: argparse.Namespace, name: str) -> Result:
    """Steps and, between some of them, evaluations, which take no part in the times; nor does the first step."""
    device, training, bar = systems.place.device, Training(model, systems, options), Bar(name, options.steps)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    losses, curve, spent = list[Tensor](), Curve(), 0.0
    every = -(-options.steps // EVALUATIONS)
    starts = sorted({0, 1, options.steps, *range(0, options.steps, every)})
    with bar.shown:
        for start, end in zip(starts, starts[1:]):
            curve.unseen[start] = training.error(unseen)
            wait(device)
            began = time.perf_counter()
            for _ in range(start, end):
                losses.append(training.step())
                bar.step()
            wait(device)
            if start:  # the first step compiles
                spent += time.perf_counter() - began
            bar.at(end, losses[-1].item())
    curve.unseen[options.steps] = training.error(unseen)
    found = torch.stack(losses).double() / dist.get_world_size()
    dist.all_reduce(found)
    curve.losses = found.tolist()
    return Result(curve, 1e3 * spent / max(options.steps - 1, 1), peak(device))


def setting(options: argparse.Namespace, device: torch.device) -> tuple[dict[str, nn.Module], Systems, Systems]:
    """Models of all kinds with the same parameters, systems to train on, and others."""
    kind, generated = TASKS[options.task]
    dtype = getattr(torch, options.dtype)
    systems = simulate(options.systems, options.particles, options.time, 0).to(device, dtype)
    unseen = simulate(options.unseen, options.particles, options.time, 1).to(device, dtype)
    torch.manual_seed(0)
    start = kind(PLAIN, options.channels, options.depth).state_dict()
    models = {}
    for name, layers in zip(KINDS, (generated, PLAIN)):
        if name in options.only:
            models[name] = kind(layers, options.channels, options.depth)
            models[name].load_state_dict(start)
            models[name].to(device, dtype)
    return models, systems, unseen


def results(options: argparse.Namespace, device: torch.device) -> tuple[dict[str, Result], Curves]:
    """Of each kind, and all curves."""
    models, systems, unseen = setting(options, device)
    found = {name: train(models[name], systems, unseen, options, name) for name in models}
    fixed = {
        "task": options.task,
        "unit": TASKS[options.task][0].unit,
        "size": size(options),
        "dtype": options.dtype,
        "ran": ran(device),
        "device": device_name(device),
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()) if device.type == "cpu" else "",
        "without": str(TASKS[options.task][0].without(unseen).item()),
    }
    return found, Curves(fixed, {name: each.curve for name, each in found.items()})


def size(options: argparse.Namespace) -> str:
    """The options that say what is trained."""
    names = ("systems", "particles", "time", "batch", "channels", "depth", "rate")
    return " ".join(f"{name}={getattr(options, name)}" for name in names)


def ran(device: torch.device) -> str:
    """What generated functions are there."""
    if device.type == "cuda":
        return "kernels"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return "kernels in Triton's interpreter" if interpreted else "torch references, no kernel ran"


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"


def table(found: dict[str, Result], trained: Curves, goal: float | None) -> Table:
    """A row for each kind."""
    fixed, without = trained.fixed, trained.without
    processes = f"{dist.get_world_size()} x " if dist.get_world_size() > 1 else ""
    title = f"{fixed['task']}, {fixed['dtype']}, {processes}{fixed['device']}; kgen: {fixed['ran']}"
    columns = ("", "error", "of none", *(["steps to goal"] if goal else []), "ms a step", "peak MB")
    shown = Table(*columns, title=title)
    for name, each in found.items():
        curve = each.curve
        step = curve.reached(goal * without) if goal else None
        reached = ["missed" if step is None else str(step)] if goal else []
        costs = (f"{each.milliseconds:.1f}", f"{each.peak_mb:.0f}")
        shown.add_row(name, f"{curve.error:.4g}", f"{curve.error / without:.3f}", *reached, *costs)
    told = [
        f"error: {fixed['unit']}, on systems that were not trained on",
        f"of none: over {without:.4g}, the error without a network",
        *(f"losses of both are apart by {max(apart):.1e} at most" for apart in [curves.differences(trained)] if apart),
    ]
    shown.caption = "; ".join(told)
    return shown


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train a network of charged particles with kgen's layers and with plain torch's, and compare.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    told = "motion: where particles will be; forces: what acts on them, as gradients of an energy"
    parser.add_argument("--task", choices=TASKS, default="motion", help=told)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="layers of these kinds")
    parser.add_argument("--systems", type=int, default=4000, help="to train on")
    parser.add_argument("--unseen", type=int, default=256, help="systems that are not trained on")
    parser.add_argument("--particles", type=int, default=5, help="in each system")
    parser.add_argument("--time", type=float, default=1.0, help="after which places are predicted")
    parser.add_argument("--steps", type=int, help="of training", default=800)
    parser.add_argument("--batch", type=int, default=64, help="systems in a step, of all processes together")
    parser.add_argument("--channels", type=int, default=8, help="of multivectors")
    parser.add_argument("--depth", type=int, default=2, help="layers")
    parser.add_argument("--rate", type=float, default=0.005, help="of learning, at first")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="of all tensors")
    parser.add_argument("--goal", type=float, help="error of none that must be reached; exit status 1 where it is not")
    parser.add_argument("--out", type=Path, help="write the curves to this CSV, which curves.py draws")
    parser.add_argument("--plot", type=Path, help="draw them into this SVG or PNG, which needs matplotlib")
    return parser.parse_args(arguments)


@contextmanager
def processes() -> Iterator[torch.device]:
    """The device of this process, among all that torchrun started, or alone."""
    alone = "RANK" not in os.environ
    ranks = {name: int(os.environ.get(name, value)) for name, value in ALONE.items()}
    gpus = torch.cuda.device_count() >= ranks["LOCAL_WORLD_SIZE"]
    device = torch.device("cuda", ranks["LOCAL_RANK"]) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    store: dict[str, Any] = {"store": dist.HashStore(), "rank": 0, "world_size": 1} if alone else {}
    dist.init_process_group("nccl" if gpus else "gloo", **store)
    try:
        yield device
    finally:
        gc.collect()  # of DistributedDataParallel's cycles: gloo aborts where they hold its threads at exit
        dist.destroy_process_group()


def main() -> int:
    options = parsed()
    with processes() as device:
        found, trained = results(options, device)
        if dist.get_rank() == 0:
            Console().print(table(found, trained, options.goal))
            keep(trained, options)
    return int(bool(options.goal) and any(c.error > options.goal * trained.without for c in trained.kinds.values()))


def keep(trained: Curves, options: argparse.Namespace) -> None:
    """Write, and draw, what was asked for."""
    if options.out:
        curves.write(trained, options.out)
    if options.plot:
        from kgen.tools.bench.drawing import LIGHT, save

        options.plot.parent.mkdir(parents=True, exist_ok=True)
        save(curves.draw([trained], LIGHT), options.plot)


if __name__ == "__main__":
    sys.exit(main())
