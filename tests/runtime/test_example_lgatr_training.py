"""`examples/lgatr/train.py`: the jets, and with KGEN_LGATR, a folder with lgatr, a training of both models."""

import csv
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from modules import ROOT
from replacing import example_of
from torch import Generator, Tensor, nn

PACKAGES = os.environ.get("KGEN_LGATR")
KEPT = sorted((ROOT / "benchmarks" / "results").glob("*lgatr-tagging*.csv"))
SIZES = ["--dtype", "float64", "--steps", "4", "--size", "6", "--particles", "4", "--blocks", "1", "--unseen", "20"]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


@pytest.fixture(scope="module")
def train() -> Iterator[Any]:
    """The example's module, which is not the one of that name in `examples/nbody`."""
    with example_of("lgatr", "lgatr"):
        spec = importlib.util.spec_from_file_location("train_lgatr", ROOT / "examples" / "lgatr" / "train.py")
        assert spec and spec.loader
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        yield found


def drawn(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def squares(p: Tensor) -> Tensor:
    """E^2 - px^2 - py^2 - pz^2."""
    return p[..., 0].square() - p[..., 1:].square().sum(-1)


def moved(p: Tensor, rapidity: float, angle: float) -> Tensor:
    """In another frame: turned about x, and boosted along z."""
    a, r = torch.tensor([angle, rapidity], dtype=torch.float64)
    e, x, y, z = p.unbind(-1)
    y, z = a.cos() * y - a.sin() * z, a.sin() * y + a.cos() * z
    return torch.stack([r.cosh() * e + r.sinh() * z, x, y, r.sinh() * e + r.cosh() * z], -1)


def test_constituents_are_massless(train: Any) -> None:
    """Of positive energies that add up to a jet's; every other jet is a top quark's."""
    p, truth = train.jets(51, 12, drawn())
    assert p.shape == (51, 12, 4) and (p[..., 0] > 0).all()
    assert (squares(p).abs() < 1e-12 * p[..., 0].square()).all()
    energy = p[..., 0].sum(-1)
    assert (energy > 499.99).all() and (energy < 700.01).all()
    assert truth[:50].tolist() == [1.0, 0.0] * 25 and truth[50] == 0.0


def test_jets_are_the_same_for_the_same_seed(train: Any) -> None:
    one, same, other = (train.jets(8, 5, drawn(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.isclose(one, other).any()


def test_decays_conserve_momentum(train: Any) -> None:
    """What a top quark becomes has its momentum, and each its own mass, also in flight."""
    random = drawn()
    top, parts = train.fly(9, train.TOP, random), train.decay(9, train.TOP, 0.0, train.W, random)
    b, w = (train.boost(part, top, train.TOP) for part in parts)
    torch.testing.assert_close(b + w, top)
    for p, mass in ((top, train.TOP), (b, 0.0), (w, train.W)):
        torch.testing.assert_close(squares(p), torch.full((9,), mass**2, dtype=torch.float64), rtol=1e-9, atol=1e-6)
    rest = torch.tensor([train.TOP, 0.0, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(train.boost(rest, top, train.TOP), top)


def test_masses_do_not_tell_jets_apart(train: Any) -> None:
    """Those of a top quark are about as heavy as it is; of the others some are lighter, some are heavier."""
    p, truth = train.jets(2000, 12, drawn())
    masses = squares(p.sum(-2)).sqrt()
    low, middle, high = masses[truth > 0].quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)).tolist()
    others = masses[truth == 0]
    assert abs(middle / train.TOP - 1) < 0.05 and low > 0.8 * train.TOP and high < 1.2 * train.TOP
    assert (others < low).double().mean() > 0.2 and (others > high).double().mean() > 0.2


def test_scalars_are_those_of_any_frame(train: Any) -> None:
    p, _ = train.jets(6, 5, drawn())
    vectors, scalars = train.given(p)
    assert vectors.shape == (6, 5, 1, 16) and scalars.shape == (6, 5, 1)
    torch.testing.assert_close(vectors[..., 0, 1:5] * train.UNIT, p)
    assert vectors[..., 0].eq(0).all() and vectors[..., 5:].eq(0).all()
    torch.testing.assert_close(train.given(moved(p, 0.7, 1.1))[1], scalars)
    whole = squares(p.sum(-2)) / train.UNIT**2
    torch.testing.assert_close(scalars.exp().sum((-2, -1)), whole)


def test_how_well_jets_are_told_apart(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "logits", lambda model, momenta: momenta)
    found, truth = torch.tensor([2.0, -1.0, 0.5, 0.5, -3.0]), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    assert train.told_apart(nn.Identity(), found, truth) == (pytest.approx(3 / 5), pytest.approx(4.5 / 6))


@pytest.mark.skipif(not PACKAGES, reason="KGEN_LGATR names no folder")
def test_both_learn_alike(train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "curves.csv"
    assert train.main(["--packages", str(PACKAGES), *SIZES, "--out", str(path)]) == 0
    assert "8 layers replaced" in capsys.readouterr().out
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    theirs, ours = ([float(row[name]) for row in rows] for name in train.KINDS)
    assert ours == pytest.approx(theirs, rel=1e-10) and len(set(theirs)) == 4


@pytest.mark.skipif(not PACKAGES, reason="KGEN_LGATR names no folder")
def test_other_layers_learn_otherwise(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the other sign of the geometric product the curves part, and the exit status says so."""

    def replace(model: nn.Module) -> dict[str, nn.Module]:
        new: dict[str, nn.Module] = right(model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".linear_left." in name:
                    parameter.neg_()
        return new

    right = train.replace
    monkeypatch.setattr(train, "replace", replace)
    assert train.main(["--packages", str(PACKAGES), *SIZES]) == 1


@pytest.mark.skipif(not PACKAGES, reason="KGEN_LGATR names no folder")
def test_logits_are_those_of_any_frame(train: Any) -> None:
    model = train.build(Path(str(PACKAGES)), 4, 8, 1).double()
    p, _ = train.jets(6, 5, drawn())
    found = train.logits(model, p)
    torch.testing.assert_close(train.logits(model, moved(p, 0.7, 1.1)), found, rtol=1e-8, atol=1e-8)
    assert not torch.isclose(train.logits(model, p * torch.tensor([1.0, 1.0, 1.0, 0.5])), found).any()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_the_readme_has_the_figures_of_the_kept_curves(train: Any, path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    theirs, ours = ([float(row[name]) for row in rows] for name in train.KINDS)
    apart = max(abs(b - a) / a for a, b in zip(theirs, ours, strict=True))
    dtype, last = rows[0]["dtype"], [sum(losses[-20:]) / 20 for losses in (theirs, ours)]
    seconds = [sorted(float(row[f"{name} seconds"]) for row in rows[1:])[len(rows) // 2] for name in train.KINDS]
    assert apart <= train.BOUNDS[dtype] and last[0] < 0.5 * theirs[0]
    told = [dtype, f"{apart:.1e}", f"{train.BOUNDS[dtype]:g}", *(f"{loss:.4f}" for loss in last)]
    told += [f"{1e3 * each:.0f}" for each in seconds]
    readme = (ROOT / "examples" / "lgatr" / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith(f"| {dtype} ")]
    assert [cell.strip() for cell in row.strip("|").split("|")][: len(told)] == told
