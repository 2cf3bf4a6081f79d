"""Names that a spec may give to modules, kernels, arguments, axes and variables, so that generated code stays sound.

Every name reaches generated code. It must be an ASCII identifier that means nothing else there, and what is made from
it (`f_reference` of a kernel f, `x_e1` of an input x, `grad_x`) must not be another's name.
"""

import builtins
import keyword
import re
import sys
from collections.abc import Mapping, Sequence

from kgen.errors import KgenError
from kgen.model import PRECISIONS

MODULES = ("torch", "triton", "kgen", "numpy", "generated", *sys.stdlib_module_names)
IMPORTED = ("torch", "triton", "tl", "kgen", "math", "libdevice")
IMPORTED_BESIDES = (  # where no input, axis or option of that name is
    *("concurrent", "functools", "inspect", "itertools", "os", "forward_ad", "register_flop_formula", "NamedTuple"),
    *("SimpleNamespace",),
)
BUILTINS = (
    *(
        "abs",
        "all",
        "any",
        "bool",
        "dict",
        "enumerate",
        "float",
        "getattr",
        "hasattr",
        "int",
        "isinstance",
        "len",
        "list",
    ),
    *(
        "map",
        "max",
        "min",
        "object",
        "pow",
        "print",
        "property",
        "range",
        "reversed",
        "round",
        "set",
        "sorted",
        "staticmethod",
    ),
    *("str", "sum", "super", "tuple", "type", "zip"),
)
OTHERS = ("self", "cls", "ctx", "pid", "mask", "blade", "path", "grade", "over", "grads")
VOCABULARY = (
    *("gp", "outer", "inner", "regressive", "scalar_product", "norm_squared", "sandwich", "sgp", "reverse", "involute"),
    *(
        "conjugate",
        "dual",
        "undual",
        "polarity",
        "grade",
        "even",
        "odd",
        "gelu",
        "grade_rms_norm",
        "fcgp",
        "mv_linear",
        "rename",
        "sum",
        "mean",
        "max",
    ),
    *(
        "dot",
        "exp",
        "log",
        "erf",
        "tanh",
        "sqrt",
        "rsqrt",
        "abs",
        "sin",
        "cos",
        "sigmoid",
        "relu",
        "maximum",
        "minimum",
    ),
    *("where", "pointwise", "detach"),
)
DOC_WIDTH = 100
IN_KERNELS = (  # what kernels call their own variables; a component of an input that is called so gets another name
    *("r", "at", "row", "rows", "row_mask", "tile", "tile_mask", "first_tile", "start", "block", "program", "kept"),
    *("column", "column_mask", "across", "across_mask", "down", "down_mask", "blocks"),
    *("slot", "launch", "kernels", "paths", "blades", "grades", "signature"),
)
IN_LAUNCHERS = (
    *("real", "total", "lead", "sizes", "wanted", "inputs", "saved", "frontier", "folded", "partial", "function"),
    *("programs", "tiles", "matrix", "operand", "contracted"),
)
NUMBERED = re.compile(r"t[0-9]+|.*_innermost|(folded|frontier|operand|contracted)[0-9]*(_.*)?|(saved|size|partial)_.*")
RESERVED = {*IMPORTED, *BUILTINS, *OTHERS}
DERIVED = (
    *(
        "reference",
        "forward",
        "backward",
        "backward_backward",
        "double_backward",
        "kernel",
        "fold",
        "launch",
        "op",
        "fake",
    ),
    *("function", "Function", "autograd", "setup_context", "jvp", "config", "configs", "lean"),
)
FUNCTIONS = (  # of generated modules, beside the kernels'
    *("weights_from", "weights_to", "register_sharding", "turn", "matmul"),
    *(f"matmul_{precision}" for precision in PRECISIONS),
)
GRADIENTS = ("grad_", "has_grad_", "want_")  # how names begin that generated code makes of others
COMPONENT = re.compile(r"e[0-9]*|[0-9]+|grad|ptr|row|reference")  # what generated code appends to an argument's name


def variant_name(kernel: str, flags: Mapping[str, bool]) -> str:
    """The name of a kernel with its bool options chosen, such as f_with_a_without_b."""
    return kernel + "".join(f"_{'with' if on else 'without'}_{name}" for name, on in flags.items())


def check_identifier(name: str, what: str) -> None:
    """Refuse what Python could not take for a name; `what` says what it names."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        hint = "names are ASCII letters, digits and underscores, and start with a letter"
        raise KgenError(f"{shown(name)} cannot name {what}", hint=hint)
    if len(name) > 60:
        raise KgenError(f"{shown(name)} cannot name {what}", hint="names have at most 60 characters")
    if keyword.iskeyword(name):
        raise KgenError(f"`{name}` cannot name {what}: it is a Python keyword")


def check(name: str, what: str) -> None:
    """Refuse a name that generated code cannot use; `what` says what it names."""
    check_identifier(name, what)
    if name in VOCABULARY and what != "a kernel":
        raise KgenError(
            f"`{name}` cannot name {what}: it is an operation of bodies", hint=f"such as {name}_x or another word"
        )
    if name in RESERVED or _is_local(name, what):
        raise KgenError(
            f"`{name}` cannot name {what}: generated code uses that name", hint=f"such as {name}_x or another word"
        )
    if name.isupper():
        raise KgenError(f"`{name}` cannot name {what}", hint="upper-case names are the generated module's constants")
    if re.fullmatch(r"e[0-9]*", name) and what != "an axis":
        raise KgenError(f"`{name}` cannot name {what}: it is a basis blade")
    prefix = next((p for p in GRADIENTS if name.startswith(p)), None)
    if prefix:
        raise KgenError(f"`{name}` cannot name {what}", hint=f"names that start with {prefix} are those of gradients")


def _is_local(name: str, what: str) -> bool:
    """Whether generated code has something of that name where the named thing stands.

    A body's variables only suggest names, which kernels make unique.
    """
    if what == "a variable":
        return False
    if what == "a kernel" and (name in IMPORTED_BESIDES or hasattr(builtins, name)):
        return True
    in_kernels = name in IN_KERNELS and what != "an input"
    return in_kernels or name in IN_LAUNCHERS or NUMBERED.fullmatch(name) is not None


def check_module(name: str) -> None:
    """Refuse a module name that would hide another module."""
    if name in MODULES:
        raise KgenError(f"`{name}` cannot name a module: a module of that name exists", hint=f"such as {name}_kernels")
    check(name, "a module")


def check_argument(name: str, taken: Sequence[str], every: Sequence[str], axes: Sequence[str]) -> None:
    """Refuse an argument's name that is taken, or that generated code makes from another argument's."""
    if name in taken:
        raise KgenError(f"`{name}` is already a name in this kernel", hint="kernel, inputs, options and outputs differ")
    if name in axes:
        raise KgenError(f"`{name}` is an axis of this kernel", hint="generated code has the axis's size by that name")
    for other in every:
        if name.startswith(other + "_") and COMPONENT.fullmatch(name.removeprefix(other + "_")):
            raise KgenError(f"`{name}` collides with a name that generated code makes from `{other}`")


def check_kernel(name: str, kernels: Sequence[str]) -> None:
    """Refuse a kernel's name that generated code makes from another's, or that a function of every module has."""
    if name in FUNCTIONS:
        raise KgenError(f"`{name}` cannot name a kernel: generated code has a function of that name")
    for other in kernels:
        if name.startswith(other + "_") and name.removeprefix(other + "_") in DERIVED:
            raise KgenError(f"`{name}` collides with a name that generated code makes from kernel `{other}`")


def check_doc(doc: str) -> None:
    """Refuse a doc that could not stand in a docstring as it is."""
    for line in doc.strip().split("\n"):
        if not line.isprintable():
            raise KgenError("a doc is printable lines", hint="without control characters and tabs")
        if len(line) > DOC_WIDTH:
            raise KgenError(f"a line of a doc has at most {DOC_WIDTH} characters", hint="`doc: |` takes several lines")
    if "\\" in doc or '"""' in doc or doc.strip().endswith('"'):
        hint = "it becomes a Python docstring: no backslash, no triple quotes, no double quote at the end"
        raise KgenError("a doc that cannot stand in a docstring", hint=hint)


def shown(text: str) -> str:
    """A text from a spec as it may stand in a message: printable and short."""
    spelled = "".join(c if c.isprintable() else "?" for c in text)
    return f"`{spelled[:60]}…`" if len(spelled) > 60 else f"`{spelled}`"
