"""Processors, memory and network, as psutil reads them. For a worker thread: it reads many small files."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import psutil

from .samples import MIB, SystemSample


def begin() -> None:
    """Note the processors' counters: use is measured between two looks."""
    psutil.cpu_percent(percpu=True)


def read_system() -> SystemSample:
    """Measure now."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    one, five, fifteen = psutil.getloadavg()
    return SystemSample(
        at=datetime.now(UTC).astimezone(),
        cpu_util_per_core=psutil.cpu_percent(percpu=True),
        mem_total_mb=memory.total // MIB,
        mem_used_mb=memory.used // MIB,
        mem_free_mb=memory.free // MIB,
        swap_total_mb=swap.total // MIB,
        swap_used_mb=swap.used // MIB,
        load_avg=(one, five, fifteen),
        net_io={
            name: (counters.bytes_recv, counters.bytes_sent)
            for name, counters in psutil.net_io_counters(pernic=True).items()
            if not (name == "lo" and sys.platform == "linux")
        },
    )
