"""The stamp in generated files: what the digests cover, and that the shipped files have theirs."""

import re

import pytest
from modules import ROOT, SHIPPED

from kgen.spec import stamp
from kgen.spec.load import load

TEXT = f'"""doc\n\n@generated\n{stamp.line(stamp.digest("spec"), "specs/a b.yaml")}\n"""\n\nx = 1\n'


def test_a_sealed_text_says_where_it_is_from() -> None:
    found = stamp.read(stamp.sealed(TEXT))
    assert found == stamp.Stamp(stamp.digest("spec"), "specs/a b.yaml", intact=True)
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


@pytest.mark.parametrize("name", [*(f"{name}.py" for name in SHIPPED), *(f"tests/test_{name}.py" for name in SHIPPED)])
def test_shipped_files_are_those_of_their_specs(name: str) -> None:
    source = "specs/" + re.sub(r".*test_|\.py$", "", name) + ".yaml"
    found = stamp.read((ROOT / "generated" / name).read_text(encoding="utf-8"))
    assert found == stamp.Stamp(load(str(ROOT / source)).digest, source, intact=True)
