"""What a compiled kernel needs of the hardware, read from the compiler's output.

In: a Launch and a target. Out: its Resources: registers, spilled bytes and shared memory, and how wide its accesses to
global memory are. No GPU is needed: NVIDIA kernels are assembled by ptxas and disassembled by cuobjdump, both from
triton's own package; for AMD the assembly's text says everything.
"""

import io
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kgen.errors import KgenError
from kgen.tools.aot.launches import Launch

NVIDIA = re.compile(r"sm_(\d+)")
AMD = re.compile(r"gfx\w+")
PTXAS_REGISTERS = re.compile(r"Used (\d+) registers")
PTXAS_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
SASS = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)
SASS_WIDTH = re.compile(r"[US]?(8|16|64|128|256)")
GCN = re.compile(r"^\t([a-z]\w+)", re.MULTILINE)
GCN_MEMORY = ("global", "buffer", "flat")
GCN_BITS = {"byte": 8, "short": 16, "dword": 32, "dwordx2": 64, "dwordx3": 96, "dwordx4": 128}
GCN_SPILLS = re.compile(r"(\d+)-byte Folded (Spill|Reload)")
GCN_REGISTERS = re.compile(r"\.vgpr_count:\s+(\d+)")

Widths = Mapping[int, int]  # how many accesses there are of each width in bits


@dataclass(frozen=True, slots=True)
class Resources:
    """Registers a thread, spilled bytes a thread, shared memory in bytes, instructions, and global memory accesses."""

    registers: int
    spill_stores: int
    spill_loads: int
    shared: int
    instructions: int
    loads: Widths
    stores: Widths


def gpu_target(name: str) -> GPUTarget:
    """Triton's target for "sm_90" or "gfx942"."""
    if match := NVIDIA.fullmatch(name):
        return GPUTarget("cuda", int(match[1]), 32)
    if AMD.fullmatch(name):
        return GPUTarget("hip", name, 64)
    raise KgenError(f"unknown target {name!r}", hint="sm_80, sm_90, gfx942 or the like")


def compile_for(launch: Launch, target: str) -> Resources:
    """Compile as the launch would, without the caches, and read what the compiler says."""
    knobs.compilation.always_compile = True
    knobs.nvidia.dump_ptxas_log = True
    source = ASTSource(
        launch.function,
        dict(launch.signature),
        dict(launch.constexprs),
        {(position,): [["tt.divisibility", 16]] for position in launch.divisible},
    )
    options = {**dict(launch.options), "enable_fp_fusion": True}
    log = io.StringIO()
    with tempfile.TemporaryDirectory() as cache, redirect_stdout(log):
        knobs.cache.dir = cache
        kernel = triton.compile(source, target=gpu_target(target), options=options)
        shared = int(kernel.metadata.shared)
        if NVIDIA.fullmatch(target):
            return nvidia(log.getvalue(), _disassembly(kernel.asm["cubin"], Path(cache)), shared)
        return amd(kernel.asm["amdgcn"], shared)


def _disassembly(cubin: bytes, folder: Path) -> str:
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    command = [knobs.nvidia.cuobjdump.path, "-sass", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def nvidia(log: str, sass: str, shared: int) -> Resources:
    """Resources from ptxas's log and the disassembly; NOPs that pad the end are not counted."""
    spills = [(int(stores), int(loads)) for stores, loads in PTXAS_SPILLS.findall(log)]
    registers = [int(count) for count in PTXAS_REGISTERS.findall(log)]
    if not registers or not spills:
        raise KgenError("ptxas did not say how many registers it used")
    operations = [name for name in SASS.findall(sass) if name != "NOP"]
    return Resources(
        max(registers),
        sum(stores for stores, _ in spills),
        sum(loads for _, loads in spills),
        shared,
        len(operations),
        _histogram(_sass_bits(name) for name in operations if name.startswith("LDG.")),
        _histogram(_sass_bits(name) for name in operations if name.startswith("STG.")),
    )


def amd(assembly: str, shared: int) -> Resources:
    """Resources from the assembly; spills are the compiler's own remarks on scratch accesses."""
    spills = [(kind, int(size)) for size, kind in GCN_SPILLS.findall(assembly)]
    registers = [int(count) for count in GCN_REGISTERS.findall(assembly)]
    if not registers:
        raise KgenError("the assembly does not say how many registers it uses")
    operations = GCN.findall(assembly)
    accesses = [name.split("_") for name in operations if name.split("_")[0] in GCN_MEMORY]
    return Resources(
        max(registers),
        sum(size for kind, size in spills if kind == "Spill"),
        sum(size for kind, size in spills if kind == "Reload"),
        shared,
        len(operations),
        _histogram(_gcn_bits(width) for _, kind, width, *_ in accesses if kind == "load"),
        _histogram(_gcn_bits(width) for _, kind, width, *_ in accesses if kind == "store"),
    )


def _sass_bits(operation: str) -> int:
    """LDG.E.128.CONSTANT is 128 bits wide, LDG.E.U16 16, LDG.E 32."""
    widths = [match for match in map(SASS_WIDTH.fullmatch, operation.split(".")) if match]
    return int(widths[0][1]) if widths else 32


def _gcn_bits(width: str) -> int:
    """dwordx4 is 128 bits wide, ubyte 8; newer processors say b128."""
    if width in ("ubyte", "sbyte", "ushort", "sshort"):
        width = width[1:]
    return int(width[1:]) if width[1:].isdecimal() else GCN_BITS[width]


def _histogram(widths: Iterable[int]) -> dict[int, int]:
    return dict(sorted(Counter(widths).items(), reverse=True))
