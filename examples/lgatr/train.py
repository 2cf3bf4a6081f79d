"""Trains lgatr's model as a tagger of simulated jets, as it is and with generated layers, from the same parameters.

    python examples/lgatr/train.py
    python examples/lgatr/train.py --packages FOLDER --dtype float64 --steps 100 --out build/tagging.csv

lgatr is installed, or lies in FOLDER, as `pip install --no-deps --target FOLDER lgatr` puts it there. Both models see
the same jets, new ones at each step. Prints their losses side by side, how well they tell jets that they have not seen
apart, times, and memory on a GPU. The exit status is 1 where losses are apart by more than the bound. Takes a GPU where
torch finds one, else the CPU, where generated functions call their references (with TRITON_INTERPRET=1 the kernels run
there, too).
"""

import argparse
import copy
import csv
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

sys.path.insert(0, str(Path(__file__).parent))  # also where this file is imported

from compare import library
from replace import replace

KINDS = ("lgatr", "kgen")  # its model as it is, and with generated layers
# Of |kgen's loss - lgatr's| / lgatr's at each step. Steps multiply what rounding has made of those before: in fp32
# lgatr's losses are as far from its own in fp64, 6e-5 after 100 steps, as from kgen's.
BOUNDS = {"float64": 1e-8, "float32": 2e-3}
TOP, W = 173.0, 80.4  # masses in GeV
ENERGY = (500.0, 700.0)  # of a jet, in GeV
NARROW, WIDE = 0.05, 0.35  # angles between constituents and what they come from
UNIT = 100.0  # GeV that are one in what the model is given
EPS = 1e-5  # of Adam, which would make whole steps of gradients that are rounding alone: with 1e-8 curves part in fp32
SHOWN = 10  # steps whose losses are printed


# jets, as four-momenta (E, px, py, pz) in GeV, of which the last dim has four


def jets(size: int, particles: int, random: Generator) -> tuple[Tensor, Tensor]:
    """Constituents [size, particles, 4] in fp64, and 1.0 for jets of a top quark, every other one, 0.0 for the rest.

    Of a top quark t -> b W, W -> q q': two decays into two, each isotropic where what decays is at rest, so that a jet
    has three prongs. Of a light quark one prong, whose width is another for each jet: many are as heavy as a top quark.
    Constituents are massless, share a prong's energy at random and are spread about it by a normal distribution.
    There is no shower, detector or other event; what a model can learn is the mass of jets and of parts of them.
    """
    signal = size // 2
    top, (b, w) = fly(signal, TOP, random), decay(signal, TOP, 0.0, W, random)
    quarks = decay(signal, W, 0.0, 0.0, random)
    prongs = boost(torch.stack([b, *(boost(quark, w, W) for quark in quarks)]), top, TOP).transpose(0, 1)
    narrow = torch.full((signal, 1, 1), NARROW, dtype=torch.float64)
    light = fly(size - signal, 0.0, random)[:, None]
    widths = NARROW + (WIDE - NARROW) * uniform(random, size - signal, 1, 1)
    found = [spray(prongs, particles, narrow, random), spray(light, particles, widths, random)]
    order = torch.arange(size) // 2 + torch.arange(size) % 2 * signal  # one of each, in turn
    return torch.cat(found)[order], (order < signal).double()


def uniform(random: Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=random, dtype=torch.float64)


def normal(random: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=random, dtype=torch.float64)


def momentum(energy: Tensor, mass: float, towards: Tensor) -> Tensor:
    """Of energies [size, 1] and directions [size, 3]."""
    return torch.cat([energy, (energy.square() - mass**2).sqrt() * normalize(towards, dim=-1)], -1)


def fly(size: int, mass: float, random: Generator) -> Tensor:
    """Particles of the energy of a jet, into any direction."""
    low, high = ENERGY
    return momentum(low + (high - low) * uniform(random, size, 1), mass, normal(random, size, 3))


def decay(size: int, mass: float, one: float, other: float, random: Generator) -> tuple[Tensor, Tensor]:
    """What a particle at rest becomes: two of these masses, back to back."""
    energy = torch.full((size, 1), (mass**2 + one**2 - other**2) / (2 * mass), dtype=torch.float64)
    towards = normal(random, size, 3)
    return momentum(energy, one, towards), momentum(mass - energy, other, -towards)


def boost(p: Tensor, frame: Tensor, mass: float) -> Tensor:
    """What p is, where what was at rest, and has this mass, has the momentum `frame`."""
    gamma, u = frame[..., :1] / mass, frame[..., 1:] / mass
    along = (u * p[..., 1:]).sum(-1, keepdim=True)
    return torch.cat([gamma * p[..., :1] + along, p[..., 1:] + u * (along / (gamma + 1) + p[..., :1])], -1)


def spray(prongs: Tensor, particles: int, widths: Tensor, random: Generator) -> Tensor:
    """Massless constituents about prongs [size, prongs, 4], whose energies they share."""
    size, count, _ = prongs.shape
    which = torch.arange(particles) % count
    shares = -torch.log1p(-uniform(random, size, particles, 1))
    whole = torch.zeros(size, count, 1, dtype=torch.float64).index_add(1, which, shares)
    energy = prongs[:, which, :1] * shares / whole[:, which]
    around = normalize(prongs[..., 1:], dim=-1)[:, which] + widths * normal(random, size, particles, 3)
    return energy * torch.cat([torch.ones_like(energy), normalize(around, dim=-1)], -1)


# what is trained


def build(packages: Path | None, channels: int, scalars: int, blocks: int) -> nn.Module:
    """Its model, with parameters as it draws them."""
    found = library(packages)
    torch.manual_seed(0)
    sizes = {"in_mv_channels": 1, "hidden_mv_channels": channels, "out_mv_channels": 1}
    sizes |= {"in_s_channels": 1, "hidden_s_channels": scalars, "out_s_channels": 0, "num_blocks": blocks}
    model: nn.Module = found.LGATr(**sizes, attention={"num_heads": 2}, mlp={})
    return model


def given(momenta: Tensor) -> tuple[Tensor, Tensor]:
    """A vector for each constituent, in the order of sta: 1, e0, e1, e2, e3, …; as a scalar log(p . jet).

    Both are what they were in a frame that moves, and so is what a model makes of them.
    """
    p = momenta / UNIT
    jet = p.sum(-2, keepdim=True)
    inner = 2 * p[..., :1] * jet[..., :1] - (p * jet).sum(-1, keepdim=True)
    return nn.functional.pad(p, (1, 11))[..., None, :], inner.log()


def logits(model: nn.Module, momenta: Tensor) -> Tensor:
    """Of each jet, in the model's dtype: the mean over constituents of the scalar part."""
    like = next(model.parameters())
    vectors, scalars = (x.to(like) for x in given(momenta))
    found: Tensor = model(vectors, scalars)[0][..., 0, 0].mean(-1)
    return found


@dataclass
class Training:
    """One of the models, its optimizer, and what each step was: the loss before it, seconds, MB on a GPU."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    def step(self, momenta: Tensor, truth: Tensor) -> None:
        """Learn from one batch."""
        gpu = truth.is_cuda
        before = torch.cuda.memory_allocated() if gpu else 0
        if gpu:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        began = time.perf_counter()
        found = logits(self.model, momenta)
        loss = binary_cross_entropy_with_logits(found, truth.to(found))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())
        if gpu:
            torch.cuda.synchronize()
            self.peak_mb = max(self.peak_mb, (torch.cuda.max_memory_allocated() - before) / 1e6)
        self.seconds.append(time.perf_counter() - began)

    @property
    def milliseconds(self) -> float:
        """The median of all steps but the first, which compiles."""
        return 1e3 * statistics.median(self.seconds[1:] or self.seconds)


def train(options: argparse.Namespace, device: str) -> tuple[dict[str, Training], int]:
    """Both models, a step of one, then of the other, on the same jets; how many layers were replaced."""
    theirs = build(options.packages, options.channels, options.scalars, options.blocks)
    theirs.to(device, getattr(torch, options.dtype))
    ours = copy.deepcopy(theirs)
    replaced = len(replace(ours))
    models = dict(zip(KINDS, (theirs, ours), strict=True))
    both = {
        name: Training(model, torch.optim.Adam(model.parameters(), options.rate, eps=EPS))
        for name, model in models.items()
    }
    random = Generator().manual_seed(1)
    console = Console(stderr=True)
    columns = TextColumn("loss {task.fields[loss]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=options.steps, loss="")
        for _ in range(options.steps):
            batch = [x.to(device) for x in jets(options.size, options.particles, random)]
            for training in both.values():
                training.step(*batch)
            bar.update(task, advance=1, loss=", ".join(f"{name} {each.losses[-1]:.4f}" for name, each in both.items()))
    return both, replaced


def differences(both: dict[str, Training]) -> list[float]:
    """At each step |kgen's loss - lgatr's| / lgatr's."""
    theirs, ours = (both[name].losses for name in KINDS)
    return [abs(b - a) / a for a, b in zip(theirs, ours, strict=True)]


# what is told


def told_apart(model: nn.Module, momenta: Tensor, truth: Tensor) -> tuple[float, float]:
    """The share of jets on the right side of zero; how often one of a top quark has a larger logit than another."""
    with torch.no_grad():
        found = torch.cat([logits(model, part) for part in momenta.split(100)])
    top, rest = found[truth > 0], found[truth == 0]
    larger = (top[:, None] > rest).double() + 0.5 * (top[:, None] == rest)
    return ((found > 0) == (truth > 0)).double().mean().item(), larger.mean().item()


def losses(both: dict[str, Training]) -> Table:
    """Of some steps, of both models side by side."""
    shown, apart = Table("step", *KINDS, "difference", title="losses"), differences(both)
    last = len(apart) - 1
    for step in sorted({round(last * part / (SHOWN - 1)) for part in range(SHOWN)}):
        shown.add_row(str(step), *(f"{both[name].losses[step]:.6f}" for name in KINDS), f"{apart[step]:.1e}")
    return shown


def results(both: dict[str, Training], options: argparse.Namespace, device: str) -> Table:
    """Of both models, on jets that were not trained on."""
    columns = "", "accuracy", "AUC", "ms a step", *(["MB of a step"] if device == "cuda" else [])
    told = "{setting}\n{dtype}, {device}, torch {torch}; kgen: {ran}".format(**setting(options, device))
    shown = Table(*columns, title=f"{options.unseen} unseen jets")
    shown.caption = told
    unseen = [x.to(device) for x in jets(options.unseen, options.particles, Generator().manual_seed(2))]
    for name, each in both.items():
        memory = [f"{each.peak_mb:.0f}"] if device == "cuda" else []
        accuracy, auc = told_apart(each.model, *unseen)
        shown.add_row(name, f"{accuracy:.3f}", f"{auc:.4f}", f"{each.milliseconds:.1f}", *memory)
    return shown


def setting(options: argparse.Namespace, device: str) -> dict[str, str]:
    """What was trained, and where."""
    names = ("size", "particles", "channels", "scalars", "blocks", "rate")
    gpu, interpreted = device == "cuda", os.environ.get("TRITON_INTERPRET") == "1"
    on_cpu = "kernels in Triton's interpreter" if interpreted else "torch references, no kernel ran"
    return {
        "setting": " ".join(f"{name}={getattr(options, name)}" for name in names),
        "dtype": options.dtype,
        "ran": "kernels" if gpu else on_cpu,
        "device": torch.cuda.get_device_name() if gpu else f"CPU {platform.machine()}",
        "torch": str(torch.__version__),
        "threads": "" if gpu else str(torch.get_num_threads()),
    }


def write(both: dict[str, Training], fixed: dict[str, str], path: Path) -> None:
    """A row for each step, with the loss before it and its seconds, of both models."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["step", *KINDS, *(f"{name} seconds" for name in KINDS), *fixed])
        for step in range(len(both[KINDS[0]].losses)):
            seconds = (f"{both[name].seconds[step]:.4g}" for name in KINDS)
            rows.writerow([step, *(both[name].losses[step] for name in KINDS), *seconds, *fixed.values()])


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train lgatr's model on simulated jets, as it is and with generated layers, and compare.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--packages", type=Path, help="a folder with lgatr, if it is not installed")
    parser.add_argument("--dtype", choices=BOUNDS, default="float32", help="of both models")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--size", type=int, default=64, help="jets in a step")
    parser.add_argument("--particles", type=int, default=12, help="constituents of a jet, three at least")
    parser.add_argument("--channels", type=int, default=4, help="of multivectors")
    parser.add_argument("--scalars", type=int, default=8, help="channels of scalars")
    parser.add_argument("--blocks", type=int, default=2, help="of attention and MLP")
    parser.add_argument("--rate", type=float, default=3e-3, help="of learning")
    parser.add_argument("--unseen", type=int, default=2000, help="jets that are not trained on")
    parser.add_argument("--out", type=Path, help="write the curves to this CSV")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options, console = parsed(arguments), Console()
    device, default = "cuda" if torch.cuda.is_available() else "cpu", torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, options.dtype))  # in which lgatr makes what its layers start from
    try:
        both, replaced = train(options, device)
    finally:
        torch.set_default_dtype(default)
    console.print(losses(both))
    console.print(results(both, options, device))
    apart, bound = max(differences(both)), BOUNDS[options.dtype]
    verdict = "within" if apart <= bound else "[red]beyond[/]"
    console.print(f"{replaced} layers replaced; losses are apart by {apart:.1e} at most, {verdict} {bound:g}")
    if options.out:
        write(both, setting(options, device), options.out)
    return int(not apart <= bound)


if __name__ == "__main__":
    sys.exit(main())
