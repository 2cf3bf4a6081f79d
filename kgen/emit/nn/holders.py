"""Where a module keeps parameters with dotted names, such as `linear.weight` and `layers.0.weight`.

In: the names, as a spec gives them. Out: where an attribute of `self` is, and the statements that make it. What holds a
parameter is a plain module; what has numbers is a list of modules or of parameters, as `nn.Sequential`, `nn.ModuleList`
and `nn.ParameterList` have them in a state_dict. Where names start with numbers, as those of an `nn.Sequential` itself,
the module is such a list.
"""

from collections.abc import Iterator, Sequence


def attribute(name: str) -> str:
    """Where a module has a parameter, as it is written behind the module: `.layers[0].weight`."""
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split(".") if part)


def statement(name: str, value: str) -> str:
    """What makes `value` the parameter of that name."""
    around, _, last = name.rpartition(".")
    return f"self{attribute(around)}.append({value})" if last.isdigit() else f"self{attribute(name)} = {value}"


def holders(name: str, names: Sequence[str], torch: str, range_: str) -> Iterator[str]:
    """The statements before a parameter's own: what holds it, and holds none of `names` before it."""
    parts = name.split(".")
    before = names[: names.index(name)]
    for end in range(1, len(parts)):
        path = ".".join(parts[:end])
        made = _made(path, names, torch, range_)
        in_list = parts[end - 1].isdigit() and made == f"{torch}.nn.Module()"  # which the list has already
        if not in_list and not any(other.startswith(f"{path}.") for other in before):
            typed = ": _Any" * (end == 1 and not path.isdigit())  # for torch's type of attributes is Tensor | Module
            yield f"self{attribute(path)}{typed} = {made}"


def is_list(names: Sequence[str]) -> bool:
    """Whether the module itself is a list: its parameters' names start with numbers."""
    return names[0].split(".")[0].isdigit()


def held(names: Sequence[str], torch: str, range_: str) -> str:
    """What the constructor of a list is given."""
    return f"{torch}.nn.Module() for _ in {range_}({_count([name.split('.') for name in names])})"


def _made(path: str, names: Sequence[str], torch: str, range_: str) -> str:
    """A module, or a list as long as the numbers in it need."""
    inside = [name.removeprefix(f"{path}.").split(".") for name in names if name.startswith(f"{path}.")]
    if not inside[0][0].isdigit():
        return f"{torch}.nn.Module()"
    if len(inside[0]) == 1:
        return f"{torch}.nn.ParameterList()"
    return f"{torch}.nn.ModuleList({torch}.nn.Module() for _ in {range_}({_count(inside)}))"


def _count(names: Sequence[Sequence[str]]) -> int:
    return 1 + max(int(parts[0]) for parts in names)
