"""The same functions of several folders of generated packages, side by side on one device: did a change cost time?

    python -m benchmarks.versions before=FOLDER after=generated --out FILE.csv [--package vga3d] [--dtype float32]

Every function that all folders have is timed forward, forward and backward, and with second derivatives where it has
kernels of them, for each choice of its options; results are compared with those of the first folder before. Kernels
are compiled beforehand, in as many processes as there are processors.
"""

import argparse
import csv
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

from kgen.tools.bench import timing
from kgen.tools.bench.cases import TOLERANCE
from kgen.tools.bench.race import DIRECTIONS, SECONDS, device_name, triton_version
from kgen.tools.problem import Function, Problem, Tensors, choices, draw, error, load_module

COLUMNS = ("device", "torch", "triton", "package", "function", "options", "direction", "dtype", "difference")
SIZES = {"b": 4096, "n": 256, "m": 256, "k": 256}


@dataclass(frozen=True, slots=True)
class Work:
    """A function of a package with some options, in one dtype and direction."""

    package: str
    function: str
    options: tuple[tuple[str, bool], ...]
    dtype: str
    direction: str

    @property
    def columns(self) -> dict[str, str]:
        options = " ".join(name if on else f"no_{name}" for name, on in self.options)
        own = (self.package, self.function, options, self.direction, self.dtype)
        return dict(zip(("package", "function", "options", "direction", "dtype"), own))

    @property
    def title(self) -> str:
        return " ".join(self.columns.values())


def second(problem: Problem, function: Function) -> Tensors:
    """The gradients of a sum of all gradients, weighted by the inputs."""
    leaves = [problem.leaves[i] for i in problem.wanted]
    results = function(*problem.leaves)
    results = results if isinstance(results, tuple) else (results,)
    gradients = torch.autograd.grad(results, leaves, problem.cotangents, create_graph=True)
    return torch.autograd.grad(
        gradients, leaves, [x.detach() for x in leaves], allow_unused=True, materialize_grads=True
    )


ALL = {**DIRECTIONS, "second": second}


def works(folder: Path, packages: Sequence[str], dtype: str) -> Iterator[Work]:
    for name in packages:
        for function, description in load_module(folder / name).KERNELS.items():
            twice = (folder / name / "_kernels" / f"{function}_second.py").is_file()
            for chosen in choices(description):
                for direction in ALL if twice else DIRECTIONS:
                    yield Work(name, function, tuple(chosen.items()), dtype, direction)


def prepared(work: Work, folder: Path, device: torch.device) -> tuple[Problem, Function]:
    module: ModuleType = load_module(folder / work.package)
    problem = draw(module.KERNELS[work.function], SIZES, getattr(torch, work.dtype), device)
    return problem, partial(getattr(module, work.function), **dict(work.options))


def compiled(folder: Path, work: Work) -> None:
    """Run once, so that kernels are in Triton's cache."""
    problem, function = prepared(work, folder, torch.device("cuda"))
    ALL[work.direction](problem, function)
    torch.cuda.synchronize()


def compile_all(folders: Sequence[Path], works: Sequence[Work], jobs: int) -> None:
    """Compile in processes of their own; what fails there fails again, and is told, where it is timed."""
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=8) as pool:
        for folder in folders:
            pool.map_async(partial(compiled, folder), works, chunksize=1)
        pool.close()
        pool.join()


def where(clock: timing.Clock) -> dict[str, str]:
    return {"device": device_name(clock.device), "torch": torch.__version__, "triton": triton_version()}


def row(work: Work, folders: Mapping[str, Path], clock: timing.Clock) -> dict[str, str]:
    """Microseconds of each version, and the largest difference from the first one."""
    calls: dict[str, timing.Call] = {}
    expected: Tensors | None = None
    worst = 0.0
    for name, folder in folders.items():
        problem, function = prepared(work, folder, clock.device)
        results = tuple(x.double() for x in ALL[work.direction](problem, function))
        expected = expected or results
        worst = max(worst, error(results, expected))
        copies = problem.copies(timing.rotation(clock, problem.forward_bytes))
        calls[name] = timing.rotating([partial(ALL[work.direction], p, function) for p in copies])
    times = timing.timed(clock, calls, timing.Effort(SECONDS))
    told = {k: str(v).partition("\n")[0] if isinstance(v, Exception) else f"{v.median:.4g}" for k, v in times.items()}
    return {"difference": f"{worst:.2g}", **told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--package", action="append", help="only this one; repeatable, as all that follow but --dtype")
    parser.add_argument("--function", action="append")
    parser.add_argument("--direction", action="append", choices=ALL)
    parser.add_argument("--dtype", default="float32", choices=TOLERANCE)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (text.partition("=") for text in given.folders)}
    first = next(iter(folders.values()))
    packages = given.package or sorted(p.parent.name for p in first.glob("*/__init__.py"))
    chosen = [
        work
        for work in works(first, packages, given.dtype)
        if (not given.function or work.function in given.function)
        and (not given.direction or work.direction in given.direction)
    ]
    compile_all(list(folders.values()), chosen, given.jobs)
    clock = timing.clock(torch.device("cuda"))
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, (*COLUMNS, *folders))
        writer.writeheader()
        for work in chosen:
            found = row(work, folders, clock)
            writer.writerow({**where(clock), **work.columns, **found})
            file.flush()
            print(work.title, found, flush=True)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
