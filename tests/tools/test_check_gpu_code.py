"""tools/check_gpu_code.py finds what is missing in objects that hipcc made: it must be able to fail."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KERNELS = """
__global__ void first_kernel(float* x) { x[threadIdx.x] += 1; }
template <int N> __global__ void second_kernel(float* x) { x[threadIdx.x] += N; }
"""
LAUNCHES = "void run(float* x) { first_kernel<<<1, 64>>>(x); second_kernel<3><<<1, 64>>>(x); }\n"
# A loop over an array that is not unrolled, and one that is, with more numbers than there are registers.
IN_MEMORY = """
__global__ void first_kernel(float* x) {
  float v[600];
UNROLL
  for (int i = 0; i < 600; ++i) v[i] = x[i * 64 + threadIdx.x];
  __syncthreads();
UNROLL
  for (int i = 0; i < 600; ++i) x[i * 64 + threadIdx.x] = v[i] * v[599 - i];
}
void run(float* x) { first_kernel<<<1, 64>>>(x); }
"""


def check(folder, source, *architectures, compiled=("gfx90a",), text=None):
    """(exit status, output) for an object made of `source`, beside a source file of `text`."""
    (folder / "src").mkdir()
    (folder / "op_cuda.cu").write_text("#include <hip/hip_runtime.h>\n" + source)
    offload = [f"--offload-arch={arch}" for arch in compiled]
    command = ["hipcc", "-x", "hip", "-O3", *offload, "-c", "op_cuda.cu", "-o", "op_cuda.o"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    (folder / "src" / "op_cuda.cu").write_text(text or source)
    command = [sys.executable, ROOT / "tools" / "check_gpu_code.py", folder, folder / "src"]
    command += [word for arch in architectures for word in ("--arch", arch)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return result.returncode, result.stdout + result.stderr


def test_what_is_there_is_found(tmp_path):
    status, output = check(tmp_path, KERNELS + LAUNCHES, "gfx90a", "gfx1030", compiled=("gfx90a", "gfx1030"))
    assert status == 0 and "gfx90a 2 kernels" in output and "gfx1030 2 kernels" in output, output


@pytest.mark.parametrize(
    "source, text, architectures, message",
    [
        (KERNELS + LAUNCHES, None, ("gfx1030",), "expected code for gfx1030, got gfx90a"),
        (KERNELS + LAUNCHES, KERNELS + "__global__ void third_kernel() {}", ("gfx90a",), "expected kernel third_kernel, got an object that never launches it"),
        ("void run() {}\n", None, ("gfx90a",), "expected"),
        (IN_MEMORY.replace("UNROLL", ""), None, ("gfx90a",), "bytes of scratch, got 24"),
        (IN_MEMORY.replace("UNROLL", "#pragma unroll"), None, ("gfx90a",), "expected no spilled registers, got"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(tmp_path, source, text, architectures, message):
    status, output = check(tmp_path, source, *architectures, text=text)
    assert status == 1 and message in output, output


def test_a_missing_object_is_named(tmp_path):
    (tmp_path / "op_cuda.cu").touch()
    command = [sys.executable, ROOT / "tools" / "check_gpu_code.py", tmp_path, tmp_path, "--arch", "gfx90a"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1 and "expected an object, got none" in result.stdout
