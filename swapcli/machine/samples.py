"""Measurements of the machine at one moment, under the names that web pages know. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from swapcli.logs.go_time import go_time

MIB = 1024 * 1024


@attrs.frozen(kw_only=True)
class SystemSample:
    """Processors, memory and network. Memory is in MiB, as far as whole ones go."""

    at: datetime
    cpu_util_per_core: Sequence[float]
    """Percent."""
    mem_total_mb: int
    mem_used_mb: int
    mem_free_mb: int
    swap_total_mb: int
    swap_used_mb: int
    load_avg: tuple[float, float, float]
    """Over 1, 5 and 15 minutes."""
    net_io: Mapping[str, tuple[int, int]]
    """Bytes received and sent since the machine started, by interface."""

    def as_json(self) -> dict[str, Any]:
        """Return the entry of ``sys_stats``."""
        return {
            "timestamp": timestamp(self.at),
            "cpu_util_per_core": list(self.cpu_util_per_core),
            "mem_total_mb": self.mem_total_mb,
            "mem_used_mb": self.mem_used_mb,
            "mem_free_mb": self.mem_free_mb,
            "swap_total_mb": self.swap_total_mb,
            "swap_used_mb": self.swap_used_mb,
            "load_avg_1": self.load_avg[0],
            "load_avg_5": self.load_avg[1],
            "load_avg_15": self.load_avg[2],
            "net_io": [
                {"name": name, "bytes_recv": received, "bytes_sent": sent}
                for name, (received, sent) in self.net_io.items()
            ],
        }


@attrs.frozen(kw_only=True)
class GpuSample:
    """One GPU. What it does not tell is 0."""

    at: datetime
    id: int
    name: str
    uuid: str = ""
    temp_c: int = 0
    vram_temp_c: int = 0
    gpu_util_pct: float = 0.0
    mem_used_mb: int = 0
    mem_total_mb: int = 0
    fan_speed_pct: float = 0.0
    power_draw_w: float = 0.0

    @property
    def mem_util_pct(self) -> float:
        """How much of the memory is used, in percent."""
        return 100.0 * self.mem_used_mb / self.mem_total_mb if self.mem_total_mb else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the entry of ``gpu_stats``."""
        return {
            "timestamp": timestamp(self.at),
            "id": self.id,
            "name": self.name,
            "uuid": self.uuid,
            "temp_c": self.temp_c,
            "vram_temp_c": self.vram_temp_c,
            "gpu_util_pct": self.gpu_util_pct,
            "mem_util_pct": self.mem_util_pct,
            "mem_used_mb": self.mem_used_mb,
            "mem_total_mb": self.mem_total_mb,
            "fan_speed_pct": self.fan_speed_pct,
            "power_draw_w": self.power_draw_w,
        }


def timestamp(at: datetime) -> str:
    """Return a moment as RFC 3339 with its fraction."""
    return go_time("rfc3339nano", at)
