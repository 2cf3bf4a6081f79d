"""The front door: a spec file in, `model.Spec` out, or every mistake in it at once.

In: a YAML file. Out: frozen data in which every name is one that generated code can use, every type has its memory
order, and every body is in the expression language (what it means is `trace`'s business). Guaranteed: no text
makes anything but KgenErrors, each with its line and column and, where there is one, a hint. Of a spec with mistakes a
draft is left, by which those in its bodies are found, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kgen.errors import KgenError, KgenErrors, in_order
from kgen.spec import document as documents
from kgen.spec import kernel_forms, layouts, module_forms, names, signature, stamp, structure
from kgen.spec.body import parse_body, place
from kgen.spec.document import Document, Place
from kgen.spec.model import Algebra, Kernel, Layout, Spec
from kgen.spec.schema import AlgebraForm, SpecForm

__all__ = ["Draft", "drafts", "load", "load_all", "parse_body", "place"]

FORMAT = 1  # the version of the format that this kgen reads


@dataclass(slots=True)
class Draft:
    """What could be read of a spec, and the mistakes in it. Inputs whose type could not be read have none."""

    spec: Spec | None
    errors: list[KgenError] = field(default_factory=list)


def load(path: str, text: str | None = None) -> Spec:
    """The spec in a file, or in `text` with `path` as its name; KgenErrors with all mistakes, sorted by place."""
    draft = _draft(path, text)
    if draft.errors or draft.spec is None:
        raise KgenErrors(in_order(draft.errors))
    return draft.spec


def load_all(paths: Sequence[str]) -> list[Spec]:
    """The specs in several files, whose module names differ; KgenErrors with the mistakes of all."""
    found = drafts(paths)
    errors = [error for draft in found for error in in_order(draft.errors)]
    if errors:
        raise KgenErrors(errors)
    return [draft.spec for draft in found if draft.spec]


def drafts(paths: Sequence[str]) -> list[Draft]:
    """What is in several files, whose module names must differ; mistakes are listed and not raised."""
    found = [_draft(path) for path in paths]
    first: dict[str, Spec] = {}
    for draft in found:
        if draft.spec:
            other = first.setdefault(draft.spec.name.lower(), draft.spec)  # some file systems ignore case
            if other is not draft.spec:
                message = f"module name `{draft.spec.name}` is taken by {other.path}"
                hint = "every spec of a build needs a `name` of its own"
                draft.errors.append(KgenError(message, draft.spec.mark, hint))
    return found


def _draft(path: str, text: str | None = None) -> Draft:
    try:
        if not path.isprintable():
            raise KgenErrors([KgenError(f"{names.shown(path)} cannot name a spec", hint="generated code has the name")])
        text = _file_text(path) if text is None else text
        document = documents.read(path, text)
    except KgenErrors as unreadable:
        return Draft(None, unreadable.errors)
    form = structure.form(document)
    return Draft(_spec(document, form, stamp.digest(text), stamp.parts(text)) if form else None, document.errors)


def _file_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise KgenErrors([KgenError(f"{names.shown(path)} is not UTF-8 text: byte {error.start}")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise KgenErrors([KgenError(f"cannot read {names.shown(path)}: {reason.lower()}")]) from None


def _spec(document: Document, form: SpecForm, digest: str, parts: dict[str, str]) -> Spec:
    """The spec of well-formed data; mistakes of meaning are noted in the document."""
    if form.kgen != FORMAT:
        with document.noting(("kgen",)):
            raise KgenError(f"version {form.kgen} of the format is unknown", hint=f"this kgen reads version {FORMAT}")
    with document.noting(("name",)):
        names.check_module(form.name)
    with document.noting(("doc",)):
        names.check_doc(form.doc)
    algebra = _algebra(document, form.algebra) if form.algebra else None
    layout = layouts.layout(document, form.layout, form.algebra is not None)
    sound = (algebra is None) == (form.algebra is None) and layout is not None
    kernels = _kernels(document, form, algebra, layout or Layout()) if sound else ()
    modules = module_forms.modules(document, form, kernels) if sound else ()
    mark = document.value(("name",))
    doc = form.doc.strip()
    return Spec(form.name, doc, algebra, layout or Layout(), kernels, document.path, digest, mark, modules, parts)


def _kernels(document: Document, form: SpecForm, algebra: Algebra | None, layout: Layout) -> tuple[Kernel, ...]:
    if not form.kernels and not document.errors:
        with document.noting(("kernels",)):
            raise KgenError("a spec has at least one kernel")
    found = [kernel_forms.kernel(document, name, form.kernels[name], algebra, layout) for name in form.kernels]
    for name in form.kernels:
        with document.noting(("kernels", name), key=True):
            names.check_public(name, "a kernel", list(form.kernels))
    return tuple(kernel for kernel in found if kernel)


def _algebra(document: Document, form: AlgebraForm) -> Algebra | None:
    """The algebra of a signature, or of squares with the first index."""
    here: Place = ("algebra",)
    with document.noting((*here, "signature") if form.signature is not None else (*here, "squares")):
        squares, first = _generators(form)
        blades = signature.standard_blades(len(squares), first)
        with document.noting((*here, "blades")):
            if form.blades is not None:
                blades = signature.listed_blades(form.blades, len(squares), first)
            return Algebra(squares, first, blades)
    return None


def _generators(form: AlgebraForm) -> tuple[tuple[int, ...], int]:
    if (form.signature is None) == (form.squares is None):
        raise KgenError("an algebra has either `signature` or `squares`", hint="such as signature: [3, 0, 0]")
    if form.signature is not None:
        if form.first is not None:
            raise KgenError("`first` goes with `squares`", hint="a signature numbers its generators itself")
        return signature.generators(form.signature)
    return signature.explicit(form.squares or [], 1 if form.first is None else form.first)
