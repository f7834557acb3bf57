"""A real ``swapcli serve`` in a process of its own, for a benchmark."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs


@attrs.frozen
class Served:
    process: subprocess.Popen[bytes]
    port: int
    seconds_to_health: float
    """From the start of the program to its first 200 on /health."""

    def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes, float]:
        """Return status, body, and the time of the first byte on the monotonic clock."""
        data = b"" if body is None else json.dumps(body).encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                + data
            )
            answer = connection.recv(65536)
            first_byte = time.monotonic()
            while piece := connection.recv(65536):
                answer += piece
        head, _, rest = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), rest, first_byte

    @property
    def resident_megabytes(self) -> float:
        return self._megabytes("VmRSS")

    @property
    def peak_megabytes(self) -> float:
        """The most that was resident, ever or since `forget_peak`."""
        return self._megabytes("VmHWM")

    def forget_peak(self) -> None:
        """The peak begins anew with what is resident now; see proc_pid_clear_refs(5)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _megabytes(self, name: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(config: Path, *, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Run the server on *config*; it is stopped, and gone, after the block.

    Args:
      environment: of the server, beside our own.
    """
    port = free_port()
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "swapcli", "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    connection.sendall(b"GET /health HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                    if b" 200 " in connection.recv(4096):
                        break
            except ConnectionRefusedError:
                pass
            if process.poll() is not None or time.monotonic() - started > 30:
                raise RuntimeError(f"swapcli serve did not come up (status {process.poll()})")
            time.sleep(0.005)
        yield Served(process, port, time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
