"""Training and validating on pre-made encodings in the reference's format, and the validation loss itself."""

import json
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from encoded_set import Shapes, npy, random_rows, write_empty, write_set
from helpers import load
from philox import NOISE, POSTERIOR, key_id, normals
from tiny_flux import TINY_MODEL

SHIFT, SCALE = 0.1159, 0.3611
SEED = 5
CONFIG = f"""{TINY_MODEL}axes_dim = [4, 6, 6]
qk_norm_eps = 1.1920929e-7
[encoder]
max_t5_encoding_len = 4
autoencoder_shift = {SHIFT}
autoencoder_scale = {SCALE}
[training]
dataset = "cc12m_preprocessed"
local_batch_size = 4
steps = 6
img_size = 32
seed = {SEED}
mixed_precision_param = "float32"
[optimizer]
lr = 1e-2
[lr_scheduler]
warmup_steps = 0
[checkpoint]
enable = true
interval = 3
[metrics]
log_freq = 1
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def train_set(tmp_path):
    return write_set(tmp_path / "train", random_rows(10), files=3)


def timesteps_of(count):
    return [number % 8 for number in range(count)]


def logged(folder, key):
    return [entry[key] for entry in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if key in entry]


def final_weights(folder, step=6):
    return load(folder / "checkpoint" / f"step-{step:08d}" / "rank-00000.safetensors")


def evaluate(millrace, *arguments):
    return json.loads(millrace("evaluate", *arguments, "--json").stdout)


def test_the_first_loss_is_that_of_the_latents(millrace, config, train_set, tmp_path):
    """An untrained model predicts 0: the loss is the mean square of noise minus latent, which numpy also computes."""
    rows = random_rows(10)
    millrace("train", config, f"--training.dataset_path={train_set}/*", "--training.batch_size=10", "--training.steps=1",
             "--job.dump_folder=run", "--training.shuffle_buffer_size=0")
    expected = []
    for number, row in enumerate(rows):
        sample = key_id(f"{number:09d}")
        mean, logvar = row["mean"].double().numpy(), row["logvar"].double().numpy()
        count = mean.size
        latent = mean + np.exp(logvar / 2) * normals(SEED, POSTERIOR, 0, sample, count).reshape(mean.shape)
        noise = normals(SEED, NOISE, 0, sample, count).reshape(mean.shape)
        expected.append(np.mean((noise - (latent - SHIFT) * SCALE) ** 2))
    assert logged(tmp_path / "run", "loss")[0] == pytest.approx(np.mean(expected), rel=1e-5)


def test_dropped_prompts_take_the_empty_encodings(millrace, config, train_set, tmp_path):
    """Dropping every prompt is training on samples whose text is the empty one."""
    shapes = Shapes()
    empty = {"t5_encodings": torch.zeros(shapes.tokens, shapes.token_width), "clip_encodings": torch.zeros(shapes.pooled_width)}
    blank = write_set(tmp_path / "blank", [row | empty for row in random_rows(10)], files=3)
    millrace("train", config, f"--training.dataset_path={blank}", "--job.dump_folder=blank-run")
    millrace("train", config, f"--training.dataset_path={train_set}", "--job.dump_folder=dropped",
             "--training.classifer_free_guidance_prob=1", f"--encoder.empty_encodings_path={write_empty(tmp_path / 'empty')}")
    millrace("train", config, f"--training.dataset_path={train_set}", "--job.dump_folder=kept")
    blank_weights, dropped, kept = (final_weights(tmp_path / run) for run in ("blank-run", "dropped", "kept"))
    assert all(torch.equal(blank_weights[name], dropped[name]) for name in blank_weights)
    assert any(not torch.equal(kept[name], dropped[name]) for name in kept)
    result = millrace("train", config, f"--training.dataset_path={train_set}", "--training.classifer_free_guidance_prob=0.1",
                      status=2)
    assert "encoder.empty_encodings_path" in result.stderr


def test_resuming_gives_the_same_weights(millrace, config, train_set, tmp_path):
    arguments = (f"--training.dataset_path={train_set}", "--training.classifer_free_guidance_prob=0.5",
                 f"--encoder.empty_encodings_path={write_empty(tmp_path / 'empty')}")
    millrace("train", config, *arguments, "--job.dump_folder=whole")
    millrace("train", config, *arguments, "--job.dump_folder=parts", "--training.steps=3", "--lr_scheduler.decay_ratio=0")
    millrace("train", config, *arguments, "--job.dump_folder=parts", "--lr_scheduler.decay_ratio=0")
    millrace("train", config, *arguments, "--job.dump_folder=whole2", "--lr_scheduler.decay_ratio=0")
    whole, parts = final_weights(tmp_path / "whole2"), final_weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


class TorchtitanValidation:
    """torchtitan's FluxValidator.validate on our samples, with our noise in the place of torch's."""

    def __init__(self, weights, monkeypatch):
        import torchtitan.models.flux.validate as titan
        from torchtitan.models.flux.model.args import FluxModelArgs
        from torchtitan.models.flux.model.model import FluxModel

        self.titan, self.monkeypatch = titan, monkeypatch
        self.model = FluxModel(FluxModelArgs(in_channels=64, out_channels=64, vec_in_dim=16, context_in_dim=16, hidden_size=32,
                                             num_heads=2, depth=1, depth_single_blocks=1, axes_dim=(4, 6, 6)))
        self.model.load_state_dict(weights)

    def loss(self, rows, timesteps, keys, batch):
        latents, noises = [], []
        for row, key in zip(rows, keys):
            shape = tuple(row["mean"].shape)
            draw = {p: torch.from_numpy(normals(SEED, p, 0, key_id(key), row["mean"].numel())).float().view(shape)
                    for p in (NOISE, POSTERIOR)}
            latents.append((row["mean"].float() + torch.exp(row["logvar"].float() / 2) * draw[POSTERIOR] - SHIFT) * SCALE)
            noises.append(draw[NOISE])
        batches, noise_of_batch = [], []
        for begin in range(0, len(rows), batch):
            part = slice(begin, begin + batch)
            batches.append(({"prompt": [""] * len(rows[part]), "timestep": torch.tensor(timesteps[part]) / 8,
                             "img_encodings": torch.stack(latents[part]),
                             "t5_encodings": torch.stack([row["t5_encodings"].float() for row in rows[part]]),
                             "clip_encodings": torch.stack([row["clip_encodings"].float() for row in rows[part]])}, None))
            noise_of_batch.append(torch.stack(noises[part]))
        seen = []
        validator = object.__new__(self.titan.FluxValidator)
        validator.__dict__.update(
            job_config=SimpleNamespace(training=SimpleNamespace(classifier_free_guidance_prob=0.1),
                                       validation=SimpleNamespace(save_img_count=0, steps=-1)),
            parallel_dims=SimpleNamespace(cp_enabled=False, dp_cp_enabled=False),
            all_timesteps=False, validation_dataloader=batches, device=torch.device("cpu"), _dtype=torch.float32,
            autoencoder=None, t5_encoder=None, clip_encoder=None, maybe_enable_amp=torch.autocast("cpu", enabled=False),
            validation_context=lambda _: torch.no_grad(), loss_fn=torch.nn.functional.mse_loss,
            metrics_processor=SimpleNamespace(ntokens_since_last_log=0, log_validation=lambda loss, step: seen.append(loss)))
        with self.monkeypatch.context() as patch:
            patch.setattr(self.titan, "preprocess_data", lambda batch, **_: batch)
            patch.setattr(self.titan.dist_utils, "device_type", "cpu")
            patch.setattr(torch, "randn_like", lambda _: noise_of_batch.pop(0))
            validator.validate([self.model], step=1)
        return seen[0]


def test_the_loss_is_torchtitans(millrace, config, train_set, tmp_path, monkeypatch):
    """The same weights, samples and noise; batches of one timestep each, so that torchtitan's means of batches are those of
    timesteps."""
    rows, steps = random_rows(24, seed=7), timesteps_of(24)
    keys = [f"{1000 + number}" for number in range(24)]
    val = write_set(tmp_path / "val", rows, steps, keys, files=2)
    validation = ("--eval.dataset=coco_preprocessed", f"--eval.dataset_path={val}", "--eval.batch_size=5")
    result = millrace("train", config, f"--training.dataset_path={train_set}", *validation, "--eval.eval_freq=9",
                      "--eval.save_img_folder=img", "--job.dump_folder=run")  # fmt: skip
    assert result.stderr.count("[validation.save_img_folder] has no effect") == 1
    millrace("export", "run", "titan.safetensors", "--naming", "torchtitan")
    ours = evaluate(millrace, "run")
    assert ours["num_samples"] == 24 and ours["step"] == 6
    assert ours["loss"] == logged(tmp_path / "run", "validation_loss")[-1]  # the same program, the same bits
    titan = TorchtitanValidation(load(tmp_path / "titan.safetensors"), monkeypatch)
    for step, loss in enumerate(ours["per_timestep"]):
        mine = [number for number in range(24) if steps[number] == step]
        theirs = titan.loss([rows[n] for n in mine], [step] * len(mine), [keys[n] for n in mine], batch=len(mine))
        assert loss == pytest.approx(theirs, rel=1e-5)
    order = sorted(range(24), key=lambda number: steps[number])
    whole = titan.loss([rows[n] for n in order], [steps[n] for n in order], [keys[n] for n in order], batch=3)
    assert ours["loss"] == pytest.approx(whole, rel=1e-5)


def test_validation_is_the_same_each_time_and_for_any_batch(millrace, config, train_set, tmp_path):
    val = write_set(tmp_path / "val", random_rows(19, seed=3), timesteps_of(19), [str(n) for n in range(19)])
    millrace("train", config, f"--training.dataset_path={train_set}", "--job.dump_folder=run")
    losses = [evaluate(millrace, "run", "--eval.dataset=coco_preprocessed", f"--eval.dataset_path={val}",
                       f"--eval.batch_size={batch}") for batch in (4, 4, 1, 19, 64)]
    assert losses[0] == losses[1]
    for other in losses[2:]:
        assert other["num_samples"] == 19
        assert other["loss"] == pytest.approx(losses[0]["loss"], rel=1e-6)
    earlier = evaluate(millrace, "run/checkpoint/step-00000003", "--eval.dataset=coco_preprocessed", f"--eval.dataset_path={val}")
    assert earlier["step"] == 3 and earlier["loss"] != losses[0]["loss"]


def test_encodings_of_another_model_are_refused(millrace, config, train_set, tmp_path):
    for shapes, said in [(Shapes(tokens=5), "T5 encodings of 4 tokens"), (Shapes(token_width=24), "T5 encodings of width 16"),
                         (Shapes(pooled_width=8), "CLIP encodings of width 16"), (Shapes(side=5), "square latents")]:
        other = write_set(tmp_path / said.replace(" ", "-"), random_rows(3, shapes))
        result = millrace("train", config, f"--training.dataset_path={other}", status=4)
        assert said in result.stderr and "T5 [" in result.stderr
    empty = write_empty(tmp_path / "empty", Shapes(token_width=8))
    result = millrace("train", config, f"--training.dataset_path={train_set}", "--training.classifer_free_guidance_prob=0.1",
                      f"--encoder.empty_encodings_path={empty}", status=4)
    assert "t5_empty.npy] expected shape [4, 16], got [1, 4, 8]" in result.stderr


def test_bad_rows_are_skipped_and_counted_and_bad_sets_refused(millrace, config, tmp_path):
    rows = random_rows(12)
    good = write_set(tmp_path / "good", rows)
    mixed = random_rows(12)
    mixed[3]["mean"] = torch.zeros(16, 2, 8)  # as many numbers, another shape: seen when it is decoded
    mixed[7]["logvar"] = torch.zeros(16, 2, 2)
    folder = write_set(tmp_path / "mixed", mixed)
    arguments = (f"--training.dataset_path={folder}", "--job.dump_folder=run", "--training.steps=3")
    result = millrace("train", config, *arguments, "--training.max_bad_samples=0.5")
    assert "000000003, mean] expected shape [16, 4, 4], got [16, 2, 8]" in result.stderr
    assert "000000007, logvar] expected a .npy of shape [16, 4, 4]" in result.stderr
    assert "bad samples" in millrace("train", config, *arguments, "--job.dump_folder=run2", status=3).stderr

    assert "expected encoded samples" in millrace(
        "train", config, f"--training.dataset_path={write_set(tmp_path / 'none', [])}", status=3).stderr
    file = next(good.glob("*.arrow"))
    whole = file.read_bytes()
    file.write_bytes(whole[:200])
    assert str(file) in millrace("train", config, f"--training.dataset_path={good}", status=3).stderr
    file.write_bytes(b"no arrow file" * 100)
    assert str(file) in millrace("train", config, f"--training.dataset_path={good}", status=3).stderr


def test_a_set_without_a_column_is_refused_by_its_name(millrace, config, train_set, tmp_path):
    rows = datasets.load_from_disk(train_set)
    rows.remove_columns("logvar").save_to_disk(tmp_path / "cut")
    error = millrace("train", config, f"--training.dataset_path={tmp_path / 'cut'}", status=3).stderr
    assert "logvar" in error and str(tmp_path / "cut") in error
    rows.select_columns(["__key__"]).save_to_disk(tmp_path / "keys")
    error = millrace("train", config, f"--training.dataset_path={tmp_path / 'keys'}", status=3).stderr
    assert "(t5_encodings, clip_encodings, mean, logvar), got __key__" in error


def test_timesteps_must_be_there_where_the_set_promises_them(millrace, config, train_set, tmp_path):
    millrace("train", config, f"--training.dataset_path={train_set}", "--job.dump_folder=run", "--training.steps=3")
    rows = random_rows(8)
    for name, steps in {"absent": None, "mixed": [0, 1, 2, None, 4, 5, 6, 7]}.items():
        folder = write_set(tmp_path / name, rows, steps)
        for kind in ("coco_preprocessed",) + (("preprocessed",) if name == "mixed" else ()):
            result = millrace("evaluate", "run", f"--eval.dataset={kind}", f"--eval.dataset_path={folder}", status=3)
            # The first sample is looked at before anything is loaded, all are counted in the end.
            at_once = f"{name}/data-00000-of-00001.arrow: 000000000] expected a timestep of 0 to 7, got none"
            assert (at_once if name == "absent" else f"{name}] expected a timestep of 0 to 7 with every sample") in result.stderr
    assert evaluate(millrace, "run", "--eval.dataset=preprocessed", f"--eval.dataset_path={tmp_path / 'absent'}")["num_samples"] == 8
    every = evaluate(millrace, "run", "--eval.dataset=coco_preprocessed", f"--eval.dataset_path={tmp_path / 'absent'}", "--validation.all_timesteps")
    assert every["num_samples"] == 8  # at all timesteps: samples need none
    result = millrace("evaluate", "run", "--eval.dataset=coco_preprocessed", status=3,
                      *[f"--eval.dataset_path={write_set(tmp_path / 'wrong', rows, [9] + [0] * 7)}"])
    assert "expected a timestep of 0 to 7, got 9" in result.stderr


def test_a_validation_file_that_was_cut_is_refused(millrace, config, tmp_path):
    """Its loss would cover only some of the samples; training continues with the intact ones."""
    whole = write_set(tmp_path / "set", random_rows(40), files=2)
    cut = sorted(whole.glob("*.arrow"))[1]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    train = ["train", config, f"--training.dataset_path={whole}", "--training.max_bad_samples=0.5", "--training.steps=1"]
    millrace(*train, "--job.dump_folder=trained")
    result = millrace(*train, "--validation.enable", "--validation.dataset=cc12m_preprocessed", f"--validation.dataset_path={whole}",
                      "--job.dump_folder=validated", status=3)  # fmt: skip
    assert f"{cut}] expected a whole file" in result.stderr and "step:" not in result.stderr  # at the start


def test_a_folder_that_lacks_files_is_refused(millrace, config, tmp_path):
    whole = write_set(tmp_path / "set", random_rows(10), files=3)
    files = sorted(whole.glob("*.arrow"))
    files[1].unlink()
    train = ["train", config, "--training.steps=1"]
    for path in (whole, f"{whole}/*"):
        assert "expected the file" in millrace(*train, f"--training.dataset_path={path}", status=3).stderr
    millrace(*train, f"--training.dataset_path={whole}/*.arrow", "--job.dump_folder=named")  # what is there, said so
    (whole / "state.json").unlink()
    error = millrace(*train, f"--training.dataset_path={whole}", status=3).stderr
    assert "expected 00003 files named data-*-of-00003.arrow, got none with the number 1" in error


def test_the_dummy_set_needs_no_files(millrace, config, tmp_path):
    millrace("train", config, "--training.dataset=dummy", "--job.dump_folder=run", "--training.steps=2",
             "--encoder.t5_encoder=random", "--encoder.clip_encoder=random", "--encoder.autoencoder_path=none",
             "--model.patch_size=8")
    assert len(logged(tmp_path / "run", "loss")) == 2


def test_subset_size_takes_the_first_samples(millrace, config, train_set, tmp_path):
    """Ten samples in three files: an epoch of five has no others."""
    first = write_set(tmp_path / "first", random_rows(10)[:5])
    for name, arguments in {"subset": (f"--training.dataset_path={train_set}", "--training.subset_size=5"),
                            "first": (f"--training.dataset_path={first}",)}.items():
        millrace("train", config, *arguments, f"--job.dump_folder={name}", "--training.shuffle_buffer_size=0")
    assert logged(tmp_path / "subset", "loss") == logged(tmp_path / "first", "loss")


def test_npy_is_numpys(tmp_path):
    """The writer of these tests is the format of the reference: 128 bytes of header and the bits."""
    assert len(npy(torch.zeros(256, 4096))) == 128 + 2 * 256 * 4096
