"""Charged particles: what happens to them, and the graphs that a network sees of them.

Units are arbitrary: unit masses, charges of -1 or 1, a force of q_i q_j r / (|r|^2 + SOFT)^(3/2) from r away, which
pushes like charges apart. All systems are simulated at once, in fp64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SOFT = 0.1  # of the squared distance, so that nothing is infinite
STEP = 0.01  # of time


@dataclass(frozen=True)
class Systems:
    """(systems, particles, …) of each; `end` is where they are after `time`, `force` what acts on them at first."""

    place: Tensor  # (…, 3)
    velocity: Tensor  # (…, 3)
    charge: Tensor  # (…)
    end: Tensor  # (…, 3)
    force: Tensor  # (…, 3)
    time: float

    def __len__(self) -> int:
        return len(self.place)

    def part(self, which: Tensor | slice) -> "Systems":
        tensors = (self.place, self.velocity, self.charge, self.end, self.force)
        return Systems(*(tensor[which] for tensor in tensors), self.time)

    def to(self, *where: torch.device | torch.dtype) -> "Systems":
        tensors = (self.place, self.velocity, self.charge, self.end, self.force)
        for each in where:
            tensors = tuple(tensor.to(each) for tensor in tensors)  # type: ignore[assignment]
        return Systems(*tensors, self.time)


def force(place: Tensor, charge: Tensor) -> Tensor:
    """What acts on each particle."""
    away = place[:, :, None] - place[:, None, :]
    strength = charge[:, :, None] * charge[:, None, :] / (away.square().sum(-1) + SOFT) ** 1.5
    return (strength[..., None] * away).sum(2)  # what is 0 away does not push


def simulate(systems: int, particles: int, time: float, seed: int) -> Systems:
    """Random systems and what becomes of them, by leapfrog."""
    random = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(systems, particles, 3, generator=random, dtype=torch.float64)

    place, velocity = draw(), 0.5 * draw()
    charge = 2.0 * torch.randint(2, (systems, particles), generator=random).double() - 1
    at, moving, first = place, velocity, force(place, charge)
    for _ in range(round(time / STEP)):
        moving = moving + STEP / 2 * force(at, charge)
        at = at + STEP * moving
        moving = moving + STEP / 2 * force(at, charge)
    return Systems(place, velocity, charge, at, first, time)


def edges(systems: int, particles: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Source and target of each edge, of graphs in which each particle hears of all others of its system."""
    pairs = [(i, j) for j in range(particles) for i in range(particles) if i != j]
    source, target = (torch.tensor(end, device=device) for end in zip(*pairs))
    first = particles * torch.arange(systems, device=device)[:, None]
    return (source + first).flatten(), (target + first).flatten()
