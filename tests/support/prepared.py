"""Python processes that have imported torch, triton and pytest when they start, which else takes each three seconds.

In: the arguments of a `python`, its folder and environment. Out: its exit status and output, as of `subprocess.run`. A
server, one for each environment that these packages read when they are imported, forks for each call. The fork has a
folder, an environment, a path and output of its own, and nothing of this repository but Triton's interpreter as
`interpreter` makes it. What is about imports or the start of a process wants a process of its own.
"""

import atexit
import functools
import gc
import json
import os
import runpy
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

Done = subprocess.CompletedProcess[str]
Python = Callable[[list[str], Path, Mapping[str, str]], Done]


def python(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> Done:
    """What `python -c code ...` or `python -m module ...` says in a folder."""
    with TemporaryDirectory() as written:
        output = [str(Path(written) / name) for name in ("stdout", "stderr")]
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment), "output": output}
        status = _asked(_server(read_at_import(environment)), json.dumps(request))
        texts = [Path(path).read_text(encoding="utf-8") for path in output]
    return subprocess.CompletedProcess(arguments, status, *texts)


def read_at_import(environment: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """What torch, triton and python read of an environment when they start, and never again."""
    names = {name for name in environment if name.startswith(("TRITON_", "TORCH", "OMP_", "PYTHON"))} - {"PYTHONPATH"}
    return frozenset((name, environment[name]) for name in names)


def anew(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> Done:
    """The same of a process that has imported nothing."""
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def _asked(server: "subprocess.Popen[str]", request: str) -> int:
    assert server.stdin and server.stdout
    print(request, file=server.stdin, flush=True)
    answer = server.stdout.readline()
    assert answer, "the server of prepared processes has ended"
    return int(answer)


@functools.cache
def _server(given: frozenset[tuple[str, str]]) -> "subprocess.Popen[str]":
    others = os.environ.items() - read_at_import(os.environ) - {("PYTHONPATH", os.environ.get("PYTHONPATH", ""))}
    server = subprocess.Popen(
        [sys.executable, __file__],
        env=dict(others | given),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)  # the end of its input is its own
    return server


# The server


def _serve() -> None:
    gc.freeze()  # a collection in a fork would copy all that the packages have made
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(arguments: list[str], folder: str, environment: dict[str, str], output: list[str]) -> None:
    """Be the process that is asked for; does not return."""
    for descriptor, path in enumerate((os.devnull, *output)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    kind, what, *sys.argv[1:] = arguments
    given = environment.get("PYTHONPATH")
    sys.path[:1] = [folder if kind == "-m" else "", *(given.split(os.pathsep) if given else ())]
    _end(_status(kind, what))


def _status(kind: str, what: str) -> int:
    """Run a program; how it ended."""
    try:
        _run(kind, what)
    except SystemExit as end:
        if not isinstance(end.code, str):
            return int(end.code or 0)
        print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    else:
        return 0
    return 1


def _run(kind: str, what: str) -> None:
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        assert kind == "-c", f"python {kind}"
        sys.argv[0] = kind
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(what, main.__dict__)


def _end(status: int) -> None:
    """As the interpreter ends, but for giving back each object that the packages have made: that takes a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    import interpreter
    import pytest  # noqa: F401
    import torch._inductor  # noqa: F401  # which torch imports when it is asked to be deterministic

    interpreter.install()
    _serve()
