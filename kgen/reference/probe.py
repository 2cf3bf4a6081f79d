"""Which components of a result are not identically zero: exact evaluation at a random point of a prime field.

A probe stands for a field: its values over a grid on which every axis of the kernel has two positions, flattened with
axis a's position in bit a. Inputs draw random values; sums and products are exact modulo a prime; every other function
draws a value that depends on its name and arguments alone. So a probe is zero exactly when the field is zero as a
polynomial in the inputs and in the values of such functions, but for a chance of about one in 10^17. Guaranteed: the
same in every process.
"""

import hashlib
from collections.abc import Sequence
from fractions import Fraction

PRIME = 2**61 - 1

Probe = tuple[int, ...]


def _draw(*key: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) % PRIME


def random(name: str, component: int, axes: Sequence[int], count: int) -> Probe:
    """An input's component that varies along `axes` (their numbers), out of `count` axes."""
    own = sum(1 << axis for axis in axes)
    return tuple(_draw(name, component, position & own) for position in range(1 << count))


def constant(value: int | float, count: int) -> Probe:
    """A number."""
    exact = Fraction(value)
    return (exact.numerator * pow(exact.denominator, -1, PRIME) % PRIME,) * (1 << count)


def add(a: Probe, b: Probe, sign: int = 1) -> Probe:
    """a + sign * b."""
    return tuple((x + sign * y) % PRIME for x, y in zip(a, b, strict=True))


def multiply(a: Probe, b: Probe) -> Probe:
    return tuple(x * y % PRIME for x, y in zip(a, b, strict=True))


def divide(a: Probe, b: Probe) -> Probe:
    """a / b; a division by zero, which fails at run time, counts as zero here."""
    return tuple(x * pow(y, PRIME - 2, PRIME) % PRIME for x, y in zip(a, b, strict=True))


def opaque(function: str, *args: Probe) -> Probe:
    """A function that is not a polynomial."""
    return tuple(_draw(function, *values) for values in zip(*args, strict=True))


def exchange(a: Probe, i: int, j: int) -> Probe:
    """The field with two of its axes exchanged."""
    bits = 1 << i | 1 << j
    return tuple(a[at ^ bits if (at >> i & 1) != (at >> j & 1) else at] for at in range(len(a)))


def reduce(function: str, a: Probe, axes: Sequence[int]) -> Probe:
    """The sum, mean or max along axes; a field that lacks an axis is the same at both of its positions."""
    for axis in axes:
        pairs = [(a[i & ~(1 << axis)], a[i | 1 << axis]) for i in range(len(a))]
        if function == "max":
            a = tuple(x if x == y else _draw("max", x, y) for x, y in pairs)
        else:
            half = pow(2, -1, PRIME) if function == "mean" else 1
            a = tuple((x + y) * half % PRIME for x, y in pairs)
    return a
