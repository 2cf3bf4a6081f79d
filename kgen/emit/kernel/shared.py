"""What the kernels of a file compute alike, as functions that Triton inlines into them.

In: the texts of a file's kernels. Out: the functions, and the texts with calls in place of what these compute.
Guaranteed: loads, stores and reductions stay in the kernels, each value is computed by the same formula as before, and
there are fewer lines. Most in common have a kernel's two forms, the passes over a row, and what a backward computes
again.

Definitions are compared as text: names keep still, so what is equal has equal names. Every set of sections is a
candidate, with the definitions that stand in each of them; the one that saves most lines is taken, then the next.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, combinations, count
from textwrap import shorten

from kgen.emit.kernel.printer import LOCALS
from kgen.emit.kernel.rows import KernelText, Section, Statement
from kgen.spec.private_names import CONSTANTS

WORTH = 20  # lines that a function saves at least
MOST_PARAMETERS = 24  # tuples, and what is in none: with more, a call says less than what it stands for
SHARE = 2  # statements for each result: with fewer, a function is a list of unrelated fields
TOGETHER = 8  # fields in a tuple, as many as are loaded at once
WIDTH = 96  # characters of a tuple
READ = re.compile(r"(?<![.\w\"])[A-Za-z_]\w*\b(?![\w\"(.])")  # a name, neither of a function nor of a module
COMPONENT = re.compile(r"(.+)_(?:e\d*|\d+)")
SAID = 4  # results that are named where no line of the body does
ENDING = "_fields"  # of functions' names, so that none is the runtime's


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tuple of fields and its name; or something else, which is in no tuple."""

    name: str
    fields: tuple[str, ...] = ()

    @property
    def argument(self) -> str:
        return f"({', '.join(self.fields)})" if self.fields else self.name


@dataclass(frozen=True, slots=True)
class Function:
    """A function of fields: tuples of them come in, tuples of them go out."""

    name: str
    parameters: tuple[Parameter, ...]
    statements: tuple[Statement, ...]
    results: tuple[tuple[str, ...], ...]

    def title(self, formula: Sequence[str]) -> str:
        """What it computes: the lines of the body that say so; what no line of it has, by name."""
        made = {_owner(name) for s in self.statements for name in s.name.split(", ")}
        results = list(dict.fromkeys(_owner(name) for part in self.results for name in part))
        lines = {line.partition(" = ")[0]: line for line in formula}
        said = [line for name, line in lines.items() if name in made and not name.startswith("return ")]
        others = [name for name in results if name not in lines]
        text = "; ".join([*said, ", ".join(others[:SAID]) + (", …" if len(others) > SAID else "")] if others else said)
        return text if len(text) <= WIDTH else f"{shorten(text, WIDTH, placeholder=' …')}"


@dataclass(frozen=True, slots=True)
class _Definition:
    """The statements that give a field its value, or some fields at once."""

    statements: tuple[Statement, ...]
    names: tuple[str, ...] = field(compare=False)
    reads: frozenset[str] = field(compare=False)

    @property
    def movable(self) -> bool:
        """Whether it is a formula of fields: reductions need the mask, and calls are functions already."""
        return len(self.names) == 1 and not re.match(rf"_row_|\w+{ENDING}\(", self.statements[0].expression)


@lru_cache(maxsize=4096)
def _definition(statements: tuple[Statement, ...]) -> _Definition:
    names = tuple(statements[0].name.split(", "))
    return _Definition(
        statements, names, frozenset(chain(*(_names(s.expression) for s in statements))).difference(names)
    )


@dataclass(slots=True)
class _Place:
    """The definitions of one section, what else reads their names, and all names of the kernel."""

    definitions: list[_Definition]
    read: frozenset[str]
    taken: set[str]


Key = tuple[str, str, int]  # a kernel's name, and which of its sections


def shared(texts: Sequence[KernelText]) -> tuple[list[Function], list[KernelText]]:
    """Functions of what kernels compute alike, and the kernels that call them."""
    places = {(text.name, *key): place for text in texts for key, place in _places(text)}
    functions: list[Function] = []
    while best := _best(list(places.values())):
        definitions, here = best
        functions.append(_function(definitions, here, {f.name for f in functions}))
        for place in here:
            _put_call(place, definitions, functions[-1])
    return functions, [_rewritten(text, places) for text in texts]


# the places where kernels compute


def _sections(text: KernelText) -> Iterator[tuple[tuple[str, int], Section]]:
    """The sections in which fields along the tile are computed."""
    yield ("before", 0), text.before
    yield ("body", 0), text.body
    for i, sweep in enumerate(text.sweeps):
        yield ("sweep", i), sweep.tile


def _rewritten(text: KernelText, places: dict[Key, _Place]) -> KernelText:
    made = {
        key: replace(s, statements=tuple(chain(*(d.statements for d in places[(text.name, *key)].definitions))))
        for key, s in _sections(text)
    }
    sweeps = tuple(replace(sweep, tile=made["sweep", i]) for i, sweep in enumerate(text.sweeps))
    return replace(text, before=made["before", 0], body=made["body", 0], sweeps=sweeps)


def _places(text: KernelText) -> Iterator[tuple[tuple[str, int], _Place]]:
    words = re.findall(r"[A-Za-z_]\w*", repr(text))  # all of the kernel, whatever they stand for
    for key, section in _sections(text):
        yield key, _place(text, section, set(words))


def _place(text: KernelText, section: Section, taken: set[str]) -> _Place:
    groups: list[list[Statement]] = []
    for s in section.statements:
        groups += [[]] * (s.operator == "=")
        groups[-1] = [*groups[-1], s]
    inside = set(section.statements)
    every = [part for part in text.sections if part is section or section is text.before]
    read = chain(*(_beside(part, inside) for part in every))
    return _Place([_definition(tuple(g)) for g in groups], frozenset(chain(*map(_names, read))), taken)


def _beside(section: Section, inside: set[Statement]) -> Iterator[str]:
    """What a section reads fields in, but for those statements."""
    yield from (name for access in section.stores for name in access.names)
    yield from (p.expression for p in (*section.products, *section.sums))
    yield from (s.expression for p in section.sums for s in p.statements)
    yield from (a.expression for a in section.accumulators)
    yield from (s.expression for s in section.statements if s not in inside)


def _names(text: str) -> list[str]:
    return READ.findall(text)


# what is worth a function


def _best(places: Sequence[_Place]) -> tuple[list[_Definition], list[_Place]] | None:
    """The definitions that save most lines as a function, and where they stand."""
    where: dict[_Definition, frozenset[int]] = {}
    for i, place in enumerate(places):
        for d in place.definitions:
            if d.movable:
                where[d] = where.get(d, frozenset()) | {i}
    sets = dict.fromkeys(s for s in where.values() if len(s) > 1)
    sets |= dict.fromkeys(both for a, b in combinations(sets, 2) if len(both := a & b) > 1)
    most, best, nowhere = WORTH - 1, None, frozenset[int]()
    for chosen in sets:
        here = [places[i] for i in sorted(chosen)]
        found = _convex([d for d in here[0].definitions if where.get(d, nowhere) >= chosen], here)
        if found and (saved := _saved(found, here)) > most:
            most, best = saved, (found, here)
    return best


def _convex(definitions: Iterable[_Definition], places: Sequence[_Place]) -> list[_Definition]:
    """The definitions, but for those that need something else that needs one of them."""
    inside = dict.fromkeys(definitions)
    size = -1
    while size != len(inside):
        size = len(inside)
        for place in places:
            below: set[str] = set()  # names, not of these definitions, that need one of them
            own = {name for d in inside for name in d.names}
            for d in place.definitions:
                if d in inside and d.reads & below:
                    del inside[d]
                    own.difference_update(d.names)
                if d not in inside and d.reads & (own | below):
                    below.update(d.names)
    return list(inside)


def _arguments(definitions: Sequence[_Definition]) -> list[str]:
    """What the definitions read of others, in the order in which they read it."""
    own = {name for d in definitions for name in d.names}
    read = dict.fromkeys(name for d in definitions for s in d.statements for name in _names(s.expression))
    return [name for name in read if name not in own]


def _results(definitions: Sequence[_Definition], places: Sequence[_Place]) -> list[str]:
    """The fields that some place reads outside of the definitions."""
    inside = set(definitions)
    outside = (d.reads for p in places for d in p.definitions if d not in inside)
    read = set[str]().union(*(p.read for p in places), *outside)
    return [name for d in definitions for name in d.names if name in read]


def _saved(definitions: Sequence[_Definition], places: Sequence[_Place]) -> int:
    """How many lines fewer there are with a function; a negative number for one that takes or gives too much."""
    lines, given = sum(len(d.statements) for d in definitions), _results(definitions, places)
    parameters, results = _parameters(_arguments(definitions), set()), _tuples(given)
    if len(parameters) > MOST_PARAMETERS or len(given) * SHARE > lines:
        return -1
    call = (len(parameters) + 2 if len(parameters) > 2 else 1) + (len(results) if len(results) > 1 else 0)
    head = 6 + sum(bool(p.fields) for p in parameters) + (len(results) + 2 if len(results) > 1 else 1)
    return lines * (len(places) - 1) - call * len(places) - head


# functions and calls


def _owner(name: str) -> str:
    """What a component, or a temporary of one, belongs to: x for x_e12 and x_e12_1."""
    while found := COMPONENT.fullmatch(name):
        name = found[1]
    return name


def _order(name: str) -> tuple[str, int, str]:
    return _owner(name), len(name), name


def _tuples(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Names in tuples that fit a line."""
    made: list[tuple[str, ...]] = [()]
    for name in names:
        if len(made[-1]) == TOGETHER or len(", ".join((*made[-1], name))) > WIDTH:
            made.append(())
        made[-1] = (*made[-1], name)
    return tuple(made)


def _parameters(names: Sequence[str], taken: set[str]) -> list[Parameter]:
    """Components of one field together, what is alone in its field with its like, and what is no field by itself."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("" if name.isupper() else _owner(name), []).append(name)
    alone = groups.pop("", [])
    single = [groups.pop(owner)[0] for owner in [owner for owner, group in groups.items() if len(group) == 1]]
    if len(single) > 1:
        groups["others"] = single
    else:
        alone = [*single, *alone]
    made: list[Parameter] = []
    used = {*taken, *names, *LOCALS, *CONSTANTS}
    for owner, group in groups.items():
        parts = _tuples(sorted(group, key=_order))
        for i, part in enumerate(parts, 1):
            made.append(Parameter(_free(owner if len(parts) == 1 else f"{owner}_part{i}", used), part))
    return [*made, *map(Parameter, alone)]


def _function(definitions: Sequence[_Definition], places: Sequence[_Place], others: set[str]) -> Function:
    """The function, called as what most of its results belong to."""
    results = _results(definitions, places)
    owners = [_owner(name) for name in results]
    name = _free(f"_{max(owners, key=owners.count).lower()}", others, ENDING)
    own = {name for d in definitions for name in d.names}
    parameters = _parameters(_arguments(definitions), own)
    return Function(name, tuple(parameters), tuple(chain(*(d.statements for d in definitions))), _tuples(results))


def _put_call(place: _Place, definitions: Sequence[_Definition], function: Function) -> None:
    """Put a call in place of the definitions: after all that it needs, before all that needs it."""
    inside, needed = set(definitions), set(_arguments(definitions))
    for d in reversed(place.definitions):
        if d not in inside and needed.intersection(d.names):
            needed |= d.reads
    first = next(i for i, d in enumerate(place.definitions) if d in inside)
    others = [(i < first or bool(needed.intersection(d.names)), d) for i, d in enumerate(place.definitions)]
    early, late = ([d for before, d in others if before == wanted and d not in inside] for wanted in (True, False))
    place.definitions = [*early, *(_definition((s,)) for s in _call(function, place.taken)), *late]


def _call(function: Function, taken: set[str]) -> Iterator[Statement]:
    expression = f"{function.name}({', '.join(p.argument for p in function.parameters)})"
    if len(function.results) == 1:
        yield Statement(", ".join(function.results[0]), expression)
        return
    own = function.name.removesuffix(ENDING).lstrip("_")
    tuples = [_free(f"{own}_part{i}", taken) for i, _ in enumerate(function.results, 1)]
    yield Statement(", ".join(tuples), expression)
    for fields, name in zip(function.results, tuples):
        yield Statement(", ".join(fields), name)


def _free(wish: str, taken: set[str], ending: str = "") -> str:
    """A name that is not taken, and is from now on."""
    wishes = (f"{wish}{number}{ending}" for number in chain([""], count(2)))
    name = next(name for name in wishes if name not in taken)
    taken.add(name)
    return name
