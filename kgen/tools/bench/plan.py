"""What a command line asks to be timed: the cases of suites and targets, at every cell of its sweeps.

In: a request, as it was written. Out: cases, with the packages that they are of. Raises KgenError for names that select
nothing, for packages that are not as their spec made them, and for sizes that the device cannot end with. The same
request has the same cases in every process, so that a process can be told a case by its number.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from kgen.errors import KgenError, collected
from kgen.tools.bench.bounds import Work, refuse_empty, refuse_endless
from kgen.tools.bench.cases import TOLERANCE, Case
from kgen.tools.bench.sweeps import grid, part, refuse_both
from kgen.tools.problem import axes, load_file, load_module, runtime
from kgen.tools.selection import must_exist, unknown
from kgen.tools.targets import Target, existing, package_path

SUITES = Path("benchmarks")
DEFINES_CASES = re.compile(r"^CASES\b", re.MULTILINE)
DTYPE = "float32"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, before anything of it is looked up."""

    targets: tuple[Path, ...] = ()
    suite: str = ""
    kernels: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    sweeps: Mapping[str, Sequence[int]] = field(default_factory=dict, hash=False)
    only: str = ""
    part: tuple[int, int] = (1, 1)
    peers: Path | None = None
    generated: Path = Path("generated")


@dataclass(frozen=True, slots=True)
class Plan:
    """The cells in the order in which they are run, and the packages that they are of."""

    cases: list[Case]
    found: list[Target]


def plan(request: Request, device: torch.device) -> Plan:
    """Look everything up, and see to it that it can be run on the device."""
    if request.peers is not None:
        add_peers(request.peers)
    if not request.targets and (request.kernels or request.dtypes):
        raise KgenError(f"--{'kernel' if request.kernels else 'dtype'} is for targets", hint="name a spec or a module")
    refuse_both(request.sizes, request.sweeps)
    named = collected(lambda target: existing(target, package_path(target, request.generated)), request.targets)
    listed = load_suite(request.suite) if request.suite else []
    chosen = select(
        [*listed, *cases_of(named, request.kernels, request.dtypes or (DTYPE,))], request.only, request.sizes
    )
    found = [*named, *modules_of([case for case in chosen if case.folder is None], request.generated)]
    cells = part(_swept(chosen, request, device), *request.part)
    refuse(works(cells, request.generated, device), device)
    return Plan(cells, found)


def _swept(chosen: Sequence[Case], request: Request, device: torch.device) -> list[Case]:
    given = works(chosen, request.generated, device)
    must_exist([*request.sizes, *request.sweeps], axes(w.description for w in given), "no kernel has an axis {!r}")
    own = {id(case): axes([work.description]) for case, work in zip(chosen, given)}
    return grid(chosen, request.sweeps, lambda case: own[id(case)])


def load_suite(name: str) -> list[Case]:
    """CASES of the suite benchmarks/NAME.py, or of the Python file NAME."""
    path = Path(name) if name.endswith(".py") else SUITES / f"{name}.py"
    if not path.is_file():
        present = [file.stem for file in sorted(SUITES.glob("*.py")) if DEFINES_CASES.search(file.read_text("utf-8"))]
        raise unknown(f"no suite {path}: a suite is a Python file that defines CASES", name, present)
    suite = load_file(path, f"benchmarks.{path.stem}")
    if not hasattr(suite, "CASES"):
        raise KgenError(f"{path} is no suite", hint="a suite is a Python file that defines CASES")
    return list(suite.CASES)


def cases_of(targets: Sequence[Target], kernels: Sequence[str], dtypes: Sequence[str]) -> list[Case]:
    """A case in each dtype for each kernel of the modules, or for the kernels asked for."""
    must_exist(dtypes, TOLERANCE, "unknown dtype {!r}")
    cases = [
        Case(target.path.name, kernel, dtype=dtype, folder=target.path.parent)
        for target in targets
        for kernel in target.module.KERNELS
        for dtype in dict.fromkeys(dtypes)
    ]
    must_exist(kernels, [case.kernel for case in cases], "no target has a kernel {!r}")
    return [case for case in cases if not kernels or case.kernel in kernels]


def select(cases: Sequence[Case], only: str, sizes: Mapping[str, int]) -> list[Case]:
    """The cases whose name contains `only`, with sizes replaced; those that become equal are kept once."""
    if not cases:
        raise KgenError("no cases", hint="name a spec, a generated module or a --suite")
    chosen: list[Case] = []
    for case in cases:
        case = replace(case, sizes={**case.sizes, **sizes})
        if only in case.name and case not in chosen:
            chosen.append(case)
    if not chosen:
        raise unknown(f"no case has {only!r} in its name", only, [case.name for case in cases])
    return chosen


def modules_of(suite: Sequence[Case], generated: Path) -> list[Target]:
    """The modules of a suite's cases; KgenError for those that are not as their spec made them."""
    paths = list(dict.fromkeys(case.path(generated) for case in suite))
    return collected(lambda path: existing(path, path), paths)


def works(cases: Sequence[Case], generated: Path, device: torch.device) -> list[Work]:
    """What the cases compute, and how. Raises KgenError for kernels that their module has not."""
    return [work(case, generated, device) for case in cases]


def work(case: Case, generated: Path, device: torch.device) -> Work:
    module = load_module(case.path(generated))
    must_exist([case.kernel], module.KERNELS, f"{case.module} has no kernel {{!r}}")
    return Work(case.name, module.KERNELS[case.kernel], case.sizes, runtime(module, "device").runs_on_triton(device))


def refuse(given: Sequence[Work], device: torch.device) -> None:
    """Raise KgenError for sizes that make no sense on the device."""
    refuse_empty(given)
    if device.type == "cpu":
        refuse_endless(given)


def add_peers(folder: Path) -> None:
    """Make packages in `folder`, in its folders and in their `src`, importable, behind all that already is."""
    if not folder.is_dir():
        raise KgenError(f"no folder {folder}", hint="--peers names a folder of packages")
    inside = sorted(p for p in folder.iterdir() if p.is_dir())
    places = [folder, *inside, *(p / "src" for p in inside if (p / "src").is_dir())]
    if not any(_modules(place) for place in places):
        raise KgenError(f"no package in {folder}, nor in its folders", hint="--peers names a folder of packages")
    sys.path += [str(place.resolve()) for place in places if str(place.resolve()) not in sys.path]


def _modules(place: Path) -> Iterable[Path]:
    """What Python can import from a folder."""
    return [*place.glob("*.py"), *place.glob("*/__init__.py")]
