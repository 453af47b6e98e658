#!/usr/bin/env python3
"""Checks that the objects made by hipcc contain every kernel, for every architecture.

    tools/check_gpu_code.py OBJECT_FOLDER SOURCE_FOLDER --arch gfx90a [--arch ...]

Each *_cuda.cu below SOURCE_FOLDER must have an object of the same name in OBJECT_FOLDER. In it must be, for each
architecture, machine code for every kernel that the object's host half can launch, and every function that the source
declares __global__ must be among them. No kernel may spill registers, keep arrays in memory, or need more shared memory
than a block has, and the width of a wave is what the architecture's name promises.

Prints a line per source, or every breach and exits with 1. Needs llvm-readelf (Debian: llvm-15, which hipcc brings).
"""

import argparse
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

BUNDLE_MAGIC = b"__CLANG_OFFLOAD_BUNDLE__"
STUB = "__device_stub__"
MAX_SHARED_BYTES = 64 * 1024
MAX_SCRATCH_BYTES = 256  # of a thread: its arrays belong into registers
GLOBAL_FUNCTION = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(")
READELF_NAMES = ("llvm-readelf", "/opt/rocm/llvm/bin/llvm-readelf", *(f"llvm-readelf-{version}" for version in range(22, 13, -1)))


class Breach(Exception):
    pass


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def section(data: bytes, wanted: str) -> bytes:
    """A section of a 64-bit little-endian ELF file; b"" without one."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise Breach("expected an ELF object, got something else")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)

    def header(index: int) -> tuple[int, int, int]:
        name, _, _, _, offset, size = struct.unpack_from("<IIQQQQ", data, table + index * entry_size)
        return name, offset, size

    names = header(names_index)[1]
    for index in range(count):
        name, offset, size = header(index)
        end = data.index(b"\0", names + name)
        if data[names + name : end].decode() == wanted:
            return data[offset : offset + size]
    return b""


def code_objects(data: bytes) -> dict[str, bytes]:
    """Architecture -> its code object, from the bundle that clang puts into .hip_fatbin."""
    bundle = section(data, ".hip_fatbin")
    if not bundle.startswith(BUNDLE_MAGIC):
        raise Breach("expected a bundle of device code, got none")
    (count,) = struct.unpack_from("<Q", bundle, len(BUNDLE_MAGIC))
    position = len(BUNDLE_MAGIC) + 8
    found = {}
    for _ in range(count):
        offset, size, length = struct.unpack_from("<QQQ", bundle, position)
        name = bundle[position + 24 : position + 24 + length].decode()
        position += 24 + length
        if not name.startswith("host-"):
            found[name.rsplit("-", 1)[-1]] = bundle[offset : offset + size]
    return found


def launched_kernels(path: Path, readelf: str) -> set[str]:
    """Mangled names of the kernels for which the host half has a launch stub."""
    names = set()
    for line in run(readelf, "--symbols", "--wide", str(path)).splitlines():
        name = line.split()[-1] if line.split() else ""
        if STUB not in name or " FUNC " not in line:
            continue
        # 29__device_stub__forward_kernel -> 14forward_kernel
        match = re.search(r"(\d+)" + STUB, name)
        length = str(int(match[1]) - len(STUB))
        names.add(name[: match.start()] + length + name[match.end() :])
    return names


def metadata(path: Path, readelf: str) -> dict[str, dict]:
    """Mangled name -> the kernel's metadata in the code object."""
    notes = run(readelf, "--notes", str(path))
    start, end = notes.find("---\n"), notes.rfind("...")
    if start < 0:
        return {}
    document = yaml.safe_load(notes[start:end])
    return {kernel[".name"]: kernel for kernel in document["amdhsa.kernels"]}


def code_sizes(path: Path, readelf: str) -> dict[str, int]:
    """Mangled name -> bytes of machine code."""
    sizes = {}
    for line in run(readelf, "--symbols", "--wide", str(path)).splitlines():
        words = line.split()
        if len(words) >= 8 and words[3] == "FUNC" and words[6] != "UND":
            sizes[words[7]] = int(words[2])
    return sizes


def expected_wave(arch: str) -> int:
    return 64 if arch.startswith("gfx9") else 32


def check_kernel(name: str, kernel: dict, size: int, arch: str) -> list[str]:
    breaches = []
    if size < 16:
        breaches.append(f"{arch} {name}: expected machine code, got {size} bytes")
    spills = kernel[".vgpr_spill_count"] + kernel[".sgpr_spill_count"]
    if spills:
        breaches.append(f"{arch} {name}: expected no spilled registers, got {spills}")
    if kernel[".private_segment_fixed_size"] > MAX_SCRATCH_BYTES:
        breaches.append(f"{arch} {name}: expected at most {MAX_SCRATCH_BYTES} bytes of scratch, got {kernel['.private_segment_fixed_size']}")
    if kernel[".group_segment_fixed_size"] > MAX_SHARED_BYTES:
        breaches.append(f"{arch} {name}: expected at most 64 KiB of shared memory, got {kernel['.group_segment_fixed_size']} bytes")
    if kernel[".wavefront_size"] != expected_wave(arch):
        breaches.append(f"{arch} {name}: expected waves of {expected_wave(arch)}, got {kernel['.wavefront_size']}")
    return breaches


def check_object(source: Path, path: Path, architectures: list[str], readelf: str) -> tuple[str, list[str]]:
    """(one line about the contents, violations)"""
    data = path.read_bytes()
    launched = launched_kernels(path, readelf)
    breaches = []
    for declared in sorted(set(GLOBAL_FUNCTION.findall(source.read_text()))):
        if not any(f"{len(declared)}{declared}" in name for name in launched):
            breaches.append(f"expected kernel {declared}, got an object that never launches it")
    if not launched:
        breaches.append("expected kernels, got none")
    objects = code_objects(data)
    figures = []
    for arch in architectures:
        if arch not in objects:
            breaches.append(f"expected code for {arch}, got {', '.join(sorted(objects)) or 'none'}")
            continue
        with tempfile.NamedTemporaryFile(suffix=f".{arch}") as file:
            file.write(objects[arch])
            file.flush()
            kernels, sizes = metadata(Path(file.name), readelf), code_sizes(Path(file.name), readelf)
        for name in sorted(launched - set(kernels)):
            breaches.append(f"{arch}: expected kernel {name}, got none")
        for name, kernel in sorted(kernels.items()):
            breaches += check_kernel(name, kernel, sizes.get(name, 0), arch)
        kernels = {name: kernel for name, kernel in kernels.items() if name in launched}
        most = max((kernel[".vgpr_count"] for kernel in kernels.values()), default=0)
        scratch = max((kernel[".private_segment_fixed_size"] for kernel in kernels.values()), default=0)
        figures.append(f"{arch} {len(kernels)} kernels, {sum(sizes[name] for name in kernels)} bytes, {most} VGPRs, {scratch} bytes of scratch")
    return f"{source.stem}: " + "; ".join(figures), [f"[{path.name}] {breach}" for breach in breaches]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objects", type=Path, help="folder of <name>_cuda.o")
    parser.add_argument("sources", type=Path, help="folder that holds *_cuda.cu, at any depth")
    parser.add_argument("--arch", action="append", required=True, help="e.g. gfx90a; may be repeated")
    arguments = parser.parse_args()
    readelf = next(filter(None, map(shutil.which, READELF_NAMES)), None)
    if readelf is None:
        print("check_gpu_code: expected llvm-readelf, got none (try installing llvm)", file=sys.stderr)
        return 2
    sources = sorted(arguments.sources.rglob("*_cuda.cu"))
    if not sources:
        print(f"check_gpu_code: expected *_cuda.cu below {arguments.sources}, got none", file=sys.stderr)
        return 2
    failed = False
    for source in sources:
        path = arguments.objects / f"{source.stem}.o"
        try:
            if not path.is_file():
                raise Breach("expected an object, got none")
            line, breaches = check_object(source, path, arguments.arch, readelf)
        except Breach as breach:
            line, breaches = "", [f"[{path}] {breach}"]
        for breach in breaches:
            print(breach)
        failed = failed or bool(breaches)
        if not breaches:
            print(line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
