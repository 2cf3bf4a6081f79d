"""The structure of a spec file: a document in, the pydantic models of `schema.py` out, mistakes noted in the document.

What is wrong inside one kernel or module is noted and the entry left out, so that all mistakes of a file come to light
at once.
"""

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kgen.errors import KgenError
from kgen.spec import names
from kgen.spec.document import Document, Place
from kgen.spec.schema import (
    AlgebraForm,
    KernelForm,
    LayoutForm,
    ModuleForm,
    ParameterForm,
    SpecForm,
    TypeForm,
    WeightsForm,
)


def form(document: Document) -> SpecForm | None:
    """The document as models; None when a mistake outside these entries leaves nothing to go on with."""
    for _ in range(2):
        try:
            return SpecForm.model_validate(document.data)
        except ValidationError as error:
            details = error.errors(include_url=False)
        document.errors.extend(_error(document, detail) for detail in details)
        left_out = [_leave_out(document.data, detail) for detail in details]
        if not all(left_out):
            return None
    return None


def _leave_out(data: Any, detail: ErrorDetails) -> bool:
    """Take an unknown key, or else the entry with the mistake, off the data; False when the mistake is elsewhere."""
    loc = detail["loc"]
    unknown = detail["type"] == "extra_forbidden"
    if not unknown and (len(loc) < 2 or loc[0] not in ("kernels", "modules")):
        return False
    *way, last = loc if unknown else loc[:2]
    for key in way:
        data = data.get(key, {})
    data.pop(last, None)
    return True


def _error(document: Document, detail: ErrorDetails) -> KgenError:
    loc: Place = detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            valid = list(_model(loc[:-1]).model_fields)
            near = get_close_matches(str(loc[-1]), valid, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"the keys here are {', '.join(valid)}"
            return KgenError(f"unknown key {names.shown(str(loc[-1]))}", document.key(loc), hint)
        case "missing":
            inside = f" in {names.shown(str(loc[-2]))}" if len(loc) > 1 else ""
            return KgenError(f"`{loc[-1]}` is missing{inside}", document.key(loc[:-1]))
    return KgenError(detail["msg"], document.value(loc), detail.get("ctx", {}).get("hint"))


def _model(loc: Place) -> type[BaseModel]:
    """The model of the mapping at a place."""
    match loc:
        case ("algebra",):
            return AlgebraForm
        case ("layout",):
            return LayoutForm
        case ("layout", "weights"):
            return WeightsForm
        case ("kernels", _):
            return KernelForm
        case ("kernels", _, *_):
            return TypeForm
        case ("modules", _):
            return ModuleForm
        case ("modules", _, *_):
            return ParameterForm
    return SpecForm
