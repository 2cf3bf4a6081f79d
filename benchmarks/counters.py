"""What hardware counters say of generated kernels: which part of a GPU is busy, and which waits.

    python -m benchmarks.counters --out benchmarks/results/NAME-counters.csv [--work vga3d.sgp:bfloat16] [--size n=256]

Runs Nsight Compute (`ncu`) on itself, once for all works, with the device's clocks as they are; each kernel that one
call of the function, forward and backward, launches is a row:

* `us`: the kernel's time under the profiler, with cold caches;
* `instructions`: warp instructions, in millions;
* `issue`: of the cycles in which a scheduler had warps, the share in which it issued an instruction;
* `dram`: of the memory's bandwidth, the share that was in use;
* `mb`: what memory read and wrote, in 2**20 bytes;
* `registers`: a thread's; `warps`: of the warps that a multiprocessor can hold, the share that it held.

A kernel with `dram` near one is bound by bytes, one with `issue` near one by instructions, and one with neither by
latency: few warps, each of which waits for what it loaded.
"""

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import torch
import typer

from kgen.console import say
from kgen.errors import KgenError
from kgen.tools.bench.race import device_name, triton_version
from kgen.tools.problem import draw, load_module, parse_sizes
from kgen.tools.selection import must_exist

METRICS = {
    "us": ("gpu__time_duration.sum", 1e-3),
    "instructions": ("smsp__inst_executed.sum", 1e-6),
    "issue": ("smsp__issue_active.avg.pct_of_peak_sustained_active", 1e-2),
    "dram": ("dram__throughput.avg.pct_of_peak_sustained_elapsed", 1e-2),
    "mb": ("dram__bytes.sum", 2.0**-20),
    "registers": ("launch__registers_per_thread", 1.0),
    "warps": ("sm__warps_active.avg.pct_of_peak_sustained_active", 1e-2),
}
OURS = "regex:^_.*_kernel$"  # generated kernels, none of torch's
SIZES = {"b": 4096, "n": 512, "m": 512}
SIXTEEN_BLADES = {"b": 4096, "n": 256}  # as many bytes
FUSED = "fused_gelu_sgp_norm"
WARM_UP = 3  # calls that compile and fill the allocator before anything is profiled


@dataclass(frozen=True, slots=True)
class Work:
    """A function of a generated package, in a storage type: `vga3d.sgp:bfloat16`."""

    package: str
    function: str
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.package}.{self.function}:{self.dtype}"

    def sizes(self, given: Mapping[str, int]) -> dict[str, int]:
        return {**(SIXTEEN_BLADES if self.package in ("pga3d", "sta") else SIZES), **given}


@dataclass(frozen=True, slots=True)
class Row:
    """The CSV's columns in order."""

    case: str
    size: str
    dtype: str
    kernel: str
    us: str
    instructions: str
    issue: str
    dram: str
    mb: str
    registers: str
    warps: str
    device: str
    torch: str
    triton: str


WORKS = [
    Work(package, FUSED, dtype) for package in ("vga2d", "vga3d", "pga3d", "sta") for dtype in ("float32", "bfloat16")
]
WORKS += [Work("pga3d", "geometric_product", dtype) for dtype in ("float32", "bfloat16")]


def parsed(text: str) -> Work:
    """`vga3d.sgp` or `vga3d.sgp:bfloat16`."""
    name, _, dtype = text.partition(":")
    package, _, function = name.partition(".")
    if not function:
        raise KgenError(f"{text!r} is not a work", hint="write PACKAGE.FUNCTION or PACKAGE.FUNCTION:DTYPE")
    return Work(package, function, dtype or "float32")


def profiled(work: Work, generated: Path, sizes: Mapping[str, int]) -> None:
    """One call, forward and backward, that the profiler sees, after some that it does not."""
    package = load_module(generated / work.package)
    must_exist([work.function], package.KERNELS, f"{work.package} has no kernel {{!r}}")
    device = torch.device("cuda")
    problem = draw(package.KERNELS[work.function], work.sizes(sizes), getattr(torch, work.dtype), device)
    function = getattr(package, work.function)
    for _ in range(WARM_UP):
        problem.both(function)
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    problem.both(function)
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def command(works: Sequence[Work], generated: Path, sizes: Mapping[str, int]) -> list[str]:
    metrics = ",".join(name for name, _ in METRICS.values())
    ncu = ["ncu", "--csv", "--print-units", "base", "--clock-control", "none", "--profile-from-start", "off"]
    asked = [f"--work={work}" for work in works] + [f"--size={axis}={extent}" for axis, extent in sizes.items()]
    own = [sys.executable, "-m", "benchmarks.counters", "--profiled", f"--generated={generated}", *asked]
    return [*ncu, "--kernel-name", OURS, "--metrics", metrics, *own]


def read(report: str) -> list[dict[str, str]]:
    """A mapping from metric to value for each launch of ncu's CSV, in order, with `kernel`, its name."""
    lines = report.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    launches: dict[str, dict[str, str]] = {}
    for entry in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        launch = launches.setdefault(entry["ID"], {"kernel": entry["Kernel Name"]})
        launch[entry["Metric Name"]] = entry["Metric Value"].replace(",", "")
    return list(launches.values())


def row(launch: Mapping[str, str], common: Mapping[str, str]) -> Row:
    figures = {column: f"{float(launch[name]) * scale:.3g}" for column, (name, scale) in METRICS.items()}
    return Row(**common, kernel=launch["kernel"], **figures)


def counted(work: Work, generated: Path, sizes: Mapping[str, int]) -> list[Row]:
    """The rows of one work; KgenError with ncu's last words where it fails."""
    if shutil.which("ncu") is None:
        raise KgenError("no ncu", hint="it is Nsight Compute's command, which comes with CUDA")
    ran = subprocess.run(command([work], generated, sizes), capture_output=True, text=True, check=False)
    launches = read(ran.stdout)
    if ran.returncode or not launches:
        said = (ran.stderr or ran.stdout).strip().splitlines()[-3:]
        raise KgenError(f"ncu saw no kernel of {work}", hint=" ".join(said) or "it said nothing")
    common = {
        "case": f"{work.package}.{work.function}",
        "size": " ".join(f"{axis}={extent}" for axis, extent in work.sizes(sizes).items()),
        "dtype": work.dtype,
        "device": device_name(torch.device("cuda")),
        "torch": str(torch.__version__),
        "triton": triton_version(),
    }
    return [row(launch, common) for launch in launches]


def main(
    work: Annotated[list[str] | None, typer.Option(help="PACKAGE.FUNCTION or PACKAGE.FUNCTION:DTYPE.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="AXIS=EXTENT.")] = None,
    generated: Annotated[Path, typer.Option(help="The folder of generated packages.")] = Path("generated"),
    out: Annotated[Path | None, typer.Option(help="The CSV to write.")] = None,
    profiled_here: Annotated[
        bool, typer.Option("--profiled", help="Count nothing: make the calls that a profiler around this is to see.")
    ] = False,
) -> None:
    """Read a GPU's counters for generated kernels."""
    try:
        works, sizes = [parsed(text) for text in work or []] or WORKS, parse_sizes(size or [])
        if profiled_here:
            for one in works:
                profiled(one, generated, sizes)
            return
        with out.open("w", newline="", encoding="utf-8") if out else nullcontext(sys.stdout) as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            for one in works:  # each is kept when it is done: the profiler is slow
                writer.writerows(asdict(found) for found in counted(one, generated, sizes))
                file.flush()
    except KgenError as mistake:
        say(str(mistake), error=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
