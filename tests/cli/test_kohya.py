"""`millrace kohya flux_train_network`: sd-scripts' command line as a configuration, explained, refused, and trained."""

import hashlib
import json
import os
import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
import safetensors
import torch
from helpers import load, save
from PIL import Image
from tiny_encoders import make_autoencoder, make_clip, make_t5

ROOT = Path(__file__).resolve().parents[2]
HIDDEN, HEADS, TEXT, POOLED, CHANNELS = 32, 2, 24, 16, 16


def flux_weights(double=1, single=1, guidance=True):
    """A tiny FLUX in Black Forest Labs' naming."""
    generator = torch.Generator().manual_seed(1)
    tensors = {}

    def linear(name, inputs, outputs):
        tensors[name + ".weight"] = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
        tensors[name + ".bias"] = torch.zeros(outputs)

    linear("img_in", 4 * CHANNELS, HIDDEN)
    linear("txt_in", TEXT, HIDDEN)
    for name, width in [("time_in", 256), ("vector_in", POOLED)] + ([("guidance_in", 256)] if guidance else []):
        linear(name + ".in_layer", width, HIDDEN)
        linear(name + ".out_layer", HIDDEN, HIDDEN)
    for block in range(double):
        for stream in ("img", "txt"):
            prefix = f"double_blocks.{block}.{stream}"
            linear(prefix + "_mod.lin", HIDDEN, 6 * HIDDEN)
            linear(prefix + "_attn.qkv", HIDDEN, 3 * HIDDEN)
            linear(prefix + "_attn.proj", HIDDEN, HIDDEN)
            linear(prefix + "_mlp.0", HIDDEN, 4 * HIDDEN)
            linear(prefix + "_mlp.2", 4 * HIDDEN, HIDDEN)
            for norm in ("query_norm", "key_norm"):
                tensors[f"{prefix}_attn.norm.{norm}.scale"] = torch.ones(HIDDEN // HEADS)
    for block in range(single):
        prefix = f"single_blocks.{block}"
        linear(prefix + ".linear1", HIDDEN, 7 * HIDDEN)
        linear(prefix + ".linear2", 5 * HIDDEN, HIDDEN)
        linear(prefix + ".modulation.lin", HIDDEN, 3 * HIDDEN)
        for norm in ("query_norm", "key_norm"):
            tensors[f"{prefix}.norm.{norm}.scale"] = torch.ones(HIDDEN // HEADS)
    linear("final_layer.linear", HIDDEN, 4 * CHANNELS)
    linear("final_layer.adaLN_modulation.1", HIDDEN, 2 * HIDDEN)
    return tensors


DATASET = """
[general]
caption_extension = ".txt"
[[datasets]]
resolution = 64
batch_size = 2
  [[datasets.subsets]]
  image_dir = "imgs"
  num_repeats = 2
"""


@pytest.fixture
def arguments(tmp_path):
    """What every command needs; the files need not be there to show what becomes of it."""
    (tmp_path / "imgs").mkdir()
    for number in range(4):
        Image.effect_noise((64, 64), 50 + number).convert("RGB").save(tmp_path / "imgs" / f"{number}.png")
        (tmp_path / "imgs" / f"{number}.txt").write_text(f"a red cat {number}")
    (tmp_path / "set.toml").write_text(DATASET)
    return [
        "kohya", "flux_train_network", "--pretrained_model_name_or_path", "flux.safetensors", "--clip_l", "clip",
        "--t5xxl", "t5/model.safetensors", "--ae", "ae/diffusion_pytorch_model.safetensors", "--dataset_config", "set.toml",
        "--output_dir", "out", "--output_name", "cat", "--network_module", "networks.lora_flux", "--network_train_unet_only",
    ]  # fmt: skip


def show(millrace, *words, **options):
    result = millrace(*words, "--show-config", **options)
    return tomllib.loads(result.stdout), result.stderr


def test_defaults_are_those_of_sd_scripts(millrace, arguments):
    config, said = show(millrace, *arguments)
    assert config["job"]["task"] == "flux_lora" and config["job"]["dump_folder"] == "out"
    assert config["objective"]["timestep_sampling"] == "sigma" and config["objective"]["guidance_scale"] == 3.5
    assert config["objective"]["model_prediction_type"] == "sigma_scaled"
    assert config["lora"]["rank"] == 4 and config["lora"]["alpha"] == 1
    assert config["training"]["steps"] == 1600 and config["training"]["local_batch_size"] == 2
    assert config["optimizer"] | {"lr": 2e-6, "weight_decay": 0.01, "beta2": 0.999} == config["optimizer"]
    assert config["training"]["dataset"] == "pictures" and config["training"]["dataset_path"] == "set.toml"
    assert "defaults of sd-scripts" in said and "--timestep_sampling sigma" in said


def test_every_argument_gets_a_word_and_some_a_warning(millrace, arguments):
    config, said = show(
        millrace, *arguments, "--noise_offset", "0.1", "--min_snr_gamma", "5", "--sdpa", "--max_train_epochs", "10",
        "--learning_rate", "1e-4", "--mixed_precision", "bf16", "--fp8_base", "--timestep_sampling", "flux_shift",
        "--model_prediction_type", "raw", "--network_args", "train_double_block_indices=0-2", "loraplus_unet_lr_ratio=4",
    )  # fmt: skip
    assert config["training"]["steps"] == 40  # 4 pictures, twice, in batches of 2
    assert config["lora"]["base_dtype"] == "fp8_unscaled" and config["lora"]["loraplus_ratio"] == 4
    assert config["lora"]["rank_patterns"][-1].startswith("double_blocks.*.")
    for text in ("[--noise_offset] has no effect", "[--min_snr_gamma] has no effect", "training.steps = 40", "nothing to do here"):
        assert text in said, text
    for word in ("--sdpa", "--fp8_base", "--max_train_epochs 10"):
        assert word in said


def test_a_file_of_arguments_is_overridden_by_the_command_line(millrace, arguments, tmp_path):
    (tmp_path / "args.toml").write_text('[a]\nnetwork_dim = 8\nseed = 5\n[b]\nlr_scheduler = "cosine"\n')
    config, _ = show(millrace, *arguments, "--config_file", "args.toml", "--seed", "6")
    assert config["lora"]["rank"] == 8 and config["training"]["seed"] == 6 and config["lr_scheduler"]["name"] == "cosine"


def test_pictures_before_the_first_step_need_no_interval(millrace, arguments, tmp_path):
    (tmp_path / "prompts.txt").write_text("a red cat\n")
    words = [*arguments, "--max_train_steps", "7", "--sample_prompts", "prompts.txt", "--sample_at_first"]
    config, said = show(millrace, *words)
    assert config["sample"]["every_steps"] == 7 and "the first pictures are drawn before step 1" in " ".join(said.split())
    assert "[--sample_at_first] has no effect" not in said and "[--sample_prompts] has no effect" not in said
    config, _ = show(millrace, *words, "--sample_every_n_steps", "3")
    assert config["sample"]["every_steps"] == 3
    config, said = show(millrace, *words[:-1])
    assert config["sample"]["every_steps"] == 0 and "[--sample_prompts] has no effect" in said


def test_options_of_the_data_set_on_the_command_line_come_to_its_file(millrace, arguments, tmp_path):
    config, _ = show(millrace, *arguments, "--flip_aug")
    assert config["training"]["dataset_path"] == "out/dataset.json"
    folder = tmp_path / "folders" / "3_a cat"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    place = arguments.index("--dataset_config")
    words = arguments[:place] + ["--train_data_dir", "folders", "--resolution", "64"] + arguments[place + 2 :]
    config, _ = show(millrace, *words, "--train_batch_size", "3", "--max_train_epochs", "2")
    assert config["training"]["steps"] == 2 and config["training"]["local_batch_size"] == 3
    assert "resolution=64x64" in config["lora"]["metadata"]


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--netwrok_dim", "4"], "[--netwrok_dim] expected an option of flux_train_network, got netwrok_dim (try --network_dim)"),
        (["--optimizer_type", "Prodigyy"], "(try prodigy)"),
        (["--network_args", "train_blocks=some"], "[--network_args]"),
        (["--network_dim", "0"], "[--network_args] [network_dim] expected a rank of 1 or more"),
        (["--deepspeed"], "[--deepspeed] expected no deepspeed"),
        (["--sample_every_n_steps", "5"], "expected --sample_prompts"),
        (["--timestep_sampling", "sigmoid2"], "[--timestep_sampling, here objective.timestep_sampling] expected one of"),
    ],
)
def test_refusals_name_the_argument(millrace, arguments, words, expected):
    result = millrace(*arguments, *words, "--show-config", status=2)
    assert result.stdout == "" and expected in result.stderr


def test_refusals_of_the_run_name_the_argument_too(millrace, arguments, weights):
    said = millrace(*arguments, "--cache_latents", "--color_aug", status=2).stderr
    assert "[--cache_latents, here encoder.cache_latents] expected" in said


def test_scripts_and_help(millrace, arguments):
    assert "(try millrace kohya flux_train_network)" in millrace("kohya", "train_network", status=2).stderr
    assert "expected flux_train_network, got nothing" in millrace("kohya", status=2).stderr
    help_text = millrace("kohya", "--help").stdout
    assert "--network_dim" in help_text and "--deepspeed" not in help_text


def test_text_encoders_and_split_layers_are_trained_as_told(millrace, arguments):
    with_clip = [word for word in arguments if word != "--network_train_unet_only"]
    config, _ = show(millrace, *arguments)
    assert config["lora"]["train_clip_l"] is False and config["lora"]["split_qkv"] is False
    config, _ = show(millrace, *with_clip, "--learning_rate", "1e-4", "--unet_lr", "2e-4")
    assert config["lora"]["train_clip_l"] is True and config["lora"]["train_t5xxl"] is False
    assert config["optimizer"]["lr"] == 2e-4 and config["lora"]["text_encoder_lr"] == 1e-4
    config, _ = show(millrace, *with_clip, "--network_train_text_encoder_only")
    assert config["lora"]["rank_patterns"] == ["double_blocks.*=0", "single_blocks.*=0"] and config["lora"]["train_clip_l"]
    refused = millrace(*arguments, "--network_train_text_encoder_only", "--show-config", status=2).stderr
    assert "expected at most one of --network_train_unet_only and" in refused
    config, said = show(
        millrace, *with_clip, "--text_encoder_lr", "5e-5", "1e-5", "--learning_rate", "1e-4", "--network_args", "train_t5xxl=True",
        "split_qkv=True", "loraplus_text_encoder_lr_ratio=4", "network_reg_lrs=te1_.*mlp_fc1=1e-5", "network_reg_dims=te3_.*_wo=2",
    )  # fmt: skip
    lora = config["lora"]
    assert lora["train_t5xxl"] and lora["text_encoder_lr"] == 5e-5 and lora["t5xxl_lr"] == 1e-5 and lora["split_qkv"]
    assert lora["text_encoder_loraplus_ratio"] == 4 and "loraplus_ratio" not in lora
    assert lora["lr_patterns"] == ["clip_l.text_model.encoder.layers.*.mlp.fc1=0.2"]
    assert lora["rank_patterns"] == ["t5xxl.encoder.block.*.layer.1.DenseReluDense.wo=2"]
    assert "3 and 4 times the alpha" in said


def test_what_the_data_set_file_holds_back_is_validated_on(millrace, arguments, tmp_path):
    assert show(millrace, *arguments)[0]["validation"]["enable"] is False
    (tmp_path / "set.toml").write_text(DATASET.replace("resolution = 64", "resolution = 64\nvalidation_split = 0.5"))
    validation = show(millrace, *arguments)[0]["validation"]
    assert validation["enable"] and validation["freq"] == 2  # two pictures, twice, in batches of 2: an epoch
    assert show(millrace, *arguments, "--validate_every_n_steps", "7")[0]["validation"]["freq"] == 7


def test_layers_ranks_and_alphas_come_from_a_file(millrace, arguments, tmp_path):
    with_clip = [word for word in arguments if word != "--network_train_unet_only"]
    words = [*with_clip, "--network_weights", "start.safetensors", "--dim_from_weights", "--network_args", "rank_dropout=0.1"]
    tensors = {}

    def add(name, rank, alpha):
        tensors[f"{name}.lora_down.weight"] = torch.zeros(rank, 4)
        tensors[f"{name}.alpha"] = torch.tensor(alpha)

    for block in range(19):
        add(f"lora_unet_double_blocks_{block}_img_attn_proj", 8, 4.0)
        add(f"lora_unet_double_blocks_{block}_txt_mlp_0", 8, 4.0)
        add(f"lora_unet_double_blocks_{block}_img_attn_qkv", 24, 12.0)
    save(tmp_path / "start.safetensors", tensors)
    config, said = show(millrace, *words, "train_blocks=single")
    lora = config["lora"]
    assert lora["rank"] == 8 and lora["alpha"] == 4 and lora["initial_adapter"] == "start.safetensors"
    double = ["img_mod.lin=0", "img_attn.qkv=24", "img_mlp.0=0", "img_mlp.2=0", "txt_mod.lin=0", "txt_attn.qkv=0", "txt_attn.proj=0", "txt_mlp.2=0"]
    assert lora["rank_patterns"] == [f"double_blocks.*.{layer}" for layer in double] + ["single_blocks.*=0"]
    assert lora["alpha_patterns"] == ["double_blocks.*.img_attn.qkv=12"]
    assert lora["train_clip_l"] is False and lora["rank_dropout"] == 0.1
    assert "train_blocks has no effect beside --dim_from_weights" in " ".join(said.split())

    for layer in range(12):
        for name in ("self_attn_k_proj", "self_attn_v_proj", "self_attn_q_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2"):
            add(f"lora_te1_text_model_encoder_layers_{layer}_{name}", 8, 8.0)
    save(tmp_path / "start.safetensors", tensors)
    lora = show(millrace, *words)[0]["lora"]
    assert lora["train_clip_l"] is True and lora["rank"] == 8 and lora["alpha"] == 8
    assert lora["alpha_patterns"][-2:] == ["double_blocks.*.img_attn.proj=4", "double_blocks.*.txt_mlp.0=4"]

    # Embedders, and T5, which sd-scripts trains where the file has it.
    assert lora["targets"] == ["all"] and lora["train_t5xxl"] is False
    add("lora_unet_img_in", 5, 5.0)
    add("lora_te3_encoder_block_23_layer_1_DenseReluDense_wo", 8, 8.0)
    save(tmp_path / "start.safetensors", tensors)
    lora = show(millrace, *words, "--text_encoder_lr", "5e-5", "1e-5")[0]["lora"]
    assert lora["targets"] == ["all", "img_in"] and "img_in=5" in lora["rank_patterns"]
    assert lora["train_t5xxl"] is True and lora["t5xxl_lr"] == 1e-5 and "t5xxl.encoder.block.*.layer.0.SelfAttention.q=0" in lora["rank_patterns"]
    refused = millrace(*words, "--cache_text_encoder_outputs", "--show-config", status=2).stderr
    assert "expected none with adapters of T5 in the file of --dim_from_weights, as in sd-scripts" in refused
    only = [word for word in tensors if "_te1_" not in word]
    save(tmp_path / "start.safetensors", {name: tensors[name] for name in only})
    lora = show(millrace, *words, "--text_encoder_lr", "5e-5", "1e-5")[0]["lora"]
    assert lora["train_clip_l"] is False and lora["train_t5xxl"] is True and lora["text_encoder_lr"] == 1e-5
    lora = show(millrace, *words, "--network_train_unet_only")[0]["lora"]
    assert lora["train_t5xxl"] is False and not any("t5xxl" in pattern for pattern in lora["rank_patterns"])


def test_a_run_starts_from_a_file_with_a_rank_for_each_layer(millrace, arguments, weights, tmp_path):
    common = [word for word in arguments if word != "--network_train_unet_only"] + ["--max_train_steps", "2", "--learning_rate", "1e-2"]
    choices = ["split_qkv=True", "img_mlp_dim=3", "txt_mod_dim=0", "network_reg_dims=te1_.*_1_mlp=5"]
    millrace(*common, "--network_dim", "2", "--network_alpha", "1", "--network_args", *choices)
    first = load((tmp_path / "out" / "cat.safetensors").rename(tmp_path / "start.safetensors"))
    words = ["out2" if word == "out" else word for word in common]
    millrace(*words, "--network_weights", "start.safetensors", "--dim_from_weights")
    second = load(tmp_path / "out2" / "cat.safetensors")
    assert {name: tensor.shape for name, tensor in first.items()} == {name: tensor.shape for name, tensor in second.items()}
    assert {first[name].item() for name in first if name.endswith(".alpha")} == {1, 3, 4}
    assert all(first[name] == second[name] for name in first if name.endswith(".alpha"))

    # sd-scripts passes over layers that the model does not have.
    more = {name.replace("blocks_0", "blocks_7"): tensor.clone() for name, tensor in first.items() if "blocks_0" in name}
    save(tmp_path / "start.safetensors", first | more)
    said = millrace(*["out3" if word == "out2" else word for word in words], "--network_weights", "start.safetensors", "--dim_from_weights").stderr
    assert f"passes over {sum(name.endswith('.alpha') for name in more)} adapters of layers that are not trained here" in " ".join(said.split())
    assert load(tmp_path / "out3" / "cat.safetensors").keys() == first.keys()


@pytest.fixture
def weights(tmp_path):
    """The files of `arguments`."""
    save(tmp_path / "flux.safetensors", flux_weights())
    make_clip(tmp_path / "clip")
    make_t5(tmp_path / "t5")
    make_autoencoder(tmp_path / "ae", channels=(32, 32, 32, 32), latent_channels=CHANNELS)


def test_caches_on_disk_lie_beside_the_pictures(millrace, arguments, weights, tmp_path):
    on_disk = ["--cache_latents_to_disk", "--cache_text_encoder_outputs_to_disk"]
    config, _ = show(millrace, *arguments, *on_disk)
    assert config["encoder"]["cache_latents"] == config["encoder"]["cache_encodings"] == "npz"
    with_clip, said = show(millrace, *[word for word in arguments if word != "--network_train_unet_only"], *on_disk)
    assert with_clip["encoder"]["cache_encodings"] == "npz" and "CLIP-L's change as it is trained" in " ".join(said.split())

    def run(output):
        words = [output if word == "out" else word for word in [*arguments, *on_disk]]
        said = millrace(*words, "--max_train_steps", "8", "--learning_rate", "1e-2", "--seed", "1", "--t5xxl_max_token_length", "16").stderr
        lines = map(json.loads, (tmp_path / output / "metrics.jsonl").read_text().splitlines())
        return [line["loss"] for line in lines if "loss" in line], said

    losses, _ = run("first")
    files = {path.name: path.read_bytes() for path in (tmp_path / "imgs").glob("*.npz")}
    assert sorted(files) == sorted(name for i in range(4) for name in (f"{i}_0064x0064_flux.npz", f"{i}_flux_te.npz"))
    assert not (tmp_path / "first" / "latents").exists() and not (tmp_path / "first" / "encodings").exists()
    again, said = run("second")
    assert again == losses and "encoding again" not in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "imgs").glob("*.npz")} == files


def test_pictures_are_scaled_as_sd_scripts_does_by_itself(millrace, arguments):
    config, _ = show(millrace, *arguments)
    assert config["training"]["resize_interpolation"] == "area_or_lanczos"
    config, _ = show(millrace, *arguments, "--resize_interpolation", "lanczos")
    assert config["training"]["resize_interpolation"] == "bicubic"  # which the data set's own file does not ask for


def metadata(path):
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata()


SMALL = ["--learning_rate", "1e-2", "--network_dim", "2", "--seed", "1", "--timestep_sampling", "shift", "--model_prediction_type",
         "raw", "--t5xxl_max_token_length", "16", "--cache_latents", "--cache_text_encoder_outputs"]  # fmt: skip


def test_files_appear_while_the_run_goes_on_and_old_ones_go(program, millrace, arguments, weights, tmp_path):
    """As programs that copy them elsewhere expect: the last one's name only at the end, even of a run that is stopped."""
    out = tmp_path / "out"
    words = [*arguments, *SMALL, "--save_every_n_steps", "2", "--save_last_n_steps", "3", "--max_train_steps"]
    with subprocess.Popen([program, *words, "100000"], cwd=tmp_path, stderr=subprocess.DEVNULL) as run:
        until = time.monotonic() + 300
        while not (out / "cat-step00000008.safetensors").exists() and time.monotonic() < until and run.poll() is None:
            time.sleep(0.02)
        assert run.poll() is None and not (out / "cat.safetensors").exists()
        run.terminate()
        assert run.wait(300) == 75
    files = sorted(path.name for path in out.glob("cat*"))
    last = int(files[-1].removeprefix("cat-step").removesuffix(".safetensors"))
    assert last >= 8 and files == [f"cat-step{step:08d}.safetensors" for step in (last - 2, last)]
    facts = metadata(out / files[0])
    assert facts["ss_steps"] == str(last - 2) and facts["ss_epoch"] == str((last - 3) // 4)  # four steps an epoch
    done = max(int(path.name.removeprefix("step-")) for path in (out / "checkpoint").glob("step-*"))
    millrace(*words, str(done + 1))
    assert (out / "cat.safetensors").read_bytes()[-64:] == (out / "lora.safetensors").read_bytes()[-64:]
    assert metadata(out / "cat.safetensors")["ss_steps"] == str(done + 1)


@pytest.mark.slow
def test_a_pod_that_is_killed_and_started_again_leaves_the_same_files(program, arguments, weights, tmp_path):
    """scripts/train-main.sh with a container's variables, ended without a word, as a spot instance may be."""
    variables = {"MILLRACE": program, "BASE_MODEL": "flux", "DATASET_CONFIG": tmp_path / "set.toml", "OUTPUT_NAME": "cat",
                 "PARAMS_MAX_EPOCHS": 5, "PARAMS_SAVE_EVERY_N_STEPS": 3, "PARAMS_OPTIMIZER_ARGS": "d0=1e-3"}  # fmt: skip
    models_here = ["--pretrained_model_name_or_path", "flux.safetensors", "--clip_l", "clip", "--t5xxl", "t5", "--ae", "ae",
                   "--t5xxl_max_token_length", "16"]  # fmt: skip

    def start(name):
        environment = os.environ | {key: str(value) for key, value in variables.items()} | {"OUTPUT_PATH": str(tmp_path / name)}
        command = [ROOT / "scripts" / "train-main.sh", *models_here]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)

    assert start("whole").wait(300) == 0
    for step in (3, 9):
        run = start("killed")
        until = time.monotonic() + 300
        while not (tmp_path / "killed" / f"cat-step{step:08d}.safetensors").exists() and time.monotonic() < until:
            time.sleep(0.01)
        run.kill()
        run.wait(300)
    assert start("killed").wait(300) == 0
    names = {f"cat-step{step:08d}.safetensors" for step in range(3, 20, 3)} | {"cat.safetensors"}
    assert {path.name for path in (tmp_path / "killed").glob("cat*")} == names
    for name in names | {"lora.safetensors"}:
        whole, killed = load(tmp_path / "whole" / name), load(tmp_path / "killed" / name)
        assert whole.keys() == killed.keys() and all(killed[key].equal(tensor) for key, tensor in whole.items()), name


def test_epochs_have_files_too_but_the_last(millrace, arguments, weights, tmp_path):
    words = ["--save_every_n_epochs", "1", "--save_last_n_epochs", "2", "--save_every_n_steps", "6", "--max_train_epochs", "4"]
    millrace(*arguments, *SMALL, *words)
    out = tmp_path / "out"
    assert {path.name.removesuffix(".safetensors") for path in out.glob("cat*")} == {"cat-000002", "cat-000003", "cat-step00000006",
                                                                                     "cat-step00000012", "cat"}  # fmt: skip
    epochs = {name: metadata(out / f"{name}.safetensors")["ss_epoch"] for name in ("cat-000003", "cat-step00000012", "cat")}
    assert epochs == {"cat-000003": "3", "cat-step00000012": "2", "cat": "4"}


def test_a_run_leaves_the_file_that_sd_scripts_would(millrace, arguments, weights, tmp_path):
    (tmp_path / "prompts.txt").write_text("# cats\na red cat --w 64 --h 64 --s 2 --d 3\na blue one --w 96 --h 64 --s 1 --l 2 --n red\n")
    (tmp_path / "imgs" / "3.txt").write_text("a red cat 3 " + "and a small house " * 750)
    words = [
        *arguments, "--max_train_steps", "4", "--learning_rate", "1e-2", "--network_dim", "2", "--network_alpha", "2", "--seed", "1",
        "--timestep_sampling", "shift", "--model_prediction_type", "raw", "--guidance_scale", "1", "--save_every_n_steps", "2",
        "--save_precision", "bf16", "--sample_prompts", "prompts.txt", "--sample_every_n_steps", "2", "--training_comment", "it's a cat",
        "--t5xxl_max_token_length", "16", "--cache_latents", "--cache_text_encoder_outputs", "--max_grad_norm", "0",
        "--network_args", "module_dropout=0.1", "single_dim=1", "--min_snr_gamma", "5", "--lr_scheduler", "linear", "--lr_warmup_steps", "0.25",
        "--optimizer_args", "weight_decay=0", "betas=0.9,0.99",
    ]  # fmt: skip
    said = millrace(*words).stderr
    assert "3.png] expected captions of at most 16 tokens of T5, got longer ones" in said and "2.png" not in said
    assert "model.hidden_size = 32" in said and "the LoRA file cat.safetensors" in said
    places = json.loads((tmp_path / "out" / "samples" / "step-00000004.json").read_text())
    assert (tmp_path / "out" / "samples" / "step-00000000.png").exists()
    assert places["prompts"] == ["a red cat", "a blue one"] and places["width"] * 2 == places["height"] * 3
    tensors = load(tmp_path / "out" / "cat.safetensors")
    down = tensors["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"]
    assert down.shape == (2, HIDDEN) and down.dtype == torch.bfloat16
    assert tensors["lora_unet_single_blocks_0_linear1.lora_up.weight"].abs().max() > 0
    assert load(tmp_path / "out" / "cat-step00000002.safetensors").keys() == tensors.keys()
    assert load(tmp_path / "out" / "cat-step00000004.safetensors").keys() == tensors.keys()
    facts = metadata(tmp_path / "out" / "cat.safetensors")
    assert facts["ss_network_args"] == '{"module_dropout": "0.1", "single_dim": "1", "dropout": null}'
    expected = {
        "ss_network_dim": "2", "ss_network_alpha": "2.0", "ss_min_snr_gamma": "5.0", "ss_unet_lr": "None",
        "ss_output_name": "cat", "modelspec.title": "cat", "ss_max_grad_norm": "0.0",
        "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0,betas=(0.9, 0.99))",
        "ss_lr_scheduler": "linear", "ss_lr_warmup_steps": "0.25", "ss_max_token_length": "None",
        "ss_multires_noise_discount": "0.3", "modelspec.resolution": "1024x1024",
    }  # fmt: skip
    assert {name: facts[name] for name in expected} == expected
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    # The same command finds nothing left to do; a longer one resumes.
    longer = ["6" if word == "4" and words[i - 1] == "--max_train_steps" else word for i, word in enumerate(words)]
    millrace(*longer)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]


def test_a_file_of_folders_says_what_sd_scripts_says_of_them(millrace, arguments, weights, tmp_path):
    for name, pictures in [("train/2_cat", ("0.png", "1.png")), ("reg/1_animal", ("2.png",))]:
        (tmp_path / name).mkdir(parents=True)
        for picture in pictures:
            (tmp_path / "imgs" / picture).rename(tmp_path / name / picture)
    place = arguments.index("--dataset_config")
    words = arguments[:place] + ["--train_data_dir", "train", "--reg_data_dir", "reg"] + arguments[place + 2 :]
    millrace(*words, *SMALL, "--resolution", "64", "--enable_bucket", "--min_bucket_reso", "64", "--max_train_steps", "1")
    facts = metadata(tmp_path / "out" / "cat.safetensors")
    assert "ss_datasets" not in facts
    expected = {
        "dataset_dirs": {"2_cat": {"n_repeats": 2, "img_count": 2}}, "reg_dataset_dirs": {"1_animal": {"n_repeats": 1, "img_count": 1}},
        "tag_frequency": {"2_cat": {"cat": 2}, "1_animal": {"animal": 1}},
        "bucket_info": {"buckets": {"0": {"resolution": [64, 64], "count": 8}}, "mean_img_ar_error": 0.0},
    }  # fmt: skip
    assert {name: json.loads(facts["ss_" + name]) for name in expected} == expected
    assert facts["ss_network_dim"] == "2" and facts["ss_network_alpha"] == "1" and facts["ss_cache_latents"] == "True"


@pytest.mark.parametrize("words, optimizer", [
    (["--optimizer_type", "DAdaptAdam", "--learning_rate", "1", "--optimizer_args", "d0=1e-4", "decouple=True"],
     "dadaptation.dadapt_adam.DAdaptAdam(d0=0.0001,decouple=True)"),
    (["--optimizer_type", "pytorch_optimizer.CAME", "--learning_rate", "1e-3", "--optimizer_args", "betas=(0.9,0.95,0.99)"],
     "pytorch_optimizer.optimizer.came.CAME(betas=(0.9, 0.95, 0.99))"),
    (["--optimizer_type", "SGDScheduleFree", "--learning_rate", "0.1"], "schedulefree.sgd_schedulefree.SGDScheduleFree"),
    (["--learning_rate", "1e-3", "--lr_scheduler_type", "OneCycleLR", "--lr_scheduler_args", "max_lr=2e-3", "total_steps=6"],
     "torch.optim.adamw.AdamW"),
], ids=["d-adaptation", "came", "schedule-free", "one cycle"])  # fmt: skip
def test_rarer_optimizers_and_schedules_run_and_resume(millrace, arguments, weights, tmp_path, words, optimizer):
    for folder, steps in [("whole", "4"), ("parts", "2"), ("parts", "4")]:
        millrace(*arguments, *SMALL, *words, "--output_dir", folder, "--max_train_steps", steps)
    whole, parts = (load(tmp_path / folder / "cat.safetensors") for folder in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(whole[name].equal(parts[name]) for name in whole)
    assert whole["lora_unet_single_blocks_0_linear1.lora_up.weight"].abs().max() > 0
    said = metadata(tmp_path / "whole" / "cat.safetensors")
    assert said["ss_optimizer"] == optimizer and said["ss_lr_scheduler"] == "constant"
    assert said["ss_new_sd_model_hash"] == hashlib.sha256((tmp_path / "flux.safetensors").read_bytes()).hexdigest()


def test_the_page_names_every_argument(millrace):
    page = "".join((ROOT / "docs" / name).read_text() for name in ("compat.md", "picture_sets.md"))
    prefixes = re.findall(r"--([a-z_]+)\*", page)
    names = re.findall(r"--([a-z_0-9]+)", millrace("kohya", "--help").stdout.split("arguments that are taken:")[1])
    assert len(names) > 150
    missing = [name for name in names if not re.search(rf"\b{name}\b", page) and not name.startswith(tuple(prefixes))]
    assert missing == []
