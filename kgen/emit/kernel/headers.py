"""The comment at the head of a kernel: what it computes, how much that is, what it reads that was saved, and why.

In: a `program.Kernel`, the form that it is written in, and its fields in the order of evaluation. Out: lines of text. A
formula tells variables and not their components, `xy = Σ gx gy weight`: Σ stands for several terms of one kind, whose
signs and numbers are the code's to show, and ± for one of either sign or of other numbers; terms in brackets are those
of some components, and where these are of several kinds, `or` stands between them. What a backward computes as the
forward does is only named.
"""

from collections.abc import Iterable, Sequence
from textwrap import wrap

from kgen.emit.kernel.equations import Equations
from kgen.emit.kernel.printer import Names
from kgen.graph.cost import operations
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Tensor
from kgen.graph.variables import variable
from kgen.schedule.products import MATRIX
from kgen.schedule.program import Kernel
from kgen.schedule.stages import WHOLE_ROWS
from kgen.schedule.work import BYTES, runs_along, work

WIDTH = 114  # of a comment's text
MOST_LINES = 4  # of formulas; where there would be more, only results are told
LONGER = "the kernel above for rows of any length: over tiles of a row for its reductions, then for its results"


def header(kernel: Kernel, form: str, nodes: Sequence[Node], names: Names) -> tuple[str, ...]:
    """The lines: formulas, work, what was saved, and the schedule's reasons; of a second form how it differs."""
    if form == "sweep" and any(set(kernel.inner) & set(o.tensor.axes) for o in kernel.stores):
        return (LONGER,)
    lines = [*_formulas(Equations(kernel, nodes, names)), _work(kernel, form, nodes), *_saved(kernel)]
    return tuple(part for line in (*lines, *_reasons(kernel, form)) for part in _broken(line))


# work


def _work(k: Kernel, form: str, nodes: Sequence[Node]) -> str:
    """Operations and bytes for each element; and the operations whose results rows or tiles share."""
    if k.contraction:
        count, made = k.contraction.multiplications, _counted(postorder(k.contraction.factors))
        text = f"{count} product{'s' if count > 1 else ''} of fields by {' '.join(k.contraction.axes)}"
        return f"{text}; {made} for an element of the factors" if made else text
    along = {n: n.axes.union(*(a.axes for a in n.args)) for n in nodes}
    own = _counted(n for n in nodes if runs_along(k, along[n]))
    shared = _counted(n for n in nodes if not runs_along(k, along[n]))
    found, each = work(k), " and pass at most" if form == "sweep" and _depth(nodes) > 1 else ""
    moved = f"{BYTES * found.read} bytes read, {BYTES * found.written} written in fp32"
    return f"per element{each} {', '.join(filter(None, [own, moved]))}" + (f"; shared {shared}" if shared else "")


def _counted(nodes: Iterable[Node]) -> str:
    """The operations of some fields, each computed once."""
    counts = (sum(kinds) for kinds in zip((0, 0, 0), *map(operations, nodes)))
    kinds = zip(counts, ("mul", "add", "functions"))
    return " + ".join(f"{n} {kind if n > 1 else kind.removesuffix('s')}" for n, kind in kinds if n)


def _depth(nodes: Sequence[Node]) -> int:
    """How many reductions are nested in the fields at most: there is a pass over a row for each."""
    level: dict[Node, int] = {}
    for node in nodes:
        level[node] = max((level.get(a, 0) for a in node.args), default=0) + node.is_reduction
    return max(level.values(), default=0)


# reasons


def _saved(k: Kernel) -> list[str]:
    """What the forward saved, and why it is not computed again."""
    reasons: dict[str, list[Tensor]] = {}
    for tensor in k.inputs:
        if tensor.dtype and tensor.memory.startswith("saved"):
            reasons.setdefault(_reason(k, tensor), []).append(tensor)
    found = [f"{_listed(tensors)}, {reason}" for reason, tensors in reasons.items()]
    return [f"reads what was saved: {'; '.join(found)}"] if found else []


def _reason(k: Kernel, tensor: Tensor) -> str:
    if tensor.dtype == MATRIX:
        return "else a matrix product"
    if set(k.inner) <= set(tensor.axes) and any(n.kind == "Max" or _compares(n) for n in k.nodes):
        return "of which a maximum is compared to the bit"
    return "else another pass"


def _compares(node: Node) -> bool:
    return node.kind == "Call" and node.function == "eq" and not any(a.integer for a in node.args)


def _listed(tensors: Iterable[Tensor]) -> str:
    labels = (label if label and not label.isdigit() else t.name for t in tensors for label in t.labels)
    return ", ".join(dict.fromkeys(map(variable, labels)))


def _reasons(k: Kernel, form: str) -> list[str]:
    """The schedule's notes; how a row is gone over is the form's."""
    if form == "sweep":
        return ["goes over a row in tiles" if note.startswith(WHOLE_ROWS) else note for note in k.notes]
    return [note.replace(WHOLE_ROWS, "one program holds a whole row") for note in k.notes]


# formulas


def _formulas(equations: Equations) -> list[str]:
    """Those of all variables, or of results alone; the other variables are named."""
    again = equations.again
    lines = _told(equations, (x for x in equations.members if x not in again))
    if len(lines) > MOST_LINES:
        again = [x for x in equations.members if x not in equations.results]
        lines = _told(equations, equations.results)
    return [*lines, *([_shortened("by way of ", again)] if again else [])]


def _told(equations: Equations, names: Iterable[str]) -> list[str]:
    return _filled((f"{name} = {equations.equation(name)}" for name in names), "; ")


def _filled(parts: Iterable[str], separator: str) -> list[str]:
    """The parts on as few lines as hold them."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(separator) + len(part) <= WIDTH:
            lines[-1] += separator + part
        else:
            lines.append(part)
    return lines


def _broken(line: str) -> list[str]:
    return wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False)


def _shortened(start: str, names: Sequence[str]) -> str:
    """As many names as a line holds, and how many there are besides."""
    for count in range(len(names), 0, -1):
        rest = f" and {len(names) - count} more" if count < len(names) else ""
        text = start + ", ".join(names[:count]) + rest
        if len(text) <= WIDTH:
            break
    return text
