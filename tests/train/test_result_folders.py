"""What checkpoints leave for other programs under torchtune's names: epoch_0, epoch_1, or step_3, step_6."""

import json
import os
import resource
import shutil
import subprocess

import pytest
from helpers import load
from llama_runs import BASE, RECIPES, SHORT, recorded_run, train

FULL, LORA = "full_finetune_single_device", "lora_finetune_single_device"
INDEX = "model.safetensors.index.json"


def weights(folder):
    return {name: values for file in folder.glob("model*.safetensors") for name, values in load(file).items()}


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def folders(run):
    return sorted(path.name for path in run.iterdir() if path.name.startswith(("epoch_", "step_")))


def is_tidy(run):
    return not [path for path in run.rglob("*") if ".part" in path.name or ".tmp" in path.name or path.name in ("unfinished", "model.partial")]


def recorded_files(name, epoch):
    return set(json.loads((RECIPES / "files.json").read_text())[name][f"epoch_{epoch}"])


def largest_difference(got, expected):
    assert set(got) == set(expected)
    return max((got[name] - values).abs().max().item() for name, values in expected.items())


def test_each_epoch_of_all_weights(millrace, tmp_path):
    recorded_run(tmp_path, "full")
    millrace("tune", "run", FULL, "--config", "run.yaml")
    run = tmp_path / "out"
    assert folders(run) == ["epoch_0", "epoch_1"] and is_tidy(run)
    for epoch in (0, 1):
        assert files(run / f"epoch_{epoch}") == recorded_files("full", epoch)
        index = json.loads((run / f"epoch_{epoch}" / INDEX).read_text())
        assert index["weight_map"] == json.loads((BASE / INDEX).read_text())["weight_map"]
    assert largest_difference(weights(run / "epoch_1"), load(RECIPES / "full" / "final_weights.safetensors")) <= 1e-5
    assert largest_difference(weights(run / "epoch_1"), weights(run / "model")) == 0
    assert os.path.samefile(*(run / name / "model-00001-of-00002.safetensors" for name in ("epoch_1", "model")))
    millrace("export", run, "exported", "--step", 5)
    assert largest_difference(weights(run / "epoch_0"), weights(tmp_path / "exported")) == 0
    assert files(tmp_path / "exported") == files(run / "epoch_0")


@pytest.mark.parametrize("name", ["lora", "lora_packed"])
def test_each_epoch_of_adapters(millrace, tmp_path, name):
    """`lora` merges them, `lora_packed` leaves them alone; the initial ones are torchtune's."""
    for file in ("initial_adapter.safetensors", "adapter_config.json"):
        (tmp_path / "start").mkdir(exist_ok=True)
        shutil.copy(RECIPES / name / file, tmp_path / "start" / file.replace("initial_adapter", "adapter_model"))
    # torchtune's own name for adapters, which are a pickle; those for PEFT lie beside it
    recorded_run(tmp_path, name, **{"checkpointer.adapter_checkpoint": str(tmp_path / "start" / "adapter_model.pt")})
    said = millrace("tune", "run", LORA, "--config", "run.yaml").stderr
    assert "adapter_model.safetensors beside it is read" in said
    run = tmp_path / "out"
    epochs = 2 if name == "lora" else 4
    assert folders(run) == [f"epoch_{epoch}" for epoch in range(epochs)] and is_tidy(run)
    for epoch in range(epochs):
        assert files(run / f"epoch_{epoch}") == recorded_files(name, epoch)
    last = run / f"epoch_{epochs - 1}"
    expected = load(RECIPES / name / "final_adapter.safetensors")
    assert largest_difference(load(last / "adapter_model.safetensors"), expected) <= 1e-5
    assert largest_difference(load(last / "adapter_model.safetensors"), load(run / "epoch_0" / "adapter_model.safetensors")) > 1e-3
    if name == "lora":
        got = weights(last)
        for tensor, values in load(RECIPES / name / "final_merged_part.safetensors").items():
            assert (got[tensor] - values).abs().max() <= 1e-5


def test_adapters_name_the_repository_of_their_base(millrace, tmp_path):
    """As torchtune's do where its download left a note; without one the folder is named."""
    recorded_run(tmp_path, "lora_packed")
    for repository in (None, "meta-llama/Llama-3.3-70B-Instruct"):
        if repository:
            (tmp_path / "base" / "original_repo_id.json").write_text(json.dumps({"repo_id": repository}))
        run = tmp_path / ("noted" if repository else "plain")
        places = [f"{key}={run}" for key in ("output_dir", "checkpointer.output_dir")]
        millrace("tune", "run", LORA, "--config", "run.yaml", *places, "epochs=1")
        for folder in (run / "epoch_0", run / "adapter"):
            named = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
            assert named == repository or (not repository and (tmp_path / named).samefile(tmp_path / "base"))
        assert not (run / "epoch_0" / "original_repo_id.json").exists()  # its weights are not the repository's
    (tmp_path / "base" / "original_repo_id.json").write_text('{"repo_id": 3}')
    error = millrace("tune", "run", LORA, "--config", "run.yaml", "output_dir=third", "checkpointer.output_dir=third", status=4).stderr
    assert 'original_repo_id.json] expected {"repo_id": "OWNER/NAME"}' in error
    metrics = tmp_path / "third" / "metrics.jsonl"
    assert not metrics.exists() or '"loss"' not in metrics.read_text()


def test_steps_and_how_many_are_kept(millrace, tmp_path):
    recorded_run(tmp_path, "full", **{"checkpointer.keep_last_n_checkpoints": 2, "save_every_n_steps": 3})
    for options in ([], ["enable_async_checkpointing=true", "output_dir=other", "checkpointer.output_dir=other"]):
        millrace("tune", "run", FULL, "--config", "run.yaml", *options)
        run = tmp_path / ("other" if options else "out")
        assert folders(run) == ["step_10", "step_9"] and is_tidy(run)
        assert sorted(path.name for path in (run / "checkpoint").iterdir() if path.is_dir()) == ["step-00000009", "step-00000010"]
    assert largest_difference(weights(tmp_path / "out" / "step_9"), weights(tmp_path / "other" / "step_9")) == 0


def test_only_folders_of_the_run_s_own_names_are_deleted(millrace, tmp_path):
    recorded_run(tmp_path, "full", **{"checkpointer.keep_last_n_checkpoints": 1, "epochs": 3})
    others = ["epoch_1_notes", "epoch_01", "epoch_7", "step_1"]
    for name in others:
        (tmp_path / "out" / name).mkdir(parents=True)
    millrace("tune", "run", FULL, "--config", "run.yaml")
    assert folders(tmp_path / "out") == sorted([*others, "epoch_2"])


def test_a_folder_that_is_missing_is_written_by_the_same_command(millrace, tmp_path):
    """As after a kill between the checkpoint and the folder."""
    recorded_run(tmp_path, "full")
    command = ["tune", "run", FULL, "--config", "run.yaml"]
    millrace(*command)
    run = tmp_path / "out"
    before = {name: weights(run / name) for name in folders(run)}
    shutil.rmtree(run / "epoch_1")
    (run / ".epoch_1.part").mkdir()
    millrace(*command)  # nothing is left to train
    assert largest_difference(weights(run / "epoch_1"), before["epoch_1"]) == 0 and is_tidy(run)
    shutil.rmtree(run / "epoch_0")
    millrace(*command, "epochs=3")
    assert folders(run) == ["epoch_0", "epoch_1", "epoch_2"]
    assert largest_difference(weights(run / "epoch_0"), before["epoch_0"]) == 0


def test_what_a_killed_process_left_unfinished_is_deleted(millrace, tmp_path):
    recorded_run(tmp_path, "lora_packed")
    command = ["tune", "run", LORA, "--config", "run.yaml"]
    millrace(*command, "epochs=1")
    run = tmp_path / "out"
    for name in ("adapter/.adapter_model.safetensors.tmp-29022-428", ".results.json.tmp-29022-3"):
        (run / name).write_text("half")
    others = [run / "adapter" / name for name in (".notes.tmp-1", "notes.tmp-1-2", ".notes.tmp-1-b")]
    for other in others:
        other.write_text("of the user's")
    millrace(*command, "epochs=1")  # nothing is left to do
    assert (run / "adapter" / ".adapter_model.safetensors.tmp-29022-428").exists()
    millrace(*command)
    assert all(other.exists() for other in others)
    for other in others:
        other.unlink()
    assert is_tidy(run)
    assert ".tmp-29022" not in (run / "results.json").read_text()


def test_what_another_program_left_under_the_name_is_replaced(millrace, tmp_path):
    recorded_run(tmp_path, "full")
    (tmp_path / "out" / "epoch_0").mkdir(parents=True)
    (tmp_path / "out" / "epoch_0" / "adapter_model.pt").write_text("old")
    millrace("tune", "run", FULL, "--config", "run.yaml")
    assert files(tmp_path / "out" / "epoch_0") == recorded_files("full", 0)


def test_epochs_in_our_own_order(millrace, tmp_path):
    """24 rows are two steps of 12; after 4 steps of 7 the first epoch is over, and its checkpoint is saved."""
    sizes = {"training.local_batch_size": 7, "training.global_batch_size": 7, "training.steps": 10_000, "finetune.epochs": 2}
    train(millrace, tmp_path / "run", SHORT | sizes | {"finetune.result_folders": "epochs"})
    assert folders(tmp_path / "run") == ["epoch_0", "epoch_1"]
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoint").iterdir() if path.is_dir())
    assert steps == ["step-00000004", "step-00000007"]


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"finetune.result_folders": "epochs"}, "expected finetune.epochs"),
        ({"finetune.result_folders": "steps", "checkpoint.no_enable": None}, "expected checkpoint.enable"),
        ({"finetune.result_folders": "steps", "finetune.no_save_model": None}, "expected finetune.save_model"),
    ],
)
def test_refusals(millrace, tmp_path, options, expected):
    assert expected in train(millrace, tmp_path / "run", SHORT | options, status=2).stderr


def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("epochs", [2, 1], ids=["in the background", "at the end"])
def test_a_full_disk(program, millrace, tmp_path, epochs):
    """The checkpoint of the adapters fits, the merged model of the first epoch, or of the last, does not."""
    recorded_run(tmp_path, "lora", epochs=epochs)
    command = ["tune", "run", LORA, "--config", "run.yaml"]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    result = subprocess.run([program, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, preexec_fn=limited(80_000))
    assert result.returncode == 5, result.stderr
    assert "model-0000" in result.stderr.splitlines()[-1]
    run = tmp_path / "out"
    assert folders(run) == [] and not (run / "model").exists() and is_tidy(run)
    millrace(*command)
    assert folders(run) == [f"epoch_{epoch}" for epoch in range(epochs)] and is_tidy(run)
