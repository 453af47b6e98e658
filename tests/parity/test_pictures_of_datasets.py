"""Which pictures `datasets` loads and how it turns them, in every container: find_picture_problem() and read_orientation()
against the feature Image of `datasets`, which is Pillow with its default strictness."""

import io
import struct
import warnings
import zlib

import datasets
import numpy as np
import pytest
from PIL import Image
from pictures import read_pixels, run_images_tool

ORIENTATION = 0x0112
XMP_ATTRIBUTE = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
XMP_ELEMENT = b"<x:xmpmeta><tiff:Orientation>%d</tiff:Orientation></x:xmpmeta>"
MEBIBYTE = 1 << 20


def as_datasets(content):
    """The picture as `datasets` gives it, or what it throws."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return datasets.Image().decode_example({"path": None, "bytes": content})
        except Exception as error:
            return error


def picture(mode="RGB", width=23, height=14):
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * (5 + 3 * c) + y * (11 - 2 * c)) % 256 for c in range(4)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8), "RGBA").convert(mode)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# Containers: each puts EXIF data, XMP data or its own chunks into a picture.


def chunk(kind, data, damage=0):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ damage)


def png(*before, behind=(), image=None, **options):
    """A PNG with chunks before and behind the picture data."""
    plain = encode(image or picture(), "PNG", **options)
    return plain[:33] + b"".join(before) + plain[33:-12] + b"".join(behind) + plain[-12:]


def png_header(width, height, depth=8, colour=2, compression=0, filters=0, interlace=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, compression, filters, interlace))


def png_of(header, *chunks):
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def rows(width, height, bits=24, fill=0x5A):
    return (b"\0" + bytes([fill]) * ((width * bits + 7) // 8)) * height


def itxt(key, text, packed=False):
    text = zlib.compress(text) if packed else text
    return chunk(b"iTXt", key + b"\0" + bytes([packed, 0]) + b"\0\0" + text)


def raw_profile(data):
    return b"\nexif\n%8d\n%s\n" % (len(data), data.hex().encode())


def jpeg(*segments, image=None, **options):
    plain = encode(image or picture(), "JPEG", quality=90, **options)
    return plain[:2] + b"".join(segments) + plain[2:]


def segment(marker, data):
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_exif(data):
    return segment(0xE1, b"Exif\0\0" + data)


def jpeg_xmp(data):
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + data)


def webp(exif=None, xmp=None, image=None, flags=None, **options):
    """A WebP in the extended format, put together by hand."""
    image = image or picture()
    plain = encode(image, "WEBP", **(options or {"lossless": True}))
    exif_chunk = riff(b"EXIF", exif) if exif is not None else b""
    xmp_chunk = riff(b"XMP ", xmp) if xmp is not None else b""
    flags = flags if flags is not None else (8 if exif is not None else 0) | (4 if xmp is not None else 0)
    size = struct.pack("<I", image.width - 1)[:3] + struct.pack("<I", image.height - 1)[:3]
    body = riff(b"VP8X", bytes([flags, 0, 0, 0]) + size) + plain[12:] + exif_chunk + xmp_chunk
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def riff(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def tiff(value=6, order="II", kind="H", tag_type=3, count=1, before=(), magic=42, behind=b""):
    """EXIF data with an orientation; `before`: entries (tag, type, count, four bytes) before it."""
    pack = "<" if order == "II" else ">"
    data = struct.pack(pack + kind, *(value if isinstance(value, tuple) else (value,)))
    entries = [struct.pack(pack + "HHI", *entry[:3]) + entry[3] for entry in before]
    outside = 8 + 2 + 12 * (len(entries) + 1) + 4
    cell = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(pack + "I", outside)
    entries.append(struct.pack(pack + "HHI", ORIENTATION, tag_type, count) + cell)
    head = order.encode() + struct.pack(pack + "HI", magic, 8) + struct.pack(pack + "H", len(entries))
    return head + b"".join(entries) + bytes(4) + (data if len(data) > 4 else b"") + behind


def oriented_pictures():
    for order in ("II", "MM"):
        for value in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 262):
            yield f"png eXIf {order} {value}", png(chunk(b"eXIf", tiff(value, order)))
            yield f"webp {order} {value}", webp(exif=tiff(value, order))
            yield f"jpeg {order} {value}", jpeg(jpeg_exif(tiff(value, order)))
    kinds = {
        "long": tiff(6, kind="I", tag_type=4),
        "long, big-endian": tiff(6, "MM", kind="I", tag_type=4),
        "signed short": tiff(6, kind="h", tag_type=8),
        "signed long below zero": tiff(-6, kind="i", tag_type=9),
        "byte": tiff(6, kind="B", tag_type=1),
        "signed byte": tiff(6, kind="b", tag_type=6),
        "text": tiff((b"6",), kind="1s", tag_type=2),
        "undefined": tiff(6, kind="B", tag_type=7),
        "rational": tiff((12, 2), kind="II", tag_type=5),
        "rational over zero": tiff((6, 0), kind="II", tag_type=5),
        "signed rational": tiff((-6, -1), kind="ii", tag_type=10),
        "float": tiff(6.0, kind="f", tag_type=11),
        "float with a fraction": tiff(6.5, kind="f", tag_type=11),
        "double": tiff(8.0, "MM", kind="d", tag_type=12),
        "directory": tiff(6, kind="I", tag_type=13),
        "64 bits": tiff(6, kind="Q", tag_type=16),
        "unknown type": tiff(6, tag_type=99),
        "two values": tiff((6, 3), kind="HH", count=2),
        "three values": tiff((6, 3, 1), kind="HHH", count=3),
        "no value": tiff(6, count=0),
        "twice": tiff(6, before=[(ORIENTATION, 3, 1, struct.pack("<HH", 3, 0))]),
        "data outside": tiff(6, kind="Q", tag_type=16)[:-4],
        "behind data outside": tiff(6, before=[(0x010F, 2, 12, struct.pack("<I", 9000))]),
        "behind too large data": tiff(6, before=[(0x010F, 2, 9000, struct.pack("<I", 8))]),
        "behind data that repeats": tiff(6, before=[(0x010F, 2, 40, struct.pack("<I", 0)), (0x0110, 2, 40, struct.pack("<I", 0))]),
        "cut entries": tiff(6)[:20],
        "magic of the other order": tiff(6, magic=42 << 8),
        "nothing": b"",
    }
    for name, data in kinds.items():
        yield f"webp {name}", webp(exif=data)
        yield f"png {name}", png(chunk(b"eXIf", data))
        yield f"jpeg {name}", jpeg(jpeg_exif(data))
    yield "webp with Exif before it", webp(exif=b"Exif\0\0" + tiff(6))
    yield "webp with Exif twice before it", webp(exif=b"Exif\0\0Exif\0\0" + tiff(6))
    yield "webp lossy", webp(exif=tiff(8, "MM"), quality=80)
    yield "webp with alpha", encode(picture("RGBA"), "WEBP", lossless=True, exact=True, exif=tiff(5))
    yield "webp of Pillow", encode(picture(), "WEBP", lossless=True, exif=b"Exif\0\0" + tiff(7))
    yield "webp without the flag", webp(exif=tiff(6), flags=0)
    for value in (0, 3, 6, 9):
        for name, text in (("attribute", XMP_ATTRIBUTE % value), ("element", XMP_ELEMENT % value)):
            yield f"webp xmp {name} {value}", webp(xmp=text)
            yield f"jpeg xmp {name} {value}", jpeg(jpeg_xmp(text))
            yield f"png iTXt {name} {value}", png(itxt(b"XML:com.adobe.xmp", text))
            yield f"png packed iTXt {name} {value}", png(itxt(b"XML:com.adobe.xmp", text, packed=True))
            yield f"png tEXt {name} {value}", png(chunk(b"tEXt", b"XML:com.adobe.xmp\0" + text))
            yield f"png zTXt {name} {value}", png(chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(text)))
    six = XMP_ATTRIBUTE % 6
    yield "exif before xmp", webp(exif=tiff(3), xmp=six)
    yield "exif without orientation, xmp", webp(exif=tiff(3).replace(b"\x12\x01", b"\x13\x01"), xmp=six)
    yield "exif of 1, xmp", jpeg(jpeg_exif(tiff(1)), jpeg_xmp(six))
    yield "invalid exif, xmp", jpeg(jpeg_exif(tiff(3).replace(b"II*", b"XX*")), jpeg_xmp(six))
    yield "exif in two segments", jpeg(jpeg_exif(tiff(6)[:13]), jpeg_exif(tiff(6)[13:]))
    yield "xmp twice", jpeg(jpeg_xmp(six), jpeg_xmp(XMP_ATTRIBUTE % 3))
    yield "xmp in single quotes", jpeg(jpeg_xmp(b"tiff:Orientation='6'"))
    yield "xmp second", jpeg(jpeg_xmp(b"tiff:Orientation='6' " + XMP_ELEMENT % 8))
    yield "xmp not in utf-8", png(itxt(b"XML:com.adobe.xmp", b"\xff" + six))
    yield "xmp, empty behind", png(itxt(b"XML:com.adobe.xmp", b"\xff" + six), chunk(b"tEXt", b"XML:com.adobe.xmp\0"))
    yield "exif behind the picture data", png(behind=[chunk(b"eXIf", tiff(6))])
    yield "xmp behind the picture data", png(behind=[itxt(b"XML:com.adobe.xmp", six)])
    yield "two exif chunks", png(chunk(b"eXIf", tiff(3)), chunk(b"eXIf", tiff(6)))
    yield "tEXt called exif", png(chunk(b"tEXt", b"exif\0" + tiff(6)))
    for name, data in (("profile", tiff(6, "MM")), ("profile with Exif", b"Exif\0\0" + tiff(8)), ("empty profile", b"")):
        text = raw_profile(data)
        yield f"tEXt {name}", png(chunk(b"tEXt", b"Raw profile type exif\0" + text))
        yield f"zTXt {name}", png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))
        yield f"iTXt {name}", png(itxt(b"Raw profile type exif", text, packed=True))
    lines = raw_profile(tiff(6)).replace(tiff(6).hex().encode()[:20], tiff(6).hex().upper().encode()[:20] + b"\n \n")
    yield "profile in lines", png(chunk(b"tEXt", b"Raw profile type exif\0" + lines))
    yield "profile of two lines", png(chunk(b"tEXt", b"Raw profile type exif\0\nexif"))
    yield "profile of APP1", png(chunk(b"tEXt", b"Raw profile type APP1\0" + raw_profile(tiff(6))))
    yield "eXIf before a profile", png(chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(tiff(6))), chunk(b"eXIf", tiff(3)))


@pytest.mark.parametrize("name, content", [pytest.param(*case, id=case[0]) for case in oriented_pictures()])
def test_pictures_are_turned_as_datasets_turns_them(tmp_path, name, content):
    (tmp_path / "in").write_bytes(content)
    expected = as_datasets(content)
    problem = run_images_tool("problems", tmp_path / "in").strip()
    if isinstance(expected, Exception):
        assert problem != "sound", repr(expected)
        return
    assert problem == "sound"
    run_images_tool("upright", tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(read_pixels(tmp_path / "out"), np.asarray(expected.convert("RGB")))


# Pictures that are sound or not, by name; what `datasets` says is asked for, and both must occur.

BIG = zlib.compress(b"A" * (2 * MEBIBYTE))
LIMIT = zlib.compress(b"A" * MEBIBYTE)


def animation(**options):
    frames = [Image.new("RGB", (23, 14), colour) for colour in ("red", "blue")]
    return dict(save_all=True, append_images=frames, **options)


def apng(*changes):
    content = encode(picture(), "PNG", **animation())
    for old, new in changes:
        content = content.replace(old, new, 1)
    return content


def doubtful_pngs():
    plain = png()
    data = zlib.compress(rows(4, 4))
    header = png_header(4, 4)
    yield "plain", plain
    for kind, prefix in ((b"iCCP", b"name\0\0"), (b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0")):
        name = kind.decode()
        yield f"{name} above 1 MiB", png(chunk(kind, prefix + BIG))
        yield f"{name} of 1 MiB", png(chunk(kind, prefix + LIMIT))
        yield f"{name} above 1 MiB behind", png(behind=[chunk(kind, prefix + BIG)])
        yield f"{name} damaged", png(chunk(kind, prefix + b"no zlib"))
        yield f"{name} damaged behind 1 MiB", png(chunk(kind, prefix + BIG[:-4] + b"abcd"))
        yield f"{name} cut", png(chunk(kind, prefix + LIMIT[: len(LIMIT) // 2]))
        yield f"{name} method", png(chunk(kind, prefix.replace(b"\0\0", b"\0\5", 1) + LIMIT))
        yield f"{name} alone", png(chunk(kind, prefix.split(b"\0")[0]))
        yield f"{name} empty", png(chunk(kind, b""))
        yield f"{name} with a tail", png(chunk(kind, prefix + zlib.compress(b"short") + b"tail"))
    yield "iTXt above 1 MiB, not packed", png(itxt(b"Comment", b"A" * (2 * MEBIBYTE)))
    yield "tEXt above 1 MiB", png(chunk(b"tEXt", b"Comment\0" + b"A" * (2 * MEBIBYTE)))
    yield "64 texts of 1 MiB", png(*[chunk(b"zTXt", b"k%d\0\0" % i + LIMIT) for i in range(64)])
    yield "65 texts of 1 MiB", png(*[chunk(b"zTXt", b"k%d\0\0" % i + LIMIT) for i in range(65)])
    yield "65 texts of 1 MiB without a key", png(*[chunk(b"zTXt", b"\0\0" + LIMIT) for i in range(65)])
    umlauts = zlib.compress("ä".encode() * (MEBIBYTE // 2))
    yield "100 texts of half as many characters", png(*[chunk(b"iTXt", b"k%d\0\1\0\0\0" % i + umlauts) for i in range(100)])
    for kind, sizes in {b"gAMA": (3, 4), b"cHRM": (31, 32), b"sRGB": (0, 1), b"pHYs": (8, 9), b"tRNS": (5, 6), b"acTL": (7, 8),
                        b"fcTL": (25,), b"tIME": (0, 7), b"bKGD": (0, 6), b"sBIT": (0,), b"aBcD": (0, 5), b"eXIf": (3, 7)}.items():
        for size in sizes:
            yield f"{kind.decode()} of {size} bytes", png(chunk(kind, bytes(size)))
            yield f"{kind.decode()} of {size} bytes behind", png(behind=[chunk(kind, bytes(size))])
    for kind in (b"tEXt", b"gAMA", b"tIME", b"pHYs", b"zzZz", b"eXIf"):
        yield f"checksum of {kind.decode()}", png(chunk(kind, bytes(32), damage=1))
        yield f"checksum of {kind.decode()} behind", png(behind=[chunk(kind, bytes(32), damage=1)])
    yield "checksum of IHDR", plain[:29] + b"abcd" + plain[33:]
    yield "checksum of IDAT", png_of(header, chunk(b"IDAT", data, damage=1))
    yield "checksum of IEND", plain[:-4] + b"abcd"
    palette = encode(picture().convert("P", palette=Image.Palette.ADAPTIVE), "PNG")
    at = palette.index(b"PLTE")
    length = struct.unpack(">I", palette[at - 4 : at])[0]
    yield "palette", palette
    yield "checksum of PLTE", palette[: at + 4 + length] + b"abcd" + palette[at + 8 + length :]
    yield "no palette", png_of(png_header(4, 4, colour=3), chunk(b"IDAT", zlib.compress(rows(4, 4, 8))))
    for colours in (0, 1, 16, 256, 257, 300):
        shades = chunk(b"PLTE", bytes(i % 256 for i in range(3 * colours)))
        yield f"palette of {colours}", png_of(png_header(4, 4, colour=3), shades, chunk(b"IDAT", zlib.compress(rows(4, 4, 8))))
    yield "palette of half a colour", png_of(png_header(4, 4, colour=3), chunk(b"PLTE", bytes(7)), chunk(b"IDAT", zlib.compress(rows(4, 4, 8, 1))))
    yield "long transparency", png_of(png_header(4, 4, colour=3), chunk(b"PLTE", bytes(6)), chunk(b"tRNS", bytes(300)), chunk(b"IDAT", zlib.compress(rows(4, 4, 8, 1))))
    for depth in (0, 1, 2, 3, 4, 8, 16, 32):
        for colour in (0, 1, 2, 3, 4, 5, 6, 7):
            bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
            shades = [chunk(b"PLTE", bytes(i % 256 for i in range(48)))] if colour == 3 else []
            yield f"depth {depth} colour {colour}", png_of(png_header(5, 3, depth, colour), *shades, chunk(b"IDAT", zlib.compress(rows(5, 3, bits))))
    yield "compression 1", png_of(png_header(4, 4, compression=1), chunk(b"IDAT", data))
    yield "filters 1", png_of(png_header(4, 4, filters=1), chunk(b"IDAT", data))
    for interlace in (1, 2):
        passes = zlib.compress(rows(1, 1) + rows(1, 1) + rows(2, 1) + rows(2, 2) + rows(4, 2))
        yield f"interlace {interlace}", png_of(png_header(4, 4, interlace=interlace), chunk(b"IDAT", passes))
    yield "no pixels", png_of(png_header(0, 4), chunk(b"IDAT", data))
    yield "filter 5", png_of(header, chunk(b"IDAT", zlib.compress(b"\5" + rows(4, 4)[1:])))
    yield "wrong check of the data", png_of(header, chunk(b"IDAT", data[:-4] + b"abcd"))
    yield "no check of the data", png_of(header, chunk(b"IDAT", data[:-4]))
    yield "data too short", png_of(header, chunk(b"IDAT", zlib.compress(rows(4, 3))))
    yield "data too short by half a row", png_of(header, chunk(b"IDAT", zlib.compress(rows(4, 4)[:-5])))
    yield "data too long", png_of(header, chunk(b"IDAT", zlib.compress(rows(4, 9))))
    yield "data with a tail", png_of(header, chunk(b"IDAT", data + b"tail"))
    yield "data in pieces", png_of(header, *[chunk(b"IDAT", data[i : i + 3]) for i in range(0, len(data), 3)])
    yield "data in pieces, one empty", png_of(header, chunk(b"IDAT", data[:5]), chunk(b"IDAT", b""), chunk(b"IDAT", data[5:]))
    yield "data apart", png_of(header, chunk(b"IDAT", data[:5]), chunk(b"tIME", bytes(7)), chunk(b"IDAT", data[5:]))
    yield "data twice", png_of(header, chunk(b"IDAT", data), chunk(b"IDAT", data))
    yield "data twice, cut", png_of(header, chunk(b"IDAT", data), chunk(b"IDAT", data))[:-30]
    yield "data twice, apart", png_of(header, chunk(b"IDAT", data), chunk(b"tIME", bytes(7)), chunk(b"IDAT", data))
    yield "data twice, apart, cut", png_of(header, chunk(b"IDAT", data), chunk(b"tIME", bytes(7)), chunk(b"IDAT", data))[:-30]
    yield "no data", png_of(header)
    yield "no IEND", plain[:-12]
    yield "no IEND, no checksum", plain[:-16]
    yield "half a header behind", plain[:-7]
    yield "a tail", plain + b"tail" * 9
    yield "garbage for a chunk behind", plain[:-12] + b"\0\0\0\1\xff\xfe\0\1xxxxxxx"
    yield "garbage for a chunk before", plain[:33] + b"\0\0\0\1\xff\xfe\0\1x" + plain[33:]
    yield "a huge chunk before", plain[:33] + b"\x7f\xff\xff\xfftEXt" + plain[33:]
    yield "a huge chunk behind", plain[:-12] + b"\x7f\xff\xff\xfftEXt" + plain[-12:]
    yield "a long header", png_of(chunk(b"IHDR", png_header(4, 4)[8:21] + b"more"), chunk(b"IDAT", data))
    yield "profile that is not hexadecimal", png(chunk(b"tEXt", b"Raw profile type exif\0\n\n\nxyz"))
    yield "profile of half a byte", png(chunk(b"tEXt", b"Raw profile type exif\0\n\n\nabc"))
    yield "profile that is no TIFF", png(chunk(b"tEXt", b"Raw profile type exif\0\n\n\nabcd"))
    yield "eXIf that is no TIFF", png(chunk(b"eXIf", b"no TIFF structure"))
    yield "eXIf with short TIFF", png(chunk(b"eXIf", b"II*\0\0"))
    yield "eXIf of BigTIFF", png(chunk(b"eXIf", tiff(6, magic=43)))
    yield "eXIf of big-endian BigTIFF", png(chunk(b"eXIf", tiff(6, "MM", magic=43)))
    yield "zTXt called exif", png(chunk(b"zTXt", b"exif\0\0" + zlib.compress(tiff(6))))
    yield "iTXt called exif", png(itxt(b"exif", b"II*"))
    yield "tEXt called xmp", png(chunk(b"tEXt", b"xmp\0" + XMP_ELEMENT % 6))
    yield "empty tEXt called xmp", png(chunk(b"tEXt", b"xmp\0"))
    yield "animation", apng()
    yield "animation with a separate picture", encode(picture(), "PNG", **animation(default_image=True))
    yield "animation of no frames", png(chunk(b"acTL", bytes(8)))
    yield "animation twice", png(chunk(b"acTL", b"\0\0\0\2" + bytes(4)), chunk(b"acTL", b"\0\0\0\2" + bytes(4)))
    frame = struct.pack(">IIIIIHHBB", 0, 4, 4, 0, 0, 1, 1, 0, 0)
    yield "frame without an animation", png_of(header, chunk(b"fcTL", frame), chunk(b"IDAT", data))
    yield "frame out of order", png_of(header, chunk(b"fcTL", b"\0\0\0\1" + frame[4:]), chunk(b"IDAT", data))
    yield "frame too large", png_of(header, chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 5, 4, 0, 0, 1, 1, 0, 0)), chunk(b"IDAT", data))
    part = struct.pack(">IIIIIHHBB", 0, 2, 3, 1, 1, 1, 1, 0, 0)
    yield "frame of a part", png_of(header, chunk(b"fcTL", part), chunk(b"IDAT", zlib.compress(rows(2, 3))))
    yield "frame data alone", png_of(header, chunk(b"acTL", b"\0\0\0\1" + bytes(4)), chunk(b"fcTL", frame), chunk(b"fdAT", b"\0\0\0\1" + data))
    yield "frame data behind, out of order", png_of(header, chunk(b"IDAT", data), chunk(b"fdAT", b"\0\0\0\1" + data))
    yield "frames out of order behind an animation", png_of(header, chunk(b"acTL", b"\0\0\0\2" + bytes(4)), chunk(b"fcTL", frame), chunk(b"IDAT", data), chunk(b"fcTL", frame))
    huge = struct.unpack(">I", b"\0\0\x30\0")[0]
    yield "many pixels", png_of(png_header(14000, 12782, 1, 0), chunk(b"IDAT", zlib.compress(rows(14000, 12782, 1), 1)))
    yield "too many pixels", png_of(png_header(14000, 12783, 1, 0), chunk(b"IDAT", zlib.compress(rows(14000, 12783, 1), 1)))
    yield "far too many pixels", png_of(png_header(huge * 1000, huge), chunk(b"IDAT", data))


def doubtful_jpegs():
    plain = jpeg()
    yield "plain", plain
    for mode in ("L", "CMYK"):
        yield mode, jpeg(image=picture(mode))
    yield "no end mark", plain[:-2]
    yield "a tail", plain + b"tail"
    yield "cut", plain[:-20]
    for marker, data in ((0xE0, b"JFIF"), (0xE0, b"JFIF\0\1\1"), (0xE0, b"other"), (0xEE, b"Adobe"), (0xEE, b"Adobe\0\0"),
                         (0xE2, b"ICC_PROFILE\0"), (0xE2, b"ICC_PROFILE\0\1\1"), (0xE2, b"ICC_PROFILE\0\1\2data"),
                         (0xDB, b"\0" + bytes(63)), (0xDB, b"\x10" + bytes(127)), (0xFE, b"a comment"), (0xDD, b"\0\0"),
                         (0xED, b"Photoshop 3.0\0008BIM"), (0xED, b"Photoshop 3.0\0008BIM\3\xed"),
                         (0xED, b"Photoshop 3.0\0008BIM\3\xed\0\0\0\0\0\2ab8BIM\0\0"),
                         (0xED, b"Photoshop 3.0\0008BIM\4\4\0\0\0\0\0\2ab8BIM\0\0"), (0xE1, b"Exif\0\0"), (0xE1, b"Exif\0\0no TIFF"),
                         (0xE2, b"MPF\0II*\0"), (0xE2, b"MPF\0" + tiff(6))):
        yield f"{marker:x} {data[:24]!r}", jpeg(segment(marker, data))
        yield f"{marker:x} {data[:24]!r} with a density", jpeg(segment(marker, data), dpi=(72, 72))
    yield "garbage between segments", plain[:2] + b"garbage\xff\0\xff\xff" + plain[2:]
    yield "unknown marker", plain[:2] + b"\xff\x02\0\2" + plain[2:]
    yield "length of nothing", plain[:2] + b"\xff\xe5\0\0" + plain[2:]
    frame = plain.index(b"\xff\xc0")
    for at, value in ((4, 12), (9, 2), (9, 5), (5, 0), (6, 0), (3, 16), (3, 18)):
        yield f"frame byte {at} of {value}", plain[: frame + at] + bytes([value]) + plain[frame + at + 1 :]
    yield "no frame", plain[:frame] + plain[plain.index(b"\xff\xda") :]
    yield "no scan", plain[: plain.index(b"\xff\xda")] + b"\xff\xd9"
    yield "too many pixels", plain[: frame + 5] + b"\xff\xff\xff\xff" + plain[frame + 9 :]


def doubtful_webps():
    plain = webp(exif=tiff(6))
    yield "plain", plain
    yield "simple", encode(picture(), "WEBP", lossless=True)
    yield "lossy", encode(picture(), "WEBP", quality=70)
    yield "lossy with alpha", encode(picture("RGBA"), "WEBP", quality=70)
    yield "animation", encode(picture(), "WEBP", **animation(lossless=True))
    yield "animation, lossy", encode(picture(), "WEBP", **animation(quality=50))
    yield "animation with alpha", encode(picture("RGBA"), "WEBP", **animation(lossless=True))
    yield "animation with exif", encode(picture(), "WEBP", **animation(lossless=True, exif=tiff(6)))
    yield "animation, cut", encode(picture(), "WEBP", **animation(lossless=True))[:-10]
    yield "animation, cut in the first frame", encode(picture(), "WEBP", **animation(lossless=True))[:120]
    moving = encode(picture(), "WEBP", **animation(lossless=True))
    part = encode(picture(width=4, height=6), "WEBP", lossless=True)[12:]
    small = struct.pack("<I", 3)[:3] + struct.pack("<I", 2)[:3] + struct.pack("<I", 3)[:3] + struct.pack("<I", 5)[:3]
    body = moving[12:30] + riff(b"ANIM", bytes([9, 8, 7, 255, 0, 0])) + riff(b"ANMF", small + bytes(4) + part)
    yield "first frame of a part", b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    yield "cut", plain[:-40]
    yield "cut by one", plain[:-1]
    yield "half", plain[: len(plain) // 2]
    yield "a tail", plain + b"tail"
    yield "length too large", plain[:4] + struct.pack("<I", len(plain) + 90) + plain[8:]
    yield "length too small", plain[:4] + struct.pack("<I", 40) + plain[8:]
    yield "exif that is no TIFF", webp(exif=b"no TIFF structure")
    yield "exif that is no TIFF, without the flag", webp(exif=b"no TIFF structure", flags=0)
    yield "short exif", webp(exif=b"II*\0")
    yield "empty exif", webp(exif=b"")
    yield "unknown chunk", b"RIFF" + struct.pack("<I", len(plain) + 4) + plain[8:] + riff(b"abcd", b"more")
    yield "other first chunk", plain[:12] + b"ABCD" + plain[16:]
    yield "canvas of another size", plain[:24] + b"\x30" + plain[25:]


def verdicts(tmp_path, cases):
    """(name, does it load with datasets, is it sound here, what each says), of files by name."""
    for i, (_, content) in enumerate(cases):
        (tmp_path / str(i)).write_bytes(content)
    problems = run_images_tool("problems", *(tmp_path / str(i) for i in range(len(cases)))).splitlines()
    for (name, content), problem in zip(cases, problems, strict=True):
        expected = as_datasets(content)
        yield name, not isinstance(expected, Exception), problem == "sound", problem, repr(expected), content


@pytest.mark.parametrize("make", [doubtful_pngs, doubtful_jpegs, doubtful_webps])
def test_refuses_the_pictures_that_datasets_refuses(tmp_path, make):
    found = list(verdicts(tmp_path, list(make())))
    assert [each[:1] + each[3:5] for each in found if each[1] != each[2]] == []
    assert 4 < sum(each[1] for each in found) < len(found) - 4, "both happen"
    for name, is_sound, _, _, _, content in found:
        if not is_sound or "16 colour 0" in name or "depth 16" in name or "many pixels" in name:
            continue
        (tmp_path / "in").write_bytes(content)
        run_images_tool("upright", tmp_path / "in", tmp_path / "out")
        expected = np.asarray(as_datasets(content).convert("RGB"))
        assert np.array_equal(read_pixels(tmp_path / "out"), expected), name


def damaged(content, random, head):
    """One to three bytes changed, removed or repeated, most of them within the first `head`."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(2, min(head, len(content)) if random.integers(4) else len(content)))
        match random.integers(5):
            case 0:
                content[at] ^= 1 << int(random.integers(8))
            case 1:
                content[at] = int(random.integers(256))
            case 2:
                content[at] = (0, 255, 1)[random.integers(3)]
            case 3:
                del content[at : at + int(random.integers(1, 9))]
            case 4:
                content[at:at] = content[at : at + int(random.integers(1, 20))]
    return bytes(content)


def repaired(content):
    """The same PNG with right checksums, so that damage gets past them."""
    at, out = 8, bytearray(content)
    while at + 12 <= len(out):
        length = int.from_bytes(out[at : at + 4], "big")
        if at + 12 + length > len(out):
            break
        out[at + 8 + length : at + 12 + length] = struct.pack(">I", zlib.crc32(out[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(out)


def damaged_pictures():
    random = np.random.default_rng(2024)
    texts = [chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a text")), itxt(b"XML:com.adobe.xmp", XMP_ATTRIBUTE % 6, packed=True)]
    texts += [chunk(b"gAMA", bytes(4)), chunk(b"pHYs", bytes(9)), chunk(b"tRNS", bytes(6))]
    pngs = [png(*texts), png(behind=texts), apng(), encode(picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=30), "PNG")]
    pngs.append(encode(picture("L"), "PNG", exif=tiff(6)))
    jpegs = [jpeg(jpeg_xmp(XMP_ELEMENT % 6), segment(0xED, b"Photoshop 3.0\0008BIM\4\4\0\0\0\0\0\2ab")), jpeg(jpeg_exif(tiff(6)), dpi=(72, 72))]
    jpegs += [jpeg(progressive=True), jpeg(image=picture("CMYK"), icc_profile=b"profile" * 9)]
    webps = [webp(exif=tiff(6)), encode(picture(), "WEBP", quality=70), encode(picture("RGBA"), "WEBP", **animation(quality=70))]
    for kind, sources, count in (("png", pngs, 350), ("jpeg", jpegs, 300), ("webp", webps, 300)):
        for source_index, source in enumerate(sources):
            for i in range(count):
                content = damaged(source, random, 700 if kind == "jpeg" else 200)
                yield f"{kind} {source_index} {i}", repaired(content) if kind == "png" and i % 2 else content


def test_judges_damage_at_random_as_datasets_does(tmp_path):
    cases = [case for case in damaged_pictures()]
    found = [each for begin in range(0, len(cases), 500) for each in verdicts(tmp_path, cases[begin : begin + 500])]
    assert [each[:1] + each[3:5] for each in found if each[1] != each[2]] == []
    assert 0.1 < sum(each[1] for each in found) / len(found) < 0.9, "both happen"
