"""Clocks: medians of interleaved calls, peak memory, copy bandwidth and matrix rate of one device.

In: callables that queue work on a device. Out: microseconds and bytes. On an accelerator time is taken with device
events around each of many calls that follow each other, on the CPU with the wall clock, so that everything here can be
tried without a GPU. Callers rotate among inputs that together exceed the cache several times (`rotating`): every call
then reads its inputs from memory and pays for evicting what an earlier call wrote, once, as in a long-running program.
(Filling the cache with a write between calls would charge each call for evicting up to a cacheful of that write.)
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import torch

Call = Callable[[], object]

BATCH = 10  # calls that are queued while the device waits
ROUNDS = 5  # every contender is timed this many times, in turn, so that a drift of the clocks meets all of them
MINIMUM, MAXIMUM = 3 * BATCH, 200  # calls a round
ROTATION_BYTES = 1 << 28  # of inputs in rotation: several times any second-level cache
LARGEST_ROTATION = 64
CYCLES_PER_SECOND = 2e9  # of an accelerator, roughly
LEAST_WAIT = 1e-3  # seconds that the device waits for a batch
COPY_BYTES = 1 << 30
MATRIX = 8192  # rows and columns
CPU_SHARE = 16  # the CPU's buffers, and its matrices' sides, are this much smaller


@dataclass(frozen=True, slots=True)
class Clock:
    """The device whose time is taken."""

    device: torch.device


@dataclass(frozen=True, slots=True)
class Effort:
    """How often each contender is called: `repetitions` times, or for as long as `seconds` say."""

    seconds: float
    repetitions: int | None = None
    warmup: int | None = None  # calls before those that count; two batches by default

    def calls(self, estimate: float) -> int:
        """How many a round, where one takes about `estimate` microseconds."""
        if self.repetitions is not None:
            return -(-self.repetitions // ROUNDS)
        return max(MINIMUM, min(MAXIMUM, int(1e6 * self.seconds / ROUNDS / max(estimate, 1.0))))


def clock(device: torch.device) -> Clock:
    return Clock(device)


def rotation(clock: Clock, size: int) -> int:
    """How many sets of inputs of `size` bytes to rotate among."""
    return 2 if clock.device.type == "cpu" else max(2, min(LARGEST_ROTATION, -(-ROTATION_BYTES // max(size, 1))))


def rotating(calls: Sequence[Call]) -> Call:
    """A call that is each of the calls in turn."""
    turns = cycle(calls)
    return lambda: next(turns)()


def _scaled(size: int, device: torch.device) -> int:
    return size // CPU_SHARE if device.type == "cpu" else size


def synchronize(device: torch.device) -> None:
    torch.get_device_module(device).synchronize()


def sample(clock: Clock, call: Call, repeats: int) -> list[float]:
    """Microseconds of each of `repeats` calls, one after the other.

    The device waits until the host has queued a batch, so what is measured is device time, as in a program whose queue
    is never empty. What the host spends on a call is another figure (benchmarks/overhead.py).
    """
    if clock.device.type == "cpu":
        return [_wall(call) for _ in range(repeats)]
    host, size = _queued(clock.device, call), BATCH
    times: list[float] = []
    while len(times) < repeats:
        wait = max(2 * host * size, LEAST_WAIT)
        batch, took = _batch(clock.device, call, size, wait)
        if took < wait or size == 1:
            times += batch
        else:  # the host was late, or waited itself, because the device's queue holds no more
            size = max(1, size // 2)
    return times


def _batch(device: torch.device, call: Call, size: int, wait: float) -> tuple[list[float], float]:
    """Microseconds of each of `size` calls, for which the device waits, and the seconds that queueing them took."""
    backend = torch.get_device_module(device)
    marks = [(backend.Event(enable_timing=True), backend.Event(enable_timing=True)) for _ in range(size)]
    backend._sleep(int(CYCLES_PER_SECOND * wait))
    began = time.perf_counter()
    for start, end in marks:
        start.record()
        call()
        end.record()
    took = time.perf_counter() - began
    backend.synchronize()
    return [1e3 * float(start.elapsed_time(end)) for start, end in marks], took


def _queued(device: torch.device, call: Call) -> float:
    """Seconds that the host needs to queue a call on a device that waits for work; the median of a few."""
    taken = []
    for _ in range(3):
        synchronize(device)
        taken.append(_wall(call))
    return 1e-6 * statistics.median(taken)


def _wall(call: Call) -> float:
    start = time.perf_counter()
    call()
    return 1e6 * (time.perf_counter() - start)


@dataclass(frozen=True, slots=True)
class Timed:
    """What the samples of one call say."""

    median: float  # microseconds
    spread: float  # half the interquartile range over the median


def summary(samples: Sequence[float]) -> Timed:
    """Of at least one sample in microseconds."""
    median = statistics.median(samples)
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else (median,) * 3
    return Timed(median, (high - low) / 2 / median if median else 0.0)


def timed(clock: Clock, calls: Mapping[str, Call], effort: Effort) -> dict[str, Timed | Exception]:
    """The time of each call, or what it raised.

    Calls are interleaved in rounds. One that raises is left out of later rounds.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    repeats: dict[str, int] = {}
    failed: dict[str, Exception] = {}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            if name in failed:
                continue
            try:
                if turn == 0:
                    repeats[name] = effort.calls(statistics.median(sample(clock, call, effort.warmup or 2 * BATCH)))
                else:
                    samples[name] += sample(clock, call, repeats[name])
            except Exception as error:  # noqa: BLE001 (a contender is not ours: what it raises is its result)
                failed[name] = error.with_traceback(None)  # which would keep what the call had allocated
    return {name: failed.get(name) or summary(samples[name]) for name in calls}


def peak_bytes(device: torch.device, call: Call) -> int | None:
    """The most memory that one call holds beyond what is allocated before it; None where the device does not say."""
    if device.type == "cpu":
        return None
    backend = torch.get_device_module(device)
    gc.collect()
    backend.synchronize()
    before = int(backend.memory_allocated())
    backend.reset_peak_memory_stats()
    call()
    backend.synchronize()
    return int(backend.max_memory_allocated()) - before


def copy_bandwidth(clock: Clock) -> float:
    """Bytes read plus bytes written per microsecond by a large copy on the device: no kernel moves them faster."""
    size = _scaled(COPY_BYTES, clock.device)
    source = torch.empty(size // 4, dtype=torch.int32, device=clock.device).random_()
    target = torch.empty_like(source)
    sample(clock, lambda: target.copy_(source), 3)
    return 2 * size / statistics.median(sample(clock, lambda: target.copy_(source), 30))


def matrix_rate(clock: Clock, dtype: torch.dtype) -> float:
    """Floating-point operations per microsecond of a large matrix product, under torch's setting for fp32.

    The better of two orders of the second operand: the vendor's library has no fast kernel for some in some types.
    """
    extent = _scaled(MATRIX, clock.device)
    a, b = torch.randn(2, extent, extent, device=clock.device).to(dtype)  # zeros would draw less power, and run faster
    out = torch.empty_like(a)
    times = []
    for second in (b, b.T):
        call = partial(torch.mm, a, second, out=out)
        sample(clock, call, 3)
        times.append(statistics.median(sample(clock, call, 30)))
    return 2 * extent**3 / min(times)


def poison(device: torch.device, size: int) -> None:
    """Leave NaN in memory that the next allocations of up to `size` bytes in all are likely to get."""
    torch.full((size // 4 + 1,), float("nan"), device=device)
