"""Peak memory of programs. Linux counts the memory of the process that starts a program as that program's own: ru_maxrss is
at least what the starting process had, here often a Python that has loaded torch and a model."""

import multiprocessing
import sys


def peak_bytes():
    """The peak of this process alone."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def run_apart(function, *arguments):
    """Runs a function that needs much memory in a process of its own, so that this one can start programs and measure them."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        sys.exit(f"{function.__name__}: ended with status {process.exitcode}")
