"""The state of a run on the disk: what is missing is named, one run at a time is in a folder, nothing to do changes nothing."""

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest
from resume.runs import ENVIRONMENT, LAST_STEP, checkpoints, finish, metrics, output, start, wait_for_step
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SHORT = ["--training.steps=20", "--checkpoint.interval=5", "--checkpoint.keep_latest_k=0"]


@pytest.fixture(scope="module")
def done(program, write_config, tmp_path_factory):
    """The configuration of a run of 20 steps with a checkpoint every 5."""
    config = write_config(tmp_path_factory.mktemp("done"))
    finish(start(program, config, *SHORT), config)
    return config


@pytest.fixture
def copy(done, tmp_path):
    """A copy of that run, to be damaged: the run's folder, and the configuration that resumes it."""
    shutil.copytree(done.parent / "run", tmp_path / "run")
    config = tmp_path / "config.in.toml"
    config.write_text(done.read_text().replace(str(done.parent), str(tmp_path)))
    return config


def run_of(config: Path) -> Path:
    return config.parent / "run"


def step_folder(config: Path, step: int) -> Path:
    return run_of(config) / "checkpoint" / f"step-{step:08d}"


def everything(folder: Path) -> dict:
    """Name -> content and time of every file and folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (content, path.stat().st_mtime_ns)
    return found


# What is missing


def remove_index(folder):
    (folder / "index.json").unlink()


def remove_shard(folder):
    (folder / "rank-00000.safetensors").unlink()


def remove_content(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def empty_index(folder):
    (folder / "index.json").write_text("")


def cut_shard(folder):
    os.truncate(folder / "rank-00000.safetensors", 1000)


def file_in_its_place(folder):
    shutil.rmtree(folder)
    folder.write_text("x")


LOSSES = [remove_index, remove_shard, remove_content, empty_index, cut_shard, file_in_its_place]
COMMANDS = {
    "train": lambda config: ["train", config, *SHORT, "--training.steps=30"],
    "sample": lambda config: ["sample", run_of(config), "--prompt", "a", "--steps", "1", "--output", "drawn"],
    "evaluate": lambda config: ["evaluate", run_of(config), "--validation.dataset=dummy"],
    "export": lambda config: ["export", run_of(config), "x.safetensors"],
    "inspect": lambda config: ["inspect", run_of(config)],
    "inspect a step": lambda config: ["inspect", step_folder(config, 20)],
}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_the_newest_checkpoint_is_never_passed_over(millrace, copy, tmp_path, loss):
    """Every command refuses it by name, says what to do, and changes nothing."""
    loss(step_folder(copy, 20))
    before = everything(tmp_path / "run")
    for name, command in COMMANDS.items():
        if loss is file_in_its_place and name == "inspect a step":
            continue  # a file is inspected as what it is
        result = millrace(*command(copy), status=5)
        assert "step-00000020" in result.stderr, name
        if name != "inspect a step":
            assert "the checkpoint of step 20 is damaged" in result.stderr, name
            assert "step-00000015" in result.stderr or "step=15" in result.stderr, name
    assert not (tmp_path / "x.safetensors").exists() and not (tmp_path / "drawn").exists()
    after = everything(tmp_path / "run")
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {".run-lock"}
    # The two ways out.
    millrace("train", copy, *SHORT, "--checkpoint.load_step=15")
    assert (step_folder(copy, 20) / "index.json").exists()
    assert step_folder(copy, 20).with_suffix(".incomplete").exists()
    shutil.move(step_folder(copy, 20).with_suffix(".incomplete"), tmp_path / "elsewhere")


def test_an_older_checkpoint_without_its_index_is_named_and_stays(program, millrace, copy):
    remove_index(step_folder(copy, 10))
    finish(start(program, copy, *SHORT, "--training.steps=30", "--checkpoint.keep_latest_k=2"), copy)
    assert f"[{step_folder(copy, 10)}] expected index.json, got none" in output(copy)
    assert [path.name for path in checkpoints(copy)] == ["step-00000025", "step-00000030"]
    assert (step_folder(copy, 10) / "rank-00000.safetensors").exists()
    assert "step-00000010] expected index.json" in millrace("inspect", run_of(copy)).stderr


# One run at a time


@pytest.mark.parametrize("saves", [True, False], ids=["with checkpoints", "without checkpoints"])
def test_a_second_run_is_refused_and_changes_nothing(program, write_config, tmp_path, saves):
    config = write_config(tmp_path)
    overrides = ["--training.steps=100000", f"--checkpoint.enable={str(saves).lower()}", "--lr_scheduler.total_steps=400"]
    first = start(program, config, *overrides)
    try:
        wait_for_step(first, config, 3)
        before = {name: (run_of(config) / name).read_bytes() for name in ("config.toml", ".run-lock")}
        for command in (["train"], ["launch", "-n", "2", "train"]):
            second = subprocess.run([program, *command, config, *overrides, "--training.seed=9"], capture_output=True, text=True,
                                    env=ENVIRONMENT, timeout=120)  # fmt: skip
            assert second.returncode == 5, second.stderr
            assert f"[{run_of(config)}] expected to be the only process that writes here" in second.stderr
            assert f"process {first.pid} on {os.uname().nodename}" in second.stderr
        assert before == {name: (run_of(config) / name).read_bytes() for name in before}
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    log = (run_of(config) / "log.txt").read_text()
    assert log.count("step:  1 ") == 1 and "rank" not in log
    # A process that was killed leaves no lock.
    finish(start(program, config, *overrides, "--training.steps=1" if not saves else "--training.steps=100"), config)


# Nothing to do


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["--training.steps=20"], "already at step 20 of 20"),
        (["--training.steps=3", "--optimizer.lr=1"], "already at step 20 of 3"),
        (["--training.steps=0"], "already at step 20 of 0"),
        (["--training.steps=10", "--checkpoint.load_step=10"], "already at step 10 of 10"),
    ],
)
def test_a_run_with_nothing_to_do_leaves_its_folder_alone(millrace, copy, tmp_path, overrides, says):
    before = everything(tmp_path / "run")
    result = millrace("train", copy, *overrides)
    assert says in result.stderr and "last loss" not in result.stderr
    after = everything(tmp_path / "run")
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= {".run-lock"}


# Settings that have changed


@pytest.mark.parametrize(
    "overrides, lines",
    [
        (["--optimizer.lr=2e-3"], ["optimizer.lr: 0.001 -> 0.002"]),
        (["--optimizer.weight_decay=0", "--training.max_norm=2"], ["optimizer.weight_decay: 0.1 -> 0.0", "training.max_norm: 1.0 -> 2.0"]),
        (["--training.local_batch_size=6"], ["training.global_batch_size: 3 -> 6 (samples in a step of all ranks)"]),
        (["--lr_scheduler.total_steps=40"], ["lr_scheduler.total_steps: 20 -> 40 (None there: training.steps)"]),
        (["--validation.target_loss=0.1"], ["validation.target_loss: 0.0 -> 0.1"]),
        (["--metrics.log_freq=5", "--sample.denoising_steps=5", "--checkpoint.interval=7", "--training.num_workers=1"], []),
    ],
)
def test_a_resumed_run_names_the_settings_that_have_changed(millrace, copy, overrides, lines):
    keeps_length = [] if any("total_steps" in word for word in overrides) else ["--lr_scheduler.total_steps=20"]
    result = millrace("train", copy, "--training.steps=22", *keeps_length, *overrides)
    said = [line for line in result.stderr.splitlines() if "changed since" in line]
    assert said == [f"warning: {line}, changed since the checkpoint of step 20" for line in lines]


def test_settings_are_those_of_the_checkpoint_that_is_loaded(millrace, copy):
    """Not those of the run's last start; and of a checkpoint that another model cannot use, the reason is said first."""
    same = ["--lr_scheduler.total_steps=20", "--checkpoint.keep_latest_k=0"]
    millrace("train", copy, "--training.steps=22", *same, "--optimizer.lr=2e-3")
    again = millrace("train", copy, "--training.steps=24", *same, "--optimizer.lr=2e-3")
    assert "changed since" not in again.stderr
    back = millrace("train", copy, "--training.steps=16", *same, "--optimizer.lr=2e-3", "--checkpoint.load_step=15")
    assert "optimizer.lr: 0.001 -> 0.002, changed since the checkpoint of step 15" in back.stderr
    configuration = (run_of(copy) / "config.toml").read_text()
    other = millrace("train", copy, "--training.steps=30", *same, "--model.hidden_size=128", status=4)
    assert "model.hidden_size: 64 -> 128" in other.stderr
    assert (run_of(copy) / "config.toml").read_text() == configuration


# Signals and limits


def limited(which, value):
    return lambda: resource.setrlimit(which, (value, value))


@pytest.mark.parametrize("size", [100, 4096, 60_000])
def test_a_limit_on_the_size_of_files_is_a_failure_with_a_message(program, copy, tmp_path, size):
    """SIGXFSZ at its default, not ignored by the parent process."""
    for command in (
        ["train", copy, *SHORT, "--training.steps=25"],
        ["export", run_of(copy), "x.safetensors"],
        ["export", run_of(copy), "folder"],
        ["prepare", "emoji", "--output", "emoji", "--count", "30", "--size", "32"],
    ):
        result = subprocess.run([program, *command], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path, timeout=120,
                                preexec_fn=limited(resource.RLIMIT_FSIZE, size))  # fmt: skip
        assert result.returncode == 5, (command, result.returncode, result.stderr)
        assert result.stderr.splitlines()[-1].startswith("millrace: [")
        left = [str(path) for path in tmp_path.rglob("*") if ".part" in path.name or ".tmp" in path.name]
        assert left == []


@pytest.mark.parametrize(
    "which, value", [(resource.RLIMIT_NOFILE, 8), (resource.RLIMIT_NOFILE, 20), (resource.RLIMIT_AS, 1 << 30)]
)
def test_other_limits_end_with_a_message(program, copy, which, value):
    result = subprocess.run([program, "train", copy, *SHORT, "--training.steps=25"], capture_output=True, text=True,
                            env=ENVIRONMENT, timeout=120, preexec_fn=limited(which, value))  # fmt: skip
    assert result.returncode in (0, 1, 2, 3, 5), (result.returncode, result.stderr)
    if result.returncode != 0:
        assert result.stderr.splitlines()[-1].startswith("millrace: "), result.stderr
    assert "terminate called" not in result.stderr


def test_a_closed_terminal_stops_with_a_checkpoint(program, write_config, tmp_path):
    config = write_config(tmp_path)
    ours, theirs = os.openpty()
    endless = ["--training.steps=1000000", "--checkpoint.interval=1000000"]  # however late the terminal is closed
    process = subprocess.Popen(
        [program, "train", config, *endless], stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT,
        start_new_session=True, preexec_fn=take_the_terminal,
    )  # fmt: skip
    os.close(theirs)
    try:
        deadline = time.monotonic() + 120
        while metrics(config).count("\n") < 10:
            assert time.monotonic() < deadline and process.poll() is None
            os.read(ours, 1 << 16)
        os.close(ours)
        assert process.wait(timeout=120) == 75
    finally:
        process.kill()
        process.wait()
    assert len(checkpoints(config)) == 1


def take_the_terminal():
    """A new session's standard input becomes its terminal. The tests themselves may run under nohup."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_nohup_goes_on_without_a_terminal(program, write_config, tmp_path):
    config = write_config(tmp_path)
    process = start(program, config, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for_step(process, config, 5)
    process.send_signal(signal.SIGHUP)
    finish(process, config)
    assert checkpoints(config)[-1] == step_folder(config, LAST_STEP)


@pytest.mark.parametrize("launch", [[], ["launch", "-n", "2"]], ids=["train", "launch"])
@pytest.mark.parametrize("ending", ["2>&1 | head -1", ">&- 2>&-", "2>&1 | sleep 0.1"])
def test_training_outlives_its_console(program, write_config, tmp_path, launch, ending):
    config = write_config(tmp_path)
    command = " ".join(map(str, [program, *launch, "train", config, "--training.steps=60"]))
    script = f"{{ {command} 0<&-; echo $? > status; }} {ending}" if "|" in ending else f"{command} {ending}; echo $? > status"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=ENVIRONMENT, timeout=300, capture_output=True)
    assert (tmp_path / "status").read_text().strip() == "0"
    assert checkpoints(config)[-1] == step_folder(config, 60)
    log = (run_of(config) / "log.txt").read_text()
    assert "step: 60 " in log and "checkpoint: step-00000060 saved" in log
    assert "MLLOG" not in log and "\0" not in log


# TensorBoard


def test_curves_are_in_order_though_the_clock_went_back(millrace, write_config, tmp_path):
    config = write_config(tmp_path)
    overrides = ["--metrics.enable_tensorboard", "--checkpoint.interval=5", "--lr_scheduler.total_steps=400"]
    millrace("train", config, *overrides, "--training.steps=12")
    shutil.rmtree(step_folder(config, 12))  # as if it had been killed after step 12
    (older,) = (run_of(config) / "tb").iterdir()
    seconds = older.name.split(".")[3]
    older.rename(older.with_name(older.name.replace(seconds, str(int(seconds) + 86400))))  # yesterday's clock ran a day ahead
    millrace("train", config, *overrides, "--training.steps=20")
    accumulator = EventAccumulator(str(run_of(config) / "tb"), size_guidance={"scalars": 0})
    accumulator.Reload()
    assert [point.step for point in accumulator.Scalars("lr")] == list(range(1, 21))
