"""What all tests share: kernels run in the interpreter where there is no GPU, no test talks to the network."""

import atexit
import gc
import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
os.environ["KGEN_CACHE_DIR"] = os.devnull  # no folder: tests compile anew, and leave nothing in the user's cache
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side: torch's threads would only wait for each other
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # and so would its compilers, which import it first
if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:  # the first of a run's processes: others find what it sets
    # torch keeps backwards by what forwards look like, and operators of another state of the code look alike
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="kgen-tests-")
    atexit.register(shutil.rmtree, os.environ["TORCHINDUCTOR_CACHE_DIR"], ignore_errors=True)


def gpu() -> bool:
    """Whether kernels can run on a GPU. torch, slow to import, is asked only where a device node exists."""
    nodes = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("dri/render*"), Path("/dev/kfd"), Path("/dev/dxg")]
    if not any(node.exists() for node in nodes) or not importlib.util.find_spec("torch"):
        return False
    import torch

    return torch.cuda.is_available() or torch.xpu.is_available()


gc.set_threshold(20_000, 20, 20)  # graphs are many small objects, most of which live until a test is over


# triton.jit reads the variable when a kernel is defined: it must stand before any generated module is imported.
if not gpu():
    os.environ.setdefault("TRITON_INTERPRET", "1")


if importlib.util.find_spec("triton"):
    import interpreter

    interpreter.install()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the goldens instead of comparing with them")


SLOW_PROOFS = ("test_cgenn2d", "test_cgenn_sta", "test_cgenn5d", "test_gcan_pga3d", "test_gatr", "test_lgatr")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow are proofs of packages with the kernels of another, `cgenn3d` and `gcan_vga3d`, over other blades; and those
    of `gatr` and `lgatr`, of which tests/runtime compares all gradients with those of tables.
    """
    for item in items:
        if item.path.parent.parent.name == "generated" and item.path.stem in SLOW_PROOFS:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What is imported by now stays to the end: a collection need not look at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def compiled_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tests keep the modules that they compile, the same for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "compiled"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): compare a text with tests/golden/<name>, or write it there with --update-golden."""

    def compare(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: look at the text, then run pytest --update-golden"
        assert text == path.read_text(encoding="utf-8"), f"{name} differs: if that is meant, run pytest --update-golden"

    return compare


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test reaches no other machine."""
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        assert host in ("localhost", "127.0.0.1", "::1"), f"a test connects to {host}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freshly allocated floating-point tensors hold NaN, so that reading what no kernel wrote shows."""
    import torch

    def poison(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def allocated(*args: Any, **options: Any) -> torch.Tensor:
            tensor = allocate(*args, **options)
            with torch.no_grad():
                return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

        return allocated

    for owner, names in ((torch, ("empty", "empty_like", "empty_strided")), (torch.Tensor, ("new_empty",))):
        for name in names:
            monkeypatch.setattr(owner, name, poison(getattr(owner, name)))
