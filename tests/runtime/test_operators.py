"""What torch asks of an operator, on the operators of the generated modules: schema, derivatives, transforms.

Derivatives are compared with finite differences, or with what torch makes of the module's reference. On a GPU all tests
run for all operators. Without one kernels execute in Triton's interpreter, and once more the references do.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prepared
import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint
from variants import (
    ALL,
    CHOSEN,
    DEVICE,
    FUSED,
    LAUNCHES,
    PLAIN,
    SAMPLES,
    Variant,
    close,
    each,
    energy,
    gradients,
    launching,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]


EVERY = "test_operators.py", "test"
SLOW = [pytest.param(*of, marks=pytest.mark.slow) for of in (EVERY, ("test_compile.py", "test"))]
FEW = "not fc_layer and not fcgp and not unusual"  # of the operators, but for those that take longest


@pytest.mark.skipif(DEVICE.type == "cpu" and not LAUNCHES, reason="this is the run on the references")
@pytest.mark.parametrize(
    ("file", "which"), [("test_operators.py", FEW), ("test_paths.py", "test"), ("test_copies.py", "test"), *SLOW]
)
def test_on_the_references(file: str, which: str) -> None:
    """The same on the CPU without the interpreter, where the functions are the references."""
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", file, "-k", which]
    settings = os.environ | {"TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = prepared.python(command, Path(__file__).parent, settings)
    assert done.returncode == 0, done.stdout


# what opcheck asks


def arguments(variant: Variant, order: int, unwanted: int | None = None) -> tuple[Any, tuple[Any, ...]]:
    """The operator of that order, and arguments as the one before hands them over.

    All tensors to differentiate require grad; the cotangent of what the operator before did not want is None.
    """
    operator = variant.operator
    known: dict[str, Any] = dict(zip(operator.inputs, variant.inputs()))
    flags: tuple[bool, ...] = ()
    for _ in range(order):
        tensors = [known[name] for name in (*operator.inputs, *operator.caches)]
        with torch.no_grad():
            results = operator.called((*tensors, *variant.numbers, *flags))
        names = (*operator.outputs, *operator.saved)
        known |= {name: x for name, x in zip(names, results) if name not in known}
        given = flags or (True,) * len(operator.outputs)
        for name, x, want in zip(operator.outputs, results, given):
            known[f"grad {name}"] = torch.cos(x).requires_grad_() if want else None
        operator = operator.gradient
        flags = tuple(i != unwanted for i in range(len(operator.outputs)))
    tensors = [known[name] for name in (*operator.inputs, *operator.caches)]
    return operator, (*tensors, *variant.numbers, *flags)


QUICK = ("test_autograd_registration", "test_faketensor")
CHEAP = [v for v in ALL if LAUNCHES and len(getattr(v.of, "BLADES", ())) <= 16]
OPCHECKED = [(v, order) for v in ALL for order in range(3) if v in CHOSEN or order == 0 or (order == 1 and v in CHEAP)]


@pytest.mark.parametrize(("variant", "order"), OPCHECKED, ids=str)
def test_opcheck(variant: Variant, order: int) -> None:
    operator, given = arguments(variant, order)
    if operator.op is None:
        pytest.skip("this order has no operator: it is computed by the reference")
    with launching(variant.of) if operator.launcher else contextlib.nullcontext():  # else the reference computes it
        if variant in CHOSEN and operator.launcher:
            torch.library.opcheck(operator.op, operator.packed(given))
        else:
            torch.library.opcheck(operator.op, operator.packed(given), test_utils=QUICK)


@each([FUSED])
@pytest.mark.parametrize(("order", "unwanted"), [(1, 0), (1, 2), (2, 0), (2, 2)])
def test_opcheck_of_what_is_partly_wanted(variant: Variant, order: int, unwanted: int) -> None:
    """Flags are mixed, and the second order gets None for the cotangent that the first did not return."""
    operator, given = arguments(variant, order, unwanted)
    assert order == 1 or None in given
    torch.library.opcheck(operator.op, operator.packed(given))
    inputs = dict(zip(operator.inputs, given))
    for i, (name, x) in enumerate(zip(operator.outputs, operator.called(given))):
        assert x.shape == ((0,) if i == unwanted else inputs[name.removeprefix("grad ")].shape)


def transposed(x: Tensor) -> Tensor:
    """The same values, in another order in memory, with gaps."""
    return x.mT.repeat_interleave(2, -1)[..., ::2].mT


@pytest.mark.parametrize(
    "change", [transposed, lambda x: x[..., :1].expand_as(x), Tensor.float], ids=["gaps", "one", "mixed"]
)
@pytest.mark.parametrize("order", [0, 1])
def test_opcheck_of_unusual_inputs(change: Callable[[Tensor], Tensor], order: int) -> None:
    """Strided, expanded, of several dtypes: what a compiler is told of the results holds."""
    operator, (x, *others) = arguments(FUSED, order)
    changed = change(x.detach()).requires_grad_()
    assert not changed.is_contiguous() or changed.dtype != x.dtype
    torch.library.opcheck(operator.op, operator.packed((changed, *others)))


@each(CHOSEN)
def test_double_backward_of_nothing(variant: Variant) -> None:
    """Without any cotangent it is zero."""
    operator, given = arguments(variant, 2)
    if operator.op is None:
        pytest.skip("this order has no operator: it is computed by the reference")
    first = len(operator.before.inputs)
    nothing = [None] * (len(operator.inputs) - first)
    with torch.no_grad():
        results = operator.called((*given[:first], *nothing, *given[len(operator.inputs) :]))
    assert results and not any(x.any() for x in results)


# derivatives: the proofs ask for reverse mode of every kernel, so that in the interpreter a few will do for the rest

CHECKED = CHOSEN if DEVICE.type == "cuda" or not LAUNCHES else [v for v in CHOSEN if v in SAMPLES]


@each(CHECKED)
def test_gradcheck(variant: Variant) -> None:
    """Reverse and forward mode, one by one and batched."""
    checks = {"check_forward_ad": True, "check_batched_grad": True}
    with launching(variant.of):
        assert torch.autograd.gradcheck(variant, variant.inputs(), **checks, fast_mode=True)


@each(CHECKED)
def test_gradgradcheck(variant: Variant) -> None:
    """Reverse over reverse, and forward over reverse."""
    with launching(variant.of):
        assert torch.autograd.gradgradcheck(variant, variant.inputs(), check_fwd_over_rev=True, fast_mode=True)


@each([FUSED, PLAIN] if DEVICE.type == "cpu" else CHOSEN)
def test_third_order(variant: Variant) -> None:
    inputs = variant.inputs()
    wanted = [inputs[i] for i in variant.argnums]

    def third(function: Any) -> tuple[Tensor, ...]:
        value = energy(function)(*inputs)
        for _ in range(2):
            first = torch.autograd.grad(value, wanted, create_graph=True)
            value = torch.stack([x.pow(3).sum() for x in first]).sum()
        return torch.autograd.grad(value, wanted)

    close(third(variant), third(variant.reference), 1e-8)


# transforms


@each(CHOSEN)
def test_grad_and_jvp(variant: Variant) -> None:
    values, argnums = variant.values(), variant.argnums
    some = tuple(values[i] for i in argnums)
    tangents = tuple(torch.cos(x) for x in some)

    def of_some(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The energy as a function of the inputs that have a gradient."""
        return lambda *given: energy(function)(*(dict(enumerate(values)) | dict(zip(argnums, given))).values())

    ours, theirs = of_some(variant), of_some(variant.reference)
    with launching(variant.of):
        close(grad(energy(variant), argnums)(*values), grad(energy(variant.reference), argnums)(*values))
        close(jvp(ours, some, tangents), jvp(theirs, some, tangents))


@each([FUSED, PLAIN])
def test_hessian_and_jacobian(variant: Variant) -> None:
    values = variant.values(2, 1)
    argnums = tuple(range(len(values)))
    with launching(variant.of):
        close(hessian(energy(variant))(*values), hessian(energy(variant.reference))(*values))
        close(jacrev(variant, argnums)(*values), jacrev(variant.reference, argnums)(*values))


@each(CHOSEN)
def test_vmap(variant: Variant) -> None:
    """Batched along the first axis, along the second, and with the last input shared; over the gradient, too."""
    *some, last = variant.values()
    shared = (None,)
    batch = [torch.stack([x, -2 * x]) for x in some]
    moved = [x.movedim(0, 1) for x in batch]
    expected = torch.stack([variant.reference(*rows, last) for rows in zip(*batch)])
    each_grad = [grad(energy(variant.reference), len(some))(*rows, last) for rows in zip(*batch)]
    with launching(variant.of):
        close(vmap(variant, (0,) * len(some) + shared)(*batch, last), expected)
        close(vmap(variant, (1,) * len(some) + shared, out_dims=1)(*moved, last), expected.movedim(0, 1))
        of_samples = vmap(grad(energy(variant), len(some)), (0,) * len(some) + shared)
        close(of_samples(*batch, last), torch.stack(each_grad))


@each(CHOSEN)
def test_no_rows(variant: Variant) -> None:
    """Sums over nothing are zero, in the second order, too."""
    inputs = variant.inputs(0)
    wanted = [inputs[i] for i in variant.argnums]
    first = torch.autograd.grad(energy(variant)(*inputs), wanted, create_graph=True)
    second = torch.autograd.grad([x.sum() for x in first], wanted)
    for x, *found in zip(wanted, first, second):
        assert all(y.shape == x.shape and not y.any() for y in found)


@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("rows", [0, 2])
def test_vmap_over_few(samples: int, rows: int) -> None:
    """No samples and no rows are results of the right shapes."""
    x, y, weight = FUSED.values(rows)
    some = (x.expand(samples, *x.shape), y.expand(samples, *y.shape))
    assert vmap(FUSED, (0, 0, None))(*some, weight).shape == (samples, *x.shape)
    found = vmap(grad(energy(FUSED), (0, 1, 2)), (0, 0, None))(*some, weight)
    assert [g.shape for g in found] == [(samples, *like.shape) for like in (x, y, weight)]
    assert bool(found[2].any()) == bool(samples and rows)


@each(CHOSEN)
@pytest.mark.parametrize("reentrant", [False, True], ids=["saved tensors", "reentrant"])
def test_checkpoint(variant: Variant, reentrant: bool) -> None:
    inputs = variant.inputs()
    with launching(variant.of) as launched:
        value = checkpoint(variant, *inputs, use_reentrant=reentrant)
        forward = list(launched)
        (value.square().sum() + value.sin().sum()).backward()
        assert launched[len(forward) : 2 * len(forward)] == forward, "nothing was recomputed"
    wanted = [inputs[i] for i in variant.argnums]
    for x, expected in zip(wanted, gradients(variant, variant.inputs()), strict=True):
        assert x.grad is not None and torch.equal(x.grad, expected)
