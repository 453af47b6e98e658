"""What CMake makes of MILLRACE_GPU, of the compilers that are there, and of the libtorch that it finds.

The libtorch for AMD's GPUs is a stand-in: this machine's, with the libraries that a ROCm wheel has in the place of CUDA's.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
WHEEL = Path(torch.__file__).parent


def library(path, soname):
    subprocess.run(["g++", "-shared", "-x", "c++", "/dev/null", "-o", path, f"-Wl,-soname,{soname}"], check=True)


@pytest.fixture
def rocm_wheel(tmp_path):
    """As PyTorch's build script leaves it: libraries without version in their file names, with it in their own."""
    folder = tmp_path / "torch"
    (folder / "lib").mkdir(parents=True)
    (folder / "include").symlink_to(WHEEL / "include")
    for name in ("libtorch.so", "libtorch_cpu.so", "libc10.so"):
        (folder / "lib" / name).symlink_to(WHEEL / "lib" / name)
    for name, soname in {
        "libtorch_hip.so": "libtorch_hip.so", "libc10_hip.so": "libc10_hip.so", "libamdhip64.so": "libamdhip64.so.7", "libgomp.so": "libgomp.so.1",
    }.items():  # fmt: skip
        library(folder / "lib" / name, soname)
    return folder


@pytest.fixture
def configure(tmp_path):
    def run(*options, status=0):
        command = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", tmp_path / "build", "-DMILLRACE_BENCHMARKS=OFF", *options]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert (result.returncode == 0) == (status == 0), result.stdout + result.stderr
        return " ".join((result.stdout + result.stderr).split())

    return run


def test_a_rocm_wheel_brings_hip(configure, rocm_wheel, tmp_path):
    said = configure(f"-DMILLRACE_TORCH={rocm_wheel}")
    assert "(GPU: hip)" in said and "GPU kernels: hip" in said
    build = (tmp_path / "build" / "build.ninja").read_text()
    assert "hip/gelu_cuda.o" in build and "--offload-arch=gfx90a" in build
    assert f"{rocm_wheel}/lib/libamdhip64.so" in build and "libcudart" not in build
    # One HIP run time and one OpenMP in a process: what the program asks for is the file that libtorch asks for.
    for link, target in {"libamdhip64.so.7": "libamdhip64.so", "libgomp.so.1": "libgomp.so"}.items():
        assert (rocm_wheel / "lib" / link).readlink() == Path(target)
    configure(f"-DMILLRACE_TORCH={rocm_wheel}")  # again, with the links there


def test_the_architectures_can_be_chosen(configure, rocm_wheel, tmp_path):
    configure(f"-DMILLRACE_TORCH={rocm_wheel}", "-DMILLRACE_HIP_ARCHITECTURES=gfx908;gfx1030")
    build = (tmp_path / "build" / "build.ninja").read_text()
    assert "--offload-arch=gfx908 --offload-arch=gfx1030" in build and "gfx90a" not in build


def test_none_needs_no_compiler(configure, rocm_wheel, tmp_path):
    said = configure(f"-DMILLRACE_TORCH={rocm_wheel}", "-DMILLRACE_GPU=none")
    assert "GPU kernels: none" in said
    build = (tmp_path / "build" / "build.ninja").read_text()
    assert "_no_cuda_cpp_and_others.cpp" in build and "gelu_cuda.o" not in build  # all twins as one source


def test_a_compiler_for_gpus_that_libtorch_does_not_serve(configure):
    assert shutil.which("hipcc")
    said = configure(f"-DMILLRACE_TORCH={WHEEL}", "-DMILLRACE_GPU=hip")
    assert "GPU kernels are for hip, libtorch for cuda: they compile, but no GPU can be used" in said


def test_what_is_missing_or_misspelt_is_named(configure, rocm_wheel):
    assert "[MILLRACE_GPU] expected auto, cuda, hip or none, got rocm" in configure("-DMILLRACE_GPU=rocm", status=1)
    said = configure(f"-DMILLRACE_TORCH={rocm_wheel}", "-DMILLRACE_GPU=hip", "-DMILLRACE_HIPCC=", status=1)
    assert "[MILLRACE_GPU] expected a compiler for hip, got none" in said
