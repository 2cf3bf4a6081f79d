"""Training steps of other packages' own transformers, as they are, compiled, and with generated layers in them.

    python -m benchmarks.models --packages DIR --out benchmarks/results/NAME-models.csv

DIR has lgatr and ezgatr, as `pip install --no-deps --target DIR lgatr==2.0.0 ezgatr einops` puts them there. The models
are those that `examples/lgatr` and `examples/ezgatr` build, at the size of `CASES`; a layer and attention are timed by
themselves, too. A step is a forward, a mean square and a backward. `step_ms` is the wall time of a step in a row of
steps of which the last is waited for, the median of rounds in which contenders take turns. `device_ms` is what kernels
take on the device in one step, by torch's profiler, `kernels` how many there are, `peak_mb` the most that a step holds,
parameters and inputs included, by torch's allocator. `error` is ||a - b|| / ||b|| of the results, where b is what the
package computes in fp64; of one that raises the status says what. fp32 may be multiplied in tf32 by all contenders.
Of each contender there is a row `captured`, too: its step as one CUDA graph, which is replayed without the host.
`--jobs 16` has sixteen processes compile generated kernels beforehand, each its share of them: what they compute is
thrown away, and what is timed finds their code in Triton's cache on disk.
"""

import copy
import csv
import importlib
import multiprocessing
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from benchmarks.overhead import Effort, captured, device_kernels, host_times
from generated import gatr, lgatr
from kgen.console import say
from kgen.errors import KgenError
from kgen.tools.bench.plan import add_peers
from kgen.tools.bench.race import device_name, explain
from kgen.tools.problem import load_file, runtime

EXAMPLES = Path(__file__).parents[1] / "examples"
COLUMNS = (
    *("case", "size", "dtype", "contender", "step_ms", "device_ms", "kernels", "peak_mb", "error", "status"),
    *("device", "torch"),
)
EFFORT = Effort(calls=5, rounds=9)
HEADS, TOKENS, BATCH = 4, 1024, 16
Call = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """What is timed: contenders by name, each a function of the leaves, which are differentiated."""

    name: str
    size: str
    dtype: torch.dtype
    leaves: list[Tensor]
    contenders: dict[str, Call]
    exact: Call  # of the leaves in fp64


def example(name: str, part: str) -> ModuleType:
    """A file of an example."""
    sys.path.insert(0, str(EXAMPLES / name))
    try:
        sys.modules.pop("replace", None)
        return load_file(EXAMPLES / name / f"{part}.py", f"benchmarks.{name}_{part}")
    finally:
        sys.path.pop(0)


def drawn(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    random = torch.Generator(device="cuda").manual_seed(1)
    return [torch.randn(shape, generator=random, device="cuda").to(dtype).requires_grad_() for shape in shapes]


def compiled(function: Call) -> Call:
    return torch.compile(function, dynamic=False)  # type: ignore[no-any-return]


# attention by itself


def attention_of_gatr(dtype: torch.dtype) -> Case:
    functional = importlib.import_module("ezgatr.nn.functional")
    tokens = (BATCH, HEADS, TOKENS, 16, 16)
    leaves = drawn(dtype, tokens, tokens, tokens, (HEADS, 16), (HEADS, 16))

    def theirs(q: Tensor, k: Tensor, v: Tensor, ipa: Tensor, daa: Tensor) -> Any:
        weights = [x[:, None, :, None] for x in (ipa, daa)]
        kinds = {"ipa": None, "daa": None}
        return functional.equi_geometric_attention(q, k, v, kinds, weights, is_causal=True)[0]

    ours = partial(gatr.geometric_attention, causal=True)
    contenders = {"kgen": ours, "ezgatr": theirs, "torch.compile(ezgatr)": compiled(theirs)}
    return Case("gatr.geometric_attention", f"{BATCH}x{HEADS}x{TOKENS}, 16 channels", dtype, leaves, contenders, theirs)


def attention_of_lgatr(dtype: torch.dtype) -> Case:
    primitives = importlib.import_module("lgatr.primitives.attention")
    tokens, scalars = (BATCH, HEADS, TOKENS, 4, 16), (BATCH, HEADS, TOKENS, 8)
    leaves = drawn(dtype, *[tokens] * 3, *[scalars] * 3)

    def theirs(*given: Tensor) -> Any:
        return primitives.sdp_attention(*given)

    contenders = {"kgen": lgatr.attention, "lgatr": theirs, "torch.compile(lgatr)": compiled(theirs)}
    size = f"{BATCH}x{HEADS}x{TOKENS}, 4 + 8 channels"
    return Case("lgatr.attention", size, dtype, leaves, contenders, theirs)


# layers and models


def bilinear(dtype: torch.dtype) -> Case:
    nets, replacing = importlib.import_module("ezgatr.nets.mv_only_gatr"), example("ezgatr", "replace")
    config = nets.MVOnlyGATrConfig(size_channels_hidden=16, size_channels_intermediate=16)
    theirs = nets.MVOnlyGATrBilinear(config).to("cuda", dtype)
    ours = replacing.generated(theirs)
    leaves = drawn(dtype, (65536, 16, 16))
    contenders = {"kgen": ours, "ezgatr": theirs, "torch.compile(ezgatr)": compiled(theirs)}
    return Case("gatr.geometric_bilinear", "65536, 16 channels", dtype, leaves, contenders, doubled(theirs))


def doubled(model: nn.Module) -> Call:
    return copy.deepcopy(model).double()


def model_of_gatr(dtype: torch.dtype) -> Case:
    comparing = example("ezgatr", "compare")
    theirs = comparing.build(None, 16, 4).to("cuda", dtype)
    ours = copy.deepcopy(theirs)
    comparing.replace(ours)
    leaves = drawn(dtype, (BATCH, TOKENS, comparing.IN, 16))
    contenders = {"kgen in ezgatr": ours, "ezgatr": theirs, "torch.compile(ezgatr)": compiled(theirs)}
    return Case("ezgatr, 4 layers", f"{BATCH}x{TOKENS}, 16 channels", dtype, leaves, contenders, doubled(theirs))


def model_of_lgatr(dtype: torch.dtype) -> Case:
    comparing = example("lgatr", "compare")
    theirs = comparing.build(None, 16, (2, 32, 1), 4, attention={"num_heads": HEADS}).to("cuda", dtype)
    ours = copy.deepcopy(theirs)
    comparing.replace(ours)
    leaves = drawn(dtype, (BATCH, TOKENS, comparing.IN, 16), (BATCH, TOKENS, 2))

    def of(model: nn.Module) -> Call:
        return lambda *given: comparing.forward(model, *given)

    contenders = {"kgen in lgatr": of(ours), "lgatr": of(theirs), "torch.compile(lgatr)": compiled(of(theirs))}
    size = f"{BATCH}x{TOKENS}, 16 + 32 channels"
    return Case("lgatr, 4 blocks", size, dtype, leaves, contenders, of(copy.deepcopy(theirs).double()))


CASES: dict[str, tuple[Callable[[torch.dtype], Case], tuple[torch.dtype, ...]]] = {
    "attention_of_gatr": (attention_of_gatr, (torch.float32, torch.bfloat16)),
    "attention_of_lgatr": (attention_of_lgatr, (torch.float32, torch.bfloat16)),
    "bilinear": (bilinear, (torch.float32, torch.bfloat16)),
    "model_of_gatr": (model_of_gatr, (torch.float32,)),
    "model_of_lgatr": (model_of_lgatr, (torch.float32,)),
}


# what is measured


def tensors(found: Any) -> list[Tensor]:
    return [x for x in (found if isinstance(found, tuple) else (found,)) if isinstance(x, Tensor)]


def step(call: Call, leaves: list[Tensor]) -> list[Tensor]:
    """A forward, a mean square, a backward; the results."""
    found = tensors(call(*leaves))
    torch.stack([x.float().square().mean() for x in found]).sum().backward()
    return found


def error(call: Call, case: Case) -> float:
    """How far the results are from those in fp64, of the first part of the batch."""
    part = [x.detach()[:2] if x.dim() > 2 and len(x) >= BATCH else x.detach() for x in case.leaves]
    with torch.no_grad():
        torch.set_default_dtype(torch.float64)  # in which ezgatr makes the factors of its maps
        try:
            exact = torch.cat([x.flatten() for x in tensors(case.exact(*[x.double() for x in part]))])
        finally:
            torch.set_default_dtype(torch.float32)
        found = torch.cat([x.flatten() for x in tensors(call(*part))]).double()
    return float((found - exact).norm() / exact.norm())


def peak(call: Call, leaves: list[Tensor]) -> float:
    torch.cuda.reset_peak_memory_stats()
    step(call, leaves)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**20


def rows(case: Case) -> Iterator[dict[str, str]]:
    """A row for each contender; those that run take turns."""
    found: dict[str, dict[str, str]] = {}
    for name, call in case.contenders.items():
        say(f"{case.name} {case.dtype}: {name}")
        found[name] = {"case": case.name, "size": case.size, "dtype": str(case.dtype).removeprefix("torch.")}
        found[name] |= {"contender": name, "status": "ok", "device": device_name(torch.device("cuda"))}
        found[name] |= {"torch": str(torch.__version__)}
        try:
            found[name]["error"] = f"{error(call, case):.2g}"
            step(call, case.leaves)  # what a first one compiles is no part of what is measured
            kernels = device_kernels(partial(step, call, case.leaves))
            found[name] |= {"device_ms": f"{sum(kernels) / 1e3:.4g}", "kernels": str(len(kernels))}
            found[name]["peak_mb"] = f"{peak(call, case.leaves):.4g}"
        except Exception as failure:  # noqa: BLE001 (a contender is not ours: what it raises is its result)
            found[name]["status"] = explain(failure)
    running = {name: row for name, row in found.items() if row["status"] == "ok"}
    steps = {(name, ""): partial(step, case.contenders[name], case.leaves) for name in running}
    for (name, _), taken in host_times(torch.device("cuda"), steps, EFFORT, to_the_end=True).items():
        running[name]["step_ms"] = f"{taken / 1e3:.4g}"
    yield from found.values()
    for name, row in running.items():
        once = {key: row[key] for key in ("case", "size", "dtype", "status", "device", "torch")}
        once["contender"] = f"{name}, captured"
        try:
            replay = captured(steps[name, ""]).replay
            taken = host_times(torch.device("cuda"), {(name, ""): replay}, EFFORT, to_the_end=True)[name, ""]
            once["step_ms"] = f"{taken / 1e3:.4g}"
        except Exception as failure:  # noqa: BLE001 (as above)
            once["status"] = explain(failure)
        yield once


def compile_share(share: int, jobs: int, names: list[str], packages: Path | None) -> None:
    """Launch the kernels of a share alone in a step of each case; the others leave their results as they are."""
    setup(packages)
    for package in (gatr, lgatr):
        launching = runtime(package, "launch")
        launch = launching.launch

        def part(kernel: Any, *arguments: Any, launch: Call = launch) -> None:
            if zlib.crc32(kernel.__name__.encode()) % jobs == share:
                launch(kernel, *arguments)

        launching.launch = part
    for name in names:
        make, dtypes = CASES[name]
        for dtype in dtypes:
            case = make(dtype)
            step(next(iter(case.contenders.values())), case.leaves)
            torch.cuda.synchronize()


def setup(packages: Path | None) -> None:
    if packages is not None:
        add_peers(packages)
    torch.set_float32_matmul_precision("high")


def main(
    packages: Annotated[Path | None, typer.Option(help="A folder with lgatr, ezgatr and einops.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(CASES)}.")] = None,
    out: Annotated[Path | None, typer.Option(help="The CSV to write; it is complete after every case.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes that compile beforehand, if more than one.")] = 1,
) -> None:
    """Time steps of lgatr's and ezgatr's own models and layers, and of the same with generated layers."""
    try:
        setup(packages)
    except KgenError as mistake:
        say(str(mistake), error=True)
        raise typer.Exit(2) from None
    if jobs > 1:
        say(f"compiling in {jobs} processes")
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            shares = [(share, jobs, only or list(CASES), packages) for share in range(jobs)]
            pool.starmap(compile_share, shares, chunksize=1)
    done: list[dict[str, str]] = []
    for name in only or list(CASES):
        make, dtypes = CASES[name]
        for dtype in dtypes:
            torch.set_default_dtype(torch.float32)
            fresh = list(rows(make(dtype)))
            torch.cuda.empty_cache()
            done += fresh
            for row in fresh:
                say("  ".join(row.get(column, "") for column in COLUMNS[:10]))
            if out is not None:
                with out.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(done)


if __name__ == "__main__":
    typer.run(main)
