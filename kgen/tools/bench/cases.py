"""What suites declare: cases, and the peers that take part in them.

In: names of a generated package and its kernel, extents of axes, a dtype. Out: frozen data; nothing is loaded for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from kgen.tools.problem import Function

TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "tf32": 1e-2, "float16": 5e-3, "bfloat16": 2e-2}  # relative


@dataclass(frozen=True, slots=True)
class Peer:
    """Someone else's function of the same inputs. `load` imports it, and raises ImportError where it is absent."""

    name: str
    load: Callable[[], Function]
    plain_torch: bool = False  # then it is measured under torch.compile, too


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel of the generated package NAME, at one size and dtype, with its default options."""

    module: str
    kernel: str
    sizes: Mapping[str, int] = field(default_factory=dict)  # extents of axes; `b` is the leading axis of "...", too
    dtype: str = "float32"  # or "tf32": float32, whose matrix products torch may round to tf32
    peers: tuple[Peer, ...] = ()
    positive: tuple[str, ...] = ()  # inputs that are drawn positive
    folder: Path | None = None  # where the module is, if not in the run's folder

    @property
    def name(self) -> str:
        return f"{self.module}.{self.kernel}"

    def path(self, generated: Path) -> Path:
        """The module's file."""
        return (self.folder or generated) / self.module

    @property
    def storage(self) -> torch.dtype:
        return torch.float32 if self.dtype == "tf32" else getattr(torch, self.dtype)
