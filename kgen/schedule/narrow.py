"""Programs for rows of few features: their kernels hold whole rows, and multiply matrices where products are needed.

In: the results of a graph. Out: a draft of steps without products of matrices between them, or why there is none. Two
kinds of Dots are multiplied inside:

* those along a row, of a field of the rows and of weights, as a linear map of few channels: the left factor is a tile
  of rows, the weights are read as they lie, and what reads the product computes it of its own sums;
* those of two fields along the rows, as the gradients of such weights: accumulated like other folds.

Level by level, the left factors of the next products are stored, if they are no inputs, and with them what was
multiplied so far and is read again. So a kernel has one level of products, the row in which it ends, and nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kgen.graph.cost import cost
from kgen.graph.graph import Graph, Output
from kgen.graph.node import Node, Number, holds_dot, postorder
from kgen.graph.tensor import Tensor
from kgen.schedule.draft import Draft
from kgen.schedule.grouping import levels
from kgen.schedule.intermediates import Places, along, as_outputs, store_between, substituted, under_all_names
from kgen.schedule.kernels import arithmetic
from kgen.schedule.outer_reductions import parts
from kgen.schedule.products import MATRIX
from kgen.schedule.program import WORKSPACE, Fold, Kernel, Step
from kgen.schedule.purposes import purposes, renamed
from kgen.schedule.registers import live
from kgen.schedule.residuals import read_again
from kgen.schedule.stages import add_stages

ENDING = "narrow"  # of programs' names
FEW = 64  # features, as `MOST` of `templates/runtime/narrow.py` says
FACTORS = "stores what the next kernel multiplies"
AGAIN = "stores what later kernels would make anew"


def multiple(field: Node) -> tuple[Number, Node]:
    """A field as a number times another field."""
    factor: Number = 1
    while True:
        constants = [a for a in field.args if a.kind == "Const"] if field.kind == "Mul" else []
        if field.kind == "Add" and len(field.args) == 1:
            factor, field = factor * field.coefficients[0], field.args[0]
        elif constants and len(field.args) == 2:
            factor *= constants[0].value
            (field,) = (a for a in field.args if a not in constants)
        else:
            return factor, field


class Unfit(Exception):
    """Why kernels cannot multiply inside."""


def narrow(graph: Graph, outputs: Sequence[Output], optional: Sequence[str]) -> Draft:
    """The program of some results for rows of few features. Raises Unfit where some product is none of both kinds."""
    plan = _Plan(graph, outputs, optional)
    plan.check()
    while dots := plan.next_dots():
        factors = [x for dot in dots for x in plan.computed(dot)]
        plan.stage(factors, dots) if factors else plan.multiply(dots)
    plan.finish()
    draft = plan.draft
    names = purposes(draft.steps, draft.name, [o.tensor.name for o in outputs], {})
    draft.steps = [renamed(step, names) for step in draft.steps]
    return draft


class _Plan:
    """The results that are still to be computed, and the steps so far."""

    def __init__(self, graph: Graph, outputs: Sequence[Output], optional: Sequence[str]) -> None:
        self.draft = Draft(graph, f"{graph.name}_{ENDING}", {}, optional)
        self.graph, self.builder, self.store = graph, graph.builder, self.draft.store
        self.store.reserve(o.tensor.name for o in outputs)
        self.rows = graph.axes[0]
        self.rest = list(outputs)
        self.inside: dict[str, Output] = {}  # what kernels multiply, by the tensor that nobody stores
        self.kernels = _Inside(self.draft, self.rows, self.inside)

    # what there is

    def check(self) -> None:
        """Refuse what is no row of few features."""
        for output in self.rest:
            if output.tensor.slices:
                raise Unfit(f"{output.tensor.memory} is made of parts")
            for node in postorder(self._inner(output)):
                if node.kind in ("Gather", "Segment"):
                    raise Unfit(f"a field goes by the index {node.lookup.tensor}")
                if node.kind == "Draw":
                    raise Unfit("elements are dropped")
                if node.integer:
                    raise Unfit("integers are compared")
                if node.kind == "Input" and (tensor := self.builder.tensors[node.tensor]).slices:
                    raise Unfit(f"{tensor.memory} is read in parts")
                if self.rows in node.reduced:
                    raise Unfit(f"a sum along {self.rows} is read by other fields")
                if node.kind == "Dot":
                    self._check_row(node)
                elif node.kind != "Input" and len(node.axes - {self.rows}) > 1:
                    raise Unfit(f"a field varies along {' '.join(sorted(node.axes))}")

    def _check_row(self, dot: Node) -> None:
        for pair in dot.pairs:
            left, right = self.sides(pair)
            if len(dot.over) > 1 or len(left.axes) != 2 or self.rows not in left.axes or self.rows in right.axes:
                raise Unfit(f"a product is no map of rows along {' '.join(sorted(dot.axes))}")
            if right.single[0][1].kind != "Input" or len(right.axes) != 2:
                raise Unfit("the weights of a product are computed")

    def sides(self, pair: tuple[Node, Node]) -> tuple[Node, Node]:
        """The factor that varies along the rows first."""
        return pair if self.rows in pair[0].axes else (pair[1], pair[0])

    def folds(self, output: Output) -> bool:
        """Whether a result is summed along the rows."""
        return any(self.rows in n.reduced for n in postorder(output.fields))

    def _inner(self, output: Output) -> list[Node]:
        """What a result is a sum of along the rows, or else what it is."""
        if not self.folds(output):
            return list(output.fields)
        if dots := self._products(output):
            return [x for _, dot in dots for x in dot.args]
        if found := parts(self.builder, output, (self.rows,)):
            return [part.field for part in found]
        raise Unfit(f"{output.tensor.name} is more than a sum along {self.rows}")

    def _products(self, output: Output) -> list[tuple[Number, Node]]:
        """A result that contracts the rows of two fields in each of its components, but for those that are zero."""
        found = [multiple(f) for f in output.fields if f is not self.builder.zero]
        dots = [each for each in found if each[1].kind == "Dot" and each[1].over == (self.rows,)]
        return dots if len(dots) == len(found) and all(len(a.axes) == 2 for _, dot in dots for a in dot.args) else []

    def next_dots(self) -> list[Node]:
        """The products along rows of which none needs another."""
        found = levels(postorder(x for o in self.rest for x in self._inner(o)))
        return found[0] if found else []

    def computed(self, dot: Node) -> list[Node]:
        """The left factors of a product that are still to be computed; inputs may be scaled."""
        left = (self.sides(pair)[0] for pair in dot.pairs)
        return [x for x in left if x.single[0][1].kind != "Input"]

    # what is done

    def multiply(self, dots: Sequence[Node]) -> None:
        """Let kernels that read these products compute them."""
        b, alike, table = self.builder, dict[tuple[str, ...], list[Node]](), dict[Node, Node]()
        for dot in self._plain(dots):
            alike.setdefault(tuple(a for a in self.graph.axes if a in dot.axes), []).append(dot)
        for axes, members in alike.items():
            tensor = Tensor(
                self.store.numbered("product", members),
                (len(members), *axes),
                self.store.labels(members),
                dtype=MATRIX,
            )
            self.inside[tensor.name] = Output(self.store.add(tensor), tuple(members))
            table |= self.store.reading(tensor, members)
        self.rest = substituted(b, self.rest, under_all_names(b, table))

    def stage(self, factors: Sequence[Node], dots: Sequence[Node]) -> None:
        """Store factors of the next products, and beside them what is multiplied so far and read again."""
        ready = [o for o in self.rest if self._multiplied(o.fields) and not (self.folds(o) or holds_dot(o.fields))]
        self._store(self._plain(factors), ready, dots)

    def finish(self) -> None:
        """The kernels of what is left: results along rows, then sums along them."""
        self._store((), [o for o in self.rest if not self.folds(o)], ())
        products = [o for o in self.rest if self._products(o)]
        self._add([o for o in self.rest if o not in products], {})
        known = under_all_names(self.builder, self.store.known)
        for output in substituted(self.builder, products, known):
            self.draft.steps.append(self.kernels.accumulated(output))

    def _store(self, factors: Sequence[Node], ready: Sequence[Output], dots: Sequence[Node]) -> None:
        """Kernels of factors and of results that are `ready`, and of what the rest reads of their products."""
        b, later, ready = self.builder, [o for o in self.rest if o not in ready], [*map(self._named, ready)]
        tensors, where = store_between(self.graph, factors, self.store.numbered("factor", factors))
        fresh = as_outputs(b, tensors, where)
        stored = under_all_names(b, {f: f for f in factors})
        again = [f for f in read_again(self.store, dots, fresh, later) if f not in stored]
        totals, places = store_between(self.graph, again, self.store.numbered("total"))
        table = self._reading(tensors, where) | self._reading(totals, places)
        held = dict[Node, Node]()
        for o in ready:
            b.declare(o.tensor)
            if o.tensor.dtype:
                found = ((f, b.input(o.tensor.name, i, o.tensor.axes)) for i, f in enumerate(o.fields))
                held |= {f: x for f, x in found if self._is_inside(f)}
        left = self._multiplied([f for o in substituted(b, later, under_all_names(b, table | held)) for f in o.fields])
        products, made = self._kept(left)
        why = {t.name: FACTORS for t in tensors} | {t.name: AGAIN for t in (*totals, *products)}
        outputs = [*fresh, *as_outputs(b, totals, places), *as_outputs(b, products, made), *ready]
        self._add(outputs, why, [f for o in later for f in o.fields])
        for o in ready:
            self.store.add(o.tensor)
        known = self.store.remember(tensors, where) | self.store.remember(totals, places)
        known |= self.store.remember(products, made) | held
        self.rest = substituted(b, later, under_all_names(b, known))

    def _reading(self, tensors: Sequence[Tensor], where: Places) -> dict[Node, Node]:
        """What will be read in place of fields; the tensors are not there yet."""
        for tensor in tensors:
            self.builder.declare(tensor)
        return {f: self.builder.input(t.name, i, t.axes) for f, (t, i) in where.items()}

    def _plain(self, fields: Sequence[Node]) -> list[Node]:
        """Fields under the names of axes that fewest of their inputs are renamed for, each once."""
        b = self.builder
        forms = ([f, *(b.rename([f], names)[0] for names in b.exchanges)] for f in fields)
        return list(dict.fromkeys(min(form, key=lambda f: self._others([f])) for form in forms))

    def _others(self, fields: Sequence[Node]) -> tuple[int, list[int]]:
        """How many of the tensors that fields are made of are read under other names of axes; and their own axes."""
        own = frozenset[str]().union(*(f.axes for f in fields))
        read = self.store.read(postorder(fields))
        return sum(bool(t.source) for t in read), sorted(self.graph.axes.index(a) for a in own)

    def _named(self, output: Output) -> Output:
        """What kernels hand to each other, under such names, too."""
        if not output.tensor.dtype:
            return output
        forms = [output]
        for names in self.builder.exchanges:
            dims = tuple(d if isinstance(d, int) else names.get(d, d) for d in output.tensor.dims)
            forms.append(Output(replace(output.tensor, dims=dims), tuple(self.builder.rename(output.fields, names))))
        return min(forms, key=lambda form: self._others(form.fields))

    def _is_inside(self, node: Node) -> bool:
        return node.kind == "Input" and self.builder.tensors.get(node.tensor, _NONE).memory in self.inside

    def _multiplied(self, fields: Sequence[Node]) -> list[Node]:
        """The products in fields that no tensor holds."""
        return [n for n in postorder(fields) if self._is_inside(n)]

    def _kept(self, products: Sequence[Node]) -> tuple[tuple[Tensor, ...], Places]:
        """Tensors for products that later kernels read, each under its own names of axes."""
        where, tensors = Places(), list[Tensor]()
        for name, made in self.inside.items():
            read = {n.component for n in products if self.builder.tensors[n.tensor].memory == name}
            if read:
                numbers, own = sorted(read), made.tensor
                labels = tuple(own.labels[i] for i in numbers)
                tensor = Tensor(self.store.numbered("total"), (len(read), *own.axes), labels, dtype=WORKSPACE)
                self.store.reserve([tensor.name])
                tensors.append(tensor)
                where |= {self.builder.input(name, i, own.axes): (tensor, at) for at, i in enumerate(numbers)}
        return tuple(tensors), where

    # kernels

    def _add(self, outputs: Sequence[Output], why: dict[str, str], later: Sequence[Node] = ()) -> None:
        """The kernels of results without Dots; those that read products multiply inside."""
        first = len(self.draft.steps)
        add_stages(self.draft, outputs, later, why)
        self.draft.steps[first:] = map(self.kernels.multiplying, self.draft.steps[first:])


class _Inside:
    """Kernels that multiply: `made` are products, by the tensor that nobody stores."""

    def __init__(self, draft: Draft, rows: str, made: Mapping[str, Output]) -> None:
        self.draft, self.graph, self.builder, self.store = draft, draft.graph, draft.builder, draft.store
        self.rows, self.inside = rows, made

    def multiplying(self, step: Step) -> Kernel:
        assert isinstance(step, Kernel)
        read = [t for t in step.inputs if t.memory in self.inside]
        if not read:
            return replace(step, short=True)
        if step.folds:
            raise Unfit("a sum along the rows is of a product")
        inside = tuple(self._under_names_of(t) for t in read)
        dots = [dot for o in inside for dot in o.fields]
        tensors = self.store.read(n for n in (*step.nodes, *postorder(dots)))
        inputs = tuple(t for t in tensors if t.memory not in self.inside)
        count = sum(len(dot.pairs) for dot in dots)
        note = f"multiplies {count} pair{'s' if count > 1 else ''} of fields inside: rows are short"
        return replace(
            step,
            kind=ENDING,
            rows=(self.rows,),
            loop=(),
            inner=self._columns([*step.nodes, *postorder(dots)], [o.tensor for o in step.stores]),
            inputs=inputs,
            notes=(*step.notes, note, *arithmetic(self.draft)),
            live=step.live,
            flat=False,
            optional=tuple(dict.fromkeys(t.memory for t in inputs if t.memory in self.draft.optional)),
            inside=inside,
            precision=self.graph.precision,
            short=True,
        )

    def _under_names_of(self, tensor: Tensor) -> Output:
        """What is multiplied, under the names of axes that a kernel reads it by."""
        made = self.inside[tensor.memory]
        return Output(tensor, tuple(along(self.builder, made.fields, made.tensor.axes, tensor.axes)))

    def _columns(self, nodes: Iterable[Node], tensors: Iterable[Tensor]) -> tuple[str, ...]:
        """All axes but the rows, in memory order; the last one is the innermost."""
        axes = frozenset[str]().union(*(n.axes for n in nodes), *(t.axes for t in tensors))
        return tuple(a for a in self.graph.axes if a in axes and a != self.rows)

    def accumulated(self, output: Output) -> Kernel:
        """The kernel of products that contract the rows: a weight's gradient, whose sums fill the registers."""
        dots = [dot for _, dot in map(multiple, output.fields) if dot.kind == "Dot"]
        factors = [x for dot in dots for x in dot.args]
        nodes = postorder(factors)
        tensors = self.store.read(nodes)
        count, operations = sum(len(dot.pairs) for dot in dots), cost(factors)
        notes = (
            f"accumulates {count} products of fields in registers, over {self.rows}: rows are short",
            "the partial results are added in a fixed order",
            *arithmetic(self.draft),
        )
        return Kernel(
            self.draft.kernel_name(),
            ENDING,
            (),
            (self.rows,),
            self._columns(nodes, [output.tensor]),
            tensors,
            tuple(n.tensor for n in nodes if n.kind == "Input" and n.tensor in self.graph.numbers),
            (),
            (Fold(output.tensor, output.fields),),
            notes,
            operations,
            operations,
            live(factors, dots),
            False,
            tuple(dict.fromkeys(t.memory for t in tensors if t.memory in self.draft.optional)),
            precision=self.graph.precision,
            short=True,
        )


_NONE = Tensor("", ())
