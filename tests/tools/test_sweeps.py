"""Sweeps of the benchmark: their cells, what a second run need not do, and what becomes of cells that do not fit."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import folders
import pytest
import torch
from measured import OURS_HERE
from typer.testing import CliRunner

from kgen.errors import KgenError
from kgen.tools.bench import bounds, command, progress, race, record, timing, warm
from kgen.tools.bench.cases import Case
from kgen.tools.bench.command import app
from kgen.tools.bench.contenders import Contender
from kgen.tools.bench.figures import ABSENT, COLUMNS, INTERPRETED, NO_KERNEL, SPENT, Row, doubts, write
from kgen.tools.bench.plan import Request, add_peers, load_suite, plan
from kgen.tools.bench.readings import read
from kgen.tools.bench.sweeps import doubled, grid, parse_sweeps, part
from kgen.tools.problem import draw, load_module
from kgen.write import locks

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
BOTH = ["forward", "forward+backward"]


# cells


def test_a_range_doubles_and_a_list_is_itself() -> None:
    assert parse_sweeps(["b=1024:8192", "n=96,32,96", "m=5"]) == {
        "b": (1024, 2048, 4096, 8192),
        "n": (96, 32),
        "m": (5,),
    }
    assert doubled(3, 50) == (3, 6, 12, 24, 48) and doubled(7, 7) == (7,) and doubled(1, 2) == (1, 2)


def test_a_grid_has_all_combinations_of_the_axes_that_a_case_has() -> None:
    cases = [Case("a", "f", {"b": 1, "k": 3}), Case("a", "g")]
    found = grid(cases, {"b": (2, 4), "n": (5, 6)}, lambda case: "bk" if case.kernel == "f" else "n")
    assert [(case.kernel, dict(case.sizes)) for case in found] == [
        ("f", {"b": 2, "k": 3}),
        ("f", {"b": 4, "k": 3}),
        ("g", {"n": 5}),
        ("g", {"n": 6}),
    ]
    assert len(grid(cases[:1], {"b": (2, 4), "n": (5, 6, 7)})) == 6


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_parts_are_all_cells_each_once(parts: int) -> None:
    cells = [Case("a", "f", {"b": b}) for b in range(7)]
    chosen = [case for number in range(1, parts + 1) for case in part(cells, number, parts)]
    assert sorted(case.sizes["b"] for case in chosen) == list(range(7))
    assert max(len(part(cells, n, parts)) - len(part(cells, parts, parts)) for n in range(1, parts + 1)) <= 1


# a run, and a second one


SUITE = """\
import os, signal
from pathlib import Path

from kgen.tools.bench.cases import Case, Peer
from kgen.tools.problem import load_module


def product(x, y):
    with Path("calls").open("a") as file:
        print(x.shape[1], file=file)
    if x.shape[1] == 4 and Path("deadly").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if x.shape[1] == 2 and Path("greedy").exists():
        raise __import__("torch").OutOfMemoryError("so much\\nis not there")
    return load_module(Path("generated/vga2d")).geometric_product_reference(x, y)


def absent():
    raise ImportError("none of this name")


CASES = [Case("vga2d", "geometric_product", {"n": 3}, peers=(Peer("other", lambda: product), Peer("absent", absent)))]
"""
NAMES = (OURS_HERE, "other", "absent")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module vga2d and a suite, where kernels do not run and timing is short."""
    folders.copied("vga2d", tmp_path / "generated" / "vga2d")
    (tmp_path / "specs").mkdir()
    shutil.copy(ROOT / "specs" / "vga2d.yaml", tmp_path / "specs")
    (tmp_path / "suite.py").write_text(SUITE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(race, "SECONDS", 0.0)
    for name, value in {"BATCH": 1, "ROUNDS": 1, "MINIMUM": 1, "COPY_BYTES": 1 << 16}.items():
        monkeypatch.setattr(timing, name, value)
    return tmp_path


SWEEP = ["--suite", "suite.py", "--sweep", "b=1:8", "--no-compile", "--device", "cpu"]
CODE = (
    "from kgen.tools.bench import race, timing\n"
    "race.SECONDS = 0.0; timing.COPY_BYTES = 1 << 16; timing.BATCH = timing.ROUNDS = timing.MINIMUM = 1\n"
    "from kgen.tools.bench.command import app\napp(prog_name='bench')"
)


def bench(*arguments: str, out: str = "rows.csv") -> tuple[int, str, str]:
    """Exit status, output and errors of a run in a process of its own, in which no kernel runs."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CODE, *SWEEP, "--out", out, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def names(path: str) -> list[tuple[str, ...]]:
    """What the rows of a file are of."""
    columns = ("case", "size", "dtype", "contender", "direction", "status", "device", "torch", "kgen_digest")
    return [tuple(getattr(row, column) for column in columns) for row in read(Path(path), COLUMNS)]


@pytest.mark.usefixtures("folder")
def test_a_sweep_that_is_killed_goes_on_and_has_the_rows_of_one_that_is_not() -> None:
    Path("deadly").touch()
    status, _, err = bench()
    assert status == -signal.SIGKILL, err
    assert [row.size for row in read(Path("rows.csv"), COLUMNS)] == ["b=1 n=3"] * 6 + ["b=2 n=3"] * 6
    Path("deadly").unlink()
    Path("calls").unlink()
    status, out, err = bench()
    assert status == 0 and "rows.csv has 2 of 4 cells already" in out, err
    assert set(Path("calls").read_text(encoding="utf-8").split()) == {"4", "8"}
    assert bench(out="whole.csv")[0] == 0
    assert names("rows.csv") == names("whole.csv") and len(names("whole.csv")) == 4 * 2 * len(NAMES)
    assert sorted(path.name for path in Path().glob("*.csv")) == ["rows.csv", "whole.csv"]
    assert not [path for path in Path().glob(".*") if "csv" in path.name]


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*SWEEP, *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """The sizes and directions that are measured, quickly: every contender in no time."""
    found: list[tuple[str, tuple[str, ...]]] = []

    def measure(run: race.Run, case: Case) -> list[Row]:
        found.append((race.size_of(case, run.generated), run.directions))
        status = {"absent": f"{ABSENT}: none", "torch.compile(reference)": SPENT if run.deadline < 0 else "ok"}
        contenders = [*NAMES, *["torch.compile(reference)"] * run.compiled]
        return [
            replace(race.untimed(run, case, d, status.get(name, "ok")), contender=name)
            for d in run.directions
            for name in contenders
        ]

    monkeypatch.setattr(command, "measure", measure)
    return found


Measured = list[tuple[str, tuple[str, ...]]]


@pytest.mark.usefixtures("folder")
def test_what_is_there_is_not_measured_again_and_what_is_not_is(measured: Measured) -> None:
    forward, both = (BOTH[0],), tuple(BOTH)
    assert invoke("--out", "a.csv", "--direction", "forward")[0] == 0
    assert measured == [(f"b={b} n=3", forward) for b in (1, 2, 4, 8)]
    measured.clear()
    assert "a.csv has 4 of 4 cells already" in invoke("--out", "a.csv", "--direction", "forward")[1] and not measured
    invoke("--out", "a.csv")
    assert measured == [(f"b={b} n=3", (BOTH[1],)) for b in (1, 2, 4, 8)], "the other direction"
    keys = [(row.size, row.direction, row.contender) for row in read(Path("a.csv"), COLUMNS)]
    assert keys == [(f"b={b} n=3", d, name) for b in (1, 2, 4, 8) for d in BOTH for name in NAMES]
    measured.clear()
    invoke("--out", "a.csv", "--compile", "--part", "2/4")
    assert measured == [("b=2 n=3", both)], "with another contender"
    assert len(read(Path("a.csv"), COLUMNS)) == len(keys) + 2
    measured.clear()
    invoke("--out", "a.csv", "--dtype", "float32")
    assert not measured


@pytest.mark.usefixtures("folder")
def test_what_was_skipped_for_want_of_time_is_measured_later(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--out", "a.csv", "--compile", "--sweep", "n=5")
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    assert invoke(*arguments, "--budget", "-1")[0] == 0
    count = len(measured)
    invoke(*arguments)
    assert len(measured) == 2 * count
    invoke(*arguments)
    assert len(measured) == 2 * count
    assert SPENT not in {row.status for row in read(Path("a.csv"), COLUMNS)}


@pytest.mark.usefixtures("folder")
def test_what_has_no_figure_yet_is_measured_first(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    invoke("--out", "a.csv", "--compile", "--sweep", "n=5", "--part", "1/2", "--budget", "-1")
    first = [size for size, _ in measured]
    measured.clear()
    invoke("--out", "a.csv", "--compile", "--sweep", "n=5")
    again = [size for size, _ in measured]
    assert first and set(first) < set(again) and again[-len(first) :] == first


def test_what_was_compiled_beforehand_is_measured_when_time_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "poison", lambda *_: None)
    run = race.Run(timing.clock(CPU), 1.0, {}, Path("generated"), True, float("-inf"), directions=(BOTH[0],))
    description = load_module(Path("generated/vga2d")).KERNELS["geometric_product"]
    problem = draw(description, {"b": 2, "n": 2}, torch.float32, CPU)
    entrant = Contender("torch.compile(it)", lambda x, y: x)
    expected = {BOTH[0]: problem.forward(lambda x, y: x)}
    for ready, status in (((), SPENT), (("torch.compile(it)",), "ok")):
        found = race.check(replace(run, ready=ready), problem, entrant, expected, {BOTH[0]: 1e-4})
        assert found[BOTH[0]].status == status


def test_packages_of_peers_are_found_in_their_checkouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for place in ("flat/first_of_three", "other/src/second_of_three", "third_of_three"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "__init__.py").touch()
    add_peers(tmp_path)
    assert all(find_spec(f"{name}_of_three") for name in ("first", "second", "third"))


def test_a_peer_that_has_been_installed_since_is_measured() -> None:
    rows = [replace(ROW, contender=name, direction=BOTH[0], status=s) for name, s in (("kgen", "ok"), ("b", ABSENT))]
    kept = record.Record()
    kept.add(rows)
    cell = record.cell_of(ROW)
    assert kept.complete(cell, BOTH[0], {"kgen": True, "b": False})
    assert not kept.complete(cell, BOTH[0], {"kgen": True, "b": True})
    assert not kept.complete(cell, BOTH[0], {"kgen": False, "b": False})
    assert not kept.complete(cell, BOTH[1], {"kgen": True}) and kept.complete(cell, BOTH[0], {"kgen": True})


ROW = Row(
    case="vga2d.f",
    size="b=1",
    dtype="float32",
    contender="kgen",
    direction="forward",
    status="ok",
    device="CPU",
    torch="2",
    triton="3",
    kgen_digest="00",
)
NOW = record.Circumstances("CPU", "2", "3", {"vga2d": "00"}, NO_KERNEL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "GPU"}, "device GPU, now CPU"),
        ({"torch": "1"}, "torch 1, now 2"),
        ({"triton": ""}, "triton , now 3"),
        ({"kgen_digest": "11"}, "code of vga2d 11, now 00"),
        ({"contender": INTERPRETED}, "contender kgen .Triton's interpreter., now kgen .torch reference"),
        ({"torch": "1", "kgen_digest": "11"}, "torch 1, now 2; code of vga2d 11, now 00"),
    ],
)
def test_what_cannot_be_compared_is_not_mixed(change: dict[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write([ROW, replace(ROW, **change)], path)  # type: ignore[arg-type]
    before = path.read_bytes()
    with pytest.raises(KgenError, match=message) as found, record.opened(path, NOW):
        pass
    assert "--out" in str(found.value.hint) and path.read_bytes() == before
    write([ROW, replace(ROW, case="other.f", kgen_digest="22")], path)  # another package's
    with record.opened(path, NOW) as kept:
        assert len(kept.rows) == 2


@pytest.mark.usefixtures("folder")
def test_a_file_with_other_columns_or_of_another_run_is_left_alone(measured: Measured) -> None:
    shutil.copy(ROOT / "benchmarks" / "results" / "h200.csv", "old.csv")
    status, out, err = invoke("--out", "old.csv")
    assert (status, out) == (2, "") and "misses spread, bytes_us, instructions_us, products_us, binds, gflops" in err
    with locks.claimed(Path("new.csv")):
        status, out, err = invoke("--out", "new.csv")
        assert (status, out) == (2, "") and "another run is writing new.csv\n    hint: wait for it" in err
        assert invoke("--out", "other.csv")[0] == 0
    assert not Path("new.csv").exists() and invoke("--out", "new.csv")[0] == 0
    assert not measured[8:]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe")
    with pytest.raises(KgenError, match="cannot write .*pipe: it is no file"), record.opened(path, NOW):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"] and path.is_fifo()


def test_a_file_that_cannot_be_written_any_more_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    path = tmp_path / "a.csv"
    with pytest.raises(KgenError, match="cannot write .*a.csv: No space left"), record.opened(path, NOW) as kept:
        kept.add([ROW])
    assert not list(tmp_path.iterdir())


def test_a_claim_is_refused_to_others_and_gone_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    code = f"from pathlib import Path; from kgen.write import locks; import os\nfile = Path({str(file)!r})\n"
    code += "with locks.claimed(file):\n    print(flush=True); input(); os.kill(os.getpid(), 9)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdin and process.stdout and process.stdout.readline() == "\n"
    with pytest.raises(BlockingIOError), locks.claimed(file):
        pass
    process.communicate("\n")
    for _ in range(2):
        with locks.claimed(file):
            assert [path.name for path in tmp_path.iterdir()] == [".rows.csv.lock"]
        assert not list(tmp_path.iterdir())


# what does not fit


@pytest.mark.usefixtures("folder")
def test_cells_that_do_not_fit_are_skipped_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "free", lambda device: 3000)
    status, _, err = invoke("--out", "rows.csv")
    assert status == 0, err
    rows = read(Path("rows.csv"), COLUMNS)
    skipped = [row for row in rows if row.status.startswith("skipped")]
    elements = 3 * 4 * 8 * 3  # 48 bytes each: 2 copies and 2 results of 4, 3 of 8
    assert {row.status for row in skipped if row.size == "b=8 n=3"} == {
        f"skipped: needs about {elements * (4 * 4 + 8 * 3) / 1e9:.3g} GB, 3e-06 free"
    }
    assert [row.size for row in skipped] == ["b=4 n=3"] * 2 + ["b=8 n=3"] * 2
    assert not any(row.median_us for row in skipped) and {row.direction for row in skipped} == set(BOTH)
    assert {row.size for row in rows if row.median_us} == {"b=1 n=3", "b=2 n=3"}


def test_what_a_case_needs_goes_with_copies_directions_and_size() -> None:
    description = {"inputs": {"x": (4, "...", "n")}, "outputs": {"out": ("b",)}}
    work = bounds.Work("a.f", description, {"b": 5, "n": 7}, True)
    assert work.bytes(2, 64, 1) == (4 * 5 * 7 + 5) * (2 * 65 + 8 * 2)
    assert work.bytes(2, 64, 2) > work.bytes(2, 64, 1) and work.bytes(4, 64, 1) < 2 * work.bytes(2, 64, 1)
    assert (bounds.free(CPU) or 1) > 0


@pytest.mark.usefixtures("folder")
def test_a_contender_without_enough_memory_is_a_row() -> None:
    Path("greedy").touch()
    status, _, err = invoke("--out", "rows.csv")
    assert status == 0, err
    failed = [row for row in read(Path("rows.csv"), COLUMNS) if row.status.startswith("failed")]
    assert [(row.size, row.contender, row.direction) for row in failed] == [("b=2 n=3", "other", d) for d in BOTH]
    assert {row.status for row in failed} == {"failed: OutOfMemoryError: so much"}


@pytest.mark.usefixtures("folder")
def test_a_case_whose_data_do_not_fit_after_all_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(run: race.Run, case: Case) -> list[Row]:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(command, "measure", measure)
    assert invoke("--out", "rows.csv", "--direction", "forward")[0] == 0
    rows = read(Path("rows.csv"), COLUMNS)
    assert len(rows) == 4 and all(row.status.startswith("skipped: needs more than ") for row in rows)


# effort


@pytest.mark.usefixtures("folder")
def test_calls_are_as_many_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(timing, "ROUNDS", 5)

    def sample(clock: timing.Clock, call: timing.Call, repeats: int) -> list[float]:
        counts.append(repeats)
        return [1.0] * repeats

    monkeypatch.setattr(timing, "sample", sample)
    monkeypatch.setattr(timing, "copy_bandwidth", lambda clock: 1.0)
    monkeypatch.setattr(command, "issue_rates", lambda *_: {})
    assert invoke("--part", "1/4", "--direction", "forward", "--repetitions", "33", "--warmup", "4")[0] == 0
    assert counts == [4, 4, *[7] * 10]  # two contenders; five rounds of 7 are at least 33


def test_rows_of_a_busy_device_say_so() -> None:
    calm, busy = replace(ROW, spread=0.1), replace(ROW, spread=0.11)
    assert doubts([calm, ROW]) == [] and (calm.busy, busy.busy, ROW.busy) == (False, True, False)
    assert doubts([calm, busy]) == ["1 of 2 times spread by more than 10%: the device was busy, or changed its clocks"]


# how far


def test_progress_says_where_it_is_and_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    tracker = progress.Tracker(3)
    for seconds in (20, 300, 1):
        with tracker.item("a cell") as tell:
            tell("at once")
            now[0] += seconds
            tell("later")
    assert capsys.readouterr().err.splitlines() == [
        "1 of 3, a cell",
        "1 of 3, a cell: later",
        "2 of 3, a cell, about 40 s left",
        "2 of 3, a cell: later",
        "3 of 3, a cell, about 3 min left",
    ]
    told: list[str] = []
    tell = progress.paced(told.append)
    for seconds in (0, 9, 1, 50):
        now[0] += seconds
        tell(f"after {seconds}")
    assert told == ["after 0", "after 1", "after 50"]
    assert [progress.spelled(s) for s in (0, 89, 91, 3599, 3660, 7500)] == [
        *("1 s", "89 s", "2 min", "1 h 00 min", "1 h 01 min", "2 h 05 min")
    ]


# compilation beforehand


WARM = """\
import os
from pathlib import Path

from kgen.tools.bench.cases import Case, Peer


def note(name):
    def function(x, y):
        Path(name).touch()
        Path(f"{name} b={x.shape[1]}").touch()
        if name == "deadly":
            os._exit(1)
        if name == "wrong":
            raise ValueError(name)
        return x * y

    return function


def absent():
    raise ImportError("absent")


PEERS = [Peer(name, lambda name=name: note(name)) for name in ("deadly", "wrong", "good", "torch.compile(it)")]
CASES = [Case("vga2d", "geometric_product", {"b": b, "n": 2}, peers=(*PEERS, Peer("a", absent))) for b in (3, 4)]
"""


@pytest.fixture
def request_of_two(folder: Path) -> Request:
    (folder / "warm.py").write_text(WARM, encoding="utf-8")
    return Request(suite="warm.py")


def test_every_contender_is_compiled_beforehand_and_no_failure_is_fatal(request_of_two: Request) -> None:
    planned = plan(request_of_two, CPU)
    manner = command.Manner(CPU, tuple(BOTH), False, 1.0, 2, None, None, None)
    cells = [command.cell(number, case, request_of_two, manner) for number, case in enumerate(planned.cases)]
    waiting = warm.tasks(request_of_two, cells, tuple(BOTH), "cpu", False)
    assert [(task.cell, task.contender) for task in waiting] == [*((0, k) for k in range(5)), (1, 4)]
    told: list[str] = []
    done = warm.warm(waiting, 2, float("inf"), told.append)
    assert done == {(0, 0), (0, 3), (0, 4), (1, 4)}, "neither the deadly one nor the wrong one"
    assert cells[1].ready(done) == {"torch.compile(it)"}
    assert {"deadly", "wrong", "good", "torch.compile(it)"} <= {path.name for path in Path().iterdir()}
    assert Path("torch.compile(it) b=3").exists() and Path("torch.compile(it) b=4").exists()
    assert Path("good b=3").exists() and not Path("good b=4").exists()
    assert told == [f"{k} of 6" for k in range(1, 7)]
    assert len(warm.warm(waiting, 2, float("-inf"), told.append)) <= 1, "it ends when time is spent"


@pytest.mark.usefixtures("request_of_two")
def test_a_run_that_compiled_beforehand_measures_all(measured: Measured) -> None:
    result = CliRunner().invoke(app, ["--suite", "warm.py", "--jobs", "2", "--no-compile", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "compiled 4 of 6 in " in result.stdout and len(measured) == 2


BEFOREHAND = """\
from pathlib import Path
from kgen.tools.bench import command
import torch
from torch._dynamo.utils import counters
from kgen.tools.bench import warm
from kgen.tools.bench.plan import Request

if __name__ == "__main__":
    request = Request(targets=(Path("generated/vga2d"),), kernels=("geometric_product",), sizes={"b": 3, "n": 2})
    task = warm.Task(request, 0, 1, ("forward", "forward+backward"), "cpu", True)
    assert warm.warm([task], 1, float("inf"), print) == {(0, 1)}
    assert not any(counters.values()), "nothing was compiled here"
    warm.compile_one(task)
    print({name: count for name, count in counters["inductor"].items() if name.startswith("fxgraph_cache")})
"""


@pytest.mark.slow
def test_what_was_compiled_beforehand_is_not_compiled_again(folder: Path) -> None:
    """Inductor finds it on disk, in a process whose modules were loaded in another order."""
    (folder / "beforehand.py").write_text(BEFOREHAND, encoding="utf-8")
    places = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "beforehand.py"]
    done = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'fxgraph_cache_hit': 3}"


# the suite of the heatmaps


def test_heatmaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    suite = load_suite("heatmaps")
    by_kernel: dict[str, list[Case]] = {}
    for case in suite:
        by_kernel.setdefault(case.name, []).append(case)
    assert len({(c.name, tuple(sorted(c.sizes.items())), c.dtype) for c in suite}) == len(suite)
    large = {(b, n) for b in (1024, 2048, 4096, 8192) for n in (128, 256, 512, 1024)}
    small = {(b, n) for b in (64, 128, 256, 512) for n in (32, 64)}
    for name in ("vga2d.fused_gelu_sgp_norm", "vga3d.fused_gelu_sgp_norm"):
        for dtype in ("float32", "bfloat16"):
            sizes = {(c.sizes["b"], c.sizes["n"]) for c in by_kernel[name] if c.dtype == dtype}
            assert sizes == large | small
        assert {peer.name for c in by_kernel[name] for peer in c.peers} == {
            "flash-clifford",
            "torch.compile(plain torch)",
            "flash-kingdon",
        }
    for name in ("fused_gelu_fcgp_norm", "layer"):
        for module in ("vga2d", "vga3d"):
            cases = by_kernel[f"{module}.{name}"]
            assert all(c.sizes["n"] == c.sizes.get("m", c.sizes["n"]) for c in cases)
            assert all(load_module(c.path(Path("generated"))).KERNELS[name]["products"] for c in cases)
    diffusion = by_kernel["diffusion.spatial_diffusion"]
    assert {1000, 1000000} <= {c.sizes["v"] for c in diffusion} and {"v": 4096, "k": 4096, "c": 4096} in [
        c.sizes for c in diffusion
    ]
    assert {"pga3d.geometric_product", "sta.geometric_product"} <= set(by_kernel)
