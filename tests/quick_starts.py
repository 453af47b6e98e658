"""Starts the program often at the price of one start: see quick_start/server.cpp."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

SOURCES = Path(__file__).parent / "quick_start"
SOCKET = "MILLRACE_QUICK_START"
READ_EARLY = ("OMP_", "GOMP_", "KMP_", "MALLOC_", "GLIBC_", "LD_", "TORCH_")  # by libraries, before main()
SECONDS = 300  # for a start on a busy machine


class QuickStarts:
    """Servers, one for each set of variables that libraries read before main()."""

    def __init__(self, program):
        self._folder = tempfile.TemporaryDirectory(prefix="quick-start-")  # short: a socket's path may have 107 letters
        folder = Path(self._folder.name)
        self._program, self._client, self._library = str(program), str(folder / "client"), str(folder / "server.so")
        compiler = [os.environ.get("CXX", "c++"), "-std=c++20", "-O1"]
        subprocess.run([*compiler, SOURCES / "client.cpp", "-o", self._client], check=True)
        subprocess.run([*compiler, "-shared", "-fPIC", SOURCES / "server.cpp", "-o", self._library, "-ldl"], check=True)
        self._sockets, self._servers = {}, []

    def command(self, environment):
        """What starts the program in this environment, to be followed by its arguments; and the environment for that."""
        if "LD_PRELOAD" in environment:
            return [self._program], environment
        early = frozenset(item for item in environment.items() if item[0].startswith(READ_EARLY))
        if early not in self._sockets:
            self._sockets[early] = self._start(environment)
        return [self._client], environment | {SOCKET: self._sockets[early]}

    def _start(self, environment):
        socket = Path(self._folder.name) / f"socket-{len(self._servers)}"
        environment = environment | {SOCKET: str(socket), "LD_PRELOAD": self._library}
        server = subprocess.Popen([self._program], env=environment, stdin=subprocess.PIPE)
        self._servers.append(server)
        limit = time.monotonic() + SECONDS
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"[{socket}] expected a server that listens within {SECONDS} s")
            time.sleep(0.01)
        return str(socket)

    def close(self):
        for server in self._servers:
            server.stdin.close()
            server.wait(SECONDS)
        self._folder.cleanup()
