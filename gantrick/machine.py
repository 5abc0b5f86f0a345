"""What the machine can do: its types, its memory, waiting for it, and compiling for it."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

T = TypeVar("T", bound=Callable[..., Any])

# glibc's names of what mallopt sets (malloc.h)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def compute_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that networks compute in while they train; None is float32.

    auto: bf16 on a GPU that has it, float32 elsewhere: a CPU without matrix units (AMX) is slower at bf16.
    """
    if precision == "auto":
        if device.type != "cuda":
            return None
        with torch.cuda.device(device):
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    return {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, products and convolutions of float32 are of float32: no TF32 and no bf16, whatever the user has set."""
    backends: Any = torch.backends
    if hasattr(backends, "fp32_precision"):  # from torch 2.9 on; what was set in the older way reads well here too
        switches = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
        attribute, off = "fp32_precision", "ieee"
    else:
        switches, attribute, off = (backends.cuda.matmul, backends.cudnn), "allow_tf32", False  # type: ignore[assignment]
    before = [getattr(switch, attribute) for switch in switches]
    try:
        for switch in switches:
            setattr(switch, attribute, off)
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            setattr(switch, attribute, value)


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


# --- memory ----------------------------------------------------------------------------------------------------------


def _glibc() -> Any:
    """glibc where it hands out this process's memory, else None: another system, or another allocator in its place."""
    replaced = any(name in os.environ.get("LD_PRELOAD", "") for name in ("jemalloc", "tcmalloc", "mimalloc"))
    if replaced or platform.libc_ver()[0] != "glibc":
        return None
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt, library.malloc_trim  # noqa: B018  (both are there)
        return library
    return None


def keep_freed_memory() -> bool:
    """Has glibc keep what training frees, as the next step takes it again; False where there is no glibc to ask.

    By default every block above some megabytes is mapped anew and each of its pages faults, hundreds of megabytes a
    step. From now on nothing is mapped on its own (M_MMAP_MAX = 0) and nothing goes back (M_TRIM_THRESHOLD = −1).
    """
    if (library := _glibc()) is None:
        return False
    return bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, -1))


def reset_peak_memory(device: torch.device) -> None:
    """From here on `peak_memory` counts anew, as far as the system lets it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    if (library := _glibc()) is not None:
        library.malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's mark of the most there was


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that torch had allocated on a GPU, the most of the process that was resident on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if platform.system() == "Darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- compiling -------------------------------------------------------------------------------------------------------


def compiled(function: T, cuda_graphs: bool = False) -> T:
    """torch.compile of a function of fixed shapes; cuda_graphs is its mode "reduce-overhead".

    Random numbers are those that it would draw uncompiled, so that compiling changes a run by rounding alone.
    """
    options: dict[str, Any] = {"fallback_random": True}
    if cuda_graphs:
        options |= torch._inductor.list_mode_options("reduce-overhead")
    made: Any = torch.compile(function, dynamic=False, options=options)
    return cast(T, made)
