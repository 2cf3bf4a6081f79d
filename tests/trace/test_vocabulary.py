"""Every word of bodies has all that it needs, and what is missing is named: a lowering, a reference, bodies, accuracy;
and every function of the graph that lowerings call: a value, a derivative, a cost, a spelling.

CONTRIBUTING.md, "How to add an operation", has these in the order in which they are written.
"""

import re
from functools import partial

import pytest
import torch
from evaluate import CALLS, CHEAP
from handmade import one
from pages import CONTRIBUTING, ROOT, Page
from test_body_cases import BODIES, DEFINITE
from test_trace import run

from benchmarks import pointwise
from kgen.emit.kernel.printer import FUNCTIONS
from kgen.graph.arithmetic import CONDITIONS, FOLDED
from kgen.graph.autodiff import DERIVATIVES
from kgen.graph.cost import WEIGHTS
from kgen.reference import runtime
from kgen.reference import source as reference
from kgen.spec.vocabulary import GROUPS, VOCABULARY, Word
from kgen.trace import lowering as to
from kgen.trace import ops

CASES = BODIES | DEFINITE
WORDS = list(VOCABULARY.values())
FILES = ("kgen/spec/vocabulary.py", "kgen/trace/ops.py", "kgen/trace/lowering.py", "tests/trace/test_body_cases.py")
DEVICE_FUNCTIONS = "templates/runtime/kernels.py"
TABLES: dict[tuple[str, str], set[str]] = {  # of the graph's functions, with those that they need not name
    ("kgen/graph/arithmetic.py", "FOLDED"): {*FOLDED, *CONDITIONS, "where", "detach"},
    ("kgen/graph/autodiff.py", "DERIVATIVES"): {*DERIVATIVES},
    ("kgen/graph/cost.py", "WEIGHTS"): {*WEIGHTS, *CHEAP},
    ("kgen/emit/kernel/printer.py", "FUNCTIONS"): {*FUNCTIONS, *CONDITIONS, "detach"},
    ("tests/support/evaluate.py", "CALLS"): {*CALLS},
}


def cases(word: Word) -> list[str]:
    """The bodies that have the word."""
    return [name for name, (_, body) in CASES.items() if re.search(rf"\b{word.name}\b", body)]


@pytest.mark.parametrize("word", WORDS, ids=list(VOCABULARY))
def test_it_has_a_lowering(word: Word) -> None:
    assert word.name in ops.MEANINGS, f"kgen/trace/ops.py: MEANINGS has no {word.name}"


@pytest.mark.parametrize("word", WORDS, ids=list(VOCABULARY))
def test_its_row_is_whole(word: Word) -> None:
    """What `kgen ops` and the page on bodies show; that the example and the groups are right, test_groups.py says."""
    row = f"kgen/spec/vocabulary.py: the row of {word.name}"
    for column in ("formula", "doc", "example", "groups"):
        assert getattr(word, column), f"{row} has no {column}"
    assert word.doc.endswith(".") and "|" not in word.name, f"{row}: the doc is a sentence"
    assert re.search(rf"\b{word.name}\(", word.example), f"{row}: the example does not call it"
    assert set(word.groups) <= set(GROUPS), f"{row}: a group is one of {', '.join(GROUPS)}"
    choices = word.word.choices if word.word else ("",)
    assert len(word.groups) == len(choices), f"{row}: a group for each of {choices}"


def test_no_lowering_is_without_a_word() -> None:
    assert set(ops.MEANINGS) <= set(VOCABULARY), "kgen/spec/vocabulary.py lacks a row"


@pytest.mark.parametrize("word", WORDS, ids=list(VOCABULARY))
def test_it_is_in_a_body_that_kernels_are_compiled_of(word: Word) -> None:
    assert cases(word), f"tests/trace/test_body_cases.py: BODIES has no {word.name}"


def called() -> set[str]:
    """The functions of the graph that the rows of `ops` name, and those of its own tables."""
    lowerings = [lowering for lowering in ops.MEANINGS.values() if isinstance(lowering, partial)]
    named = [lowering.args[-1] for lowering in lowerings if lowering.func in (to.call, to.gate)]
    return {*named, *FOLDED, *DERIVATIVES, *WEIGHTS, *FUNCTIONS}


@pytest.mark.parametrize(("file", "table"), TABLES)
def test_a_function_of_the_graph_is_in_each_table(file: str, table: str) -> None:
    missing = sorted(called() - TABLES[file, table])
    assert not missing, f"{file}: {table} has no {', '.join(missing)}"


def test_device_functions_are_there() -> None:
    text = (ROOT / DEVICE_FUNCTIONS).read_text(encoding="utf-8")
    missing = [f for f in FUNCTIONS.values() if f.startswith("_") and f"\ndef {f}(" not in text]
    assert not missing, f"{DEVICE_FUNCTIONS} has no {', '.join(missing)}"


@pytest.mark.parametrize("name", sorted({*CASES} - {*cases(VOCABULARY["rename"])}))
def test_lowering_and_reference_agree(name: str) -> None:
    """Without kernels: the graph evaluated by torch, and the reference. Only kernels read a tensor along other axes."""
    inputs, body = CASES[name]
    spec = one((2, 0, 0), inputs, body)
    tensors, results = run(spec)
    for result, value in zip(results.values(), reference.evaluate(spec, "f", tensors, {}), strict=True):
        torch.testing.assert_close(result, value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("word", [word for word in WORDS if word.gate], ids=lambda word: word.name)
def test_a_gate_has_its_reference(word: Word) -> None:
    assert hasattr(runtime, f"_ref_{word.name}"), f"kgen/reference/runtime.py has no _ref_{word.name}"


@pytest.mark.parametrize("word", [word for word in WORDS if word.pointwise], ids=lambda word: word.name)
def test_its_accuracy_is_measured(word: Word) -> None:
    assert word.name in pointwise.FUNCTIONS, f"benchmarks/pointwise.py: FUNCTIONS has no {word.name}"


def test_the_steps_name_these_files() -> None:
    _, _, rest = CONTRIBUTING.text.partition("## How to add an operation")
    named = set(Page(CONTRIBUTING.path).files) & set(re.findall(r"`([\w/.]+)`", rest.partition("\n## ")[0]))
    files = {*FILES, DEVICE_FUNCTIONS, *(file for file, _ in TABLES)}
    assert files | {"kgen/reference/calls.py", "kgen/reference/runtime.py", "benchmarks/pointwise.py"} <= named
