"""The stamp in a generated file's header: digests of the spec that it was made from and of its own text.

In: texts. Out: the header's line, a text with its digest in place, or what a text's stamp says. A machine with a GPU
checks by it, without the compiler, that a module is the one that its spec made. Line ends do not matter.
"""

import hashlib
import re
from dataclasses import dataclass

DIGITS = 12  # hexadecimal digits of a digest
HEAD_LINES = 5  # the stamp stands in one of the first lines
OPEN = "0" * DIGITS  # in the place of the text's digest while that is computed

_LINE = re.compile(
    rf"^spec (?P<spec>[0-9a-f]{{{DIGITS}}}); text (?P<text>[0-9a-f]{{{DIGITS}}}); "
    r"regenerate with: kgen build (?P<source>.+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a generated file says of itself."""

    spec: str  # digest of the spec's text
    source: str  # the spec's name, its folder and file name
    intact: bool  # the text is as it was generated


def digest(text: str) -> str:
    """A short hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def line(spec: str, source: str) -> str:
    """The header's line, whose digest of the text is still open."""
    return f"spec {spec}; text {OPEN}; regenerate with: kgen build {source}"


def sealed(text: str) -> str:
    """The text with the digest of all of it but the digest itself."""
    opened = _with_digest(text, OPEN)
    return _with_digest(opened, digest(opened))


def read(text: str) -> Stamp | None:
    """The stamp of a generated file's text, None where its head has none."""
    text = text.replace("\r\n", "\n")
    found = _LINE.search("\n".join(text.split("\n", HEAD_LINES)[:HEAD_LINES]))
    return Stamp(found["spec"], found["source"], sealed(text) == text) if found else None


def _with_digest(text: str, value: str) -> str:
    found = _LINE.search(text)
    return text[: found.start("text")] + value + text[found.end("text") :] if found else text
