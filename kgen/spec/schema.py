"""The form of a spec file: pydantic models of what may be written where, and the JSON schema that editors use.

The models check keys alone, and by `entries.py` what stands behind each; meaning is `load.py`'s business.
"""

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from kgen.spec.entries import (
    AXIS,
    GRADES_CHOICE,
    INITIALISATION,
    INITIALISATION_CHOICE,
    INITIALISATIONS,
    INPUT,
    PARAMETER,
    TYPE,
    Boolean,
    Dims,
    GradesChoice,
    InitialChoice,
    Integer,
    Integers,
    OptionValue,
    Precision,
    SwitchDefault,
    Text,
    TextChoice,
    Texts,
    TypeText,
    initialisation,
    mapping,
    output_names,
    type_text,
)


class Form(BaseModel):
    """A mapping with exactly the keys declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, value: object) -> object:
        return mapping(value)


class TypeForm(Form):
    """`multivector`, a list of axes, or `{type: …}`."""

    type: TypeText = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"type": type_text(value)}


Input = Annotated[TypeForm, WithJsonSchema(INPUT)]
Inputs = Annotated[dict[str, Input], BeforeValidator(mapping)]
_OUTPUTS: dict[str, Any] = {"type": "object", "additionalProperties": {"anyOf": TYPE["anyOf"]}}
Outputs = Annotated[
    dict[str, TypeForm],
    BeforeValidator(output_names),
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
        BeforeValidator(mapping),
        Field(description="Keyword-only arguments: true or false chooses a variant, a number is passed at run time."),
    ] = {}
    outputs: Annotated[Outputs | None, Field(description="Names of the results, and the axes of plain ones.")] = None
    grads: Annotated[Texts | None, Field(description="The differentiable inputs; all floating ones by default.")] = None
    order: Annotated[Integer, Field(description="The highest derivative order: 0, 1 or 2.")] = 2
    precision: Annotated[
        Precision,
        Field(
            description="How its matrix products multiply fp32: in one pass of tf32, in three, or in full; as torch's "
            "own setting says by default."
        ),
    ] = None
    narrow: Annotated[
        Boolean,
        Field(
            description="Whether there are further kernels for up to 64 features, which multiply matrices where their "
            "products are needed."
        ),
    ] = False
    dense: Annotated[
        Boolean,
        Field(
            description="Whether linear maps multiply all components as one matrix, zeros included: faster for few "
            "features, slower for many."
        ),
    ] = False
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
        Field(
            description="The input's dims with ones between them, such as [1, 1, n], and with products of "
            "adjacent ones, such as [4*n, 9]; its own dims by default."
        ),
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
        return value if isinstance(value, dict) else {"init": initialisation(value)}


_PARAMETER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "input": {"type": "string", "description": ParameterForm.model_fields["input"].description},
        "init": {**INITIALISATION_CHOICE, "description": ParameterForm.model_fields["init"].description},
        "shape": {"type": "array", "items": AXIS, "description": ParameterForm.model_fields["shape"].description},
        "grades": {**GRADES_CHOICE, "description": ParameterForm.model_fields["grades"].description},
    },
    "required": ["init"],
    "additionalProperties": False,
}
ParameterEntry = Annotated[ParameterForm, WithJsonSchema({"anyOf": [INITIALISATION, _PARAMETER]})]


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
        BeforeValidator(mapping),
        Field(
            description="Keyword-only arguments beside the kernel's own, each with its default: true or false, or one "
            "of the words between which it chooses."
        ),
    ] = {}
    sizes: Annotated[
        dict[str, Text],
        BeforeValidator(mapping),
        Field(
            description="The constructor's arguments in order, by the parameters' axes; an axis's own name by default. "
            "Or a multiple of another axis, such as 2*k, for which there is no argument."
        ),
    ] = {}
    parameters: Annotated[
        dict[str, ParameterEntry],
        BeforeValidator(mapping),
        Field(
            description="The parameters by their names in the state_dict, such as weight, linear.weight, "
            "layers.0.weight or 0.weight, each with its initialisation.",
            json_schema_extra={"propertyNames": {"pattern": PARAMETER}},
        ),
    ]
    ignore: Annotated[
        Texts,
        Field(
            description="Keys that other libraries' state dicts have besides, layer.* for all that start with layer.; "
            "loading takes no notice of them."
        ),
    ] = []


class SpecForm(Form):
    """A kgen spec: geometric-algebra operations to compile into one Triton module."""

    kgen: Annotated[Integer, Field(description="The version of this format: 1.")]
    name: Annotated[Text, Field(description="The generated module's name, a Python identifier.")]
    doc: Annotated[Text, Field(description="What the module is for.")] = ""
    algebra: AlgebraForm | None = None
    layout: LayoutForm | None = None
    kernels: Annotated[dict[str, KernelForm], BeforeValidator(mapping), Field(description="The kernels by name.")]
    modules: Annotated[
        dict[str, ModuleForm], BeforeValidator(mapping), Field(description="nn.Modules around kernels, by class name.")
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
