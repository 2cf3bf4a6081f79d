"""Names that generated code makes of a spec's names, and that no user sees.

In: the names of a spec. Out: names in the generated module. Guaranteed, whatever the spec's names are:

* What a module defines for itself starts with an underscore, and ends in its role if it is made of a spec's name:
  `_kernel`, `_run`, `_op`, `_public`, `_global`. Nothing that is the same in all modules ends so. No two kernels come
  to one name: what follows a stem is words that no stem ends in.
* Launchers and kernels are called by position, so that their tensors and numbers need not have the names that users
  give them: a name that means something else there stands as `own_<name>`.
* Inside kernels everything else gives way to what has its name already: see `printer.Names`.

The names depend on the kernel alone, never on others of the spec.
"""

import builtins
import re
from collections.abc import Iterable, Mapping

FOLLOWING = re.compile(  # what follows the names of kernels: chosen options, orders, purposes, numbers and forms
    r".*_(with|without|factors|grad|matmul|narrow|online)(_.*)?|name_*"
    r"|.*_(backward|double|triple|second|statistics|totals|gathered|segments|saved|grads|results|inputs|long|turned|[0-9]+)_*"
    r"|.*_case[0-9a-f]+_*|(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])_*"  # and what files are called, or cannot be
)
CONSTANTS = ("ROWS", "BLOCK", "DEPTH", "PROGRAMS", "REAL", "MATRIX", "PRECISION", "TILES", "LAUNCH")
DERIVED = re.compile(  # tensors and sizes that stages, launchers and kernels name themselves
    r"(grad[0-9]*|has|partial|size|(saved|total|statistics|factor|product|gathered|segment)[0-9]*)(_.*)?|(order|starts|step)_.*"
)
IN_LAUNCHERS = (  # what launchers call their own, and the parts of the runtime that they call
    *("arguments", "attention", "device", "launch", "matmul", "narrow", "segments"),
    *("torch", "math", "real", "matrix", "lead", "wanted", "programs", "tiles", "sums", "precision", "LAUNCH"),
)
IN_TRITON = (  # what Triton's launcher calls its own, and what it is told by keyword: a kernel's numbers stand beside
    *("options", "params", "specialization", "specialize_impl", "backend", "JITCallable", "grid", "warmup"),
    *("num_warps", "num_ctas", "num_stages", "maxnreg", "debug", "enable_fp_fusion", "instrumentation_mode"),
)


def stem(kernel: str) -> str:
    """A kernel's name, apart from what may follow another's. torch has `name` for itself where operators are."""
    return f"{kernel}_" if FOLLOWING.fullmatch(kernel) else kernel


def variant_name(kernel: str, flags: Mapping[str, bool]) -> str:
    """The name of a kernel with its bool options chosen, such as f_with_a_without_b."""
    chosen = ((re.sub("_+", "_", name).strip("_"), on) for name, on in flags.items())
    return stem(kernel) + "".join(f"_{'with' if on else 'without'}_{name}" for name, on in chosen)


def file_stem(kernel: str) -> str:
    """What the files of a kernel are called: no two alike, also where case does not count, nor what Windows forbids."""
    name = stem(kernel)
    upper = sum(1 << place for place, letter in enumerate(name) if letter.isupper())
    return f"{name.lower()}_case{upper:x}" if upper else name


def kernel_name(launched: str) -> str:
    """The Triton kernel behind a row of the launch table."""
    return f"_{launched}_kernel"


def run_name(program: str) -> str:
    """What launches the kernels of one order of a variant."""
    return f"_{program}_run"


def operator_name(variant: str) -> str:
    """What autograd and torch's compiler see of a variant."""
    return f"_{variant}_op"


def definition_name(public: str) -> str:
    """What the module calls a function or class: by a name of Python's its own code means Python's."""
    return f"_{public}_public" if hasattr(builtins, public) else public


def size_name(axis: str) -> str:
    """The extent of an axis: `N` for n."""
    name = axis.upper()
    return name if axis.islower() and name not in CONSTANTS else f"size_{axis}"


def private_names(names: Iterable[str], axes: Iterable[str]) -> dict[str, str]:
    """The names of tensors and numbers in launchers and kernels, by those that the spec gives them."""
    given, along = dict.fromkeys(names), tuple(axes)
    taken = {*IN_LAUNCHERS, *IN_TRITON, *map(size_name, along), *(f"{axis}_innermost" for axis in along)}
    found: dict[str, str] = {}
    for name in given:
        own = name
        while own in taken or own in found.values() or DERIVED.fullmatch(own) or (own != name and own in given):
            own = f"own_{own}"
        found[name] = own
    return found
