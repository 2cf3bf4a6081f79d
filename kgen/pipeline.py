"""The story of a build: specs in, the text of packages and of their proofs out. Writes no files but a cache's.

Guaranteed: the mistakes of all specs and bodies are one error, KgenErrors, in the order of their places.
"""

import atexit
import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from kgen.cache import Cache, key
from kgen.emit.text.banner import source_name
from kgen.errors import KgenError, KgenErrors, collected, in_order
from kgen.spec.model import Kernel, Spec

atexit.register(gc.freeze)  # at its end Python would look for cycles once more, in all that caches hold


def read(paths: Sequence[str]) -> list[Spec]:
    """The specs in the files; where one has a mistake, those in the bodies of all are told with it."""
    from kgen.spec.load import drafts

    found = drafts(paths)
    if any(draft.errors for draft in found):
        refuse((draft.spec, draft.errors) for draft in found)
    return [draft.spec for draft in found if draft.spec]


def refuse(specs: Iterable[tuple[Spec | None, Sequence[KgenError]]]) -> None:
    """Raise what is known to be wrong in specs, and what is wrong in their bodies."""
    from kgen.trace.trace import mistakes

    found = [e for spec, errors in specs for e in in_order([*errors, *(mistakes(spec) if spec else [])])]
    if found:
        raise KgenErrors(found)


def generate(
    specs: Sequence[Spec],
    jobs: int = 1,
    done: Callable[[Spec], None] | None = None,
    cache: Cache | None = None,
) -> dict[str, str]:
    """The packages of the specs and their proofs, by path under the output folder, such as "tests/test_vga3d.py".

    `jobs` processes share the specs that are not in the cache; the text depends on neither. `done` is called as each
    spec is finished. Nothing is compiled where a body has a mistake.
    """
    files: dict[str, str] = {}
    for spec, texts in zip(specs, _texts(specs, jobs, cache)):
        files |= texts
        if done:
            done(spec)
    if cache:
        cache.trim()
    return files


def package(spec: Spec, cache: Cache | None = None) -> dict[str, str]:
    """The files of one spec: its package, and the proof of it. Kernels whose part of the spec is known are not made."""
    from kgen.emit.package import emit, of_kernel
    from kgen.emit.proof import file_name, proof

    def of(kernel: Kernel) -> dict[str, str]:
        make = partial(of_kernel, spec, kernel)
        return cache.of(_parts(spec, kernel.name), make) if cache else make()

    with _no_search_for_cycles():
        files = dict(zip(spec.kernels, collected(of, spec.kernels)))
        return emit(spec, lambda kernel: files[kernel]) | {file_name(spec): proof(spec)}


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Graphs of fields are large and have no cycles: Python would look through all of them again and again, in vain."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # and back: what is left counts as old, so that no search begins at once
        gc.unfreeze()
        if before:
            gc.enable()


def _texts(specs: Sequence[Spec], jobs: int, cache: Cache | None) -> Iterator[dict[str, str]]:
    known = [cache.get(key(_parts(spec))) if cache else None for spec in specs]
    missing = [spec for spec, texts in zip(specs, known) if texts is None]
    if missing:
        refuse((spec, ()) for spec in missing)
    made = _made(missing, min(jobs, len(missing)), cache)
    return (next(made) if texts is None else texts for texts in known)


def _made(specs: Sequence[Spec], jobs: int, cache: Cache | None) -> Iterator[dict[str, str]]:
    make = partial(_kept, cache) if cache else package
    if jobs < 2:
        yield from map(make, specs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(make, specs)


def _kept(cache: Cache, spec: Spec) -> dict[str, str]:
    return cache.of(_parts(spec), partial(package, spec, cache))


def _parts(spec: Spec, kernel: str = "") -> tuple[str, ...]:
    """What the files of a spec or of a kernel depend on, beside the compiler: text, and what headers call it."""
    made, digest = (f"kernel {kernel}", spec.part(kernel)) if kernel else ("spec", spec.digest)
    return made, source_name(spec.path), digest
