"""Leading axes that differ among a function's inputs: they broadcast as torch's do, in values and in all derivatives.

What is expected is what the same function makes of inputs that were expanded before it. On kernels, where something can
launch them, and on references.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from variants import BY_NAME, DEVICE, LAUNCHES, Tensors, Variant, close, energy, launching

from kgen.tools.problem import runtime

pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]
Lead = tuple[int, ...]
broadcast_shapes: Callable[..., torch.Size] = torch.broadcast_shapes

PRODUCT, SHARED = BY_NAME["pga3d_geometric_product"], BY_NAME["pga3d_motor_action_shared"]
NORM, MATRICES = (BY_NAME[f"pga3d_fused_gelu_{kind}_norm_with_normalize"] for kind in ("sgp", "fcgp"))
MESHES = BY_NAME["diffusion_batched_spatial_diffusion"]
FUNCTIONS = [PRODUCT, SHARED, NORM, MATRICES, MESHES]  # inputs of one rank and of several, two and four of them
LEADS: list[tuple[Lead, ...]] = [
    ((2, 1), (1, 3)),  # each in the other's place
    ((2, 3), ()),  # none at all
    ((), (2, 1)),  # the first lacks them
    ((3,), (2, 1)),  # fewer, and one of extent one
    ((1,), (4,)),  # as many
    ((1, 1), (1,)),  # all of extent one
]
EMPTY: list[tuple[Lead, ...]] = [((2, 0), (1,)), ((0, 1), (3,)), ((), (0,))]


def each(rows: list[Variant]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("variant", rows, ids=str)


def each_lead(rows: list[tuple[Lead, ...]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("leads", rows, ids=str)


def ranks(variant: Variant) -> list[int | None]:
    """How many axes of each input do not lead; None where it has no leading ones."""
    dims = variant.of.KERNELS[variant.operator.function]["inputs"].values()
    return [len(d) - 1 if "..." in d else None for d in dims]


def drawn(variant: Variant, leads: tuple[Lead, ...]) -> Tensors:
    """Leaves with these leading axes, by turns."""
    random, found, turn = torch.Generator().manual_seed(5), list[Tensor](), 0
    for x, rank in zip(variant.inputs(), ranks(variant)):
        shape = list(x.shape)
        if rank is not None:
            shape, turn = [*leads[turn % len(leads)], *shape[x.dim() - rank :]], turn + 1
        value = torch.randn(shape, generator=random, dtype=x.dtype).to(DEVICE)
        found.append(value.requires_grad_(x.requires_grad))
    return tuple(found)


def expanded(variant: Variant, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called with inputs of one shape that have memory of their own."""

    def called(*inputs: Tensor) -> Any:
        parts = [(x, x.dim() - r) for x, r in zip(inputs, ranks(variant)) if r is not None]
        lead = broadcast_shapes(*[x.shape[:split] for x, split in parts])
        whole = [
            x if r is None else x.expand(*lead, *x.shape[x.dim() - r :]).clone() for x, r in zip(inputs, ranks(variant))
        ]
        return function(*whole)

    return called


def orders(function: Callable[..., Tensor], inputs: Tensors) -> list[Tensor]:
    """The result, its gradients, and the gradients of those."""
    wanted = [x for x in inputs if x.requires_grad]
    value = function(*inputs)
    first = torch.autograd.grad(energy(lambda: value)(), wanted, create_graph=True)
    second = torch.autograd.grad(sum((x.cos().sum() for x in first), torch.zeros((), device=DEVICE)), wanted)
    return [value.detach(), *[x.detach() for x in first], *second]


# values and gradients


@each(FUNCTIONS)
@each_lead(LEADS)
def test_kernels_and_references(variant: Variant, leads: tuple[Lead, ...]) -> None:
    inputs = drawn(variant, leads)
    expected = orders(expanded(variant, variant.reference), inputs)
    with launching(variant.of):
        close(orders(variant, inputs), expected)
    close(orders(variant.reference, inputs), expected)


@each(FUNCTIONS)
@each_lead(EMPTY)
def test_nothing_along_an_axis(variant: Variant, leads: tuple[Lead, ...]) -> None:
    """One and none are none: results are empty, and gradients of what has rows are zero."""
    inputs = drawn(variant, leads)
    expected = orders(expanded(variant, variant.reference), inputs)
    for function in (variant, variant.reference):
        value, *grads = orders(function, inputs)
        close([value, *grads], expected)
        assert not any(x.any() for x in grads)
    dims = variant.of.KERNELS[variant.operator.function]["outputs"].values()
    results = getattr(variant.of, variant.operator.function)(*inputs, **dict(variant.options))
    lead = broadcast_shapes(*leads)
    for x, d in zip(results if isinstance(results, tuple) else (results,), dims, strict=True):
        assert tuple(x.shape[: len(lead)]) == lead and x.dim() == len(lead) + len(d) - 1


@each([PRODUCT, NORM])
def test_three_orders(variant: Variant) -> None:
    inputs = drawn(variant, ((2, 1), (2,)))

    def third(function: Callable[..., Tensor]) -> Tensors:
        value = energy(function)(*inputs)
        for _ in range(2):
            value = sum((g.sin().sum() for g in torch.autograd.grad(value, inputs, create_graph=True)), 0 * value)
        return torch.autograd.grad(value, inputs)

    close(third(variant), third(expanded(variant, variant.reference)), 1e-8)


@each(FUNCTIONS)
def test_gradients_are_sums(variant: Variant) -> None:
    """To the bit, those that torch adds up of the gradients of whole inputs: none depends on an order of programs."""
    inputs = drawn(variant, ((3,), (2, 1)))
    wanted = [x for x in inputs if x.requires_grad]
    found = torch.autograd.grad(energy(variant)(*inputs), wanted)
    same = torch.autograd.grad(energy(expanded(variant, variant))(*inputs), wanted)
    assert all(torch.equal(x, y) and x.shape == z.shape for x, y, z in zip(found, same, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_dtypes(dtype: torch.dtype) -> None:
    """Results and gradients have the dtypes that they have without broadcasting."""
    x, y = (z.detach().to(dtype).requires_grad_() for z in drawn(PRODUCT, ((3,), (2, 1))))
    value = PRODUCT(x, y)
    grads = torch.autograd.grad(value.float().square().sum(), (x, y))
    exact = torch.autograd.grad(PRODUCT.reference(x.double(), y.double()).square().sum(), (x, y))
    assert value.dtype == dtype and [g.dtype for g in grads] == [dtype, dtype]
    close([g.double() for g in grads], [g.double() for g in exact], 16 * torch.finfo(dtype).eps * 10)


def test_strides() -> None:
    """Inputs that are views with gaps, and the same row many times."""
    x, y = (z.detach() for z in drawn(NORM, ((2, 1), (3,)))[:2])
    weight = NORM.values()[2]
    gaps = x.repeat_interleave(2, -1)[..., ::2]
    turned = y.transpose(0, 1).contiguous().transpose(0, 1)
    same = y[:1].expand_as(y)
    assert not (gaps.is_contiguous() or turned.is_contiguous() or same.is_contiguous())
    assert torch.equal(NORM(gaps, turned, weight), NORM(x, y, weight))
    assert torch.equal(NORM(gaps, same, weight), NORM(x, same.contiguous(), weight))


def test_each_gradient_alone() -> None:
    inputs = drawn(NORM, ((2, 1), (3,)))
    expected = orders(expanded(NORM, NORM.reference), inputs)[1:4]
    for i, x in enumerate(inputs):
        alone = tuple(y.detach().requires_grad_(y is x) for y in inputs)
        close(torch.autograd.grad(energy(NORM)(*alone), alone[i]), (expected[i],))


# transforms


@each(FUNCTIONS)
def test_forward_mode(variant: Variant) -> None:
    inputs = drawn(variant, ((2, 1), (3,)))
    values = tuple(x.detach() for x in inputs)
    tangents = tuple(x.cos() if y.requires_grad else torch.zeros_like(x) for x, y in zip(values, inputs))
    places = [i for i, x in enumerate(inputs) if x.requires_grad]

    def along(function: Callable[..., Tensor]) -> Any:
        def of_some(*some: Tensor) -> Tensor:
            known = dict(zip(places, some))
            return function(*[known.get(i, x) for i, x in enumerate(values)])

        return torch.func.jvp(of_some, tuple(values[i] for i in places), tuple(tangents[i] for i in places))

    close(along(variant), along(expanded(variant, variant.reference)))


@pytest.mark.parametrize("dims", [(0, 0), (0, None), (None, 1)], ids=str)
def test_vmap(dims: Any) -> None:
    """Of all inputs and of one; the batch is no leading axis."""
    x, y = (z.detach() for z in drawn(PRODUCT, ((2, 2, 1), (2, 2, 3))))
    x, y = (z if d is not None else z[0] for z, d in zip((x, y), dims))
    expected = torch.vmap(expanded(PRODUCT, PRODUCT.reference), dims)(x, y)
    close(torch.vmap(PRODUCT, dims)(x, y), expected)
    close(torch.vmap(PRODUCT.reference, dims)(x, y), expected)
    grads = torch.vmap(torch.func.grad(energy(PRODUCT), (0, 1)), dims)(x, y)
    close(grads, torch.vmap(torch.func.grad(energy(expanded(PRODUCT, PRODUCT.reference)), (0, 1)), dims)(x, y))


def test_fake_tensors() -> None:
    """Shapes without numbers."""
    with torch._subclasses.FakeTensorMode():
        x, y = torch.empty(2, 1, 3, 16, device=DEVICE), torch.empty(4, 3, 16, device=DEVICE)
        for function in (PRODUCT, PRODUCT.reference):
            assert function(x, y).shape == (2, 4, 3, 16)
        with pytest.raises(ValueError, match=r"geometric_product: y must have leading axes equal to those of x"):
            PRODUCT(x, torch.empty(3, 4, 3, 16, device=DEVICE))


# compilers


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function: Callable[..., Any]) -> tuple[Callable[..., Any], Any]:
    """The function, and what counts how often it is compiled."""
    counter = CompileCounterWithBackend("aot_eager")
    return torch.compile(function, backend=counter, fullgraph=True), counter


def marked(mark: Callable[[Tensor, int], object], x: Tensor, *axes: int) -> Tensor:
    for axis in axes:
        mark(x, axis)
    return x


@pytest.mark.usefixtures("fresh_compiler")
@each([PRODUCT, SHARED, MESHES])
@pytest.mark.parametrize("how", ["mark_dynamic", "mark_unbacked"])
def test_compiled_once(variant: Variant, how: str) -> None:
    """For any number of rows, whatever lacks them: the second input, which has rows, broadcasts as the others do."""
    mark = getattr(torch._dynamo.decorators, how)
    function, counter = compiled(variant)
    for rows in (3, 5, 2):
        inputs = drawn(variant, ((rows, 1), ()))
        for x, rank in zip(inputs, ranks(variant)):
            if rank is not None and x.dim() > rank:
                marked(mark, x, 0)
        expected = orders(expanded(variant, variant.reference), inputs)
        value = function(*inputs)
        close(value, expected[0])
        wanted = [x for x in inputs if x.requires_grad]
        grads = torch.autograd.grad(value.square().sum() + value.sin().sum(), wanted)
        close(list(grads), expected[1 : 1 + len(wanted)])
    assert counter.frame_count == 1


@pytest.mark.usefixtures("fresh_compiler")
def test_rows_that_data_say() -> None:
    """Two numbers that no compiler knows count as equal, which is checked when it runs; any broadcasts with a 1."""

    def function(x: Tensor, y: Tensor, z: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        some, others = counts.tolist()
        x, y = x.expand(some, -1, -1), y.expand(others, -1, -1)
        return PRODUCT(x, z), PRODUCT(x, y)

    x, y, z = (a.detach() for a in (*drawn(PRODUCT, ((1,), (1,))), drawn(PRODUCT, ((1,), (1,)))[0].cos()))
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        called, counter = compiled(function)
        for rows in (3, 1, 0, 5):
            close(called(x, y, z, torch.tensor([rows, rows])), function(x, y, z, torch.tensor([rows, rows])))
        for others in (4, 1):
            with pytest.raises((ValueError, RuntimeError, AssertionError)):
                called(x, y, z, torch.tensor([3, others]))
    assert counter.frame_count == 1


@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_export(strict: bool) -> None:
    class Product(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return PRODUCT(x, y)

    rows = torch.export.Dim("rows", min=2)
    example = tuple(x.detach() for x in drawn(PRODUCT, ((3, 1), (2,))))
    program = torch.export.export(Product(), example, dynamic_shapes=({0: rows}, None), strict=strict)
    inputs = drawn(PRODUCT, ((7, 1), (2,)))
    close(orders(program.module(), inputs)[:3], orders(expanded(PRODUCT, PRODUCT.reference), inputs)[:3])


# what is refused


REFUSED: list[tuple[Variant, tuple[Lead, ...], str]] = [
    (PRODUCT, ((2,), (3,)), "y must have leading axes equal to those of x, (2,) of shape (2, 3, 16), or 1, got (3,) of "
     "shape (3, 3, 16)"),
    (PRODUCT, ((2, 1), (3, 3)), "y must have leading axes equal to those of x, (2, 1) of shape (2, 1, 3, 16), or 1, "
     "got (3, 3) of shape (3, 3, 3, 16)"),
    (PRODUCT, ((2, 3), (2,)), "y must have leading axes equal to those of x, (2, 3) of shape (2, 3, 3, 16), or 1, got "
     "(2,) of shape (2, 3, 16)"),
    (PRODUCT, ((0,), (2,)), "y must have leading axes equal to those of x, (0,) of shape (0, 3, 16), or 1, got (2,) of "
     "shape (2, 3, 16)"),
    (SHARED, ((2,), (4, 3)), "x must have leading axes equal to those of m, (2,) of shape (2, 8), or 1, got (4, 3) of "
     "shape (4, 3, 3, 4)"),
    (MESHES, ((1,), (2,), (), (3,)), "evalues must have leading axes equal to those of basis, (2,) of shape (2, 2, 3), "
     "or 1, got (3,) of shape (3, 3)"),
]  # fmt: skip


@pytest.mark.parametrize(("variant", "leads", "message"), REFUSED, ids=lambda x: str(x) if type(x) is tuple else "")
def test_refused(variant: Variant, leads: tuple[Lead, ...], message: str) -> None:
    """Both inputs are named, with what their leading axes are and their shapes; references refuse in torch's words."""
    inputs = drawn(variant, leads)
    with pytest.raises(ValueError, match=f"^{variant.operator.function}: {re.escape(message)}$"):
        variant(*inputs)
    with pytest.raises(RuntimeError):
        variant.reference(*inputs)


@pytest.mark.parametrize("shape", [(16,), (1, 1), (3, 8), (2, 3, 1), (2, 1, 16)], ids=str)
def test_other_axes_do_not_broadcast(shape: tuple[int, ...]) -> None:
    """Features and components are as many as ever: one is none that fits."""
    x = drawn(PRODUCT, ((2,),))[0]
    with pytest.raises(ValueError, match=r"^geometric_product: y must have shape \(\.\.\., n, 16\)"):
        PRODUCT(x, torch.zeros(shape, dtype=x.dtype, device=DEVICE))


def test_integers() -> None:
    x, y = drawn(PRODUCT, ((2,), ()))
    with pytest.raises(ValueError, match="geometric_product: y must be float16, .* got torch.int64"):
        PRODUCT(x, y.long())


def test_operators_take_whole_tensors() -> None:
    """torch's operators are what functions call after broadcasting."""
    x, y = (z.detach() for z in drawn(PRODUCT, ((2, 1), (3,))))
    for mode in (nullcontext(), torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)):
        with mode, pytest.raises(ValueError, match=r"x must have leading axes \(2, 3\), got \(2, 1\)"):
            PRODUCT.operator.op(x, y)


# what it costs


@each(FUNCTIONS)
@each_lead([((2, 3),), ((),), ((1, 1),), ((0,),)])
def test_equal_axes_cost_nothing(variant: Variant, leads: tuple[Lead, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments themselves reach the operator."""
    inputs = drawn(variant, leads)
    operators, seen = runtime(variant.of, "operators"), list[Any]()
    apply = operators.apply

    def noted(operator: Any, arguments: Any, *rest: Any) -> Any:
        seen.append(arguments)
        return apply(operator, arguments, *rest)

    monkeypatch.setattr(operators, "apply", noted)
    variant(*inputs)
    assert all(x is y for x, y in zip(seen[0], inputs))


@pytest.mark.skipif(not LAUNCHES, reason="references keep what autograd makes them keep")
def test_nothing_is_kept_at_full_size() -> None:
    """What the backward reads of an input that broadcasts is the input's own memory."""
    x, y = drawn(PRODUCT, ((64, 1), (2,)))
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        PRODUCT(x, y)
    assert {z.untyped_storage().data_ptr() for z in kept} == {z.untyped_storage().data_ptr() for z in (x, y)}
