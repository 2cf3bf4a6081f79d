"""Curves of trainings of one task with several kinds of layers: kept as CSVs, read again, and drawn.

    python examples/nbody/curves.py build/motion.csv --out build

A CSV has a row for each step, with the loss before it, and a last one for what came of all; now and then the error on
systems that were not trained on stands in it. Of several CSVs those of one task are one figure, for light pages and for
dark ones.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from kgen.errors import KgenError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kgen.tools.bench.drawing import Theme

KINDS = ("kgen", "plain torch")
FIXED = ("task", "unit", "size", "dtype", "ran", "device", "torch", "threads", "without")  # columns of equal texts
UNSEEN = "{} unseen"
PART = 20  # steps that are one point of a figure
SMALLEST = 1e-18  # a difference that is drawn, below any that is none


@dataclass
class Curve:
    """What one kind of layers did: of each step the loss before it, of some the error on systems that it never saw."""

    losses: list[float] = field(default_factory=list)
    unseen: dict[int, float] = field(default_factory=dict)

    @property
    def error(self) -> float:
        """On systems that were not trained on, after all steps."""
        return self.unseen[len(self.losses)]

    def reached(self, goal: float) -> int | None:
        """The first step at which the error was found to be no larger; None for never."""
        return min((step for step, error in self.unseen.items() if error <= goal), default=None)


@dataclass
class Curves:
    """One training: `fixed` says of what, by the columns of FIXED; curves by kind."""

    fixed: dict[str, str]
    kinds: dict[str, Curve]

    @property
    def without(self) -> float:
        """The error on unseen systems without a network."""
        return float(self.fixed["without"])


def differences(curves: Curves) -> list[float]:
    """At each step, how far the losses of both kinds are apart, over plain torch's; none for one kind alone."""
    if not set(KINDS) <= set(curves.kinds):
        return []
    ours, theirs = (curves.kinds[kind].losses for kind in KINDS)
    return [abs(a - b) / b for a, b in zip(ours, theirs, strict=True)]


# files


def write(curves: Curves, path: Path) -> None:
    """All digits that are needed to read the same numbers again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [form.format(kind) for form in ("{}", UNSEEN) for kind in curves.kinds]
    steps = max(len(curve.losses) for curve in curves.kinds.values())
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["step", *names, *FIXED])
        for step in range(steps + 1):
            known = [dict(enumerate(curve.losses)) for curve in curves.kinds.values()]
            known += [curve.unseen for curve in curves.kinds.values()]
            rows.writerow([step, *(each.get(step, "") for each in known), *(curves.fixed[name] for name in FIXED)])


def read(path: Path) -> Curves:
    """Raises KgenError for a file that is no such CSV."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise KgenError(f"cannot read {path}: {error.strerror}") from None
    if not rows or not {"step", *FIXED} <= set(rows[0]):
        raise KgenError(f"{path} has no curves", hint="train anew: python examples/nbody/train.py --out NAME.csv")
    kinds = [kind for kind in KINDS if kind in rows[0]]
    return Curves({name: rows[0][name] for name in FIXED}, {kind: _curve(rows, kind) for kind in kinds})


def _curve(rows: Sequence[dict[str, str]], kind: str) -> Curve:
    names = kind, UNSEEN.format(kind)
    losses, unseen = ({int(row["step"]): float(row[name]) for row in rows if row[name]} for name in names)
    return Curve([losses[step] for step in sorted(losses)], unseen)


# figures


def means(losses: Sequence[float]) -> tuple[list[int], list[float]]:
    """Steps, and the mean of the losses of a part from there."""
    parts = {start: losses[start : start + PART] for start in range(0, len(losses), PART)}
    return list(parts), [sum(part) / len(part) for part in parts.values()]


def largest(apart: Sequence[float]) -> tuple[list[int], list[float]]:
    """Steps, and the largest difference of a part from there."""
    starts = range(0, len(apart), PART)
    return list(starts), [max(SMALLEST, *apart[start : start + PART]) for start in starts]


def draw(found: Sequence[Curves], theme: "Theme") -> "Figure":
    """The trainings of one task: losses and errors of the first, and differences of all that have two kinds."""
    from matplotlib.figure import Figure

    from kgen.tools.bench.drawing import style

    with style(theme):
        figure = Figure(figsize=(9.0, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        _losses(left, found[0], theme)
        _differences(right, found, theme)
        figure.suptitle(_title(found[0]))
    return figure


def _losses(place: "Axes", curves: Curves, theme: "Theme") -> None:
    """One wide and light, the other thin and upon it, so that both are seen where they are the same."""
    looks = {KINDS[0]: {"linewidth": 6.0, "alpha": 0.5}, KINDS[1]: {"linewidth": 1.3}}
    marks = {KINDS[0]: {"markersize": 7.0, "markerfacecolor": "none"}, KINDS[1]: {"markersize": 3.0}}
    for number, (kind, curve) in enumerate(curves.kinds.items()):
        colour = theme.lines[number]
        place.plot(*means(curve.losses), color=colour, label=f"{kind}, loss", **looks[kind])  # type: ignore[arg-type]
        unseen = dict(sorted(curve.unseen.items()))
        place.plot([*unseen], [*unseen.values()], "o", color=colour, label=f"{kind}, unseen systems", **marks[kind])  # type: ignore[arg-type]
    place.axhline(curves.without, color=theme.ink, linewidth=1.0, linestyle=":", label="without a network")
    _finish(place, curves.fixed["unit"], f"{curves.fixed['dtype']}, a point for {PART} steps")


def _differences(place: "Axes", found: Sequence[Curves], theme: "Theme") -> None:
    for number, curves in enumerate(curves for curves in found if differences(curves)):
        colour, mark = theme.lines[2 + number], "sD^v"[number]
        steps = largest(differences(curves))
        place.plot(*steps, color=colour, marker=mark, markersize=3, linewidth=1.0, label=curves.fixed["dtype"])
    _finish(place, "difference of the losses / loss", f"kgen and plain torch apart, largest of {PART} steps")


def _finish(place: "Axes", unit: str, title: str) -> None:
    place.set(yscale="log", xlabel="step", ylabel=unit)
    place.set_title(title, fontsize=9)
    place.grid(True)
    place.set_axisbelow(True)
    place.spines[["top", "right"]].set_visible(False)
    if place.lines:
        place.legend(frameon=False, fontsize=8)


def _title(curves: Curves) -> str:
    fixed = curves.fixed
    return f"{fixed['task']}: {fixed['size']}\n{fixed['device']}, torch {fixed['torch']}, {fixed['ran']}"


def figures(found: Iterable[Curves], out: Path) -> list[Path]:
    """Draw each task's trainings into a folder, for light and for dark pages; the files. Raises KgenError."""
    from kgen.tools.bench.plots import drawing

    tool, paths = drawing(), []
    out.mkdir(parents=True, exist_ok=True)
    for task, same in groupby(sorted(found, key=lambda c: c.fixed["task"]), lambda c: c.fixed["task"]):
        trainings = list(same)
        for theme in tool.THEMES:
            paths.append(out / f"{task}-{theme.name}.svg")
            tool.save(draw(trainings, theme), paths[-1])
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what train.py --out wrote; needs matplotlib.")
    parser.add_argument("sources", metavar="CSV", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build"), help="the folder of the figures (%(default)s)")
    options = parser.parse_args()
    try:
        for path in figures(map(read, options.sources), options.out):
            print(f"wrote {path}")
    except KgenError as mistake:
        parser.exit(2, f"{mistake}\n")


if __name__ == "__main__":
    main()
