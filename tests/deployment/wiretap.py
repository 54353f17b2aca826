"""A way between a SuperNode and its SuperLink on which every byte is kept."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field


@dataclass
class Wiretap:
    """Hands on what comes to `port` to the port `beyond`, and back; keeps what goes by.

    Args:
        beyond: port of loopback.
        up: all bytes that went there, connection after connection, so that none tears a mark of another.
        down: all bytes that came back.
    """

    beyond: int
    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    door: socket.socket = field(default_factory=socket.socket)
    threads: list[threading.Thread] = field(default_factory=list)
    ends: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.door.bind(("127.0.0.1", 0))
        self.door.listen()
        self._start(self._serve)

    @property
    def port(self) -> int:
        """Where to connect."""
        number: int = self.door.getsockname()[1]
        return number

    def close(self) -> None:
        """End all connections and return when every byte is kept."""
        for end in (self.door, *self.ends):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self.threads:
            thread.join(timeout=10)
        for end in (self.door, *self.ends):
            end.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self.threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self.door.accept()
            except OSError:
                return
            self.ends.append(near)
            try:
                far = socket.create_connection(("127.0.0.1", self.beyond))
            except OSError:
                near.shutdown(socket.SHUT_RDWR)
                continue
            self.ends.append(far)
            self._start(_pass_on, near, far, self.up)
            self._start(_pass_on, far, near, self.down)


def _pass_on(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    own = bytearray()
    try:
        while data := source.recv(1 << 16):
            own += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    kept += own
