"""Formats emitted text as black does, without the time that black takes for a whole module.

Templates and the printer write lines that black leaves alone, except that they know nothing of the line length and
leave empty lines where a section is empty. `tidy` sets the empty lines right and breaks overlong lines: calls,
signatures and tuples, which most are, by itself, others by black. `laid_out` and `exploded` do so for data. Tests show
that black would have broken them so, and that it finds nothing more to change.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

LINE_LENGTH = 120
CALL = re.compile(
    r"(?P<indent> *)(?P<opening>(?:def |return |\w+(?:, \w+)* [-+*/]?= )?\w+(?:\.\w+)?\()"
    r"(?P<body>(?:[^'\"#\\]|\"\w*\")*?)(?P<closing>\)(?:| -> [\w.]+)(?:|:|\.to\(\w+\)))"
)
TUPLE = re.compile(r"(?P<opening> *(?:return |\w+(?:, \w+)* = ))(?P<body>[^'\"#\\]*)")
ELEMENT = re.compile(
    r"(?P<opening>(?:\w+ ?= ?|\"\w*\": )?(?:(?P<function>(?:\w+\.)?\w+)\(|[(\[{]))"
    r"(?P<body>(?:[^'\"#\\]|\"[\w.]*\")*)(?P<closing>[)\]}])"
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
        lines += (
            [line.rstrip()] if len(line) <= LINE_LENGTH else _call_broken(line) or _tuple_broken(line) or _broken(line)
        )
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
    start, last, argument = line.rpartition(".to(") if ").to(" in closing else ("", "", "")
    names, equals, function = opening.rpartition(" = ")
    if last and len(start + last) <= LINE_LENGTH:
        parts = [start.lstrip() + last, f"    {argument[:-1]}", ")"]
    elif len(names) + len(" = (") > room:
        parts = ["(", *(f"    {name}," for name in names.split(", ")), f"){equals}{function}{body}{closing}"]
    elif len(body) + 4 <= room:
        parts = [opening, f"    {body}", closing]
    else:
        parts = [opening, *_elements(arguments, room), closing]
    return [indent + part for part in parts] if max(map(len, parts)) <= room else None


def _tuple_broken(line: str) -> list[str] | None:
    """Several values that are returned or assigned, on lines of their own in brackets; of two black has other forms."""
    found = TUPLE.fullmatch(line)
    values = _arguments(found["body"]) if found and not re.search(r" \*\* |\blambda\b|[ (]\w+=", line) else []
    if not found or len(values) < 3:
        return None
    indent = line[: len(line) - len(line.lstrip())]
    lines = [
        f"{found['opening']}(",
        *(indent + part for part in _elements(values, LINE_LENGTH - len(indent))),
        f"{indent})",
    ]
    return lines if max(map(len, lines)) <= LINE_LENGTH else None


def _elements(texts: Sequence[str], room: int) -> list[str]:
    return [f"    {line}" for text in texts for line in _element(text, room - 4)]


def _element(text: str, room: int, end: str = ",") -> list[str]:
    """An argument or a part of data; one that is too long is broken after its bracket, if it ends with that.

    What is no call has each of its own elements on lines of its own. The line stays too long where there is no way.
    """
    found = ELEMENT.fullmatch(text) if len(text + end) > room else None
    inner = _arguments(found["body"]) if found else []
    if not found or len(inner) < 2:
        return [text + end]
    if found["function"] and len(found["body"]) + 4 <= room:
        return [found["opening"], f"    {found['body']}", found["closing"] + end]
    return [found["opening"], *_elements(inner, room), found["closing"] + end]


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


@lru_cache(maxsize=512)  # backwards have many lines in common
def _broken(line: str) -> list[str]:
    """An overlong line in black's form, at its own indent; text that is no statement (a docstring's) stays."""
    from black.parsing import InvalidInput

    depth = (len(line) - len(line.lstrip())) // 4
    opens = re.match(r"\s*(def|class|if|elif|else|for|while|with)\b.*:$", line) is not None
    nested = "".join("    " * i + "if x:\n" for i in range(depth))
    try:
        text = formatted(nested + line + ("\n" + "    " * (depth + 1) + "pass" if opens else ""))
    except InvalidInput:
        return [line]
    return text.splitlines()[depth : -1 if opens else None]


def formatted(text: str) -> str:
    """Small texts with any layout, formatted by black as a whole."""
    import black
    from black.mode import TargetVersion

    return black.format_str(text, mode=black.Mode({TargetVersion.PY311}, line_length=LINE_LENGTH))


def laid_out(text: str) -> str:
    """Text that black would leave but for the quotes of `repr`, and for lines of calls and data that are too long."""
    lines = [part for line in _quoted(text).splitlines() for part in _line_broken(line)]
    return "\n".join(lines) + "\n" if _is_settled(lines) else formatted(text)


def exploded(opening: str, elements: Sequence[str], closing: str) -> str:
    """A call or data with each element on lines of its own, however short they are."""
    lines = [opening, *_elements([_quoted(text) for text in elements], LINE_LENGTH), closing]
    return "\n".join(lines) + "\n" if _is_settled(lines) else formatted(f"{opening}{', '.join(elements)},{closing}")


def _quoted(text: str) -> str:
    """With double quotes around strings."""
    return re.sub(r"'([^'\"\\]*)'", r'"\1"', text)


def _line_broken(line: str) -> list[str]:
    """A line of data, or an argument of a call, with its comma if it has one."""
    text = line.strip()
    indent, end = line[: len(line) - len(line.lstrip())], "," * text.endswith(",")
    return [indent + part for part in _element(text.removesuffix(","), LINE_LENGTH - len(indent), end)]


def _is_settled(lines: Sequence[str]) -> bool:
    """Whether black would find nothing to do: no line is too long, and no string has other quotes."""
    return all(len(line) <= LINE_LENGTH and "'" not in line and "\\" not in line for line in lines)
