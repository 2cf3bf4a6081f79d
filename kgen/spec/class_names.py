"""Names in the `modules:` of a spec: of classes, of parameters and of what their constructors take.

A class stands beside the constants and functions of the generated module. Parameters, sizes and options become
attributes of an `nn.Module`, whose own attributes they must not hide. A parameter's name may have parts, such as
`linear.weight` and `layers.0.weight`: modules within the module hold it. Where all start with numbers, as those of an
`nn.Sequential` do, the module is a list.
"""

import re
from collections.abc import Sequence
from itertools import takewhile

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
LIST = ("append", "extend", "insert", "pop")  # attributes of an nn.ModuleList besides
PRIVATE = (  # of every nn.Module, by names that a parameter may have, too: other libraries have keys with an underscore
    *("_apply", "_backward_hooks", "_backward_pre_hooks", "_buffers", "_call_impl", "_compiled_call_impl"),
    *("_forward_hooks", "_forward_hooks_always_called", "_forward_hooks_with_kwargs", "_forward_pre_hooks"),
    *("_forward_pre_hooks_with_kwargs", "_get_backward_hooks", "_get_backward_pre_hooks", "_get_name"),
    *("_is_full_backward_hook", "_load_from_state_dict", "_load_state_dict_post_hooks", "_load_state_dict_pre_hooks"),
    *("_maybe_warn_non_full_backward_hook", "_modules", "_named_members", "_non_persistent_buffers_set"),
    *("_parameters", "_register_load_state_dict_pre_hook", "_register_state_dict_hook"),
    *("_replicate_for_data_parallel", "_save_to_state_dict", "_slow_forward", "_state_dict_hooks"),
    *("_state_dict_pre_hooks", "_version", "_wrapped_call_impl"),
)
WIDTH = 80  # of a parameter's name: with `self.` it is on one line
NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")
MODE = "training"  # an attribute of every nn.Module, and what a kernel's option of that name is in one
CONSTRUCTOR = ("self", "device", "dtype")  # what every constructor takes besides


def check_class(name: str, kernels: Sequence[str]) -> None:
    """Refuse a class's name that is no class name, or another's in the generated module."""
    names.check_public(name, "a module's class", kernels)
    if not name[0].isupper():
        hint = f"such as {name[0].upper()}{name[1:]}: classes start with an upper-case letter"
        raise KgenError(f"`{name}` cannot name a module's class", hint=hint)
    if name in kernels:
        raise KgenError(f"`{name}` is the name of a kernel")


def check_attribute(name: str, what: str, taken: Sequence[str], private: bool = False) -> None:
    """Refuse the name of a parameter, a size or an option that cannot be an attribute of the module beside `taken`.

    One that is `private` may start with an underscore.
    """
    names.check_identifier(name.removeprefix("_") if private and name[:2] != "__" else name, what)
    if name in (*ATTRIBUTES, *PRIVATE):
        raise KgenError(f"`{name}` cannot name {what}: every nn.Module has an attribute of that name")
    if name in taken:
        hint = "parameters, sizes and the kernel's options are attributes of one object"
        raise KgenError(f"`{name}` is already a name in this module", hint=hint)


def check_constructor(name: str, what: str, taken: Sequence[str]) -> None:
    """Refuse the name of a size or an option that is an argument of every constructor, or no attribute."""
    if name in CONSTRUCTOR:
        raise KgenError(f"`{name}` cannot name {what}: every constructor has an argument of that name")
    check_attribute(name, what, taken)


def check_parameter(name: str, taken: Sequence[str], others: Sequence[str]) -> None:
    """Refuse the name of a parameter that has no place beside other attributes, `taken`, and parameters, `others`."""
    parts = name.split(".")
    if len(parts) == 1:
        check_attribute(name, "a parameter", taken, private=True)
    else:
        _check_parts(name, parts, taken)
    for other in others:
        _check_beside(name, other)
    _check_order(name, others)


def _check_parts(name: str, parts: Sequence[str], taken: Sequence[str]) -> None:
    """Refuse a part that is no attribute of a module, and no number of a list."""
    what = f"a part of parameter {names.shown(name)}"
    if len(name) > WIDTH:
        raise KgenError(f"{names.shown(name)} cannot name a parameter", hint=f"it has more than {WIDTH} characters")
    if not all(parts):
        raise KgenError(f"{names.shown(name)} has an empty part", hint="one dot between two parts: linear.weight")
    if not NUMBER.fullmatch(parts[0]):
        _check_part(parts[0], what, taken)
    for part in parts[1:]:
        if not NUMBER.fullmatch(part):
            _check_part(part, what, ())


def _check_part(part: str, what: str, taken: Sequence[str]) -> None:
    if part[0].isdigit():
        hint = "places in a list are 0 to 999, without leading zeros"
        raise KgenError(f"{names.shown(part)} cannot name {what}", hint=hint)
    check_attribute(part, what, taken, private=True)


def _check_beside(name: str, other: str) -> None:
    """Refuse two parameters one of which would be held by the other, or by what cannot hold both."""
    parts, those = name.split("."), other.split(".")
    common = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(parts, those))]
    both = f"`{name}` and {names.shown(other)} cannot both be parameters"
    around = ".".join(common) or "the module"
    if len(common) in (len(parts), len(those)):
        raise KgenError(both, hint=f"{around} is a tensor, or a module with parameters")
    a, b = (found[len(common) :] for found in (parts, those))
    if a[0].isdigit() != b[0].isdigit():
        raise KgenError(both, hint=f"{around} is a list, whose parts are numbers, or a module, whose parts are names")
    if a[0].isdigit() and (len(a) == 1) != (len(b) == 1):
        raise KgenError(both, hint=f"{around} is a list of tensors, or of modules")


def _check_order(name: str, others: Sequence[str]) -> None:
    """Refuse a number in a list of tensors that leaves a place empty."""
    around, _, last = name.rpartition(".")
    expected = sum(other.rpartition(".")[0] == around for other in others)
    if last.isdigit() and int(last) != expected:
        hint = "a list of tensors is given in its order: 0, 1, …"
        raise KgenError(f"`{name}` has the place {last} where {around}.{expected} is expected", hint=hint)
