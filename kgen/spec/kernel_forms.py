"""Kernels as specs write them: one entry under `kernels:` in, `model.Kernel` out, mistakes noted in the document."""

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

from kgen.errors import KgenError, KgenErrors
from kgen.spec import draws, names, tensor_types, terms
from kgen.spec.body import parse_body, place
from kgen.spec.document import Document, Place
from kgen.spec.layouts import multivector_order
from kgen.spec.model import ELLIPSIS, Algebra, Argument, Kernel, Layout, Option, Type
from kgen.spec.schema import KernelForm, TypeForm
from kgen.spec.tensor_types import Scope
from kgen.wording import counted

ORDERS = range(3)  # derivative orders that can be asked for


def kernel(document: Document, name: str, form: KernelForm, algebra: Algebra | None, layout: Layout) -> Kernel | None:
    """The kernel; mistakes are noted, and what they concern is left out. None where nothing says how its body reads."""
    here: Place = ("kernels", name)
    scope = _scope(document, here, form, algebra, layout)
    inputs = tuple(_inputs(document, here, form, scope))
    options = tuple(Option(n, v, document.key((*here, "options", n))) for n, v in form.options.items())
    outputs = tuple(_outputs(document, here, form, scope))
    result = Kernel(
        name=name,
        doc=form.doc.strip(),
        inputs=inputs,
        options=options,
        outputs=outputs,
        grads=_grads(document, here, form, inputs),
        order=form.order,
        deterministic=form.deterministic,
        body=form.body,
        memory=scope.memory,
        mark=document.key(here),
        body_mark=document.text((*here, "body")),
        precision=form.precision,
        narrow=form.narrow,
        dense=form.dense,
    )
    with document.noting((*here, "doc")):
        names.check_doc(form.doc)
    with document.noting((*here, "order")):
        if form.order not in ORDERS:
            raise KgenError(f"derivatives of order {form.order} are not generated", hint="order: 0, 1 or 2")
    with document.noting((*here, "dense")):
        if form.dense and form.narrow:
            raise KgenError("`dense` and `narrow` are two ways to multiply few features", hint="leave one of them out")
    _check_names(document, here, result)
    _check_body(document, here, result)
    return result if document.verbatim((*here, "body")) else None


def _scope(document: Document, here: Place, form: KernelForm, algebra: Algebra | None, layout: Layout) -> Scope:
    memory = layout.multivector
    if form.memory is not None:
        memory = multivector_order(document, (*here, "memory"), form.memory)
        with document.noting((*here, "memory")):
            if algebra is None:
                raise KgenError("`memory` is of multivectors, but the spec has no algebra")
    plain = any(ELLIPSIS in (entry.type or ()) for entry in form.inputs.values())
    leading = ELLIPSIS in memory if memory else plain
    return Scope(algebra, layout, memory, leading, {})


def _inputs(document: Document, here: Place, form: KernelForm, scope: Scope) -> Iterator[Argument]:
    """The inputs in their order, without a type where it is a mistake; weights are read last: they refer to others."""
    if not form.inputs:
        with document.noting((*here, "inputs")):
            raise KgenError("a kernel has at least one input")
    for weights in (False, True):
        for name, entry in form.inputs.items():
            if _is_weights(entry) == weights:
                scope.lost.add(name)
                with document.noting((*here, "inputs", name)):
                    scope.inputs[name] = _input_type(entry, scope)
                    scope.lost.remove(name)
    _check_floating(document, here, scope)
    _check_indices(document, here, scope)
    _check_seeds(document, here, scope, list(form.inputs))
    for name in form.inputs:
        yield Argument(name, scope.inputs.get(name), document.key((*here, "inputs", name)))
    for cut, mark in document.cut.items():
        if cut[:-1] == (*here, "inputs") and cut[-1] not in form.inputs:
            yield Argument(str(cut[-1]), None, mark)


def _check_floating(document: Document, here: Place, scope: Scope) -> None:
    """Results have the dtype of the floating inputs."""
    if scope.inputs and not scope.lost and not any(t.floating for t in scope.inputs.values()):
        with document.noting((*here, "inputs"), key=True):
            raise KgenError("all inputs are of integers", hint="a floating one says in which dtype results are")


def _check_indices(document: Document, here: Place, scope: Scope) -> None:
    """What an index points into is an axis of a floating input, which says how many positions there are."""
    floating = [t for t in scope.inputs.values() if t.floating]
    known = {axis for t in floating for axis in t.axes}
    unknown = [(name, t) for name, t in scope.inputs.items() if t.kind == "index" and t.into not in known]
    for name, found in unknown if floating and not scope.lost else ():
        with document.noting((*here, "inputs", name)):
            del scope.inputs[name]
            hint = f"its floating inputs have {' '.join(sorted(known)) or 'no axes'}; one of them has the positions"
            raise KgenError(f"no floating input has the axis {found.into}", hint=hint)


def _check_seeds(document: Document, here: Place, scope: Scope, inputs: Sequence[str]) -> None:
    """Seeds are last, because a caller may leave them out."""
    seeds = [name for name in inputs if name in scope.inputs and scope.inputs[name].kind == "seed"]
    for name in seeds:
        if others := [n for n in inputs[inputs.index(name) + 1 :] if n not in seeds]:
            with document.noting((*here, "inputs", name)):
                raise KgenError(f"`{name}` is a seed before `{others[0]}`", hint="seeds are the last inputs")


def _is_weights(entry: TypeForm) -> bool:
    return isinstance(entry.type, str) and entry.type.strip().startswith("weights")


def _input_type(entry: TypeForm, scope: Scope) -> Type:
    if entry.type is None:
        raise KgenError("`type` is missing", hint="as in {type: [b, n]}")
    return tensor_types.read(entry.type, scope)


def _outputs(document: Document, here: Place, form: KernelForm, scope: Scope) -> Iterator[Argument]:
    for name, entry in (form.outputs or {}).items():
        found: Type | None = None
        with document.noting(_output_place(document, here, name)):
            found = tensor_types.read(entry.type, scope) if entry.type is not None else None
            if found is not None and (found.kind == "weights" or not found.floating):
                raise KgenError("an output is a multivector or plain axes")
        yield Argument(name, found, document.key(_output_place(document, here, name)))
    if form.outputs is not None and not form.outputs:
        with document.noting((*here, "outputs")):
            raise KgenError(
                "a kernel has at least one output", hint="without `outputs` results are named after what is returned"
            )


def _grads(document: Document, here: Place, form: KernelForm, inputs: tuple[Argument, ...]) -> tuple[str, ...]:
    """The differentiable inputs in input order; by default all floating ones."""
    floating = [a.name for a in inputs if a.type and a.type.floating]
    for i, name in enumerate(form.grads or ()):
        with document.noting((*here, "grads", i)):
            if name in (form.grads or ())[:i]:
                raise KgenError(f"{names.shown(name)} is listed twice")
            if name not in floating and name not in {a.name for a in inputs if a.type is None}:
                near = get_close_matches(name, floating, 1)
                hint = f"did you mean {near[0]}?" if near else f"floating inputs: {', '.join(floating) or 'none'}"
                raise KgenError(f"{names.shown(name)} is not a floating input of this kernel", hint=hint)
    return tuple(name for name in floating if form.grads is None or name in form.grads)


def _check_names(document: Document, here: Place, found: Kernel) -> None:
    """Names of inputs, options and outputs: usable and distinct."""
    written = [(a.name, (*here, "inputs", a.name), "an input") for a in found.inputs]
    written += [(o.name, (*here, "options", o.name), "an option") for o in found.options]
    written += [(a.name, _output_place(document, here, a.name), "an output") for a in found.outputs]
    taken = list[str]()
    for name, where, what in written:
        with document.noting(where, key=True):
            names.check_argument(name, what, taken)
        taken.append(name)


def _output_place(document: Document, here: Place, name: str) -> Place:
    """Where an output is declared: as a key, or in a list of names."""
    inside: Place = (*here, "outputs")
    listed = (place for place, node in document.scalars.items() if place[:-1] == inside and node.value == name)
    return (*inside, name) if (*inside, name) in document.keys else next(listed, inside)


def _check_body(document: Document, here: Place, found: Kernel) -> None:
    """The body is in the language, written so that its lines are the file's, and returns the declared results."""
    if not document.verbatim((*here, "body")):
        with document.noting((*here, "body")):
            raise KgenError("a body of several lines is written as a block", hint="as in `body: |` and indented lines")
        return
    try:
        tree = parse_body(found)
    except KgenErrors as errors:
        document.errors.extend(errors.errors)
        return
    for statement in tree.body:
        with document.noting((*here, "body")):
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                _check_variable(found, statement.targets[0])
            elif isinstance(statement, ast.Return):
                _check_results(found, statement)
    for target in filter(None, map(terms.variable, terms.all_terms(tree))):
        with document.noting((*here, "body")):
            _check_number(found, tree, target)
    for node in draws.repeated(found, tree):
        with document.noting((*here, "body")), _at(found, node):
            hint = 'drop before the sum, as dropout(x, p, seed, each="grade") does for each grade'
            raise KgenError("a term of a sum with `for` draws no random numbers", hint=hint)


def _check_variable(found: Kernel, target: ast.Name) -> None:
    with _at(found, target):
        names.check_word(target.id, "a variable")


def _check_number(found: Kernel, tree: ast.Module, target: ast.Name) -> None:
    """The variable of a `for` is no other name of the body: the number stands wherever its name does."""
    with _at(found, target):
        names.check_word(target.id, "a number")
        taken = {argument.name for argument in (*found.inputs, *found.outputs)} | {o.name for o in found.options}
        taken |= {axis for a in found.inputs if a.type for axis in a.type.axes}
        taken |= {t.id for s in tree.body if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)}
        if target.id in taken:
            hint = "the variable of a `for` differs from inputs, options, outputs, axes and variables"
            raise KgenError(f"`{target.id}` is already a name in this kernel", hint=hint)


def _check_results(found: Kernel, statement: ast.Return) -> None:
    """As many results as outputs."""
    results = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
    with _at(found, statement):
        if found.outputs and len(results) != len(found.outputs):
            outputs = counted(len(found.outputs), "declared output")
            message = f"the body returns {counted(len(results), 'result')} for {outputs}"
            raise KgenError(message, hint="`outputs` names each result in order")


@contextmanager
def _at(found: Kernel, node: ast.AST) -> Iterator[None]:
    """Give a KgenError raised inside the place of a node of the body."""
    try:
        yield
    except KgenError as error:
        raise KgenError(error.message, place(found, node), error.hint) from None
