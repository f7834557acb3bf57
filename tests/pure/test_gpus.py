"""How GPUs are read: from a stand-in for NVIDIA's library, and from files like those of AMD's driver."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from swapcli.machine.amd_gpus import AmdGpus
from swapcli.machine.gpus import NoGpus
from swapcli.machine.hardware import accelerators
from swapcli.machine.nvidia_gpus import NvidiaGpus

GIB = 1024**3


class NVMLError(Exception):
    pass


def library(*, is_there: bool = True) -> ModuleType:
    """A machine with two GPUs, the second of which tells little."""

    def of_first(value: Any) -> Any:
        def ask(device: int, *_: object) -> Any:
            if device:
                raise NVMLError("not supported")
            return value

        return ask

    def init() -> None:
        if not is_there:
            raise NVMLError("driver not loaded")

    module: Any = ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.NVML_TEMPERATURE_GPU = 0
    module.nvmlInit = init
    module.nvmlDeviceGetCount = lambda: 2
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlSystemGetDriverVersion = lambda: b"580.1"
    module.nvmlDeviceGetName = lambda device: f"GPU {device}"
    module.nvmlDeviceGetUUID = of_first("GPU-1234")
    module.nvmlDeviceGetTemperature = of_first(55)
    module.nvmlDeviceGetUtilizationRates = of_first(SimpleNamespace(gpu=87, memory=1))
    module.nvmlDeviceGetMemoryInfo = of_first(SimpleNamespace(total=24 * GIB, used=6 * GIB))
    module.nvmlDeviceGetFanSpeed = of_first(30)
    module.nvmlDeviceGetPowerUsage = of_first(250_500)
    module.nvmlDeviceGetEnforcedPowerLimit = of_first(300_000)
    found: ModuleType = module
    return found


def test_h188_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library())
    gpus = NvidiaGpus.open()
    assert gpus is not None
    first, second = (sample.as_json() for sample in gpus.read())
    first.pop("timestamp")
    assert first == {
        "id": 0, "name": "GPU 0", "uuid": "GPU-1234", "temp_c": 55, "vram_temp_c": 0, "gpu_util_pct": 87.0,
        "mem_util_pct": 25.0, "mem_used_mb": 6144, "mem_total_mb": 24576, "fan_speed_pct": 30.0,
        "power_draw_w": 250.5,
    }  # fmt: skip
    assert (second["id"], second["name"], second["uuid"], second["mem_util_pct"]) == (1, "GPU 1", "", 0.0)
    one, two = accelerators(gpus.facts())
    assert one["memory"] == {"kind": "dedicated", "capacity_bytes": 24 * GIB}
    assert one["driver"] == {"name": "nvidia", "version": "580.1"}
    assert one["power_limit_watts"] == 300.0
    assert two["memory"] == {"kind": "unknown", "capacity_bytes": None}


@pytest.mark.parametrize("module", [None, library(is_there=False)])
def test_without_library_or_driver_there_is_no_nvidia(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert NvidiaGpus.open() is None


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_h188_amd(tmp_path: Path) -> None:
    device = tmp_path / "card1" / "device"
    for name, text in {
        "vendor": "0x1002", "device": "0x744c", "unique_id": "abcd", "gpu_busy_percent": "42",
        "mem_info_vram_total": str(16 * GIB), "mem_info_vram_used": str(4 * GIB),
        "hwmon/hwmon3/temp1_input": "61000", "hwmon/hwmon3/temp3_input": "70000",
        "hwmon/hwmon3/power1_average": "150000000", "hwmon/hwmon3/power1_cap": "200000000",
        "hwmon/hwmon3/pwm1": "51", "hwmon/hwmon3/pwm1_max": "255",
    }.items():  # fmt: skip
        write(device / name, text)
    write(tmp_path / "card0" / "device" / "vendor", "0x8086")
    (tmp_path / "card1-DP-1").mkdir()
    gpus = AmdGpus.open(tmp_path)
    assert gpus is not None
    (sample,) = (sample.as_json() for sample in gpus.read())
    sample.pop("timestamp")
    assert sample == {
        "id": 0, "name": "AMD GPU 0x744c", "uuid": "abcd", "temp_c": 61, "vram_temp_c": 70,
        "gpu_util_pct": 42.0, "mem_util_pct": 25.0, "mem_used_mb": 4096, "mem_total_mb": 16384,
        "fan_speed_pct": 20.0, "power_draw_w": 150.0,
    }  # fmt: skip
    (fact,) = accelerators(gpus.facts())
    assert (fact["vendor"], fact["memory"]["capacity_bytes"], fact["power_limit_watts"]) == (
        "AMD", 16 * GIB, 200.0,
    )  # fmt: skip


def test_an_amd_card_that_tells_nothing(tmp_path: Path) -> None:
    write(tmp_path / "card0" / "device" / "vendor", "0x1002")
    gpus = AmdGpus.open(tmp_path)
    assert gpus is not None
    (sample,) = gpus.read()
    assert (sample.temp_c, sample.mem_total_mb, sample.power_draw_w) == (0, 0, 0.0)


def test_no_gpu_at_all(tmp_path: Path) -> None:
    assert AmdGpus.open(tmp_path) is None
    assert (NoGpus().read(), NoGpus().facts()) == ((), ())
