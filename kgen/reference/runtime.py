"""The torch functions that references of generated modules call; `reference` copies the text of those that are needed.

A multivector is a tensor with its blades on the last axis, in storage order; `grades` (or left, right) names the grades
that it has, None for all of them. Every tensor of a kernel has all axes of that kernel, of extent one where it lacks an
axis, so that broadcasting is by axis name. Everything is differentiable to any order by autograd, on any device.
"""

import functools

import torch

from kgen.reference.tables import (
    _ref_complement,
    _ref_norm_sign,
    _ref_paths,
    _ref_product_rows,
    _ref_product_terms,
    _ref_select,
)

# Stand-ins: a generated module defines the constants of its own algebra here.
_REF_SQUARES: tuple[int, ...] = ()
_REF_BLADES: tuple[tuple[int, int], ...] = ()
_REF_PATH_ORDER: tuple[str, ...] = ()

_RefGrades = tuple[int, ...] | None


def _ref_promote(*tensors: torch.Tensor) -> torch.dtype:
    """The common dtype of floating tensors."""
    return functools.reduce(torch.promote_types, [tensor.dtype for tensor in tensors])


def _ref_upcast(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The tensors in the dtype of the arithmetic: fp32, or fp64 where any is."""
    dtype = torch.promote_types(torch.float32, _ref_promote(*tensors))
    return [tensor.resolve_neg().to(dtype) for tensor in tensors]  # torch makes no new tensor like a negated view


def _ref_broadcast(*tensors: tuple[torch.Tensor, int]) -> tuple[torch.Size, list[torch.Tensor]]:
    """What all axes of tensors (x, rank) but the last `rank` of each broadcast to, and the tensors with those."""
    leads = [x.shape[: x.ndim - rank] for x, rank in tensors]
    if not torch.compiler.is_compiling() and leads.count(leads[0]) == len(leads):  # a compiler may not know sizes
        return leads[0], [x for x, _ in tensors]
    lead: torch.Size = torch.broadcast_shapes(*leads)  # type: ignore[no-untyped-call]
    return lead, [x.expand(*lead, *x.shape[x.ndim - rank :]) for x, rank in tensors]


def _ref_flatten(x: torch.Tensor, rank: int) -> torch.Tensor:
    """x with all axes but the last `rank` as one."""
    split = x.ndim - rank
    return x.reshape(x.shape[:split].numel(), *x.shape[split:])


def _ref_unflatten(x: torch.Tensor, lead: torch.Size) -> torch.Tensor:
    """x with its first axis as the axes `lead`."""
    return x.reshape(*lead, *x.shape[1:])


def _ref_cat(dim: int, *parts: tuple[torch.Tensor, int]) -> torch.Tensor:
    """Tensors (x, axis) one after the other along `dim`, which none of them has, each along its axis."""
    moved = [x.transpose(axis, dim) for x, axis in parts]
    empty = [x.narrow(dim, 0, 0).shape for x in moved]
    shape: torch.Size = torch.broadcast_shapes(*empty)  # type: ignore[no-untyped-call]
    whole = [x.expand(*shape[:dim], x.shape[dim], *shape[dim + 1 :]) for x in moved]
    return torch.cat(whole, dim)


def _ref_components(*parts: torch.Tensor) -> torch.Tensor:
    """The components of tensors, one after the other."""
    shape: torch.Size = torch.broadcast_shapes(*[x.shape[:-1] for x in parts])  # type: ignore[no-untyped-call]
    return torch.cat([x.expand(*shape, x.shape[-1]) for x in parts], -1)


def _ref_contract(a: torch.Tensor, b: torch.Tensor, *dims: int) -> torch.Tensor:
    """The sum of a * b along `dims`, which are kept, without the product in memory; one may have components."""
    letters = "abcdefghijklmnopqrstuvwxyz"[: max(a.ndim, b.ndim)]
    left = "".join(letter for dim, letter in enumerate(letters) if dim not in dims)
    kept = [None if dim in dims else slice(None) for dim in range(len(letters))]
    return torch.einsum(f"{letters[: a.ndim]},{letters[: b.ndim]}->{left}", a, b)[tuple(kept)]


def _ref_iota(x: torch.Tensor, size: int, dim: int, rank: int) -> torch.Tensor:
    """The places along `dim` of `rank` dims, on the device of x."""
    return torch.arange(size, device=x.device).reshape([-1 if i == dim else 1 for i in range(rank)])


def _ref_gather(x: torch.Tensor, index: torch.Tensor, source: int, target: int) -> torch.Tensor:
    """x at the positions `index` along `source`, which lie along `target`."""
    return x.index_select(source, index).transpose(source, target)


def _ref_segment_sum(x: torch.Tensor, index: torch.Tensor, source: int, target: int, size: int) -> torch.Tensor:
    """For each of `size` positions along `target` the sum of what lies along `source` where `index` has it."""
    terms = x.transpose(source, target)
    return terms.new_zeros([size if i == target else n for i, n in enumerate(terms.shape)]).index_add(
        target, index, terms
    )


def _ref_collect(terms: torch.Tensor, target: list[int], size: int) -> torch.Tensor:
    """The sums of the terms (last axis) that go to the same of `size` targets, always added in the same order."""
    order = sorted(range(len(target)), key=lambda term: target[term])
    terms = terms if order == list(range(len(target))) else terms[..., order]
    counts = [sum(t == k for t in target) for k in range(size)]
    return torch.stack([part.sum(-1) for part in torch.split(terms, counts, -1)], -1)


def _ref_planes(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The components, each in memory of its own: in the planes of a multivector one pass reads no other component."""
    return x.movedim(-1, 0).contiguous().unbind(0)


def _ref_joined(planes: list[torch.Tensor | None]) -> torch.Tensor:
    """The tensor of these components, None for zero."""
    present = [plane for plane in planes if plane is not None]
    return torch.stack([torch.zeros_like(present[0]) if plane is None else plane for plane in planes]).movedim(0, -1)


def _ref_picked(x: torch.Tensor, index: list[int]) -> torch.Tensor:
    """The components of these numbers, in this order."""
    planes = x.unbind(-1)
    return x if index == list(range(len(planes))) else torch.stack([planes[i] for i in index]).movedim(0, -1)


def _ref_total(terms: list[tuple[torch.Tensor, torch.Tensor, int]]) -> torch.Tensor:
    """The sum of sign * a * b over terms (a, b, sign), each added in one pass to what is there."""
    (a, b, sign), *others = sorted(terms, key=lambda term: -term[2])
    total = a * b * sign if sign < 0 else a * b
    for a, b, sign in others:
        total = torch.addcmul(total, a, b, value=sign)
    return total


def _ref_product(
    kind: str,
    x: torch.Tensor,
    y: torch.Tensor,
    left: _RefGrades = None,
    right: _RefGrades = None,
    out: _RefGrades = None,
    weight: torch.Tensor | None = None,
    paths: tuple[_RefGrades, _RefGrades] = (None, None),
) -> torch.Tensor:
    """The geometric, outer or inner product, onto the grades `out`.

    `weight` has one value per path (last axis), for operands of the grades `paths`, and scales the terms of its path.
    """
    xs, ys = _ref_planes(x), _ref_planes(y)
    weights = {} if weight is None else _ref_weights(weight, paths)
    components: list[torch.Tensor | None] = []
    for by_path in _ref_product_terms(kind, left, right, out, _REF_SQUARES, _REF_BLADES):
        terms = {path: [(xs[i], ys[j], sign) for i, j, sign in own] for path, own in by_path.items()}
        if weights:
            terms = {path: [(_ref_total(own), weights[path], 1)] for path, own in terms.items()}
        components.append(_ref_total([term for own in terms.values() for term in own]) if terms else None)
    return _ref_joined(components)


def _ref_weights(
    weight: torch.Tensor, paths: tuple[_RefGrades, _RefGrades]
) -> dict[tuple[int, int, int], torch.Tensor]:
    """The weight of each path."""
    order = _ref_paths(*paths, _REF_PATH_ORDER, _REF_SQUARES, _REF_BLADES)
    planes = _ref_planes(weight)
    return {path: planes[number] for number, path in enumerate(order)}


def _ref_fcgp(
    x: torch.Tensor,
    y: torch.Tensor,
    weight: torch.Tensor,
    dim: int,
    left: _RefGrades = None,
    right: _RefGrades = None,
    out: _RefGrades = None,
    paths: tuple[_RefGrades, _RefGrades] = (None, None),
) -> torch.Tensor:
    """The geometric product with a weight per path, as in `_ref_product`, summed along `dim`.

    Each component is one contraction, along `dim`, where its paths stand one behind the other.
    """
    weights = _ref_weights(weight, paths)
    xs = _ref_planes(x.expand([weight.shape[dim] if axis == dim else -1 for axis in range(x.ndim)]))
    ys = _ref_planes(y)
    components: list[torch.Tensor | None] = []
    for by_path in _ref_product_terms("geometric", left, right, out, _REF_SQUARES, _REF_BLADES):
        totals = [_ref_total([(xs[i], ys[j], sign) for i, j, sign in own]) for own in by_path.values()]
        matrices = [weights[path] for path in by_path]
        components.append(_ref_contract(torch.cat(totals, dim), torch.cat(matrices, dim), dim) if totals else None)
    return _ref_joined(components)


def _ref_mv_linear(
    x: torch.Tensor, weight: torch.Tensor, dim: int, grades: _RefGrades = None, weighted: _RefGrades = None
) -> torch.Tensor:
    """Each component times the weight of its grade, summed along `dim`; `weight` has those of the grades `weighted`."""
    order = sorted({mask.bit_count() for mask, _ in _ref_select(weighted, _REF_BLADES)})
    index = [order.index(mask.bit_count()) for mask, _ in _ref_select(grades, _REF_BLADES)]
    return _ref_contract(x, _ref_picked(weight, index), dim)


def _ref_sandwich(
    r: torch.Tensor, x: torch.Tensor, left: _RefGrades = None, right: _RefGrades = None, out: _RefGrades = None
) -> torch.Tensor:
    """r x ~r for an even r; for an odd r the grade involution of x takes x's place."""
    if left is not None and left[0] % 2:
        x = _ref_involute(x, right)
    rows = _ref_product_rows("geometric", left, right, _REF_SQUARES, _REF_BLADES)
    between = tuple(sorted({mask.bit_count() for _, _, mask, _ in rows}))
    middle = _ref_product("geometric", r, x, left, right, between)
    return _ref_product("geometric", middle, _ref_reverse(r, left), between, left, out)


def _ref_signed(x: torch.Tensor, grades: _RefGrades, negative: tuple[int, ...]) -> torch.Tensor:
    """x with the sign of a grade g changed where g mod 4 is in `negative`."""
    signs = [-1 if mask.bit_count() % 4 in negative else 1 for mask, _ in _ref_select(grades, _REF_BLADES)]
    return x * x.new_tensor(signs)


def _ref_reverse(x: torch.Tensor, grades: _RefGrades = None) -> torch.Tensor:
    """The generators of every blade in reverse order."""
    return _ref_signed(x, grades, (2, 3))


def _ref_involute(x: torch.Tensor, grades: _RefGrades = None) -> torch.Tensor:
    """Every generator negated."""
    return _ref_signed(x, grades, (1, 3))


def _ref_conjugate(x: torch.Tensor, grades: _RefGrades = None) -> torch.Tensor:
    """Reversed and every generator negated."""
    return _ref_signed(x, grades, (1, 2))


def _ref_complemented(kind: str, x: torch.Tensor, grades: _RefGrades = None) -> torch.Tensor:
    """The dual (e_A ^ dual(e_A) = I), its inverse "undual", or the "polarity" x I^-1."""
    rows = _ref_complement(kind, grades, _REF_SQUARES, _REF_BLADES)
    return _ref_picked(x, [i for i, _ in rows]) * x.new_tensor([sign for _, sign in rows])


def _ref_regrade(x: torch.Tensor, out: _RefGrades, grades: _RefGrades = None) -> torch.Tensor:
    """x on the grades `out`: those it has are kept, others are zero."""
    source, target = _ref_select(grades, _REF_BLADES), _ref_select(out, _REF_BLADES)
    kept = [blade for blade in source if blade in target]
    picked = _ref_picked(x, [source.index(blade) for blade in kept])
    return picked if kept == list(target) else _ref_collect(picked, [target.index(b) for b in kept], len(target))


def _ref_phi(s: torch.Tensor) -> torch.Tensor:
    """The normal distribution function, (1 + erf(s / sqrt 2)) / 2."""
    return 0.5 * (1 + torch.erf(s * 0.5**0.5))


def _ref_gelu(x: torch.Tensor, scalar: int = 0) -> torch.Tensor:
    """x Phi(x_0): every blade is gated by the scalar blade, component `scalar`."""
    return x * _ref_phi(x[..., scalar : scalar + 1])


def _ref_philox(seed: torch.Tensor, counter: list[torch.Tensor]) -> list[torch.Tensor]:
    """Four random numbers of 32 bits for a counter of four: Philox4x32-10 (Salmon et al., SC11)."""
    low = 0xFFFFFFFF
    key = [seed & low, seed >> 32 & low]
    for _ in range(10):
        first, second = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57  # products of 64 bits, which may be negative
        left, right = second >> 32 & low, first >> 32 & low
        counter = [left ^ counter[1] ^ key[0], second & low, right ^ counter[3] ^ key[1], first & low]
        key = [key[0] + 0x9E3779B9 & low, key[1] + 0xBB67AE85 & low]
    return counter


def _ref_dropout(
    x: torch.Tensor,
    p: float,
    seed: torch.Tensor,
    number: int,
    along: tuple[int, ...],
    parts: tuple[int, ...] = (),
) -> torch.Tensor:
    """x / (1 - p) where a random number is at least p, else zero: the draw `number` of a body.

    Elements are counted along these dims; components have the number of the part that they belong to.
    """
    element = torch.zeros_like(seed.reshape(()))
    for dim in along:
        place = torch.arange(x.shape[dim], device=x.device)
        element = element * x.shape[dim] + place.reshape([-1 if i == dim else 1 for i in range(x.ndim - bool(parts))])
    kept = {part: _ref_uniform(seed.reshape(()), element, number, part) >= p for part in parts or (0,)}
    mask = torch.stack([kept[part] for part in parts], -1) if parts else kept[0]
    return x * mask.to(x.dtype) / (1 - p)


def _ref_uniform(seed: torch.Tensor, element: torch.Tensor, number: int, part: int) -> torch.Tensor:
    """Numbers from 0 to below 1 in fp32, of the bits that a counter of the element, the draw and the part has."""
    zero = torch.zeros_like(element)
    bits = _ref_philox(seed, [element & 0xFFFFFFFF, element >> 32, zero + number, zero + part // 4])[part % 4]
    folded = torch.where(bits < 2**31, bits, 2**32 - 1 - bits)  # a negative number of 32 bits is -1 - itself
    return folded.to(torch.float32) * 4.6566127342e-10


def _ref_norm_squared(x: torch.Tensor, grades: _RefGrades = None) -> torch.Tensor:
    """<x ~x>_0, without a blade axis."""
    signs = [_ref_norm_sign(mask, _REF_SQUARES) for mask, _ in _ref_select(grades, _REF_BLADES)]
    return (x.square() * x.new_tensor(signs)).sum(-1)


def _ref_grade_rms_norm(
    x: torch.Tensor, eps: float | torch.Tensor, dim: int, grades: _RefGrades = None, invariant: bool = False
) -> torch.Tensor:
    """Each grade over its root mean square along `dim`, of plain squares or (invariant) of |<x_g ~x_g>_0|."""
    masks = [mask for mask, _ in _ref_select(grades, _REF_BLADES)]
    present = sorted({mask.bit_count() for mask in masks})
    grade = [present.index(mask.bit_count()) for mask in masks]
    squares = x.square()
    if invariant:
        squares = squares * x.new_tensor([_ref_norm_sign(mask, _REF_SQUARES) for mask in masks])
    norms = _ref_collect(squares, grade, len(present))
    mean = (norms.abs() if invariant else norms).mean(dim, keepdim=True)
    return x * _ref_picked(torch.rsqrt(mean + eps), grade)
