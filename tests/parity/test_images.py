"""Decoding, resizing and the training transform against Pillow."""

import io
import math
import struct

import numpy as np
import pytest
from PIL import Image
from pictures import read_pixels, resize_rows_first, run_images_tool as run_tool


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


@pytest.mark.parametrize("filter", ["bicubic", "bilinear", "lanczos", "box"])
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


def overlaps(source, target):
    """[target, source]: the part of each target pixel that lies in each source pixel."""
    edges = np.arange(target + 1) * source / target
    inside = np.minimum(edges[1:, None], np.arange(source) + 1) - np.maximum(edges[:-1, None], np.arange(source))
    return np.maximum(inside, 0) * target / source


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_area_is_the_mean_of_what_a_pixel_covers(size, tmp_path):
    """As OpenCV's INTER_AREA, which also rounds the mean alone; here columns are rounded in between."""
    width, height, new_width, new_height = size
    picture = photo(width, height, 2)
    picture.save(tmp_path / "in.png")
    run_tool("resize", tmp_path / "in.png", new_width, new_height, "area", tmp_path / "out")
    values = np.asarray(picture).astype(float)
    expected = np.einsum("ys,xt,stc->yxc", overlaps(height, new_height), overlaps(width, new_width), values, optimize=True)
    assert np.abs(read_pixels(tmp_path / "out") - expected).max() <= 1.01


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nearest_is_the_pixel_at_the_place(size, tmp_path):
    """As OpenCV's INTER_NEAREST: at floor(x * source / target)."""
    width, height, new_width, new_height = size
    picture = photo(width, height, 2)
    picture.save(tmp_path / "in.png")
    run_tool("resize", tmp_path / "in.png", new_width, new_height, "nearest", tmp_path / "out")
    rows, columns = (np.arange(new_height) * (height / new_height)).astype(int), (np.arange(new_width) * (width / new_width)).astype(int)
    np.testing.assert_array_equal(read_pixels(tmp_path / "out"), np.asarray(picture)[rows][:, columns])


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


ORIENTATION = 0x0112


def with_orientation(orientation, order="II", tag_type=3, before=(), **options):
    """A JPEG whose EXIF says how the camera was held; `before`: entries before that one."""
    pack = "<" if order == "II" else ">"
    value = struct.pack(pack + ("H2x" if tag_type == 3 else "I"), orientation)
    entries = [struct.pack(pack + "HHI", *entry[:3]) + entry[3] for entry in before]
    entries.append(struct.pack(pack + "HHI", ORIENTATION, tag_type, 1) + value)
    exif = order.encode() + struct.pack(pack + "HI", 42, 8) + struct.pack(pack + "H", len(entries)) + b"".join(entries)
    return encode(photo(47, 31, seed=orientation), format="JPEG", exif=b"Exif\0\0" + exif + bytes(4), **options)


def upright_pictures():
    for orientation in range(10):
        yield f"le{orientation}", with_orientation(orientation)
        yield f"be{orientation}", with_orientation(orientation, "MM")
    yield "long", with_orientation(6, "MM", 4)
    yield "after an entry outside the data", with_orientation(6, before=[(0x0110, 2, 20, struct.pack("<I", 70))])
    yield "after a longer entry than the data", with_orientation(6, before=[(0x0110, 2, 2000, struct.pack("<I", 8))])
    yield "after an entry within the data", with_orientation(6, before=[(0x0110, 2, 6, struct.pack("<I", 8))])
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    yield "png", encode(photo(47, 31), format="PNG", exif=exif)
    for text in (b'<x tiff:Orientation="6"/>', b"<tiff:Orientation>3</tiff:Orientation>", b"tiff:Orientation='6'"):
        yield text.decode(), encode(photo(47, 31), format="JPEG", xmp=text)


@pytest.mark.parametrize("name, content", [pytest.param(*case, id=case[0]) for case in upright_pictures()])
def test_orientation_is_that_of_pil(tmp_path, name, content):
    from PIL import ImageOps

    (tmp_path / "in").write_bytes(content)
    run_tool("upright", tmp_path / "in", tmp_path / "out")
    image = Image.open(io.BytesIO(content))
    image.load()
    if image.getexif().get(ORIENTATION) is not None:
        image = ImageOps.exif_transpose(image)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read_pixels(tmp_path / "out"), expected)


def damaged_pictures():
    """Sound pictures, and the same with one byte changed, cut, or with a hole, at many places."""
    random = np.random.default_rng(11)
    sound = [encode(photo(120, 90), format="JPEG", quality=85)]
    sound += [encode(photo(120, 90), format="JPEG", progressive=True), encode(photo(64, 80, mode="L"), format="JPEG")]
    sound += [encode(photo(64, 48, mode="CMYK"), format="JPEG"), with_orientation(6)]
    sound += [encode(photo(64, 80), format="PNG"), encode(palette_picture(), format="PNG"), encode(photo(64, 80), format="WEBP")]
    yield from sound
    for content in sound:
        is_jpeg = content.startswith(b"\xff\xd8")
        for at in random.integers(2, len(content), 25 if is_jpeg else 0):
            yield content[:at]
            yield content[:at] + content[at + 7 :]
            yield content[:at] + bytes([random.integers(256)]) + content[at + 1 :]
        # The other formats: cut in their picture data.
        for at in random.integers(60, len(content) - 20, 0 if is_jpeg else 5):
            yield content[:at]
        yield content[:-2]
        yield content + b"tail"
    yield with_orientation(1).replace(b"II*\0", b"XX*\0")
    yield with_orientation(1, dpi=(72, 72)).replace(b"II*\0", b"XX*\0")
    yield from (b"", b"GIF", b"\xff\xd8\xff", b"<html>not found</html>")


def test_refuses_what_pil_refuses(tmp_path):
    """The verdict of find_problematic_indices.py: open, load and read EXIF, with PIL's default strictness."""
    from PIL import ImageFile

    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    cases = list(damaged_pictures())
    for i, content in enumerate(cases):
        (tmp_path / str(i)).write_bytes(content)
    problems = run_tool("problems", *(tmp_path / str(i) for i in range(len(cases)))).splitlines()
    verdicts = []
    for i, (content, problem) in enumerate(zip(cases, problems, strict=True)):
        try:
            image = Image.open(io.BytesIO(content))
            image.load()
            image.getexif()
            expected = "sound"
        except (OSError, SyntaxError, ValueError, TypeError, ZeroDivisionError) as error:
            expected = repr(error)
        verdicts.append((problem == "sound", expected == "sound", i, problem, expected))
    differing = [verdict for verdict in verdicts if verdict[0] != verdict[1]]
    assert not differing
    assert 100 < sum(verdict[0] for verdict in verdicts) < len(verdicts) - 100, "both happen"
