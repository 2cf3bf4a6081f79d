"""The example of charged particles: its physics, and that generated layers train as those of plain torch do."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "nbody"))

import charges  # type: ignore[import-not-found]
import curves  # type: ignore[import-not-found]
import network  # type: ignore[import-not-found]
import train  # type: ignore[import-not-found]

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "examples" / "nbody" / "train.py"


def potential(place: Tensor, charge: Tensor) -> Tensor:
    """Of all systems together: each pair once."""
    ends = torch.triu_indices(place.shape[1], place.shape[1], 1)
    away = place[:, ends[0]] - place[:, ends[1]]
    found: Tensor = charge[:, ends[0]] * charge[:, ends[1]] / (away.square().sum(-1) + charges.SOFT).sqrt()
    return found.sum()


def test_forces_are_the_gradient_of_a_potential() -> None:
    systems = charges.simulate(4, 5, 0.0, 3)
    place = systems.place.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(potential(place, systems.charge), place)
    torch.testing.assert_close(-gradient, systems.force)


def test_motion_keeps_momentum_and_nearly_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean place moves as the mean velocity says, and halving the step quarters what is wrong of the places."""
    ends = []
    for step in (0.02, 0.01, 0.005):
        monkeypatch.setattr(charges, "STEP", step)
        ends.append(charges.simulate(8, 5, 0.4, 3))
    moved = ends[0].end - ends[0].place
    assert moved.mean(1).allclose(0.4 * ends[0].velocity.mean(1))
    coarse, fine = ((a.end - b.end).norm() for a, b in zip(ends, ends[1:]))
    assert 3 < coarse / fine < 5


def test_everybody_hears_all_others_of_their_system() -> None:
    source, target = charges.edges(2, 3, torch.device("cpu"))
    pairs = sorted(zip(source.tolist(), target.tolist()))
    assert pairs == sorted((i + k, j + k) for k in (0, 3) for i in range(3) for j in range(3) if i != j)


def rotation() -> Tensor:
    random = torch.Generator().manual_seed(4)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64))
    return turn if torch.linalg.det(turn) > 0 else -turn  # type: ignore[no-any-return]


@pytest.mark.parametrize("task", network.TASKS)
def test_the_loss_is_that_of_the_turned_and_moved_system(task: str) -> None:
    torch.manual_seed(0)
    kind, layers = network.TASKS[task]
    model = kind(layers, 4, 2).double()
    now, turn = charges.simulate(2, 4, 0.2, 3), rotation()
    turned = charges.Systems(
        now.place @ turn.T + 3.0,
        now.velocity @ turn.T,
        now.charge,
        now.end @ turn.T + 3.0,
        now.force @ turn.T,
        now.time,
    )
    assert model(turned).item() == pytest.approx(model(now).item(), rel=1e-10)


@pytest.mark.parametrize("task", network.TASKS)
def test_every_gradient_is_that_of_plain_torch(task: str) -> None:
    """Those of the forces' loss are second derivatives."""
    kind, layers = network.TASKS[task]
    torch.manual_seed(0)
    theirs = kind(network.PLAIN, 4, 2).double()
    ours = kind(layers, 4, 2).double()
    ours.load_state_dict(theirs.state_dict())
    now = charges.simulate(2, 4, 0.2, 3)
    for model in (theirs, ours):
        model(now).backward()
    found = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        pair = [0 * x if x.grad is None else x.grad for x in (found.pop(name), parameter)]  # a constant of an energy
        torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-12)
    assert not found


OPTIONS = [
    "--systems",
    "4",
    "--unseen",
    "4",
    "--batch",
    "2",
    "--particles",
    "3",
    "--channels",
    "2",
    "--depth",
    "1",
    "--dtype",
    "float64",
]


def losses(path: Path) -> dict[str, list[float]]:
    return {name: curve.losses for name, curve in curves.read(path).kinds.items()}


def run(*command: str) -> str:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_curves_are_alike_on_one_process_and_on_two(tmp_path: Path) -> None:
    said = run(
        str(TRAIN), *OPTIONS, "--steps", "4", "--out", str(tmp_path / "1.csv"), "--plot", str(tmp_path / "1.svg")
    )
    assert "kgen" in said and "plain torch" in said and (tmp_path / "1.svg").is_file()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run(*launcher, str(TRAIN), *OPTIONS, "--steps", "4", "--out", str(tmp_path / "2.csv"))
    one, two = losses(tmp_path / "1.csv"), losses(tmp_path / "2.csv")
    assert one["kgen"] == pytest.approx(one["plain torch"], rel=1e-5)
    assert two["kgen"] == pytest.approx(one["kgen"], rel=1e-5)
    assert len(one["kgen"]) == 4 and len(set(one["kgen"])) == 4


@pytest.mark.slow
def test_kernels_and_what_they_are_held_against_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps lower the loss, with the same error for both kinds."""
    monkeypatch.setattr(train.dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(train.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(train.dist, "all_reduce", lambda tensor: None)
    options = train.parsed([*OPTIONS, "--steps", "12", "--rate", "0.02"])
    found, trained = train.results(options, torch.device("cpu"))
    ours, theirs = found["kgen"].curve, found["plain torch"].curve
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-6) and ours.error == pytest.approx(theirs.error, rel=1e-6)
    assert sum(ours.losses[-4:]) < sum(ours.losses[:4])
    assert trained.without > 0 and found["kgen"].milliseconds > 0 and list(ours.unseen) == list(range(13))
    assert trained.fixed["ran"] == "kernels in Triton's interpreter"
    shown = train.table(found, trained, 0.5)
    assert shown.row_count == 2 and str(shown.caption).count("apart by") == 1


@pytest.mark.slow
def test_a_goal_that_is_missed_is_the_exit_status_and_progress_is_told(tmp_path: Path) -> None:
    """Without a terminal, a line for each part; a goal that anything reaches changes nothing."""
    command = [sys.executable, str(TRAIN), *OPTIONS, "--steps", "3", "--only", "plain torch", "--goal"]
    missed, met = (
        subprocess.run([*command, goal], cwd=ROOT, capture_output=True, text=True) for goal in ("1e-9", "1e9")
    )
    assert (missed.returncode, met.returncode) == (1, 0), missed.stderr
    assert "missed" in missed.stdout and "missed" not in met.stdout
    assert [line.partition(",")[0] for line in met.stderr.splitlines() if "steps" in line] == [
        f"plain torch: {step} of 3 steps" for step in (1, 2, 3)
    ]
