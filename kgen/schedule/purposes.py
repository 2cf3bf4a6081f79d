"""What a program's kernels are called: by what they do.

In: steps with preliminary names. Out: the same, named by what they write. Guaranteed: names are unique within a
program, with what rows of the launch table add to them, depend on the program alone, and follow its name by words that
`private_names.FOLLOWING` has.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, count

from kgen.schedule.forms import LONG
from kgen.schedule.program import TURNED, Kernel, Step

ROLE = re.compile("[0-9]+$")  # numbers tensors of one role
PURPOSES = {
    "statistics": "statistics",
    "total": "totals",
    "factor": "factors",
    "gathered": "gathered",
    "segment": "segments",
}  # by the first word of what is written


def purposes(
    steps: Sequence[Step], program: str, results: Iterable[str], alternatives: dict[str, str]
) -> dict[str, str]:
    """The names of a program's kernels, by their preliminary ones. `alternatives` compute of the inputs again."""
    own, found, taken = set(results), dict[str, str](), set[str]()
    every = [step for step in steps if isinstance(step, Kernel) and step.name not in alternatives.values()]
    for kernel in every:
        name = _free(program, taken) if len(every) == 1 else _free(f"{program}_{_purpose(kernel, own)}", taken)
        found[kernel.name] = name
        if kernel.name in alternatives:
            found[alternatives[kernel.name]] = _free(f"{name}_of_inputs", taken)
        for step in kernel.otherwise:
            if isinstance(step, Kernel):
                found[step.name] = _free(f"{name}_library_{_purpose(step, own)}", taken)
    return found


def renamed(step: Step, names: dict[str, str]) -> Step:
    """A step and those in its place by their names."""
    if not isinstance(step, Kernel):
        return step
    return replace(step, name=names[step.name], otherwise=tuple(renamed(s, names) for s in step.otherwise))


def _purpose(kernel: Kernel, results: set[str]) -> str:
    """By what a kernel writes: results, by name where it is one gradient; factors, by the variable that they hold."""
    if kernel.contraction:
        return "matmul"
    written = list(dict.fromkeys(t.memory for t in kernel.written))
    if not results.isdisjoint(written):
        grads = all(name.startswith("grad_") for name in written)
        return _plain(written[0]) if grads and len(written) == 1 else "grads" if grads else "results"
    roles = {ROLE.sub("", name.split("_")[0]) for name in written}
    held = {_plain(name.partition("_")[2]) for name in written}
    if roles == {"factor"}:
        return "_".join(["factors", *filter(None, held if len(held) == 1 else ())])
    return PURPOSES.get(min(roles), "saved")  # "factors" where other fields lie beside these


def _plain(name: str) -> str:
    """A name that ends in no underscore: those of kernels of a spec do where they would be taken for another's."""
    return re.sub("_+", "_", name).strip("_")


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered where it or one of its rows would have that of another; its rows are taken from then on."""
    wishes = chain([name], (f"{name}_{i}" for i in count(2)))
    found = next(wish for wish in wishes if taken.isdisjoint(_rows(wish)))
    taken.update(_rows(found))
    return found


def _rows(kernel: str) -> tuple[str, ...]:
    """What rows of a kernel in the launch table may be called."""
    return kernel, kernel + LONG, kernel + TURNED
