"""From kernels to the text of a module: rows for the templates, and the formatted result.

In: a `Spec`. Out: the source text of its module, black-formatted, the same bytes for the same spec everywhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import Any

from kgen.emit.host.launchers import Variant, function_rows, launcher_rows, operator_rows
from kgen.emit.kernel.blades import blade_helpers, sum_helpers
from kgen.emit.kernel.forms import sections
from kgen.emit.kernel.sections import KernelText
from kgen.emit.nn.torch_modules import module_rows
from kgen.emit.text.banner import banner, source_name
from kgen.emit.text.constants import constants
from kgen.emit.text.conventions import CONVENTIONS, weights
from kgen.emit.text.docstrings import formula
from kgen.emit.text.render import render
from kgen.emit.text.tidy import formatted, tidy
from kgen.errors import KgenError
from kgen.graph.ir import verify
from kgen.reference import source as reference
from kgen.schedule.buffers import plan
from kgen.schedule.products import MATRIX, Contraction, Product, Way
from kgen.schedule.program import CROWDED, TURNED
from kgen.schedule.schedule import schedule
from kgen.spec import stamp
from kgen.spec.model import Kernel, Spec
from kgen.spec.private_names import definition_name, variant_name
from kgen.trace.trace import private_grads, trace


def emit(spec: Spec) -> str:
    """The module of a spec."""
    variants = [v for kernel in spec.kernels for v in variants_of(spec, kernel)]
    table = [launch_rows(v) for v in variants]
    _refuse_unused(variants)
    texts = {
        v.name: [t for p in v.programs for k in p.every_kernel for t in sections(k, p.graph.builder)] for v in variants
    }
    every = [text for v in variants for text in texts[v.name]]
    products = [
        product for v in variants for p in v.programs for product in p.every_step if isinstance(product, Product)
    ]
    contractions = any(p.contractions for v in variants for p in v.programs)
    copies = any(o.way is Way.COPIED for product in products for o in product.operands)
    added = any(product.added for product in products)
    precisions = tuple(dict.fromkeys(product.precision for product in products if product.precision))
    rows = [*chain(*table), *((f"_matmul_{precision}", matmul_row(precision)) for precision in precisions)]
    text = render(
        "module",
        title=f"{spec.name}: {spec.doc.strip().splitlines()[0]}" if spec.doc else spec.name,
        banner=banner(spec.path),
        stamp=stamp.line(spec.digest, source_name(spec.path)),
        constants=formatted(constants(spec)),
        launch_table=formatted(f"LAUNCH = {{{''.join(f'{name!r}: {row}, ' for name, row in rows)}}}"),
        runtime_kernels=_shared(every, copies, bool(precisions))
        + render(
            "host",
            products=products,
            contractions=contractions,
            copies=copies,
            added=added,
            in_parts=any(product.in_parts for product in products),
            precisions=precisions,
        ),
        variants=[_section(spec, v, texts[v.name]) for v in variants],
        launchers=_join(render("launcher", p=row) for v in variants for row in launcher_rows(v, plan)),
        functions=_join(
            render("function", f=function_rows(spec, k, [v for v in variants if v.kernel is k])) for k in spec.kernels
        ),
        modules=_modules(spec),
        hidden=_hidden(spec),
        converters=_converters(spec),
        reference=reference.source(spec),
        operator_runtime=render("operators", products=products or contractions).strip("\n"),
        first_operator=variants[0].name,
        operators=formatted("\n".join(render("operator", v=operator_rows(v)) for v in variants)),
        sharding=formatted(render("sharding", variants=[v.operator for v in variants])),
    )
    return stamp.sealed(tidy(text))


def _modules(spec: Spec) -> str:
    """The nn.Modules, below the function that fills blades where there are any to fill."""
    fills = any(p.grades for module in spec.modules for p in module.parameters)
    classes = [render("torch_module", m=module_rows(spec, module)) for module in spec.modules]
    return _join([*([render("on_blades")] if fills else []), *classes])


def _hidden(spec: Spec) -> str:
    """The functions and classes that the module does not call by their public names."""
    names = [*(kernel.name for kernel in spec.kernels), *(module.name for module in spec.modules)]
    rows = {name: definition_name(name) for name in names if definition_name(name) != name}
    return formatted(f"_PUBLIC = {{{''.join(f'{name!r}: {row}, ' for name, row in rows.items())}}}") if rows else ""


def _converters(spec: Spec) -> str:
    """The functions that convert weights, where there are any that other libraries may have, too."""
    known = weights(spec)
    rows = {"conventions": formatted(f"CONVENTIONS = {CONVENTIONS!r}"), "weights": formatted(f"WEIGHTS = {known!r}")}
    return render("converters", **rows) if known else ""


def _refuse_unused(variants: Sequence[Variant]) -> None:
    """A precision is of matrix products: where there are none, it promises what nothing keeps."""
    for kernel, group in groupby(variants, lambda v: v.kernel):
        if kernel.precision and not any(p.multiplied for v in group for p in v.programs):
            hint = "sums and functions are in fp32 always: leave `precision` out"
            raise KgenError(f"`{kernel.name}` has a precision, but no matrix product", kernel.mark, hint)


def variants_of(spec: Spec, kernel: Kernel) -> list[Variant]:
    """A kernel for each choice of its bool options, scheduled."""
    variants = []
    for flags in kernel.choices:
        graph = replace(trace(spec, kernel, flags), name=variant_name(kernel.name, flags))
        verify(graph)
        programs = schedule(graph, private_grads(kernel), kernel.order)
        variants.append(Variant(kernel, graph.name, tuple(flags.items()), programs))
    return variants


def launch_rows(variant: Variant) -> list[tuple[str, str]]:
    """The launch table's rows for the kernels of all directions; a kernel that may turn its stores has two."""
    result = []
    for program in variant.programs:
        for kernel in program.every_kernel:
            stored = any(o.tensor.dtype == MATRIX for o in kernel.stores)
            products = stored or any(t.dtype == MATRIX for t in kernel.inputs)
            kind = {"map": "operands", "row": "row operands"}.get(kernel.kind, kernel.kind) if stored else kernel.kind
            held = max(kernel.live, sum(len(t.labels) for t in kernel.inputs)) if kind == "operands" else kernel.live
            texts = sections(kernel, program.graph.builder)
            kind = "sums" if texts[0].form == "sweep" else kind  # one value a row is all that there is to store
            kind = "planes" if kernel.kind == "fold" and kernel.planes else kind
            alone = kernel.kind == "row" and not kernel.rows
            if kernel.contraction:
                result.append((kernel.name, contract_row(kernel.contraction, bool(kernel.folds))))
            else:
                result += [(t.name, launch_row(t.form, held, kind, products, alone)) for t in texts]
            if kernel.turning:
                result.append((kernel.name + TURNED, launch_row("tile", held, "turned operands", products)))
    return result


REGISTERS = 65536  # 32-bit registers of a multiprocessor
LIGHT = 40  # live fields of which several elements fit a thread


def launch_row(form: str, alive: int, kind: str, products: bool, alone: bool = False) -> str:
    """A kernel's row of the launch table, by rules that were measured on an H200 (benchmarks/README.md).

    The more fields are alive, the fewer elements a thread holds: what spills loses, so do wide tiles on few threads.
    `products` are those of matrices, which the kernel stores operands for, or reads; a kernel is `alone` that has one
    row, whose tiles hold no other.
    """
    if form == "fold":
        row = _fold_row(alive, kind == "planes")
    elif form == "flat":
        row = {"elements": 4, "warps": 4, "tile": 512} if alive <= LIGHT else {"elements": 1, "warps": 1, "tile": 32}
        row["pack"] = row["tile"]
    elif form == "sweep":
        row = _sweep_row(alive, kind == "sums")
    elif kind == "turned operands":  # 32 rows fill 128 bytes of a store, 16 columns 64 of a load
        row = {"elements": 1, "warps": 8, "tile": 16, "pack": 256}
        row |= {"warps": 16, "pack": 512} if alive <= 9 * LIGHT // 10 else {}  # more would spill
        row |= {"elements": 2, "tile": 32, "pack": 1024} if alive <= 3 * LIGHT // 4 else {}
    elif kind in ("map", "operands") and alive <= LIGHT // 4:
        row = {"elements": 8, "warps": 4, "tile": 256, "pack": 1024}  # hardly more than a copy
    elif kind == "operands" and alive <= LIGHT:
        elements = 4 if alive <= LIGHT // 2 else 1
        row = {"elements": elements, "warps": 4, "tile": 128 * elements, "pack": 128 * elements}
    elif kind == "map" and products and LIGHT < alive < CROWDED:
        row = {"elements": 2, "warps": 4, "tile": 256, "pack": 256}
    elif kind.startswith("row") and products and alive <= 2 * LIGHT // 5:
        row = {"elements": 2, "warps": 16, "tile": 256, "pack": 256, "resident": _resident(alive)}
    elif kind == "row operands":
        row = {"elements": 1, "warps": 32, "tile": 256, "pack": 256, "resident": _resident(alive)}
    else:
        row = _tile_row(alive)
    if alone:
        row["pack"] = 1
    return _spelled(row)


def contract_row(c: Contraction, parted: bool) -> str:
    """Two programs share a multiprocessor where they share a long sum, four small ones where each has its own."""
    tile, depth = (128 * 128, 64) if parted and c.multiplications == 1 else (128 * 64, 32)
    return _spelled({"elements": 64, "warps": 8, "tile": 128, "pack": tile, "programs": 2, "depth": depth})


def matmul_row(precision: str) -> str:
    """Of the kernel for stored factors: in one pass of tf32 two programs share a multiprocessor, else one fills it."""
    programs, depth = 2 if precision == "tf32" else 1, 32 if precision == "ieee" else 64
    return _spelled({"elements": 64, "warps": 8, "tile": 128, "pack": 128 * 128, "programs": programs, "depth": depth})


def _spelled(row: dict[str, int]) -> str:
    return "Launch(" + ", ".join(f"{key}={value}" for key, value in row.items()) + ")"


def _tile_row(alive: int) -> dict[str, int]:
    light = alive <= LIGHT
    row = {"elements": 1, "warps": 32, "tile": 256 if light else 32, "pack": 256 if light else 32}
    if LIGHT < alive < CROWDED:
        row |= {"elements": 2, "tile": 64}
    if light and alive > LIGHT // 2:
        row["registers"] = 64  # so that 1024 threads share a multiprocessor
    row["resident"] = _resident(alive)
    return row


def _resident(alive: int) -> int:
    """The longest row whose fields stay in registers."""
    return 1 << (REGISTERS * 3 // 4 // max(1, alive)).bit_length() - 1


def _sweep_row(alive: int, sums: bool) -> dict[str, int]:
    """Long rows in wide tiles, as far as the registers go; what is only summed waits less with many threads."""
    if alive <= LIGHT // 4:
        return {"elements": 2, "warps": 8, "tile": 512, "pack": 512}
    if sums and alive <= LIGHT // 2:
        return {"elements": 1, "warps": 8, "tile": 256, "pack": 256}
    if alive <= LIGHT and not sums:
        return {"elements": 4, "warps": 4, "tile": 512, "pack": 32}
    return {"elements": 1, "warps": 4, "tile": 128, "pack": 32}


def _fold_row(alive: int, planes: bool) -> dict[str, int]:
    """Persistent programs fill the multiprocessor's registers once.

    Components that are adjacent in memory move together and take adjacent registers; those in `planes` fit sooner.
    """
    tiers = ((96, 66), (128, 95), (168, 135 if planes else CROWDED - 1))
    registers = next((most for most, fields in tiers if alive <= fields), 0)
    if not registers:
        return {"elements": 1, "warps": 1, "tile": 32, "pack": 32, "programs": 8}
    programs = REGISTERS // (64 * registers)
    return {"elements": 1, "warps": 2, "tile": 64, "pack": 64, "programs": programs, "registers": registers}


def _section(spec: Spec, variant: Variant, texts: Sequence[KernelText]) -> dict[str, Any]:
    return {
        "title": variant.name,
        "formula": formula(spec, variant.kernel),
        "kernels": _join(render(text.form, k=text) for text in texts),
    }


def _shared(texts: Sequence[KernelText], copies: bool, multiplies: bool) -> str:
    helpers = frozenset[str]().union(*(t.helpers for t in texts))
    helpers |= {"total"} if any(t.form == "fold" for t in texts) else set()
    helpers |= {"place"} if any(t.form == "tile" and not t.whole for t in texts) else set()
    helpers |= {"turn"} if copies else set()
    helpers |= {"matmul", "total"} if multiplies else set()
    for text in texts:
        sections_ = (text.body, *(s.tile for s in text.sweeps))
        accumulators = [a for s in sections_ for a in s.accumulators]
        helpers |= {a.function for a in accumulators} | {"row_start" if a.whole_row else "start" for a in accumulators}
    return render("shared", helpers=helpers, blades=blade_helpers(helpers), row_sums=sum_helpers(helpers))


def _join(parts: Iterable[str]) -> str:
    return "\n\n\n".join(part.strip("\n") for part in parts)
