"""Ahead-of-time compilation: the checked-in report holds, and what reads compilers' output reads it right.

Kernels are compiled in processes of their own, because the tests' own kernels run in the interpreter.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import prepared
import pytest
import windows
from folders import copied

pytest.importorskip("torch")
pytest.importorskip("triton")

from kgen.errors import KgenError  # noqa: E402
from kgen.pipeline import generate  # noqa: E402
from kgen.spec.load import load  # noqa: E402
from kgen.tools.aot.report import Row, complaints, read, write  # noqa: E402
from kgen.tools.aot.resources import Resources, amd, gpu_target, nvidia  # noqa: E402
from kgen.tools.workers import results  # noqa: E402
from kgen.write import tree  # noqa: E402

ROW = Row(
    module="vga3d",
    kernel="sgp",
    target="sm_90",
    dtype="float32",
    kind="tile",
    components=8,
    rows=1,
    block=256,
    warps=4,
    maxnreg=None,
    registers=80,
    spill_stores=0,
    spill_loads=0,
    shared=0,
    instructions=387,
    loads="64:16 32:40",
    stores="64:8",
    note="",
    digest="0123456789ab",
    triton="3.7.1",
)

PTXAS = """\
ptxas info    : Compiling entry function '_f_kernel' for 'sm_90a'
ptxas info    : Function properties for _f_kernel
    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 56 registers, used 1 barriers, 16 bytes smem
"""

SASS = """\
\t\tFunction : _f_kernel
        /*0000*/                   LDC R1, c[0x0][0x28] ;                          /* 0x00000a00ff017b82 */
                                                                                   /* 0x000fe20000000800 */
        /*0010*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;       /* 0x00000004022c8981 */
        /*0020*/                   LDG.E.U16 R8, desc[UR4][R2.64] ;                /* 0x00000004022c8981 */
        /*0030*/                   LDG.E R9, desc[UR4][R2.64+0x40] ;               /* 0x00000004022c8981 */
        /*0040*/         @P1       STG.E.64 desc[UR4][R2.64], R4 ;                 /* 0x0000000402007986 */
        /*0050*/                   EXIT ;                                          /* 0x000000000000794d */
        /*0060*/                   BRA 0x60;                                       /* 0xfffffffc00fc7947 */
        /*0070*/                   NOP;                                            /* 0x0000000000007918 */
"""

GCN = """\
_f_kernel:                              ; @_f_kernel
\t.cfi_sections .debug_frame
\ts_load_dwordx4 s[4:7], s[0:1], 0x0
\tglobal_load_dwordx4 v[0:3], v[0:1], off
\tbuffer_load_ushort v4, v0, s[4:7], 0 offen
\tglobal_load_short_d16_hi v5, v[0:1], off
\tscratch_store_dwordx2 off, v[2:3], off  ; 8-byte Folded Spill
\tscratch_load_dword v2, off, off         ; 4-byte Folded Reload
\tglobal_store_dword v[0:1], v2, off
\ts_endpgm
    .vgpr_count:     68
    .vgpr_spill_count: 3
"""


def aot(root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `kgen aot` where kernels are compiled, not interpreted, however long the machine takes for it."""
    return _python(root, "-m", "kgen", "aot", *arguments, "--patience", "inf")


def _python(root: Path, *arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (root, *([path] if path else []))))
    python = prepared.anew if path else prepared.python
    return python(list(map(str, arguments)), root, environment)


def test_ptxas_and_disassembly_are_read() -> None:
    expected = Resources(56, 12, 8, 16, 7, {128: 1, 32: 1, 16: 1}, {64: 1})
    assert nvidia(PTXAS, SASS, 16) == expected


def test_amd_assembly_is_read() -> None:
    expected = Resources(68, 8, 4, 32, 8, {128: 1, 16: 2}, {32: 1})
    assert amd(GCN, 32) == expected


def test_a_silent_compiler_is_an_error() -> None:
    with pytest.raises(KgenError, match="ptxas did not say"):
        nvidia("", SASS, 0)
    with pytest.raises(KgenError, match="does not say how many registers"):
        amd("\ts_endpgm\n", 0)


def test_targets() -> None:
    assert (gpu_target("sm_90").backend, gpu_target("sm_90").arch) == ("cuda", 90)
    assert (gpu_target("gfx942").backend, gpu_target("gfx942").warp_size) == ("hip", 64)
    with pytest.raises(KgenError, match="unknown target 'cuda:0'"):
        gpu_target("cuda:0")


def test_the_report_survives_the_file(tmp_path: Path) -> None:
    failed = replace(ROW, target="sm_100", registers=None, spill_stores=None, loads="", note="not compiled after 600 s")
    rows = [failed, replace(ROW, target="gfx942"), ROW]
    write(tmp_path / "report.csv", rows)
    assert read(tmp_path / "report.csv") == {r.key: r for r in rows}
    assert [r.target for r in read(tmp_path / "report.csv").values()] == ["gfx942", "sm_90", "sm_100"]
    assert read(tmp_path / "absent.csv") == {}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, None),
        ({"registers": 79}, None),
        ({"registers": 81}, "needs 81 registers, 80 before"),
        ({"registers": 255, "triton": "3.6.0"}, None),  # counts of another compiler are not comparable
        ({"spill_stores": 4, "spill_loads": 4, "triton": "3.6.0"}, "spills 4 bytes"),
        ({"note": "failed: CompilationError"}, "failed: CompilationError"),
    ],
)
def test_what_is_worse(change: dict[str, str | int], complaint: str | None) -> None:
    found = complaints([replace(ROW, **change)], {ROW.key: ROW})  # type: ignore[arg-type]
    assert found == [] if complaint is None else len(found) == 1 and complaint in found[0]


def test_where_spilling_is_allowed() -> None:
    """Small algebras must not spill on sm_90; elsewhere spilling must not become worse."""
    spilling = replace(ROW, spill_stores=8, spill_loads=8)
    for allowed in (
        replace(spilling, components=32),
        replace(spilling, dtype="float64"),
        replace(spilling, target="sm_80"),
        replace(spilling, kernel="sgp_double_backward_statistics"),
    ):
        assert complaints([allowed], {allowed.key: allowed}) == []
        assert complaints([replace(allowed, spill_loads=12)], {allowed.key: allowed}) != []
    assert complaints([spilling], {}) == ["vga3d.sgp sm_90 float32 spills 8 bytes"]
    assert complaints([spilling], {ROW.key: ROW})[:1] == ["vga3d.sgp sm_90 float32 spills 8 bytes"]
    assert complaints([spilling], {spilling.key: spilling}) == []  # as the report has it


def test_the_checked_in_report_holds(root: Path) -> None:
    """Recompiles what changed since the report, and one kernel of each kind and target."""
    result = aot(root, "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_kernel_is_in_the_report(root: Path) -> None:
    reported = {(r.module, r.kernel) for r in read(root / "benchmarks" / "resources.csv").values()}
    for path in sorted((root / "generated").glob("*/_kernels/*.py")):
        kernels = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("_kernel(")]
        names = {line.removeprefix("def _").removesuffix("_kernel(") for line in kernels}
        assert names <= {kernel for module, kernel in reported if module == path.parents[1].name}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A report of two kernels."""
    path = tmp_path_factory.mktemp("aot") / "report.csv"
    result = aot(root, *TWO, "--target", "sm_90", "--out", path)
    assert result.returncode == 0, result.stdout + result.stderr
    return path


TWO = ("generated/vga2d", "--kernel", "geometric_product", "--kernel", "sgp")


def test_compiling_reports_resources(report: Path, root: Path) -> None:
    rows = list(read(report).values())
    assert [(r.kernel, r.kind) for r in rows] == [("geometric_product", "flat"), ("sgp", "tile")]
    for r in rows:
        assert 16 <= (r.registers or 0) <= 255 and (r.instructions or 0) > 40 and r.loads and r.stores and not r.note
    assert str(root) not in report.read_text(encoding="utf-8")


def test_what_is_up_to_date_is_not_compiled_again(report: Path, root: Path) -> None:
    before = report.read_bytes()
    result = aot(root, *TWO, "--target", "sm_90", "--out", report)
    assert result.returncode == 0 and "0 rows compiled, 2 up to date" in result.stdout
    assert report.read_bytes() == before


def test_check_compiles_what_changed_and_sees_what_is_worse(report: Path, root: Path, tmp_path: Path) -> None:
    first, second = read(report).values()
    path = tmp_path / "report.csv"
    write(path, [replace(first, digest="other"), replace(second, digest="other", registers=8)])
    result = aot(root, *TWO, "--check", "--out", path)
    assert result.returncode == 1
    assert f"sgp sm_90 float32 needs {second.registers} registers, 8 before" in result.stderr
    assert "2 of 2 kernels compiled, 2 changed, 1 complaint" in result.stdout


def test_products_compile_without_tf32(root: Path, tmp_path: Path) -> None:
    """Matrix units of some targets know no tf32; products in bf16 do not ask for it."""
    path, only = tmp_path / "report.csv", ("--kernel", "spatial_diffusion_matmul", "--dtype", "bfloat16")
    result = aot(root, "generated/diffusion", *only, "--target", "gfx90a", "--out", path)
    assert [row.registers is not None for row in read(path).values()] == [True], result.stdout + result.stderr


Work = Callable[[Path], str]


def for_ever(folder: Path) -> str:
    """A compilation that never ends, on no machine, and that has started an assembler."""
    program = "import sys; file = open(sys.argv[1], 'w'); sys.stdin.read()"
    assembler = subprocess.Popen([sys.executable, "-c", program, folder / "assembler"], stdin=subprocess.PIPE)
    (folder / "started.new").write_text(str(os.getpid()))
    (folder / "started.new").rename(folder / "started")
    assembler.wait()
    return "compiled"


def crash(folder: Path) -> str:
    os._exit(1)


def loaded(folder: Path) -> str:
    """The process that did it, and what was drawn there when this file was loaded; tasks of one folder differ."""
    if folder.name == "bad":
        raise ValueError("cannot\ncompile")
    return f"{os.getpid()} {LOADED}"


LOADED = os.urandom(8).hex()


@pytest.fixture(params=["groups", "taskkill"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Work], Work]:
    """Work as this system's processes do it, and as those of Windows."""
    if request.param == "groups":
        return lambda work: work
    windows.forget(monkeypatch.delattr)
    monkeypatch.setenv("PATH", str(windows.taskkill(tmp_path / "bin")), prepend=os.pathsep)
    return windows.OnWindows


def alive(pid: int) -> bool:
    """Whether a process has not ended; who has is there until it is asked for."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux which processes there are")
def test_a_kernel_that_takes_too_long_is_given_up(tmp_path: Path, system: Callable[[Work], Work]) -> None:
    """Its process is no more, nor what that started; the next one is compiled."""
    os.mkfifo(tmp_path / "assembler")
    held = os.open(tmp_path / "assembler", os.O_RDONLY | os.O_NONBLOCK)
    ((task, result, seconds),) = results(system(for_ever), [tmp_path], 1, 3.0)
    assert task == tmp_path and result == "not compiled after 3 s" and seconds > 3
    worker = int((tmp_path / "started").read_text(encoding="utf-8"))
    assert not multiprocessing.active_children() and not alive(worker)
    os.set_blocking(held, True)
    assert os.read(held, 1) == b"", "the assembler has ended, and closed its file"
    os.close(held)


def test_processes_load_once_and_outlive_a_mistake(tmp_path: Path, system: Callable[[Work], Work]) -> None:
    tasks = [tmp_path / name for name in ("a", "bad", "b", "c")]
    found = {task.name: result for task, result, _ in results(system(loaded), tasks, 1, 600)}
    assert found.pop("bad") == "failed: ValueError: cannot"
    assert len(found) == 3 and len(set(found.values())) == 1
    assert not multiprocessing.active_children()


def test_a_process_that_crashes_is_a_result(tmp_path: Path) -> None:
    crashed = [(tmp_path / name, "failed: the compiler crashed") for name in ("a", "b")]
    assert [(task, result) for task, result, _ in results(crash, [task for task, _ in crashed], 1, 600)] == crashed
    assert not multiprocessing.active_children()


def test_no_process_is_left_of_what_nobody_waits_for(tmp_path: Path, system: Callable[[Work], Work]) -> None:
    found = results(system(loaded), [tmp_path / str(i) for i in range(3)], 2, 600)
    assert next(found)[0].parent == tmp_path and multiprocessing.active_children()
    found.close()
    assert not multiprocessing.active_children()


def test_windows_compiles(root: Path, tmp_path: Path) -> None:
    """Neither the command nor the processes that it starts, which read the script, too, have forks and groups."""
    lines = (
        "import windows",
        "windows.forget(delattr)",
        "from kgen.cli import main",
        "if __name__ == '__main__': main()",
    )
    (tmp_path / "kgen_on_windows.py").write_text("\n".join(lines), encoding="utf-8")
    arguments = ("aot", *TWO, "--target", "sm_90", "--jobs", 1, "--out", tmp_path / "report.csv", "--patience", "inf")
    result = _python(root, tmp_path / "kgen_on_windows.py", *arguments, path=root / "tests" / "support")
    assert result.returncode == 0 and "2 rows compiled" in result.stdout, result.stderr
    assert [r.note for r in read(tmp_path / "report.csv").values()] == ["", ""]


def test_the_digest_covers_helpers_and_launch_but_not_the_place(root: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from kgen.tools.aot.launches import record; from kgen.tools.problem import load_module\n"
        "for path in sys.argv[1:]:\n"
        "    print(*(f'{l.kernel}={l.digest}' for l in record(load_module(Path(path)), 'sm_90', 'float32')))"
    )
    changes = [
        ("_kernels/sgp.py", "\nLAUNCH", "\n\n\nLAUNCH"),
        ("_runtime/kernels.py", "return total + value\n", "return value + total\n"),
        ("_kernels/sgp.py", '"sgp": launch.Launch(elements=', '"sgp": launch.Launch(elements=4 * '),
    ]
    paths = [root / "generated" / "vga2d"]
    for i, (file, old, new) in enumerate(changes):
        paths.append(tmp_path / str(i) / "vga2d")
        copied("vga2d", paths[-1])
        text = (paths[-1] / file).read_text(encoding="utf-8")
        assert old in text
        (paths[-1] / file).write_text(text.replace(old, new), encoding="utf-8")
    result = _python(root, "-c", script, *paths)
    assert result.returncode == 0, result.stderr
    before, *others = [dict(pair.split("=") for pair in line.split()) for line in result.stdout.splitlines()]
    of_moved, of_helper, of_launch = [[name for name in before if of[name] != before[name]] for of in others]
    assert of_moved == []
    assert "sgp_backward" in of_helper and "sgp" not in of_helper
    assert of_launch == ["sgp"]


@pytest.mark.parametrize(
    ("arguments", "interpret", "message"),
    [
        (("generated/vga2d", "--target", "sm90"), "0", "unknown target 'sm90'"),
        (("generated/vga2d", "--kernel", "nothing"), "0", "nothing to compile"),
        (("generated/absent",), "0", "no generated package generated/absent"),
        (("generated/vga2d",), "1", "not compiled where TRITON_INTERPRET is set"),
    ],
)
def test_mistakes_are_told(root: Path, arguments: tuple[str, ...], interpret: str, message: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": interpret, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", "from kgen.cli import main; main()", "aot", *arguments]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr


WIDE = """\
kgen: 1
name: wide
kernels:
  four:
    inputs: {x: [k, l, m, p], y: [p, q], z: [l, m]}
    body: |
      w = exp(x * z)
      return sum(w * sin(x), over=p), dot(w, y, over=p), max(x, over=k)
"""
RECORDED = """
import sys
from pathlib import Path
from kgen.tools.aot import launches
from kgen.tools.problem import launch_table, load_module
launches.OTHER_AXIS = 16384
package = load_module(Path(sys.argv[1]))
found = launches.record(package, "sm_90", "float32")
assert {launch.kernel for launch in found} >= set(launch_table(package))
"""


def test_nothing_is_allocated_for_what_is_compiled(root: Path, tmp_path: Path) -> None:
    """Inputs, results and what is between them, of sizes that no machine has."""
    files = generate([load("wide.yaml", WIDE)])
    tree.write(files, tmp_path)
    done = _python(root, "-c", RECORDED, tmp_path / "wide")
    assert done.returncode == 0, done.stderr
