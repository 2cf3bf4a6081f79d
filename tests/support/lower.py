"""Whether Triton's compiler takes each kernel, up to its types: `python tests/support/lower.py module.py sm_90`.

The interpreter knows no types, and compiling to machine code takes a hundred times as long. Needs no GPU. Prints the
kernels that are refused, and how many were looked at.
"""

import sys
from pathlib import Path

from triton._C.libtriton import ir
from triton.compiler import ASTSource, CompilationError, make_backend

from kgen.tools.aot.launches import Launch, record
from kgen.tools.aot.resources import gpu_target
from kgen.tools.problem import load_module


def lower(launch: Launch, name: str) -> None:
    """Compile a kernel to Triton's first intermediate language."""
    target = gpu_target(name)
    backend, context = make_backend(target), ir.context()
    options = backend.parse_options(dict(launch.options))
    ir.load_dialects(context)
    backend.load_dialects(context)
    source = ASTSource(launch.function, dict(launch.signature), dict(launch.constexprs))
    source.make_ir(target, options, backend.get_codegen_implementation(options), backend.get_module_map(), context)


def main(path: Path, target: str) -> None:
    launches = record(load_module(path), target, "float32")
    for launch in launches:
        try:
            lower(launch, target)
        except CompilationError as e:
            print(f"{launch.kernel}: {e}")
    print(f"{len(launches)} kernels")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
