"""Formats emitted text as black does, without the time that black takes for a whole module.

Templates and the printer write lines that black leaves alone, except that they know nothing of the line length and
leave empty lines where a section is empty. `tidy` sets the empty lines right and breaks overlong lines: calls and
signatures, which most are, by itself, others by black. Tests show that black would have broken them so, and that it
finds nothing more to change.
"""

import re

import black
from black.mode import TargetVersion
from black.parsing import InvalidInput

LINE_LENGTH = 120
MODE = black.Mode({TargetVersion.PY311}, line_length=LINE_LENGTH)
CALL = re.compile(
    r"(?P<indent> *)(?P<opening>(?:def |return |\w+(?:, \w+)* [-+*/]?= )?\w+(?:\.\w+)?\()"
    r"(?P<body>(?:[^'\"#\\]|\"\w*\")*?)(?P<closing>\)(?:| -> [\w.]+)(?:|:|\.to\(\w+\)))"
)
OPENING, CLOSING = "([{", ")]}"


def tidy(text: str) -> str:
    """The text with black's line breaks and empty lines."""
    lines: list[str] = []
    empty = 0
    for line in text.splitlines():
        if not line.strip():
            empty += 1
            continue
        lines += [""] * _allowed(empty, line, lines)
        lines += [line.rstrip()] if len(line) <= LINE_LENGTH else _call_broken(line) or _broken(line)
        empty = 0
    return "\n".join(lines) + "\n"


def _allowed(empty: int, line: str, before: list[str]) -> int:
    """How many of the empty lines before a line stay."""
    if not before or before[-1].endswith((":", "(", "[", "{")):
        return 0
    top_level = not line[0].isspace() and line[0] not in ")]}"
    return min(empty, 2 if top_level else 1)


def _call_broken(line: str) -> list[str] | None:
    """A call or signature with its arguments, or the names that it gives values, on lines of their own.

    None for what is more than that, or has an argument that is too long for one line.
    """
    found = CALL.fullmatch(line)
    arguments = _arguments(found["body"]) if found and " ** " not in line else []
    if not found or len(arguments) < 2 or found["closing"].endswith(":") != found["opening"].startswith("def "):
        return None
    indent, opening, body, closing = found.groups()
    room = LINE_LENGTH - len(indent)
    start, last, argument = line.rpartition(".to(")
    names, equals, function = opening.rpartition(" = ")
    if last and len(start + last) <= LINE_LENGTH:
        parts = [start.lstrip() + last, f"    {argument[:-1]}", ")"]
    elif len(names) + len(" = (") > room:
        parts = ["(", *(f"    {name}," for name in names.split(", ")), f"){equals}{function}{body}{closing}"]
    elif len(body) + 4 <= room:
        parts = [opening, f"    {body}", closing]
    else:
        parts = [opening, *(f"    {argument}," for argument in arguments), closing]
    return [indent + part for part in parts] if max(map(len, parts)) <= room else None


def _arguments(text: str) -> list[str]:
    """What the commas of the text part, but for those inside of brackets; nothing if brackets are left open."""
    depth, starts = 0, [0]
    for found in re.finditer(r"[(\[{}\])]|, ?", text):
        depth += (found[0] in OPENING) - (found[0] in CLOSING)
        if depth < 0:
            return []
        if depth == 0 and found[0][0] == ",":
            starts += [found.end()]
    parts = [text[a:b].rstrip(", ") for a, b in zip(starts, [*starts[1:], len(text)])]
    return parts if depth == 0 and all(parts) else []


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
