"""Mistakes in specs, one folder each under `cases/`: the specs as written and, in expected.txt, what kgen says."""

from pathlib import Path

import pytest

from kgen.errors import KgenError
from kgen.pipeline import read, refuse

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())


def complaint(specs: list[str]) -> str:
    """What loading and tracing the specs, in all their variants, complains about."""
    try:
        refuse((spec, ()) for spec in read(specs))
    except KgenError as error:
        return f"{error}\n"
    return ""


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_case(case: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case)
    text = complaint(sorted(path.name for path in case.glob("*.yaml")))
    expected = case / "expected.txt"
    if request.config.getoption("--update-golden"):
        expected.write_text(text, encoding="utf-8")
    assert text, "the specs have no mistake"
    assert text == expected.read_text(encoding="utf-8")
