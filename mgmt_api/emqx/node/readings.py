"""What the machine and the process say about themselves, read with psutil.

Where one cannot be read, for there is no file left to open or the platform hides it, it is None: nobody fails for it.
"""

import shutil
from pathlib import Path

import psutil

from ...host import load_averages

_FAILURES = (psutil.Error, OSError)


class MachineReadings:
    """Read one machine; each reader has its own, for processor usage is that of the time since the last reading."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self._data_dir = data_dir
        self._process: psutil.Process | None = None
        self._last: tuple[float, float] | None = _processor_times()

    def cpu(self) -> float | None:
        """Give the share of the machine's processors that was in use since the last call, from 0 to 1."""
        before, now = self._last, _processor_times()
        if now is None:
            return None
        self._last = now
        if before is None or now[1] <= before[1]:
            return None
        (before_busy, before_total), (busy, total) = before, now
        return min(1.0, max(0.0, (busy - before_busy) / (total - before_total)))

    def memory(self) -> tuple[int, int] | None:
        """Give the machine's memory and how much of it is in use, bytes."""
        try:
            found = psutil.virtual_memory()
        except _FAILURES:
            return None
        return found.total, found.total - found.available

    def run_queue(self) -> int:
        """Give how many programs run or wait for a processor, on average over the last minute."""
        return round(load_averages()[0])

    def process_memory(self) -> int | None:
        """Give the memory of this process that is in use, bytes."""
        try:
            if self._process is None:
                self._process = psutil.Process()
            return self._process.memory_info().rss
        except _FAILURES:
            return None

    def disk(self) -> tuple[int, int] | None:
        """Give the size and the free room of the disk with the data directory, bytes; None without one. Blocks."""
        if self._data_dir is None:
            return None
        found = shutil.disk_usage(self._data_dir)
        return found.total, found.free


def _processor_times() -> tuple[float, float] | None:
    """Give the seconds for which processors were busy, and all seconds."""
    try:
        times = psutil.cpu_times()
    except _FAILURES:
        return None
    # what runs as a guest is counted among the user's already
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total
