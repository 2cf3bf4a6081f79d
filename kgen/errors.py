"""Errors of kgen: what went wrong, where, and a hint that helps.

User mistakes are values of one family. Loading collects them and reports all at once; `cli.py` prints them as
`specs/foo.yaml:12:9: message` with the hint below and exits with status 2.
"""

from dataclasses import dataclass


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
