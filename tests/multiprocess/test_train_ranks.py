"""One run on many ranks: the same curve on any number of them, every sample once, and one end for all."""

import io
import re
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import numpy
import pytest
from helpers import load, save
from PIL import Image
from train_ranks import NUM_KILLS, Ranks, checkpoint_steps, kill_at_random_moments, logged

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "configs" / "tiny.toml"
QUIET = ["--sample.every_steps=0", "--report.no_enable", "--metrics.no_enable_tensorboard"]
NO_CHECKPOINT = ["--checkpoint.no_enable"]


@pytest.fixture(scope="session")
def pictures(emoji_set):
    """pictures(n): a data set of n samples."""
    return emoji_set


@pytest.fixture
def run(program, pictures, tmp_path):
    """run(4, "--section.key=value", ...): a run that ends well on 4 ranks. Returns its folder."""

    def start(size, *overrides, name=None, status=0, data=40, **options):
        folder = tmp_path / (name or f"ranks-{size}")
        ranks = Ranks(program, size, folder, f"--training.dataset_path={pictures(data)}", *overrides, **options)
        return ranks.finish(status)

    return start


def curve(folder: Path, key: str) -> list[float]:
    return [entry[key] for entry in logged(folder) if key in entry]


MESHES = {
    "shard 2": (2, 6, []),
    "shard 3": (3, 4, []),
    "shard 4": (4, 3, []),
    "replicate 2": (2, 6, ["--parallelism.data_parallel_replicate_degree=2"]),
    "replicate 2 x shard 2": (4, 3, ["--parallelism.data_parallel_replicate_degree=2"]),
    "shard 2, two microbatches": (2, 3, []),
    "shard 2, resharding never": (2, 6, ["--parallelism.fsdp_reshard_after_forward=never"]),
    "tp 2": (2, 12, ["--parallelism.tensor_parallel_degree=2"]),
    "shard 2 x tp 2": (4, 6, ["--parallelism.tensor_parallel_degree=2"]),
    "tp 3": (3, 12, ["--parallelism.tensor_parallel_degree=3"]),
}
SIX_HEADS = ["--model.num_heads=6", "--model.hidden_size=48"]  # that tp 2 and 3 divide


def test_the_same_curve_on_any_ranks(run, pictures):
    """20 steps: losses to 1e-5, the same samples in each step, the same validation loss, the same pictures."""
    common = ["--training.steps=20", "--training.global_batch_size=12", "--training.classifier_free_guidance_prob=0.3",
              "--sample.every_steps=20", '--sample.prompts=["red heart", "banana", "dog", "cat", "sun"]',
              "--validation.enable", f"--validation.dataset_path={pictures(13)}", "--validation.freq=20",
              "--validation.local_batch_size=2", "--report.no_enable", *SIX_HEADS, *NO_CHECKPOINT]  # fmt: skip
    alone = run(1, *common, "--training.local_batch_size=12", name="alone").folder
    assert len(curve(alone, "loss")) == 20 and len(set(curve(alone, "sample_digest"))) > 15
    with Image.open(alone / "samples" / "step-00000020.png") as grid:
        expected_pixels = numpy.asarray(grid, dtype=int)
    for mesh, (size, batch, overrides) in MESHES.items():
        folder = run(size, *common, f"--training.local_batch_size={batch}", *overrides, name=mesh.replace(" ", "-")).folder
        assert curve(folder, "sample_digest") == curve(alone, "sample_digest"), mesh
        assert curve(folder, "samples") == curve(alone, "samples"), mesh
        assert curve(folder, "loss") == pytest.approx(curve(alone, "loss"), rel=1e-5), mesh
        assert curve(folder, "grad_norm") == pytest.approx(curve(alone, "grad_norm"), rel=1e-4), mesh
        assert curve(folder, "validation_loss") == pytest.approx(curve(alone, "validation_loss"), rel=1e-5), mesh
        with Image.open(folder / "samples" / "step-00000020.png") as grid:
            pixels = numpy.asarray(grid, dtype=int)
        assert pixels.shape == expected_pixels.shape and abs(pixels - expected_pixels).max() <= 1, mesh


@pytest.mark.parametrize("count, size, batch", [(1, 4, 3), (5, 4, 1), (7, 3, 2), (40, 4, 3)])
def test_validation_neither_hangs_nor_loses_a_sample(run, pictures, count, size, batch):
    """Fewer samples than ranks, one batch more on some ranks than on others, batches that are not full, and none of these."""
    common = ["--training.steps=2", "--training.global_batch_size=12", "--optimizer.lr=1e-2", "--validation.enable",
              f"--validation.dataset_path={pictures(count)}", "--validation.freq=1", *QUIET, *NO_CHECKPOINT]  # fmt: skip
    alone = run(1, *common, "--training.local_batch_size=12", "--validation.local_batch_size=40", name="alone").folder
    many = run(size, *common, f"--training.local_batch_size={12 // size}", f"--validation.local_batch_size={batch}").folder
    assert len(curve(many, "validation_loss")) == 2
    assert curve(many, "validation_loss") == pytest.approx(curve(alone, "validation_loss"), rel=1e-5)


def poison(folder: Path, caption: str) -> int:
    """Makes the encodings of a caption that lie in the run's folder useless. Returns how many there were."""
    poisoned = 0
    for path in (folder / "encodings").glob("*/*.safetensors"):
        tensors = load(path)
        if bytes(tensors["caption"].numpy()).decode() == caption:
            tensors["encoding"][...] = float("nan")
            save(path, tensors)
            poisoned += 1
    return poisoned


def test_a_bad_number_on_one_rank_stops_all_at_the_same_step(run, tmp_path):
    common = ["--training.global_batch_size=4", "--encoder.cache_encodings=disk", *QUIET, *NO_CHECKPOINT]
    folder = run(1, *common, "--training.steps=10", name="filled").folder
    captions = sorted(bytes(load(path)["caption"].numpy()).decode() for path in (folder / "encodings").glob("*/*.safetensors"))
    assert len(set(captions)) == 40
    assert poison(folder, captions[-1]) == 2
    shutil.copytree(folder / "encodings", tmp_path / "alone" / "encodings")
    shutil.copytree(folder / "encodings", tmp_path / "many" / "encodings")

    alone = run(1, *common, "--training.steps=20", name="alone", status=6)
    step = re.search(r"\[step (\d+)\] expected a finite loss, got nan", alone.output(0))
    assert step, alone.output(0)
    many = run(4, *common, "--training.steps=20", "--training.local_batch_size=1", name="many", status=6)
    messages = {line for rank in range(4) for line in many.output(rank).splitlines() if "finite" in line}
    assert len(messages) == 1, messages
    assert re.search(rf"\[step {step[1]}, rank \d on \S+\] expected a finite loss, got nan", messages.pop())
    assert len(curve(many.folder, "loss")) == int(step[1]) - 1


def weights(folder: Path) -> dict:
    """Every tensor of every shard of the newest checkpoint, as bytes."""
    newest = max((folder / "checkpoint").glob("step-*"))
    assert (newest / "index.json").exists()
    return {
        (shard.name, name): tensor.numpy().tobytes()
        for shard in newest.glob("*.safetensors")
        for name, tensor in load(shard).items()
    }


@pytest.mark.parametrize("size, mesh", [(3, []), (4, ["--parallelism.data_parallel_replicate_degree=2"])])
def test_a_signal_to_one_rank_stops_all_and_the_run_goes_on(program, pictures, tmp_path, size, mesh):
    """All leave with a checkpoint of the same step; the same command then ends where an undisturbed run ends."""
    overrides = [f"--training.dataset_path={pictures(40)}", "--training.steps=200", "--training.local_batch_size=1",
                 "--checkpoint.interval=1000", "--checkpoint.async_mode=async", *mesh, *QUIET]  # fmt: skip
    Ranks(program, size, tmp_path / "undisturbed", *overrides).finish()
    stopped = Ranks(program, size, tmp_path / "stopped", *overrides)
    stopped.wait_for_step(7)
    stopped.processes[1].send_signal(signal.SIGTERM)
    stopped.finish(status=75)
    assert len({line for rank in range(size) for line in stopped.output(rank).splitlines() if "stopped after step" in line}) == 1
    (step,) = checkpoint_steps(tmp_path / "stopped")
    assert 7 <= step < 200
    Ranks(program, size, tmp_path / "stopped", *overrides).finish()
    assert curve(tmp_path / "stopped", "loss") == curve(tmp_path / "undisturbed", "loss")
    ours, theirs = weights(tmp_path / "stopped"), weights(tmp_path / "undisturbed")
    assert ours == theirs and len(ours) > 100


def test_ranks_killed_at_random_moments(program, pictures, tmp_path):
    """One rank or the other, in rendezvous, steps, saves: the weights at the end are those of the undisturbed run."""
    overrides = [f"--training.dataset_path={pictures(40)}", f"--training.steps={60 + 50 * NUM_KILLS}",
                 "--training.local_batch_size=2", "--checkpoint.interval=3", "--checkpoint.keep_latest_k=2",
                 "--checkpoint.async_mode=async", "--comm.init_timeout_seconds=10", *QUIET]  # fmt: skip
    Ranks(program, 2, tmp_path / "undisturbed", *overrides).finish()
    kill_at_random_moments(lambda: Ranks(program, 2, tmp_path / "killed", *overrides), tmp_path / "killed")
    Ranks(program, 2, tmp_path / "killed", *overrides).finish()
    ours, theirs = weights(tmp_path / "killed"), weights(tmp_path / "undisturbed")
    assert ours == theirs and len(ours) > 100


TP_2 = "--parallelism.tensor_parallel_degree=2"


@pytest.mark.parametrize(
    "size, batch, mesh, others",
    [
        (3, 4, [], [(1, 12, []), (4, 3, ["--parallelism.data_parallel_replicate_degree=2"]), (2, 12, [TP_2])]),
        (4, 6, [TP_2], [(2, 6, [])]),
    ],
)
def test_a_run_goes_on_with_other_ranks(program, pictures, tmp_path, size, batch, mesh, others):
    """From 3 shards to one rank, to a 2 x 2 mesh and to tensor parallel, and from 2 shards x 2 to 2 shards: the same
    samples, the same curve."""
    overrides = [f"--training.dataset_path={pictures(40)}", "--training.steps=20", "--training.global_batch_size=12",
                 "--checkpoint.interval=10", *QUIET]  # fmt: skip
    Ranks(program, size, tmp_path / "first", f"--training.local_batch_size={batch}", *mesh, *overrides).finish()
    for number, (size, batch, mesh) in enumerate(others):
        folder = tmp_path / f"then-{number}"
        shutil.copytree(tmp_path / "first", folder)
        shutil.rmtree(folder / "checkpoint" / "step-00000020")
        ranks = Ranks(program, size, folder, f"--training.local_batch_size={batch}", *mesh, *overrides).finish()
        assert "resuming from step 10" in ranks.output(0)
        assert curve(folder, "sample_digest") == curve(tmp_path / "first", "sample_digest")
        assert curve(folder, "loss") == pytest.approx(curve(tmp_path / "first", "loss"), rel=1e-5)


def test_narrow_arithmetic_follows_fp32_on_many_ranks(run):
    common = ["--training.steps=12", "--training.global_batch_size=12", *QUIET, *NO_CHECKPOINT]
    wide = run(1, *common, "--training.local_batch_size=12", name="wide").folder
    for dtype, rounding in {"float32": [], "bfloat16": ["--optimizer.stochastic_rounding"]}.items():
        narrow = run(2, *common, "--training.local_batch_size=3", "--training.mixed_precision_param=bfloat16",
                     "--training.mixed_precision_reduce=bfloat16", f"--training.dtype={dtype}", *rounding, name=dtype).folder  # fmt: skip
        assert curve(narrow, "sample_digest") == curve(wide, "sample_digest"), dtype
        assert curve(narrow, "loss") == pytest.approx(curve(wide, "loss"), rel=0.03), dtype


def test_a_data_error_of_one_rank_ends_all(run, tmp_path):
    """Damage behind a sound header is seen by the rank alone that decodes the picture."""
    with tarfile.open(tmp_path / "damaged.tar", "w") as archive:
        for number in range(12):
            content = io.BytesIO()
            Image.fromarray(numpy.full((16, 16, 3), number, dtype=numpy.uint8)).save(content, format="PNG")
            png = bytearray(content.getvalue())
            if number == 7:
                png[png.index(b"IDAT") + 6] ^= 255
            for name, data in ((f"{number:02}.png", bytes(png)), (f"{number:02}.txt", b"caption")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    many = run(3, f"--training.dataset_path={tmp_path / 'damaged.tar'}", "--training.max_bad_samples=0",
               "--training.steps=50", *QUIET, *NO_CHECKPOINT, status=3)  # fmt: skip
    for rank in range(3):
        assert "damaged.tar" in many.output(rank), many.output(rank)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_rank_takes_the_others_with_it(program, pictures, tmp_path, victim):
    ranks = Ranks(program, 3, tmp_path / "run", f"--training.dataset_path={pictures(40)}", "--training.steps=1000000",
                  *QUIET, *NO_CHECKPOINT)  # fmt: skip
    ranks.wait_for_step(5)
    ranks.processes[victim].kill()
    ranks.finish(status=7, but=[victim])
    for rank in {0, 1, 2} - {victim}:
        assert re.search(rf"rank {victim}\b", ranks.output(rank)), ranks.output(rank)


def test_ranks_that_read_different_weights_are_refused(run, program, pictures, tmp_path):
    folder = run(1, "--training.steps=2", *QUIET, "--checkpoint.interval=2", name="weights").folder
    subprocess.run([program, "export", folder, tmp_path / "weights.safetensors"], check=True, capture_output=True, timeout=300)
    tensors = load(tmp_path / "weights.safetensors")
    for rank in range(3):
        if rank == 2:
            tensors["img_in.bias"][0] += 1
        save(tmp_path / f"place-{rank}" / "weights.safetensors", tensors)
    arguments = ["--checkpoint.initial_load_path=weights.safetensors", "--training.steps=2", *QUIET, *NO_CHECKPOINT]
    many = run(3, *arguments, status=4, cwd=lambda rank: tmp_path / f"place-{rank}")
    for rank in range(3):
        assert re.search(r"rank 2 on .*same files of weights", many.output(rank)), many.output(rank)
    run(3, *arguments, name="equal", cwd=lambda rank: tmp_path / "place-0")


def test_the_first_rank_writes_for_all(run):
    folder = run(2, "--training.steps=3", "--metrics.save_for_all_ranks", *NO_CHECKPOINT).folder
    lines = {rank: (folder / name).read_text() for rank, name in enumerate(["log.txt", "log-rank-1.txt"])}
    assert all("step:  3" in text for text in lines.values())
    assert re.search(r"total tps: [\d,]+ \(2 ranks\)", lines[0])
    assert [entry["step"] for entry in logged(folder)] == [1, 2, 3] and curve(folder, "ranks") == [2, 2, 2]
    assert "step:" not in (folder / "output-1.txt").read_text()
    assert (folder / "report.html").exists() and len(list((folder / "tb").iterdir())) == 1

    quiet = run(2, "--training.steps=3", *QUIET, *NO_CHECKPOINT, name="quiet").folder
    assert not list(quiet.glob("log-rank-*"))
