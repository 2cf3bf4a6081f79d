"""The entries of a spec file: what may stand behind a key, as types that pydantic validates.

In: plain data whose scalars are still text. Out: truth values, numbers and texts, and lists and mappings of them.
Guaranteed: anything else is an error that says what was expected and what is there, and the JSON schema of each type
says the same to editors.
"""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from kgen.spec.model import PRECISIONS
from kgen.spec.names import shown

INITIALISATIONS = "zeros, ones, normal(n) and uniform(n)"  # n: any counts, whose product scales the distribution
FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def wrong(expected: str, got: object, hint: str | None = None) -> PydanticCustomError:
    """The error of a value that is not what was expected."""
    kind = "a mapping" if isinstance(got, dict) else "a list" if isinstance(got, list) else shown(str(got))
    kind = kind if got else "nothing"
    return PydanticCustomError(
        "kgen", "expected {expected}, not {kind}", {"expected": expected, "kind": kind, "hint": hint}
    )


def _integer(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[-+]?[0-9]{1,18}", value):
        raise wrong("a whole number", value)
    return int(value)


def _boolean(value: object) -> bool:
    if value not in ("true", "false", "True", "False"):
        raise wrong("true or false", value)
    return value in ("true", "True")


def _number(value: object) -> bool | int | float:
    if value in ("true", "false", "True", "False"):
        return _boolean(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, str) and len(value) < 40 and FLOAT.fullmatch(value) and math.isfinite(float(value)):
        return float(value)
    raise wrong("true, false or a finite number", value, "an option is a truth value or a number")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong("a text", value)
    return value


def _texts(value: object) -> object:
    if not isinstance(value, list):
        raise wrong("a list", value, "write it as [a, b]")
    return value


def type_text(value: object) -> object:
    if not isinstance(value, str | list) or value == "":
        raise wrong("a type", value, "such as multivector, even[b], weights(x, y) or a list of axes [b, n]")
    return [_text(item) for item in value] if isinstance(value, list) else value


def initialisation(value: object) -> str:
    if not isinstance(value, str) or value == "":
        raise wrong("an initialisation", value, f"one of {INITIALISATIONS}; or {{input: weight, init: zeros}}")
    return value


def _switch(value: object) -> bool | str:
    if value in ("true", "false", "True", "False"):
        return _boolean(value)
    if not isinstance(value, str) or value == "":
        raise wrong("true, false or a word", value, "an option of a module is a truth value, or one of several words")
    return value


def _choice(value: object) -> object:
    """A plain value is the choice of no option."""
    if not isinstance(value, dict):
        return {"": {"": value}}
    if len(value) != 1 or "" in value:
        raise wrong("one option with a value for each case", value, "as in {fast: {true: one_value, false: another}}")
    return value


def _precision(value: object) -> object:
    if not isinstance(value, str) or value not in PRECISIONS:
        raise wrong("tf32, tf32x3 or ieee", value, "without `precision` torch's own setting decides")
    return value


def mapping(value: object) -> object:
    if not isinstance(value, dict):
        raise wrong("a mapping", value, "write it as name: value")
    return value


def output_names(value: object) -> object:
    if not isinstance(value, list):
        return mapping(value)
    if len({_text(name) for name in value}) < len(value):
        raise wrong("names of outputs, each once", value)
    return {_text(name): {} for name in value}


Integer = Annotated[int, BeforeValidator(_integer)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[list[Text], BeforeValidator(_texts)]
Integers = Annotated[list[Integer], BeforeValidator(_texts)]
TypeText = Annotated[str | list[str] | None, BeforeValidator(type_text)]
Precision = Annotated[str | None, BeforeValidator(_precision), WithJsonSchema({"enum": [*PRECISIONS]})]
SwitchDefault = Annotated[
    bool | str, BeforeValidator(_switch), WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string"}]})
]
OptionValue = Annotated[bool | int | float, BeforeValidator(_number), WithJsonSchema({"type": ["boolean", "number"]})]

AXIS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 1}]}
Dims = Annotated[Texts, WithJsonSchema({"type": "array", "items": AXIS})]
_TYPE_PATTERN = r"^(multivector|even|odd|scalar|grades\(.*\)|weights\(.*\))(\s*\[.*\])?$"
_INTEGER_PATTERN = r"^(index\(\s*\w+\s*\)\s*\[\s*\w+\s*\]|seed)$"
TYPE: dict[str, Any] = {"anyOf": [{"type": "string", "pattern": _TYPE_PATTERN}, {"type": "array", "items": AXIS}]}
INPUT: dict[str, Any] = {"anyOf": [*TYPE["anyOf"], {"type": "string", "pattern": _INTEGER_PATTERN}]}
_NAME, _PLACE = r"[A-Za-z_][A-Za-z0-9_]*", r"0|[1-9][0-9]{0,2}"
PARAMETER = rf"^({_NAME}|({_PLACE})\.({_NAME}|{_PLACE}))(\.({_NAME}|{_PLACE}))*$"  # its name
INITIALISATION: dict[str, Any] = {"type": "string", "pattern": r"^(zeros|ones|(normal|uniform)\s*\(.*\))$"}


def _choice_of(value: dict[str, Any]) -> dict[str, Any]:
    cases = {"type": "object", "additionalProperties": value}
    one = {"type": "object", "additionalProperties": cases, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [value, one]}


INITIALISATION_CHOICE = _choice_of(INITIALISATION)
GRADES_CHOICE = _choice_of({"type": "array", "items": {"type": "integer", "minimum": 0}})
Initial = Annotated[str, BeforeValidator(initialisation)]
TextCases = Annotated[dict[str, Text], BeforeValidator(mapping)]
InitialCases = Annotated[dict[str, Initial], BeforeValidator(mapping)]
GradesCases = Annotated[dict[str, Integers], BeforeValidator(mapping)]
TextChoice = Annotated[dict[str, TextCases], BeforeValidator(_choice), WithJsonSchema(_choice_of({"type": "string"}))]
InitialChoice = Annotated[dict[str, InitialCases], BeforeValidator(_choice), WithJsonSchema(INITIALISATION_CHOICE)]
GradesChoice = Annotated[dict[str, GradesCases], BeforeValidator(_choice), WithJsonSchema(GRADES_CHOICE)]
