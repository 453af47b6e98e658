#!/usr/bin/env python3
"""Checks the sources against rules of the layout that a compiler does not check:

- a folder of src/ includes only folders of lower layers, or itself;
- neither headers nor sibling folders include each other in a circle;
- folders below libtorch stay free of it, and CUDA sources of its headers; no file includes all of it;
- spdlog and fmt stay behind base/log.h (libtorch carries another fmt);
- what only tests share (*test_support.h) is included by tests alone;
- callers have no #if for a missing backend: a twin file answers instead;
- GPU kernels use the words of kernels/gpu_portability.cuh, not those of CUDA or HIP alone;
- no file has more than 800 lines.

Prints every breach and exits with 1, or says how many files it read.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LAYERS = [
    ["base"],
    ["config", "formats", "tokenizers", "images", "comm", "kernels"],
    ["metrics", "data", "picture_sets", "nn", "download"],
    ["parallel", "optim", "adapters"],
    ["models", "checkpoint"],
    ["diffusion", "language", "train"],
    ["prepare", "plan", "compat"],
    ["tasks"],
]
LAYER_OF = {folder: layer for layer, folders in enumerate(LAYERS) for folder in folders}
TORCH_FREE = {"base", "config", "formats", "tokenizers", "images", "picture_sets", "download", "compat"}
TORCH_HEADER = re.compile(r"^(torch|ATen|c10|caffe2)/")
LOG_HEADER = re.compile(r"^(spdlog|fmt)/")
BACKEND_SWITCH = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\b(MILLRACE_HAS_CUDA|MILLRACE_GPU_KIND|USE_CUDA|USE_ROCM|USE_NCCL)\b")
PORTABILITY = "kernels/gpu_portability.cuh"
# Known only to one of nvcc and hipcc, or assumes a wave of 32 lanes.
ONE_MAKE_ONLY = re.compile(r"\b((?:cuda|hip)[A-Z]\w*|__nv_\w+|__(?:shfl|ballot|any|all|activemask|syncwarp|reduce)\w*|warpSize|cub::|__CUDACC__|__HIPCC__)|<<<")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Files that belong to no library: tests and their helpers.
FOR_TESTS = re.compile(r"(_test\.cpp|test_support\.h)$")
SOURCE_SUFFIXES = {".cpp", ".h", ".cu", ".cuh"}
MAX_LINES = 800


def source_files(root: Path) -> list[Path]:
    folders = [root / name for name in ("src", "apps", "tests", "benchmarks")]
    return sorted(p for f in folders if f.is_dir() for p in f.rglob("*") if p.suffix in SOURCE_SUFFIXES)


def long_files(root: Path) -> list[str]:
    candidates = source_files(root)
    for name in ("tests", "tools", "scripts", "cmake", "benchmarks"):
        candidates += [p for p in (root / name).rglob("*") if p.suffix in {".py", ".sh", ".cmake"}]
    breaches = []
    for path in candidates:
        lines = path.read_text(errors="replace").count("\n")
        if lines > MAX_LINES:
            breaches.append(f"[{path.relative_to(root)}] expected at most {MAX_LINES} lines, got {lines}")
    return breaches


def includes_of(path: Path) -> list[tuple[int, str, str]]:
    """(line number, '<' or '"', name) of every #include."""
    found = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            found.append((number, match[1], match[2]))
    return found


def check_file(root: Path, path: Path) -> list[str]:
    inside = path.relative_to(root / "src")
    folder = inside.parts[0]
    place = path.relative_to(root)
    if len(inside.parts) == 1 or folder not in LAYER_OF:
        return [f"[{place}] expected a folder named in LAYERS of tools/check_layers.py, got {folder}"]
    breaches = []

    def report(number: int, message: str) -> None:
        breaches.append(f"[{place}:{number}] {message}")

    for number, bracket, name in includes_of(path):
        if TORCH_HEADER.match(name) and folder in TORCH_FREE:
            report(number, f"expected no libtorch in {folder}, got {name}")
        if TORCH_HEADER.match(name) and path.suffix in {".cu", ".cuh"}:
            report(number, f"expected raw pointers and a stream in CUDA sources, got {name}")
        if name == "torch/torch.h":
            report(number, "expected the torch header that is used (it makes every file slow to compile), got all of them")
        if LOG_HEADER.match(name) and str(inside) != "base/log.cpp":
            report(number, f"expected base/log.h, got {name}")
        if FOR_TESTS.search(name) and not FOR_TESTS.search(path.name):
            report(number, f"expected *_test.cpp to be the only ones that include test support, got {name}")
        if bracket != '"':
            continue
        target = name.split("/")[0]
        if not (root / "src" / name).is_file():
            report(number, f"expected a path below src/, got {name}")
        elif target not in LAYER_OF:
            continue  # reported at that file
        elif target != folder and LAYER_OF[target] >= LAYER_OF[folder]:
            report(number, f"expected a layer below {LAYER_OF[folder]} ({folder}), got {name} of layer {LAYER_OF[target]}")
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if BACKEND_SWITCH.match(line):
            report(number, f"expected a twin file (*_no_cuda.cpp), got {line.strip()}")
        match = ONE_MAKE_ONLY.search(line.split("//")[0])
        if match and path.suffix in {".cu", ".cuh"} and str(inside) != PORTABILITY:
            report(number, f"expected a word of {PORTABILITY}, got {match[0]}")
    return breaches


def find_cycle(edges: dict[str, set[str]]) -> list[str] | None:
    """A cycle of the graph as a list of its nodes, or None."""
    done: set[str] = set()
    for start in sorted(edges):
        path: list[str] = []
        stack = [(start, iter(sorted(edges[start])))]
        if start in done:
            continue
        path.append(start)
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                path.pop()
                done.add(node)
            elif following in path:
                return path[path.index(following) :] + [following]
            elif following not in done:
                path.append(following)
                stack.append((following, iter(sorted(edges.get(following, ())))))
    return None


def check_cycles(root: Path, files: list[Path]) -> list[str]:
    source = root / "src"
    headers: dict[str, set[str]] = {}
    siblings: dict[str, dict[str, set[str]]] = {}  # parent folder -> folder -> folders
    for path in files:
        if path.stem.endswith("_test"):
            continue
        inside = path.relative_to(source)
        headers.setdefault(str(inside), set())
        for _, bracket, name in includes_of(path):
            if bracket != '"' or not (source / name).is_file():
                continue
            target = Path(name)
            headers[str(inside)].add(name)
            # The first folders in which the two paths differ, if both have one; those of src/ itself have layers.
            for depth, (mine, theirs) in enumerate(zip(inside.parts[:-1], target.parts[:-1])):
                if mine != theirs:
                    if depth == 0:
                        break
                    parent = "/".join(inside.parts[:depth])
                    siblings.setdefault(parent, {}).setdefault(mine, set()).add(theirs)
                    siblings[parent].setdefault(theirs, set())
                    break
    breaches = []
    cycle = find_cycle(headers)
    if cycle:
        breaches.append(f"[src] expected no circle of includes, got {' -> '.join(cycle)}")
    for parent, edges in sorted(siblings.items()):
        cycle = find_cycle(edges)
        if cycle:
            breaches.append(f"[src/{parent}] expected no circle of folders, got {' -> '.join(cycle)}")
    return breaches


def check(root: Path) -> list[str]:
    inside_src = [p for p in source_files(root) if p.is_relative_to(root / "src")]
    breaches = [breach for path in inside_src for breach in check_file(root, path)]
    return breaches + check_cycles(root, inside_src) + long_files(root)


def main() -> int:
    breaches = check(ROOT)
    for breach in breaches:
        print(breach)
    if breaches:
        return 1
    print(f"check_layers: {len(source_files(ROOT))} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
