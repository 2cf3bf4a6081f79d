"""Formats emitted text as black does, without the time that black takes for a whole module.

Templates and the printer write lines that black leaves alone, except that they know nothing of the line length and
leave empty lines where a section is empty. `tidy` sets the empty lines right and hands only overlong lines to black.
A test shows that black finds nothing more to change.
"""

import re

import black
from black.mode import TargetVersion
from black.parsing import InvalidInput

LINE_LENGTH = 120
MODE = black.Mode({TargetVersion.PY311}, line_length=LINE_LENGTH)


def tidy(text: str) -> str:
    """The text with black's line breaks and empty lines."""
    lines: list[str] = []
    empty = 0
    for line in text.splitlines():
        if not line.strip():
            empty += 1
            continue
        lines += [""] * _allowed(empty, line, lines)
        lines += [line.rstrip()] if len(line) <= LINE_LENGTH else _broken(line)
        empty = 0
    return "\n".join(lines) + "\n"


def _allowed(empty: int, line: str, before: list[str]) -> int:
    """How many of the empty lines before a line stay."""
    if not before or before[-1].endswith((":", "(", "[", "{")):
        return 0
    top_level = not line[0].isspace() and line[0] not in ")]}"
    return min(empty, 2 if top_level else 1)


def _broken(line: str) -> list[str]:
    """An overlong line in black's form, at its own indent; text that is no statement (a docstring's) stays."""
    depth = (len(line) - len(line.lstrip())) // 4
    opens = re.match(r"\s*(def|class|if|elif|else|for|while|with)\b.*:$", line) is not None
    nested = "".join("    " * i + "if x:\n" for i in range(depth))
    try:
        text = black.format_str(nested + line + ("\n" + "    " * (depth + 1) + "pass" if opens else ""), mode=MODE)
    except InvalidInput:
        return [line]
    return text.splitlines()[depth : -1 if opens else None]


def formatted(text: str) -> str:
    """Small texts with any layout, such as data written by repr, formatted by black as a whole."""
    return black.format_str(text, mode=MODE)
