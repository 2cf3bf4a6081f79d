"""How fast a device issues instructions: chains of multiply-adds, alone and with a function among them.

For `kgen bench`, which loads this file where triton is, and is handed the functions of a package; no package has it.
"""

import triton
import triton.language as tl


@triton.jit()
def _chains(start_ptr, end_ptr, rounds, FUNCTION: tl.constexpr, FUSED: tl.constexpr, BLOCK: tl.constexpr):
    # Four chains for each element of the tile, which wait for nothing else: in each round a function, and FUSED
    # multiply-adds that bring any number back near one.
    tile = tl.arange(0, BLOCK)
    slope, shift = tl.load(start_ptr), tl.load(start_ptr + 1)
    x0 = tl.load(start_ptr + 2 + tile)
    x1 = tl.load(start_ptr + 2 + BLOCK + tile)
    x2 = tl.load(start_ptr + 2 + 2 * BLOCK + tile)
    x3 = tl.load(start_ptr + 2 + 3 * BLOCK + tile)
    for _ in range(rounds):
        x0 = FUNCTION(x0)
        x1 = FUNCTION(x1)
        x2 = FUNCTION(x2)
        x3 = FUNCTION(x3)
        for _ in tl.static_range(FUSED):
            x0 = tl.fma(x0, slope, shift)
            x1 = tl.fma(x1, slope, shift)
            x2 = tl.fma(x2, slope, shift)
            x3 = tl.fma(x3, slope, shift)
    end = end_ptr + tl.program_id(0).to(tl.int64) * BLOCK
    tl.store(end + tile, x0 + x1 + x2 + x3)


# functions, beside those of the packages' runtime


@triton.jit()
def _nothing(x):
    return x


@triton.jit()
def _reciprocal(x):
    return 1.0 / x


@triton.jit()
def _fast_exp(x):
    return tl.exp(x)


@triton.jit()
def _log(x):
    return tl.log(x)


@triton.jit()
def _cos(x):
    return tl.cos(x)


@triton.jit()
def _rounded(x):
    # To a storage type of 16 bits and back.
    return x.to(tl.bfloat16).to(x.dtype)
