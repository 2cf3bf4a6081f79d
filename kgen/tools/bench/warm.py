"""Compilation beforehand, in processes side by side, so that what is timed finds its code in the caches on disk.

In: a request, the numbers of its cells, and how many processes may run. Out: nothing but full caches, Triton's and
Inductor's, and which compilations succeeded. A process that fails, crashes or takes too long is ended, and nothing is
lost: its contender is compiled when its turn comes, and what is wrong with it becomes its row there. Inductor's choices
by timing are not kept, since processes that share a device disturb each other's times: they are made in the run.
"""

import time
from collections.abc import Callable, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from kgen.tools import workers
from kgen.tools.bench.cases import Case
from kgen.tools.bench.contenders import Contender, contenders, precision, release, share_caches
from kgen.tools.bench.plan import Request, plan
from kgen.tools.bench.race import DIRECTIONS, size_of
from kgen.tools.problem import draw, load_module

PATIENCE = 150.0  # seconds for one contender of one cell
Done = Set[tuple[int, int]]  # of a cell the contenders that are in the caches, by their numbers


@dataclass(frozen=True, slots=True)
class Task:
    """One contender of one cell, by their numbers."""

    request: Request
    cell: int
    contender: int
    directions: tuple[str, ...]
    device: str
    compiled: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """A case, its number in the plan, and who takes part."""

    number: int
    case: Case
    generated: Path
    contenders: tuple[Contender, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """As its rows have it: case, size, dtype."""
        return self.case.name, size_of(self.case, self.generated), self.case.dtype

    @property
    def installed(self) -> dict[str, bool]:
        return {each.name: each.function is not None for each in self.contenders}

    def ready(self, done: Done) -> set[str]:
        """The contenders that were compiled beforehand."""
        return {each.name for place, each in enumerate(self.contenders) if (self.number, place) in done}


def tasks(
    request: Request, cells: Sequence[Cell], directions: tuple[str, ...], device: str, compiled: bool
) -> list[Task]:
    """What there is to compile.

    What torch compiles is compiled for every size. The others are Triton's, which compiles for all sizes of a kind
    alike: the first cell of a kernel and dtype does for those.
    """
    found, known = list[Task](), set[tuple[str, str, str]]()
    for cell in cells:
        for place, contender in enumerate(cell.contenders):
            kind = cell.case.name, cell.case.dtype, contender.name
            if contender.function is not None and (contender.compiled or kind not in known):
                found.append(Task(request, cell.number, place, directions, device, compiled))
            known.add(kind)
    return found


def warm(waiting: Sequence[Task], jobs: int, deadline: float, advance: Callable[[str], None]) -> Done:
    """Compile in `jobs` processes until the deadline on time.monotonic's clock."""
    done = set[tuple[int, int]]()
    with closing(workers.results(compile_one, waiting, jobs, PATIENCE)) as results:
        for number, (task, result, _) in enumerate(results, 1):
            if result == "":
                done.add((task.cell, task.contender))
            advance(f"{number} of {len(waiting)}")
            if time.monotonic() > deadline:
                break
    return done


def compile_one(task: Task) -> str:
    """Call one contender once in each direction, which compiles it; "" for success."""
    import torch._inductor.config as inductor

    share_caches()
    inductor.compile_threads = 1  # the processes are as many as there may be
    inductor.autotune_local_cache = False
    device = torch.device(task.device)
    case = planned(task.request, device).cases[task.cell]
    module = load_module(case.path(task.request.generated))
    function = contenders(case, module, task.compiled)[task.contender].function
    assert function is not None, "who is not installed has no task"
    problem = draw(module.KERNELS[case.kernel], case.sizes, case.storage, device, case.positive)
    with precision(case.dtype):
        for direction in task.directions:
            DIRECTIONS[direction](problem, function)
    release(device)
    return ""


planned = cache(plan)
