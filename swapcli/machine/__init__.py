"""The machine that the models run on: what it is, and how busy it is."""

from .hardware_snapshot import HardwareSnapshot as HardwareSnapshot
from .monitor import PerformanceMonitor as PerformanceMonitor
from .samples import GpuSample as GpuSample, SystemSample as SystemSample
