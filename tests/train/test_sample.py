"""Pictures from a run: `millrace sample` on one rank and on many, and the previews of training."""

import json
import os
import subprocess
import tarfile
from pathlib import Path

import numpy
import pytest
from PIL import ExifTags, Image

TINY = Path(__file__).resolve().parents[2] / "configs" / "tiny.toml"
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
PROMPTS = ["red heart", "banana", "Zürich, 猫 \"& <co>\"", "猫", "five"]
SHORT = ["--training.steps=2", "--checkpoint.interval=2", "--sample.every_steps=0", "--report.no_enable"]


@pytest.fixture(scope="session")
def emoji16(emoji_set):
    return emoji_set(40)


def train_arguments(folder, emoji16, *overrides):
    return ["train", TINY, f"--job.dump_folder={folder}", f"--training.dataset_path={emoji16}", *overrides]


@pytest.fixture(scope="module")
def run_folder(program, emoji16, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "run"
    # A large step, so that conditioning matters.
    command = [program, *train_arguments(folder, emoji16, *SHORT, "--optimizer.lr=0.05", "--training.steps=6",
                                         "--checkpoint.interval=6")]  # fmt: skip
    subprocess.run(command, check=True, timeout=300, env=os.environ | QUIET, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def prompts_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("\n\n".join(PROMPTS) + "\n")
    return path


def pixels(path):
    with Image.open(path) as picture:
        return numpy.asarray(picture.convert("RGB")).astype(int)


def test_any_number_of_ranks_gives_the_same_files(program, millrace, run_folder, prompts_file, tmp_path):
    draw = ["sample", run_folder, "--prompts-file", prompts_file, "--steps", "3", "--guidance-scale", "4"]
    said = millrace(*draw, "--output", tmp_path / "1", env=QUIET).stdout
    names = ["0-red-heart.png", "1-banana.png", "2-Z-rich-co.png", "3.png", "4-five.png", "grid.png"]
    assert [Path(line).name for line in said.splitlines()] == names
    for ranks, more in ((2, []), (3, ["--shard", "--inference.batch_size", "1"])):
        command = [program, "launch", "-n", ranks, program, *draw, "--output", tmp_path / str(ranks), *more]
        subprocess.run(list(map(str, command)), check=True, timeout=300, env=os.environ | QUIET, capture_output=True)
        assert sorted(os.listdir(tmp_path / str(ranks))) == sorted(names)
        for name in names:
            assert abs(pixels(tmp_path / str(ranks) / name) - pixels(tmp_path / "1" / name)).max() <= 1, (ranks, name)


FLAGS = """# pictures of the fruit
banana --w 96 --h 64 --s 2 --d 7
red heart
banana --l 3 --d 5 --n red heart
banana --l 3 --d 5
"""
TABLE = """[prompt]
sample_steps = 3
[[prompt.subset]]
prompt = "frog"
seed = 7
[[prompt.subset]]
prompt = "banana"
width = 96
height = 64
seed = 7
"""


def test_prompts_have_options_of_their_own(program, millrace, run_folder, tmp_path):
    (tmp_path / "flags.txt").write_text(FLAGS)
    draw = ["sample", run_folder, "--steps", "3", "--prompts-file"]
    millrace(*draw, tmp_path / "flags.txt", "--output", tmp_path / "flags", env=QUIET)
    names = ["0-banana.png", "1-red-heart.png", "2-banana.png", "3-banana.png", "grid.png"]
    assert sorted(os.listdir(tmp_path / "flags")) == names
    wide, heart, negative, guided = (pixels(tmp_path / "flags" / name) for name in names[:-1])
    assert wide.shape[:2] == (64, 96) and heart.shape == negative.shape == (16, 16, 3)
    assert (negative != guided).any()
    millrace("sample", run_folder, "--steps", "3", "-p", "x", "-p", "red heart", "--output", tmp_path / "plain", env=QUIET)
    assert (pixels(tmp_path / "plain" / "1-red-heart.png") == heart).all()
    command = [program, "launch", "-n", "2", program, *draw, tmp_path / "flags.txt", "--output", tmp_path / "2", "--shard"]
    subprocess.run(list(map(str, command)), check=True, timeout=300, env=os.environ | QUIET, capture_output=True)
    for name in names:
        assert abs(pixels(tmp_path / "2" / name) - pixels(tmp_path / "flags" / name)).max() <= 1, name

    # A picture with a seed of its own is the same wherever it stands, in any kind of file.
    (tmp_path / "table.json").write_text(json.dumps([{"prompt": "banana", "width": 96, "height": 64, "sample_steps": 3, "seed": 7}]))
    (tmp_path / "table.toml").write_text(TABLE)
    for name in ("json", "toml"):
        millrace(*draw, tmp_path / f"table.{name}", "--output", tmp_path / name, env=QUIET)
    assert (pixels(tmp_path / "json" / "0-banana.png") == pixels(tmp_path / "toml" / "1-banana.png")).all()
    (tmp_path / "bad.toml").write_text(TABLE.replace("96", '"wide"'))
    assert "bad.toml" in millrace(*draw, tmp_path / "bad.toml", "--output", tmp_path / "bad", status=2, env=QUIET).stderr


def test_more_ranks_than_prompts(program, millrace, run_folder, tmp_path):
    draw = ["sample", run_folder, "--prompt", "banana", "--steps", "2"]
    millrace(*draw, "--output", tmp_path / "1", env=QUIET)
    command = [program, "launch", "-n", "3", program, *draw, "--output", tmp_path / "3"]
    subprocess.run(list(map(str, command)), check=True, timeout=300, env=os.environ | QUIET, capture_output=True)
    assert sorted(os.listdir(tmp_path / "3")) == ["0-banana.png", "grid.png"]
    assert (pixels(tmp_path / "1" / "grid.png") == pixels(tmp_path / "3" / "grid.png")).all()


def test_pictures_say_in_exif_what_they_are(millrace, run_folder, prompts_file, tmp_path):
    millrace("sample", run_folder, "--prompts-file", prompts_file, "--steps", 1, "--output", tmp_path / "out", env=QUIET)
    millrace("sample", run_folder, "--prompt", "b", "--steps", 1, "--make", "We", "--output", tmp_path / "out", env=QUIET)

    def tags(name):
        with Image.open(tmp_path / "out" / name) as picture:
            picture.load()
            return {ExifTags.TAGS[tag]: text for tag, text in picture.getexif().items()}, picture.text

    exif, text = tags("0-red-heart.png")
    assert exif == {"Software": "AI generated;txt2img;flux", "Model": "flux-debug", "ImageDescription": "red heart"}
    assert text["Description"] == "red heart"
    exif, text = tags("2-Z-rich-co.png")
    # EXIF holds UTF-8; PIL takes it for Latin-1.
    assert exif["ImageDescription"].encode("latin-1").decode() == text["Description"] == PROMPTS[2]
    assert tags("0-b.png")[0] == {
        "Software": "AI generated;txt2img;flux", "Model": "flux-debug", "Make": "We", "ImageDescription": "b"
    }  # fmt: skip
    with open(tmp_path / "out" / "0-red-heart.png", "rb") as file:
        assert b"eXIf" in file.read()


def test_weights_of_others_name_no_maker(millrace, run_folder, tmp_path):
    millrace("export", run_folder, tmp_path / "flux1-schnell.safetensors", "--naming", "bfl")
    millrace("sample", "--weights", tmp_path / "flux1-schnell.safetensors", "--config", run_folder / "config.toml",
             "--prompt", "banana", "--steps", 2, "--output", tmp_path / "out", env=QUIET)  # fmt: skip
    with Image.open(tmp_path / "out" / "0-banana.png") as picture:
        exif = {ExifTags.TAGS[tag]: text for tag, text in picture.getexif().items()}
    assert exif["Model"] == "flux1-schnell" and "Make" not in exif  # its size is not that of the published model
    millrace("sample", run_folder, "--prompt", "banana", "--steps", 2, "--output", tmp_path / "same", env=QUIET)
    assert (pixels(tmp_path / "out" / "0-banana.png") == pixels(tmp_path / "same" / "0-banana.png")).all()


def test_every_option_of_drawing_matters(millrace, run_folder, tmp_path):
    def draw(name, *options):
        millrace("sample", run_folder, "--prompt", "red heart", "--output", tmp_path / name, "--no-grid", *options, env=QUIET)
        return pixels(tmp_path / name / "0-red-heart.png")

    plain = draw("plain", "--steps", 4)
    assert (plain == draw("same", "--steps", 4, "--no-shift", "--guidance-scale", 1)).all()
    for name, options in {"steps": ["--steps", 5], "seed": ["--steps", 4, "--seed", 1], "shift": ["--steps", 4, "--shift"],
                          "guidance": ["--steps", 4, "--guidance-scale", 5]}.items():  # fmt: skip
        assert (plain != draw(name, *options)).any(), name
    assert draw("wide", "--steps", 2, "--width", 32).shape == (16, 32, 3)
    assert draw("large", "--steps", 2, "--size", 24, "--height", 8).shape == (8, 24, 3)


def test_previews_obey_the_settings_of_eval(program, emoji16, tmp_path):
    """The reference draws its validation pictures with 50 steps and no guidance, whatever [eval] says."""

    def preview(name, *overrides):
        command = [program, *train_arguments(tmp_path / name, emoji16, "--optimizer.lr=0.05", "--optimizer.ema_decay=0",
                                             "--checkpoint.no_enable", "--sample.every_steps=6", "--training.steps=6",
                                             "--report.no_enable", *overrides)]  # fmt: skip
        subprocess.run(command, check=True, timeout=300, env=os.environ | QUIET, capture_output=True)
        return pixels(tmp_path / name / "samples" / "step-00000006.png")

    plain = preview("plain", "--eval.denoising_steps=2")
    assert (plain == preview("off", "--eval.denoising_steps=2", "--eval.no_enable_classifer_free_guidance")).all()
    assert (plain != preview("steps", "--eval.denoising_steps=3")).any()
    guided = preview("on", "--eval.denoising_steps=2", "--eval.enable_classifer_free_guidance")
    assert (plain != guided).any()
    five = ["--eval.enable_classifer_free_guidance", "--eval.classifier_free_guidance_scale=5"]
    assert (guided == preview("five", "--eval.denoising_steps=2", *five)).all()
    assert (guided != preview("three", "--eval.denoising_steps=2", five[0], "--eval.classifier_free_guidance_scale=3")).any()


def test_validation_draws_its_first_captions(program, millrace, emoji16, tmp_path):
    arguments = ["--optimizer.lr=0.05", "--training.steps=4", "--checkpoint.interval=4", "--sample.every_steps=0",
                 "--report.no_enable", "--validation.enable", f"--validation.dataset_path={emoji16}", "--validation.freq=2",
                 "--eval.save_img_folder=img", "--validation.save_img_count=5", "--eval.denoising_steps=2",
                 "--training.local_batch_size=2", "--training.global_batch_size=4"]  # fmt: skip
    run = tmp_path / "run"
    millrace(*train_arguments(run, emoji16, *arguments), env=QUIET)
    assert sorted(os.listdir(run / "img")) == ["step-00000002.png", "step-00000004.png"]

    captions = []
    with tarfile.open(sorted(emoji16.glob("*.tar"))[0]) as shard:
        texts = [name for name in shard.getnames() if name.endswith(".txt")]
        captions = [shard.extractfile(name).read().decode().strip() for name in texts[:5]]
    (tmp_path / "captions.txt").write_text("\n".join(captions) + "\n")
    millrace("sample", run, "--prompts-file", tmp_path / "captions.txt", "--steps", 2, "--output", tmp_path / "same", env=QUIET)
    assert (pixels(run / "img" / "step-00000004.png") == pixels(tmp_path / "same" / "grid.png")).all()
    assert (pixels(run / "img" / "step-00000004.png") != pixels(run / "img" / "step-00000002.png")).any()

    two = [program, "launch", "-n", "2", program, *train_arguments(tmp_path / "two", emoji16, *arguments)]
    subprocess.run(list(map(str, two)), check=True, timeout=300, env=os.environ | QUIET, capture_output=True)
    for name in os.listdir(run / "img"):
        assert abs(pixels(run / "img" / name) - pixels(tmp_path / "two" / "img" / name)).max() <= 1, name

    for folder in ("samples", "./samples/"):
        clash = [f"--eval.save_img_folder={folder}", "--sample.every_steps=1"]
        assert "validation.save_img_folder" in millrace(*train_arguments(run, emoji16, *clash), status=2).stderr


@pytest.mark.parametrize(
    "options, status, says",
    [
        (["--size", "18"], 2, "multiple of 4"),
        (["--width", "70000"], 2, "--width"),
        (["--batch-size", "-1"], 2, "--batch-size"),
        (["--prompts-file", "nowhere.txt"], 5, "nowhere.txt"),
        (["--step", "3"], 5, "step"),
        (["--weights", "x.safetensors"], 2, "both"),
        (["--config", "x.toml"], 2, "only with --weights"),
        (["--encoder.t5_encoder="], 2, "--encoder.t5_encoder=..."),
        (["--encoder.t5_encodr=x"], 2, "t5_encodr"),
        (["--promt", "b"], 2, "--promt"),
    ],
)
def test_what_cannot_be_drawn_is_said(millrace, run_folder, options, status, says):
    prompt = [] if "--prompts-file" in options else ["--prompt", "a"]
    result = millrace("sample", run_folder, *prompt, *options, status=status, env=QUIET)
    assert says in result.stderr and result.stdout == ""


def test_options_of_the_configuration_may_stand_anywhere(millrace, run_folder, tmp_path):
    options = ["--prompt", "a", "--steps", "1", "--no-grid", "--output", tmp_path / "out"]
    for words in ([run_folder, "--sample.guidance_scale", "3"], ["--sample.guidance_scale", "3", run_folder], ["--training.seed=7", run_folder]):
        millrace("sample", *words, *options, env=QUIET)
    assert sorted(os.listdir(tmp_path / "out")) == ["0-a.png"]


def test_no_prompts_in_the_file(millrace, run_folder, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    assert "expected a prompt" in millrace("sample", run_folder, "--prompts", tmp_path / "empty.txt", status=2).stderr


def test_one_rank_that_fails_takes_the_others_with_it(program, run_folder, tmp_path):
    """A folder that only one rank's pictures cannot be written to."""
    out = tmp_path / "out"
    (out / "1-b.png").mkdir(parents=True)  # a folder in the place of the second rank's picture
    (out / "1-b.png" / "file").touch()
    command = [program, "launch", "-n", "2", program, "sample", run_folder, "--prompt", "a", "--prompt", "b", "--steps", "1",
               "--output", out]  # fmt: skip
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=os.environ | QUIET)
    assert result.returncode == 5, result.stderr
    assert "1-b.png" in result.stderr and "rank 1" in result.stderr
