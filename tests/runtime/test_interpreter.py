"""Triton's interpreter as tests/support/interpreter.py makes it computes and refuses what it does by itself."""

import os
from pathlib import Path

import prepared
import pytest

pytest.importorskip("triton")

KERNELS = """\
import sys
import torch
import triton
import triton.language as tl


@triton.jit
def halved(x): return tl.where(x > 0, x / 2, x * 1.5)


@triton.jit
def mixed(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr, REAL: tl.constexpr):
    rows = tl.arange(0, BLOCK)[:, None]
    columns = tl.arange(0, 2 * BLOCK)[None, :]
    mask = (rows < n) & (columns < n)
    total = tl.zeros((BLOCK, 2 * BLOCK), REAL)
    for i in range(0, 3):
        x = tl.load(x_ptr + rows * n + columns + i, mask=mask, other=0.0).to(REAL)
        y = tl.load(y_ptr + columns, mask=columns < n, other=1.0).to(REAL)
        total += halved(x) * y + tl.sum(x, 1)[:, None] - tl.max(y, 1, keep_dims=True)
    count = tl.cast(n, tl.int64) * 2147483647 + tl.program_id(0) - 2147483647 * n
    tl.store(out_ptr + rows * n + columns, total + count.to(REAL), mask=mask)


@triton.jit
def unlike(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr + tl.arange(0, BLOCK), tl.zeros((BLOCK,), tl.float32) + tl.zeros((2 * BLOCK,), tl.float32))


@triton.jit
def odd(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr, tl.sum(tl.zeros((BLOCK + 1,), tl.float32), 0))


@triton.jit
def pointers(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr, x_ptr * BLOCK)


print("interpreter" in sys.modules, file=sys.stderr)
random = torch.Generator().manual_seed(0)
for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
    for real in (tl.float64, tl.float32):
        x, y = (torch.randn(40, generator=random).to(dtype) for _ in range(2))
        out = torch.zeros(40, dtype=dtype)
        mixed[(1,)](x, y, out, 5, 8, real)
        print(dtype, real, out.tolist())
for kernel in (unlike, odd, pointers):
    try:
        kernel[(1,)](torch.zeros(8), 4)
    except Exception as error:
        print(error)
    else:
        print(kernel, "is not refused")
"""


def test_it_is_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(KERNELS, encoding="utf-8")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    spared, plain = (python(["-m", "kernels"], tmp_path, environment) for python in (prepared.python, prepared.anew))
    assert (spared.returncode, plain.returncode) == (0, 0), spared.stderr + plain.stderr
    assert spared.stderr.startswith("True\n") and plain.stderr.startswith("False\n")
    assert spared.stdout == plain.stdout and "is not refused" not in spared.stdout
    assert spared.stdout.count("torch.") == 8 and "incompatible dimensions" in spared.stdout
