"""`millrace prepare encode` and `empty-encodings`: against transformers and diffusers, on ranks, killed, refused."""

import copy
import io
import json
import resource
import shutil
import signal
import subprocess
import tarfile
import time

import datasets
import numpy
import pytest
import raw_sets
import torch
from PIL import Image
from rank_processes import quiet_environment
from tiny_encoders import bfloat16_units, make_autoencoder, make_clip, make_t5
from transformers import CLIPTokenizer, T5Tokenizer

SIZE, TOKENS, SAMPLES = 32, 24, 23
COLUMNS = ["__key__", "t5_encodings", "clip_encodings", "mean", "logvar", "timestep"]


def caption(i):
    # One that is cut at TOKENS tokens, and some that come twice.
    return "a photo of a large red cat under the tree " * 3 if i == 5 else f"{['a', 'two', 'three'][i % 3]} red apple {i // 2}"


def picture(i):
    values = numpy.random.default_rng(i).integers(0, 256, (SIZE, SIZE, 3), dtype=numpy.uint8)
    return Image.fromarray(numpy.asarray(Image.fromarray(values).resize((4, 4)).resize((SIZE, SIZE))))


def png(i):
    return raw_sets.encode(picture(i), "PNG")


def write_coco(folder, pictures=png, count=SAMPLES):
    """Shards of 10, as `prepare coco` writes them."""
    folder.mkdir()
    for begin in range(0, count, 10):
        with tarfile.open(folder / f"shard_{begin // 10:05d}.tar", "w") as tar:
            for i in range(begin, min(count, begin + 10)):
                meta = {"id": str(7000 + i), "caption": caption(i), "timestep": i % 8}
                for extension, content in (("png", pictures(i)), ("txt", caption(i).encode()), ("json", json.dumps(meta).encode())):
                    raw_sets.add(tar, f"{i:012d}.{extension}", content)
    return folder


def write_disk(folder):
    """As clean_cc12m.py leaves CC12M."""
    rows = {"__key__": [f"{i:09d}" for i in range(SAMPLES)], "png": [picture(i) for i in range(SAMPLES)],
            "txt": [caption(i) for i in range(SAMPLES)]}  # fmt: skip
    datasets.Dataset.from_dict(rows).cast_column("png", datasets.Image()).save_to_disk(folder)
    return folder


class Setting:
    def __init__(self, folder):
        self.folder = folder
        self.t5, self.clip = make_t5(folder / "t5"), make_clip(folder / "clip")
        self.autoencoder = make_autoencoder(folder / "ae")
        make_t5(folder / "other_t5", seed=1)
        self.coco, self.disk = write_coco(folder / "coco"), write_disk(folder / "cc12m_disk")
        self.config = folder / "config.toml"
        self.config.write_text(f"""
[model]
flavor = "flux-debug"
context_in_dim = 24
vec_in_dim = 16
[encoder]
t5_encoder = "{folder / 't5'}"
clip_encoder = "{folder / 'clip'}"
autoencoder_path = "{folder / 'ae'}"
max_t5_encoding_len = {TOKENS}
[training]
dataset = "coco"
dataset_path = "{self.coco}"
img_size = {SIZE}
batch_size = 3
device = "cpu"
mixed_precision_param = "float32"
num_workers = 2
""")

    def expected(self):
        """What the peers make of the samples, in float64: on smooth pictures their float32 errs by 3e-5, ours by 2e-6."""
        t5, clip, autoencoder = (copy.deepcopy(module).double() for module in (self.t5, self.clip, self.autoencoder))
        t5_ids = T5Tokenizer.from_pretrained(self.folder / "t5", extra_ids=0)(
            [caption(i) for i in range(SAMPLES)], max_length=TOKENS, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        clip_ids = CLIPTokenizer.from_pretrained(self.folder / "clip")(
            [caption(i) for i in range(SAMPLES)], max_length=77, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        pictures = torch.stack([torch.from_numpy(numpy.asarray(picture(i)).copy()) for i in range(SAMPLES)])
        pictures = pictures.permute(0, 3, 1, 2).double() / 255 * 2 - 1
        with torch.no_grad():
            mean, logvar = autoencoder.encoder(pictures).chunk(2, dim=1)
            encodings = {"t5_encodings": t5(input_ids=t5_ids).last_hidden_state, "clip_encodings": clip(input_ids=clip_ids).pooler_output,
                         "mean": mean, "logvar": logvar}  # fmt: skip
        return {name: tensor.float() for name, tensor in encodings.items()}


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return Setting(tmp_path_factory.mktemp("encode"))


@pytest.fixture
def encode(millrace, setting):
    def run(output, *options, **keywords):
        return millrace("prepare", "encode", setting.config, "--output", output, *options, env={"OMP_NUM_THREADS": 1}, **keywords)

    return run


@pytest.fixture(scope="module")
def whole(program, setting, tmp_path_factory):
    """A finished folder of six files."""
    folder = tmp_path_factory.mktemp("whole") / "set"
    command = [program, "prepare", "encode", setting.config, "--output", folder, "--rows-per-file=4"]
    subprocess.run(command, check=True, timeout=300, env=quiet_environment(), capture_output=True)
    return folder


def blob(cell):
    """A .npy version 1 of uint16: the bits of bfloat16."""
    assert cell[:8] == b"\x93NUMPY\x01\x00"
    array = numpy.load(io.BytesIO(cell))
    assert array.dtype == numpy.uint16
    buffer = io.BytesIO()
    numpy.save(buffer, array)
    assert buffer.getvalue() == cell  # byte for byte what numpy writes
    return torch.from_numpy(array.view(numpy.int16).copy()).view(torch.bfloat16)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_rounded(got, exact):
    """bfloat16's rounding of the peer's numbers: half a unit, and the 1e-5 by which two float32 networks differ."""
    assert ((got.float() - exact).abs() <= 0.5 * bfloat16_units(exact) + 1e-5 * exact.abs().max()).all()


def check_columns(folder, expected, keys, timesteps):
    rows = datasets.load_from_disk(folder)
    assert rows.column_names == COLUMNS
    assert [str(rows.features[name].dtype) for name in COLUMNS] == ["string", "binary", "binary", "binary", "binary", "int32"]
    assert rows["__key__"][:] == keys and rows["timestep"][:] == timesteps
    for name, exact in expected.items():
        got = torch.stack([blob(cell) for cell in rows[name]])
        assert got.shape == exact.shape
        assert_rounded(got, exact)
        assert (got == exact.bfloat16()).float().mean() > 0.99, name


def test_every_column_is_that_of_transformers_and_diffusers(setting, whole):
    check_columns(whole, setting.expected(), [str(7000 + i) for i in range(SAMPLES)], [i % 8 for i in range(SAMPLES)])
    assert sorted(path.name for path in whole.glob("*.arrow")) == [f"data-{i:05d}-of-00006.arrow" for i in range(6)]
    manifest = json.loads((whole / "millrace.json").read_text())
    assert manifest["t5"]["shape"] == [TOKENS, 24] and manifest["clip"]["shape"] == [16] and manifest["autoencoder"]["shape"] == [4, 16, 16]
    assert manifest["result"] == {"rows": SAMPLES, "bad": 0, "small": 0, "problems": []}
    assert not (whole / ".units").exists()


def test_a_hugging_face_data_set_is_encoded_in_its_order(encode, setting, tmp_path):
    output = f"--preprocessing.output_dataset_path={tmp_path / 'out'}"
    result = encode(tmp_path / "out", output, "--training.dataset=cc12m_disk", f"--training.dataset_path={setting.disk}", "--eval.dataset=",
                    "--checkpoint.no_enable_checkpoint", "--training.classifer_free_guidance_prob=0.0")  # fmt: skip
    assert "Wrote 23 samples in 1 file" in result.stdout
    check_columns(tmp_path / "out", setting.expected(), [f"{i:09d}" for i in range(SAMPLES)], [None] * SAMPLES)


@pytest.mark.parametrize("ranks, options", [(2, []), (3, []), (2, ["--encoder.shard=true"]), (3, ["--encoder.shard=true", "--training.batch_size=2"])])
def test_the_same_bytes_on_any_number_of_ranks(millrace, program, setting, whole, tmp_path, ranks, options):
    command = [program, "prepare", "encode", setting.config, "--output", tmp_path / "out", "--rows-per-file=4", *options]
    millrace("launch", "-n", ranks, *command, env={"OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive"})
    assert contents(tmp_path / "out") == contents(whole)


def test_killed_it_goes_on_where_it_was(encode, program, setting, whole, tmp_path):
    output = tmp_path / "out"
    command = [program, "prepare", "encode", setting.config, "--output", output, "--rows-per-file=4"]
    finished = lambda: {path.name: path.stat().st_mtime_ns for path in output.glob("data-*.arrow")}  # noqa: E731
    for wanted in (1, 3):
        process = subprocess.Popen(command, env=quiet_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while len(finished()) < wanted and process.poll() is None:
            assert time.monotonic() < deadline, f"expected {wanted} files within 300 s"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = finished()
    assert before and not any((output / name).read_bytes() != (whole / name).read_bytes() for name in before)
    (output / ".data-00005-of-00006.arrow.tmp-1-0").write_bytes(b"cut short")
    encode(output, "--rows-per-file=4")
    assert {name: time_ for name, time_ in finished().items() if name in before} == before
    assert contents(output) == contents(whole)
    assert "Found 23 samples in 6 files" in encode(output, "--rows-per-file=4").stdout
    assert contents(output) == contents(whole)


def test_a_disk_that_takes_no_more_loses_nothing(encode, program, setting, whole, tmp_path):
    output = tmp_path / "out"
    command = [program, "prepare", "encode", setting.config, "--output", output, "--rows-per-file=4"]
    largest = max(path.stat().st_size for path in whole.glob("*.arrow"))

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, largest // 2))

    result = subprocess.run(command, env=quiet_environment(), capture_output=True, text=True, timeout=300, preexec_fn=limit_files)
    assert result.returncode == 5 and "File too large" in result.stderr, result.stderr
    assert not list(output.glob("data-*.arrow")) and not (output / "state.json").exists()
    encode(output, "--rows-per-file=4")
    assert contents(output) == contents(whole)


def test_other_encoders_data_or_options_on_the_same_folder_are_refused(encode, setting, whole, tmp_path):
    output = shutil.copytree(whole, tmp_path / "out")
    same = "--rows-per-file=4"
    error = encode(output, same, f"--encoder.t5_encoder={setting.folder / 'other_t5'}", status=2).stderr
    assert "millrace.json] t5.weights: expected" in error and "another folder" in error
    assert "autoencoder.shape: expected [4,8,8], got [4,16,16]" in encode(output, same, "--training.img_size=16", status=2).stderr
    assert "rows_per_file: expected 5, got 4" in encode(output, "--rows-per-file=5", status=2).stderr
    assert "arithmetic" in encode(output, same, "--training.mixed_precision_param=bfloat16", status=2).stderr
    other = write_coco(tmp_path / "coco", count=22)
    assert "dataset.fingerprint" in encode(output, same, f"--training.dataset_path={other}", status=2).stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert "expected an empty folder" in encode(tmp_path / "full", status=2).stderr
    assert contents(output) == contents(whole)


def test_training_takes_the_encodings_of_its_own_encoders_alone(millrace, setting, whole, tmp_path):
    def train(*options, status=0):
        return millrace(
            "train", setting.config, f"--job.dump_folder={tmp_path / 'run'}", "--training.dataset=coco_preprocessed", f"--training.dataset_path={whole}",
            "--model.hidden_size=32", "--model.num_heads=2", "--model.depth=1", "--model.depth_single_blocks=1", "--training.steps=2", "--report.no_enable",
            "--checkpoint.no_enable", "--metrics.log_freq=1", *options, status=status)  # fmt: skip

    train()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if "loss" in json.loads(line)]
    assert len(losses) == 2 and all(0.5 < loss < 20 for loss in losses)
    error = train(f"--encoder.t5_encoder={setting.folder / 'other_t5'}", status=4).stderr
    assert "millrace.json] t5.weights: expected" in error and "encode them again" in error
    train("--encoder.t5_encoder=", "--encoder.clip_encoder=", "--encoder.autoencoder_path=")  # names none: nothing to compare
    train("--encoder.t5_encoder=/nowhere/t5")  # nor where they are not on this machine


def test_ranks_train_from_encodings_without_the_encoders(millrace, setting, whole, tmp_path):
    millrace(
        "launch", "-n", 2, "train", setting.config, f"--job.dump_folder={tmp_path / 'run'}", "--training.dataset=coco_preprocessed",
        f"--training.dataset_path={whole}", "--model.hidden_size=32", "--model.num_heads=2", "--model.depth=1", "--model.depth_single_blocks=1",
        "--training.steps=1", "--report.no_enable", "--checkpoint.no_enable", *(f"--encoder.{name}_encoder=/nowhere/{name}" for name in ("t5", "clip")),
        "--encoder.autoencoder_path=/nowhere/ae", env={"OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive"})  # fmt: skip


def test_weights_that_cannot_be_used_are_named(encode, setting, tmp_path):
    error = encode(tmp_path / "a", "--model.context_in_dim=32", status=4).stderr
    assert "expected encodings of width 32, got 24" in error
    pickled = tmp_path / "pickled"
    shutil.copytree(setting.folder / "t5", pickled)
    torch.save(setting.t5.state_dict(), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    error = encode(tmp_path / "b", f"--encoder.t5_encoder={pickled}", status=4).stderr
    assert "safetensors" in error and "pytorch_model.bin" in error
    for name, missing in (("t5", "spiece.model"), ("clip", "merges.txt")):
        folder = shutil.copytree(setting.folder / name, tmp_path / f"no_{name}")
        (folder / missing).unlink()
        assert missing in encode(tmp_path / f"c_{name}", f"--encoder.{name}_encoder={folder}", status=4).stderr
    assert "encoder.autoencoder_path" in encode(tmp_path / "d", "--encoder.autoencoder_path=none", status=2).stderr
    assert "encoder.clip_encoder" in encode(tmp_path / "e", "--encoder.clip_encoder=", status=2).stderr
    assert not list(tmp_path.glob("?/state.json"))


def test_bad_samples_are_counted_and_left_out(encode, setting, tmp_path):
    broken = {3: b"no picture", 11: png(11)[:40], 12: png(12)[:-300]}
    data = write_coco(tmp_path / "coco", lambda i: broken.get(i, png(i)))
    options = ["--rows-per-file=4", f"--training.dataset_path={data}"]
    result = encode(tmp_path / "out", *options, "--training.max_bad_samples=0.2")
    assert "left out 2 bad ones" in result.stdout or "left out 3 bad ones" in result.stdout
    rows = datasets.load_from_disk(tmp_path / "out")
    keys = rows["__key__"][:]
    assert "7003" not in keys and "7011" not in keys and keys == sorted(keys) and len(keys) >= 20
    found = json.loads((tmp_path / "out" / "millrace.json").read_text())["result"]
    assert found["bad"] == SAMPLES - len(keys) and any("000000000003" in problem for problem in found["problems"])
    kept = [int(key) - 7000 for key in keys if key != "7012"]
    expected = setting.expected()["mean"][kept]
    got = torch.stack([blob(cell) for key, cell in zip(keys, rows["mean"]) if key != "7012"])
    assert_rounded(got, expected)

    # A file of which nothing is left.
    data = write_coco(tmp_path / "hole", lambda i: b"" if 4 <= i < 8 else png(i))
    encode(tmp_path / "holed", "--rows-per-file=4", f"--training.dataset_path={data}", "--training.max_bad_samples=0.5")
    assert datasets.load_from_disk(tmp_path / "holed")["timestep"][:] == [i % 8 for i in range(SAMPLES) if not 4 <= i < 8]

    error = encode(tmp_path / "strict", *options, "--training.max_bad_samples=0.01", status=3).stderr
    assert "training.max_bad_samples" in error and "000000000003" in error
    assert not (tmp_path / "strict" / "state.json").exists()


def test_a_complete_folder_that_lost_a_file_is_not_taken_for_whole(encode, whole, tmp_path):
    output = shutil.copytree(whole, tmp_path / "out")
    (output / "data-00003-of-00006.arrow").unlink()
    assert "data-00003-of-00006.arrow] expected a file of a complete data set" in encode(output, "--rows-per-file=4", status=5).stderr


def cut(data):
    """A download that broke: of the second file's ten samples two or three are left."""
    shard = data / "shard_00001.tar"
    shard.write_bytes(shard.read_bytes()[:9000])
    return data


def test_a_file_that_was_cut_is_refused_unless_that_is_allowed(encode, tmp_path):
    data = f"--training.dataset_path={cut(write_coco(tmp_path / 'coco'))}"
    error = encode(tmp_path / "out", data, "--training.max_bad_samples=1", status=3).stderr
    assert "shard_00001.tar] expected a whole file" in error and "--allow-damaged-shards" in error
    assert not list((tmp_path / "out").glob("*.arrow"))
    encode(tmp_path / "out", data, "--training.max_bad_samples=1", "--allow-damaged-shards")
    keys = datasets.load_from_disk(tmp_path / "out")["__key__"][:]
    kept = len(keys) - 13
    assert keys == [str(7000 + i) for i in range(SAMPLES) if i < 10 + kept or i >= 20]
    assert 1 <= kept <= 3  # three samples begin before the cut
    # What is not needed may be cut.
    encode(tmp_path / "first", data, "--training.subset_size=7")
    assert len(datasets.load_from_disk(tmp_path / "first")) == 7


def test_a_sample_without_the_timestep_of_its_set_is_refused(encode, tmp_path):
    data = write_coco(tmp_path / "coco")
    with tarfile.open(data / "shard_00002.tar", "w") as tar:
        for i in range(20, SAMPLES):
            meta = {"id": str(7000 + i), "caption": caption(i)} | ({"timestep": i % 8} if i != 21 else {})
            for extension, content in (("png", png(i)), ("txt", caption(i).encode()), ("json", json.dumps(meta).encode())):
                raw_sets.add(tar, f"{i:012d}.{extension}", content)
    error = encode(tmp_path / "out", f"--training.dataset_path={data}", status=3).stderr
    assert "000000000021] expected a timestep of 0 to 7, got none" in error and "webdataset" in error
    assert not (tmp_path / "out" / "state.json").exists()


def test_sets_of_different_encoders_are_not_mixed(encode, millrace, setting, whole, tmp_path):
    """By what their manifests say: the run itself names no encoder."""
    encode(tmp_path / "other", f"--encoder.t5_encoder={setting.folder / 'other_t5'}", "--rows-per-file=4")
    run = lambda *more, status=0: millrace(  # noqa: E731
        "train", setting.config, f"--job.dump_folder={tmp_path / 'run'}", "--training.dataset=coco_preprocessed", f"--training.dataset_path={whole}",
        "--model.hidden_size=32", "--model.num_heads=2", "--model.depth=1", "--model.depth_single_blocks=1", "--model.axes_dim=[4, 6, 6]",
        "--encoder.t5_encoder=", "--encoder.clip_encoder=", "--encoder.autoencoder_path=", "--training.steps=1", *more, status=status)  # fmt: skip
    validate = ["--validation.enable", "--validation.dataset=coco_preprocessed"]
    run(*validate, f"--validation.dataset_path={whole}")
    error = run(*validate, f"--validation.dataset_path={tmp_path / 'other'}", status=4).stderr
    assert "millrace.json] t5.weights: expected" in error and str(whole) in error and str(tmp_path / "other") in error

    millrace("prepare", "empty-encodings", setting.config, "--output", tmp_path / "empty", f"--encoder.t5_encoder={setting.folder / 'other_t5'}")
    empty = [f"--encoder.empty_encodings_path={tmp_path / 'empty'}", "--training.classifier_free_guidance_prob=0.1"]
    assert "t5.weights: expected" in run(*empty, status=4).stderr


def test_every_rank_leaves_when_a_file_is_cut(millrace, program, setting, tmp_path):
    data = cut(write_coco(tmp_path / "coco"))
    command = [program, "prepare", "encode", setting.config, "--output", tmp_path / "out", "--rows-per-file=4", f"--training.dataset_path={data}"]
    env = {"OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive"}
    result = millrace("launch", "-n", 2, *command, env=env, status=3)
    assert "shard_00001.tar" in result.stderr
    assert not (tmp_path / "out" / "state.json").exists()


def test_the_empty_prompt_as_the_reference_stores_it(millrace, setting, tmp_path):
    output = tmp_path / "empty"
    run = lambda *more, status=0: millrace("prepare", "empty-encodings", setting.config, "--output", output, *more, status=status)  # noqa: E731
    assert "Wrote" in run().stdout
    t5, clip = numpy.load(output / "t5_empty.npy"), numpy.load(output / "clip_empty.npy")
    assert t5.dtype == clip.dtype == numpy.float16 and t5.shape == (1, TOKENS, 24) and clip.shape == (1, 16)
    t5_ids = torch.tensor([[1] + [0] * (TOKENS - 1)])
    clip_ids = torch.tensor([[49406] + [49407] * 76])
    with torch.no_grad():
        exact = [setting.t5(input_ids=t5_ids).last_hidden_state, setting.clip(input_ids=clip_ids).pooler_output]
    for got, wanted in zip((t5, clip), exact):
        assert numpy.allclose(got, wanted.numpy(), rtol=2**-11, atol=1e-6)
    before = contents(output)
    assert "Found" in run().stdout
    assert contents(output) == before
    assert "t5.weights" in run(f"--encoder.t5_encoder={setting.folder / 'other_t5'}", status=2).stderr
    (output / "millrace.json").unlink()  # as published
    assert "Found" in run().stdout
    assert "expected shape [1, 25, 24]" in run("--encoder.max_t5_encoding_len=25", status=2).stderr


def test_options_of_the_command_and_of_the_configuration_are_told_apart(millrace, setting, tmp_path):
    def error(*arguments):
        return millrace("prepare", "empty-encodings", setting.config, *arguments, status=2).stderr

    assert "[--output] expected a value, got nothing" in error("--output=", "--training.seed=3")
    assert "[--output] expected a folder, got nothing" in error("--training.seed=3")
    assert "-help.toml" in error("--output", tmp_path / "a", "--job.config_file", "-help.toml")  # a value, whatever it looks like
    assert "[--outptu] expected an option of this command" in error("--outptu", tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_help_says_what_there_is(millrace):
    for command in ("encode", "empty-encodings"):
        assert "--output DIR" in millrace("prepare", command, "--help").stdout
        assert "configuration file" in millrace("prepare", command, status=2).stderr
    assert "empty-encodings" in millrace("prepare", "--help").stdout
