"""Where a module keeps parameters with dotted names, such as `linear.weight` and `layers.0.weight`.

In: the names, as a spec gives them. Out: what an attribute of `self` is called, and the statements that make it. What
holds a parameter is a plain module; what has numbers is a list of modules or of parameters, as `nn.Sequential`,
`nn.ModuleList` and `nn.ParameterList` have them in a state_dict.
"""

from collections.abc import Iterator, Sequence


def attribute(name: str) -> str:
    """A parameter as an attribute of its module: `layers[0].weight`."""
    first, *others = name.split(".")
    return first + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in others)


def statement(name: str, value: str) -> str:
    """What makes `value` the parameter of that name."""
    around, _, last = name.rpartition(".")
    return f"self.{attribute(around)}.append({value})" if last.isdigit() else f"self.{attribute(name)} = {value}"


def holders(name: str, names: Sequence[str], torch: str, range_: str) -> Iterator[str]:
    """The statements before a parameter's own: what holds it, and holds none of `names` before it."""
    parts = name.split(".")
    before = names[: names.index(name)]
    for end in range(1, len(parts)):
        path = ".".join(parts[:end])
        made = _made(path, names, torch, range_)
        in_list = parts[end - 1].isdigit() and made == f"{torch}.nn.Module()"  # which the list has already
        if not in_list and not any(other.startswith(f"{path}.") for other in before):
            typed = ": _Any" if end == 1 else ""  # for torch's own type of what a module holds is Tensor | Module
            yield f"self.{attribute(path)}{typed} = {made}"


def _made(path: str, names: Sequence[str], torch: str, range_: str) -> str:
    """A module, or a list as long as the numbers in it need."""
    inside = [name.removeprefix(f"{path}.").split(".") for name in names if name.startswith(f"{path}.")]
    if not inside[0][0].isdigit():
        return f"{torch}.nn.Module()"
    if len(inside[0]) == 1:
        return f"{torch}.nn.ParameterList()"
    count = 1 + max(int(parts[0]) for parts in inside)
    return f"{torch}.nn.ModuleList({torch}.nn.Module() for _ in {range_}({count}))"
