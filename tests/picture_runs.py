"""A tiny FLUX to train LoRA on, data sets of pictures in folders for it, and what a run of it leaves."""

import json
import struct
import subprocess
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TINY, LAPTOP = ROOT / "configs" / "tiny.toml", ROOT / "configs" / "flux_dev_lora_laptop.toml"
SIZES = [(40, 24), (24, 40), (32, 32), (33, 30), (64, 16)]


@pytest.fixture(scope="session")
def make_base(program, emoji_set, tmp_path_factory):
    """make_base("--encoder.autoencoder_path=random"): weights of a tiny FLUX for these options, made once."""
    made = {}

    def make(*options, size=16):
        if options not in made:
            folder = tmp_path_factory.mktemp("base")
            for command in (
                ["train", TINY, f"--job.dump_folder={folder / 'run'}", f"--training.dataset_path={emoji_set(8, size)}",
                 "--model.guidance_embed", "--training.steps=4", "--sample.every_steps=0", *options],
                ["export", folder / "run", folder / "base.safetensors"],
            ):  # fmt: skip
                subprocess.run([program, *map(str, command)], check=True, capture_output=True, timeout=300)
            made[options] = folder / "base.safetensors"
        return made[options]

    return make


@pytest.fixture(scope="session")
def base(make_base):
    return make_base()


@pytest.fixture
def folder(tmp_path):
    """folder("cat", 5): a folder of so many pictures of different sizes, with captions."""

    def make(name, count, caption="picture {}", mode="RGB", sizes=SIZES):
        path = tmp_path / name
        path.mkdir(parents=True)
        for i in range(count):
            picture(path / f"{i:03d}.png", sizes[i % len(sizes)], i, mode)
            if caption is not None:
                (path / f"{i:03d}.txt").write_text(caption.format(i))
        return path

    return make


def picture(path, size, number, mode="RGB"):
    """Blobs whose colours the number decides."""
    image = Image.new("RGB", (4, 3))
    image.putdata([((17 * number + 41 * i) % 256, (89 * number + 13 * i) % 256, (7 * number + 101 * i) % 256) for i in range(12)])
    image.resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)


def dataset(path, *subsets, general="", resolution=32, batch_size=4):
    """A data set file of one data set."""
    text = f'[general]\ncaption_extension = ".txt"\n{general}\n[[datasets]]\nresolution = {resolution}\n'
    if batch_size:
        text += f"batch_size = {batch_size}\n"
    text += "enable_bucket = true\nbucket_reso_steps = 16\nmin_bucket_reso = 16\nmax_bucket_reso = 64\n"
    for subset in subsets:
        text += "[[datasets.subsets]]\n" + subset + "\n"
    path.write_text(text)
    return path


def subset_of(folder, *options):
    return "\n".join([f'image_dir = "{folder}"', *options])


@pytest.fixture
def train(millrace, base, tmp_path):
    """train(data, "--section.key=value", ..., run="name"): a run on the data set; returns its folder."""

    def run(data, *overrides, run="run", status=0, weights=base):
        output = tmp_path / run
        result = millrace("train", LAPTOP, f"--job.dump_folder={output}", "--training.dataset=pictures",
                          f"--training.dataset_path={data}", f"--checkpoint.initial_load_path={weights}", "--report.no_enable",
                          *overrides, status=status)  # fmt: skip
        output.with_suffix(".stderr").write_text(result.stderr)
        return output if status == 0 else result

    return run


def curve(folder, key="loss"):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def metadata(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))["__metadata__"]


def log(folder):
    return (folder / "log.txt").read_text()


def said(folder):
    """What a run of train() said, also before it had a log."""
    return folder.with_suffix(".stderr").read_text()


SHORT = ["--training.steps=4", "--checkpoint.no_enable"]
STILL = [*SHORT, "--optimizer.lr=0"]  # the loss of each step is the base's
CODED = ["--encoder.autoencoder_path=random", "--training.img_size=32"]


@pytest.fixture(scope="session")
def coded(make_base):
    """Weights of a FLUX on the latents of an autoencoder."""
    return make_base(*CODED, size=32)
