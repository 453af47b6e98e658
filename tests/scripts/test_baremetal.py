"""scripts/baremetal/: what setup.sh would do on which machine, what it does, and how run_train.sh and run_preprocessing.sh start a run.

The programs that setup.sh asks about hardware, and those that it starts, are stand-ins that write down how they were called.
"""

import os
import shlex
import shutil
import subprocess
import tomllib
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = "/usr/bin:/bin"


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


class Machine:
    """A copy of the checkout's scripts in a folder with a blank in its name, and a PATH on which only its own tools are."""

    def __init__(self, folder):
        self.root = folder / "a checkout"
        self.tools = folder / "tools"
        self.tools.mkdir()
        self.calls = folder / "calls"
        self.rocm = folder / "rocm"
        self.devices = folder / "dev"  # in the place of /dev
        self.devices.mkdir()
        for name in ("baremetal", "run_variables.sh"):
            source = ROOT / "scripts" / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self._made(self.root / "scripts" / name))
        (self.root / "scripts" / "baremetal" / "env.sh").unlink(missing_ok=True)
        record = f'printf "%s\\n" "$(basename "$0") $*" >> {shlex.quote(str(self.calls))}'
        script(self.root / "scripts" / "setup.sh", record)
        script(self.root / "scripts" / "build.sh", record)
        script(self.root / "build" / "millrace", f'{record}\nprintf "%s\\n" "HF_TOKEN=${{HF_TOKEN:-}}" >> {shlex.quote(str(self.calls))}')
        self.torch("2.11.0+cpu")

    @staticmethod
    def _made(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def torch(self, version, *libraries):
        folder = self.root / ".venv" / "lib" / "python3.11" / "site-packages" / "torch"
        (folder / "lib").mkdir(parents=True, exist_ok=True)
        (folder / "version.py").write_text(f"__version__ = '{version}'\n")
        for library in libraries:
            (folder / "lib" / library).touch()

    def tool(self, name, text="exit 0"):
        script(self.tools / name, text)

    def setup(self, *arguments, status=0, **variables):
        environment = {"PATH": f"{self.tools}:{TOOLS}", "HOME": str(self.root), "ROCM_PATH": str(self.rocm), "MILLRACE_DEVICES": str(self.devices), **variables}
        command = [self.root / "scripts" / "baremetal" / "setup.sh", *arguments]
        result = subprocess.run(command, cwd=self.tools, env=environment, capture_output=True, text=True, timeout=300)
        assert result.returncode == status, result.stdout + result.stderr
        return result.stdout + result.stderr

    def called(self):
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def environment(self, file=None):
        """What the shell has after `source env.sh`."""
        file = file or self.root / "scripts" / "baremetal" / "env.sh"
        text = subprocess.check_output(["bash", "-euc", 'source "$1"; env -0', "-", file], env={"PATH": TOOLS}, text=True)
        return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def downloads(machine):
    return [line.split(" ", 2)[2] for line in machine.called() if line.startswith("millrace download")]


def test_a_machine_without_gpus(machine, tmp_path):
    said = machine.setup("--cpu", "--dataroot", tmp_path / "big data", "--modelroot", "models here")
    assert machine.called()[:3] == ["setup.sh ", "build.sh release millrace", "millrace verify --device cpu"]
    data = tmp_path / "big data"
    assert downloads(machine) == [f"coco-preprocessed --output {data}/coco_preprocessed", f"empty-encodings --output {data}/empty_encodings"]
    variables = machine.environment()
    assert (variables["DATAROOT"], variables["MODELROOT"]) == (str(data), f"{machine.tools}/models here")
    assert variables["NCCL_DEBUG"] == "WARN" and variables["NCCL_BUFFSIZE"] == "2097152"
    assert not [name for name in variables if name.startswith(("PYTORCH", "HIP", "HSA", "CONDA", "HF"))]
    assert "setup: ready" in said


def test_the_second_time_finds_the_folders_of_the_first(machine, tmp_path):
    machine.setup("--cpu", "--skip-data", "--dataroot", tmp_path / "data")
    first = machine.environment()
    machine.setup("--cpu", "--skip-data")
    assert machine.environment() == first
    assert machine.environment()["DATAROOT"] == str(tmp_path / "data")
    machine.setup("--cpu", "--skip-data", DATAROOT="/other")
    assert machine.environment()["DATAROOT"] == "/other"


def test_all_of_the_data(machine, tmp_path):
    machine.setup("--cpu", "--all", f"--dataroot={tmp_path}/d", f"--modelroot={tmp_path}/m")
    names = [line.split()[0] for line in downloads(machine)]
    assert names == ["coco-preprocessed", "empty-encodings", "cc12m-preprocessed", "cc12m-disk", "coco", "val2014-captions", "encoders"]
    assert downloads(machine)[-1] == f"encoders --output {tmp_path}/m"
    machine.calls.unlink()
    machine.setup("--cpu", "--download-cc12m")
    assert [line.split()[0] for line in downloads(machine)] == ["coco-preprocessed", "empty-encodings", "cc12m-preprocessed"]


def test_nvidia(machine):
    (machine.devices / "nvidia0").touch()
    machine.tool("nvidia-smi", 'if [[ $1 == --query* ]]; then echo 580.65.06; fi')
    machine.tool("nvcc")
    machine.torch("2.11.0", "libtorch_cuda.so")
    said = machine.setup("--skip-data")
    assert "building for cuda (an NVIDIA driver is there)" in said and "NVIDIA driver: 580.65.06" in said
    assert "setup.sh --gpu" in machine.called()
    assert machine.environment()["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    machine.tool("nvidia-smi", 'if [[ $1 == --query* ]]; then echo 470.42; fi')
    assert "expected a driver of version 580 or newer" in machine.setup("--skip-data", status=2)


def amd(machine, version):
    (machine.devices / "kfd").touch()
    machine.tool("hipcc")
    if version:
        script(machine.rocm / ".info" / "version", "").write_text(f"{version}\n")


def test_amd(machine):
    amd(machine, "7.1.1-42")
    machine.torch("2.11.0+rocm7.1", "libtorch_hip.so")
    said = machine.setup("--skip-data")
    assert "building for rocm (an AMD driver is there)" in said and "ROCm: 7.1" in said
    assert "setup.sh --rocm https://download.pytorch.org/whl/rocm7.1" in machine.called()
    variables = machine.environment()
    assert variables["PYTORCH_HIP_ALLOC_CONF"] == "expandable_segments:True"
    assert (variables["HIP_LAUNCH_BLOCKING"], variables["HSA_FORCE_FINE_GRAIN_PCIE"]) == ("0", "1")


def test_amd_by_version_and_index(machine):
    amd(machine, "")
    machine.torch("2.11.0+rocm7.2", "libtorch_hip.so")
    machine.setup("--rocm", "--rocm-version", "7.2", "--skip-data")
    machine.setup("--rocm", "--rocm-version", "6.4", "--torch-index", "https://mirror.example/whl", "--skip-data")
    called = [line for line in machine.called() if line.startswith("setup.sh")]
    assert called == ["setup.sh --rocm https://download.pytorch.org/whl/rocm7.2", "setup.sh --rocm https://mirror.example/whl"]


def test_a_version_of_rocm_means_rocm(machine):
    """Without a driver, and where another one is: what is asked for counts."""
    machine.tool("hipcc")
    (machine.devices / "nvidia0").touch()
    for options in (("--rocm-version", "7.1"), ("--rocm-version=7.1", "--rocm")):
        said = machine.setup("--dry-run", "--skip-data", *options)
        assert "building for rocm (asked for)" in said
        assert "scripts/setup.sh --rocm https://download.pytorch.org/whl/rocm7.1\n" in said
    said = machine.setup("--dry-run", "--rocm-version", "6.2", "--torch-index", "https://mirror.example/whl")
    assert "scripts/setup.sh --rocm https://mirror.example/whl\n" in said
    # No compiler is asked for on the way to a version that there is not.
    (machine.tools / "hipcc").unlink()
    assert "[--rocm-version] expected one of 7.2 7.1" in machine.setup("--rocm-version", "6.2", "--dataroot", "/data", status=2)


@pytest.mark.parametrize(
    "version, options, message",
    [
        ("6.2.0", (), "[--rocm-version] expected one of 7.2 7.1, for which libtorch 2.11.0 is published, got 6.2"),
        ("", ("--rocm",), "[--rocm-version] expected a version, as no ROCm says its own"),
        ("7.1", ("--rocm-version", "new"), "[--rocm-version] expected a version such as 7.2, got new"),
        ("7.1", (), "expected a libtorch for ROCm, got 2.11.0+cpu"),
    ],
)
def test_what_is_wrong_with_an_amd_machine(machine, version, options, message):
    amd(machine, version)
    assert message in machine.setup("--skip-data", *options, status=2)
    assert not (machine.root / "scripts" / "baremetal" / "env.sh").exists()


def test_another_version_of_libtorch_is_refused(machine):
    machine.torch("2.12.0")
    assert "expected libtorch 2.11.0, got 2.12.0" in machine.setup("--cpu", "--skip-data", status=2)


def test_a_token_goes_into_the_environment_alone(machine, tmp_path):
    said = machine.setup("--cpu", "--hf-token", "hf_secret", "--dataroot", tmp_path / "d", "--all", "--skip-build")
    assert "[--hf-token] a token on the command line can be read by other users" in said
    assert "HF_TOKEN=hf_secret" in machine.called()  # of the downloads
    machine.setup("--cpu", "--hf-token=hf_secret", "--dry-run")
    written = [path.read_text(errors="replace") for path in machine.root.rglob("*") if path.is_file()]
    assert not any("hf_secret" in text for text in [said, *written])
    assert not any("hf_secret" in line for line in machine.called() if not line.startswith("HF_TOKEN="))


def test_a_dry_run_touches_nothing(machine, tmp_path):
    before = sorted(machine.root.rglob("*"))
    said = machine.setup("--cpu", "--all", "--dry-run", "--dataroot", tmp_path / "new")
    assert "scripts/build.sh release millrace" in said and "download cc12m-disk" in said and "export DATAROOT=" in said
    assert sorted(machine.root.rglob("*")) == before and not (tmp_path / "new").exists() and machine.called() == []


def test_a_download_that_fails_ends_it(machine):
    script(machine.root / "build" / "millrace", '[[ $1 != download ]] || exit 5')
    machine.setup("--cpu", status=5)
    assert machine.environment()["NCCL_DEBUG"] == "WARN"  # written before the downloads


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--dataroot",), "[--dataroot] expected a value, got nothing"),
        (("--dataroot", "--all"), "[--dataroot] expected a value, got --all"),
        (("--datarot", "x"), "[--datarot] expected an option"),
        (("--hf-token",), "[--hf-token] expected a token, got nothing"),
        (("--cuda", "--rocm"), "[--rocm] expected one of --cuda, --rocm and --cpu, got --cuda too"),
        (("--cpu", "--rocm-version", "7.2"), "[--rocm-version] expected --rocm with it, got --cpu"),
        (("--rocm-version", "7.2", "--cuda"), "[--rocm-version] expected --rocm with it, got --cuda"),
        (("--torch-index", "https://mirror.example/whl"), "[--torch-index] expected a build for ROCm, got one for cpu (no driver"),
        (("--cpu", "--torch-index", "https://mirror.example/whl"), "[--torch-index] expected a build for ROCm, got one for cpu (asked for)"),
    ],
)
def test_wrong_options_are_named(machine, arguments, message):
    assert message in machine.setup(*arguments, status=2)


def test_help_names_every_option(machine):
    said = machine.setup("--help")
    for option in ("--download-cc12m", "--dataroot", "--modelroot", "--rocm-version", "--all", "--hf-token", "--dry-run", "--skip-data"):
        assert option in said


# run_train.sh


@pytest.fixture
def start(program, tmp_path):
    def run(script_name, *arguments, status=0, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "CONFIG"))}
        environment |= {"DRY_RUN": "1", "MILLRACE": str(program), "DATAROOT": "/my data", "MODELROOT": "/m", "NGPU": "8", **variables}
        environment = {name: value for name, value in environment.items() if value is not None}
        command = [ROOT / "scripts" / "baremetal" / script_name, *arguments]
        result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert result.returncode == status, result.stdout + result.stderr
        return result

    return run


@pytest.fixture
def run_train(start):
    return partial(start, "run_train.sh")


def test_the_command_of_the_readme(run_train, program):
    words = shlex.split(run_train("--training.batch_size=16", "--training.seed=1234").stdout)
    assert words[:4] == [str(program), "launch", "-n", "8"]
    assert words[4:6] == ["train", str(ROOT / "configs" / "flux_schnell_mlperf_preprocessed.toml")]
    assert words[-2:] == ["--training.batch_size=16", "--training.seed=1234"]
    assert "--training.dataset_path=/my data/cc12m_preprocessed" in words
    assert "--encoder.empty_encodings_path=/my data/empty_encodings" in words


def test_both_names_of_the_configuration(run_train):
    reference = "./torchtitan/experiments/flux/train_configs/flux_schnell_mlperf.toml"
    for name in ("CONFIG_FILE", "CONFIG"):
        words = shlex.split(run_train(**{name: reference}).stdout)
        assert str(ROOT / "configs" / "flux_schnell_mlperf.toml") in words
        assert {"--training.dataset_path=/my data/cc12m_disk", "--encoder.clip_encoder=/m/clip"} <= set(words)


def test_every_data_set_has_its_place(run_train):
    for name, folder in (("cc12m_wds", "cc12m-wds"), ("cc12m-wds", "cc12m-wds"), ("cc12m_wds_30k", "cc12m-wds"), ("coco", "coco")):
        words = shlex.split(run_train(f"--training.dataset={name}", "--training.dataset_path=").stdout)
        assert f"--training.dataset_path=/my data/{folder}" in words


def test_help_is_that_of_train(run_train):
    said = run_train("--help", NGPU="1").stdout
    assert "--training.local_batch_size" in said and "--optimizer.lr" in said


def test_what_is_missing_is_named(run_train):
    for config in ("flux_schnell_mlperf.toml", "flux_schnell_mlperf_preprocessed.toml"):
        said = run_train(status=2, DATAROOT=None, CONFIG_FILE=str(ROOT / "configs" / config)).stderr
        assert "[DATAROOT] expected the folder of the data sets" in said
    assert "[NGPU] expected a whole number of at least 1, got x" in run_train(status=2, NGPU="x").stderr
    assert "--training.steps" in run_train("--trainnig.steps=4", status=2).stderr


def test_a_run(run_train, program, tmp_path):
    """Two ranks of this machine, by the environment that setup.sh would have written."""
    command = [str(program), "prepare", "emoji", "--output", "data/emoji", "--size", "16", "--count", "40"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    tiny = str(ROOT / "configs" / "tiny.toml")
    options = ("--training.steps=4", "--sample.every_steps=0", "--job.dump_folder=run")
    run_train(*options, DRY_RUN=None, NGPU="2", SEED="3", CONFIG_FILE=tiny, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    with open(tmp_path / "run" / "config.toml", "rb") as file:
        config = tomllib.load(file)
    assert config["training"]["seed"] == 3 and config["training"]["steps"] == 4
    assert (tmp_path / "run" / "checkpoint" / "step-00000004" / "index.json").exists()


# run_preprocessing.sh


@pytest.fixture
def run_preprocessing(start):
    return partial(start, "run_preprocessing.sh")


def both_commands(result):
    return [shlex.split(line) for line in result.stdout.splitlines()]


def last(words, option):
    """The value that counts: the last of equal options."""
    return [word.split("=", 1)[1] for word in words if word.startswith(f"{option}=")][-1]


def test_the_preprocessing_of_the_readme(run_preprocessing, program):
    own = ("--training.dataset_path=/my data/cc12m_disk", "--training.dataset=cc12m_disk", "--eval.dataset=", "--training.batch_size=128")
    empty, encode = both_commands(run_preprocessing(*own, "--preprocessing.output_dataset_path=/out put/cc12m"))
    config = str(ROOT / "configs" / "flux_schnell_mlperf.toml")
    assert empty[:5] == [str(program), "prepare", "empty-encodings", config, "--output=/my data/empty_encodings"]
    assert encode[:8] == [str(program), "launch", "-n", "8", "prepare", "encode", config, "--output=/out put/cc12m"]
    for words in (empty, encode):
        assert words[-4:] == list(own)  # last, and so what counts
        assert {"--encoder.t5_encoder=/m/t5", "--encoder.clip_encoder=/m/clip", "--training.batch_size=256"} <= set(words)
        assert not any(word.startswith("--preprocessing") for word in words)


def test_where_preprocessing_reads_and_writes(run_preprocessing):
    for name in ("cc12m_disk", "coco"):
        encode = both_commands(run_preprocessing(f"--training.dataset={name}"))[1]
        assert last(encode, "--training.dataset_path") == f"/my data/{name}"
        assert last(encode, "--output") == f"/my data/{name.removesuffix('_disk')}_preprocessed"
    encode = both_commands(run_preprocessing("--training.dataset", "cc12m_wds", "-o", "here", "--rows_per_file", "7"))[1]
    assert last(encode, "--training.dataset_path") == "/my data/cc12m-wds"
    assert (last(encode, "--output"), last(encode, "--rows-per-file")) == ("here", "7")
    empty, encode = both_commands(run_preprocessing("--allow-damaged-shards", "--training.subset_size=9"))
    assert "--allow-damaged-shards" in encode and "--allow-damaged-shards" not in empty and "--training.subset_size=9" in empty


def test_what_preprocessing_misses_is_named(run_preprocessing):
    assert "[DATAROOT] expected the folder of the data sets" in run_preprocessing(status=2, DATAROOT=None).stderr
    assert "[MODELROOT] expected the folder of the models" in run_preprocessing(status=2, MODELROOT=None).stderr
    assert "[NGPU] expected a whole number" in run_preprocessing(status=2, NGPU="0").stderr
    assert "--training.dataset" in run_preprocessing("--training.datset=coco", status=2).stderr
    assert "[--output] expected a value, got nothing" in run_preprocessing("--output", status=2).stderr
    assert "[--preprocessing.output_dataset_path] expected a folder" in run_preprocessing("--training.dataset=cc12m_wds", status=2).stderr
    assert "millrace prepare encode" in run_preprocessing("--help").stdout


def test_a_preprocessing(run_preprocessing, program, tmp_path):
    command = [str(program), "prepare", "emoji", "--output", "data/emoji64", "--size", "64", "--count", "8"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    small = str(ROOT / "configs" / "flux_schnell_mlperf_laptop.toml")
    variables = {"DRY_RUN": None, "NGPU": "2", "CONFIG_FILE": small, "DATAROOT": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    said = run_preprocessing("--preprocessing.output_dataset_path=encoded", "--rows-per-file=4", "--training.batch_size=4", **variables).stdout
    assert "Wrote 8 samples in 2 files in encoded" in said
    assert (tmp_path / "encoded" / "state.json").exists() and (tmp_path / "data" / "empty_encodings" / "t5_empty.npy").exists()
