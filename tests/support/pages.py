"""The pages that are read: README, CONTRIBUTING, and what is below docs/ and benchmarks/; what is in them.

Every code block is fenced and has a language. `<!-- from PATH -->` before one says that it is copied from that file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXCERPT = re.compile(r"^<!-- from (\S+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+?)(?:#only-(?:light|dark))?\)")  # an image is for pages of one ink
FILE = re.compile(r"`((?:kgen|tests|templates|benchmarks|specs|generated|docs|examples)/[\w./-]+\.\w+)`")
HEADER = "kgen: 1\nname: page\ndoc: What a page shows.\n"
ALGEBRA = """\
algebra: {signature: [3, 0, 0]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path], fully_connected: [path, n, m], gradewise: [grade, n, m]}
kernels:
"""


@dataclass(frozen=True)
class Page:
    """One file of Markdown."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return BLOCK.sub("", self.text)

    @property
    def excerpts(self) -> list[tuple[str, str]]:
        """(path, text) of the blocks that are copied from a file."""
        return EXCERPT.findall(self.text)

    def blocks(self, language: str) -> list[str]:
        """The blocks of a language that are no excerpts, in order."""
        copied = {text for _, text in self.excerpts}
        return [text for found, text in BLOCK.findall(self.text) if found == language and text not in copied]

    @property
    def program(self) -> str:
        """The python blocks as one program."""
        return "\n".join(self.blocks("python"))

    @property
    def lines(self) -> list[list[str]]:
        """The commands in shell blocks, as words, without comments."""
        lines = [line.partition(" #")[0].split() for block in self.blocks("sh") for line in block.splitlines()]
        return [line for line in lines if line]

    @property
    def specs(self) -> Iterator[str]:
        """The YAML blocks as whole specs: those that are kernels alone stand in one with an algebra."""
        for block in self.blocks("yaml"):
            yield block if block.startswith("kgen:") else HEADER + ALGEBRA + block

    @property
    def links(self) -> list[tuple[Path, str]]:
        """(file, heading) of the links within the repository; no heading where the link has none."""
        found = [link.partition("#") for link in LINK.findall(self.prose) if "://" not in link]
        return [((self.path.parent / path).resolve() if path else self.path, heading) for path, _, heading in found]

    @property
    def files(self) -> list[str]:
        """The files of the repository that the page names."""
        return FILE.findall(self.text)

    @property
    def headings(self) -> set[str]:
        """What a link to a heading of this page may end in."""
        return {slug(title) for title in re.findall(r"^#+ (.*)$", self.prose, re.MULTILINE)}


def slug(title: str) -> str:
    """A heading's name in links, as the site's Markdown and GitHub's give it."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


def nav() -> list[str]:
    """The files that the site's navigation names, in order."""
    return list(_leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))


def _leaves(entry: object) -> Iterator[str]:
    match entry:
        case str():
            yield entry
        case list():
            for each in entry:
                yield from _leaves(each)
        case dict():
            yield from _leaves(list(entry.values()))


DOCS = tuple(map(Page, sorted(SITE.rglob("*.md"))))
README, CONTRIBUTING = Page(ROOT / "README.md"), Page(ROOT / "CONTRIBUTING.md")
PAGES = (README, CONTRIBUTING, Page(ROOT / "benchmarks" / "README.md"), *DOCS)
