"""How many instructions a device issues, and how many of them a function takes, both measured.

In: a clock, an arithmetic (fp32 or fp64), names of functions as `KERNELS` has them. Out: `Rates`, in multiply-adds, of
which each multiplies and adds one number. On a GPU a kernel of `templates/bench` runs chains of multiply-adds that wait
for nothing; with a function among them they take longer by what the function takes of the same slots. What another unit
does meanwhile, such as that of special functions, costs no more than its instruction, as in a kernel with much else to
do; so this is what a function costs at least. On a CPU torch's own functions are timed on numbers in the cache, on one
thread, whose rate all of torch's threads are taken to have.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch

from kgen.compiler import template_folder
from kgen.tools.bench import timing
from kgen.tools.problem import load_file

PROGRAMS, WARPS, BLOCK, CHAINS = 1 << 16, 4, 256, 4  # two elements a thread, each with so many chains
ROUNDS, FUSED = 32, 32  # a function's special instructions, eight slots of their unit each, end within so many others
SAMPLES = 20
ELEMENTS = 1 << 14  # on a CPU
CONVERSION = "rounded"  # to 16 bits and back: two conversions

Time = Callable[[str], float]  # microseconds of all chains with a function, or with "" alone

BY_TORCH: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "fast_exp": torch.exp,
    "phi": torch.special.ndtr,
    CONVERSION: lambda x: x.to(torch.bfloat16).to(x.dtype),
    **{name: getattr(torch, name) for name in ("exp", "log", "erf", "sigmoid", "tanh", "sqrt", "rsqrt", "sin", "cos")},
    "reciprocal": torch.reciprocal,
}


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device does in one arithmetic. What has no cost here is one instruction."""

    fused: float  # multiply-adds in a microsecond
    costs: Mapping[str, float]  # of functions, each in multiply-adds

    def __str__(self) -> str:
        told = ", ".join(f"{name} {cost:.1f}" for name, cost in self.costs.items())
        return f"{self.fused / 1e6:.3g} T multiply-adds/s" + (f"; as many take {told}" if told else "")


def arithmetic(storage: torch.dtype) -> torch.dtype:
    """In which kernels compute what is stored."""
    return torch.promote_types(storage, torch.float32)


def measured(clock: timing.Clock, kind: torch.dtype, functions: Iterable[str], kernels: ModuleType | None) -> Rates:
    """The rate of an arithmetic, and the costs of those of the functions that are more than an instruction.

    `kernels` are a package's device functions; without them only a CPU's rates are measured.
    """
    names = sorted(set(functions) & BY_TORCH.keys())
    if clock.device.type == "cpu":
        with _one_thread() as threads:
            time = _by_torch(clock, kind)
            alone = time("")
            return Rates(threads * ELEMENTS / alone, {name: time(name) / alone for name in names})
    assert kernels is not None, "where there is a GPU without triton no kernel runs"
    time = _by_kernels(clock, kind, kernels)
    alone = time("")
    total = PROGRAMS * BLOCK * CHAINS * ROUNDS * FUSED
    return Rates(total / alone, {name: max(0.0, FUSED * (time(name) / alone - 1)) for name in names})


def _median(clock: timing.Clock, call: timing.Call) -> float:
    timing.sample(clock, call, 3)
    return statistics.median(timing.sample(clock, call, SAMPLES))


@contextmanager
def _one_thread() -> Iterator[int]:
    """torch on one thread; gives how many it has otherwise. Threads that wait for others would be all that is timed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def _by_torch(clock: timing.Clock, kind: torch.dtype) -> Time:
    x, slope, shift = torch.rand(3, ELEMENTS, dtype=kind) + 0.5

    def time(function: str) -> float:
        if function:
            return _median(clock, lambda: BY_TORCH[function](x))
        return _median(clock, lambda: torch.addcmul(shift, x, slope))

    return time


def _by_kernels(clock: timing.Clock, kind: torch.dtype, kernels: ModuleType) -> Time:
    own = load_file(template_folder() / "bench" / "rates.py", "kgen_rates")
    start = torch.rand(2 + CHAINS * BLOCK, dtype=kind, device=clock.device) + 0.5
    start[0], start[1] = 0.9, 0.1
    end = torch.empty(PROGRAMS * BLOCK, dtype=kind, device=clock.device)

    def time(function: str) -> float:
        chosen = found(own, kernels, function)
        return _median(clock, lambda: launch(own, chosen, start, end, ROUNDS))

    return time


def found(own: ModuleType, kernels: ModuleType, function: str) -> Callable[..., object]:
    """The device function of this name: the package's, or one of those beside the chains."""
    name = f"_{function or 'nothing'}"
    return getattr(own, name) if hasattr(own, name) else getattr(kernels, name)  # type: ignore[no-any-return]


def launch(
    own: ModuleType, function: Callable[..., object], start: torch.Tensor, end: torch.Tensor, rounds: int
) -> None:
    """Run the chains, as many programs as `end` has blocks."""
    grid = (end.numel() // BLOCK,)
    own._chains[grid](start, end, rounds, FUNCTION=function, FUSED=FUSED, BLOCK=BLOCK, num_warps=WARPS)
