"""Encoding a data set side by side: this program, and transformers + diffusers + datasets.

    .venv/bin/python benchmarks/side_by_side/encode_dataset/run.py --rounds 5

Random weights of CLIP-L's text model, FLUX's autoencoder and a T5 v1.1 (base by default), pictures of 256 x 256 in PNG.
Both run in separate processes and take turns, batch by batch, each part of the work first, then the whole: read,
decode, tokenize, encode, round to bfloat16, write Arrow. Prints Markdown tables: medians of wall and CPU seconds per
sample, and peak memory.

What both write is compared first: a fast way to another result would be no measurement.
"""

import argparse
import io
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests"))
PARTS = ["t5", "clip", "autoencoder", "whole"]
T5_SIZES = {
    "small": dict(d_model=512, d_ff=1024, num_layers=8, num_heads=6),
    "base": dict(d_model=768, d_ff=2048, num_layers=12, num_heads=12),
    "large": dict(d_model=1024, d_ff=2816, num_layers=24, num_heads=16),
    "xxl": dict(d_model=4096, d_ff=10240, num_layers=24, num_heads=64),
}


def t5_sizes(options):
    layers = {"num_layers": options.t5_layers} if options.t5_layers else {}
    return T5_SIZES[options.t5] | layers


def prepare(folder, options):
    import numpy
    import torch
    from diffusers import AutoencoderKL
    from PIL import Image
    from tiny_encoders import WORDS, write_clip_tokenizer, write_t5_tokenizer
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, options.dtype))
    t5 = T5Config(vocab_size=32128, d_kv=64, feed_forward_proj="gated-gelu", **t5_sizes(options))
    T5EncoderModel(t5).save_pretrained(folder / "t5")
    write_t5_tokenizer(folder / "t5")
    clip = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                          bos_token_id=0, pad_token_id=1, eos_token_id=2)  # fmt: skip
    CLIPTextModel(clip).save_pretrained(folder / "clip")
    write_clip_tokenizer(folder / "clip")
    AutoencoderKL(
        block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=16, norm_num_groups=32,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, use_quant_conv=False,
        use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159,
    ).save_pretrained(folder / "ae")  # fmt: skip
    with tarfile.open(folder / "data.tar", "w") as tar:
        for i in range(4 * options.batch):
            noise = numpy.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=numpy.uint8)
            picture = io.BytesIO()
            Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC).save(picture, format="PNG")
            text = " ".join(random.Random(i).choices(WORDS, k=12))
            for extension, content in (("png", picture.getvalue()), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{i:06d}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (folder / "config.toml").write_text(f"""
[model]
flavor = "flux-debug"
context_in_dim = {T5_SIZES[options.t5]["d_model"]}
[encoder]
t5_encoder = "{folder / 't5'}"
clip_encoder = "{folder / 'clip'}"
autoencoder_path = "{folder / 'ae'}"
max_t5_encoding_len = 256
[training]
dataset_path = "{folder / 'data.tar'}"
batch_size = {options.batch}
img_size = 256
device = "cpu"
mixed_precision_param = "{options.dtype}"
""")


class Worker:
    def __init__(self, name, command):
        self.name, self.wall, self.cpu, self.peak = name, {part: [] for part in PARTS}, {part: [] for part in PARTS}, 0
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):  # a library's own words
            line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: ended with status {self.process.wait()}")
        return json.loads(line)

    def step(self, part, counted=True):
        self.process.stdin.write(part + "\n")
        self.process.stdin.flush()
        answer = self.read()
        self.peak = answer["peak"]
        if counted:
            self.wall[part].append(answer["seconds"])
            self.cpu[part].append(answer["cpu"])


def check_equal(folder, dtype):
    """Both have written the same samples."""
    import datasets
    import numpy
    import torch

    ours, theirs = (datasets.Dataset.from_file(str(folder / name)) for name in ("millrace.arrow", "peer.arrow"))
    assert ours["__key__"][:] == theirs["__key__"][:]
    for name in ("t5_encodings", "clip_encodings", "mean", "logvar"):
        values = [[torch.from_numpy(numpy.load(io.BytesIO(cell)).view(numpy.int16)).view(torch.bfloat16).float() for cell in rows[name]] for rows in (ours, theirs)]
        for got, expected in zip(*values):
            error = ((got - expected).norm() / expected.norm()).item()
            assert error < (1e-3 if dtype == "float32" else 3e-2), f"{name}: relative difference {error}: not the same computation"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--t5", choices=T5_SIZES, default="base")
    parser.add_argument("--t5-layers", type=int, default=0, help="fewer than it has, where both do not fit in memory")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        prepare(folder, options)
        workers = [
            Worker("transformers + diffusers", [sys.executable, HERE / "worker.py", folder / "config.toml", folder / "peer.arrow"]),
            Worker("millrace", [ROOT / "build/benchmarks/encode_dataset_worker", folder / "config.toml", folder / "millrace.arrow"]),
        ]
        for worker in workers:
            worker.step("whole", counted=False)
        check_equal(folder, options.dtype)
        for part in PARTS:
            for _ in range(options.rounds):
                for worker in workers:
                    worker.step(part)
    peer, ours = workers
    print(f"T5 v1.1 {options.t5}, {t5_sizes(options)['num_layers']} layers, {options.dtype}, batch {options.batch}, medians of {options.rounds}\n")
    print("| seconds per sample | transformers + diffusers | millrace | ratio | of CPU time: peer | millrace | ratio |")
    print("|---|---|---|---|---|---|---|")
    for part in PARTS:
        wall = [statistics.median(worker.wall[part]) / options.batch for worker in (peer, ours)]
        cpu = [statistics.median(worker.cpu[part]) / options.batch for worker in (peer, ours)]
        print(f"| {part} | {wall[0]:.3f} | {wall[1]:.3f} | {wall[0] / wall[1]:.2f} | {cpu[0]:.3f} | {cpu[1]:.3f} | {cpu[0] / cpu[1]:.2f} |")
    print(f"\npeak memory: {peer.peak / 2**30:.2f} GiB and {ours.peak / 2**30:.2f} GiB, ratio {ours.peak / peer.peak:.2f}")
    for worker in workers:
        worker.process.kill()


if __name__ == "__main__":
    main()
