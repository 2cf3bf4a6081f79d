"""How many generated lines a small edit of a spec changes, the proof included, and how many of them elsewhere.

    python benchmarks/diffs.py

Each edit is made in a copy of specs/vga3d.yaml. Counted are the lines that `git diff` removes and those that it adds.
A line is another kernel's where neither its file's path, nor its text, nor the definition that it stands in has the
edited kernel's name; headers, which have digests, are counted apart.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kgen.pipeline import generate
from kgen.spec.load import load

SPEC = Path(__file__).parent.parent / "specs" / "vga3d.yaml"
FUSED, REMOVED = "fused_gelu_sgp_norm", "rotor_action_shared"
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True)
class Edit:
    """A change of one kernel's text in a spec."""

    title: str
    kernel: str
    make: Callable[[str], str]


@dataclass(frozen=True)
class Line:
    """A line that a diff adds or removes: its file, and the text and the definition around it."""

    path: str
    added: bool
    text: str
    inside: str

    def belongs(self, kernel: str) -> bool:
        """Whether it is the kernel's own: by its file, by what it defines, or by what it says."""
        return any(kernel in part for part in (self.path, self.inside, self.text))

    @property
    def header(self) -> bool:
        return self.text.startswith("spec ") and "regenerate with" in self.text


def replaced(pattern: str, by: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, by, text)


EDITS = (
    Edit("another default of eps", FUSED, replaced("eps: 1.0e-6", "eps: 1.0e-5")),
    Edit("another gate", FUSED, replaced(r"gelu\((\w+)\)", r"\1 * sigmoid(\1.e)")),
    Edit("one gate tanh", FUSED, replaced(r"gelu\(x\)", "x * tanh(x.e)")),
    Edit("a removed kernel", REMOVED, lambda text: ""),
)


def edited(text: str, edit: Edit) -> str:
    """The spec with the edit made in its kernel's block."""
    start = text.index(f"\n  {edit.kernel}:\n")
    found = re.compile(r"\n(?=  \w|\w)").search(text, start + 1)
    end = found.start() if found else len(text)
    changed = edit.make(text[start:end])
    assert changed != text[start:end], f"{edit.title} changes nothing"
    return text[:start] + changed + text[end:]


def files(text: str) -> dict[str, str]:
    """What a spec's text generates, by path."""
    return generate([load("specs/vga3d.yaml", text)])


def changes(before: dict[str, str], after: dict[str, str]) -> list[Line]:
    """The lines by which `git diff` tells two sets of files apart."""
    with tempfile.TemporaryDirectory() as folder:
        for side, texts in (("a", before), ("b", after)):
            for path, text in texts.items():
                target = Path(folder, side, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
        return [line for path in sorted({*before, *after}) for line in _lines(folder, path, before, after)]


def _lines(folder: str, path: str, before: dict[str, str], after: dict[str, str]) -> Iterator[Line]:
    sides = [f"{side}/{path}" if path in texts else "/dev/null" for side, texts in (("a", before), ("b", after))]
    command = ["git", "diff", "--no-index", "--no-color", "-U0", *sides]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout
    texts = (before.get(path, "").split("\n"), after.get(path, "").split("\n"))
    for old, removed, new, added in HUNK.findall(shown):
        for text, start, count, is_added in ((texts[0], old, removed, False), (texts[1], new, added, True)):
            for number in range(int(start) - 1, int(start) - 1 + int(count or 1)):
                yield Line(path, is_added, text[number], _definition(text, number))


def _definition(text: list[str], number: int) -> str:
    """The line that begins the definition around a line."""
    return next((text[i] for i in range(number, -1, -1) if re.match("(def|class) |[A-Z_]+ =|# ", text[i])), "")


def main() -> None:
    text = SPEC.read_text(encoding="utf-8")
    before = files(text)
    print(f"{'edit':28}{'changed':>9}{'elsewhere':>11}{'headers':>9}")
    for edit in EDITS:
        lines = changes(before, files(edited(text, edit)))
        headers = [line for line in lines if line.header]
        others = [line for line in lines if not line.header and not line.belongs(edit.kernel)]
        print(f"{edit.title:28}{len(lines):9}{len(others):11}{len(headers):9}", flush=True)


if __name__ == "__main__":
    main()
