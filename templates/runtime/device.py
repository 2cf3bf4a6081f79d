"""Where kernels can run, and what a device multiplies fast."""

import functools
from collections.abc import Sequence

import torch

try:
    import triton as triton
except ImportError:  # without triton the references run
    triton = None

INTERPRETED = triton is not None and bool(triton.knobs.runtime.interpret)
DEVICES = ("cuda", "xpu", "cpu") if INTERPRETED else ("cuda", "xpu")


def runs_on_triton(device: torch.device) -> bool:
    """Whether kernels can run there: on a GPU, or in Triton's interpreter."""
    return triton is not None and device.type in DEVICES


@functools.cache
def multiprocessors(device: torch.device) -> int:
    """How many the device has; a few where nothing says."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


@functools.cache
def has_tensor_cores(device: torch.device) -> bool:
    """Whether the device has units for bf16 and tf32, as NVIDIA's have since sm_80."""
    nvidia = device.type == "cuda" and torch.version.hip is None
    return not nvidia or torch.cuda.get_device_capability(device) >= (8, 0)


def allows_tf32() -> bool:
    """Whether torch's setting lets its library multiply fp32 in tf32."""
    setting = torch.backends.cuda.matmul
    return setting.fp32_precision == "tf32" if hasattr(setting, "fp32_precision") else bool(setting.allow_tf32)


def input_precision(precision: str, device: torch.device) -> str:
    """What Triton is told of a precision: AMD's devices, and those without tensor cores, have full fp32 alone."""
    return precision if torch.version.hip is None and has_tensor_cores(device) else "ieee"


def on_tensor_cores(matrix: torch.dtype, device: torch.device, precision: str = "") -> bool:
    """Whether they multiply this dtype: bf16, and fp32 in tf32, as a precision or else torch's setting says.

    Else stored factors are faster. Triton's interpreter has none; it runs the kernels all the same.
    """
    if INTERPRETED:
        return True
    tf32 = input_precision(precision, device) != "ieee" if precision else allows_tf32()
    return (matrix is torch.bfloat16 or tf32 and matrix is torch.float32) and has_tensor_cores(device)


@functools.cache
def holds_tiles(device: torch.device) -> bool:
    """Whether a multiprocessor's shared memory is as large as an H100's, for which large tiles are chosen."""
    if device.type != "cuda":  # such as the interpreter's
        return True
    if torch.version.hip is not None:
        return False
    properties = torch.cuda.get_device_properties(device)
    return int(getattr(properties, "shared_memory_per_block_optin", 0)) >= 200 << 10


def attends(matrix: torch.dtype, device: torch.device, widths: Sequence[int]) -> bool:
    """Whether attention of parts of these widths keeps its tiles on the chip, and tensor cores multiply them.

    Where they do not, scores that are stored are faster, for the library multiplies.
    """
    tf32 = matrix is torch.float32 and allows_tf32() and input_precision("tf32", device) == "tf32"
    if not (matrix is torch.bfloat16 or tf32) or not (INTERPRETED or has_tensor_cores(device)):
        return False
    return sum([max(16, 1 << max(width - 1, 0).bit_length()) for width in widths]) * matrix.itemsize <= 1024
