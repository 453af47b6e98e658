"""How the program is put together: it starts anywhere, at once, and holds each run time once."""

import re
import resource
import subprocess

import pytest

pytestmark = pytest.mark.fast


def linked_libraries(program):
    """soname -> path of every library that the program starts with."""
    listing = subprocess.run(["ldd", program], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert "not found" not in listing.stdout, listing.stdout
    return dict(re.findall(r"^\s*(\S+) => (\S+)", listing.stdout, flags=re.MULTILINE))


def test_libraries_are_found_without_ld_library_path(program):
    libraries = linked_libraries(program)
    assert any(name.startswith("libtorch_cpu.so") for name in libraries)


def test_one_openmp_run_time(program):
    """Two of them would fight for the cores; the only one is libtorch's."""
    libraries = linked_libraries(program)
    openmp = [path for name, path in libraries.items() if re.match(r"lib(gomp|omp|iomp)", name)]
    assert len(openmp) == 1 and "/torch/lib/" in openmp[0], openmp


def test_cuda_is_not_loaded_at_the_start(program):
    """Its libraries take seconds to load and are not there on a CPU machine: they are opened when a GPU is used."""
    libraries = linked_libraries(program)
    assert not [name for name in libraries if re.match(r"lib(torch_cuda|c10_cuda|cublas|cudnn|nccl|torch_python)", name)]


def test_the_cuda_run_time_is_the_one_libtorch_uses(program):
    for name, path in linked_libraries(program).items():
        if name.startswith("libcudart"):
            assert "/nvidia/" in path, f"expected the wheel's {name}, got {path}"


def test_it_starts_within_a_second(millrace):
    """Processor time of a core, which other processes on the machine do not change."""

    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    durations = []
    for _ in range(3):
        before = used()
        millrace("--help")
        durations.append(used() - before)
    assert min(durations) < 1.0, durations
