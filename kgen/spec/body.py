"""Bodies of kernels: text in, a Python syntax tree of kgen's small expression language out.

A body is assignments to plain names and one final `return` of a value or a tuple. It is parsed with `ast` against an
allow-list and never executed. Guaranteed of a tree that `parse_body` returns: it holds nothing but

    name = value            a plain name that generated code may use
    return value, …         once, at the end
    f(x, key=value)         a call of a plain name; x.grade(1)
    x.e12                   a component field
    w[3], w[0, 1, 1]        integers into a plain name
    a if flag else b        with `not`, `and`, `or` and single comparisons
    sum(… for g in x.grades)    a term for each grade, or number as in (0, 2): see `terms.py`
    + - * / ** ^ | & >> ~   with parentheses wherever Python's precedence would surprise
    1, 0.5, True, "word"    finite numbers, truth values, and words as keyword arguments

and it is at most DEPTH levels deep. What the names mean, `trace/expressions.py` checks.
"""

import ast
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kgen.errors import KgenError, KgenErrors, Mark
from kgen.spec import terms
from kgen.spec.model import COMPONENT_AXES, Kernel

DEPTH = 100  # levels of nesting, so that no walk over a body can exhaust the stack
LOOSE = {ast.BitXor: "^", ast.BitOr: "|", ast.BitAnd: "&", ast.RShift: ">>"}  # bind looser than + in Python
TIGHT = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
OPERATORS = {**LOOSE, **TIGHT}
LOOPS = (ast.comprehension, ast.For)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
STATEMENTS = (ast.Assign, ast.Return)
EXPRESSIONS = (
    *(ast.Tuple, ast.Call, ast.Name, ast.Attribute, ast.Constant, ast.Subscript),
    *(ast.BinOp, ast.UnaryOp, ast.IfExp, ast.BoolOp, ast.Compare),
)
HINT = "a body is assignments `name = value` and one final `return value`"

Problem = tuple[ast.AST, str, str | None]  # where, what, hint


@dataclass(frozen=True, slots=True)
class Body:
    """A body of which something may not be in the language."""

    tree: ast.Module  # without statements where they cannot be told apart, or not be walked
    wrong: frozenset[ast.stmt]  # those with something that is not in the language
    errors: list[KgenError]


def parse_body(kernel: Kernel) -> ast.Module:
    """The syntax tree of the kernel's body; KgenErrors, located in the spec's file, when it is not in the language."""
    body = examined(kernel)
    if body.errors:
        raise KgenErrors(body.errors)
    return body.tree


def examined(kernel: Kernel) -> Body:
    """The kernel's body, and what in it is not in the language, located in the spec's file."""
    try:
        tree = _tree(kernel)
    except KgenErrors as error:
        return Body(ast.Module([], []), frozenset(), error.errors)
    problems = list(_problems(tree, _lines(kernel)))
    errors = dict.fromkeys((place(kernel, node), what, hint) for node, what, hint in problems)
    at = {id(node) for node, _, _ in problems}
    wrong = frozenset(s for s in tree.body if any(id(node) in at for node in ast.walk(s)))
    walked = ast.Module([], []) if _too_deep(tree) else tree
    return Body(walked, wrong, [KgenError(what, mark, hint) for mark, what, hint in errors])


@lru_cache  # asked for once for each input
def made_axes(kernel: Kernel) -> Mapping[str, str]:
    """The axes that the body makes, in order, with the one that `rename` calls so, or none of those that `cat` makes.

    Inputs may have some of them, too. A name that stands in `rename` alone is none: it may be misspelt.
    """
    found, tree = dict[str, str](), examined(kernel).tree
    named = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    declared = {axis for output in kernel.outputs if output.type for axis in output.type.axes}
    for call in ast.walk(tree):
        name = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
        if isinstance(call, ast.Call) and name in ("cat", "rename"):
            given = {k.arg: getattr(k.value, "id", "") for k in call.keywords}
            to, axis = given.get("to", ""), given.get("axis", "") if name == "rename" else ""
            if to and to not in COMPONENT_AXES and (name == "cat" or named[to] > 1 or to in declared):
                found.setdefault(to, axis)
    return found


def with_made(kernel: Kernel, axes: Iterable[str]) -> tuple[str, ...]:
    """The axes, and those that the body makes: another name of an axis stands behind it, what `cat` makes last."""
    found = [*axes]
    for made, axis in made_axes(kernel).items():
        if made not in found:
            found.insert(found.index(axis) + 1 if axis in found else len(found), made)
    return tuple(found)


def _tree(kernel: Kernel) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(kernel.body)
    except SyntaxError as error:
        mark = _shift(kernel.body_mark, error.lineno or 1, max((error.offset or 1) - 1, 0))
        raise KgenErrors([KgenError(f"syntax error in the body: {error.msg}", mark, HINT)]) from None
    except (ValueError, RecursionError, MemoryError):
        raise KgenErrors([KgenError("the body cannot be parsed: it is nested too deeply", kernel.body_mark)]) from None


def place(kernel: Kernel, node: ast.AST) -> Mark:
    """Where a node of the kernel's body stands in the spec's file."""
    line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
    before = _lines(kernel)[line - 1][:column]
    return _shift(kernel.body_mark, line, len(before.decode(errors="replace")))


def _lines(kernel: Kernel) -> list[bytes]:
    """The body's lines as `ast` counts columns in them: in bytes of UTF-8."""
    return kernel.body.encode().split(b"\n")


def _shift(start: Mark, line: int, column: int) -> Mark:
    """A line (from one) and a column (from zero) of the body as a mark; all lines of a body share one indentation."""
    return Mark(start.path, start.line + line - 1, start.column + column)


def _problems(tree: ast.Module, lines: list[bytes]) -> Iterator[Problem]:
    deep = _too_deep(tree)
    if deep is not None:
        yield deep, f"the body is nested more than {DEPTH} levels deep", "split it into assignments"
        return
    yield from _statements(tree)
    yield from terms.problems(tree)
    whole = terms.bound(tree)
    for parent in ast.walk(tree):
        yield from _expression(parent)
        if isinstance(parent, ast.Subscript):
            yield from _subscript(parent, whole)
        if isinstance(parent, ast.BinOp):
            yield from _precedence(parent, lines)


def _too_deep(tree: ast.Module) -> ast.AST | None:
    level: list[ast.AST] = [tree]
    for _ in range(DEPTH + 3):  # the module, its statements and their contexts are not levels of an expression
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return next((node for node in level if hasattr(node, "lineno")), None)


def _statements(tree: ast.Module) -> Iterator[Problem]:
    if not tree.body:
        yield tree, "the body is empty", HINT
    for statement in tree.body[:-1]:
        if isinstance(statement, ast.Return):
            yield statement, "`return` stands before the end of the body", HINT
    for statement in tree.body:
        if not isinstance(statement, STATEMENTS):
            hint = terms.EXAMPLE if isinstance(statement, ast.For) else HINT
            yield statement, f"{_spell(statement)} is not part of a body", hint
        elif isinstance(statement, ast.Assign) and not _plain(statement):
            yield statement, "an assignment has one plain name on its left", HINT
    if tree.body and not isinstance(tree.body[-1], ast.Return):
        yield tree.body[-1], "the body does not end with `return`", HINT
    elif tree.body and isinstance(tree.body[-1], ast.Return) and tree.body[-1].value is None:
        yield tree.body[-1], "`return` without a value", HINT


def _plain(statement: ast.Assign) -> bool:
    return len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name)


def _expression(node: ast.AST) -> Iterator[Problem]:
    """What is wrong with one node below the statements, its own children aside."""
    tuples = {id(node.value)} if isinstance(node, ast.Return | ast.Subscript) else set()
    terms_here = terms.terms_of(node)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Attribute) and child.attr == "grade" and not isinstance(node, ast.Call):
            yield child, "`.grade` is not called", "as in x.grade(1)"
        if isinstance(child, ast.Attribute) and child.attr == "grades" and not isinstance(node, LOOPS):
            yield child, "`.grades` stands only after `in`", terms.EXAMPLE
        if isinstance(child, ast.expr) and not isinstance(child, EXPRESSIONS) and child is not terms_here:
            looped = isinstance(child, ast.GeneratorExp | ast.ListComp)
            yield child, f"{_spell(child)} is not part of a body", terms.EXAMPLE if looped else None
        if (
            isinstance(child, ast.Tuple)
            and id(child) not in tuples
            and not isinstance(node, ast.Subscript | ast.Assign | ast.comprehension | ast.keyword)
        ):
            yield child, "a tuple stands only after `return`", None
        if isinstance(child, ast.Constant) and isinstance(child.value, str) and not _is_word(node, child.value):
            yield child, "text stands only as a keyword argument of one word", 'as in metric="invariant"'
    match node:
        case ast.keyword(arg=key, value=ast.Tuple(elts=elements)) if key != "axis" or not _are_names(elements):
            yield node.value, "a tuple stands only after `return`, or is of axes", "as in axis=(n, m)"
        case ast.Assign(value=ast.Tuple()):
            yield node.value, "a tuple stands only after `return`", "assign each name on its own line"
        case ast.BinOp(op=op) if type(op) not in OPERATORS:
            yield node, f"operator {_spell(op)} is not part of a body", "the operators are " + " ".join(
                OPERATORS.values()
            )
        case ast.Compare() if len(node.ops) > 1 or not isinstance(node.ops[0], COMPARISONS):
            yield node, "a comparison has two sides and one of < <= > >= == !=", None
        case ast.Call():
            yield from _call(node)
        case ast.Name(id=name) if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            yield node, f"`{name}` is not a name in a body", "names are ASCII letters, digits and underscores"
        case ast.Attribute(attr=attr) if not re.fullmatch(r"e[0-9]*|grades?", attr):
            yield node, f"`.{attr}` is not part of a body", "components are x.e12, grades x.grade(1)"
        case ast.Constant(value=value) if not _is_constant(value):
            yield node, "constants are finite numbers below 2**63, True and False", None


def _call(node: ast.Call) -> Iterator[Problem]:
    if isinstance(node.func, ast.Attribute):
        if node.func.attr != "grade":
            yield node, f"`.{node.func.attr}` is not called", "components are x.e12, grades x.grade(1)"
    elif not isinstance(node.func, ast.Name):
        yield node, "a call begins with a plain name", None
    if any(keyword.arg is None for keyword in node.keywords):
        yield node, "`**` in a call is not part of a body", None


def _subscript(node: ast.Subscript, bound: set[int]) -> Iterator[Problem]:
    """`bound`: the names that stand for whole numbers."""
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    whole = all(id(i) in bound or isinstance(i, ast.Constant) and type(i.value) is int for i in indices)
    if not whole or not indices or not isinstance(node.value, ast.Name):
        yield node, "an index is whole numbers into a plain name", "as in w[3] or weight[0, 1, 1]"


def _is_word(parent: ast.AST, text: str) -> bool:
    return isinstance(parent, ast.keyword) and re.fullmatch(r"[a-z][a-z0-9_]*", text) is not None


def _are_names(elements: list[ast.expr]) -> bool:
    return all(isinstance(element, ast.Name) for element in elements)


def _is_constant(value: object) -> bool:
    if isinstance(value, bool | str):
        return True
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**63


def _precedence(node: ast.BinOp, lines: list[bytes]) -> Iterator[Problem]:
    """Loose operators beside others, or `>>` beside itself, need parentheses, which only the source text shows."""
    between = _between(lines, node.left, node.right)
    for child, bracket in ((node.left, b")"), (node.right, b"(")):
        if bracket in between or not isinstance(child, ast.BinOp):
            continue
        outer, inner = OPERATORS.get(type(node.op)), OPERATORS.get(type(child.op))
        if outer is None or inner is None or not {outer, inner} & set(LOOSE.values()):
            continue
        if outer != inner:
            hint = "Python binds ^ | & >> looser than + - * /: say which comes first, as in a + (b ^ c)"
            yield node, f"`{inner}` and `{outer}` are mixed without parentheses", hint
        elif outer == ">>":
            yield node, "`>>` after `>>` without parentheses", "say which comes first, as in r >> (s >> x)"


def _between(lines: list[bytes], left: ast.expr, right: ast.expr) -> bytes:
    """The text between two operands, comments removed: an operator, spaces and the parentheses around the operands."""
    first, last = (left.end_lineno or left.lineno) - 1, right.lineno - 1
    text = lines[first : last + 1]
    text[-1] = text[-1][: right.col_offset]
    text[0] = text[0][left.end_col_offset :]
    return b"\n".join(re.sub(rb"#.*", b"", line) for line in text)


def _spell(node: ast.AST) -> str:
    """The construct by its usual name, such as `lambda` or `list comprehension`."""
    words = re.findall(r"[A-Z][a-z]*", type(node).__name__)
    usual = {
        "ListComp": "a list comprehension",
        "GeneratorExp": "`for` outside of a sum",
        "Mult": "*",
        "MatMult": "@",
        "Mod": "%",
        "FloorDiv": "//",
        "LShift": "<<",
    }
    usual |= {
        "Expr": "a bare expression",
        "Starred": "`*` before a value",
        "JoinedStr": "an f-string",
        "AugAssign": "`+=`",
    }
    return usual.get(type(node).__name__, "`" + " ".join(words).lower() + "`")
