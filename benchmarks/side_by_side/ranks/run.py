"""FLUX training steps on two ranks side by side: this program's sharding and the peers under PyTorch's FSDP2, on Gloo.

    .venv/bin/python benchmarks/side_by_side/ranks/run.py --rounds 5

The options are those of ../flux_step/run.py, which does the work.
"""

import pathlib
import runpy
import sys

FLUX_STEP = pathlib.Path(__file__).resolve().parents[1] / "flux_step/run.py"

if __name__ == "__main__":
    sys.argv[1:1] = ["--ranks", "2", "--no-compile"]
    runpy.run_path(str(FLUX_STEP), run_name="__main__")
