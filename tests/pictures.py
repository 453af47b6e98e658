"""What Pillow does to pictures, and the tool that does it here."""

import os
import struct
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace")).parent
IMAGES_TOOL = BUILD / "tests" / "parity" / "millrace_images_tool"


def run_images_tool(*arguments):
    command = [str(IMAGES_TOOL), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"
    return result.stdout


def read_pixels(path):
    """What the tool writes, as [height, width, 3]."""
    content = path.read_bytes()
    width, height = struct.unpack("<ii", content[:8])
    return np.frombuffer(content, np.uint8, offset=8).reshape(height, width, 3)


def resize_rows_first(image, size, filter):
    """Rows, then columns: what Pillow did up to version 12, for every size. Since then it sometimes starts with the
    columns, which moves single grey levels; two calls of one pass each are the same in every version."""
    return image.resize((size[0], image.height), filter).resize(size, filter)
