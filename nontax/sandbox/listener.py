"""Accepts TCP connections in a thread until told to stop."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable


class Listener:
    """Listens from its construction on; raises OSError if the address cannot be listened on.

    `accepted` is called in the listener's thread with each new socket, which is then its own.
    """

    def __init__(self, host: str, port: int, accepted: Callable[[socket.socket], None]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=512)
        self._socket.setblocking(False)
        self.address: str
        self.port: int
        self.address, self.port = self._socket.getsockname()[:2]
        self._accepted = accepted
        # Closing a socket does not wake a thread that waits for it; a byte on this pair does.
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="nontax-sandbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more, close everything and wait for the thread."""
        with contextlib.suppress(OSError):
            self._waker.send(b"x")
        self._thread.join()
        self._waker.close()

    def _run(self) -> None:
        with self._socket, self._woken, selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not any(key.fileobj is self._woken for key, _ in selector.select()):
                try:
                    sock, _ = self._socket.accept()
                except OSError:
                    # The peer has gone already, or we are out of descriptors until one is closed.
                    continue
                sock.setblocking(True)
                self._accepted(sock)
            # A forked child may hold the descriptor, too; it must not go on listening. Not every
            # system can shut down a listener.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
