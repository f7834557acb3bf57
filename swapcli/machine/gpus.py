"""The GPUs of the machine, as NVIDIA's library, or AMD's driver in Linux, tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import attrs

from .samples import GpuSample


@attrs.frozen(kw_only=True)
class GpuFacts:
    """What does not change about a GPU; ``None`` is unknown."""

    name: str
    vendor: str
    memory_bytes: int | None = None
    architecture: str | None = None
    driver_name: str | None = None
    driver_version: str | None = None
    power_limit_watts: float | None = None


class GpuReader(Protocol):
    """For worker threads, one at a time."""

    def facts(self) -> Sequence[GpuFacts]: ...

    def read(self) -> Sequence[GpuSample]: ...


@attrs.frozen
class NoGpus:
    """There is none that this program can read."""

    def facts(self) -> Sequence[GpuFacts]:
        return ()

    def read(self) -> Sequence[GpuSample]:
        return ()


def open_gpus() -> GpuReader:
    """Find out who knows the GPUs. For a worker thread: drivers may take their time."""
    from .amd_gpus import AmdGpus
    from .nvidia_gpus import NvidiaGpus

    nvidia = NvidiaGpus.open()
    if nvidia is not None:
        return nvidia
    return AmdGpus.open(Path("/sys/class/drm")) or NoGpus()
