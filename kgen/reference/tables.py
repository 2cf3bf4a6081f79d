"""Tables of geometric algebra from bit operations on blade masks: the reference's own, shared with no other stage.

In: the squares of the generators and the blades in storage order, each as (mask, sign): `sign` times the ascending
product of the generators in `mask`. Out: rows of small integers. Guaranteed: nothing but counting swaps and multiplying
squares. The text of these functions is copied into generated modules (see `reference`), so they use builtins and
`functools` only.
"""

import functools


def _ref_blade_product(a: int, b: int, squares: tuple[int, ...]) -> tuple[int, int]:
    """The geometric product of two basis blades as (mask, sign): b's generators join `a` from the right, one by one."""
    sign = 1
    for generator, square in enumerate(squares):
        if b >> generator & 1:
            swaps = (a >> generator + 1).bit_count()
            sign *= (-1) ** swaps * (square if a >> generator & 1 else 1)
            a ^= 1 << generator
    return a, sign


def _ref_select(grades: tuple[int, ...] | None, blades: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The blades of these grades (None: of all), in storage order."""
    return tuple(blade for blade in blades if grades is None or blade[0].bit_count() in grades)


@functools.cache
def _ref_product_rows(
    kind: str,
    left: tuple[int, ...] | None,
    right: tuple[int, ...] | None,
    squares: tuple[int, ...],
    blades: tuple[tuple[int, int], ...],
) -> tuple[tuple[int, int, int, int], ...]:
    """Rows (i, j, mask, sign): left component i times right component j is sign times the ascending blade `mask`."""
    rows = []
    for i, (a, sign_a) in enumerate(_ref_select(left, blades)):
        for j, (b, sign_b) in enumerate(_ref_select(right, blades)):
            mask, sign = _ref_blade_product(a, b, squares)
            r, s, out = a.bit_count(), b.bit_count(), mask.bit_count()
            kept = {"geometric": True, "outer": out == r + s, "inner": out == abs(r - s)}[kind]
            if kept and sign:
                rows.append((i, j, mask, sign * sign_a * sign_b))
    return tuple(rows)


@functools.cache
def _ref_product_terms(
    kind: str,
    left: tuple[int, ...] | None,
    right: tuple[int, ...] | None,
    out: tuple[int, ...] | None,
    squares: tuple[int, ...],
    blades: tuple[tuple[int, int], ...],
) -> tuple[dict[tuple[int, int, int], list[tuple[int, int, int]]], ...]:
    """For each component of the result its terms (i, j, sign), by their path: the grades of (left, out, right)."""
    x_grades, y_grades = ([mask.bit_count() for mask, _ in _ref_select(grades, blades)] for grades in (left, right))
    rows = _ref_product_rows(kind, left, right, squares, blades)
    components = []
    for mask, own in _ref_select(out, blades):
        terms: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
        for i, j, target, sign in rows:
            if target == mask:
                path = (x_grades[i], mask.bit_count(), y_grades[j])
                terms.setdefault(path, []).append((i, j, sign * own))
        components.append(terms)
    return tuple(components)


@functools.cache
def _ref_paths(
    left: tuple[int, ...] | None,
    right: tuple[int, ...] | None,
    order: tuple[str, ...],
    squares: tuple[int, ...],
    blades: tuple[tuple[int, int], ...],
) -> tuple[tuple[int, int, int], ...]:
    """The (left, out, right) grades between which some product of blades is nonzero, sorted by `order`."""
    lefts, rights = _ref_select(left, blades), _ref_select(right, blades)
    rows = _ref_product_rows("geometric", left, right, squares, blades)
    found = {(lefts[i][0].bit_count(), out.bit_count(), rights[j][0].bit_count()) for i, j, out, _ in rows}
    return tuple(sorted(found, key=lambda path: [path[("left", "out", "right").index(role)] for role in order]))


def _ref_complement(
    kind: str, grades: tuple[int, ...] | None, squares: tuple[int, ...], blades: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int], ...]:
    """Rows (component, sign), one for each blade of the result: dual, undual (its inverse) or polarity, x I^-1."""
    whole = (1 << len(squares)) - 1
    source = {mask: (i, sign) for i, (mask, sign) in enumerate(_ref_select(grades, blades))}
    rows = []
    for mask, sign in blades:
        if whole ^ mask in source:
            component, source_sign = source[whole ^ mask]
            if kind == "dual":  # e_A ^ dual(e_A) = I for A the source
                turn = _ref_blade_product(whole ^ mask, mask, squares=(1,) * len(squares))[1]
            elif kind == "undual":  # the same with the result as A
                turn = _ref_blade_product(mask, whole ^ mask, squares=(1,) * len(squares))[1]
            else:  # I^-1 = I / I^2
                turn = _ref_blade_product(whole ^ mask, whole, squares)[1]
                turn *= _ref_blade_product(whole, whole, squares)[1]
            rows.append((component, turn * source_sign * sign))
    return tuple(rows)


def _ref_norm_sign(mask: int, squares: tuple[int, ...]) -> int:
    """The scalar e_A ~e_A: the product of the squares of A's generators."""
    sign = 1
    for generator, square in enumerate(squares):
        sign *= square if mask >> generator & 1 else 1
    return sign
