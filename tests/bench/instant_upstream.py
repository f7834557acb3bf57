"""A server that starts and stops at once and writes down when: ``LOG PORT``.

Lines of LOG: ``event pid seconds``, on the machine's monotonic clock.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

LOG, PORT = sys.argv[1], int(sys.argv[2])


def note(event: str) -> None:
    line = f"{event} {os.getpid()} {time.monotonic():.6f}\n"
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def leave(*_: object) -> None:
    note("sigterm")
    note("exit")
    os._exit(0)


signal.signal(signal.SIGTERM, leave)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", PORT))
listener.listen(64)
note("listening")

BODY = b'{"pid": %d}' % os.getpid()
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
) + BODY


def request_is_whole(data: bytes) -> bool:
    head, blank, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return bool(blank)


while True:
    connection, _ = listener.accept()
    connection.settimeout(5)
    try:
        request = b""
        while not request_is_whole(request) and (piece := connection.recv(65536)):
            request += piece
        connection.sendall(ANSWER)
    except OSError:
        pass
    connection.close()
