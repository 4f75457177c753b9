"""`python -SE warm_command.py SOCKET MODULE ARGUMENTS…`, for `python -m MODULE ARGUMENTS…`.

In: the socket of a process that has the libraries loaded (`warm.commands`). It forks one that has
the streams, folder and environment of this one. Out: its exit code.
"""

from __future__ import annotations

import marshal
import os
import socket
import sys

FAILED = 70  # the command's process was killed


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def main(path: str, *words: str) -> int:
    streams = [number for number in range(3) if is_open(number)]  # before anything is opened
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        message = marshal.dumps((words, os.getcwd(), dict(os.environ), streams))  # noqa: PTH109
        socket.send_fds(server, [len(message).to_bytes(4, "big")], streams)
        server.sendall(message)
        code = server.recv(1)
    return code[0] if code else FAILED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
