"""scripts/train-main.sh and train-flux.sh: sd-scripts' arguments from the environment variables of a container."""

import hashlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "scripts" / "train-main.sh"


def run(tmp_path, *arguments, status=0, **variables):
    (tmp_path / "set.json").write_text("{}")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "DRY_RUN": "1", "MILLRACE": "/bin/true",
                   "DATASET_CONFIG": str(tmp_path / "set.json")} | variables  # fmt: skip
    result = subprocess.run([MAIN, *arguments], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == status, result.stderr
    return shlex.split(result.stdout) if status == 0 else result.stderr


def values(words, name):
    """The words behind --name up to the next option."""
    rest = words[words.index(name) + 1 :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]


def test_defaults(tmp_path):
    words = run(tmp_path)
    assert words[:3] == ["/bin/true", "kohya", "flux_train_network"]
    assert values(words, "--optimizer_type") == ["prodigy"] and values(words, "--learning_rate") == ["1"]
    assert values(words, "--optimizer_args") == ["weight_decay=0.01", "d_coef=1"]
    assert values(words, "--pretrained_model_name_or_path") == ["/workspace/flux/flux_dev.safetensors"]
    assert "--fp8_base" in words and "--sample_prompts" not in words and "--noise_offset" not in words


def test_each_run_has_a_name_which_a_restart_keeps(tmp_path):
    output = tmp_path / "output of mine"
    hashed = hashlib.sha256(b"{}").hexdigest()[:12]
    assert re.fullmatch(hashed + r"-\d{10}", values(run(tmp_path), "--output_name")[0]) and not output.exists()
    # A program that prints its arguments in the place of millrace.
    (tmp_path / "millrace").write_text("#!/bin/bash\nprintf '%q ' \"$@\"\n")
    (tmp_path / "millrace").chmod(0o755)
    started = dict(DRY_RUN="", MILLRACE=str(tmp_path / "millrace"), OUTPUT_PATH=str(output))
    names = [name for _ in range(2) for name in values(run(tmp_path, **started), "--output_name")]
    assert re.fullmatch(hashed + r"-\d{10}", names[0]) and names[0] == names[1] == (output / "output_name.txt").read_text().strip()
    assert values(run(tmp_path, OUTPUT_NAME="cats", **started), "--output_name") == ["cats"]


def test_a_pod_goes_back_to_a_checkpoint_once(tmp_path):
    output = tmp_path / "output"
    for step in (100, 200, 300):
        (output / "checkpoint" / f"step-{step:08d}").mkdir(parents=True)
    (tmp_path / "millrace").write_text("#!/bin/bash\nprintf '%q ' \"$@\"\n")
    (tmp_path / "millrace").chmod(0o755)
    back = str(output / "checkpoint" / "step-00000100")
    started = dict(MILLRACE=str(tmp_path / "millrace"), OUTPUT_PATH=str(output), PARAMS_RESUME_FROM=back)

    def steps(folder):
        return sorted(path.name for path in folder.glob("step-*"))

    assert values(run(tmp_path, **started), "--resume") == [back] and len(steps(output / "checkpoint")) == 3  # DRY_RUN
    started["DRY_RUN"] = ""
    assert values(run(tmp_path, **started), "--resume") == [back]
    assert steps(output / "checkpoint") == ["step-00000100"]
    (aside,) = output.glob("set_aside-*")
    assert steps(aside) == ["step-00000200", "step-00000300"]
    (output / "checkpoint" / "step-00000150").mkdir()  # the run goes on, and the pod is started again
    assert "--resume" not in run(tmp_path, **started) and len(steps(output / "checkpoint")) == 2
    again = values(run(tmp_path, **started | {"PARAMS_RESUME_FROM": str(output / "checkpoint" / "step-00000150")}), "--resume")
    assert again and len(steps(output / "checkpoint")) == 2


def test_a_pod_that_ends_while_it_fetches_starts_anew(tmp_path):
    """Pictures of half a download would be trained on as if they were all."""
    (tmp_path / "bin").mkdir()
    kaggle, pictures = tmp_path / "bin" / "kaggle", tmp_path / "pictures"
    started = dict(DRY_RUN="", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin", DATASET_NAME="a/cats", DATASET_PATH=str(pictures))

    def fetch(*lines, status=0):
        kaggle.write_text("\n".join(["#!/bin/bash", 'folder=${*: -2:1}', *lines]))
        kaggle.chmod(0o755)
        environment = {"HOME": str(tmp_path), "MILLRACE": "/bin/true", "DATASET_CONFIG": str(tmp_path / "set.json"),
                       "OUTPUT_PATH": str(tmp_path / "output")} | started  # fmt: skip
        (tmp_path / "set.json").write_text("{}")
        assert subprocess.run([MAIN], env=environment, capture_output=True, timeout=60).returncode == status
        return sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*") if path.is_file() and ".incoming" not in path.parts)

    assert fetch('touch "$folder/a.png"', "exit 3", status=3) == []
    assert fetch('mkdir "$folder/cats"; touch "$folder/a.png" "$folder/cats/b.png"') == ["a.png", "cats/b.png"]
    assert not (pictures / ".incoming").exists() and fetch("exit 3") == ["a.png", "cats/b.png"]  # nothing is fetched again
    (pictures / ".incoming" / "complete").mkdir(parents=True)
    (pictures / "cats" / "b.png").rename(pictures / ".incoming" / "complete" / "b.png")  # it ended between two files
    assert fetch("exit 3") == ["a.png", "b.png"]


def test_every_variable_becomes_its_argument(tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\n")
    words = run(
        tmp_path, "--seed", "9", OUTPUT_PATH="/out", SAMPLE_PROMPTS=str(tmp_path / "prompts.txt"), PARAMS_D_COEF="2", NGPU="4",
        PARAMS_LEARNING_RATE="0.5", PARAMS_LEARNING_SCHEDULER="cosine_with_restarts", PARAMS_MAX_EPOCHS="7", PARAMS_NETWORK_ALPHA="16",
        PARAMS_NETWORK_DIM="32", PARAMS_NOISE_OFFSET="0.1", PARAMS_NUM_CYCLES="3", PARAMS_OPTIMIZER_ARGS="d0=1e-5 betas=0.9,0.99",
        PARAMS_RESUME_FROM="/out/checkpoint/step-00000100", PARAMS_SAVE_EVERY_N_STEPS="50", PARAMS_SAMPLE_EVERY_N_STEPS="25",
        PARAMS_SPLIT_QKV="True", PARAMS_WEIGHT_DECAY="0.1",
    )  # fmt: skip
    assert words[:6] == ["/bin/true", "launch", "-n", "4", "kohya", "flux_train_network"]
    for name, value in {
        "--output_dir": "/out", "--learning_rate": "0.5", "--lr_scheduler": "cosine_with_restarts", "--lr_scheduler_num_cycles": "3",
        "--max_train_epochs": "7", "--network_alpha": "16", "--network_dim": "32", "--noise_offset": "0.1", "--save_every_n_steps": "50",
        "--sample_every_n_steps": "25", "--network_args": "split_qkv=True", "--resume": "/out/checkpoint/step-00000100",
    }.items():  # fmt: skip
        assert values(words, name) == [value], name
    assert values(words, "--optimizer_args") == ["weight_decay=0.1", "d_coef=2", "d0=1e-5", "betas=0.9,0.99"]
    assert words[-2:] == ["--seed", "9"]  # behind the script's own, which it overrides


@pytest.mark.parametrize("value, splits", [("true", True), ("1", True), ("YES", True), ("False", False), ("0", False), ("", False)])
def test_split_qkv_is_taken_as_people_write_it(tmp_path, value, splits):
    assert ("--network_args" in run(tmp_path, PARAMS_SPLIT_QKV=value)) == splits
    assert "[PARAMS_SPLIT_QKV] expected True or False, got maybe" in run(tmp_path, status=2, PARAMS_SPLIT_QKV="maybe")


@pytest.mark.parametrize("optimizer, takes", [("prodigyopt.Prodigy", True), ("ProdigyPlusScheduleFree", True), ("AdamW", False)])
def test_d_coef_reaches_the_optimizers_that_have_it(tmp_path, optimizer, takes):
    environment = {"PATH": "/usr/bin:/bin", "DRY_RUN": "1", "MILLRACE": "/bin/true", "PARAMS_OPTIMIZER_TYPE": optimizer, "PARAMS_D_COEF": "2"}
    result = subprocess.run([ROOT / "scripts" / "train-flux.sh"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert ("d_coef=2" in shlex.split(result.stdout)) == takes
    assert (f"[PARAMS_D_COEF] has no effect on {optimizer}" in result.stderr) != takes


@pytest.mark.parametrize(
    "variables, place",
    [({"BASE_MODEL": "sdxl"}, "BASE_MODEL"), ({"DATASET_CONFIG": ""}, "DATASET_CONFIG"), ({"DATASET_CONFIG": "/none.json"}, "DATASET_CONFIG"),
     ({"SAMPLE_PROMPTS": "/none.txt"}, "SAMPLE_PROMPTS"), ({"DATASET_NAME": "a/b", "DATASET_PATH": "/none"}, "DATASET_NAME")],
)  # fmt: skip
def test_refusals_name_the_variable(tmp_path, variables, place):
    assert f"[{place}] expected" in run(tmp_path, status=2, **variables)


def test_the_program_is_found_or_named(tmp_path):
    assert os.access(MAIN, os.X_OK)
    result = subprocess.run([ROOT / "scripts" / "train-flux.sh"], env={"PATH": "/usr/bin:/bin", "MILLRACE": "/none"}, capture_output=True, text=True)
    assert result.returncode == 2 and "[MILLRACE] expected the program" in result.stderr
