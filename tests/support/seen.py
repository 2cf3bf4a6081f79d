"""What launchers do besides launching: torch's operators, by name."""

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from kgen.tools.problem import runtime


class Seen(TorchDispatchMode):
    """Notes torch's operators by name, and launches in their place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = list[str]()
        self.launching = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.launching:  # Triton's interpreter calls torch's operators inside
            self.found.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def seeing(of: ModuleType) -> Iterator[list[str]]:
    """What a module's launchers run in the context, in order: torch's operators, and kernels, as `_name_kernel`."""
    place, seen = runtime(of, "launch"), Seen()
    launched = place.launch

    def launch(kernel: Any, *arguments: Any) -> None:
        seen.found.append(kernel.__name__)
        seen.launching = True
        launched(kernel, *arguments)
        seen.launching = False

    with pytest.MonkeyPatch.context() as patch, seen:
        patch.setattr(place, "launch", launch)
        yield seen.found
