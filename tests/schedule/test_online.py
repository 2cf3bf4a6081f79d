"""Which attention needs no scores in memory, what is launched for it, and why other attention stores them."""

from pathlib import Path

import pytest
from modules import ROOT

from kgen.schedule.attend import Attend, Mask
from kgen.schedule.online import online
from kgen.schedule.program import Kernel, Program
from kgen.schedule.softmaxes import attention
from kgen.spec.load import load
from kgen.tools.show import render
from kgen.trace.trace import private_grads, trace

SPEC = Path(__file__).parents[1] / "specs" / "attention.yaml"
HEAD = """kgen: 1
name: others
algebra:
  signature: [2, 0, 0]
layout:
  multivector: ["...", n, blade]
kernels:
  f:
    inputs: {q: "[..., h, s, c]", k: "[..., h, t, c]", v: "[..., h, t, n]", w: "[h, s, t]"}
    outputs: {out: "[..., h, s, n]"}
    order: 1
    body: |
"""
SOFTMAX = """      weights = exp(scores - detach(max(scores, over=t)))
      p = weights / sum(weights, over=t)
"""


def programs(path: Path, kernel: str, **flags: bool) -> tuple[Program, ...] | str:
    spec = load(str(path))
    one = spec.kernel(kernel)
    return online(trace(spec, one, flags), private_grads(one), one.order)


def why(body: str, head: str = HEAD) -> str:
    """Why a body stores its scores."""
    spec = load("specs/others.yaml", head + body)
    one = spec.kernel("f")
    found = online(trace(spec, one, {}), private_grads(one), one.order)
    assert isinstance(found, str)
    return found


def test_no_tensor_has_a_number_for_each_score() -> None:
    for kernel in ("plain", "parts", "causal", "labelled"):
        found = programs(SPEC, kernel)
        assert not isinstance(found, str)
        for program in found:
            assert not any({"s", "t"} <= {*t.axes} for step in program.steps for t in (*step.inputs, *step.written))
            assert not program.products


def test_launches() -> None:
    """What lies as matrices of positions is read there, and gradients go where they belong: no more is launched."""
    found = programs(SPEC, "plain")
    assert not isinstance(found, str)
    forward, backward = found
    assert [s.name for s in forward.steps] == ["attend"]
    assert [s.name for s in backward.steps] == ["shares", "to_queries", "to_keys"]
    assert [t.name for s in backward.steps[1:] for t in s.written] == ["grad_q", "grad_k", "grad_v"]
    assert [t.name for t in backward.inputs if t.name not in "qkv"] == ["grad_out", "saved", "out"]


def test_what_is_computed_is_stored_once() -> None:
    """Queries and keys of the parts; what is made of a result reads it unrounded."""
    found = programs(SPEC, "parts")
    assert not isinstance(found, str)
    forward, _ = found
    assert {t.name for s in forward.steps if isinstance(s, Kernel) for t in s.written} == {
        *("factor_q", "factor_y", "out", "out_s", "own_size")
    }
    (step,) = forward.attends
    assert [[t.memory for t in group] for group in step.groups] == [
        ["factor_q", "x_s"],
        ["factor_y", "y_s"],
        ["y", "v"],
    ]
    assert {t.name: t.dtype for t in step.written} == {
        "saved_out": "matrix",
        "saved_out_s": "matrix",
        "saved": "workspace",
    }


def test_masks() -> None:
    spec = load(str(SPEC))
    found = {k.name: attention(trace(spec, k, {})) for k in spec.kernels}
    masks = {name: a.mask for name, a in found.items() if not isinstance(a, str)}
    assert masks["plain"] == Mask() and masks["causal"] == Mask(causal=True, fill=-1e9)
    labels = masks["labelled"].labels
    assert labels and labels.name == "label"


@pytest.mark.parametrize("package", ["gatr", "lgatr"])
def test_packages(package: str) -> None:
    spec = load(str(ROOT / "specs" / f"{package}.yaml"))
    for kernel in (k for k in spec.kernels if "attention" in k.name):
        for flags in kernel.choices:
            found = online(trace(spec, kernel, flags), private_grads(kernel), kernel.order)
            assert not isinstance(found, str)
            assert [isinstance(s, Attend) for s in found[0].steps].count(True) == 1


def test_other_attention_stores_its_scores() -> None:
    scores = "      scores = dot(q, k, over=c)\n"
    out = "      return dot(p, v, over=t)\n"
    assert "read for more" in why(scores + SOFTMAX + "      return dot(p, v, over=t) + dot(p * w, v, over=t)\n")
    assert "read for more" in why(scores + SOFTMAX + "      return dot(p, v, over=t) * sum(p ** 2, over=t)\n")
    assert "no sums of products" in why("      scores = dot(q, k, over=c) + w\n" + SOFTMAX + out)
    mask = "      scores = where(w > 0, dot(q, k, over=c), -1.0e9)\n"
    assert "its mask is neither" in why(mask + SOFTMAX + out)
    mask = "      scores = where(iota(s) >= iota(t), dot(q, k, over=c), -1.0)\n"
    assert "by -1e+09 or less" in why(mask + SOFTMAX + out)
    assert "no softmax" in why(scores + "      return dot(exp(scores - detach(max(scores, over=t))), v, over=t)\n")
    mask = "      scores = where(iota(h) >= iota(t), dot(q, k, over=c), -1.0e9)\n"
    assert "its mask is neither" in why(mask + SOFTMAX + out)
    same = "      same = w2 == rename(w2, axis=h, to=t)\n      scores = where(same, dot(q, k, over=c), -1.0e9)\n"
    assert "its mask is neither" in why(same + SOFTMAX + out, HEAD.replace('w: "[h, s, t]"', 'w2: "integer[h, s]"'))
    mapped = HEAD.replace('w: "[h, s, t]"', 'm: "[c, d]", o: "[n, c]"')
    assert "products of matrices themselves" in why(
        "      scores = dot(dot(q, m, over=c), k2, over=d)\n" + SOFTMAX + out,
        mapped.replace('k: "[..., h, t, c]"', 'k2: "[..., h, t, d]"'),
    )
    projected = mapped.replace('out: "[..., h, s, n]"', 'out: "[..., h, s, c]"')
    assert "made of what attention gives" in why(
        scores + SOFTMAX + "      return dot(dot(p, v, over=t), o, over=n)\n", projected
    )
    parts = HEAD.replace('w: "[h, s, t]"', 'r: "[..., h, s, c]", k2: "[..., h, t, j]"').replace(
        'k: "[..., h, t, c]", ', ""
    )
    assert "made of parts" in why("      scores = dot(cat(q, r, axis=c, to=j), k2, over=j)\n" + SOFTMAX + out, parts)
    assert "second derivatives" in why(scores + SOFTMAX + out, HEAD.replace("    order: 1\n", ""))
    assert why("      return dot(dot(q, k, over=c), v, over=t)\n") == ""


def test_show_says_why() -> None:
    spec = load(str(SPEC))
    text = "\n".join(map(str, render(spec, "kernels", "plain", {})))
    assert "scores are never stored" in text and "to_keys: attention, 4 products of fields" in text
    others = load(
        "specs/others.yaml",
        HEAD + "      scores = dot(q, k, over=c) + w\n" + SOFTMAX + "      return dot(p, v, over=t)\n",
    )
    text = "\n".join(map(str, render(others, "kernels", "f", {})))
    assert "f stores its scores: its scores are no sums of products of matrices" in text
