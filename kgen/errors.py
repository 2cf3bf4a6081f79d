"""Errors of kgen: what went wrong, where, and a hint that helps.

User mistakes are values of one family. Loading and tracing collect them and report all at once, those that follow from
others aside; `cli.py` prints them as `specs/foo.yaml:12:9: message` with the hint below and exits with status 2.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file the user wrote; line and column count from one."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class KgenError(Exception):
    """A mistake in a spec, a command or a target tree, located and with a hint."""

    def __init__(self, message: str, mark: Mark | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.mark, self.hint = message, mark, hint

    def __str__(self) -> str:
        where = f"{self.mark}: " if self.mark else ""
        hint = f"\n    hint: {self.hint}" if self.hint else ""
        return f"{where}{self.message}{hint}"


class KgenErrors(KgenError):
    """Several errors, reported together in the order of their places."""

    def __init__(self, errors: list[KgenError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors

    def __str__(self) -> str:
        return self.message


class Follows(KgenError):
    """What cannot be judged because of a mistake elsewhere, which is told; whoever collects errors leaves it out."""

    def __init__(self) -> None:
        super().__init__("this follows from another mistake")


class Vanishes(KgenError):
    """A multivector that is identically zero, which none may be but one of the terms of a sum."""

    def __init__(self) -> None:
        super().__init__("the result is identically zero", hint="no grade of it can be other than zero")


def each(error: KgenError) -> list[KgenError]:
    """The errors of one: several that were reported together are told apart, what follows from others is none."""
    if isinstance(error, KgenErrors):
        return [one for several in error.errors for one in each(several)]
    return [] if isinstance(error, Follows) else [error]


def in_order(errors: Iterable[KgenError]) -> list[KgenError]:
    """Those of one file, sorted by place, the first of each place: a second mistake there only follows from it."""
    first: dict[tuple[int, int], KgenError] = {}
    for error in errors:
        mark = error.mark or Mark("", 0, 0)
        first.setdefault((mark.line, mark.column), error)
    return [first[place] for place in sorted(first)]


def together(errors: Sequence[KgenError]) -> KgenError:
    """One error for one or several."""
    return errors[0] if len(errors) == 1 else KgenErrors(list(errors))


def collected(function: Callable[[S], T], values: Iterable[S]) -> list[T]:
    """The function of each value; raises the errors of all."""
    results: list[T] = []
    errors: list[KgenError] = []
    for value in values:
        try:
            results.append(function(value))
        except KgenError as error:
            errors += each(error)
    if errors:
        raise together(errors)
    return results
