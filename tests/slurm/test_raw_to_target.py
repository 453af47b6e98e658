"""The whole way of the MLPerf benchmark in small: raw pictures in, an accepted log and pictures out, on two nodes.

Emoji stand for CC12M and COCO, in the files that their publishers have; T5, CLIP and the autoencoder have random weights.
"""

import json
import subprocess
import tarfile

import datasets
import numpy
import pytest
import torch
import webdataset
from mlperf_log import checker, events
from PIL import Image
from raw_sets import add, encode
from rank_processes import quiet_environment
from slurm.jobs import ROOT, Job
from tiny_encoders import make_autoencoder, make_clip, make_t5

pytestmark = pytest.mark.slow

TRAINED, VALIDATED, TIMESTEPS = 48, 32, 8
BROKEN, SMALL = (5, 11), 20  # of the raw samples
CONFIG = "flux_schnell_mlperf_preprocessed.toml"
RUN_SUB = ROOT / "scripts" / "slurm" / "run.sub"
RULESET = "6.1.0"

# FLUX small enough for a test; all else is the benchmark's.
SIZES = [
    "--model.hidden_size=128", "--model.num_heads=2", "--model.depth=1", "--model.depth_single_blocks=1",
    "--model.context_in_dim=16", "--model.vec_in_dim=16", "--model.patch_size=4", "--encoder.max_t5_encoding_len=16",
    "--training.mixed_precision_param=float32", "--training.device=cpu",
]  # fmt: skip
RUN = [
    "--training.steps=160", "--training.local_batch_size=8", "--validation.local_batch_size=8", "--optimizer.lr=3e-3",
    f"--mlperf.train_samples={TRAINED}", f"--mlperf.eval_samples={VALIDATED}", f"--mlperf.ruleset={RULESET}",
    "--mlperf.submission_org=Millrace Tests", "--mlperf.submission_platform=two cores",
]  # fmt: skip


def emoji(folder, program, count):
    """[(picture of 288 x 288, caption)]"""
    command = [program, "prepare", "emoji", "--output", folder, "--size", "288", "--count", str(count)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    return list(webdataset.WebDataset(shards, shardshuffle=False).decode("pilrgb").to_tuple("png", "txt"))


def write_cc12m(folder, samples):
    """Shards as pixparse/cc12m-wds has them, in three forms that cannot be used and in many that can."""
    folder.mkdir(parents=True)
    for begin in range(0, len(samples), 20):
        with tarfile.open(folder / f"cc12m-train-{begin // 20:04}.tar", "w") as tar:
            for i, (image, caption) in enumerate(samples[begin : begin + 20], begin):
                wide = image.resize((288 + 16 * (i % 4), 288))
                content = encode(image.resize((200, 300)) if i == SMALL else wide.convert("L") if i % 13 == 12 else wide, quality=92)
                content = {BROKEN[0]: content[:900], BROKEN[1]: b"<html>gone</html>"}.get(i, content)
                about = {"key": f"{i:09}", "status": "success", "width": wide.width, "height": wide.height}
                for extension, part in (("jpg", content), ("json", json.dumps(about).encode()), ("txt", caption.encode())):
                    add(tar, f"{i:09}.{extension}", part)


def write_coco(folder, samples):
    """val2014 and captions_val2014.json: three captions of each picture, of which one is taken."""
    (folder / "val2014").mkdir(parents=True)
    annotations = []
    for i, (image, caption) in enumerate(samples):
        (folder / "val2014" / f"COCO_val2014_{100 + 7 * i:012}.jpg").write_bytes(encode(image.resize((320, 240)), quality=92))
        annotations += [{"image_id": 100 + 7 * i, "id": 1000 * k + i, "caption": f"{caption}{' ' * k}\n"} for k in range(3)]
    (folder / "captions_val2014.json").write_text(json.dumps({"annotations": annotations}))


def write_encoders(folder, images):
    """The encoders that MODELROOT holds. The autoencoder's latents have the spread that FLUX's scale makes one, as trained ones."""
    make_t5(folder / "t5", d_model=16)
    make_clip(folder / "clip")
    autoencoder = make_autoencoder(folder / "autoencoder", channels=(32, 32, 32, 32), latent_channels=4)
    pixels = torch.stack([torch.from_numpy(numpy.asarray(image.resize((256, 256))).copy()) for image in images])
    with torch.no_grad():
        mean, _ = autoencoder.encoder(pixels.permute(0, 3, 1, 2) / 127.5 - 1).chunk(2, dim=1)
        last = autoencoder.encoder.conv_out
        scale = 0.25 / (0.3611 * mean.std(dim=(0, 2, 3)))
        last.weight[:4] *= scale[:, None, None, None]
        last.bias[:4] = (last.bias[:4] - mean.mean(dim=(0, 2, 3))) * scale + 0.1159
        last.weight[4:] = 0
        last.bias[4:] = -8  # logvar
    autoencoder.save_pretrained(folder / "autoencoder")


class Place:
    """The folders of the recipe, with what the publishers provide in them."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        self.data, self.models, self.raw = folder / "data", folder / "models", folder / "raw"
        samples = emoji(folder / "emoji", program, TRAINED + 4)
        write_cc12m(self.raw / "cc12m-wds", samples)
        write_coco(self.raw / "coco", samples[:VALIDATED])
        write_encoders(self.models, [image for image, _ in samples[:8]])
        self.encoders = [f"--encoder.{name}_encoder={self.models / name}" for name in ("t5", "clip")]
        self.encoders.append(f"--encoder.autoencoder_path={self.models / 'autoencoder'}")

    def millrace(self, *arguments):
        """Runs the program; returns its stdout."""
        command = [str(self.program), *map(str, arguments)]
        result = subprocess.run(command, cwd=self.folder, env=quiet_environment(), capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
        return result.stdout


@pytest.fixture(scope="module")
def place(program, tmp_path_factory):
    return Place(tmp_path_factory.mktemp("recipe"), program)


def test_from_raw_pictures_to_an_accepted_log(place, nodes, program):
    # The sets.
    prepare = lambda *arguments: place.millrace("prepare", *arguments)  # noqa: E731
    assert "2 of 52 samples" in prepare("find-problematic", "--input_dir", place.raw / "cc12m-wds", "--output_file", "problematic_indices.txt")
    assert (place.folder / "problematic_indices.txt").read_text() == "5\n11\n"
    prepare("clean", "--input_dir", place.raw / "cc12m-wds", "--output_dir", place.data / "cc12m_disk", "--filter_file",
            "problematic_indices.txt", "--subset_size", TRAINED)  # fmt: skip
    assert len(datasets.load_from_disk(place.data / "cc12m_disk")) == TRAINED
    prepare("coco", "--input-images-dir", place.raw / "coco" / "val2014", "--input-captions-file", place.raw / "coco" / "captions_val2014.json",
            "--output-dir", place.data / "coco", "--output-tsv-file", place.data / "val2014_30k.tsv", "--num-samples", VALIDATED,
            "--samples-per-shard", 10)  # fmt: skip

    # Their encodings.
    config = ROOT / "configs" / CONFIG
    for source, target in (("cc12m_disk", "cc12m_preprocessed"), ("coco", "coco_preprocessed")):
        options = [f"--training.dataset={source}", f"--training.dataset_path={place.data / source}", "--eval.dataset=", "--training.batch_size=8"]
        prepare("encode", config, "--output", place.data / target, "--rows-per-file=10", *SIZES, *place.encoders, *options)
    prepare("empty-encodings", config, "--output", place.data / "empty_encodings", *SIZES, *place.encoders)
    validation = datasets.load_from_disk(place.data / "coco_preprocessed")
    assert sorted(validation["timestep"]) == sorted(i % TIMESTEPS for i in range(VALIDATED))

    # Training on two nodes until the target is reached.
    run = place.folder / "run"
    environment = {
        "MILLRACE": str(program), "CONFIG_FILE": str(config), "DATAROOT": str(place.data), "LOGDIR": str(run), "NGPU": "1", "SEED": "3",
        "STEP_WAIT": "5", "ENABLE_CHECKPOINTING": "True", "ENABLE_TB": "True",
    }  # fmt: skip
    command = ("sbatch", "--parsable", "-N", "2", "-t", "10", RUN_SUB, *SIZES, *RUN)  # encodings alone: it names no encoders
    job = Job(nodes, nodes.command(*command, environment=environment, cwd=place.folder), run)
    output = job.wait_for_end()
    assert "rank 0 of 2 (slurm, host n1), dp_replicate 2 x dp_shard 1" in output
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    reached = [entry["validation_loss"] for entry in metrics if "validation_loss" in entry][-1]
    assert reached <= 0.586 < metrics[0]["loss"]

    # The log, before MLCommons' checker.
    log = run / "mlperf_compliance.log"
    logged = events(log.read_text())
    assert (logged[-1]["key"], logged[-1]["metadata"]["status"]) == ("run_stop", "success")
    assert [event["value"] for event in logged if event["key"] == "eval_accuracy"][-1] == reached
    accepted, said = checker(log, RULESET, "--werror")
    assert accepted, said

    # What the checkpoint is worth, and what it draws.
    evaluation = json.loads(place.millrace("evaluate", run, "--json"))  # on one rank
    assert (evaluation["loss"], evaluation["num_samples"]) == (pytest.approx(reached, rel=1e-5), VALIDATED)
    (place.folder / "prompts.txt").write_text("grinning face\nred apple\n")
    place.millrace("sample", run, "--prompts-file", "prompts.txt", "--steps", 8, "--output", "pictures", *place.encoders)
    pictures = [Image.open(path) for path in sorted((place.folder / "pictures").glob("*.png"))]
    assert sorted(image.size for image in pictures)[:2] == [(256, 256)] * 2
