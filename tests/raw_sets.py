"""Small raw data sets for tests of `millrace prepare`: pictures of all kinds, sound and damaged, in WebDataset shards."""

import io
import json
import tarfile

import numpy as np
from PIL import Image


def photo(width, height, seed, mode="RGB"):
    """Smooth fields with an edge and some noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(4 if mode == "CMYK" else 3):
        fx, fy, phase = random.uniform(0.01, 0.06, 3)
        field = 128 + 70 * np.sin(fx * x + 40 * phase) * np.cos(fy * y) + 50 * (x > width * random.random())
        planes.append(field + random.normal(0, 4, (height, width)))
    pixels = np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels, "CMYK") if mode == "CMYK" else Image.fromarray(pixels).convert(mode)


def encode(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(image, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, exif=exif, **options)


def picture(i):
    """The i-th picture's bytes and, for one that cannot be decoded, False. Every kind comes again and again."""
    width, height = 300 + 7 * (i % 13), 300 + 11 * (i % 7)
    kinds = [
        lambda: encode(photo(width, height, i)),
        lambda: encode(photo(width, height, i, "L")),
        lambda: encode(photo(width, height, i, "CMYK"), quality=90),
        lambda: turned(photo(width, height, i), 2 + i % 7),
        lambda: encode(photo(width, height, i), progressive=True, quality=80),
        lambda: encode(photo(256, 256, i)),
        lambda: encode(photo(255, 400, i)),  # too small
        lambda: encode(photo(width, height, i), "PNG"),
        lambda: encode(photo(width, height, i), "WEBP", quality=80),
    ]
    damaged = {
        17: lambda: encode(photo(width, height, i))[:-3000],
        23: lambda: b"<html>404 not found</html>",
        29: lambda: encode(photo(width, height, i), "PNG")[:-5000],
        31: lambda: b"",
        37: lambda: turned(photo(width, height, i), 6, dpi=(72, 72)).replace(b"Exif\0\0MM\0*", b"Exif\0\0XX\0*"),
    }
    return (damaged[i](), False) if i in damaged else (kinds[i % len(kinds)](), True)


CAPTIONS = ["a cat", "zwei Bäume\tand a tab", "line\nbreak", '"quoted" 猫', " blanks ", "🐈‍⬛ emoji", "long " * 50]


def about(i):
    return {
        "key": f"{i:09}",
        "status": "success",
        "error_message": None,
        "width": 300 + i,
        "aspect": i / 7 + 0.1,
        "exif": "{}",
        "tags": ["a", "b"][: i % 3] if i != 2 else [],
        "nested": {"flag": i % 2 == 0, "note": None if i < 2 else "x"},
    }


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_shards(folder, count=60, per_shard=20, pattern="cc12m-train-{:04}.tar", make=picture):
    """Shards as pixparse/cc12m-wds has them. Returns the indices of the samples that cannot be decoded."""
    folder.mkdir(parents=True, exist_ok=True)
    bad = []
    for begin in range(0, count, per_shard):
        with tarfile.open(folder / pattern.format(begin // per_shard), "w") as tar:
            for i in range(begin, min(begin + per_shard, count)):
                content, sound = make(i)
                if not sound:
                    bad.append(i)
                add(tar, f"{i:09}.jpg", content)
                add(tar, f"{i:09}.json", json.dumps(about(i)).encode())
                add(tar, f"{i:09}.txt", CAPTIONS[i % len(CAPTIONS)].encode())
    return bad
