"""The form of a spec file: pydantic models of what may be written where, and the JSON schema that editors use.

The models check keys and types alone, on data whose scalars are still text; meaning is `load.py`'s business.
"""

import json
import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
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


def _type(value: object) -> object:
    if not isinstance(value, str | list) or value == "":
        raise wrong("a type", value, "such as multivector, even[b], weights(x, y) or a list of axes [b, n]")
    return [_text(item) for item in value] if isinstance(value, list) else value


def _initialisation(value: object) -> str:
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


def _dtype(value: object) -> object:
    if value not in ("int32", "int64"):
        raise wrong("int32 or int64", value, "a dtype makes an index; a floating tensor has any dtype")
    return value


def _precision(value: object) -> object:
    if not isinstance(value, str) or value not in PRECISIONS:
        raise wrong("tf32, tf32x3 or ieee", value, "without `precision` torch's own setting decides")
    return value


def _mapping(value: object) -> object:
    if not isinstance(value, dict):
        raise wrong("a mapping", value, "write it as name: value")
    return value


def _outputs(value: object) -> object:
    if not isinstance(value, list):
        return _mapping(value)
    if len({_text(name) for name in value}) < len(value):
        raise wrong("names of outputs, each once", value)
    return {_text(name): {} for name in value}


Integer = Annotated[int, BeforeValidator(_integer)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[list[Text], BeforeValidator(_texts)]
Integers = Annotated[list[Integer], BeforeValidator(_texts)]
SwitchDefault = Annotated[
    bool | str, BeforeValidator(_switch), WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string"}]})
]
OptionValue = Annotated[bool | int | float, BeforeValidator(_number), WithJsonSchema({"type": ["boolean", "number"]})]

_AXIS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 1}]}
Dims = Annotated[Texts, WithJsonSchema({"type": "array", "items": _AXIS})]
_TYPE_PATTERN = r"^(multivector|even|odd|scalar|grades\(.*\)|weights\(.*\))(\s*\[.*\])?$"
_TYPE: dict[str, Any] = {"anyOf": [{"type": "string", "pattern": _TYPE_PATTERN}, {"type": "array", "items": _AXIS}]}
_INITIALISATION: dict[str, Any] = {"type": "string", "pattern": r"^(zeros|ones|(normal|uniform)\s*\(.*\))$"}


def _choice_of(value: dict[str, Any]) -> dict[str, Any]:
    cases = {"type": "object", "additionalProperties": value}
    one = {"type": "object", "additionalProperties": cases, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [value, one]}


_INITIALISATION_CHOICE = _choice_of(_INITIALISATION)
_GRADES_CHOICE = _choice_of({"type": "array", "items": {"type": "integer", "minimum": 0}})
Initial = Annotated[str, BeforeValidator(_initialisation)]
TextCases = Annotated[dict[str, Text], BeforeValidator(_mapping)]
InitialCases = Annotated[dict[str, Initial], BeforeValidator(_mapping)]
GradesCases = Annotated[dict[str, Integers], BeforeValidator(_mapping)]
TextChoice = Annotated[dict[str, TextCases], BeforeValidator(_choice), WithJsonSchema(_choice_of({"type": "string"}))]
InitialChoice = Annotated[dict[str, InitialCases], BeforeValidator(_choice), WithJsonSchema(_INITIALISATION_CHOICE)]
GradesChoice = Annotated[dict[str, GradesCases], BeforeValidator(_choice), WithJsonSchema(_GRADES_CHOICE)]


class Form(BaseModel):
    """A mapping with exactly the keys declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, value: object) -> object:
        return _mapping(value)


class TypeForm(Form):
    """`multivector`, a list of axes, or `{type: [e], dtype: int64}`, which is read and not built yet."""

    type: Annotated[str | list[str] | None, BeforeValidator(_type)] = None
    dtype: Annotated[str | None, BeforeValidator(_dtype)] = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"type": _type(value)}


_INDEX: dict[str, Any] = {
    "type": "object",
    "description": "An index: a tensor of integers, never differentiable.",
    "properties": {"type": {"type": "array", "items": _AXIS}, "dtype": {"enum": ["int32", "int64"]}},
    "required": ["type"],
    "additionalProperties": False,
}
Input = Annotated[TypeForm, WithJsonSchema({"anyOf": [*_TYPE["anyOf"], _INDEX]})]
Inputs = Annotated[dict[str, Input], BeforeValidator(_mapping)]
_OUTPUTS: dict[str, Any] = {"type": "object", "additionalProperties": {"anyOf": _TYPE["anyOf"]}}
Outputs = Annotated[
    dict[str, TypeForm],
    BeforeValidator(_outputs),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, _OUTPUTS]}),
]


class AlgebraForm(Form):
    """The metric: `signature: [p, q, r]`, or `squares` of each generator with the index of the `first`."""

    signature: Annotated[Integers | None, Field(description="p, q, r: generators that square to 1, -1 and 0.")] = None
    squares: Annotated[Integers | None, Field(description="The square of each generator: 1, -1 or 0.")] = None
    first: Annotated[Integer | None, Field(description="The index of the first generator: 0 or 1.")] = None
    blades: Annotated[Texts | None, Field(description="All blades in storage order; e31 stores -e13.")] = None


class WeightsForm(Form):
    """How weights are stored."""

    order: Annotated[Texts, Field(description="Sort key of product paths: left, out, right in some order.")]
    memory: Annotated[Dims | None, Field(description="Memory order of weights(x, y), such as [n, path].")] = None
    fully_connected: Annotated[
        Dims | None, Field(description="Memory order of weights(x, y)[n, m], such as [path, n, m].")
    ] = None
    gradewise: Annotated[Dims | None, Field(description="Memory order of weights(x)[n, m], such as [grade, n, m].")] = (
        None
    )


class LayoutForm(Form):
    """Memory orders, slowest axis first."""

    multivector: Annotated[Dims, Field(description="Such as [blade, b, n] or [..., n, blade].")]
    weights: WeightsForm | None = None


class KernelForm(Form):
    """One kernel: its inputs, options and body."""

    doc: Annotated[Text, Field(description="What it computes, for readers of the generated module.")] = ""
    inputs: Annotated[Inputs, Field(description="Name and type of each tensor argument.")]
    options: Annotated[
        dict[str, OptionValue],
        BeforeValidator(_mapping),
        Field(description="Keyword-only arguments: true or false chooses a variant, a number is passed at run time."),
    ] = {}
    outputs: Annotated[Outputs | None, Field(description="Names of the results, and the axes of plain ones.")] = None
    grads: Annotated[Texts | None, Field(description="The differentiable inputs; all floating ones by default.")] = None
    order: Annotated[Integer, Field(description="The highest derivative order: 0, 1 or 2.")] = 2
    precision: Annotated[
        str | None,
        BeforeValidator(_precision),
        Field(
            description="How its matrix products multiply fp32: in one pass of tf32, in three, or in full; as torch's "
            "own setting says by default."
        ),
        WithJsonSchema({"enum": [*PRECISIONS]}),
    ] = None
    deterministic: Annotated[Boolean, Field(description="Whether float atomics are forbidden.")] = True
    memory: Annotated[Dims | None, Field(description="Memory order of this kernel's multivectors.")] = None
    body: Annotated[Text, Field(description="Assignments and one return, in kgen's expression language.")]


class ParameterForm(Form):
    """`normal(grade)`, or `{input: weight, init: normal(grade)}` where the input's name is not the parameter's."""

    input: Annotated[Text | None, Field(description="The kernel's input; the parameter's own name by default.")] = None
    init: Annotated[
        InitialChoice, Field(description=f"Values to start from: {INITIALISATIONS}; or a choice between them.")
    ]
    shape: Annotated[
        Dims | None,
        Field(description="The input's dims with ones between them, such as [1, 1, n]; its own dims by default."),
    ] = None
    grades: Annotated[
        GradesChoice | None,
        Field(
            description="The parameter has no axis of blades: the blades of these grades have its values, the others "
            "zero. Or a choice between grades."
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"init": _initialisation(value)}


_PARAMETER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "input": {"type": "string", "description": ParameterForm.model_fields["input"].description},
        "init": {**_INITIALISATION_CHOICE, "description": ParameterForm.model_fields["init"].description},
        "shape": {"type": "array", "items": _AXIS, "description": ParameterForm.model_fields["shape"].description},
        "grades": {**_GRADES_CHOICE, "description": ParameterForm.model_fields["grades"].description},
    },
    "required": ["init"],
    "additionalProperties": False,
}
ParameterEntry = Annotated[ParameterForm, WithJsonSchema({"anyOf": [_INITIALISATION, _PARAMETER]})]


class ModuleForm(Form):
    """An nn.Module around a kernel: some of its inputs are parameters, the others are what forward takes.

    A choice is written {option: {case: value, ...}}, such as {fast: {true: f, false: g}}: one value for each case.
    """

    doc: Annotated[Text, Field(description="What it is, for readers of the generated class.")] = ""
    kernel: Annotated[
        TextChoice,
        Field(
            description="The kernel that forward calls, or a choice between kernels with the same inputs and options."
        ),
    ]
    options: Annotated[
        dict[str, SwitchDefault],
        BeforeValidator(_mapping),
        Field(
            description="Keyword-only arguments beside the kernel's own, each with its default: true or false, or one "
            "of the words between which it chooses."
        ),
    ] = {}
    sizes: Annotated[
        dict[str, Text],
        BeforeValidator(_mapping),
        Field(
            description="The constructor's arguments in order, by the parameters' axes; an axis's own name by default."
        ),
    ] = {}
    parameters: Annotated[
        dict[str, ParameterEntry],
        BeforeValidator(_mapping),
        Field(description="The parameters by their names in the state_dict, each with its initialisation."),
    ]
    ignore: Annotated[
        Texts,
        Field(description="Keys that other libraries' state dicts have besides; loading takes no notice of them."),
    ] = []


class SpecForm(Form):
    """A kgen spec: geometric-algebra operations to compile into one Triton module."""

    kgen: Annotated[Integer, Field(description="The version of this format: 1.")]
    name: Annotated[Text, Field(description="The generated module's name, a Python identifier.")]
    doc: Annotated[Text, Field(description="What the module is for.")] = ""
    algebra: AlgebraForm | None = None
    layout: LayoutForm | None = None
    kernels: Annotated[dict[str, KernelForm], BeforeValidator(_mapping), Field(description="The kernels by name.")]
    modules: Annotated[
        dict[str, ModuleForm], BeforeValidator(_mapping), Field(description="nn.Modules around kernels, by class name.")
    ] = {}


def json_schema() -> dict[str, Any]:
    """The JSON schema of a spec file."""
    schema = SpecForm.model_json_schema()
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    schema["title"] = "kgen spec"
    return schema


def json_text() -> str:
    """The JSON schema as the text of `kgen.schema.json`."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"
