"""The stamp in generated files: what the digests cover, and that the shipped files have theirs."""

import pytest
from modules import PACKAGES, ROOT

from kgen.spec import stamp
from kgen.spec.load import load
from kgen.spec.private_names import file_stem

TEXT = f'"""doc\n\n@generated\n{stamp.line(stamp.digest("spec"), "specs/a b.yaml")}\n"""\n\nx = 1\n'


def test_a_sealed_text_says_where_it_is_from() -> None:
    found = stamp.read(stamp.sealed(TEXT))
    assert found == stamp.Stamp("spec", stamp.digest("spec"), "specs/a b.yaml", intact=True)
    assert stamp.sealed(stamp.sealed(TEXT)) == stamp.sealed(TEXT)
    assert len(stamp.sealed(TEXT)) == len(TEXT), "no line moves"


@pytest.mark.parametrize("place", range(0, len(TEXT), 3))
def test_every_character_counts(place: int) -> None:
    """Whatever is changed, the header included, but for the form of the stamp, without which there is none."""
    sealed = stamp.sealed(TEXT)
    changed = sealed[:place] + ("1" if sealed[place] != "1" else "2") + sealed[place + 1 :]
    found = stamp.read(changed)
    assert found is None or not found.intact


def test_line_ends_do_not_count() -> None:
    found = stamp.read(stamp.sealed(TEXT).replace("\n", "\r\n"))
    assert found is not None and found.intact


@pytest.mark.parametrize("text", ["", "x = 1\n", "#\n" * stamp.HEAD_LINES + TEXT, TEXT.replace("; text", ", text")])
def test_no_stamp(text: str) -> None:
    assert stamp.read(text) is None
    assert stamp.read(stamp.sealed(text)) is None


@pytest.mark.parametrize("name", PACKAGES)
def test_shipped_files_are_those_of_their_specs(name: str) -> None:
    """A kernel's files have the digest of its part, those of all kernels the digest of what these share."""
    spec = load(str(ROOT / "specs" / f"{name}.yaml"))
    source, part = f"specs/{name}.yaml", {file_stem(k.name): spec.part(k.name) for k in spec.kernels}
    for path in sorted((ROOT / "generated" / name).rglob("*.py")):
        found = stamp.read(path.read_text(encoding="utf-8"))
        assert found and found.intact, path
        if path.parent.name == "_functions" and path.stem != "__init__":
            assert found == stamp.Stamp("spec", part[path.stem], source, intact=True)
        elif found.made == "spec" and path.stem != "_modules":
            assert found == stamp.Stamp("spec", spec.part(), source, intact=True)


TWO = """\
# two kernels
kgen: 1
name: two
layout: {multivector: [b, n]}  # shared

kernels:
  # the first
  f:
    inputs: {x: [b, n]}
    body: |
      # a comment of the body
      y = x

      return y + y
  # the second

  "g": {inputs: {x: [b, n]}, body: return x}

modules:
  G: {kernel: g}
"""
F, G, M, SHARED = {"f"}, {"g"}, {stamp.MODULES}, {"", "f", "g", stamp.MODULES}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("# two kernels", "# 2 kernels", set()),
        ("# the second", "# the other", set()),
        ("name: two", "name: three", SHARED),
        ("# shared", "# of all", SHARED),
        ("y = x", "y = -x", F),
        ("# a comment", "# no comment", F),
        ("return y + y", "return y", F),
        ("return x}", "return -x}", G),
        ("G: {kernel: g}", "G: {kernel: f}", M),
        ("\n", "\r\n", set()),
    ],
)
def test_parts_of_a_spec(old: str, new: str, changed: set[str]) -> None:
    """Change with their own lines and with what all share, and with nothing else."""
    before, after = stamp.parts(TWO), stamp.parts(TWO.replace(old, new))
    assert before.keys() == after.keys() == SHARED and len({*before.values()}) == 4
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize("text", ["", "kernels: {f: {}, g: {}}\n", "- 1\n", "kernels:\n"])
def test_a_spec_without_parts(text: str) -> None:
    """All of it is shared."""
    assert set(stamp.parts(text).values()) == {stamp.digest(text)}
