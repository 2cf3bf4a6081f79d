"""Algebras as specs write them: a signature or squares in, generators and named blades out.

kingdon's convention: a single null generator comes first and is e0; otherwise +, -, 0 from e1. Blades are short-lex
(1, e1, e2, e3, e12, e13, e23, e123) unless the spec lists them in another order, where e31 stores -e13.
"""

import re
from collections.abc import Sequence
from itertools import combinations

from kgen.errors import KgenError
from kgen.spec.model import Blade

GENERATORS = 6
TERMS = 4096  # of one geometric product: two full multivectors of six generators have 64 x 64


def generators(signature: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """The squares and the first index of `signature: [p, q, r]`."""
    if len(signature) != 3 or min(signature) < 0:
        raise KgenError("a signature is three counts [p, q, r]", hint="p generators square to 1, q to -1, r to 0")
    p, q, r = signature
    check_size(p + q + r)
    if r == 1:
        return (0, *[1] * p, *[-1] * q), 0
    return (*[1] * p, *[-1] * q, *[0] * r), 1


def explicit(squares: Sequence[int], first: int) -> tuple[tuple[int, ...], int]:
    """The squares and the first index of `squares: [1, -1, 1]` with `first: 1`."""
    check_size(len(squares))
    if any(square not in (-1, 0, 1) for square in squares):
        raise KgenError("a generator squares to 1, -1 or 0")
    if first not in (0, 1):
        raise KgenError("the first generator is e0 or e1", hint="first: 0 or first: 1")
    return tuple(squares), first


def check_size(count: int) -> None:
    """Refuse an algebra whose products would be too large to spell out."""
    if count < 1:
        raise KgenError("an algebra has at least one generator")
    if count > GENERATORS:
        terms = f"about 10**{round(count * 0.60206)}" if count > 20 else str(4**count)
        message = f"{count} generators are too many: a product of two full multivectors would have {terms} terms"
        raise KgenError(message, hint=f"kgen takes at most {GENERATORS} generators and {TERMS} terms in a product")


def standard_blades(count: int, first: int) -> tuple[Blade, ...]:
    """All blades in short-lex order."""
    subsets = [subset for size in range(count + 1) for subset in combinations(range(count), size)]
    return tuple(Blade("e" + "".join(str(first + i) for i in s), sum(1 << i for i in s), 1) for s in subsets)


def listed_blades(names: Sequence[str], count: int, first: int) -> tuple[Blade, ...]:
    """All blades in the order a spec lists them; each exactly once, indices in any order."""
    found: dict[int, Blade] = {}
    for name in names:
        listed = blade(name, count, first)
        if listed.mask in found:
            other = found[listed.mask].name
            raise KgenError(f"blade `{name}` is listed twice" + (f", also as `{other}`" if other != name else ""))
        found[listed.mask] = listed
    missing = [standard.name for standard in standard_blades(count, first) if standard.mask not in found]
    if missing:
        raise KgenError(f"blades are missing: {', '.join(missing)}", hint="`blades` lists every blade once")
    return tuple(found.values())


def blade(name: str, count: int, first: int) -> Blade:
    """The blade of a name, with indices in any order. KgenError for what the algebra has not."""
    if not re.fullmatch(r"e[0-9]*", name):
        raise KgenError(f"{name[:20]!r} is not a blade", hint="blades are e (the scalar), e1, e12, …")
    indices = [int(digit) - first for digit in name[1:]]
    if len(set(indices)) < len(indices) or not all(0 <= i < count for i in indices):
        last = first + count - 1
        hint = f"its generators are e{first} to e{last}; a blade has no index twice"
        raise KgenError(f"`{name[:20]}` is not a blade of this algebra", hint=hint)
    swaps = sum(a > b for a, b in combinations(indices, 2))
    return Blade(name, sum(1 << i for i in indices), -1 if swaps % 2 else 1)
