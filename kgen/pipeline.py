"""The story of a build: specs in, the text of the generated modules out. Reads and writes no files."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from kgen.model import Spec


def generate(specs: Sequence[Spec], jobs: int = 1, done: Callable[[Spec], None] | None = None) -> dict[str, str]:
    """The modules of the specs by their path under the output folder, such as "vga3d.py".

    `jobs` processes share the specs; the text does not depend on it. `done` is called as each spec is finished.
    """
    files: dict[str, str] = {}
    for spec, text in zip(specs, _texts(specs, min(jobs, len(specs)))):
        files[f"{spec.name}.py"] = text
        if done:
            done(spec)
    return files


def module(spec: Spec) -> str:
    """The text of one spec's module."""
    from kgen.emit import emit

    return emit(spec)


def _texts(specs: Sequence[Spec], jobs: int) -> Iterator[str]:
    if jobs < 2:
        yield from map(module, specs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(module, specs)
