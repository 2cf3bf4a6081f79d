"""Checks of a function's arguments against its description, and the dtypes that follow from them."""

import functools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import torch

from .registry import KERNELS, Dims

CHECKS_INDICES = os.environ.get("KGEN_CHECK_INDICES", "") not in ("", "0")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST = (1 << 63) - 1  # of int64
Sizes = dict[str, int]
Lead = tuple[int, ...]
Seen = tuple[torch.Size, torch.dtype, torch.device]

compiling = torch.compiler.is_compiling


class Fit(NamedTuple):
    """How tensors fit a function's description."""

    sizes: Sizes  # the extents of the named axes, and as b the number of rows
    lead: Lead  # the leading axes, those of all tensors broadcast
    short: tuple[int, ...]  # which tensors lack some of them, or have 1 where others have more


def check(function: str, tensors: Sequence[torch.Tensor], plain: bool) -> Fit:
    """How the tensors fit; raises ValueError naming the argument that does not."""
    if plain:
        return _fit_again(function, *[(x.shape, x.dtype, x.device) for x in tensors])
    for name, x in zip(KERNELS[function]["inputs"], tensors):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{function}: {name} must be a torch.Tensor, got {type(x).__name__}")
        if kind := _kind(x):
            raise TypeError(f"{function}: {name} must be a dense torch.Tensor, got a {kind} one")
    return _fit(function, *[(x.shape, x.dtype, x.device) for x in tensors])


def check_alike(function: str, tensors: Sequence[torch.Tensor], plain: bool) -> Fit:
    """The same of an operator's tensors, which have all leading axes: functions broadcast before they call it."""
    fit = check(function, tensors, plain)
    if fit.short:
        name, dims = list(KERNELS[function]["inputs"].items())[fit.short[0]]
        got = tuple(tensors[fit.short[0]].shape)[: 1 - len(dims) or None]
        raise ValueError(f"{function}: {name} must have leading axes {fit.lead}, got {got}")
    return fit


def broadcast(function: str, tensors: Sequence[torch.Tensor], fit: Fit) -> list[torch.Tensor]:
    """The tensors with all leading axes: views, whose gradients torch adds up."""
    dims = list(KERNELS[function]["inputs"].values())
    whole = {i: extents_of(dims[i], fit.sizes, fit.lead) for i in fit.short}
    return [x.expand(whole[i]) if i in whole else x for i, x in enumerate(tensors)]


def check_indices(function: str, tensors: Sequence[torch.Tensor], sizes: Sizes) -> None:
    """Raise IndexError for a position that is out of range, if KGEN_CHECK_INDICES is set: to look costs a GPU's wait.

    Otherwise such a position reads as zero, and what is added there is lost; no other memory is touched.
    """
    for i, name in enumerate(KERNELS[function]["inputs"] if CHECKS_INDICES else ()):
        axis = KERNELS[function]["indices"].get(name)
        if axis is None or not tensors[i].numel():
            continue
        outside = (tensors[i] < 0) | (tensors[i] >= sizes[axis])
        if outside.any():
            place = int(outside.nonzero()[0, 0])
            wanted = f"from 0 to {sizes[axis] - 1}, for {axis} = {sizes[axis]}"
            raise IndexError(f"{function}: {name} must be {wanted}, got {int(tensors[i][place])} at {place}")


def check_flag(owner: str, name: str, value: object) -> None:
    """A text is none: any but the empty one would be true, silently."""
    if type(value) is not bool and value not in (True, False):
        raise TypeError(f"{owner}: {name} must be True or False, got {value!r}")


def check_probability(owner: str, name: str, value: object) -> None:
    """With which something is dropped, so that something may be left."""
    if hasattr(type(value), "__torch_function__"):  # it stands for a number, or is a tensor, which is refused later
        return
    p = number(owner, name, value)
    if not 0 <= p < 1:
        raise ValueError(f"{owner}: {name} must be at least 0 and below 1, got {p}")


def seed(given: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    """The number that was given, or one that torch's generator of the device draws now: also where a graph is replayed,
    and again where a checkpoint sets that generator back.
    """
    made = unread(given, like)
    return torch.randint_like(made, LARGEST) if given is None and made is not None else made


def unread(given: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    """The number that was given, or any: a variant that draws nothing reads none."""
    if given is None and hasattr(like, "new_empty"):  # what is no tensor is refused behind this
        return like.new_empty((1,), dtype=torch.int64)
    return given


def number(owner: str, name: str, x: object) -> float:
    """A float. A tensor is none: it would have no gradient, silently.

    What is compiled holds for one value. torch guards a float that is computed from others only where it reaches an
    operator; its cache of compiled graphs is asked before that, and would answer with a graph of another value.
    """
    known = isinstance(x, (float, int))  # also of what a compiler shows for one, which it cannot ask for attributes
    if not known and (isinstance(x, torch.Tensor) or not hasattr(x, "__float__")):
        raise TypeError(f"{owner}: {name} must be a number, got {type(x).__name__}")
    if known and compiling():
        from torch.fx.experimental.symbolic_shapes import guard_scalar  # slow to import

        return float(guard_scalar(x))  # type: ignore[arg-type]
    return float(x)  # type: ignore[arg-type]


def extents_of(dims: Dims, sizes: Sizes, lead: Lead) -> tuple[int, ...]:
    """The shape of a tensor with these dims."""
    extents = [sizes[d] if isinstance(d, str) and d != "..." else d for d in dims]
    return (*lead, *extents[1:]) if dims and dims[0] == "..." else tuple(extents)  # type: ignore[arg-type]


def shown(dims: Sequence[str | int]) -> str:
    """Dims as a shape: (8, b, n)."""
    return "(" + ", ".join(map(str, dims)) + ("," if len(dims) == 1 else "") + ")"


def differ(known: Sequence[int], found: Sequence[int], message: str) -> bool:
    """Whether any of the extents do. What no compiler knows counts as equal, and is checked when it is run."""
    if not (compiling() or any([isinstance(n, torch.SymInt) for n in (*known, *found)])):
        return known != found
    from torch.fx.experimental.symbolic_shapes import guard_or_false, guard_or_true  # slow to import

    for a, b in zip(known, found):
        if guard_or_false(a != b):
            return True
        if guard_or_true(a != b):
            # of torch 2.11 the compiler takes no closure
            torch._check(a == b, lambda message=message: message)  # type: ignore[no-untyped-call]
    return False


def surely(claim: bool) -> bool:
    """Whether the claim is known to be true: of sizes that no compiler knows, it is not."""
    if type(claim) is bool and not compiling():
        return claim
    from torch.fx.experimental.symbolic_shapes import guard_or_false  # slow to import

    return guard_or_false(claim)


def _kind(x: torch.Tensor) -> str:
    """What a tensor is if it is not dense: it has no strides to read it by, or more than its numbers."""
    if x.is_nested:
        return "nested"
    if x.layout is not torch.strided:
        return str(x.layout).removeprefix("torch.").removeprefix("_")
    return "masked" if isinstance(x, torch.masked.MaskedTensor) else ""


def _fit(function: str, *seen: Seen) -> Fit:
    sizes: Sizes = {}
    leads: dict[str, Lead] = {}
    first: tuple[str, torch.device] | None = None
    for (name, dims), (whole, dtype, device) in zip(KERNELS[function]["inputs"].items(), seen):
        shape = got = tuple(whole)
        wanted = f"{function}: {name} must have shape {shown(dims)}"
        if dims and dims[0] == "...":
            dims = dims[1:]
            split = len(shape) - len(dims)
            if split < 0:
                raise ValueError(f"{wanted}, got {got}")
            leads[name], shape = shape[:split], shape[split:]
        if len(shape) != len(dims):
            raise ValueError(f"{wanted}, got {got}")
        for axis, extent in zip(dims, shape):
            known = sizes.setdefault(axis, extent) if isinstance(axis, str) else axis
            if differ((known,), (extent,), wanted):
                expected = f"{axis} = {known}" if isinstance(axis, str) else axis
                raise ValueError(f"{wanted} with {expected} where it has {extent}, got {got}")
        if name in KERNELS[function]["indices"] or name in KERNELS[function].get("integers", ()):
            if dtype not in (torch.int32, torch.int64):
                raise ValueError(f"{function}: {name} must be int32 or int64, got {dtype}")
        elif name in KERNELS[function].get("seeds", ()):
            if dtype is not torch.int64:
                raise ValueError(f"{function}: {name} must be int64, got {dtype}")
        elif dtype not in DTYPES:
            raise ValueError(f"{function}: {name} must be float16, bfloat16, float32 or float64, got {dtype}")
        if first is None:
            first = name, device
        elif device != first[1]:
            raise ValueError(f"{function}: {name} must be on {first[1]} as {first[0]} is, got {device}")
    _join(function, sizes)
    return _led(function, sizes, leads, seen)


def _join(function: str, sizes: Sizes) -> None:
    """The extents of axes that are others one after the other, which inputs along them have."""
    for axis, parts in KERNELS[function].get("joined", {}).items():
        total = sum([sizes[part] for part in parts])
        known = sizes.setdefault(axis, total)
        if known is not total:
            name = next(name for name, dims in KERNELS[function]["inputs"].items() if axis in dims)
            message = f"{function}: {name} must have {axis} = {' + '.join(parts)}"
            if differ((total,), (known,), message):
                raise ValueError(f"{message} = {total}, got {known}")


def _led(function: str, sizes: Sizes, leads: dict[str, Lead], seen: Sequence[Seen]) -> Fit:
    """The fit of tensors with these leading axes."""
    lead: Lead = ()
    for name, own in leads.items():
        longer = _joined(lead, own, f"{function}: leading axes of {name} must be equal to those of other inputs or 1")
        if longer is None:
            raise ValueError(f"{function}: {_apart(function, name, leads, seen)}")
        lead = longer
    if leads:
        sizes["b"] = math.prod(lead)
    short = [i for i, x in enumerate(KERNELS[function]["inputs"]) if x in leads and _short(leads[x], lead)]
    return Fit(sizes, lead, tuple(short))


def _apart(function: str, name: str, leads: dict[str, Lead], seen: Sequence[Seen]) -> str:
    """Which earlier input's leading axes the named one's do not fit, and how."""
    shapes = dict(zip(KERNELS[function]["inputs"], [tuple(shape) for shape, _, _ in seen]))
    other = next(x for x in leads if _joined(leads[x], leads[name], "") is None)
    known, got = [f"{leads[x]} of shape {shapes[x]}" for x in (other, name)]
    return f"{name} must have leading axes equal to those of {other}, {known}, or 1, got {got}"


def _joined(a: Lead, b: Lead, message: str) -> Lead | None:
    """The axes to which two tensors' broadcast, which are aligned at the last; None where they do not."""
    count = min(len(a), len(b))
    pairs = zip(a[len(a) - count :], b[len(b) - count :])
    found = [n for n in [_together(x, y, message) for x, y in pairs] if n is not None]
    return (*a[: len(a) - count], *b[: len(b) - count], *found) if len(found) == count else None


def _together(a: int, b: int, message: str) -> int | None:
    """The extent to which two broadcast, if they do. What no compiler knows counts as equal, as torch has it."""
    if surely(a == b) or surely(b == 1):
        return a
    if surely(a == 1):
        return b
    return None if differ((a,), (b,), message) else a


def _short(own: Lead, lead: Lead) -> bool:
    return len(own) < len(lead) or any([not surely(a == b) and surely(a == 1) for a, b in zip(own, lead)])


_fit_again = functools.lru_cache(maxsize=1024)(_fit)


# dtypes


def promoted(first: torch.Tensor, *others: torch.Tensor) -> torch.dtype:
    """The dtype of results, which holds the values of all tensors."""
    dtype = first.dtype
    for x in others:
        if x.dtype is not dtype:
            dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def real_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """The dtype of the arithmetic: fp64 if any tensor is, else fp32."""
    for x in tensors:
        if x.dtype is torch.float64:
            return torch.float64
    return torch.float32


def matrix_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """The dtype of matrix products: bf16 for bf16; for fp16, whose largest numbers products exceed, fp32."""
    dtype = promoted(*tensors)
    return torch.float32 if dtype is torch.float16 else dtype
