"""Formulas as text: sums of products of variables, in which components of a variable are not told apart.

In: terms, each a product of variables with what stands before it: a number, Σ where there are several such terms, ±
where it differs among components. Out: text, of a length that is bounded: what would be longer is `f(x, y)`.
"""

import re
from collections.abc import Iterable, Sequence

from kgen.graph.order import words

MOST_TERMS = 4  # of a formula
MOST_KINDS = 3  # of components that a formula tells apart
LONGEST = 228  # characters of a formula: two lines

SEVERAL, DIFFERENT = "Σ", "±"

Factor = float | str  # a number, or one of these
Term = tuple[str, ...]  # a product of variables
Terms = dict[Term, Factor]

BEFORE = re.compile(r"(?:Σ|±|\d[\d.e-]*) (?=\w)")  # what stands before a term
POWER = re.compile(r"(\w+)\^(\d+)")
NAME = re.compile(r"\b[a-zA-Z_]\w*\b(?!\()")  # of a variable, not of a function


def added(summands: Iterable[Terms]) -> Terms:
    """The sum of several sums."""
    total: Terms = {}
    for terms in summands:
        for term, factor in terms.items():
            total[term] = SEVERAL if term in total else factor
    return total


def multiplied(factors: Iterable[Terms]) -> Terms:
    """The product of several sums, multiplied out as far as it stays short."""
    product: Terms = {(): 1}
    for terms in factors:
        every = (((*a, *b), times(c, d)) for a, c in product.items() for b, d in terms.items())
        product = bounded(added({tuple(sorted(term, key=words)): factor} for term, factor in every))
    return product


def merged(terms: Terms, shown: dict[Term, Term]) -> Terms:
    """Terms without what tells apart those of one kind: squares from products of two components, numbers in reductions.

    `shown` gets for each kind the term that covers the others.
    """
    found: Terms = {}
    for term, factor in terms.items():
        names = (match[1].split() * int(match[2]) if (match := POWER.fullmatch(x)) else [x] for x in term)
        key = tuple(sorted((_plain(x) for atoms in names for x in atoms), key=words))
        shown[key] = max(shown.get(key, term), term, key=lambda x: (-"".join(x).count("^"), len("".join(x))))
        found[key] = SEVERAL if key in found else factor
    return found


def bounded(terms: Terms) -> Terms:
    """A sum as it is; one of many terms as what it is made of, which other sums are multiplied with as a whole."""
    return terms if len(terms) <= 4 * MOST_TERMS else {(function(terms),): 1}


def _plain(atom: str) -> str:
    """A reduction without what stands before its terms; any other variable or function as it is."""
    return BEFORE.sub("", atom) if atom.startswith(("sum_", "max_")) else atom


def alternatives(kinds: Sequence[Terms], own: str = "") -> str:
    """What components are: the terms of the largest kind, in brackets those that others lack; else one or the other.

    Where that is too much to read it is what they are made of; of the variable itself, `own`, none is made.
    """
    every: Terms = {}
    for terms in kinds:
        every |= {term: common(every.get(term, factor), factor) for term, factor in terms.items()}
    shared = set(every).intersection(*kinds)
    if len(kinds) > 1 and shared and any(set(terms) == set(every) for terms in kinds) and len(every) <= MOST_TERMS:
        some = [_term(term, factor) for term, factor in every.items() if term not in shared]
        text = spelled({term: factor for term, factor in every.items() if term in shared})
        text += "".join(f" [{term.strip()}]" for term in some)
    else:
        text = " or ".join(dict.fromkeys(map(spelled, kinds)))
    return text if len(kinds) <= MOST_KINDS and len(text) <= LONGEST else function(every, own)


def times(a: Factor, b: Factor) -> Factor:
    """What stands before the product of two terms."""
    if isinstance(a, str):
        return a
    return b if isinstance(b, str) else a * b


def common(a: Factor, b: Factor) -> Factor:
    """What stands before a term of several components: Σ if one of them sums such terms, else that they differ."""
    return a if a == b else SEVERAL if SEVERAL in (a, b) else DIFFERENT


def power(terms: Terms, exponent: int) -> Terms:
    """A sum times itself, which is not multiplied out."""
    if exponent == 1:
        return terms
    plain = len(terms) == 1 and len(next(iter(terms))) == 1 and set(terms.values()) == {1}
    text = spelled(terms)
    return {(f"{text}^{exponent}" if plain else f"({text})^{exponent}",): 1}


def spelled(terms: Terms) -> str:
    """A sum as text."""
    text = "".join(_term(term, factor) for term, factor in terms.items()) or " + 0"
    if len(terms) > MOST_TERMS or len(text) > LONGEST:
        return function(terms)
    return text.removeprefix(" + ") if text.startswith(" + ") else "-" + text.removeprefix(" - ")


def _term(term: Term, factor: Factor) -> str:
    if isinstance(factor, str):
        return " + " + " ".join([factor, *term])
    size = [f"{abs(factor):.4g}"] if abs(factor) != 1 or not term else []
    return (" - " if factor < 0 else " + ") + " ".join([*size, *term])


def function(terms: Iterable[Term], own: str = "") -> str:
    """Only what terms are made of."""
    found = {name for term in terms for atom in term for name in NAME.findall(atom)} - {own}
    return f"f({', '.join(sorted(found, key=words))})"
