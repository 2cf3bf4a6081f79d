"""The folder of generated files: what is compared, written, refused and removed, and what a killed build leaves."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import windows

from kgen.emit.text.banner import banner, source_name
from kgen.errors import KgenError
from kgen.spec import stamp
from kgen.write import locks, transaction, tree

ROOT = Path(__file__).parents[2]


def text(source: str, body: str = "") -> str:
    return f'"""A module.\n\n{banner(source)}\n"""\n{body}'


OLD = {
    "a.py": text("specs/a.yaml", "A = 1\n"),
    "b.py": text("specs/b.yaml", "B = 1\n"),
    "c.py": text("specs/c.yaml"),
    "tests/test_a.py": text("specs/a.yaml", "TEST = 1\n"),
    "tests/test_c.py": text("specs/c.yaml"),
    "p/__init__.py": text("specs/p.yaml"),
    "p/_kernels/f.py": text("specs/p.yaml"),
}
NEW = {
    "a.py": text("specs/a.yaml", "A = 2\n"),
    "b.py": text("specs/b.yaml", "B = 2\n"),
    "d.py": text("specs/d.yaml"),
    "tests/test_a.py": text("specs/a.yaml", "TEST = 2\n"),
    "tests/test_d.py": text("specs/d.yaml"),
}
CREATED, CHANGED = ("d.py", "tests/test_d.py"), ("a.py", "b.py", "tests/test_a.py")
STALE = ("c.py", "p/__init__.py", "p/_kernels/f.py", "tests/test_c.py")


def contents(out: Path) -> dict[str, str]:
    """The files of the folder, by their path in it."""
    files = (file for file in sorted(out.rglob("*")) if file.is_file())
    return {file.relative_to(out).as_posix(): file.read_text() for file in files}


def littered(out: Path) -> list[str]:
    return sorted(entry.name for entry in out.parent.iterdir() if entry != out)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with an earlier build and a file of the user's."""
    folder = tmp_path / "place" / "generated"
    tree.write(OLD, folder)
    (folder / "__init__.py").write_text("# mine\n")
    return folder


def test_first_write_creates_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "generated"
    assert tree.write(OLD, folder) == tree.Changes(created=tuple(sorted(OLD)))
    assert contents(folder) == OLD
    assert littered(folder) == []


def test_write_reports_and_keeps_what_is_not_its_own(out: Path) -> None:
    changes = tree.write(NEW, out)
    assert changes == tree.Changes(created=CREATED, changed=CHANGED, stale=STALE)
    assert contents(out) == {**OLD, **NEW, "__init__.py": "# mine\n"}
    assert littered(out) == []


def test_unchanged_files_are_not_touched(out: Path) -> None:
    for name in ("b.py", "__init__.py"):
        os.utime(out / name, ns=(1, 1))
    changes = tree.write({**OLD, "a.py": NEW["a.py"]}, out)
    assert changes.unchanged == tuple(sorted({*OLD} - {"a.py"}))
    assert [(out / name).stat().st_mtime_ns for name in ("b.py", "__init__.py")] == [1, 1]
    assert (out / "a.py").stat().st_mtime_ns != 1


def test_writing_the_same_again_changes_nothing(out: Path) -> None:
    before = out.stat().st_ino, out.stat().st_mtime_ns
    assert not tree.write(OLD, out).different
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == before


def test_check_and_diff_only_read(out: Path) -> None:
    before = contents(out)
    expected = tree.Changes(created=CREATED, changed=CHANGED, stale=STALE)
    assert tree.check(NEW, out) == expected
    assert expected.different
    assert not tree.check(OLD, out).different
    assert tree.diff(OLD, out) == ""
    tree.diff(NEW, out, prune=True)
    assert contents(out) == before


def test_diff_applies_with_patch(out: Path) -> None:
    endings = {**NEW, "a.py": NEW["a.py"] + "x = '\f'\nno newline at the end"}
    patch = tree.diff(endings, out, prune=True)
    assert "-A = 1\n+A = 2\n" in patch
    assert "--- /dev/null\n+++ b/d.py\n" in patch
    subprocess.run(["git", "init", "-q"], cwd=out, check=True)
    subprocess.run(["git", "apply", "-p1"], cwd=out, input=patch, text=True, check=True)
    assert not tree.check(endings, out).different


def test_edits_by_hand_are_told_from_older_builds(tmp_path: Path) -> None:
    """Both are replaced; only with the first something is lost that no build makes again."""

    def stamped(name: str, body: str) -> str:
        return stamp.sealed(text(f"specs/{name}.yaml", body).replace('\n"""', f'\n{stamp.line("0" * 12, name)}\n"""'))

    old, new = ({f"{name}.py": stamped(name, f"X = {x}\n") for name in "abc"} for x in (1, 2))
    tree.write(old, tmp_path / "out")
    for name, change in (("a.py", "# mine\n"), ("b.py", "")):
        (tmp_path / "out" / name).write_text(old[name] + change)
    (tmp_path / "out" / "c.py").write_bytes(old["c.py"].replace("\n", "\r\n").encode())
    for changes in (tree.check(new, tmp_path / "out"), tree.write(new, tmp_path / "out")):
        assert changes == tree.Changes(changed=("a.py", "b.py", "c.py"), edited=("a.py",))
    assert contents(tmp_path / "out") == new


def test_stale_modules_go_only_with_prune(out: Path) -> None:
    assert tree.write(NEW, out).stale == STALE
    assert tree.write(NEW, out, prune=True) == tree.Changes(unchanged=tuple(sorted(NEW)), removed=STALE)
    assert contents(out) == {**NEW, "__init__.py": "# mine\n"}


def test_modules_of_specs_that_were_not_built_stay(tmp_path: Path, out: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    for name in ("a", "b"):
        (specs / f"{name}.yaml").touch()
    (out / "other.py").write_text(text("examples/other.yaml"))
    keep = tree.elsewhere([specs / "a.yaml"])
    both = {name: NEW[name] for name in ("a.py", "tests/test_a.py")}
    assert tree.check(both, out, keep).stale == STALE  # c.yaml and p.yaml are gone, b.yaml is not
    renamed = tree.check({"a2.py": NEW["a.py"], "tests/test_a2.py": NEW["tests/test_a.py"]}, out, keep)
    assert renamed.stale == tuple(sorted({*STALE, *renamed.dropped}))
    assert renamed.dropped == ("a.py", "tests/test_a.py")  # a.yaml makes a2.py now


@pytest.mark.parametrize("head", ["", "x = 1\n", "\n\n\n\n\n# @generated by kgen from specs/a.yaml\n"])
@pytest.mark.parametrize("name", ["a.py", "tests/test_a.py"])
def test_files_without_banner_are_neither_replaced_nor_removed(out: Path, name: str, head: str) -> None:
    (out / name).write_text(head)
    before = contents(out)
    with pytest.raises(KgenError, match=rf"{name} was not generated by kgen"):
        tree.write(NEW, out, prune=True)
    assert contents(out) == before
    built = {other: NEW[other] for other in ("b.py", "tests/test_d.py")}
    tree.write(built, out, prune=True)
    assert contents(out) == {**built, name: head, "__init__.py": "# mine\n"}


@pytest.mark.parametrize("exchange", [True, False])
def test_folders_inside(out: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    """Files of the user's in them stay, and empty folders."""
    if not exchange:
        monkeypatch.setattr(transaction, "_exchange", lambda a, b: False)
    (out / "tests" / "__pycache__").mkdir()
    (out / "tests" / "__pycache__" / "a.pyc").write_text("cache")
    (out / "tests" / "mine.txt").write_text("mine\n")
    (out / "empty" / "deep").mkdir(parents=True)
    tree.write(NEW, out, prune=True)
    kept = {"__init__.py": "# mine\n", "tests/mine.txt": "mine\n", "tests/__pycache__/a.pyc": "cache"}
    assert contents(out) == {**NEW, **kept}
    assert (out / "empty" / "deep").is_dir()
    assert littered(out) == []


def package(name: str, *more: str) -> dict[str, str]:
    """A spec's files, with folders in folders; not every folder is a package of Python's."""
    paths = ("__init__.py", "_kernels/__init__.py", "_kernels/f.py", *more)
    files = {path: text(f"specs/{name}.yaml") for path in (f"tests/test_{name}.py", *(f"{name}/{p}" for p in paths))}
    return {**files, f"{name}/_runtime/deep/launch.py": text("templates/runtime/launch.py")}


@pytest.fixture(params=["exchange", "journal"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of changing a folder."""
    if request.param == "journal":
        monkeypatch.setattr(transaction, "_exchange", lambda a, b: False)


def litter(folder: Path) -> None:
    """What Python leaves beside a file when it runs it."""
    for file in sorted(folder.rglob("*.py")):
        (file.parent / "__pycache__").mkdir(exist_ok=True)
        for suffix in ("cpython-311", "cpython-311.opt-1", "cpython-312-pytest-8.3.4"):
            (file.parent / "__pycache__" / f"{file.stem}.{suffix}.pyc").write_text("cache")


@pytest.mark.usefixtures("way")
def test_a_package_goes_with_its_folders_and_caches(tmp_path: Path) -> None:
    first, second = package("first"), package("second", "_kernels/g.py")
    tree.write({**first, **second}, tmp_path / "out")
    litter(tmp_path / "out")
    gone = tuple(sorted(second))
    assert tree.write(first, tmp_path / "out") == tree.Changes(unchanged=tuple(sorted(first)), stale=gone)
    assert {**first, **second}.items() <= contents(tmp_path / "out").items()
    changes = tree.write(first, tmp_path / "out", prune=True)
    assert changes == tree.Changes(unchanged=tuple(sorted(first)), removed=gone)
    assert {path: text for path, text in contents(tmp_path / "out").items() if path.endswith(".py")} == first
    assert not (tmp_path / "out" / "second").exists()
    assert len(list((tmp_path / "out" / "first" / "_kernels" / "__pycache__").iterdir())) == 6
    assert littered(tmp_path / "out") == []


@pytest.mark.usefixtures("way")
def test_a_file_that_a_package_no_longer_has_goes_with_its_caches(tmp_path: Path) -> None:
    tree.write(package("one", "_kernels/g.py", "_old/h.py"), tmp_path / "out")
    litter(tmp_path / "out")
    changes = tree.write(package("one"), tmp_path / "out", prune=True)
    assert changes.removed == changes.dropped == ("one/_kernels/g.py", "one/_old/h.py")
    kernels = tmp_path / "out" / "one" / "_kernels"
    assert {file.name.partition(".")[0] for file in (kernels / "__pycache__").iterdir()} == {"__init__", "f"}
    assert not (tmp_path / "out" / "one" / "_old").exists()


@pytest.mark.usefixtures("way")
def test_files_of_the_users_in_packages_stay_and_are_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine = ["one/notes.txt", "one/_kernels/mine.py", "two/_kernels/f.py.orig", "two/_runtime/deep/link.py"]
    tree.write({**package("one"), **package("two")}, out)
    litter(out)
    (out / "two/_runtime/deep/link.py").symlink_to("nowhere")
    for path in (*mine[:3], "tests/helper.py", "notes.txt"):
        (out / path).write_text("mine\n")
    assert tree.check({**package("one"), **package("two")}, out) == tree.Changes(
        unchanged=tuple(sorted({**package("one"), **package("two")})), foreign=tuple(sorted(mine))
    )
    assert tree.write(package("one"), out, prune=True).foreign == tuple(sorted(mine))
    left = {file.relative_to(out).as_posix() for file in (out / "two").rglob("*") if not file.is_dir()}
    assert left == {*mine[2:]}
    assert tree.check(package("one"), out).foreign == tuple(sorted(mine[:2]))


def test_files_of_a_package_are_of_its_spec(tmp_path: Path) -> None:
    """Also those that were copied from elsewhere and say so: they stay with it, and go with it."""
    for name in ("one", "two", "three"):
        tree.write(package(name, "_runtime/old.py"), tmp_path / "out")
        (tmp_path / "out" / name / "_runtime" / "old.py").write_text(text("templates/runtime/old.py"))
    (tmp_path / "specs").mkdir()
    for name in ("one", "two"):
        (tmp_path / "specs" / f"{name}.yaml").touch()
    changes = tree.check(package("one"), tmp_path / "out", tree.elsewhere([tmp_path / "specs" / "one.yaml"]))
    gone = sorted(package("three", "_runtime/old.py"))
    assert changes.stale == ("one/_runtime/old.py", *gone)  # two.yaml is there, though it was not built
    assert changes.dropped == ("one/_runtime/old.py",)


def test_an_old_module_beside_its_package_is_named_before_it_is_removed(tmp_path: Path) -> None:
    old = {"one.py": text("specs/one.yaml"), "tests/test_one.py": text("specs/one.yaml", "OLD = 1\n")}
    tree.write(old, tmp_path / "out")
    changes = tree.write(package("one"), tmp_path / "out")
    assert changes.stale == changes.dropped == ("one.py",)
    assert contents(tmp_path / "out") == {**package("one"), "one.py": old["one.py"]}
    assert tree.write(package("one"), tmp_path / "out", prune=True).removed == ("one.py",)
    assert contents(tmp_path / "out") == package("one")


def test_folders_of_the_users_are_not_searched(tmp_path: Path) -> None:
    """Modules may be vendored anywhere, in the folder of a build, too; only packages of kgen's are looked into."""
    vendored = {"mine/__init__.py": "", "mine/copy.py": text("specs/gone.yaml"), "data/x.py": text("specs/gone.yaml")}
    for path, content in vendored.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    assert tree.write(package("one"), tmp_path, prune=True) == tree.Changes(created=tuple(sorted(package("one"))))
    assert contents(tmp_path) == {**vendored, **package("one")}


@pytest.mark.usefixtures("way")
def test_modes_are_kept_and_new_files_follow_the_umask(out: Path) -> None:
    modes = {"a.py": 0o755, "b.py": 0o664, "tests/test_a.py": 0o444, "__init__.py": 0o600}
    for path, mode in modes.items():
        (out / path).chmod(mode)
    out.chmod(0o2775)
    before = os.umask(0o027)
    try:
        tree.write(NEW, out)
    finally:
        os.umask(before)
    modes |= {"d.py": 0o640, "tests/test_d.py": 0o640}
    assert {path: (out / path).stat().st_mode & 0o7777 for path in modes} == modes
    assert out.stat().st_mode & 0o7777 == 0o2775
    assert contents(out) == {**OLD, **NEW, "__init__.py": "# mine\n"}


@pytest.mark.parametrize("same_file_system", [True, False])
def test_links_are_followed_and_stay(out: Path, monkeypatch: pytest.MonkeyPatch, same_file_system: bool) -> None:
    replace = os.replace

    def within(source: Path, target: Path) -> None:
        if source.parent != target.parent and out not in target.parents:
            raise OSError(18, "Invalid cross-device link")
        replace(source, target)

    if not same_file_system:
        monkeypatch.setattr(os, "replace", within)
    elsewhere = out.parent / "elsewhere"
    elsewhere.mkdir()
    links = {"a.py": "kept.py", "tests/test_a.py": "kept_test.py", "c.py": "stale.py"}
    for path, name in links.items():
        os.rename(out / path, elsewhere / name)
        (elsewhere / name).chmod(0o754)
        (out / path).symlink_to(os.path.relpath(elsewhere / name, (out / path).parent))
    (out / "d.py").symlink_to(elsewhere / "new.py")
    tree.write(NEW, out, prune=True)
    assert contents(out) == {**NEW, "__init__.py": "# mine\n"}
    assert all((out / path).is_symlink() for path in ("a.py", "tests/test_a.py", "d.py"))
    assert (elsewhere / "kept.py").stat().st_mode & 0o777 == 0o754
    assert sorted(file.name for file in elsewhere.iterdir()) == ["kept.py", "kept_test.py", "new.py", "stale.py"]


def test_links_to_what_kgen_must_not_touch_are_errors(out: Path) -> None:
    (out.parent / "mine.py").write_text("mine = 1\n")
    for target, message in (
        ("mine.py", r"a\.py was not generated by kgen"),
        ("nowhere/a.py", "nowhere is not a folder"),
        ("generated/a.py", r"cannot read .*a\.py"),
    ):
        (out / "a.py").unlink()
        (out / "a.py").symlink_to(out.parent / target)
        with pytest.raises(KgenError, match=message):
            tree.write(NEW, out)
        assert (out / "b.py").read_text() == OLD["b.py"]
    assert (out.parent / "mine.py").read_text() == "mine = 1\n"


@pytest.mark.parametrize("path", ["../x.py", "/x.py", "", "a/../../x.py", "a\\b.py", "link/x.py", "nul\0.py"])
def test_no_path_leaves_the_folder(out: Path, path: str) -> None:
    (out / "link").symlink_to(out.parent)
    with pytest.raises(KgenError, match="is not a path inside"):
        tree.write({path: text("specs/x.yaml")}, out)
    assert littered(out) == []


def test_obstacles_are_errors_of_kgen(out: Path) -> None:
    (out / "d.py").mkdir()
    with pytest.raises(KgenError, match=r"d\.py is a folder"):
        tree.write(NEW, out)
    for name in ("b.py/x.py", "__init__.py/deep/x.py"):
        with pytest.raises(KgenError, match=r"\.py is not a folder"):
            tree.write({name: text("specs/x.yaml")}, out)
    with pytest.raises(KgenError, match="is not a folder"):
        tree.write(NEW, out / "a.py")
    (out.parent / "dangling").symlink_to("nowhere")
    with pytest.raises(KgenError, match="is not a folder"):
        tree.write(NEW, out.parent / "dangling")


def test_source_names_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "specs").mkdir()
    monkeypatch.chdir(tmp_path / "specs")
    spellings = ["a.yaml", "../specs/a.yaml", str(tmp_path / "specs" / "a.yaml"), "./a.yaml"]
    assert {source_name(spelling) for spelling in spellings} == {"specs/a.yaml"}
    assert source_name('x"""\nimport os.yaml') == "specs/x____import os.yaml"


def test_a_folder_named_by_a_link_or_as_working_directory(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = out.parent / "link"
    link.symlink_to("generated")
    tree.write(NEW, link, prune=True)
    assert link.is_symlink()
    assert littered(out) == ["link"]
    assert contents(out) == {**NEW, "__init__.py": "# mine\n"}
    monkeypatch.chdir(out)
    tree.write(OLD, Path(), prune=True)
    assert contents(Path()) == contents(out) == {**OLD, "__init__.py": "# mine\n"}


def test_pythons_cache_survives(out: Path) -> None:
    (out / "__pycache__").mkdir()
    (out / "__pycache__" / "a.pyc").write_text("cache")
    tree.write(NEW, out)
    assert (out / "__pycache__" / "a.pyc").read_text() == "cache"


def test_a_failing_disk_leaves_the_old_folder(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = contents(out)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KgenError, match="No space left"):
        tree.write(NEW, out)
    assert contents(out) == before
    assert littered(out) == []


# Killing a build: a child process writes NEW over OLD and kills itself at its n-th step that touches a file. An audit
# hook sees every such step of Python's; the exchange itself has no event, but the steps around it have.

CHILD = """
import json, os, signal, sys
from pathlib import Path
from kgen.write import transaction, tree

out, last, how, files = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
if how == "journal":
    transaction._exchange = lambda a, b: False
count = 0

def step(event, arguments):
    global count
    if event.split(".")[0] in ("open", "os", "shutil", "fcntl", "ctypes"):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
tree.write(files, out, prune=True)
"""


def child(out: Path, last: int, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, str(out), str(last), how, json.dumps(NEW)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def has_exchange(folder: Path) -> bool:
    for name in ("one", "two"):
        (folder / name).mkdir()
    return transaction._exchange(folder / "one", folder / "two")


@pytest.mark.parametrize("how", ["exchange", "journal", "first"])
def test_a_build_killed_at_any_step_leaves_the_old_tree_or_the_new(tmp_path: Path, how: str) -> None:
    probe = tmp_path / "probe"
    probe.mkdir()
    atomic = how == "first" or (how == "exchange" and has_exchange(probe))
    old: dict[str, str] = {} if how == "first" else {**OLD, "mine.py": "# mine\n"}
    new = NEW if how == "first" else {**NEW, "mine.py": "# mine\n"}
    seen: list[dict[str, str]] = []
    deadline, alive = 0, False
    while not alive:
        deadline += 1
        out = tmp_path / str(deadline) / "generated"
        if how != "first":
            tree.write(OLD, out)
            (out / "mine.py").write_text("# mine\n")
        out.parent.mkdir(exist_ok=True)
        run = child(out, deadline, how)
        alive = run.returncode == 0
        assert alive or run.returncode == -9, run.stderr
        left = contents(out)
        seen.append(left)
        whole = {name: (old.get(name), new.get(name)) for name in old | new}
        assert all(left.get(name) in states for name, states in whole.items()), f"half a file at step {deadline}"
        assert left.keys() <= whole.keys()
        if atomic:
            assert left in (old, new), f"half a tree at step {deadline}"
        waiting = bool(transaction.pending(out))
        assert left in (old, new) or waiting, f"half a tree without a journal at step {deadline}"
        tree.write(new if left == new or waiting else old, out)  # the next build, of the same files, changes nothing
        assert contents(out) == (new if left == new or waiting else old)
        assert littered(out) == []
    assert old in seen
    assert new in seen
    assert deadline > 10
    assert atomic or any(left not in (old, new) for left in seen)  # the journal was needed


def test_the_next_build_completes_an_interrupted_one(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "_exchange", lambda a, b: False)
    renames: list[Path] = []

    def third_fails(source: Path, target: Path) -> None:
        renames.append(target)
        if len(renames) == 3:
            raise OSError(5, "Input/output error")
        os.rename(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", third_fails)
        with pytest.raises(KgenError, match="Input/output error"):
            tree.write(NEW, out)
    assert contents(out) not in ({**OLD, "__init__.py": "# mine\n"}, {**OLD, **NEW, "__init__.py": "# mine\n"})
    (out / "d.py").write_text("# the user was here in between\n")
    with pytest.raises(KgenError, match=r"d\.py was not generated"):
        tree.write({}, out)
    (out / "d.py").unlink()
    tree.write({"a.py": NEW["a.py"]}, out)
    assert contents(out) == {**OLD, **NEW, "__init__.py": "# mine\n"}
    assert littered(out) == []


def test_files_that_appear_during_a_build_are_kept(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = transaction._exchange

    def meanwhile(fresh: Path, place: Path) -> bool:
        (place / "late.txt").write_text("late\n")
        return exchange(fresh, place)

    monkeypatch.setattr(transaction, "_exchange", meanwhile)
    tree.write(NEW, out)
    assert (out / "late.txt").read_text() == "late\n"


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_two_builds_of_a_folder_wait_for_each_other(out: Path, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """While one has the folder, the other waits, having done nothing.

    It says when it is about to wait, so that nobody has to guess how long it takes until then.
    """
    code = CHILD.replace("tree.write(", f"{WAITS[platform]}\ntree.write(")
    command = [sys.executable, "-c", code, str(out), "0", "exchange", json.dumps(NEW)]
    believe(platform, monkeypatch)
    with transaction.lock(out):
        waiting = subprocess.Popen(command, cwd=ROOT, env=WITH_TESTS, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout and waiting.stdout.readline() == "waits\n"
        assert waiting.poll() is None and contents(out) == {**OLD, "__init__.py": "# mine\n"}
    assert set(waiting.communicate()[0].splitlines()) <= {"waits"} and waiting.returncode == 0
    assert contents(out) == {**NEW, "__init__.py": "# mine\n"}
    assert littered(out) == []


ON_FLOCK = 'sys.addaudithook(lambda event, _: event == "fcntl.flock" and print("waits", flush=True))'
WAITS = {
    "linux": ON_FLOCK,
    "darwin": f"sys.platform = 'darwin'\n{ON_FLOCK}",
    "win32": 'import windows; windows.install(lambda: print("waits", flush=True))',
}
WITH_TESTS = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "support")}


def believe(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kgen take this system for another."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_lock_has_one_holder_and_ends_with_its_process(
    out: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    believe(platform, monkeypatch)
    killed = CHILD.partition("out, last")[0] + WAITS[platform] + f"""
transaction.lock(Path({str(out)!r})).__enter__()
print("has it", flush=True)
os.kill(os.getpid(), signal.SIGKILL)"""
    run = subprocess.run([sys.executable, "-c", killed], cwd=ROOT, env=WITH_TESTS, capture_output=True, text=True)
    assert run.returncode == -9 and run.stdout.endswith("has it\n"), run.stderr
    with transaction.lock(out), monkeypatch.context() as impatient:
        impatient.setattr(fcntl, "LOCK_EX", fcntl.LOCK_EX | fcntl.LOCK_NB)
        impatient.setattr(locks, "REFUSED", ())
        with pytest.raises(KgenError, match="temporarily unavailable|deadlock"):
            tree.write(NEW, out)
    tree.write(NEW, out, prune=True)
    assert contents(out) == {**NEW, "__init__.py": "# mine\n"}
    assert littered(out) == []


def test_a_lock_that_the_system_refuses_is_an_error(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build does not go on without one."""

    def none(descriptor: int, mode: int, size: int) -> None:
        raise OSError(37, "No locks available")

    believe("win32", monkeypatch)
    monkeypatch.setattr(windows, "locking", none)
    with pytest.raises(KgenError, match="No locks available"):
        tree.write(NEW, out)
    assert contents(out) == {**OLD, "__init__.py": "# mine\n"}
    assert littered(out) == []
