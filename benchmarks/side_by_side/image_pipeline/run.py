"""Images per second and core: millrace's loader against webdataset + PIL + torchvision.

    .venv/bin/python benchmarks/side_by_side/image_pipeline/run.py [--rounds 7] [--markdown FILE]

Tar shards of synthetic photographs (smooth fields, shapes and sensor noise; JPEG quality 90, 4:2:0) in several sizes
become batches of float32 [32, 3, 256, 256] in -1..1: shorter side to 256, bicubic, random crop. All runs are interleaved,
one thread each on one core; the figure is the median over the rounds of images per CPU second, which is images per
second and core even where other programs use the machine.
"""

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOADER = ROOT / "build" / "benchmarks" / "side_by_side" / "image_pipeline" / "image_pipeline_loader"
SIZE, BATCH = 256, 32
# width, height, pictures in the shard, batches per measurement
SOURCES = [(256, 256, 256, 32), (512, 512, 128, 12), (1024, 1024, 64, 6), (1280, 960, 64, 6), (2048, 1536, 32, 3), (4000, 3000, 16, 2)]


def photo(width, height, seed):
    import numpy as np

    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(width, height)
    picture = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 8):  # smooth fields with a falling spectrum
        frequency = 2.0**octave
        for channel in range(3):
            a, b, p, q = random.uniform(-1, 1, 4)
            picture[..., channel] += np.sin(frequency * (a * x + b * y) * 6.28 + p * 9) * np.cos(frequency * (q * x - a * y) * 6.28) * 60 / octave
    for _ in range(40):  # edges
        cx, cy, r = random.uniform(0, 1), random.uniform(0, height / width), random.uniform(0.01, 0.15)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < r * r
        picture[inside] = 0.5 * picture[inside] + random.uniform(-100, 100, 3)
    picture += random.normal(0, 5, picture.shape)  # the sensor
    return np.clip(picture + 128, 0, 255).astype(np.uint8)


def write_shard(path, width, height, count):
    from PIL import Image

    distinct = [photo(width, height, seed) for seed in range(min(count, 8))]
    size = 0
    with tarfile.open(path, "w") as tar:
        for index in range(count):
            pixels = distinct[index % len(distinct)]
            buffer = io.BytesIO()
            Image.fromarray(pixels[:, :: -1 if index % 2 else 1]).save(buffer, format="JPEG", quality=90)
            size += buffer.tell()
            for extension, content in (("jpg", buffer.getvalue()), ("txt", f"picture {index}".encode())):
                member = tarfile.TarInfo(f"{index:06d}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return size / count


def peer(path, batches):
    """Runs in a separate process; prints the same JSON as our loader."""
    import torch
    import torchvision.transforms.v2 as v2
    import webdataset as wds

    torch.set_num_threads(1)
    transform = v2.Compose([
        v2.Resize(SIZE, interpolation=v2.InterpolationMode.BICUBIC),
        v2.RandomCrop(SIZE),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5] * 3, [0.5] * 3),
    ])
    data = (
        wds.WebDataset(str(path), shardshuffle=False, empty_check=False)
        .repeat()
        .shuffle(100, initial=1)
        .decode("pilrgb")
        .to_tuple("jpg", "txt")
        .map_tuple(transform, lambda text: text)
        .batched(BATCH)
    )
    batches_left = iter(data)
    next(batches_left)
    wall, usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    check = 0.0
    for _ in range(batches):
        check += next(batches_left)[0][0, 0, 0, 0].item()
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - usage.ru_utime + after.ru_stime - usage.ru_stime
    print(json.dumps({"images": batches * BATCH, "wall": wall, "cpu": cpu, "check": check}))


def measure(command):
    core = str(max(os.sched_getaffinity(0)))
    result = subprocess.run(["taskset", "-c", core, *map(str, command)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stderr}")
    figures = json.loads(result.stdout.splitlines()[-1])
    return figures["images"] / figures["cpu"]


def table(rows):
    lines = ["| source | bytes each | webdataset + PIL + torchvision | millrace, exact | ratio | millrace | ratio |", "|---|---|---|---|---|---|---|"]
    for name, size, peer_rate, exact, scaled in rows:
        lines.append(f"| {name} | {size / 1024:.0f} KiB | {peer_rate:.0f} | {exact:.0f} | {exact / peer_rate:.2f} | {scaled:.0f} | {scaled / peer_rate:.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--only", type=int, help="only sources of this width")
    parser.add_argument("--peer", nargs=2, metavar=("SHARD", "BATCHES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.peer[0], int(options.peer[1]))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for width, height, count, batches in SOURCES:
            if options.only and width != options.only:
                continue
            shard = Path(folder) / f"{width}x{height}.tar"
            size = write_shard(shard, width, height, count)
            commands = {
                "peer": [sys.executable, __file__, "--peer", shard, batches],
                "exact": [LOADER, shard, SIZE, BATCH, batches, "exact"],
                "scaled": [LOADER, shard, SIZE, BATCH, batches, "scaled"],
            }
            rates = {name: [] for name in commands}
            for _ in range(options.rounds):
                for name, command in commands.items():
                    rates[name].append(measure(command))
            median = {name: statistics.median(values) for name, values in rates.items()}
            rows.append((f"{width} x {height}", size, median["peer"], median["exact"], median["scaled"]))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    print()
    print(table(rows))
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if options.markdown:
        options.markdown.write_text(table(rows) + "\n")


if __name__ == "__main__":
    main()
