"""Replace a set of files in a folder at once: the folder is as it was, or as it shall be, whenever a build is killed.

In: a folder, as a resolved path, and the files to write and to remove in it. Out: the folder changed on disk, flushed.

Everything new is first written and flushed in a hidden folder beside the target. Then one of three steps takes effect:

* no folder there yet: the hidden one is renamed to it;
* a folder of plain files and of folders of them: the other files are hard-linked into the hidden one, and the two
  folders are exchanged by one system call (Linux). Whoever looks sees the old set or the new one, at any moment;
* else (links inside, the working directory itself, a folder of another user's, a file system that cannot exchange
  folders): a journal of the renames is written, the files are renamed one by one, the journal is removed. A build
  killed between two renames leaves the journal, and `recover` completes it, which every later build does first.

A file by itself is replaced by one rename in every case, so none is ever seen half written. It has the mode and, where
the system allows that, the group of the file that it replaces; what is new is as the umask says. Where a file's name is
a link, the file at the link's end is replaced, and the link stays; to remove is to remove the link. With a removed file
goes what Python cached of it, and with the last one its folder. Builds of one folder wait for each other (`locks.py`).
"""

import contextlib
import ctypes
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from kgen.write import locks

CACHE = "__pycache__"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # from linux/fcntl.h and linux/fs.h


def stage_folder(out: Path) -> Path:
    """The hidden folder beside `out`, on the same file system, where a build is prepared."""
    return out / ".kgen" if os.path.ismount(out) else out.parent / f".{out.name}.kgen"


@contextlib.contextmanager
def lock(out: Path) -> Iterator[None]:
    """Keep other builds of the folder out until the block ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with locks.held(out.parent):
        yield


def commit(out: Path, write: Mapping[str, bytes], remove: Sequence[str] = ()) -> None:
    """Write and remove files in `out` as one step; paths are relative and were validated. Raises OSError."""
    stage = stage_folder(out)
    fresh = stage / "new"
    try:
        _fill(fresh, write, out)
        _drop_caches(out, remove)
        if not _take_place(out, fresh, {*write, *remove}):
            _write_journal(stage, write, remove)
    except BaseException:
        if not (stage / "journal").exists():
            _discard(stage)
        raise
    recover(out)


def pending(out: Path) -> list[str]:
    """The files that an interrupted build still has to write or to remove."""
    stage = stage_folder(out)
    if not (stage / "journal").exists():
        return []
    write, remove = _read_journal(stage)
    return [path for path in write if (stage / "new" / path).exists()] + [
        path for path in remove if (out / path).exists()
    ]


def recover(out: Path) -> None:
    """Complete a build whose journal stands; discard what was prepared by one killed before that."""
    stage = stage_folder(out)
    if (stage / "journal").exists():
        write, remove = _read_journal(stage)
        for path in write:
            if (stage / "new" / path).exists():
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                _put(stage / "new" / path, out / path)
        for path in remove:
            (out / path).unlink(missing_ok=True)
        _drop_caches(out, remove)
        _drop_empty(out, remove)
        for folder in sorted({_nearest_folder(out / path) for path in (*write, *remove)}):
            _flush(folder)
    _discard(stage)


def _fill(fresh: Path, write: Mapping[str, bytes], out: Path) -> None:
    for path, content in write.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        _flush_file(target)
        if (out / path).exists():
            _resemble(target, out / path)


def _resemble(path: Path, model: Path) -> None:
    """Give a file or a folder the mode of the one that it replaces, and the group if we may."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.chown(path, -1, model.stat().st_gid)
    shutil.copymode(model, path)


def _owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


def _put(prepared: Path, target: Path) -> None:
    """Rename a prepared file to where the target's links end, which may be another file system."""
    end = Path(os.path.realpath(target))
    try:
        os.replace(prepared, end)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        near = end.with_name(f".{end.name}.kgen")
        shutil.copyfile(prepared, near)
        _flush_file(near)
        _resemble(near, prepared)
        os.replace(near, end)
        prepared.unlink()


def _drop_caches(out: Path, removed: Iterable[str]) -> None:
    """Remove what Python cached of removed files, and its folder if that is all in it."""
    for file in (out / path for path in removed):
        with contextlib.suppress(OSError):  # none there, or another process uses it
            for cached in (file.parent / CACHE).glob(f"{file.stem}.*.pyc"):
                cached.unlink()
            (file.parent / CACHE).rmdir()


def _drop_empty(out: Path, removed: Iterable[str]) -> None:
    """Remove the folders that removed files were the last in."""
    folders = {folder for path in removed for folder in PurePosixPath(path).parents} - {PurePosixPath()}
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        with contextlib.suppress(OSError):  # of those that are not empty
            (out / folder).rmdir()


def _nearest_folder(path: Path) -> Path:
    """The folder that a file is in, at the end of links, or was in, as far as that is there."""
    return next(folder for folder in Path(os.path.realpath(path)).parents if folder.is_dir())


def _take_place(out: Path, fresh: Path, touched: set[str]) -> bool:
    """Put the prepared folder in the place of `out` by one system call; False where that is not possible."""
    fresh.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(out):
        os.rename(fresh, out)
        _flush(out.parent)
        return True
    others = _companions(out, touched)
    if others is None:
        return False
    try:
        for name in others:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(out / name, fresh / name)
        for folder in _folders(fresh):
            model = out / folder if (out / folder).exists() else out
            _resemble(fresh / folder, model)
            if _owner(fresh / folder) != _owner(model):
                return False
            _flush(fresh / folder)
    except OSError:
        return False
    if not _exchange(fresh, out):
        return False
    _flush(out.parent)
    _carry_over(fresh, out, {*others, *touched})
    return True


def _companions(out: Path, touched: set[str]) -> list[str] | None:
    """The files beside those that change, or None for a folder that must keep its identity or holds links."""
    if Path.cwd().is_relative_to(out):
        return None
    found: list[str] = []
    for folder in _folders(out):
        with os.scandir(out / folder) as entries:
            inside = [entry for entry in entries if entry.name != CACHE]
        if not all(entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False) for entry in inside):
            return None
        found += [(folder / entry.name).as_posix() for entry in inside if entry.is_file(follow_symlinks=False)]
    return sorted(set(found) - touched)


def _folders(top: Path) -> list[Path]:
    """The folder and those in it, relative and outermost first, but for Python's caches."""
    found = [Path()]
    for folder in found:
        with os.scandir(top / folder) as entries:
            inside = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        found += [folder / name for name in inside if name != CACHE]
    return found


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    arguments = (AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE)
    return renameat2 is not None and renameat2(*arguments) == 0


def _carry_over(old: Path, out: Path, known: set[str]) -> None:
    """Keep what appeared in the old folder while the new one was prepared, Python's caches, and empty folders."""
    for folder in _folders(old):
        with os.scandir(old / folder) as entries:
            late = sorted(entry.name for entry in entries if entry.is_file() or entry.name == CACHE)
        for name in late:
            if (folder / name).as_posix() not in known:
                with contextlib.suppress(OSError):  # whoever imports a module may have made the cache again
                    (out / folder).mkdir(parents=True, exist_ok=True)
                    os.rename(old / folder / name, out / folder / name)
        if not os.listdir(old / folder) and not late:
            (out / folder).mkdir(parents=True, exist_ok=True)


def _write_journal(stage: Path, write: Mapping[str, bytes], remove: Sequence[str]) -> None:
    draft = stage / "draft"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump({"write": sorted(write), "remove": sorted(remove)}, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, stage / "journal")
    _flush(stage)


def _read_journal(stage: Path) -> tuple[list[str], list[str]]:
    journal = json.loads((stage / "journal").read_text(encoding="utf-8"))
    return journal["write"], journal["remove"]


def _discard(stage: Path) -> None:
    # The journal goes first: without it, what is left of the folder means nothing.
    (stage / "journal").unlink(missing_ok=True)
    if stage.exists():
        shutil.rmtree(stage)


def _flush_file(path: Path) -> None:
    """Make a file's content survive a loss of power."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """Make renames in the folder survive a loss of power."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
