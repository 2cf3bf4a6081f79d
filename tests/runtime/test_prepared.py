"""Prepared processes are processes of their own: what goes in and out is as of a python that starts."""

import os
import signal
from pathlib import Path

import prepared
import pytest

SAID = """\
import os, sys
print(os.getcwd(), sys.argv, os.environ.get("GIVEN"), __name__)
print(sys.stdin.read() == "", "torch" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("python", [prepared.python, prepared.anew])
def test_folder_arguments_environment_and_output(python: prepared.Python, tmp_path: Path) -> None:
    done = python(["-c", SAID, "a", "b c"], tmp_path, os.environ | {"GIVEN": "ü"})
    assert (done.returncode, done.stdout) == (0, f"{tmp_path} ['-c', 'a', 'b c'] ü __main__\n")
    assert done.stderr == f"True {python is prepared.python}\n"


def test_nothing_of_one_is_in_another(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os; os.environ['GIVEN'] = '1'; print(__file__, __name__)")
    modules = (
        "import sys; print(sorted({name.partition('.')[0] for name in sys.modules} & {'kgen', 'mine', 'generated'}))"
    )
    done = prepared.python(["-c", f"import mine; {modules}"], tmp_path, os.environ)
    assert done.stdout == f"{tmp_path}/mine.py mine\n['mine']\n"
    assert prepared.python(["-m", "mine"], tmp_path, os.environ).stdout == f"{tmp_path}/mine.py __main__\n"
    assert prepared.python(["-c", modules], tmp_path.parent, os.environ).stdout == "[]\n"


def test_the_path(tmp_path: Path) -> None:
    """Is the folder, what PYTHONPATH says, and what any python has."""
    code = "import sys; print(*sys.path, sep='\\n')"
    for environment in ({}, {"PYTHONPATH": os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "other")])}):
        without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        paths = [python(["-c", code], tmp_path, without | environment) for python in (prepared.python, prepared.anew)]
        assert paths[0].stdout == paths[1].stdout


def test_what_is_read_at_import(tmp_path: Path) -> None:
    """Another value is another server's."""
    code = "from triton import knobs, language; print(knobs.runtime.interpret, type(language.cdiv).__name__)"
    for value, said in (("0", "False JITFunction\n"), ("1", "True InterpretedFunction\n")):
        assert prepared.python(["-c", code], tmp_path, os.environ | {"TRITON_INTERPRET": value}).stdout == said
    read = {"TRITON_CACHE_DIR": "a", "TORCHINDUCTOR_CACHE_DIR": "b", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    others = {"PYTHONPATH": "c", "CUDA_VISIBLE_DEVICES": "", "HOME": "d"}
    assert prepared.read_at_import(read | others) == frozenset(read.items())


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit()", 0, ""),
        ("raise SystemExit('why')", 1, "why\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import atexit, sys; atexit.register(print, 'end', file=sys.stderr)", 0, "end\n"),
        ("from concurrent import futures; futures.ThreadPoolExecutor(1).submit(int).result()", 0, ""),
        (
            "import sys, threading; threading.Thread(target=print, args=['t'], kwargs={'file': sys.stderr}).start()",
            0,
            "t\n",
        ),
    ],
)
def test_how_it_ends(code: str, status: int, said: str, tmp_path: Path) -> None:
    for python in (prepared.python, prepared.anew):
        done = python(["-c", code], tmp_path, os.environ)
        assert (done.returncode, done.stderr) == (status, said)


def test_an_error(tmp_path: Path) -> None:
    done = prepared.python(["-c", "1 / 0"], tmp_path, os.environ)
    assert done.returncode == 1 and done.stderr.endswith("ZeroDivisionError: division by zero\n")
