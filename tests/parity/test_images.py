"""Decoding, resizing and the training transform against Pillow."""

import io
import math
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "parity" / "millrace_images_tool"


def run_tool(*arguments):
    command = [str(TOOL), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"
    return result.stdout


def read_pixels(path):
    content = path.read_bytes()
    width, height = struct.unpack("<ii", content[:8])
    return np.frombuffer(content, np.uint8, offset=8).reshape(height, width, 3)


def photo(width, height, seed=0, mode="RGB"):
    """Smooth fields with edges and a little noise: what photographs look like to a codec."""
    random = np.random.default_rng(seed)
    channels = len(mode) if mode != "L" else 1
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(channels):
        fx, fy, phase = random.uniform(0.01, 0.08, 3)
        field = 128 + 80 * np.sin(fx * x + 7 * phase) * np.cos(fy * y)
        field[(x - width * random.random()) ** 2 + (y - height * random.random()) ** 2 < (min(width, height) / 5) ** 2] += 60
        planes.append(field + random.normal(0, 4, (height, width)))
    pixels = np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def encode(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def palette_picture():
    return photo(61, 43).convert("P", palette=Image.Palette.ADAPTIVE, colors=97)


def transparent_palette_png():
    return encode(palette_picture(), format="PNG", transparency=3)


def grey_16_bits():
    values = (np.arange(50 * 40).reshape(40, 50) * 32).astype(np.uint16)
    return Image.fromarray(values), values


LOSSLESS = {
    "png rgb": lambda: encode(photo(75, 51), format="PNG"),
    "png rgba": lambda: encode(photo(75, 51, mode="RGBA"), format="PNG"),
    "png grey": lambda: encode(photo(75, 51, mode="L"), format="PNG"),
    "png grey and alpha": lambda: encode(photo(75, 51, mode="RGBA").convert("LA"), format="PNG"),
    "png 1 bit": lambda: encode(photo(75, 51, mode="L").convert("1"), format="PNG"),
    "png palette": lambda: encode(palette_picture(), format="PNG"),
    "png palette of 4 bits": lambda: encode(photo(61, 43).convert("P", palette=Image.Palette.ADAPTIVE, colors=9), format="PNG", bits=4),
    "png palette with transparency": transparent_palette_png,
    "webp lossless": lambda: encode(photo(75, 51), format="WEBP", lossless=True),
    "webp lossless with alpha": lambda: encode(photo(75, 51, mode="RGBA"), format="WEBP", lossless=True, exact=True),
    "webp lossy": lambda: encode(photo(75, 51), format="WEBP", quality=80),
}

JPEGS = {
    "4:2:0": dict(quality=90),
    "4:4:4": dict(quality=95, subsampling=0),
    "4:2:2": dict(quality=75, subsampling=1),
    "progressive": dict(quality=90, progressive=True),
    "poor": dict(quality=10),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_decodes_the_pixels_of_pillow(name, tmp_path):
    content = LOSSLESS[name]()
    (tmp_path / "in").write_bytes(content)
    run_tool("decode", tmp_path / "in", 0, tmp_path / "out")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(read_pixels(tmp_path / "out"), expected)


def test_16_bits_keep_their_high_byte(tmp_path):
    picture, values = grey_16_bits()
    (tmp_path / "in").write_bytes(encode(picture, format="PNG"))
    run_tool("decode", tmp_path / "in", 0, tmp_path / "out")
    expected = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_pixels(tmp_path / "out"), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("name", JPEGS)
def test_decodes_jpeg_as_pillow(name, mode, tmp_path):
    """Both use libjpeg-turbo, not always of one version: single levels may differ, and rarely."""
    content = encode(photo(203, 149, mode=mode), format="JPEG", **JPEGS[name])
    (tmp_path / "in").write_bytes(content)
    run_tool("decode", tmp_path / "in", 0, tmp_path / "out")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    difference = np.abs(read_pixels(tmp_path / "out") - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_exif_orientation_is_ignored_as_by_pillow(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    content = encode(photo(64, 32), format="JPEG", exif=exif)
    (tmp_path / "in").write_bytes(content)
    run_tool("decode", tmp_path / "in", 0, tmp_path / "out")
    assert read_pixels(tmp_path / "out").shape == (32, 64, 3)


SIZES = [(640, 480, 341, 256), (300, 257, 299, 256), (57, 31, 90, 64), (1023, 768, 341, 256), (100, 100, 7, 5), (33, 500, 17, 257)]


def resize_rows_first(image, size, filter):
    """Rows, then columns: what Pillow did up to version 12, for every size. Since then it sometimes starts with the
    columns, which moves single grey levels; two calls of one pass each are the same in every version."""
    return image.resize((size[0], image.height), filter).resize(size, filter)


@pytest.mark.parametrize("filter", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_resizes_bit_for_bit_as_pillow(size, filter, tmp_path):
    width, height, new_width, new_height = size
    for seed, picture in enumerate([photo(width, height, 1), Image.effect_noise((width, height), 90).convert("RGB")]):
        path = tmp_path / f"{seed}.png"
        picture.save(path)
        run_tool("resize", path, new_width, new_height, filter, tmp_path / "out")
        how = getattr(Image.Resampling, filter.upper())
        got = read_pixels(tmp_path / "out")
        np.testing.assert_array_equal(got, np.asarray(resize_rows_first(picture, (new_width, new_height), how)))
        if seed == 0:  # noise clips between the passes, and then their order matters more
            assert np.abs(got.astype(int) - np.asarray(picture.resize((new_width, new_height), how))).max() <= 2


def reference_transform(image, size, offset):
    """torchtitan's _process_cc12m_image with the crop's offset given instead of drawn."""
    width, height = image.size
    if width >= height:
        image = resize_rows_first(image, (math.ceil(size / height * width), size), Image.Resampling.BICUBIC)
        image = image.crop((offset, 0, offset + size, size))
    else:
        image = resize_rows_first(image, (size, math.ceil(size / width * height)), Image.Resampling.BICUBIC)
        image = image.crop((0, offset, size, offset + size))
    pixels = np.array(image.convert("RGB")).transpose((2, 0, 1))
    return pixels.astype(np.float32) / np.float32(255) * np.float32(2) - np.float32(1)


@pytest.mark.parametrize("width,height", [(256, 256), (512, 384), (300, 500), (257, 256), (1000, 1000), (259, 2000)])
def test_the_training_transform_is_the_references(width, height, tmp_path):
    picture = photo(width, height, 3)
    picture.save(tmp_path / "in.png")
    offsets = set()
    for sample in range(4):
        offset = int(run_tool("square", tmp_path / "in.png", 256, "exact", 5, 0, sample, tmp_path / "out"))
        offsets.add(offset)
        got = np.fromfile(tmp_path / "out", np.float32).reshape(3, 256, 256)
        np.testing.assert_array_equal(got, reference_transform(picture, 256, offset))
    assert len(offsets) > 1 or max(width, height) - min(width, height) < 3


@pytest.mark.parametrize("width,height", [(1024, 1024), (1600, 1200), (2048, 1365), (4000, 3000)])
def test_scaled_decoding_stays_near_the_exact_result(width, height, tmp_path):
    """Halving a JPEG by its own transform is another low-pass filter than bicubic: near, not equal."""
    (tmp_path / "in").write_bytes(encode(photo(width, height, 4), format="JPEG", quality=90))
    for how in ("exact", "scaled"):
        run_tool("square", tmp_path / "in", 256, how, 5, 0, 1, tmp_path / how)
    exact, scaled = (np.fromfile(tmp_path / how, np.float32) * 127.5 for how in ("exact", "scaled"))
    assert np.abs(exact - scaled).mean() < 1.0  # grey levels of 255
    assert np.percentile(np.abs(exact - scaled), 99.9) < 12
