"""The story of a build: specs in, the text of packages and of their proofs out. Reads and writes no files."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from kgen.spec.model import Spec


def generate(specs: Sequence[Spec], jobs: int = 1, done: Callable[[Spec], None] | None = None) -> dict[str, str]:
    """The packages of the specs and their proofs, by path under the output folder, such as "tests/test_vga3d.py".

    `jobs` processes share the specs; the text does not depend on it. `done` is called as each spec is finished.
    """
    files: dict[str, str] = {}
    for spec, texts in zip(specs, _texts(specs, min(jobs, len(specs)))):
        files |= texts
        if done:
            done(spec)
    return files


def package(spec: Spec) -> dict[str, str]:
    """The files of one spec: its package, and the proof of it."""
    from kgen.emit.package import emit
    from kgen.emit.proof import file_name, proof

    return emit(spec) | {file_name(spec): proof(spec)}


def _texts(specs: Sequence[Spec], jobs: int) -> Iterator[dict[str, str]]:
    if jobs < 2:
        yield from map(package, specs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(package, specs)
