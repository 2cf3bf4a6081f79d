"""The reference's functions over a dense table of products: what a proof calls in place of `tables`.

A multivector is a tensor as in `runtime`, whose other functions a proof shares. The algebra is data: the
names and grades of the basis blades, all their products, and the order of product paths. Guaranteed: every sign is read
from the table; nothing counts swaps or multiplies squares of generators.
"""

import functools

import torch

from kgen.reference.runtime import _ref_collect, _ref_contract, _ref_involute, _ref_reverse

# Stand-ins: a proof defines the data of its own algebra here.
BLADES: list[str] = []
GRADES: list[int] = []
PATH_ORDER: tuple[str, ...] = ()
TABLE = torch.zeros(0, 0, 0)  # [i, j, k] is the coefficient of blade k in blade i times blade j

_RefGrades = tuple[int, ...] | None


def _ref_select(grades: _RefGrades) -> list[int]:
    """The blades of these grades, in storage order."""
    return [i for i, grade in enumerate(GRADES) if grades is None or grade in grades]


def _ref_grades(grades: _RefGrades) -> torch.Tensor:
    """The grade of each component."""
    return torch.tensor(GRADES)[_ref_select(grades)]


@functools.cache
def _ref_terms(
    kind: str, left: _RefGrades, right: _RefGrades, out: _RefGrades
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of each product of two blades that is not zero: their numbers, that of the result, and the sign."""
    r, s, t = torch.meshgrid(*[torch.tensor(GRADES)] * 3, indexing="ij")
    kept = {"geometric": t >= 0, "outer": t == r + s, "inner": t == (r - s).abs()}[kind]
    table = (TABLE * kept)[_ref_select(left)][:, _ref_select(right)][:, :, _ref_select(out)]
    i, j, k = table.nonzero(as_tuple=True)
    return i, j, k, table[i, j, k]


@functools.cache
def _ref_paths(left: _RefGrades, right: _RefGrades) -> list[tuple[int, ...]]:
    """The (left, out, right) grades between which some product of blades is not zero, in the order of the weights."""
    i, j, k, _ = _ref_terms("geometric", left, right, None)
    triples = zip(_ref_grades(left)[i].tolist(), _ref_grades(None)[k].tolist(), _ref_grades(right)[j].tolist())
    return sorted(set(triples), key=lambda path: [path[("left", "out", "right").index(role)] for role in PATH_ORDER])


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
    i, j, k, sign = _ref_terms(kind, left, right, out)
    terms = x[..., i] * y[..., j] * sign.to(x)
    if weight is not None:
        terms = terms * _ref_term_weights(weight, left, right, out, paths)
    return _ref_collect(terms, k.tolist(), len(_ref_select(out)))


def _ref_term_weights(
    weight: torch.Tensor,
    left: _RefGrades,
    right: _RefGrades,
    out: _RefGrades,
    paths: tuple[_RefGrades, _RefGrades],
) -> torch.Tensor:
    """The weight of each term of the geometric product, by its path."""
    order = _ref_paths(*paths)
    i, j, k, _ = _ref_terms("geometric", left, right, out)
    grades = zip(_ref_grades(left)[i].tolist(), _ref_grades(out)[k].tolist(), _ref_grades(right)[j].tolist())
    return weight[..., [order.index(path) for path in grades]]


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
    """The geometric product with a weight per path, as in `_ref_product`, summed along `dim`, term by term."""
    i, j, k, sign = _ref_terms("geometric", left, right, out)
    terms = x[..., i] * y[..., j] * sign.to(x)
    summed = _ref_contract(terms, _ref_term_weights(weight, left, right, out, paths), dim)
    return _ref_collect(summed, k.tolist(), len(_ref_select(out)))


def _ref_mv_linear(
    x: torch.Tensor, weight: torch.Tensor, dim: int, grades: _RefGrades = None, weighted: _RefGrades = None
) -> torch.Tensor:
    """Each component times the weight of its grade, summed along `dim`; `weight` has those of the grades `weighted`."""
    present = torch.tensor(sorted(set(_ref_grades(weighted).tolist())))
    belongs = present[:, None] == _ref_grades(grades)
    return _ref_contract(x, weight @ belongs.to(x), dim)


def _ref_sandwich(
    r: torch.Tensor, x: torch.Tensor, left: _RefGrades = None, right: _RefGrades = None, out: _RefGrades = None
) -> torch.Tensor:
    """r x ~r for an even r; for an odd r the grade involution of x takes x's place."""
    if left is not None and left[0] % 2:
        x = _ref_involute(x, right)
    middle = _ref_product("geometric", r, x, left, right)
    return _ref_product("geometric", middle, _ref_reverse(r, left), None, left, out)


def _ref_signed(x: torch.Tensor, grades: _RefGrades, negative: tuple[int, ...]) -> torch.Tensor:
    """x with the sign of a grade g changed where g mod 4 is in `negative`."""
    return x * x.new_tensor([-1 if GRADES[i] % 4 in negative else 1 for i in _ref_select(grades)])


def _ref_regrade(x: torch.Tensor, out: _RefGrades, grades: _RefGrades = None) -> torch.Tensor:
    """x on the grades `out`: those it has are kept, others are zero."""
    return x @ torch.eye(len(GRADES)).to(x)[_ref_select(grades)][:, _ref_select(out)]


def _ref_complemented(kind: str, x: torch.Tensor, grades: _RefGrades = None) -> torch.Tensor:
    """The dual (e_A ^ dual(e_A) = I), its inverse "undual", or the "polarity" x I^-1; I = e_1 e_2 … ascending."""
    generators = sorted(name for name, grade in zip(BLADES, GRADES) if grade == 1)
    blades = [torch.eye(len(BLADES), dtype=torch.float64)[BLADES.index(name)] for name in ["e", *generators]]
    whole = functools.reduce(lambda a, b: torch.einsum("i,j,ijk->k", a, b, TABLE), blades)
    if kind == "polarity":
        square = torch.einsum("i,j,ijk->k", whole, whole, TABLE)[BLADES.index("e")]
        matrix = torch.einsum("ijk,j->ik", TABLE, whole / square)
    else:
        dual = torch.einsum("ijk,k->ij", TABLE, whole)
        matrix = dual if kind == "dual" else dual.T
    rows = matrix[_ref_select(grades)].to(x)
    return x @ rows[:, rows.any(0)]


def _ref_norm_signs(grades: _RefGrades) -> list[float]:
    """<e_A ~e_A>_0 of each blade."""
    squares = TABLE[:, :, BLADES.index("e")].diagonal().tolist()
    return [-squares[i] if GRADES[i] % 4 in (2, 3) else squares[i] for i in _ref_select(grades)]


def _ref_norm_squared(x: torch.Tensor, grades: _RefGrades = None) -> torch.Tensor:
    """<x ~x>_0, without a blade axis."""
    return (x.square() * x.new_tensor(_ref_norm_signs(grades))).sum(-1)


def _ref_grade_rms_norm(
    x: torch.Tensor, eps: float | torch.Tensor, dim: int, grades: _RefGrades = None, invariant: bool = False
) -> torch.Tensor:
    """Each grade over its root mean square along `dim`, of plain squares or (invariant) of |<x_g ~x_g>_0|."""
    grade = _ref_grades(grades)
    squares = x.square() * x.new_tensor(_ref_norm_signs(grades)) if invariant else x.square()
    norms = _ref_collect(squares, grade.tolist(), max(GRADES) + 1)
    mean = (norms.abs() if invariant else norms).mean(dim, keepdim=True)
    return x * torch.rsqrt(mean + eps)[..., grade]
