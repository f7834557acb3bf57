"""What the machine is. Imports and asks much, so it is imported late, in a worker thread."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from .gpus import GpuFacts, open_gpus
from .samples import timestamp

_ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "x86_64", "amd64": "x86_64", "arm64": "arm64", "aarch64": "arm64", "armv7l": "armv7",
    "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x",
}  # fmt: skip
_FAMILIES: Mapping[str, str] = {
    "Linux": "linux", "Darwin": "macos", "Windows": "windows", "FreeBSD": "freebsd",
}  # fmt: skip
_ROOT = Path("/")
_CONTAINER = "container"
"""A variable that systemd-nspawn, LXC and podman set."""


def detect(root: Path = _ROOT) -> dict[str, Any]:
    """Return a description of this machine; ``null`` is unknown. For a worker thread.

    Args:
      root: where the system's files are.
    """
    return {
        "schema_version": 1,
        "captured_at": timestamp(datetime.now(UTC)),
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": "swapcli", "version": _version()},
        },
        "architecture": architecture(platform.machine()),
        "operating_system": operating_system(),
        "environment": environment(root),
        "cpu": {
            **processor(root),
            "physical_core_count": psutil.cpu_count(logical=False),
            "logical_thread_count": psutil.cpu_count(),
        },
        "memory": {"capacity_bytes": psutil.virtual_memory().total},
        "accelerators": accelerators(open_gpus().facts()),
    }


def architecture(machine: str) -> dict[str, Any]:
    """Return the processor's family; ``raw_name`` where the platform has another word for it."""
    name = _ARCHITECTURES.get(machine.lower(), "other")
    return {"name": name, "raw_name": machine if machine and machine != name else None}


def operating_system() -> dict[str, Any]:
    """Return what runs on the machine, the distribution where there are several."""
    system = platform.system()
    family = _FAMILIES.get(system, "other")
    name, release = system or None, platform.version() or None
    if family == "linux":
        try:
            told = platform.freedesktop_os_release()
        except OSError:
            told = {}
        name, release = told.get("NAME") or name, told.get("VERSION_ID")
    elif family == "macos":
        name, release = "macOS", platform.mac_ver()[0] or None
    found = {"family": family, "name": name, "version": release, "kernel": platform.release() or None}
    return found if family != "other" else {**found, "raw_family": system or None}


def environment(root: Path) -> dict[str, Any]:
    """Return whether this runs on the machine itself, or in what."""
    kernel = platform.release().lower()
    flags = _cpu_info(root).get("flags", "").split()
    kind, name = "unknown", None
    if (root / ".dockerenv").exists():
        kind, name = "container", "docker"
    elif (root / "run/.containerenv").exists():
        kind, name = "container", "podman"
    elif "KUBERNETES_SERVICE_HOST" in os.environ:
        kind, name = "container", "kubernetes"
    elif _CONTAINER in os.environ:
        kind, name = "container", os.environ[_CONTAINER] or None
    elif "microsoft" in kernel:
        kind, name = "wsl", "WSL2" if "wsl2" in kernel else "WSL"
    elif "hypervisor" in flags:
        kind, name = "virtual_machine", _text(root / "sys/class/dmi/id/sys_vendor")
    elif platform.system() == "Linux" and flags:
        kind = "native"
    return {"kind": kind, "name": name, "version": None}


def processor(root: Path) -> dict[str, Any]:
    """Return vendor, model and sockets, as far as the system tells."""
    told = _cpu_info(root)
    packages = {
        text
        for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology/physical_package_id")
        if (text := _text(path))
    }
    return {
        "vendor": told.get("vendor_id"),
        "model": told.get("model name") or platform.processor() or None,
        "socket_count": len(packages) or None,
    }


def accelerators(gpus: Sequence[GpuFacts]) -> list[dict[str, Any]]:
    """Return an entry for each GPU."""
    return [
        {
            "index": index,
            "kind": "gpu",
            "vendor": gpu.vendor,
            "model": gpu.name,
            "architecture": gpu.architecture,
            "memory": {
                "kind": "dedicated" if gpu.memory_bytes is not None else "unknown",
                "capacity_bytes": gpu.memory_bytes,
            },
            "driver": ({"name": gpu.driver_name, "version": gpu.driver_version} if gpu.driver_name else None),
            "power_limit_watts": gpu.power_limit_watts,
        }
        for index, gpu in enumerate(gpus)
    ]


def _cpu_info(root: Path) -> dict[str, str]:
    """Return what Linux says of its first processor."""
    try:
        text = (root / "proc/cpuinfo").read_text()
    except OSError:
        return {}
    first, _, _ = text.partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def _version() -> str:
    try:
        return version("swapcore")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
