"""Sums of a term for each grade: `sum(x.grade(g) * a[g] for g in x.grades)` in a body.

In: the syntax tree of such a sum. Out: what its variable goes over, and its term written out for one of these numbers,
as if it had been typed. The same words stand for whole numbers, `for g in (0, 2)`. Guaranteed of a term written out:
the variable is the number wherever it stands, conditions of `if` that numbers alone decide are decided, and every
node has its place in the body. Whoever reads bodies needs no more than that to read a `for`.
"""

import ast
import operator
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T", bound=ast.AST)
Numbers = tuple[int, ...]
Problem = tuple[ast.AST, str, str | None]  # where, what, hint

LEVELS = 2  # of sums within sums
LONGEST = 64  # numbers behind `in`
EXAMPLE = "as in sum(x.grade(g) for g in x.grades)"
OVER = "as in `for g in x.grades`, or `for g in (0, 2)`"
COMPARISONS: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def terms_of(node: ast.AST) -> ast.GeneratorExp | None:
    """The terms that a call adds up, if it is `sum(… for …)`."""
    match node:
        case ast.Call(func=ast.Name(id="sum"), args=[ast.GeneratorExp() as terms, *_]):
            return terms
    return None


def all_terms(tree: ast.AST) -> list[ast.GeneratorExp]:
    """The terms of all sums within a tree."""
    return [terms for node in ast.walk(tree) if (terms := terms_of(node)) is not None]


def variable(terms: ast.GeneratorExp) -> ast.Name | None:
    """The name that stands for a number in the term, if it is one."""
    target = terms.generators[0].target
    return target if isinstance(target, ast.Name) else None


def over(terms: ast.GeneratorExp) -> Numbers | ast.expr:
    """The numbers that the variable goes over, or the multivector whose grades they are."""
    match terms.generators[0].iter:
        case ast.Attribute(value=multivector, attr="grades"):
            return multivector
        case ast.Tuple(elts=parts):
            return tuple(n.value for n in parts if isinstance(n, ast.Constant) and isinstance(n.value, int))
    return ()


# the language


def bound(tree: ast.AST) -> set[int]:
    """The nodes (by `id`) that stand for whole numbers because a `for` around them says so."""
    found = set[int]()
    for terms in all_terms(tree):
        name = variable(terms)
        inside = [n for n in ast.walk(terms.elt) if isinstance(n, ast.Name)]
        found |= {id(node) for node in inside if name is not None and node.id == name.id}
    return found


def problems(tree: ast.AST) -> Iterator[Problem]:
    """What is wrong with the sums of a body, apart from what is wrong with their parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (terms := terms_of(node)) is not None:
            if len(node.args) > 1 or node.keywords:
                hint = "sum along an axis around it, as in sum(sum(x.grade(g) for g in x.grades), over=n)"
                yield node, "a sum with `for` takes nothing else", hint
            yield from _clause(terms)
            yield from _nesting(terms)


def _clause(terms: ast.GeneratorExp) -> Iterator[Problem]:
    clause = terms.generators[0]
    if len(terms.generators) > 1:
        yield terms, "a sum has one `for`", "sum sums, as in sum(sum(… for h in y.grades) for g in x.grades)"
    if clause.is_async:
        yield terms, "`async` is not part of a body", EXAMPLE
    if clause.ifs:
        yield clause.ifs[0], "`if` after `for` is not part of a body", "name the numbers, as in `for g in (1, 2)`"
    if variable(terms) is None:
        yield clause.target, "`for` has one plain name", EXAMPLE
    yield from _range(clause.iter)


def _range(node: ast.expr) -> Iterator[Problem]:
    match node:
        case ast.Attribute(attr="grades"):
            return
        case ast.Tuple(elts=parts) if len(parts) > LONGEST:
            yield node, f"`for` goes over at most {LONGEST} numbers", None
        case ast.Tuple(elts=[_, *_] as parts) if all(_is_whole(part) for part in parts):
            return
        case _:
            yield node, "`for` goes over the grades of a multivector, or over whole numbers", OVER


def _nesting(terms: ast.GeneratorExp) -> Iterator[Problem]:
    inner = all_terms(terms.elt)
    deepest = [below for other in inner for below in all_terms(other.elt)]
    if deepest:
        yield deepest[0], f"sums with `for` stand at most {LEVELS} deep", "assign the inner one to a name"
    for other in inner:
        mine, name = variable(terms), variable(other)
        if mine is not None and name is not None and mine.id == name.id:
            yield name, f"`{name.id}` is already the name of a `for` around this one", None


def _is_whole(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


# one of the terms


def written_out(terms: ast.GeneratorExp, number: int) -> ast.expr:
    """The term for one number."""
    name = variable(terms)
    assert name is not None, "the body is in the language"
    return _put(terms.elt, name.id, number)


def where(node: ast.AST) -> str:
    """What the variables stand for that were written out within a node, to be added to a message."""
    numbers = [n for n in ast.walk(node) if isinstance(n, ast.Constant) and n.kind]
    told = dict.fromkeys(f"{n.kind} is {n.value}" for n in numbers if isinstance(n.value, int))
    return f", where {' and '.join(told)}" if told else ""


def _put(node: ast.expr, name: str, number: int) -> ast.expr:
    """The expression with a number in the place of a name; the number's `kind`, which others lack, keeps the name."""
    match node:
        case ast.Name() if node.id == name:
            return ast.copy_location(ast.Constant(number, kind=name), node)
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            decided = _decided(_put(test, name, number))
            if isinstance(decided, bool):
                return _put(body if decided else otherwise, name, number)
            parts = (decided, _put(body, name, number), _put(otherwise, name, number))
            return ast.copy_location(ast.IfExp(*parts), node)
    return _rebuilt(node, lambda part: _put(part, name, number))


def _rebuilt(node: T, put: Callable[[ast.expr], ast.expr]) -> T:
    """The node with other expressions in it."""
    parts = {field: _part(value, put) for field, value in ast.iter_fields(node)}
    return ast.copy_location(type(node)(**parts), node)


def _part(value: object, put: Callable[[ast.expr], ast.expr]) -> object:
    if isinstance(value, list):
        return [_part(each, put) for each in value]
    if isinstance(value, ast.expr):
        return put(value)
    return _rebuilt(value, put) if isinstance(value, ast.AST) else value


def _decided(test: ast.expr) -> bool | ast.expr:
    """A condition's truth where whole numbers alone decide it, else what is left of it."""
    match test:
        case ast.Compare(ops=[op], left=ast.Constant(int(a)), comparators=[ast.Constant(int(b))]):
            return COMPARISONS[type(op)](a, b)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _decided(operand)
            return not inner if isinstance(inner, bool) else ast.copy_location(ast.UnaryOp(test.op, inner), test)
        case ast.BoolOp():
            return _of_several(test)
    return test


def _of_several(test: ast.BoolOp) -> bool | ast.expr:
    """`and` and `or`: one part may decide it, and what is neutral is left out."""
    neutral = isinstance(test.op, ast.And)
    parts = [_decided(part) for part in test.values]
    if any(part is (not neutral) for part in parts):
        return not neutral
    left = [part for part in parts if not isinstance(part, bool)]
    if len(left) < 2:
        return left[0] if left else neutral
    return ast.copy_location(ast.BoolOp(test.op, left), test)
