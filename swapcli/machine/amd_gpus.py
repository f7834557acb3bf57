"""AMD's GPUs, as the driver in Linux shows them in files.

https://docs.kernel.org/gpu/amdgpu/thermal.html and https://docs.kernel.org/gpu/amdgpu/driver-misc.html
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import attrs

from .gpus import GpuFacts
from .samples import MIB, GpuSample

_VENDOR = "0x1002"


@attrs.frozen(eq=False)
class AmdGpus:
    """See `gpus.GpuReader`."""

    _devices: Sequence[Path]

    @classmethod
    def open(cls, cards: Path) -> AmdGpus | None:
        """Look for cards in a folder, which is ``/sys/class/drm``; ``None``: there is none of AMD's."""
        found = sorted(
            (int(card.name.removeprefix("card")), card / "device")
            for card in cards.glob("card*")
            if card.name.removeprefix("card").isdigit()
        )
        devices = [device for _, device in found if _text(device / "vendor") == _VENDOR]
        return cls(devices) if devices else None

    def facts(self) -> Sequence[GpuFacts]:
        return [
            GpuFacts(
                name=_name(device),
                vendor="AMD",
                memory_bytes=_number(device / "mem_info_vram_total"),
                driver_name="amdgpu",
                power_limit_watts=_micro(_sensor(device, "power1_cap")),
            )
            for device in self._devices
        ]

    def read(self) -> Sequence[GpuSample]:
        now = datetime.now(UTC).astimezone()
        return [
            GpuSample(
                at=now,
                id=index,
                name=_name(device),
                uuid=_text(device / "unique_id"),
                temp_c=(_sensor(device, "temp1_input") or 0) // 1000,
                vram_temp_c=(_sensor(device, "temp3_input") or 0) // 1000,
                gpu_util_pct=float(_number(device / "gpu_busy_percent") or 0),
                mem_used_mb=(_number(device / "mem_info_vram_used") or 0) // MIB,
                mem_total_mb=(_number(device / "mem_info_vram_total") or 0) // MIB,
                fan_speed_pct=_fan(device),
                power_draw_w=_micro(_sensor(device, "power1_average", "power1_input")) or 0.0,
            )
            for index, device in enumerate(self._devices)
        ]


def _name(device: Path) -> str:
    return _text(device / "product_name") or f"AMD GPU {_text(device / 'device')}".strip()


def _fan(device: Path) -> float:
    speed, most = _sensor(device, "pwm1"), _sensor(device, "pwm1_max")
    return 100.0 * speed / most if speed is not None and most else 0.0


def _sensor(device: Path, *names: str) -> int | None:
    """Return the first of these values that the card has."""
    for folder in sorted((device / "hwmon").glob("hwmon*")):
        for name in names:
            if (value := _number(folder / name)) is not None:
                return value
    return None


def _micro(value: int | None) -> float | None:
    return None if value is None else value / 1_000_000


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):  # not every card has every file
        return path.read_text().strip()
    return ""
