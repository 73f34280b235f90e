"""A Unix socket with the same arithmetic, and nothing else: ``python -m benchmarks.rivals.socket_echo``.

It is the limit of what bytes over the kernel's socket can do. A request is 16 bytes, what is asked for and
how many bytes follow, and then the vector; the answer is the new vector as it is computed, or the penalty.
"""

from __future__ import annotations

import argparse
import socket
import struct
import threading

import numpy as np

from benchmarks.harness.arithmetic import Arithmetic, Vector
from benchmarks.harness.measure import CHUNK_BYTES

HEADER = struct.Struct("<QQ")
NUMBER = struct.Struct("<d")
STEP, PENALTY = 0, 1


class Client:
    """Calls the server with arrays.

    Args:
        address: Where the server listens.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(_path(address))

    def proximal_step(self, parameters: Vector, out: Vector) -> None:
        """Take the step, into an array of the same length."""
        self._exchange(STEP, parameters, out.view(np.uint8).data)

    def penalty(self, parameters: Vector) -> float:
        """The penalty."""
        answer = bytearray(NUMBER.size)
        self._exchange(PENALTY, parameters, memoryview(answer))
        return float(NUMBER.unpack(answer)[0])

    def _exchange(self, method: int, parameters: Vector, answer: memoryview) -> None:
        self._socket.sendall(HEADER.pack(method, parameters.nbytes))
        sender = threading.Thread(target=self._socket.sendall, args=(parameters.view(np.uint8).data,))
        sender.start()
        if not _received(self._socket, answer):
            raise ConnectionError("the server went away")
        sender.join()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def serve(address: str) -> None:
    """Serves one connection after the other."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_path(address))
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                _serve_connection(connection)


def _serve_connection(connection: socket.socket) -> None:
    arithmetic = Arithmetic()
    header = bytearray(HEADER.size)
    buffer = np.empty(CHUNK_BYTES // 4, np.float32)
    while _received(connection, memoryview(header)):
        method, left = HEADER.unpack(header)
        arithmetic.penalty = 0.0
        while left:
            values = buffer[: left // 4]
            if not _received(connection, values.view(np.uint8).data):
                return
            left -= values.nbytes
            if method == STEP:
                connection.sendall(arithmetic.step(values).view(np.uint8).data)
            else:
                arithmetic.add(values)
        if method == PENALTY:
            connection.sendall(NUMBER.pack(arithmetic.penalty))


def _received(connection: socket.socket, buffer: memoryview) -> bool:
    """Fill a buffer; False where the peer has gone."""
    while buffer:
        count = connection.recv_into(buffer)
        if not count:
            return False
        buffer = buffer[count:]
    return True


def _path(address: str) -> str:
    return address.removeprefix("unix:")


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    serve(parser.parse_args().address)


if __name__ == "__main__":
    main()
