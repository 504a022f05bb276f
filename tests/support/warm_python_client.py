"""`python` of a WarmPython: asks it for commands of the project, and runs all else itself.

Arguments: the server's socket, the true python, and the arguments of python.
"""

import json
import os
import re
import signal
import socket
import sys
from typing import Any

COMMAND = re.compile(r"(analysis|benchmarks|pipeline|trainer)\.\w+")


def main(address: str, python: str, *arguments: str) -> None:
    option, module = (*arguments, "", "")[:2]
    if option != "-m" or not COMMAND.fullmatch(module):
        os.execv(python, [python, *arguments])
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        stream = connection.makefile("rw")
        request = [arguments[1:], os.getcwd(), dict(os.environ), os.getpid()]
        print(json.dumps(request), file=stream, flush=True)
        process = int(stream.readline())

        def forward(number: int, _: Any) -> None:
            os.kill(process, number)

        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, forward)
        status = int(stream.readline())
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
