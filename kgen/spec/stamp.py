"""The stamp in a generated file's header: digests of what it was made from and of its own text.

In: texts. Out: the header's line, a text with its digest in place, or what a text's stamp says. A machine with a GPU
checks by it, without the compiler, that a package is the one that its spec made. Line ends do not matter.

A spec has parts: each kernel's own, and what all share. A file that is made from one kernel has a digest of that part,
so that branches that change different kernels change different lines. A file that has a line for each of several
kernels has no digest of its text, which every change would change.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

DIGITS = 12  # hexadecimal digits of a digest
HEAD_LINES = 5  # the stamp stands in one of the first lines
OPEN = "0" * DIGITS  # in the place of the text's digest while that is computed

_LINE = re.compile(
    rf"^(?:# )?(?P<made>spec|graph|runtime) (?P<spec>[0-9a-f]{{{DIGITS}}}); (?:text (?P<text>[0-9a-f]{{{DIGITS}}}); )?"
    r"regenerate with: kgen build(?: (?P<source>.+))?$",
    re.MULTILINE,
)
_KEY = re.compile(r"""( *)(["']?)([^\s"'#:][^"':]*)\2\s*:(?:\s|$)""")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a generated file says of itself."""

    made: str  # what the digest is of: a "spec" or a part of one, a "graph"
    spec: str  # that digest
    source: str  # the spec's name, its folder and file name; "" for what all packages share
    intact: bool  # the text is as it was generated, or has no digest


def digest(text: str) -> str:
    """A short hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def line(made_from: str, source: str, made: str = "spec", seal: bool = True) -> str:
    """The header's line, whose digest of the text, if it has one, is still open."""
    text = f"text {OPEN}; " if seal else ""
    return f"{made} {made_from}; {text}regenerate with: kgen build {source}".rstrip()


def sealed(text: str) -> str:
    """The text with the digest of all of it but the digest itself, where its header has room for that."""
    opened = _with_digest(text, OPEN)
    return _with_digest(opened, digest(opened))


def read(text: str) -> Stamp | None:
    """The stamp of a generated file's text, None where its head has none."""
    text = text.replace("\r\n", "\n")
    found = _LINE.search("\n".join(text.split("\n", HEAD_LINES)[:HEAD_LINES]))
    return Stamp(found["made"], found["spec"], found["source"] or "", sealed(text) == text) if found else None


def _with_digest(text: str, value: str) -> str:
    found = _LINE.search(text)
    return text[: found.start("text")] + value + text[found.end("text") :] if found and found["text"] else text


# parts of a spec


def parts(text: str) -> dict[str, str]:
    """The digests of a spec's parts, read without a YAML parser: kernels by name, "" for what all share, and MODULES.

    A kernel's is of its own lines and of what all share, from which it is read, too; so is that of the modules. Where
    the kernels do not stand one below the other, in lines of their own, all of the text is shared.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    blocks = dict(_blocks(text.split("\n"), 0))
    own = dict(_blocks(blocks.get("kernels", [])[1:], None))
    shared = "\n".join(line for key, lines in blocks.items() for line in (lines if key not in _APART else lines[:1]))
    if not own:
        shared = text
    parts = own | {MODULES: blocks.get("modules", [])}
    return {"": digest(shared)} | {name: digest("\n".join([shared, *lines])) for name, lines in parts.items()}


MODULES = ":modules"  # no name of a kernel
_APART = ("kernels", "modules")


def _blocks(lines: list[str], indent: int | None) -> Iterator[tuple[str, list[str]]]:
    """The lines of each key of a mapping at an indent, that of its first key if None; comments before a key are left.

    YAML indents all that a value continues with by more than its key, or, of a text in quotes, by as much.
    """
    key, found = "", list[str]()
    for written in lines:
        match = _KEY.match(written)
        if match and indent is None and not written.lstrip().startswith("#"):
            indent = len(match[1])
        if match and len(match[1]) == indent:
            if found and key:
                yield key, _trimmed(found)
            key, found = match[3], []
        found.append(written)
    if found and key:
        yield key, _trimmed(found)


def _trimmed(lines: list[str]) -> list[str]:
    """Without empty lines and comments at the end, which belong to nothing."""
    count = len(lines)
    while count > 1 and (not lines[count - 1].strip() or lines[count - 1].lstrip().startswith("#")):
        count -= 1
    return lines[:count]
