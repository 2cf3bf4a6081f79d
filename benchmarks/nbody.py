"""The trainings of examples/nbody that are kept: their figures, and what a page says of them, from their CSVs.

    python -m benchmarks.nbody steps --out benchmarks/results/NAME-steps.csv
    python -m benchmarks.nbody draw benchmarks/results/NAME-nbody-*.csv --steps benchmarks/results/NAME-steps.csv

The first measures what a step costs a CPU, whatever else it does meanwhile: the processor's time on one thread, the
least of some steps, which the kinds of layers take in turn. The second draws the trainings into docs/plots/nbody/, and
rewrites what stands between the markers of `nbody` in docs/nbody.md; `make plots` does so, too. Tests compare the page
and what is drawn with the CSVs.
"""

import csv
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks import table
from kgen.errors import KgenError

EXAMPLE = Path(__file__).parents[1] / "examples" / "nbody"
sys.path.insert(0, str(EXAMPLE))

import curves  # type: ignore[import-not-found]  # noqa: E402

if TYPE_CHECKING:
    from curves import Curve, Curves

PLOTS = Path("docs/plots/nbody")
PAGE = Path("docs/nbody.md")
HEAD = ["task", "dtype", "steps", "layers", "error on unseen systems", "of none", "losses apart by"]

COLUMNS = ("device", "torch", "threads", "task", "size", "dtype", "contender", "processor_ms")
ROUNDS = 30

app = typer.Typer(no_args_is_help=True, add_completion=False)


def text(found: Sequence["Curves"], measured: Sequence[Mapping[str, str]]) -> str:
    """The section: where it was measured, a line for each training and kind, the figures, and what steps cost."""
    trainings = [table.line(HEAD), "|---|---|--:|---|--:|--:|--:|", *_lines(found)]
    pictures = [_picture(task) for task in sorted({each.fixed["task"] for each in found})]
    return "\n\n".join([_where(found), "\n".join(trainings), *pictures, *_costs(measured)])


def _costs(measured: Sequence[Mapping[str, str]]) -> list[str]:
    """None without measurements."""
    if not measured:
        return []
    first = measured[0]
    where = f"Processor time of a step, the least of {ROUNDS}, one thread, {first['device']}, torch {first['torch']}:"
    head = [table.line(["task", "dtype", "layers", "ms"]), "|---|---|---|--:|"]
    rows = [table.line([row[name] for name in ("task", "dtype", "contender", "processor_ms")]) for row in measured]
    return [where, "\n".join([*head, *rows])]


def _where(found: Iterable["Curves"]) -> str:
    """Raises KgenError for trainings of several devices."""
    told = {
        f"{f['device']}, {f['threads']} threads, torch {f['torch']}; kgen: {f['ran']}"
        for f in (each.fixed for each in found)
    }
    if len(told) > 1:
        raise KgenError(f"trained on {' and '.join(sorted(told))}", hint="keep the trainings of one device")
    return f"Trained on {told.pop()}."


def _lines(found: Iterable["Curves"]) -> list[str]:
    return [_line(each, kind, curve) for each in found for kind, curve in each.kinds.items()]


def _line(each: "Curves", kind: str, curve: "Curve") -> str:
    apart = f"{max(curves.differences(each)):.1e}" if kind == curves.KINDS[0] else ""
    figures = [f"{curve.error:.4g}", f"{curve.error / each.without:.3f}", apart]
    return table.line([each.fixed["task"], each.fixed["dtype"], str(len(curve.losses)), kind, *figures])


def _picture(task: str) -> str:
    inks = (f"![losses of {task}](plots/{PLOTS.name}/{task}-{ink}.svg#only-{ink})" for ink in ("light", "dark"))
    return "\n".join(inks)


# what a step costs


def costs(task: str, rounds: int = ROUNDS, options: Sequence[str] = ()) -> list[dict[str, str]]:
    """A row for each kind of layers, of one training step in fp32 on one thread of the CPU."""
    import torch
    import train  # type: ignore[import-not-found]

    torch.set_num_threads(1)
    cpu, chosen = torch.device("cpu"), train.parsed(["--task", task, *options])
    with train.processes():
        models, systems, _ = train.setting(chosen, cpu)
        trainings = {name: train.Training(model, systems, chosen) for name, model in models.items()}
        least = dict.fromkeys(trainings, float("inf"))
        for _ in range(rounds):
            for name, training in trainings.items():
                began = time.process_time()
                training.step()
                least[name] = min(least[name], time.process_time() - began)
    fixed = (train.device_name(cpu), str(torch.__version__), "1", task, train.size(chosen), chosen.dtype)
    return [dict(zip(COLUMNS, (*fixed, name, f"{1e3 * spent:.3g}"))) for name, spent in least.items()]


def kept(path: Path) -> list[dict[str, str]]:
    """The rows of such a CSV. Raises KgenError where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise KgenError(f"cannot read {path}: {error.strerror}") from None


@app.command("steps")
def write_steps(
    out: Annotated[Path, typer.Option(help="The CSV.")],
) -> None:
    """Measure training steps of both tasks on one thread of the CPU."""
    rows = [row for task in ("forces", "motion") for row in costs(task)]
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@app.command()
def draw(
    sources: Annotated[list[Path], typer.Argument(help="CSVs of examples/nbody/train.py, of one device.")],
    out: Annotated[Path, typer.Option(help="The folder of the figures.")] = PLOTS,
    steps: Annotated[Path | None, typer.Option(help="A CSV of the other command.")] = None,
    page: Annotated[Path, typer.Option(help="The file with the markers.")] = PAGE,
) -> None:
    """Draw trainings, and rewrite what a page says of them."""
    try:
        found = [curves.read(source) for source in sources]
        told = text(found, kept(steps) if steps else [])
        curves.figures(found, out)
    except KgenError as mistake:
        typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from None
    table.rewrite(page, "nbody", told)


if __name__ == "__main__":
    app()
