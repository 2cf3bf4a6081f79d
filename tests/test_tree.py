"""The folder of generated files: what is compared, written, refused and removed, and what a killed build leaves."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kgen.emit.text.banner import banner, source_name
from kgen.errors import KgenError
from kgen.spec import stamp
from kgen.write import transaction, tree

ROOT = Path(__file__).parents[1]


def text(source: str, body: str = "") -> str:
    return f'"""A module.\n\n{banner(source)}\n"""\n{body}'


OLD = {
    "a.py": text("specs/a.yaml", "A = 1\n"),
    "b.py": text("specs/b.yaml", "B = 1\n"),
    "c.py": text("specs/c.yaml"),
    "tests/test_a.py": text("specs/a.yaml", "TEST = 1\n"),
    "tests/test_c.py": text("specs/c.yaml"),
}
NEW = {
    "a.py": text("specs/a.yaml", "A = 2\n"),
    "b.py": text("specs/b.yaml", "B = 2\n"),
    "d.py": text("specs/d.yaml"),
    "tests/test_a.py": text("specs/a.yaml", "TEST = 2\n"),
    "tests/test_d.py": text("specs/d.yaml"),
}
CREATED, CHANGED, STALE = ("d.py", "tests/test_d.py"), ("a.py", "b.py", "tests/test_a.py"), ("c.py", "tests/test_c.py")


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
    assert changes.unchanged == ("b.py", "c.py", "tests/test_a.py", "tests/test_c.py")
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
    assert tree.check(both, out, keep).stale == STALE  # c.yaml is gone, b.yaml is not
    renamed = tree.check({"a2.py": NEW["a.py"], "tests/test_a2.py": NEW["tests/test_a.py"]}, out, keep)
    assert renamed.stale == ("a.py", "c.py", "tests/test_a.py", "tests/test_c.py")  # a.yaml makes a2.py now


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


def test_two_builds_of_a_folder_wait_for_each_other(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one has the folder, the other's lock is refused where it may not wait; else it waits, having done nothing.

    The other says when it is about to wait, so that nobody has to guess how long it takes until then.
    """
    waits = 'sys.addaudithook(lambda event, _: event == "fcntl.flock" and print("waits", flush=True))\ntree.write('
    code = CHILD.replace("tree.write(", waits)
    command = [sys.executable, "-c", code, str(out), "0", "exchange", json.dumps(NEW)]
    with transaction.lock(out):
        with monkeypatch.context() as impatient:
            impatient.setattr(fcntl, "LOCK_EX", fcntl.LOCK_EX | fcntl.LOCK_NB)
            with pytest.raises(KgenError, match="temporarily unavailable"):
                tree.write(NEW, out)
        waiting = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout and waiting.stdout.readline() == "waits\n"
        assert waiting.poll() is None and contents(out) == {**OLD, "__init__.py": "# mine\n"}
    assert not waiting.communicate()[0] and waiting.returncode == 0
    assert contents(out) == {**NEW, "__init__.py": "# mine\n"}
