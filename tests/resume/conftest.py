"""A run small enough to be killed many times: a two-block FLUX on random pictures, on pixels, with random encoders."""

import io
import tarfile
from pathlib import Path

import numpy
import pytest
from PIL import Image
from resume.runs import LAST_STEP

CONFIG = """
[job]
dump_folder = "{folder}"

[model]
name = "flux"
flavor = "flux-debug"
hidden_size = 64
num_heads = 2
depth = 1
depth_single_blocks = 1
context_in_dim = 32
vec_in_dim = 32
patch_size = 4

[encoder]
t5_encoder = "random"
clip_encoder = "random"
max_t5_encoding_len = 4
autoencoder_path = "none"

[training]
dataset = "webdataset"
dataset_path = "{pictures}"
img_size = 16
local_batch_size = 3
steps = {steps}
max_norm = 1.0
classifier_free_guidance_prob = 0.2
shuffle_buffer_size = 11
seed = 3
mixed_precision_param = "float32"

[optimizer]
lr = 1e-3
ema_decay = 0.9

[lr_scheduler]
warmup_steps = 7
decay_type = "cosine"

[checkpoint]
enable = true
interval = 10
keep_latest_k = 2
async_mode = "async"

[metrics]
log_freq = 1
"""


def picture(generator):
    content = io.BytesIO()
    pixels = generator.integers(0, 256, size=(20, 23, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A WebDataset of 47 samples in two shards of unequal size: no batch, buffer or epoch ends where another does."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = numpy.random.default_rng(4)
    for shard, samples in enumerate([range(0, 30), range(30, 47)]):
        with tarfile.open(folder / f"shard-{shard:05}.tar", "w") as archive:
            for sample in samples:
                members = {"png": picture(generator), "txt": f"noise number {sample}".encode()}
                for extension, content in members.items():
                    member = tarfile.TarInfo(f"{sample:05}.{extension}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder


@pytest.fixture(scope="session")
def write_config(pictures):
    """write_config(folder): a configuration whose run lives in that folder. Returns the file's path."""

    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.in.toml"
        path.write_text(CONFIG.format(folder=folder / "run", pictures=pictures, steps=LAST_STEP))
        return path

    return write
