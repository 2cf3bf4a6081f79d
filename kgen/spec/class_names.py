"""Names in the `modules:` of a spec: of classes, of parameters and of what their constructors take.

A class stands beside the constants and functions of the generated module. Parameters, sizes and options become
attributes of an `nn.Module`, whose own attributes they must not hide.
"""

from collections.abc import Sequence

from kgen.errors import KgenError
from kgen.spec import names

ATTRIBUTES = (  # of every nn.Module
    *("T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile", "cpu"),
    *("cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state"),
    *("get_parameter", "get_submodule", "half", "ipu", "load_state_dict", "modules", "mtia", "named_buffers"),
    *("named_children", "named_modules", "named_parameters", "parameters", "register_backward_hook"),
    *("register_buffer", "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"),
    *("register_full_backward_pre_hook", "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook"),
    *("register_module", "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook"),
    *("requires_grad_", "set_extra_state", "set_submodule", "share_memory", "state_dict", "to", "to_empty", "train"),
    *("training", "type", "xpu", "zero_grad", "reset_parameters"),
)
CONSTRUCTOR = ("self", "device", "dtype")  # what every constructor takes besides


def check_class(name: str, kernels: Sequence[str]) -> None:
    """Refuse a class's name that is no class name, or another's in the generated module."""
    names.check_public(name, "a module's class", kernels)
    if not name[0].isupper():
        hint = f"such as {name[0].upper()}{name[1:]}: classes start with an upper-case letter"
        raise KgenError(f"`{name}` cannot name a module's class", hint=hint)
    if name in kernels:
        raise KgenError(f"`{name}` is the name of a kernel")


def check_attribute(name: str, what: str, taken: Sequence[str]) -> None:
    """Refuse the name of a parameter, a size or an option that cannot be an attribute of the module beside `taken`."""
    names.check_identifier(name, what)
    if name in ATTRIBUTES:
        raise KgenError(f"`{name}` cannot name {what}: every nn.Module has an attribute of that name")
    if name in taken:
        hint = "parameters, sizes and the kernel's options are attributes of one object"
        raise KgenError(f"`{name}` is already a name in this module", hint=hint)


def check_constructor(name: str, what: str, taken: Sequence[str]) -> None:
    """Refuse the name of a size or an option that is an argument of every constructor, or no attribute."""
    if name in CONSTRUCTOR:
        raise KgenError(f"`{name}` cannot name {what}: every constructor has an argument of that name")
    check_attribute(name, what, taken)
