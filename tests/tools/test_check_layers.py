"""tools/check_layers.py notices every breach that it promises to notice."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_layers.py"
spec = importlib.util.spec_from_file_location("check_layers", TOOL)
check_layers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_layers)

CLEAN = {
    "src/base/error.h": "#include <string>\n",
    "src/nn/linear.h": '#include <torch/types.h>\n\n#include "base/error.h"\n',
    "src/nn/linear.cpp": '#include "nn/linear.h"\n',
    "src/nn/test_support.h": '#include "nn/linear.h"\n',
    "src/nn/linear_test.cpp": '#include "nn/test_support.h"\n',
    "src/models/weights.h": '#include "nn/linear.h"\n',
    "src/models/flux/model.h": '#include "models/weights.h"\n',
    "src/models/table.cpp": '#include "models/flux/model.h"\n',
    "apps/millrace/main.cpp": '#include "models/flux/model.h"\n',
}


def breaches(tmp_path, files):
    for name, text in {**CLEAN, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return check_layers.check(tmp_path)


def test_a_clean_tree_passes(tmp_path):
    assert breaches(tmp_path, {}) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("src/nn/up.h", '#include "models/weights.h"', "[src/nn/up.h:1] expected a layer below 2 (nn)"),
        ("src/data/x.h", '#include "nn/linear.h"', "[src/data/x.h:1] expected a layer below 2 (data)"),
        ("src/formats/x.cpp", "#include <ATen/ATen.h>", "expected no libtorch in formats"),
        ("src/nn/x.cpp", "#include <torch/torch.h>", "expected the torch header that is used"),
        ("src/kernels/op/op_cuda.cu", "#include <c10/cuda/CUDAStream.h>", "expected raw pointers and a stream"),
        ("src/kernels/op/op_cuda.cu", "x += __shfl_xor_sync(~0u, x, 1);", "expected a word of kernels/gpu_portability.cuh, got __shfl_xor_sync"),
        ("src/kernels/op/op_cuda.cu", "kernel<<<1, 32>>>(x);", "expected a word of kernels/gpu_portability.cuh, got <<<"),
        ("src/kernels/op.cuh", "cudaStream_t stream;", "expected a word of kernels/gpu_portability.cuh, got cudaStream_t"),
        ("src/nn/log.cpp", "#include <spdlog/spdlog.h>", "expected base/log.h, got spdlog/spdlog.h"),
        ("src/base/text.cpp", "#include <fmt/format.h>", "expected base/log.h, got fmt/format.h"),
        ("src/nn/x.cpp", '#include "linear.h"', "expected a path below src/, got linear.h"),
        ("src/nn/x.cpp", '#include "nn/test_support.h"', "expected *_test.cpp to be the only ones that include test support"),
        ("src/misc/x.cpp", "", "expected a folder named in LAYERS"),
        ("src/nn/x.cpp", "#ifdef MILLRACE_HAS_CUDA", "expected a twin file"),
        ("src/nn/x.cpp", "//\n" * 801, "expected at most 800 lines, got 801"),
        ("tests/parity/test_x.py", "#\n" * 801, "expected at most 800 lines, got 801"),
    ],
)
def test_a_breach_is_named(tmp_path, name, text, message):
    found = breaches(tmp_path, {name: text})
    assert len(found) == 1 and message in found[0], found


def test_headers_in_a_circle_are_named(tmp_path):
    found = breaches(
        tmp_path,
        {
            "src/nn/a.h": '#include "nn/b.h"\n',
            "src/nn/b.h": '#include "nn/c.h"\n',
            "src/nn/c.h": '#include "nn/a.h"\n',
        },
    )
    assert found == ["[src] expected no circle of includes, got nn/a.h -> nn/b.h -> nn/c.h -> nn/a.h"]


def test_sibling_folders_in_a_circle_are_named(tmp_path):
    found = breaches(
        tmp_path,
        {
            "src/models/clip/a.cpp": '#include "models/t5/a.h"\n',
            "src/models/clip/b.h": "",
            "src/models/t5/a.h": "",
            "src/models/t5/b.cpp": '#include "models/clip/b.h"\n',
        },
    )
    assert found == ["[src/models] expected no circle of folders, got clip -> t5 -> clip"]
