"""Arithmetic of the reference, component by component: torch text and probes of sums, products, functions and choices.

In: the `Values` of a kernel, and operands among them. Out: values. Guaranteed: what the reference cannot form is a
KgenError, and so is a multivector that is identically zero.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from kgen.errors import KgenError, Vanishes
from kgen.reference import probe as probes
from kgen.reference.values import ATOM, COMPARE, OR, POWER, PRODUCT, SUM, TERNARY, UNARY, Value, Values
from kgen.spec.vocabulary import VOCABULARY

# sums and products


def negated(v: Values, x: Value) -> Value:
    zero = probes.constant(0)
    changed = tuple(probes.add(zero, probe, -1) for probe in x.probes)
    return replace(x, text=f"-{x.at(UNARY)}", level=UNARY, probes=changed, view=False)


def power(v: Values, x: Value, exponent: int) -> Value:
    if x.kind == "multivector":
        raise KgenError("`**` of a multivector")
    probe = probes.constant(1)
    for _ in range(abs(exponent)):
        probe = probes.multiply(probe, x.probes[0])
    if exponent < 0:
        probe = probes.divide(probes.constant(1), probe)
    base = x.at(ATOM)
    operator = "**" if base.replace(".", "").replace("_", "").isalnum() else " ** "
    return replace(x, text=f"{base}{operator}{exponent}", level=POWER, probes=(probe,), view=False)


def compare(v: Values, operator: str, a: Value, b: Value) -> Value:
    """A comparison of fields, as Python spells it."""
    a = v.tensor(a) if b.kind == "number" else a
    probe = probes.opaque(operator, a.probes[0], b.probes[0])
    text = f"{a.at(COMPARE + 1)} {operator} {b.at(COMPARE + 1)}"
    return Value("condition", text, COMPARE, a.axes | b.axes, probes=(probe,))


def added(v: Values, a: Value, b: Value, sign: int) -> Value:
    """a + b, or a - b where the sign is negative."""
    if "multivector" in (a.kind, b.kind):
        a, b = v.lifted(a), v.lifted(b)
        grades = tuple(sorted({*a.grades, *b.grades}))
        a, b = v.regraded(a, grades), v.regraded(b, grades)
    text = f"{a.at(SUM)} {'+' if sign > 0 else '-'} {b.at(SUM if sign > 0 else PRODUCT)}"
    total = tuple(probes.add(x, y, sign) for x, y in zip(a.probes, b.probes, strict=True))
    if a.kind == "multivector":
        whole = v.multivector(text, a.axes | b.axes, dict(zip(v.masks(a.grades), total)), SUM)
        return v.regraded(whole, v.multivector("", frozenset(), v.nonzero(v.components(whole))).grades)
    return Value(_wider(a, b), text, SUM, a.axes | b.axes, probes=total)


def total(v: Values, terms: Sequence[Value]) -> Value:
    """The sum of terms; those of grades that follow each other in memory are put side by side."""
    if not terms:
        raise Vanishes
    if any(term.kind == "multivector" for term in terms):
        terms = [v.lifted(term) for term in terms]
        grades = tuple(sorted({grade for term in terms for grade in term.grades}))
        apart = [mask for term in terms for mask in v.masks(term.grades)] == v.masks(grades)
        if apart and len(terms) > 1 and all(term.axes for term in terms):
            return _side_by_side(v, terms)
        terms = [v.regraded(term, grades) for term in terms]
    return reduce(lambda a, b: added(v, a, b, 1), terms)


def _side_by_side(v: Values, terms: Sequence[Value]) -> Value:
    """The sum of multivectors without a common grade, in the order of their components in memory."""
    axes = frozenset[str]().union(*(term.axes for term in terms))
    texts = ", ".join(v.spread(term, axes).text for term in terms)
    found = {mask: probe for term in terms for mask, probe in v.components(term).items()}
    return v.multivector(f"torch.cat([{texts}], -1)", axes, found)


def scaled(a: Value, b: Value, operator: str = "*") -> Value:
    """a * b or a / b, where at most one is a multivector; for a quotient b's probe is that of its reciprocal."""
    whole, factor = (b, a) if b.kind == "multivector" else (a, b)
    components = whole.kind == "multivector"
    beside = components and factor.kind == "field"
    texts = [x.beside(True) if beside and x is factor else x.at(lv) for x, lv in ((a, PRODUCT), (b, UNARY))]
    found = tuple(probes.multiply(probe, factor.probes[0]) for probe in whole.probes)
    if components and not any(found):
        raise Vanishes
    kind = "multivector" if components else _wider(a, b)
    return Value(kind, f" {operator} ".join(texts), PRODUCT, a.axes | b.axes, whole.grades, found)


# functions of fields


def function(v: Values, name: str, *fields: Value) -> Value:
    """A torch function of fields."""
    found = probes.opaque(name, *(x.probes[0] for x in fields))
    text = ", ".join(v.tensor(x).text for x in fields)
    axes = frozenset[str]().union(*(x.axes for x in fields))
    return v.field(f"{VOCABULARY[name].torch}({text})", axes, found)


def pointwise(v: Values, name: str, x: Value) -> Value:
    """A torch function of each component."""
    x = v.tensor(x)
    found = tuple(function(v, name, v.field("", x.axes, probe)).probes[0] for probe in x.probes)
    return replace(x, text=f"{VOCABULARY[name].torch}({x.text})", level=ATOM, probes=found, view=False)


def detached(x: Value) -> Value:
    """x without its gradient."""
    found = tuple(probes.opaque("detach", probe) for probe in x.probes)
    return x if x.kind == "number" else replace(x, text=f"{x.at(ATOM)}.detach()", level=ATOM, probes=found)


# choices


def where(v: Values, condition: Value, a: Value, b: Value) -> Value:
    """a where the condition holds, or the field is not zero, else b."""
    test = condition if condition.kind == "condition" else compare(v, "!=", condition, v.number(0))
    a = v.tensor(a) if b.kind == "number" else a
    found = probes.opaque("where", condition.probes[0], a.probes[0], b.probes[0])
    axes = condition.axes | a.axes | b.axes
    return v.field(f"torch.where({test.text}, {a.text}, {b.text})", axes, found)


def choice(v: Values, flag: Value, a: Value, b: Value) -> Value:
    """a if flag else b: the union of both types, decided at run time."""
    if a.kind == b.kind == "flag":
        return Value("flag", f"{a.at(OR)} if {flag.at(OR)} else {b.at(TERNARY)}", TERNARY)
    if a.kind == b.kind and (a.kind in ("condition", "integer") or a.kind == "weights" and a.operands == b.operands):
        wide = a
    elif "multivector" in (a.kind, b.kind):
        a, b = v.lifted(a), v.lifted(b)
        grades = tuple(sorted({*a.grades, *b.grades}))
        wide = a = v.regraded(a, grades)
        b = v.regraded(b, grades)
    elif {a.kind, b.kind} <= {"field", "number"}:
        a, b = (a, b) if a.kind == b.kind else (v.tensor(a), v.tensor(b))
        wide = a
    else:
        raise KgenError(f"`if` cannot choose between {a.kind} and {b.kind}")
    axes = a.axes | b.axes
    if a.axes != b.axes:
        a, b = v.spread(a, axes), v.spread(b, axes)
    text = f"{a.at(OR)} if {flag.at(OR)} else {b.at(TERNARY)}"
    # Zero only where both branches are.
    found = tuple(p if p == q else probes.opaque(f"if {flag.text}", p, q) for p, q in zip(a.probes, b.probes))
    return replace(wide, text=text, level=TERNARY, axes=axes, probes=found, view=a.view or b.view)


def _wider(a: Value, b: Value) -> str:
    return "number" if a.kind == b.kind == "number" else "field"
