"""The command line: thin commands over the pipeline, the tree of generated files and the renderers of `show`.

Exit status: 0 done or nothing to do, 1 different under --check or --diff, 2 a usage or spec error. Mistakes go to
stderr as `path:line:col: message` with a hint below. Everything heavy is imported by the command that needs it, so that
`--help` is fast and `verify` runs where kingdon is not installed.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import kgen
from kgen.console import HELP, progress, say, show_all, show_diff, told
from kgen.errors import KgenError

if TYPE_CHECKING:
    from kgen.spec.model import Spec
    from kgen.write.tree import Changes

Command = Callable[[typer.Context], None]

SPECS = Path("specs")
SCHEMA = Path("kgen.schema.json")
PROCESSORS = os.cpu_count() or 1
STAGES = ("spec", "paths", "graph", "backward", "kernels", "buffers", "source")


class Commands(TyperGroup):
    """Commands whose mistakes are told, not traced."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KgenError as mistake:
            say(str(mistake), error=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=Commands,
    name="kgen",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=HELP,
    pretty_exceptions_show_locals=False,
    epilog="Start with [bold]kgen new rotors --signature 3,0,0[/bold], then [bold]kgen build specs/rotors.yaml[/bold].",
)

SpecArguments = Annotated[
    list[Path] | None,
    typer.Argument(metavar="SPEC", help="Spec files; every specs/*.yaml if none is given.", show_default=False),
]
Signature = Annotated[str, typer.Option(help="p,q,r: how many generators square to 1, -1 and 0.")]
Stage = Annotated[str, typer.Option(help=f"What to show: {', '.join(STAGES)}.", autocompletion=lambda: list(STAGES))]


def main() -> None:
    """The entry point of the `kgen` command."""
    told(app)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"kgen {kgen.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compile YAML specs of geometric-algebra operations into standalone, differentiable Triton modules."""


@app.command(
    epilog="Example: [bold]kgen build specs/vga3d.yaml[/bold], or [bold]kgen build --check[/bold] for all specs."
)
def build(
    specs: SpecArguments = None,
    out: Annotated[Path, typer.Option(help="The folder of generated packages.")] = Path("generated"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit status 1 if something would change.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Write nothing; print the changes, exit status 1 if any.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove generated files that no spec makes any more.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.", show_default="one per processor")] = PROCESSORS,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compile again what was compiled before.")] = False,
) -> None:
    """Generate the packages of the given specs and their proofs, all files or none."""
    from kgen.cache import Cache, standard_folder
    from kgen.pipeline import generate
    from kgen.write import tree

    paths = specs or _all_specs()
    loaded = _load(paths)
    folder = None if no_cache or check or diff else standard_folder()  # what is compared with files is made anew
    with progress(len(loaded)) as advance:
        files = generate(loaded, jobs, lambda spec: advance(spec.name), Cache(folder) if folder else None)
    keep = tree.elsewhere(paths)
    if diff:
        show_diff(tree.diff(files, out, prune, keep))
    changes = tree.check(files, out, keep) if check or diff else tree.write(files, out, prune, keep)
    if not diff:
        _report(changes, out, written=not check)
    raise typer.Exit(1 if (check or diff) and changes.different else 0)


@app.command(epilog="Example: [bold]kgen new pga3d --signature 3,0,1[/bold]")
def new(
    name: Annotated[str, typer.Argument(help="The module's name, a Python identifier.")],
    signature: Signature = "3,0,0",
    folder: Annotated[Path, typer.Option("--dir", help="Where specs are.")] = SPECS,
) -> None:
    """Write a commented spec to start from; never replaces one."""
    from kgen.spec.starter import template

    text = template(name, _numbers(signature))
    path = folder / f"{name}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        taken = error.filename or path
        raise KgenError(f"{taken} exists and is not replaced", hint="choose another name") from None
    except OSError as error:
        raise KgenError(f"cannot write {path}: {error.strerror}") from None
    say(f"wrote {path}; next: kgen build {path}")


@app.command(epilog="Example: [bold]kgen show specs/vga3d.yaml --stage graph --kernel fused_gelu_sgp_norm[/bold]")
def show(
    spec: Annotated[Path, typer.Argument(help="A spec file.")],
    stage: Stage = "spec",
    kernel: Annotated[str, typer.Option(help="Only this kernel.", show_default="all")] = "",
    flag: Annotated[list[str] | None, typer.Option(help="NAME=true or NAME=false, for a bool option.")] = None,
) -> None:
    """Show what a spec becomes, stage by stage."""
    from kgen.tools.show import render

    if stage not in STAGES:
        raise KgenError(f"unknown stage {stage!r}", hint=f"one of {', '.join(STAGES)}")
    show_all(*render(_load([spec])[0], stage, kernel, _flags(flag or [])))


@app.command(epilog="Example: [bold]kgen verify specs/vga3d.yaml[/bold], or [bold]kgen verify generated/vga3d[/bold]")
def verify(
    targets: Annotated[list[Path], typer.Argument(metavar="SPEC|PACKAGE", help="Specs or generated packages.")],
    dtype: Annotated[list[str] | None, typer.Option(help="Only this storage type.", show_default="all")] = None,
    size: Annotated[list[str] | None, typer.Option(help="AXIS=EXTENT.", show_default="b=5, n=17")] = None,
    device: Annotated[str, typer.Option(help="A torch device.", show_default="a GPU if there is one")] = "",
    generated: Annotated[Path, typer.Option(help="The folder of generated packages.")] = Path("generated"),
) -> None:
    """Compare generated kernels, forward and every gradient, with the reference. Needs torch; uses a GPU if any."""
    from kgen.tools.problem import parse_sizes
    from kgen.tools.verify import DTYPES
    from kgen.tools.verify import verify as run

    raise typer.Exit(run(targets, dtype or list(DTYPES), parse_sizes(size or []), device, generated))


def with_own_options(example: str) -> Callable[[Command], Command]:
    """A command that is handed all that follows its name; its options and their help are its own app's."""
    passed = {"allow_extra_args": True, "ignore_unknown_options": True}
    return app.command(add_help_option=False, context_settings=passed, epilog=f"Example: [bold]{example}[/bold]")


@with_own_options("kgen bench specs/vga3d.yaml --dtype bfloat16")
def bench(context: typer.Context) -> None:
    """Time generated kernels against others and the device's floor. Needs torch; see [bold]kgen bench --help[/bold]."""
    from kgen.tools.bench.command import app as command

    command(context.args, prog_name="kgen bench")


@with_own_options("kgen plot benchmarks/results/NAME.csv --kind heatmap")
def plot(context: typer.Context) -> None:
    """Draw what `kgen bench --out` measured. Needs matplotlib; see [bold]kgen plot --help[/bold]."""
    from kgen.tools.bench.plots import app as command

    command(context.args, prog_name="kgen plot")


@with_own_options("kgen aot generated/vga3d --target sm_90 --target gfx942")
def aot(context: typer.Context) -> None:
    """Compile generated kernels for GPUs without one. Needs torch and triton; see [bold]kgen aot --help[/bold]."""
    from kgen.tools.aot.command import app as command

    command(context.args, prog_name="kgen aot")


@app.command(epilog="Example: [bold]kgen ops sandwich[/bold]")
def ops(name: Annotated[str, typer.Argument(help="Only this operation.", show_default="all")] = "") -> None:
    """List the operations of bodies: their types, formulas, groups of equivariance and examples."""
    from kgen.tools.ops import details, table

    show_all(*(details(name) if name else table()))


@app.command(epilog="Example: [bold]kgen schema > kgen.schema.json[/bold]")
def schema(
    check: Annotated[bool, typer.Option("--check", help=f"Exit status 1 unless {SCHEMA} is up to date.")] = False,
) -> None:
    """Print the JSON schema of specs, for editors."""
    from kgen.spec.schema import json_text

    text = json_text()
    if not check:
        say(text, end="")
        return
    different = not SCHEMA.is_file() or SCHEMA.read_text(encoding="utf-8") != text
    say(f"{SCHEMA} differs: kgen schema > {SCHEMA} updates it" if different else f"{SCHEMA} is up to date")
    raise typer.Exit(1 if different else 0)


def _all_specs() -> list[Path]:
    found = sorted(SPECS.glob("*.yaml"))
    if not found:
        raise KgenError(f"no spec given, and none in {SPECS}/", hint="name one: kgen build path/to/spec.yaml")
    return found


def _load(paths: list[Path]) -> "list[Spec]":
    """The specs, each file once, or the mistakes of all of them."""
    from kgen.pipeline import read

    return read([str(path) for path in {path.resolve(): path for path in paths}.values()])


def _numbers(signature: str) -> tuple[int, int, int]:
    fields = signature.split(",")
    if len(fields) != 3 or not all(field.strip().isdecimal() for field in fields):
        raise KgenError(f"--signature {signature!r} is not p,q,r", hint="three numbers, such as 3,0,1")
    p, q, r = (int(field) for field in fields)
    return p, q, r


def _flags(settings: list[str]) -> dict[str, bool]:
    pairs = [setting.partition("=") for setting in settings]
    for name, _, value in pairs:
        if value not in ("true", "false"):
            raise KgenError(f"--flag {name!r} needs a value", hint=f"--flag {name}=true or --flag {name}=false")
    return {name: value == "true" for name, _, value in pairs}


def _report(changes: "Changes", out: Path, written: bool) -> None:
    """What was written, or would be."""
    would = "" if written else "would be "
    names = {"created": changes.created, "changed": changes.changed, "removed": changes.removed}
    for verb, paths in names.items():
        for path in paths:
            edited = "; it had been edited by hand" if path in changes.edited else ""
            say(f"{out / path}: {would}{verb}{edited}", style="yellow" if edited else "green")
    for path in changes.stale:
        why = "its spec makes other files now" if path in changes.dropped else "its spec is gone"
        say(f"{out / path}: {why}; --prune removes it", style="yellow")
    for path in changes.foreign:
        say(f"{out / path}: kept; not generated by kgen, though its package is", style="yellow")
    if changes.unchanged:
        say(f"{out}: {len(changes.unchanged)} unchanged", style="dim")
