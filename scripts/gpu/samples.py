"""Pictures with captions in a tar file, and texts, made of nothing but Python."""

import io
import json
import random
import struct
import tarfile
import zlib


def png(side, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)  # 8 bits, RGB
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def write_samples(folder, side, count):
    """The same bytes for the same arguments. Does nothing if the folder exists."""
    if folder.exists():
        return
    numbers = random.Random(1)
    folder.mkdir()
    with tarfile.open(folder / "samples-0.tar", "w") as tar:
        for i in range(count):
            rows = b"".join(b"\0" + numbers.randbytes(3 * side) for _ in range(side))
            for suffix, data in [("png", png(side, rows)), ("txt", f"picture number {i}".encode())]:
                member = tarfile.TarInfo(f"{i:06d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_texts(path, count, words):
    """Rows {"text": ...} of random words; the same for the same arguments. Does nothing if the file exists."""
    if path.exists():
        return
    numbers = random.Random(2)
    vocabulary = ["".join(numbers.choices("abcdefghijklmnoprstuvw", k=numbers.randint(2, 9))) for _ in range(500)]
    rows = [{"text": " ".join(numbers.choices(vocabulary, k=words))} for _ in range(count)]
    path.write_text(json.dumps(rows))
