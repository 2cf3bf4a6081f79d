"""The operations of bodies, as the table of the vocabulary has them, for the terminal. Imports nothing of the compiler.

In: the name of an operation, or none. Out: lines and a table. A name that bodies do not have is a KgenError that says
what to write instead.
"""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from kgen.errors import KgenError
from kgen.spec import synonyms
from kgen.spec.vocabulary import GROUPS, VOCABULARY, Word, read_by


def table() -> Iterator[RenderableType]:
    """All operations, and what the groups are."""
    drawn = Table(box=None, pad_edge=False)
    for heading in ("operation", "formula", "equivariant", "example"):
        drawn.add_column(heading, overflow="fold")
    for word in VOCABULARY.values():
        drawn.add_row(*map(Text, (str(word), word.formula, word.group, word.example)))
    yield drawn
    yield "\nequivariant: the largest of these groups of linear maps of vectors that commutes with it\n"
    yield "".join(f"  {group:<11}{meaning}\n" for group, meaning in GROUPS.items())


def details(name: str) -> Iterator[str]:
    """One operation. KgenError where there is none of that name."""
    if name not in VOCABULARY:
        hint = synonyms.hint(name) or "`kgen ops` lists all"
        raise KgenError(f"there is no operation {name}", hint=hint)
    word = VOCABULARY[name]
    yield f"{word}\n    {word.doc}\n"
    for heading, text in _facts(word):
        yield f"    {heading:<13}{text}"


def _facts(word: Word) -> Iterator[tuple[str, str]]:
    yield "formula", word.formula
    for parameter in word.parameters:
        if parameter.choices:
            others = f"{' or '.join(parameter.choices)}; " if len(parameter.choices) > 1 else ""
            yield parameter.name, f"{others}{parameter.default} if it is left out"
    for group, choice in zip(word.groups, word.word.choices if word.word else ("",)):
        yield "equivariant", f"{group}{f' if {choice}' if choice else ''}: {GROUPS[group]}"
    if word.torch:
        yield "of a field", f"{word.torch}"
    yield "example", word.example
    if word.each:
        yield "for each", word.each
    inputs = read_by(f"{word.example} {word.each}")
    yield "", "where " + ", ".join(f"{name}: {kind}" for name, kind in inputs.items())
