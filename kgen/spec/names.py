"""Names that a spec may give to modules, kernels, arguments, axes and variables.

Any name will do that is a name in Python, for what generated code makes of it stays apart from its own names (see
`private_names.py`). Refused is only what would have two meanings where users read or write it: operations and blades in
bodies, public names of the generated package, and arguments of one function.
"""

import keyword
import re
import sys
from collections.abc import Sequence

from kgen.errors import KgenError
from kgen.spec.vocabulary import VOCABULARY

MODULES = ("torch", "triton", "kgen", "numpy", "generated", *sys.stdlib_module_names)
IMPORTED = ("annotations", "torch")  # what the files of functions and classes import by such names
PUBLIC = (  # what generated packages offer besides a spec's functions and classes
    *("SIGNATURE", "BLADES", "GRADES", "PATHS", "KERNELS", "WEIGHTS", "CONVENTIONS", "Convention"),
    *("weights_from", "weights_to", "register_sharding"),
)
IN_REFERENCES = ("torch",)  # what references read in their own words, beside arguments that users may give by name
DOC_WIDTH = 100


def check_identifier(name: str, what: str) -> None:
    """Refuse what Python could not take for a name; `what` says what it names."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        hint = "names are ASCII letters, digits and underscores, and start with a letter"
        raise KgenError(f"{shown(name)} cannot name {what}", hint=hint)
    if len(name) > 60:
        raise KgenError(f"{shown(name)} cannot name {what}", hint="names have at most 60 characters")
    if keyword.iskeyword(name):
        raise KgenError(f"`{name}` cannot name {what}: it is a Python keyword")


def check_argument(name: str, what: str, taken: Sequence[str]) -> None:
    """Refuse the name of an input, an option or an output that is taken, or that its function cannot have."""
    check_identifier(name, what)
    if what != "an output":
        check_word(name, what)
        if name in IN_REFERENCES:
            hint = f"such as {name}_x: references take their arguments by these names, and are written in {name}"
            raise KgenError(f"`{name}` cannot name {what}", hint=hint)
    if name in taken:
        raise KgenError(f"`{name}` is already a name in this kernel", hint="inputs, options and outputs differ")


def check_word(name: str, what: str) -> None:
    """Refuse a name that means something else in bodies."""
    check_identifier(name, what)
    if name in VOCABULARY:
        hint = f"such as {name}_x or another word"
        raise KgenError(f"`{name}` cannot name {what}: it is an operation of bodies", hint=hint)
    if re.fullmatch(r"e[0-9]*", name):
        raise KgenError(f"`{name}` cannot name {what}: it is a basis blade")


def check_module(name: str) -> None:
    """Refuse a module name that would hide another module."""
    if name in MODULES:
        raise KgenError(f"`{name}` cannot name a module: a module of that name exists", hint=f"such as {name}_kernels")
    check_identifier(name, "a module")


def check_public(name: str, what: str, kernels: Sequence[str]) -> None:
    """Refuse the name of a kernel or a class that is another's in the generated module."""
    check_identifier(name, what)
    if name in IMPORTED:
        raise KgenError(f"`{name}` cannot name {what}: generated files import what they call so")
    if name in PUBLIC:
        raise KgenError(f"`{name}` cannot name {what}: every generated package may offer that name itself")
    for kernel in kernels:
        if name == f"{kernel}_reference":
            raise KgenError(f"`{name}` is the name of kernel `{kernel}`'s reference")


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
