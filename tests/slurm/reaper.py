"""reaper.py COMMAND...: runs a daemon and leaves nothing of it behind, whatever it forks and however it detaches.

Everything that the command starts, and what that starts, stays below this process, which becomes the parent of those whose
own parent is gone. When the standard input ends (because the process that held the other end closed it, or died), or on SIGTERM,
or when the command itself ends, all of it is killed. Killing a reaper's tree at once is also how a test lets a machine fail.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
libc = ctypes.CDLL(None, use_errno=True)


def descendants() -> list[int]:
    """Every process below this one."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name, in parentheses, may hold blanks and parentheses itself.
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(name))
    found, look = [], [os.getpid()]
    while look:
        below = children.get(look.pop(), [])
        found += below
        look += below
    return found


def collect() -> None:
    """Takes leave of children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def kill_everything() -> None:
    """All at once, so that none sees another one end and reacts to it."""
    while pids := descendants():
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        collect()


def main() -> int:
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.setsid()  # Ctrl-C is for the tests, which then clean up
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)

    def die_with_reaper():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    daemon = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=die_with_reaper)
    try:
        while daemon.poll() is None:
            ready, _, _ = select.select([sys.stdin.fileno(), wake_read], [], [])
            if sys.stdin.fileno() in ready or signal.SIGTERM in os.read(wake_read, 4096):
                break
            for pid in descendants():  # not daemon, whose status Popen wants
                if pid != daemon.pid:
                    try:
                        os.waitpid(pid, os.WNOHANG)
                    except ChildProcessError:
                        pass
    finally:
        kill_everything()
    return 0


if __name__ == "__main__":
    sys.exit(main())
