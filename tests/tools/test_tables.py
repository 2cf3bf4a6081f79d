"""The benchmark tables of the pages: those of the CSVs, and the program that writes them."""

from pathlib import Path

import pytest
import typer

from benchmarks import table
from kgen.tools.bench.figures import DIRECTIONS
from kgen.tools.bench.readings import cells

ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
MEASURED = ROOT / "benchmarks" / "results"
RESULTS = {"first": MEASURED / "h200.csv", "contractions": MEASURED / "h200-contractions.csv"}


@pytest.mark.parametrize("suite", RESULTS)
def test_tables_are_those_of_the_csv(suite: str) -> None:
    _, body, _ = table.between(PAGE.read_text(encoding="utf-8"), suite)
    path = RESULTS[suite]
    expected = table.tables(cells(path), suite, path.name)
    assert body.strip() == expected, f"python benchmarks/table.py tables {path} --suite {suite}"


def test_the_summary_is_that_of_all_suites() -> None:
    _, body, _ = table.between(README.read_text(encoding="utf-8"), "summary")
    rows = table.measured(RESULTS.values())
    assert body.strip() == table.summary(
        rows
    ), f"python benchmarks/table.py summary {' '.join(map(str, RESULTS.values()))}"


HEADER = (
    "case,size,dtype,contender,direction,median_us,floor_us,ratio_to_floor,peak_mb,"
    "error,status,device,torch,triton,kgen_digest"
)
FIGURES = f"""\
{HEADER}
a.f,b=2 n=3,float32,kgen,forward,7.125,4,1.781,32.05,1e-8,ok,GPU,2.1,3.1,00
a.f,b=2 n=3,float32,other,forward,1250.6,4,312.7,64,1e-8,ok,GPU,2.1,3.1,00
a.f,b=2 n=3,float32,kgen,forward+backward,20.25,10,2.025,99.34,1e-7,ok,GPU,2.1,3.1,00
a.f,b=2 n=3,float32,other,forward+backward,,10,,,3.0,wrong,GPU,2.1,3.1,00
b.g,b=2 n=3,bfloat16,absent,forward,,,,,,not installed,GPU,2.1,3.1,00
"""
TABLES = """\
`a.f`, b=2, n=3, float32; floor 4.00 us forward and 10.0 us forward+backward

| contender | forward, us (x floor) | forward+backward, us (x floor) | peak MB |
|---|--:|--:|--:|
| kgen | 7.12 (1.78) | 20.2 (2.02) | 32.0 / 99.3 |
| other | 1251 (313) | wrong | 64.0 / – |

`b.g`, b=2, n=3, bfloat16

| contender | forward, us (x floor) | forward+backward, us (x floor) | peak MB |
|---|--:|--:|--:|
| absent | not installed |  | – / – |"""


def test_tables_are_rewritten_between_the_markers(tmp_path: Path) -> None:
    source, page = tmp_path / "gpu.csv", tmp_path / "page.md"
    source.write_text(FIGURES, encoding="utf-8")
    page.write_text("before\n<!-- benchmarks:first -->\nold\n<!-- /benchmarks -->\nafter\n", encoding="utf-8")
    for _ in range(2):  # the second time changes nothing
        table.write_tables(source, "first", page)
        text = page.read_text(encoding="utf-8")
        assert text.startswith("before\n<!-- benchmarks:first -->\n") and text.endswith("<!-- /benchmarks -->\nafter\n")
        assert TABLES in text and "old" not in text
        assert "Measured on GPU with torch 2.1, triton 3.1" in text
        assert "\npython -m kgen bench --suite first --peers DIR --out benchmarks/results/gpu.csv\n" in text
    assert page.read_text(encoding="utf-8").count("`a.f`") == 1


@pytest.mark.parametrize(("figures", "text"), [(FIGURES, "no markers\n"), (f"{HEADER}\n", "<!-- benchmarks:first -->")])
def test_a_page_is_left_when_something_is_missing(figures: str, text: str, tmp_path: Path) -> None:
    source, page = tmp_path / "gpu.csv", tmp_path / "page.md"
    source.write_text(figures, encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    with pytest.raises(typer.Exit):
        table.write_tables(source, "first", page)
    assert page.read_text(encoding="utf-8") == text


def rows(case: str, **contenders: tuple[float, float]) -> str:
    """Lines of a case: the times of each contender, forward and with the backward; without a time where it is 0."""
    return "".join(
        f"{case},n=3,float32,{name},{direction},{us or ''},4,{us / 4 or ''},1,,{status},GPU,2.1,3.1,00\n"
        for name, times in contenders.items()
        for direction, us in zip(DIRECTIONS, times)
        for status in (["ok"] if us else ["skipped"])
    )


SUMMARY = """\
| case | size, dtype | kgen, us (x floor) | fastest other, us | gain |
|---|---|--:|--:|--:|
| `a.f` | n=3, float32 | 12.0 (3.00) | 24.0 quick | 2.00 |
| `b.g` | n=3, float32 | 20.0 (5.00) | 10.0 quick | **0.50** |
| `c.h` | n=3, float32 | 20.0 (5.00) | 30.0 slow | 1.50* |

The worst gain is 0.50, of `b.g`, n=3, float32:
quick takes 10.0 us. Farthest from its floor is
`c.h`, n=3, float32, forward: 25.0 times."""


def test_the_summary_names_the_worst_cells(tmp_path: Path) -> None:
    source, page = tmp_path / "gpu.csv", tmp_path / "page.md"
    cases = (
        rows("a.f", kgen=(8, 12), quick=(9, 24), slow=(9, 36)),
        rows("b.g", kgen=(8, 20), quick=(9, 10)),
        rows("c.h", slow=(9, 30), kgen=(100, 20), quick=(0, 0)),
    )
    source.write_text("".join([f"{HEADER}\n", *cases]), encoding="utf-8")
    page.write_text("<!-- benchmarks:summary -->\n<!-- /benchmarks -->\n", encoding="utf-8")
    table.write_summary([source], page)
    assert SUMMARY in page.read_text(encoding="utf-8")
