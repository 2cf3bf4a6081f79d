"""What was compiled before: texts by the content of what they were made from, outside the tree.

In: the parts that a text was made of, as text. Out: the files, from the cache or made. Guaranteed:

* what was put in by another compiler is not found: its digest is part of every key;
* an entry proves itself by a digest of its key and content; one that does not is removed, and made again;
* nothing that is wrong with the folder is an error, be it missing, read-only, full, or no folder: nothing is kept then;
* builds may share the folder: an entry takes its place by a rename, whole;
* the folder stays below a size: what was not used for the longest time goes. Only entries are ever removed.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kgen import compiler

LIMIT = 256 * 2**20  # bytes of all entries; a build of the shipped specs has some 5 million
ENTRY = re.compile(r"[0-9a-f]{64}\.(json|[0-9a-f]{32})")  # with what a killed build was about to put in


def standard_folder() -> Path | None:
    """Where the user's cache is: $KGEN_CACHE_DIR, or as the system has it; None if the user has no folder."""
    if chosen := os.environ.get("KGEN_CACHE_DIR"):
        return Path(chosen)
    named = [Path(os.environ.get(name, "")) for name in ("XDG_CACHE_HOME", "LOCALAPPDATA")]
    usual = [_home() / {"win32": "AppData/Local", "darwin": "Library/Caches"}.get(sys.platform, ".cache")]
    return next((base / "kgen" for base in (*named, *usual) if base.is_absolute()), None)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # nobody's
        return Path()


def key(parts: Iterable[str]) -> str:
    """The name of what the present compiler makes of the parts."""
    return compiler.digest_of([compiler.digest(), *parts])


def _seal(key: str, payload: bytes) -> bytes:
    return hashlib.sha256(key.encode() + payload).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries."""

    folder: Path
    limit: int = LIMIT

    def of(self, parts: Sequence[str], make: Callable[[], dict[str, str]]) -> dict[str, str]:
        """What `make` returns, kept from when the same compiler made it from the same parts."""
        wanted = key(parts)
        found = self.get(wanted)
        if found is None:
            found = make()
            if key(parts) == wanted:  # else the compiler changed meanwhile, and which one made this is not known
                self.put(wanted, found)
        return found

    def get(self, key: str) -> dict[str, str] | None:
        """The files of a key, None if there is no sound entry."""
        entry = self._entry(key)
        with contextlib.suppress(OSError):
            seal, _, payload = entry.read_bytes().partition(b"\n")
            if seal != _seal(key, payload):
                entry.unlink()
                return None
            with contextlib.suppress(OSError):
                os.utime(entry)  # used just now
            return dict(json.loads(payload))
        return None

    def put(self, key: str, files: Mapping[str, str]) -> None:
        """Keep the files of a key, if that is possible."""
        payload = json.dumps(files).encode()
        draft = self.folder / f"{key}.{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_bytes(_seal(key, payload) + b"\n" + payload)
                os.replace(draft, self._entry(key))
            finally:
                draft.unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove the entries that were not used for the longest time, as far as all are too large."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            entries = [(entry.stat(), entry.path) for entry in found if ENTRY.fullmatch(entry.name)]
            excess = sum(status.st_size for status, _ in entries) - self.limit
            for status, path in sorted(entries, key=lambda entry: (entry[0].st_mtime_ns, entry[1])):
                if excess > 0:
                    Path(path).unlink(missing_ok=True)
                    excess -= status.st_size

    def _entry(self, key: str) -> Path:
        return self.folder / f"{key}.json"
