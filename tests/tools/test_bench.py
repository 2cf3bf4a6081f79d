"""The benchmark: what is compared before it is timed, and the floor that times are compared with."""

import csv
import io
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import folders
import pytest
import torch
from measured import OURS_HERE
from rich.console import Console
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from kgen.errors import KgenError
from kgen.tools.bench import floors, progress, race, timing
from kgen.tools.bench.bounds import INTERPRETER, REFERENCE, Work, refuse_empty, refuse_endless
from kgen.tools.bench.cases import Case, Peer
from kgen.tools.bench.command import app
from kgen.tools.bench.figures import (
    COLUMNS,
    INTERPRETED,
    NO_KERNEL,
    OURS,
    Floor,
    Row,
    table,
    write,
)
from kgen.tools.bench.plan import load_suite
from kgen.tools.bench.race import Run, Verdict
from kgen.tools.bench.readings import read
from kgen.tools.problem import axes, draw, load_file, load_module

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "generated"
CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = {"b": 6, "n": 5}
BOTH = ["forward", "forward+backward"]
TRAFFIC = 4 * 3 * 4 * 30  # bytes of x, y and the result


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "SECONDS", 0.0)
    for name, value in {"BATCH": 1, "ROUNDS": 1, "MINIMUM": 1, "MATRIX": 512}.items():
        monkeypatch.setattr(timing, name, value)


@pytest.fixture(autouse=True)
def setting() -> Iterator[None]:
    """No test leaves another setting behind."""
    before = torch.get_float32_matmul_precision()
    yield
    assert torch.get_float32_matmul_precision() == before


def run(bandwidth: float = 1.0, **rates: float) -> Run:
    return Run(timing.clock(CPU), bandwidth, rates, GENERATED, False, math.inf)


def product(x: Tensor, y: Tensor) -> Tensor:
    return load_module(GENERATED / "vga2d").geometric_product_reference(x, y)  # type: ignore[no-any-return]


def peer(name: str, function: Callable[..., Any]) -> Peer:
    return Peer(name, lambda: function)


def case(*peers: Peer, dtype: str = "float32") -> Case:
    return Case("vga2d", "geometric_product", SIZES, dtype, peers)


def statuses(rows: list[Row]) -> dict[tuple[str, str], str]:
    return {(row.contender, row.direction): row.status for row in rows}


# what is right, and what is not


def missing() -> Callable[..., Any]:
    raise ImportError("no such package")


def wrong(x: Tensor, y: Tensor) -> Tensor:
    return 1.001 * product(x, y)


def wrong_gradient(x: Tensor, y: Tensor) -> Tensor:
    return product(x, 1.001 * y - 0.001 * y.detach())


def raising(x: Tensor, y: Tensor) -> Tensor:
    raise ValueError("not today\nand more")


def test_only_what_is_right_is_timed() -> None:
    others = (wrong, wrong_gradient, raising)
    rows = race.measure(run(), case(*(peer(f.__name__, f) for f in others), Peer("missing", missing)))
    assert statuses(rows) == {
        **{(OURS_HERE, d): "ok" for d in BOTH},
        **{("wrong", d): "wrong" for d in BOTH},
        ("wrong_gradient", BOTH[0]): "ok",
        ("wrong_gradient", BOTH[1]): "wrong",
        **{("raising", d): "failed: ValueError: not today" for d in BOTH},
        **{("missing", d): "not installed: no such package" for d in BOTH},
    }
    assert all((row.median_us is not None) == (row.status == "ok") for row in rows)


def test_errors_are_those_of_the_worst_element_and_tensor() -> None:
    expected = torch.tensor([3.0, 4.0]).double(), torch.tensor([1.0]).double()
    found = race.judge((torch.tensor([3.0, 4.5]), torch.tensor([1.25])), expected, 0.3)
    assert (found.status, found.error, found.max_abs) == ("ok", 0.25, 0.5)
    assert race.judge((torch.tensor([math.nan, 4.0]), torch.tensor([1.0])), expected, 0.3) == Verdict("wrong")
    assert race.judge((torch.tensor([4.5]), torch.tensor([1.0])), expected, 0.3) == Verdict("wrong")


@pytest.mark.parametrize(
    ("off", "bound"), [(0.0, 1e-4), (1e-5, 1e-4), (0.01, 0.03), (math.nan, 1e-4), (math.inf, 1e-4)]
)
def test_who_is_as_exact_as_plain_torch_is_right(off: float, bound: float) -> None:
    """Where rounding is amplified, as by a division by what is near zero, plain torch is not within a dtype's bound."""
    problem = draw(load_module(GENERATED / "vga2d").KERNELS["geometric_product"], SIZES, torch.float32, CPU)
    expected = {direction: call(problem, product) for direction, call in race.DIRECTIONS.items()}
    found = race.allowed(problem, lambda x, y: (1 + off) * product(x, y), expected, "float32")
    assert found == pytest.approx(dict.fromkeys(BOTH, bound), rel=1e-3)


def test_spread_is_half_the_interquartile_range_over_the_median() -> None:
    assert timing.summary([10.0, 30.0, 20.0, 40.0, 50.0]) == timing.Timed(30.0, 10 / 30)
    assert timing.summary([7.0]) == timing.Timed(7.0, 0.0)


# what ran


@pytest.mark.parametrize(
    ("launched", "device", "status", "name"),
    [
        (["a_kernel"], "cuda", "ok", OURS),
        (["a_kernel"], "cpu", "ok", INTERPRETED),
        (["a_kernel"], "cpu", "failed: ValueError", INTERPRETED),
        ([], "cpu", "ok", NO_KERNEL),
        ([], "cuda", "wrong", NO_KERNEL),
        ([], "cuda", "failed: ValueError", OURS),
    ],
)
def test_the_name_says_what_ran(launched: list[str], device: str, status: str, name: str) -> None:
    assert race.what_ran(launched, torch.device(device), dict.fromkeys(BOTH, Verdict(status))) == name
    row = replace(race.lost(run(), case(), ValueError()), contender=name)
    assert row.ours and not replace(row, contender="torch.compile(reference)").ours


def test_steps_are_told_before_they_are_taken() -> None:
    told: list[str] = []

    def noting(x: Tensor, y: Tensor) -> Tensor:
        told.append("called")
        return product(x, y)

    race.measure(replace(run(), tell=told.append), case(peer("other", noting)))
    assert [a for a, b in zip(told, [*told[1:], ""]) if a != b] == [
        "checking kgen", "checking other", "called", "timing forward", "called", "timing forward+backward", "called"
    ]  # fmt: skip


SHORT = ["--size", "b=3", "--size", "n=2", "--kernel", "geometric_product", "--no-compile"]


def bench(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, output and errors of `kgen bench` on the CPU."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Figures on stdout and in the CSV, with what ran; progress beside them."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(timing, "COPY_BYTES", 1 << 16)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    status, out, err = bench("specs/vga2d.yaml", *SHORT, "--out", tmp_path / "rows.csv")
    assert status == 0, err
    lines = [line.strip() for line in out.splitlines()]
    remark = next(i for i, line in enumerate(lines) if "interpret" in line)
    assert remark < next(i for i, line in enumerate(lines) if line.startswith(f"{OURS_HERE}  "))
    assert lines.index("vga2d.geometric_product  b=3 n=2  float32") == remark + 1
    assert "1 of 1, vga2d.geometric_product b=3 n=2 float32\n" in err
    assert "1 of 1, vga2d.geometric_product b=3 n=2 float32: timing forward\n" in err and "timing" not in out
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        assert [row["contender"] for row in csv.DictReader(file)] == [OURS_HERE] * 2


def test_without_the_interpreter_no_kernel_runs_and_the_command_says_so() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""}
    code = "from kgen.tools.bench import race, timing; race.SECONDS = 0.0; timing.COPY_BYTES = 1 << 16\n"
    code += "from kgen.tools.bench.command import app; app(prog_name='bench')"
    command = [sys.executable, "-c", code, "generated/vga2d", *SHORT, "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no kernel ran: the function was its torch reference" in done.stdout
    assert done.stdout.count(f"{NO_KERNEL} ") == 2 and INTERPRETED not in done.stdout


def test_a_narrow_terminal_breaks_words_and_no_figures() -> None:
    row = replace(race.lost(run(), case(), ValueError("why")), contender=NO_KERNEL, direction=BOTH[1], median_us=1234.0)
    file = io.StringIO()
    Console(width=80, file=file).print(table([replace(row, floor_us=4321.0, ratio_to_floor=0.286, error=1e-7)]))
    assert {"1234", "4321", "0.29", "1e-07"} <= set(file.getvalue().split())
    assert {"reference,", "kernel", "ran)"} <= set(file.getvalue().split())


def test_a_table_says_what_floors_are_made_of() -> None:
    row = replace(race.lost(run(), case(), ValueError("why")), direction=BOTH[0], bytes_us=12.0, binds="products")
    file, rows = io.StringIO(), [replace(row, products_us=34.5), replace(row, instructions_us=0.5, direction=BOTH[1])]
    Console(width=150, file=file).print(table([rows[0], rows[0], rows[1], race.lost(run(), case(), ValueError())]))
    assert [line.strip() for line in file.getvalue().splitlines() if "at least" in line] == [
        "forward takes at least, for its bytes 12 us, products 34 us: products bind",
        "forward+backward takes at least, for its bytes 12 us, instructions 0.50 us: products bind",
    ]


# the CSV


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = race.measure(run(), case(peer("raising", raising)))
    write(rows, tmp_path / "rows.csv")
    assert (
        (tmp_path / "rows.csv")
        .read_text(encoding="utf-8")
        .startswith(
            "case,size,dtype,contender,direction,median_us,spread,floor_us,bytes_us,instructions_us,products_us,binds,"
            "ratio_to_floor,gflops,peak_mb,error,max_abs,status,device,torch,triton,kgen_digest\n"
        )
    )
    for found, row in zip(read(tmp_path / "rows.csv", COLUMNS), rows, strict=True):
        for name in COLUMNS:
            a, b = getattr(found, name), getattr(row, name)
            assert a == (pytest.approx(b, rel=1e-3) if isinstance(b, float) else b), name


# what is asked for


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the spec vga2d, its module and a suite."""
    folders.copied("vga2d", tmp_path / "generated" / "vga2d")
    (tmp_path / "specs").mkdir()
    shutil.copy(ROOT / "specs" / "vga2d.yaml", tmp_path / "specs")
    (tmp_path / "benchmarks").mkdir()
    suite = "from kgen.tools.bench.cases import Case\nCASES = [Case('vga2d', 'sgp', {'b': 3, 'n': 2})]\n"
    (tmp_path / "benchmarks" / "first.py").write_text(suite, encoding="utf-8")
    (tmp_path / "benchmarks" / "other.py").write_text("X = 1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


MISTAKES = {
    "axis": (["specs/vga2d.yaml", "--size", "q=4"], "no kernel has an axis 'q'\n    hint: there are b, n, m\n"),
    "axis of a suite": (["--suite", "first", "--size", "m=4"], "no kernel has an axis 'm'\n    hint: there are "),
    "kernel": (["specs/vga2d.yaml", "--kernel", "spg"], "no target has a kernel 'spg'\n    hint: did you mean sgp? "),
    "kernel of a suite": (["--suite", "first", "--kernel", "sgp"], "--kernel is for targets\n"),
    "dtype": (["specs/vga2d.yaml", "--dtype", "bfloat"], "unknown dtype 'bfloat'\n    hint: did you mean bfloat16? "),
    "dtype of a suite": (["--suite", "first", "--dtype", "float16"], "--dtype is for targets\n"),
    "only": (
        ["--suite", "first", "--only", "a.spg"],
        "no case has 'a.spg' in its name\n    hint: there is vga2d.sgp\n",
    ),
    "suite": (["--suite", "frist"], "no suite benchmarks/frist.py: a suite is a Python file that defines CASES\n"),
    "nearest suite": (["--suite", "frist"], "\n    hint: did you mean first? there is first\n"),
    "no suite": (["--suite", "other"], "benchmarks/other.py is no suite\n"),
    "peers": (["--suite", "first", "--peers", "nowhere"], "no folder nowhere\n"),
    "device": (["specs/vga2d.yaml", "--device", "abacus"], "no device 'abacus'"),
    "target": (["specs/vga3d.yaml"], "no file specs/vga3d.yaml\n"),
    "module": (["elsewhere/vga2d"], "no file elsewhere/vga2d\n"),
    "nothing": ([], "no cases\n"),
    "sweep to 0": (["specs/vga2d.yaml", "--sweep", "b=0:8"], "--sweep b=0:8 has an extent of 0"),
    "sweep with 0": (["specs/vga2d.yaml", "--sweep", "b=4,0"], "--sweep b=4,0 has an extent of 0"),
    "sweep down": (["specs/vga2d.yaml", "--sweep", "b=8:4"], "--sweep b=8:4 goes down\n    hint: --sweep b=4:8\n"),
    "sweep of nothing": (["specs/vga2d.yaml", "--sweep", "b="], "'b=' is no sweep\n    hint: write AXIS=FROM:TO"),
    "sweep below": (["specs/vga2d.yaml", "--sweep", "b=-2:8"], "'b=-2:8' is no sweep\n"),
    "sweep of no axis": (["specs/vga2d.yaml", "--sweep", "8:16"], "'8:16' is no sweep\n"),
    "sweep in steps": (["specs/vga2d.yaml", "--sweep", "b=1:8:2"], "'b=1:8:2' is no sweep\n"),
    "sweep twice": (["specs/vga2d.yaml", "--sweep", "b=1", "--sweep", "b=2"], "--sweep names b twice\n"),
    "swept axis": (["specs/vga2d.yaml", "--sweep", "q=2"], "no kernel has an axis 'q'\n    hint: there are b, n, m\n"),
    "near axis": (["specs/vga2d.yaml", "--sweep", "B=2"], "hint: did you mean b? there are b, n, m\n"),
    "swept axis of a suite": (
        ["--suite", "first", "--sweep", "m=4"],
        "no kernel has an axis 'm'\n    hint: there are ",
    ),
    "size and sweep": (
        ["specs/vga2d.yaml", "--size", "b=4", "--sweep", "b=2:8"],
        "--size and --sweep both name b\n    hint: leave one of them out\n",
    ),
    "endless cell": (["specs/vga2d.yaml", "--size", "n=4", "--sweep", "b=4,9999999"], " elements, and more than "),
    "repetitions": (["specs/vga2d.yaml", "--repetitions", "0"], "--repetitions 0 does nothing\n    hint: "),
    "warmup": (["specs/vga2d.yaml", "--warmup", "0"], "--warmup 0 does nothing\n    hint: --warmup starts at 1\n"),
    "jobs": (["specs/vga2d.yaml", "--jobs", "-1"], "--jobs -1 does nothing\n    hint: --jobs starts at 1\n"),
    "budget": (["specs/vga2d.yaml", "--budget", "nan"], "--budget nan is no time\n    hint: seconds; "),
    "endless extent": (["specs/vga2d.yaml", "--sweep", "b=" + "9" * 5000], "is no sweep\n"),
    "a size beside a comparison": (
        ["a.csv", "--compare", "b.csv", "--sweep", "b=2"],
        "--sweep says what to time, and a comparison times nothing\n    hint: leave it out\n",
    ),
    "direction": (
        ["specs/vga2d.yaml", "--direction", "forward,backward"],
        "unknown direction 'backward'\n    hint: did you mean forward+backward? there are ",
    ),
    "part": (["--suite", "first", "--part", "6/5"], "--part 6/5 is no part\n    hint: such as --part 1/5"),
    "part of nothing": (["--suite", "first", "--part", "first"], "--part first is no part\n"),
    "empty part": (["--suite", "first", "--part", "2/2"], "--part 2/2 of 1 cell is empty\n"),
    "second dtype": (["specs/vga2d.yaml", "--dtype", "float32,half"], "unknown dtype 'half'\n    hint: there are "),
    "peers without packages": (["--suite", "first", "--peers", "specs"], "no package in specs, nor in its folders\n"),
    "a folder to write": (["--suite", "first", "--out", "specs"], "cannot write specs: it is no file\n"),
    "a file above": (["--suite", "first", "--out", "specs/vga2d.yaml/a.csv"], "cannot write specs/vga2d.yaml/a.csv: "),
    "another file": (
        ["--suite", "first", "--out", "specs/vga2d.yaml"],
        "is no CSV of kgen bench, or of another",
    ),
    "empty": (["specs/vga2d.yaml", "--size", "n=0"], "has nothing to compute\n    hint: sizes start at 1\n"),
    "endless": (["specs/vga2d.yaml"], " elements, and more than "),
    "no module": (["specs/vga2d.yaml", "--generated", "nowhere"], "no generated package nowhere/vga2d\n"),
}


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_before_anything_is_timed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> float:
        raise AssertionError("something was timed")

    monkeypatch.setattr(timing, "copy_bandwidth", measured)
    arguments, message = MISTAKES[mistake]
    result = CliRunner().invoke(app, arguments if mistake == "device" else [*arguments, "--device", "cpu"])
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    assert message in result.stderr


@pytest.mark.parametrize("changed", ["specs/vga2d.yaml", "generated/vga2d/_functions/sgp.py"])
@pytest.mark.parametrize("arguments", [["specs/vga2d.yaml"], ["generated/vga2d"], ["--suite", "first"]])
def test_modules_that_are_not_as_their_spec_made_them(copied: Path, changed: str, arguments: list[str]) -> None:
    text = (copied / changed).read_text(encoding="utf-8")
    (copied / changed).write_text(text.replace("sgp(x, y", "sgp(x,  y"), encoding="utf-8")
    status, out, err = bench(*arguments, "--size", "b=3")
    assert (status, out) == (2, "")
    assert ("is stale" if "specs" in changed else "was changed by hand") in err and "kgen build" in err


def test_a_module_elsewhere_is_itself(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the one of its name in the folder of generated modules."""
    monkeypatch.setattr(timing, "COPY_BYTES", 1 << 16)
    (copied / "elsewhere").mkdir()
    (copied / "generated" / "vga2d").rename(copied / "elsewhere" / "vga2d")
    status, _, err = bench("elsewhere/vga2d", *SHORT)
    assert status == 0, err


# sizes that end


def work(kernels: bool, **sizes: int) -> Work:
    description = {"inputs": {"x": (4, "...", "n"), "w": ("n", 3)}, "outputs": {"out": ("b", "k")}}
    return Work("a.f", description, sizes, kernels)


def test_elements_are_those_of_inputs_and_outputs() -> None:
    assert work(True, b=5, n=7, k=2).elements() == 4 * 5 * 7 + 7 * 3 + 5 * 2
    assert work(True).elements() == 4 * 4096 * 256 + 256 * 3 + 4096 * 256
    assert work(True, b=5, n=7, k=2).elements({"b": 2, "k": 9}) == 4 * 2 * 7 + 7 * 3 + 2 * 2


@pytest.mark.parametrize(("kernels", "limit"), [(True, INTERPRETER), (False, REFERENCE)])
def test_sizes_beyond_the_limit_are_refused_with_some_within(kernels: bool, limit: int) -> None:
    fits, beyond = work(kernels, b=limit // 8 - 2, n=1, k=1), work(kernels, b=limit // 4, n=1, k=1)
    assert fits.elements() <= limit < beyond.elements()
    refuse_endless([fits])
    with pytest.raises(KgenError, match=r"a\.f at b=\d+ n=1 k=1 has \d+ elements") as found:
        refuse_endless([fits, beyond, work(not kernels, b=1, n=1, k=1)])
    assert ("interpreter" in found.value.message) == kernels
    sizes = dict(text.split("=") for text in str(found.value.hint).split() if "=" in text)
    refuse_endless([work(kernels, **{axis: int(extent) for axis, extent in sizes.items()})])
    assert sizes["n"] == sizes["k"] == "1", "what is short stays"


@pytest.mark.parametrize("axis", ["b", "n", "k"])
def test_empty_sizes_are_refused(axis: str) -> None:
    refuse_empty([work(True)])
    with pytest.raises(KgenError, match=f"{axis}=0"):
        refuse_empty([work(True), work(True, **{axis: 0})])


# tf32


def test_tf32_is_allowed_to_every_contender_and_to_no_other_case() -> None:
    seen: list[tuple[str, bool, torch.dtype]] = []

    def noting(x: Tensor, y: Tensor) -> Tensor:
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32, x.dtype))
        return product(x, y)

    def noting_and_wrong(x: Tensor, y: Tensor) -> Tensor:
        noting(x, y)
        return wrong(x, y)

    def rows(dtype: str) -> list[Row]:
        seen.clear()
        return race.measure(run(), case(peer("right", noting), peer("wrong", noting_and_wrong), dtype=dtype))

    before = torch.get_float32_matmul_precision()
    try:
        for setting in ("highest", "medium"):
            torch.set_float32_matmul_precision(setting)
            assert {row.dtype for row in rows("float32")} == {"float32"}
            assert set(seen) == {("highest", False, torch.float32)}
            found = rows("tf32")
            assert {row.dtype for row in found} == {"tf32"}
            assert set(seen) == {("high", True, torch.float32)}
            assert {row.status for row in found} == {"ok"}  # one off by 1e-3 is within what tf32 rounds
            assert torch.get_float32_matmul_precision() == setting
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_setting_outlasts_a_case_that_cannot_be_set_up() -> None:
    with pytest.raises(KeyError, match="absent"):
        race.measure(run(), Case("vga2d", "absent", dtype="tf32"))


# the floor


def test_the_largest_part_of_a_floor_binds_and_unknown_ones_do_not() -> None:
    floor = Floor(2.0, None, 1.5, operations=3e6)
    assert (floor.least, floor.binds) == (2.0, "bytes")
    assert (replace(floor, instructions_us=3.0).least, replace(floor, instructions_us=3.0).binds) == (
        3.0,
        "instructions",
    )
    assert floor.columns(4.0)["gflops"] == 3e6 / 4e-6 / 1e9 and floor.columns(4.0)["ratio_to_floor"] == 2.0
    assert floor.columns(None)["gflops"] is None and replace(floor, operations=None).columns(4.0)["gflops"] is None


def test_rates_of_products_are_those_of_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def rate(clock: timing.Clock, dtype: torch.dtype) -> float:
        asked.append((torch.get_float32_matmul_precision(), dtype))
        return float(len(asked))

    monkeypatch.setattr(timing, "matrix_rate", rate)
    cases = [replace(case(dtype=d), kernel="mv_linear") for d in ("tf32", "float32", "tf32")]
    assert floors.multiplying([case(dtype="float16"), *cases], GENERATED) == cases
    assert race.matrix_rates(run().clock, cases) == {"tf32": 1.0, "float32": 2.0}
    assert asked == [("high", torch.float32), ("highest", torch.float32)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrix_rate_is_operations_over_the_better_time(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    results: list[Tensor] = []

    def sample(clock: timing.Clock, call: timing.Call, repeats: int) -> list[float]:
        results.append(result := call())  # type: ignore[arg-type]
        assert isinstance(result, Tensor) and result.dtype == dtype and result.shape == (32, 32) and result.any()
        return [4.0, 2.0, 9.0] if len(results) < 3 else [8.0]

    monkeypatch.setattr(timing, "sample", sample)
    assert timing.matrix_rate(run().clock, dtype) == 2 * 32**3 / 4


# data


def test_positive_inputs_are_the_absolute_values_and_nothing_else_changes() -> None:
    description = load_module(GENERATED / "vga2d").KERNELS["sgp"]
    plain, positive = (draw(description, SIZES, torch.float32, CPU, names) for names in ((), ("y", "weight")))
    x, y, weight = plain.inputs
    for found, expected in zip(positive.inputs, (x, y.abs(), weight.abs()), strict=True):
        assert found.equal(expected) and not found.requires_grad
    assert all(leaf.equal(x) and leaf.requires_grad for leaf, x in zip(positive.leaves, positive.inputs, strict=True))
    assert positive.cotangents[0].equal(plain.cotangents[0]) and (y < 0).any() and (weight < 0).any()


def test_compiled_code_reaches_into_a_loaded_file(tmp_path: Path) -> None:
    """As into peers' functions: torch looks for their globals by the module's name."""
    (tmp_path / "other.py").write_text("FACTOR = 3\ndef inner(x):\n    return FACTOR * x\n", encoding="utf-8")
    module = load_file(tmp_path / "other.py", "file_of_a_test")
    try:
        compiled = torch.compile(lambda x: module.inner(x) + 1, backend="eager", fullgraph=True)
        assert compiled(torch.ones(2)).equal(torch.full((2,), 4.0))
    finally:
        del sys.modules["file_of_a_test"]
    with pytest.raises(ImportError, match="absent.py"):
        load_file(tmp_path / "absent.py", "file_of_a_test")


# the suite of contractions


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    monkeypatch.chdir(ROOT)
    return load_suite("contractions")


def named(suite: list[Case], name: str, dtype: str = "") -> Case:
    return next(c for c in suite if f"{c.module}.{c.kernel}" == name and dtype in c.dtype)


def test_every_contraction_has_products_and_sizes_for_them(suite: list[Case]) -> None:
    assert {c.dtype for c in suite} == {"tf32", "float32", "bfloat16"}
    assert len({(c.module, c.kernel, *c.sizes.values(), c.dtype) for c in suite}) == len(suite) == 12
    assert all(
        set(axes([floors.described(c, GENERATED)])) <= {*c.sizes, "b"}
        and floors.described(c, GENERATED)["products"]
        and c.peers
        for c in suite
    )


@pytest.mark.parametrize("name", ["vga2d", "vga3d"])
def test_products_are_those_of_paths_and_of_blades(name: str) -> None:
    module = load_module(GENERATED / name)
    paths = sum(module.GRADES.count(result) for _, result, _ in module.PATHS["sgp.weight"])
    for kernel, along, count in (("fused_gelu_fcgp_norm", "b n m", paths), ("layer", "b n n", len(module.BLADES))):
        work = module.KERNELS[kernel]["work"]
        assert [work[direction][along] for direction in BOTH] == [{"product": count}, {"product": 3 * count}]


def test_peers_that_are_absent(suite: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ops", None)  # as if there were none
    for each in suite:
        for other in each.peers if each.module != "diffusion" else ():
            with pytest.raises(ImportError):
                other.load()


def test_baselines_that_are_absent(suite: list[Case], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ops", SimpleNamespace(__file__=str(tmp_path / "ops" / "__init__.py")))
    for name in ("vga3d.layer", "vga2d.fused_gelu_fcgp_norm"):
        with pytest.raises(ImportError, match="baselines.py"):
            named(suite, name).peers[1].load()


@pytest.mark.parametrize("dims", [2, 3])
def test_peer_of_the_layer(suite: list[Case], monkeypatch: pytest.MonkeyPatch, dims: int) -> None:
    module = load_module(GENERATED / f"vga{dims}d")
    product = module.fused_gelu_sgp_norm_reference
    monkeypatch.setitem(sys.modules, "ops", SimpleNamespace(**{f"fused_gelu_sgp_norm_{dims}d": product}))
    found = named(suite, f"vga{dims}d.layer").peers[0].load()
    blades, paths = 2**dims, len(module.PATHS["sgp.weight"])
    shapes = ((blades, 4, 5), (5, paths), (dims + 1, 5, 5), (blades, 5))
    x, gp_weight, weight, bias = inputs = [torch.randn(shape, device=DEVICE) for shape in shapes]
    y = torch.stack([x[i] @ weight[grade] + bias[i] for i, grade in enumerate(module.GRADES)])
    torch.testing.assert_close(found(*inputs), product(x, y, gp_weight))


LAUNCH = """\
PLAIN = ()

def launch(*arguments):
    raise AssertionError("there is no kernel")
"""
MODULE = """\
import torch

KERNELS = {"spatial_diffusion": {
    "inputs": {"x": ("v", "c"), "basis": ("v", "k"), "mass": ("v",), "evalues": ("k",), "times": ("c",)},
    "outputs": {"out": ("v", "c"), "spectral": ("k", "c")}, "options": {}, "grads": ("x", "times"), "indices": {},
}}

def spatial_diffusion(x, basis, mass, evalues, times):
    scale = torch.exp(-torch.outer(evalues, times))
    spectral = scale * torch.einsum("vc,vk,v->kc", x, basis, mass)
    return torch.einsum("vk,kc->vc", basis, spectral), spectral

spatial_diffusion_reference = spatial_diffusion
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peer_of_diffusion(suite: list[Case], tmp_path: Path, dtype: str) -> None:
    """It is right in both types, and its products are those of the floor."""
    (tmp_path / "heat" / "_runtime").mkdir(parents=True)
    (tmp_path / "heat" / "__init__.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "heat" / "_runtime" / "launch.py").write_text(LAUNCH, encoding="utf-8")
    original = named(suite, "diffusion.spatial_diffusion", dtype)
    each = replace(original, module="heat", sizes={"v": 300, "k": 20, "c": 30})
    rows = race.measure(replace(run(1e9, **{dtype: 1.0}), generated=tmp_path), each)
    assert statuses(rows) == {(name, d): "ok" for name in (NO_KERNEL, "plain torch") for d in BOTH}
    description = load_module(tmp_path / "heat").KERNELS[each.kernel]
    problem = draw(description, each.sizes, each.storage, CPU, each.positive)
    for direction, call in race.DIRECTIONS.items():
        with FlopCounterMode(display=False) as counter:
            call(problem, each.peers[0].load())
        total = floors.operations(floors.described(original, GENERATED), each.sizes, direction)
        assert total and counter.get_total_flops() == 2 * total["product"]


# the suite of messages


def test_peers_of_messages_do_what_the_functions_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for each in load_suite("messages"):
        described = floors.described(each, GENERATED)
        assert set(axes([described])) == {*each.sizes}
        inputs = draw(described, {"v": 4, "e": 9, "n": 2}, torch.float32, torch.device("cpu")).inputs
        reference = getattr(load_module(GENERATED / "message"), f"{each.kernel}_reference")
        torch.testing.assert_close(each.peers[0].load()(*inputs), reference(*inputs))
