"""A CGENN network of particles: messages along edges, a block at each node. Its layers are generated, or plain torch.

Both kinds of network have the same parameters under the same names. Positions and velocities are vectors, charges
scalars; what the network says of a particle turns with its system, and moves with it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `generated`, which is not part of the installed package
sys.path.insert(0, str(Path(__file__).parent))  # also where this file is imported

import plain
import torch
from charges import Systems, edges
from torch import Tensor, nn

from generated import cgenn3d, message

VECTOR = slice(1, 4)  # where e1, e2, e3 are among the blades
EDGE_FEATURES = 2


@dataclass(frozen=True)
class Layers:
    """What a network is made of."""

    linear: Callable[..., nn.Module]
    block: Callable[[int, int], nn.Module]
    message: Callable[[int], nn.Module]


def in_parts(in_features: int, out_features: int) -> nn.Module:
    """A block of four functions, each of which has a kernel of its second derivatives."""
    return nn.Sequential(
        cgenn3d.MVLinear(in_features, out_features),
        cgenn3d.MVSiLU(out_features),
        cgenn3d.SteerableGeometricProductLayer(out_features),
        cgenn3d.MVLayerNorm(out_features),
    )


KGEN = Layers(cgenn3d.MVLinear, cgenn3d.CEMLPBlock, message.Message)
KGEN_TWICE = Layers(cgenn3d.MVLinear, in_parts, message.Message)
PLAIN = Layers(plain.MVLinear, plain.CEMLPBlock, plain.Message)


class Layer(nn.Module):
    """What the others say is added to what a particle is: h + block(h, the mean of its messages)."""

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(EDGE_FEATURES, 32), nn.SiLU(), nn.Linear(32, channels))
        self.message = layers.message(channels)
        self.block = layers.block(2 * channels, channels)

    def forward(self, h: Tensor, edge: Tensor, source: Tensor, target: Tensor) -> Tensor:
        heard = self.message(h, self.gate(edge), source, target) * (len(h) / len(source))
        return h + self.block(torch.cat([h, heard], 1))  # type: ignore[no-any-return]


class Network(nn.Module):
    """(nodes, inputs, 8) to (nodes, 8)."""

    def __init__(self, layers: Layers, inputs: int, channels: int, depth: int) -> None:
        super().__init__()
        self.embed = layers.linear(inputs, channels, subspaces=False)
        self.layers = nn.ModuleList(Layer(layers, channels) for _ in range(depth))
        self.out = layers.linear(channels, 1)

    def forward(self, h: Tensor, edge: Tensor, source: Tensor, target: Tensor) -> Tensor:
        h = self.embed(h)
        for layer in self.layers:
            h = layer(h, edge, source, target)
        return self.out(h)[:, 0]  # type: ignore[no-any-return]


def seen(place: Tensor, charge: Tensor, *vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a network is given: of nodes (nodes, inputs, 8), of edges (edges, 2), source and target."""
    systems, particles, _ = place.shape
    source, target = edges(systems, particles, place.device)
    scalars = nn.functional.pad(charge.reshape(-1, 1), (0, 7))
    centred = place - place.mean(1, keepdim=True)
    turning = [nn.functional.pad(x.reshape(-1, 3), (VECTOR.start, 8 - VECTOR.stop)) for x in (centred, *vectors)]
    away = place.reshape(-1, 3)[source] - place.reshape(-1, 3)[target]
    distance, together = away.square().sum(-1), charge.flatten()[source] * charge.flatten()[target]
    edge = torch.stack([together, torch.log1p(distance)], -1)
    return torch.stack([scalars, *turning], 1), edge, source, target


class Motion(nn.Module):
    """Where particles will be: the loss is the mean squared distance from there, a third of it."""

    unit = "mean squared error of the place"

    def __init__(self, layers: Layers, channels: int, depth: int) -> None:
        super().__init__()
        self.network = Network(layers, 3, channels, depth)

    def forward(self, now: Systems) -> Tensor:
        out: Tensor = self.network(*seen(now.place, now.charge, now.velocity))
        end = now.place + now.time * now.velocity + out[:, VECTOR].reshape(now.place.shape)
        return (end - now.end).square().mean()

    @staticmethod
    def without(now: Systems) -> Tensor:
        """The error of who knows no forces."""
        return (now.place + now.time * now.velocity - now.end).square().mean()


class Forces(nn.Module):
    """What acts on particles: minus the gradient of an energy, which is a scalar that the network says of each."""

    unit = "mean squared error of the force"

    def __init__(self, layers: Layers, channels: int, depth: int) -> None:
        super().__init__()
        self.network = Network(layers, 2, channels, depth)

    def forward(self, now: Systems) -> Tensor:
        with torch.enable_grad():
            place = now.place.detach().requires_grad_()
            energy = self.network(*seen(place, now.charge))[:, 0].sum()
            (gradient,) = torch.autograd.grad(energy, place, create_graph=self.training)
        return (now.force + gradient).square().mean()

    @staticmethod
    def without(now: Systems) -> Tensor:
        """The error of who says that nothing acts."""
        return now.force.square().mean()


TASKS: dict[str, Any] = {"motion": (Motion, KGEN), "forces": (Forces, KGEN_TWICE)}
