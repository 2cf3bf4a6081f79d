"""The cache of builds: what is found again, what is not trusted, and that nothing wrong with it is an error."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import folders
import pytest

import kgen
from kgen import compiler
from kgen.cache import Cache, key, standard_folder

ROOT = Path(__file__).parents[2]
PARTS = ("kernel", "body: x + y")
FILES = {"a.py": "A = 'ä'\n", "deep/b.py": ""}
OTHER = {"a.py": "other\n"}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "deep" / "cache")


def never() -> dict[str, str]:
    raise AssertionError("made again")


def made(cache: Cache, parts: tuple[str, ...] = PARTS) -> bool:
    """Whether the cache has to have it made, and tells the truth then."""
    count: list[int] = []

    def make() -> dict[str, str]:
        count.append(1)
        return FILES

    assert cache.of(parts, make) == FILES
    return bool(count)


def entry(cache: Cache) -> Path:
    return cache.folder / f"{key(PARTS)}.json"


def test_what_was_made_is_not_made_again(cache: Cache) -> None:
    assert made(cache)
    assert list(cache.of(PARTS, never).items()) == list(FILES.items())
    assert [file.name for file in cache.folder.iterdir()] == [entry(cache).name]


@pytest.mark.parametrize("parts", [("kernel", "body: x"), ("kernelbody: x + y",), (*PARTS, ""), PARTS[::-1]])
def test_other_parts_are_made(cache: Cache, parts: tuple[str, ...]) -> None:
    assert made(cache)
    assert made(cache, parts)
    assert not made(cache)


def test_another_compiler_makes_anew(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(cache)
    monkeypatch.setattr(compiler, "digest", lambda: "another")
    assert made(cache)


def test_what_a_changing_compiler_made_is_not_kept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file was saved while it ran: which one was imported is not known."""

    def make() -> dict[str, str]:
        monkeypatch.setattr(compiler, "digest", lambda: "saved meanwhile")
        return OTHER

    assert cache.of(PARTS, make) == OTHER
    monkeypatch.undo()
    assert made(cache)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the compiler, of which digests are then."""
    for folder in ("kgen", "templates"):
        folders.copied(ROOT / folder, tmp_path / "copy" / folder)
    monkeypatch.setattr(kgen, "__file__", str(tmp_path / "copy" / "kgen" / "__init__.py"))
    return tmp_path / "copy"


def test_the_digest_is_of_the_compilers_content(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of where it is, nor of when it was written, nor of what Python and editors leave there."""
    with monkeypatch.context() as context:
        context.setattr(kgen, "__file__", str(ROOT / "kgen" / "__init__.py"))
        here = compiler.digest()
    assert compiler.digest() == here
    (copied / "kgen" / "__pycache__").mkdir()
    (copied / "kgen" / "__pycache__" / "cli.pyc").touch()
    (copied / "kgen" / ".#cli.py").symlink_to("nowhere")
    assert compiler.digest() == here
    seen = {here}
    for name in ("kgen/graph/node.py", "kgen/trace/ops.py", "templates/kernels.jinja"):
        file = copied / name
        file.write_text(file.read_text() + "\n")
        seen.add(compiler.digest())
    (copied / "templates" / "new.jinja").touch()
    seen.add(compiler.digest())
    (copied / "kgen" / "cli.py").rename(copied / "kgen" / "cli2.py")
    assert len({*seen, compiler.digest()}) == 6


def test_versions_of_what_shapes_text_are_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = compiler._versions()
    assert all(f"{name} {compiler._version(name)}" in listed for name in ("black", "jinja2", "kingdon", "sympy"))
    before = compiler.digest()
    monkeypatch.setattr(compiler, "_versions", lambda: [line.replace("black", "blacker") for line in listed])
    compiler._digest.cache_clear()
    assert compiler.digest() != before
    compiler._digest.cache_clear()


def test_a_compiler_that_cannot_be_read_keeps_nothing(cache: Cache, copied: Path) -> None:
    (copied / "kgen" / "gone.py").symlink_to("nowhere")
    assert made(cache)
    assert made(cache)


Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-1],
    "no seal": lambda content: content.partition(b"\n")[2],
    "another text": lambda content: content.replace(b"A =", b"B ="),
    "another seal": lambda content: b"0" * 64 + content[64:],
    "zeros, as after a loss of power": lambda content: bytes(len(content)),
    "no text": lambda content: b"\xff\xfe" + content,
    "json": lambda content: json.dumps(OTHER).encode(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(cache: Cache, damage: str) -> None:
    assert made(cache)
    entry(cache).write_bytes(DAMAGES[damage](entry(cache).read_bytes()))
    assert made(cache)
    assert not made(cache)


def test_the_entry_of_another_key_is_not_believed(cache: Cache) -> None:
    cache.put(key(["other"]), OTHER)
    (cache.folder / f"{key(['other'])}.json").rename(entry(cache))
    assert made(cache)
    assert not made(cache)


def test_a_folder_in_the_place_of_an_entry(cache: Cache) -> None:
    (entry(cache) / "deep").mkdir(parents=True)
    assert made(cache)
    assert made(cache)
    assert list(cache.folder.iterdir()) == [entry(cache)]


@pytest.mark.parametrize("folder", ["file", "file/below", "loop"])
def test_no_folder_at_all(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    for _ in range(2):
        assert made(Cache(tmp_path / folder))
        Cache(tmp_path / folder).trim()
    assert sorted(tmp_path.rglob("*")) == before


def failing(code: int) -> Callable[..., None]:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_read_only_folder_serves_what_it_has(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(cache)
    for owner, name in ((Path, "mkdir"), (Path, "write_bytes"), (Path, "unlink"), (os, "replace"), (os, "utime")):
        monkeypatch.setattr(owner, name, failing(30))
    assert not made(cache)
    assert made(cache, ("new",))
    assert made(cache, ("new",))
    Cache(cache.folder, limit=0).trim()
    assert not made(cache)


def test_a_full_disk_leaves_no_half_entry(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(Path, "write_bytes", full)
        assert made(cache)
    assert list(cache.folder.iterdir()) == []
    assert made(cache)
    assert not made(cache)


SHARED = """
import sys
from pathlib import Path
from kgen.cache import Cache

cache = Cache(Path(sys.argv[1]))
for turn in range(200):
    key = f"{turn % 3:064}"
    found = cache.get(key)
    assert found is None or found == {"a.py": key * 1000}, found
    cache.put(key, {"a.py": key * 1000})
    if turn % 10 == 0:
        Cache(cache.folder, limit=100_000).trim()
"""


def test_builds_share_a_folder(cache: Cache) -> None:
    """One reads, replaces and removes what another does; each sees whole entries or none."""
    command = [sys.executable, "-c", SHARED, str(cache.folder)]
    builds = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for build in builds:
        assert not build.communicate()[1]
    assert all(file.suffix == ".json" for file in cache.folder.iterdir())


def test_what_was_not_used_for_long_goes_first(cache: Cache) -> None:
    names = [f"{number:064}" for number in range(4)]
    for number, name in enumerate(names):
        cache.put(name, FILES)
        os.utime(cache.folder / f"{name}.json", ns=(number + 1, number + 1))
    draft = cache.folder / f"{names[0]}.{'0' * 32}"  # of a build that was killed
    draft.write_bytes(b"half")
    os.utime(draft, ns=(0, 0))
    mine = [cache.folder / "notes.json", cache.folder / f"{'x' * 64}.json"]
    for file in mine:
        file.write_text("mine\n" * 1000)
        os.utime(file, ns=(0, 0))
    assert cache.get(names[0]) == FILES  # is used
    size = (cache.folder / f"{names[0]}.json").stat().st_size
    Cache(cache.folder, limit=4 * size + 4).trim()
    assert len(list(cache.folder.iterdir())) == 7
    Cache(cache.folder, limit=2 * size).trim()
    assert {*cache.folder.iterdir()} == {*mine, *(cache.folder / f"{names[i]}.json" for i in (0, 3))}


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "/home/me/.cache/kgen"),
        ("darwin", {}, "/home/me/Library/Caches/kgen"),
        ("win32", {}, "/home/me/AppData/Local/kgen"),
        ("win32", {"LOCALAPPDATA": "/users/me/local"}, "/users/me/local/kgen"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/kgen"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/kgen"),
        ("linux", {"XDG_CACHE_HOME": "/xdg", "KGEN_CACHE_DIR": ""}, "/xdg/kgen"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg", "KGEN_CACHE_DIR": "here"}, "here"),
    ],
)
def test_where_the_cache_is(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("KGEN_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(sys, "platform", platform)
    assert standard_folder() == Path(expected)


def test_who_has_no_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KGEN_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert standard_folder() is None
