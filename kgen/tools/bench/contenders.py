"""Who takes part in a case: the generated function, the peers, and what torch.compile makes of plain torch.

In: a case and its generated package. Out: functions of the same inputs by name; what is not installed has none, and
says so. Nothing is compiled here: that is done by the first call.
"""

import copyreg
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch

from kgen.tools.bench.cases import Case
from kgen.tools.bench.figures import ABSENT, OURS
from kgen.tools.problem import Function

COMPILED = "torch.compile"


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to measure; without a function, `status` says why."""

    name: str
    function: Function | None
    status: str = "ok"

    @property
    def compiled(self) -> bool:
        """By torch, for each size anew."""
        return self.name.startswith(COMPILED)


def contenders(case: Case, module: ModuleType, compiled: bool) -> list[Contender]:
    """kgen, the peers, and torch.compile of the reference and of the peers that are plain torch.

    Compiled for each size alone, as one compiles what trains at one size.
    """
    found = [Contender(OURS, getattr(module, case.kernel))]
    plain: list[tuple[str, Function]] = [("reference", getattr(module, f"{case.kernel}_reference"))]
    for peer in case.peers:
        try:
            found.append(Contender(peer.name, peer.load()))
        except ImportError as missing:
            found.append(Contender(peer.name, None, f"{ABSENT}: {missing}"))
        except Exception as failure:  # noqa: BLE001 (a peer is not ours: what its import raises is its result)
            found.append(Contender(peer.name, None, f"failed to load: {type(failure).__name__}: {failure}"))
        else:
            plain += [(peer.name, peer.load())] if peer.plain_torch else []
    if compiled:
        found += [Contender(f"{COMPILED}({name})", torch.compile(function, dynamic=False)) for name, function in plain]
    return found


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Let torch round the operands of fp32 matrix products to tf32, where that is the dtype, and nowhere else."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def share_caches() -> None:
    """Let what one process has compiled be found by another, for as long as this process lasts.

    Inductor's keys hold pickled memory formats, and pickle names those after whichever module was first to import
    torch, which differs between the processes of a run.
    """
    copyreg.pickle(torch.memory_format, _reduced)


def _reduced(memory: torch.memory_format) -> tuple[Callable[[str], torch.memory_format], tuple[str]]:
    return _memory_format, (str(memory).removeprefix("torch."),)


def _memory_format(name: str) -> torch.memory_format:
    return getattr(torch, name)  # type: ignore[no-any-return]


def release(device: torch.device) -> None:
    """Forget compiled functions and cached memory, so that one case does not weigh on the next."""
    torch._dynamo.reset()
    gc.collect()
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()
