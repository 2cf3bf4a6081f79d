"""Several processes give what one gives: tests/support/distributed.py and the example, with two processes on the CPU.

Where there are two GPUs, tests/support/distributed.py runs on them, too.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
CHECKS = ["batch", "features", "norm", "leading", "chosen", "ddp", "fsdp", "tensor_parallel", "compiled"]
EXAMPLE = "examples/train_distributed.py"
GPUS = (pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"))


def run(processes: int, *command: str, **environment: str) -> list[str]:
    """The lines that the processes print; alone, a process starts without torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def launches(lines: list[str]) -> dict[str, int]:
    """How many kernels each check launched."""
    return {name: int(said.removeprefix("ok, ").split()[0]) for name, said in (x.split(": ") for x in lines)}


@pytest.mark.parametrize("backend", ["gloo", pytest.param("nccl", marks=GPUS)])
def test_two_processes_equal_one(backend: str) -> None:
    found = launches(run(2, "tests/support/distributed.py", "--backend", backend))
    assert list(found) == CHECKS
    assert all(found.values()), found


def test_two_processes_equal_one_without_kernels() -> None:
    assert launches(run(2, "tests/support/distributed.py", "--reference")) == {"ddp": 0, "fsdp": 0, "refused": 0}


@pytest.mark.slow
def test_example_learns_alike_on_one_process_and_on_two(tmp_path: Path) -> None:
    curves = []
    for processes in (1, 2):
        path = tmp_path / str(processes)
        options = ["--steps", "6", "--batch", "8", "--curve", str(path)]
        run(processes, EXAMPLE, *options, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")
        curves.append([float(line) for line in path.read_text(encoding="utf-8").splitlines()])
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)
    assert len(curves[0]) == 6
    assert curves[0] == sorted(curves[0], reverse=True)
    assert curves[0][-1] < curves[0][0] - 0.01, "more than rounding"
