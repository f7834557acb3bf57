"""NVIDIA's GPUs, by way of the library that comes with the driver.

https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import attrs

from .gpus import GpuFacts
from .samples import MIB, GpuSample


@attrs.frozen(eq=False)
class NvidiaGpus:
    """See `gpus.GpuReader`."""

    _nvml: Any
    """The module ``pynvml``; its error class is ``NVMLError``."""

    @classmethod
    def open(cls) -> NvidiaGpus | None:
        """Return ``None`` where the package is not installed, or there is no such driver."""
        try:
            pynvml = import_module("pynvml")
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        return cls(pynvml)

    def facts(self) -> Sequence[GpuFacts]:
        nvml = self._nvml
        version = self._told(nvml.nvmlSystemGetDriverVersion)
        return [
            GpuFacts(
                name=_text(self._told(nvml.nvmlDeviceGetName, device)),
                vendor="NVIDIA",
                memory_bytes=getattr(self._told(nvml.nvmlDeviceGetMemoryInfo, device), "total", None),
                driver_name="nvidia",
                driver_version=_text(version) or None,
                power_limit_watts=_watts(self._told(nvml.nvmlDeviceGetEnforcedPowerLimit, device)),
            )
            for device in self._devices()
        ]

    def read(self) -> Sequence[GpuSample]:
        now = datetime.now(UTC).astimezone()
        return [self._sample(index, device, now) for index, device in enumerate(self._devices())]

    def _sample(self, index: int, device: Any, now: datetime) -> GpuSample:
        nvml = self._nvml
        memory = self._told(nvml.nvmlDeviceGetMemoryInfo, device)
        return GpuSample(
            at=now,
            id=index,
            name=_text(self._told(nvml.nvmlDeviceGetName, device)),
            uuid=_text(self._told(nvml.nvmlDeviceGetUUID, device)),
            temp_c=self._told(nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU) or 0,
            gpu_util_pct=float(getattr(self._told(nvml.nvmlDeviceGetUtilizationRates, device), "gpu", 0)),
            mem_used_mb=getattr(memory, "used", 0) // MIB,
            mem_total_mb=getattr(memory, "total", 0) // MIB,
            fan_speed_pct=float(self._told(nvml.nvmlDeviceGetFanSpeed, device) or 0),
            power_draw_w=_watts(self._told(nvml.nvmlDeviceGetPowerUsage, device)) or 0.0,
        )

    def _devices(self) -> list[Any]:
        nvml = self._nvml
        return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]

    def _told(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """Return the answer, or ``None``: not every GPU has a fan, or tells its power."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def _text(told: Any) -> str:
    return told.decode() if isinstance(told, bytes) else str(told or "")  # older versions say bytes


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
