"""Training and validating on a set of every name that `dataset` can have: written and read back by the libraries that its
users have, the losses computed by numpy from what those libraries read."""

import io
import json
import math
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pytest
import raw_sets
import torch
import webdataset
from encoded_set import random_rows, write_set
from philox import NOISE, POSTERIOR, key_id, normals
from PIL import Image
from pictures import resize_rows_first
from tiny_flux import TINY_MODEL
from torchtitan.models.flux.flux_datasets import DATASETS

datasets.disable_progress_bars()

SIZE, SEED = 16, 5
SHIFT, SCALE = 0.1159, 0.3611
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
# Two steps this small leave the prediction of an untrained model near its 0, whose loss needs no model to compute.
CONFIG = f"""{TINY_MODEL}axes_dim = [4, 6, 6]
[encoder]
max_t5_encoding_len = 4
[training]
steps = 2
seed = {SEED}
shuffle_buffer_size = 0
mixed_precision_param = "float32"
[optimizer]
lr = 1e-6
[lr_scheduler]
warmup_steps = 0
[validation]
freq = 2
local_batch_size = 4
[metrics]
log_freq = 1
[report]
enable = false
"""
PICTURES = ("--encoder.t5_encoder=random", "--encoder.clip_encoder=random", "--encoder.autoencoder_path=none",
            f"--training.img_size={SIZE}", "--model.patch_size=4")  # fmt: skip
ENCODINGS = ("--encoder.t5_encoder=", "--encoder.clip_encoder=", "--encoder.autoencoder_path=", "--training.img_size=32",
             f"--encoder.autoencoder_shift={SHIFT}", f"--encoder.autoencoder_scale={SCALE}")  # fmt: skip


@dataclass
class Sample:
    identity: int  # of its noise
    values: torch.Tensor  # what the model learns to predict: the picture in -1..1, or the latent
    timestep: int | None = None


# Writing ---------------------------------------------------------------------------------------------------------------

COUNT, SMALL = 19, 3


def picture(i: int) -> Image.Image:
    """Mostly of the size that is trained on; one is too small, one too large, one grey."""
    side = {SMALL: SIZE - 4, 5: SIZE + 8}.get(i, SIZE)
    return raw_sets.photo(side, side, i, "L" if i == 7 else "RGB")


def captions(i: int) -> list[str]:
    return [f"picture {i} of a cat", f"a dog, number {i}"]


def timestep(i: int) -> int:
    return 3 * i % 8  # not what counting the samples gives


def write_tars(folder: Path, pattern: str, sample, per_shard: int = 8) -> Path:
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / pattern), maxcount=per_shard, verbose=0) as writer:
        for i in range(COUNT):
            writer.write(sample(i))
    return folder


def write_cc12m_wds(folder: Path, per_shard: int = 8) -> Path:
    """As the hub has pixparse/cc12m-wds."""
    return write_tars(folder, "cc12m-train-%04d.tar", per_shard=per_shard, sample=lambda i: {
        "__key__": f"{i:09d}", "jpg": raw_sets.encode(picture(i)), "txt": captions(i)[0], "json": raw_sets.about(i)})  # fmt: skip


def write_cc12m_test(folder: Path) -> Path:
    """A single shard, as in torchtitan's tests/assets/cc12m_test."""
    return write_cc12m_wds(folder, per_shard=COUNT)


def write_cc12m_disk(folder: Path) -> Path:
    """As clean_cc12m.py leaves it: the column png beside those that the hub's set has."""
    rows = [i for i in range(COUNT) if i != SMALL]
    columns = {
        "jpg": [raw_sets.photo(SIZE + 9, SIZE + 20, 100 + i) for i in rows],
        "json": [{"key": f"{i:09d}", "status": "success", "width": SIZE + 9} for i in rows],
        "txt": [captions(i)[0] for i in rows],
        "__key__": [f"{i:09d}" for i in rows],
        "__url__": ["cc12m-train-0000.tar" for _ in rows],
        "png": [picture(i) for i in rows],
    }
    features = datasets.Features(
        jpg=datasets.Image(),
        json={"key": datasets.Value("string"), "status": datasets.Value("string"), "width": datasets.Value("int64")},
        txt=datasets.Value("string"), __key__=datasets.Value("string"), __url__=datasets.Value("string"), png=datasets.Image(),
    )  # fmt: skip
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(folder, num_shards=3)
    return folder


def write_coco(folder: Path) -> Path:
    """As coco_to_webdataset.py leaves it."""
    return write_tars(folder, "shard_%05d.tar", lambda i: {
        "__key__": f"{i:012d}", "png": raw_sets.encode(picture(i), "PNG"), "txt": captions(i)[0],
        "json": {"id": str(7000 + i), "caption": captions(i)[0], "filename": f"{i}.png", "timestep": timestep(i)}})  # fmt: skip


def write_coco_text(folder: Path, caption=captions) -> Path:
    """As howard-hou/COCO-Text, saved to disk: several captions of a picture, and no keys."""
    kind = datasets.List(datasets.Value("string")) if isinstance(caption(0), list) else datasets.Value("string")
    columns = {
        "image": [picture(i) for i in range(COUNT)],
        "coco_file_name": [f"COCO_train2014_{i:012d}.jpg" for i in range(COUNT)],
        "caption": [caption(i) for i in range(COUNT)],
        "ocr_tokens": [["STOP", "ONE WAY"][: i % 3] for i in range(COUNT)],
    }
    features = datasets.Features(image=datasets.Image(), coco_file_name=datasets.Value("string"), caption=kind,
                                 ocr_tokens=datasets.List(datasets.Value("string")))  # fmt: skip
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(folder, num_shards=2)
    return folder


def write_encodings(folder: Path, timesteps: bool) -> Path:
    return write_set(folder, random_rows(COUNT), [timestep(i) for i in range(COUNT)] if timesteps else None, files=2)


# Reading back ------------------------------------------------------------------------------------------------------------


class Untokenized:
    """In the place of torchtitan's tokenizers: texts as they are."""

    @staticmethod
    def encode(text):
        assert isinstance(text, str)
        return text


def processed(name: str, row: dict) -> torch.Tensor | None:
    """torchtitan's picture of a row, None of one that is too small. Its random crop has no choice: the pictures are square."""
    return DATASETS[name].sample_processor(row, Untokenized, Untokenized, output_size=SIZE)["image"]


def read_cc12m_wds(folder: Path) -> list[Sample]:
    """By torchtitan's own way of loading what it calls cc12m-test: as cc12m-wds, of the tars of a folder."""
    samples = []
    for row in DATASETS["cc12m-test"].loader(str(folder)):
        image = processed("cc12m-test", row)
        if image is not None:
            samples.append(Sample(key_id(Path(row["__url__"]).name + "\0" + row["__key__"]), image))
    return samples


def read_cc12m_disk(folder: Path) -> list[Sample]:
    rows = datasets.load_from_disk(folder)
    return [Sample(key_id(row["__key__"]), processed("cc12m-wds", row | {"jpg": row["png"]})) for row in rows]


def read_coco(folder: Path) -> list[Sample]:
    """No sample is left out: those too small are scaled up."""
    samples = []
    for row in webdataset.WebDataset(sorted(map(str, folder.glob("*.tar"))), shardshuffle=False).decode("pil"):
        image = resize_rows_first(row["png"], (SIZE, SIZE), Image.Resampling.BICUBIC)
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 * 2 - 1
        samples.append(Sample(key_id(Path(row["__url__"]).name + "\0" + row["__key__"]), values, row["json"]["timestep"]))
    return samples


def read_coco_text(folder: Path) -> list[Sample]:
    samples = []
    for file in sorted(folder.glob("*.arrow")):
        for number, row in enumerate(datasets.Dataset.from_file(str(file))):
            image = processed("coco-validation", row)
            if image is not None:
                samples.append(Sample(key_id(f"{file.name}\0{number}"), image))
    return samples


def read_encodings(folder: Path) -> list[Sample]:
    samples = []
    for row in datasets.load_from_disk(folder):
        mean, logvar = (
            torch.from_numpy(np.load(io.BytesIO(row[name])).view(np.int16)).view(torch.bfloat16).double()
            for name in ("mean", "logvar")
        )
        identity = key_id(row["__key__"])
        drawn = torch.from_numpy(normals(SEED, POSTERIOR, 0, identity, mean.numel())).view_as(mean)
        samples.append(Sample(identity, (mean + torch.exp(logvar / 2) * drawn - SHIFT) * SCALE, row["timestep"]))
    return samples


# Every name --------------------------------------------------------------------------------------------------------------


@dataclass
class Source:
    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], list[Sample]]
    arguments: tuple[str, ...] = PICTURES
    training_name: str = ""  # where the name is for validation only


SOURCES = [
    Source("webdataset", write_cc12m_wds, read_cc12m_wds),
    Source("cc12m_wds", write_cc12m_wds, read_cc12m_wds),
    Source("cc12m-wds", write_cc12m_wds, read_cc12m_wds),
    Source("cc12m_wds_30k", write_cc12m_wds, read_cc12m_wds),
    Source("cc12m_test", write_cc12m_test, read_cc12m_wds),
    Source("cc12m-test", write_cc12m_test, read_cc12m_wds),
    Source("cc12m-test-validation", write_cc12m_test, read_cc12m_wds, training_name="cc12m-test"),
    Source("cc12m_disk", write_cc12m_disk, read_cc12m_disk),
    Source("coco", write_coco, read_coco),
    Source("coco-validation", write_coco_text, read_coco_text),
    Source("preprocessed", partial(write_encodings, timesteps=False), read_encodings, ENCODINGS),
    Source("cc12m_preprocessed", partial(write_encodings, timesteps=False), read_encodings, ENCODINGS),
    Source("coco_preprocessed", partial(write_encodings, timesteps=True), read_encodings, ENCODINGS),
]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def entries(folder: Path, key: str) -> list[dict]:
    return [entry for entry in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if key in entry]


def loss_of(sample: Sample) -> float:
    noise = normals(SEED, NOISE, 0, sample.identity, sample.values.numel()).reshape(sample.values.shape)
    return float(np.mean((noise - sample.values.double().numpy()) ** 2))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_trains_and_validates_on(millrace, config, tmp_path, source):
    """On the pictures that the set's own library reads, each once, at the timesteps that they carry."""
    folder = source.write(tmp_path / "set")
    samples = source.read(folder)
    assert len(samples) in (COUNT - 1, COUNT)
    millrace(
        "train", config, *source.arguments, f"--training.dataset={source.training_name or source.name}",
        f"--training.dataset_path={folder}", f"--training.local_batch_size={len(samples)}", "--job.dump_folder=run",
        f"--eval.dataset={source.name}", f"--eval.dataset_path={folder}", env=QUIET,
    )  # fmt: skip
    steps = entries(tmp_path / "run", "grad_norm")
    assert [entry["samples"] for entry in steps] == [len(samples), 2 * len(samples)]
    assert all(math.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in steps)
    assert steps[0]["loss"] == pytest.approx(np.mean([loss_of(sample) for sample in samples]), rel=1e-5)

    (validation,) = entries(tmp_path / "run", "validation_loss")
    assert validation["validation_samples"] == len(samples)
    by_timestep = [[] for _ in range(8)]
    for number, sample in enumerate(samples):
        by_timestep[number % 8 if sample.timestep is None else sample.timestep].append(loss_of(sample))
    expected = [np.mean(losses) for losses in by_timestep]
    assert validation["validation_loss_per_timestep"] == pytest.approx(expected, rel=1e-3)  # after two steps
    assert validation["validation_loss"] == pytest.approx(np.mean(expected), rel=1e-3)


def test_trains_and_validates_on_noise(millrace, config, tmp_path):
    """The name without a set: 128 pictures of uniform noise, whose mean square is 1/3 before it is scaled down."""
    arguments = [argument for argument in PICTURES if "img_size" not in argument]
    millrace("train", config, *arguments, "--training.img_size=256", "--model.patch_size=32", "--training.dataset=dummy",
             "--training.local_batch_size=8", "--eval.dataset=dummy", "--job.dump_folder=run", env=QUIET)  # fmt: skip
    assert [entry["loss"] for entry in entries(tmp_path / "run", "grad_norm")] == pytest.approx([4 / 3, 4 / 3], rel=0.01)
    (validation,) = entries(tmp_path / "run", "validation_loss")
    assert validation["validation_samples"] == 128
    assert validation["validation_loss_per_timestep"] == pytest.approx([4 / 3] * 8, rel=0.01)


def test_every_name_is_tried_here(millrace, config):
    for section, names in {"training": {source.training_name or source.name for source in SOURCES},
                           "validation": {source.name for source in SOURCES} | {""}}.items():  # fmt: skip
        said = millrace("train", config, f"--{section}.dataset=none_of_them", status=2).stderr
        listed = said.split("expected one of ")[1].split(", got ")[0]
        assert {name.strip('"') for name in listed.split(", ")} == names | {"dummy", "pictures"}  # test_flux_lora_pictures.py


def test_the_first_of_several_captions_counts(millrace, config, tmp_path):
    """COCO-Text has lists of them. A trained model's loss depends on the caption, so that equal losses mean equal captions."""
    sets = {
        "lists": write_coco_text(tmp_path / "lists"),
        "first": write_coco_text(tmp_path / "first", lambda i: captions(i)[0]),
        "second": write_coco_text(tmp_path / "second", lambda i: captions(i)[1]),
    }
    millrace("train", config, *PICTURES, "--training.dataset=coco-validation", f"--training.dataset_path={sets['first']}",
             "--optimizer.lr=1e-2", "--training.steps=4", "--checkpoint.enable", "--job.dump_folder=run", env=QUIET)  # fmt: skip
    losses = {}
    for name, folder in sets.items():
        said = millrace("evaluate", "run", "--eval.dataset=coco-validation", f"--eval.dataset_path={folder}", "--json", env=QUIET)
        losses[name] = json.loads(said.stdout)["per_timestep"]
    assert losses["first"] != losses["second"]
    assert losses["lists"] == losses["first"]


def test_30k_is_the_first_30000(millrace, config, tmp_path):
    """Of 30,003, counted by a validation."""
    with tarfile.open(tmp_path / "cc12m-train-0000.tar", "w") as tar:
        content = raw_sets.encode(raw_sets.photo(4, 4, 1), "PNG")
        for i in range(30_003):
            raw_sets.add(tar, f"{i:09d}.png", content)
            raw_sets.add(tar, f"{i:09d}.txt", b"a cat")
    millrace("train", config, *PICTURES, "--training.img_size=4", "--training.steps=1", "--encoder.max_t5_encoding_len=1",
             "--training.dataset=cc12m_wds_30k", f"--training.dataset_path={tmp_path}", "--eval.dataset=cc12m_wds_30k",
             f"--eval.dataset_path={tmp_path}", "--eval.batch_size=1000", "--job.dump_folder=run", env=QUIET)  # fmt: skip
    (validation,) = entries(tmp_path / "run", "validation_loss")
    assert validation["validation_samples"] == 30_000
