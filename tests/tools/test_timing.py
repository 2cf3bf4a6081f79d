"""The clock of an accelerator, on one that is simulated: a queue of so many launches, and a host that fills it."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from kgen.tools.bench import timing

DEVICE = torch.device("cuda")


@dataclass
class Accelerator:
    """Work runs one after the other; a host that finds the queue full waits for the first of it to end."""

    holds: int = 1024
    now: float = 0.0  # seconds on the host's clock
    free: float = 0.0  # when the device will have done all that is queued
    ends: list[float] = field(default_factory=list)

    def queue(self, seconds: float, host: float = 0.0) -> float:
        """When the work will have been done."""
        self.now += host
        self.ends = [end for end in self.ends if end > self.now]
        if len(self.ends) >= self.holds:
            self.now = self.ends[-self.holds]
        self.free = max(self.free, self.now) + seconds
        self.ends.append(self.free)
        return self.free

    def synchronize(self) -> None:
        self.now = max(self.now, self.free)

    def _sleep(self, cycles: int) -> None:
        self.queue(cycles / timing.CYCLES_PER_SECOND)

    def Event(self, enable_timing: bool) -> Any:  # noqa: N802 (torch's name)
        return Event(self)


@dataclass
class Event:
    device: Accelerator
    at: float = 0.0

    def record(self) -> None:
        self.at = self.device.queue(0.0)

    def elapsed_time(self, end: "Event") -> float:
        return 1e3 * (end.at - self.at)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Accelerator:
    simulated = Accelerator()
    monkeypatch.setattr(torch, "get_device_module", lambda device: simulated)
    monkeypatch.setattr("time.perf_counter", lambda: simulated.now)
    return simulated


@pytest.mark.parametrize("launches", [1, 5, 60, 200, 900])
def test_a_call_takes_as_long_as_the_device(device: Accelerator, launches: int) -> None:
    """Though the host is slower; and the queue may be too short for as many calls as are queued at first."""

    def call() -> None:
        for _ in range(launches):
            device.queue(1e-6, host=4e-6)

    times = timing.sample(timing.Clock(DEVICE), call, 40)
    assert len(times) >= 40
    assert times == pytest.approx([float(launches)] * len(times), rel=1e-6)
    assert device.now < 400 * launches * 4e-6 + 1.0  # and the device waits no longer each time


def test_what_never_fits_the_queue_is_timed_all_the_same(device: Accelerator) -> None:
    def call() -> None:
        for _ in range(3000):
            device.queue(5e-6, host=1e-6)

    times = timing.sample(timing.Clock(DEVICE), call, 5)
    assert times == pytest.approx([15_000.0] * 5, rel=1e-2) and device.now < 10


def test_a_host_that_is_late_once_is_no_sample(device: Accelerator) -> None:
    late = iter([0.0] * 5 + [0.1] + [0.0] * 100)

    def call() -> None:
        device.queue(2e-5, host=1e-5 + next(late))

    assert timing.sample(timing.Clock(DEVICE), call, 20) == pytest.approx([20.0] * 20, rel=1e-6)
