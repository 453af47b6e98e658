"""LoRA on FLUX from pictures in folders: sizes, captions, crops, weights and masks, and many ranks."""

import json
import signal

import numpy
import pytest
from helpers import load
from picture_runs import (  # noqa: F401  (fixtures)
    LAPTOP,
    SHORT,
    STILL,
    base,
    curve,
    dataset,
    folder,
    log,
    make_base,
    metadata,
    picture,
    said,
    subset_of,
    train,
)
from PIL import Image
from tensorboard_tags import scalars
from train_ranks import NUM_KILLS, Ranks, checkpoint_steps, kill_at_random_moments


def test_pictures_of_different_sizes_are_trained_on(train, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 10)))
    output = train(data, "--training.steps=12")
    assert "10 pictures of 3 sizes from 16 x 48 to 64 x 16, 10 samples in 4 batches an epoch" in log(output)
    losses, digests = curve(output), curve(output, "sample_digest")
    assert len(losses) == 12 and all(0 < loss < 10 for loss in losses)
    assert len(set(digests)) == 12  # in another epoch, a picture is another sample
    assert any(tensor.abs().max() > 0 for name, tensor in load(output / "lora.safetensors").items() if "lora_up" in name)


def test_a_folder_of_folders_needs_no_file(train, folder, tmp_path):  # noqa: F811
    folder("sets/3_cat", 2)
    folder("sets/1_dog", 2)
    output = train(tmp_path / "sets", "--training.img_size=32", "--training.local_batch_size=2", *SHORT)
    assert "4 pictures" in log(output) and "8 samples" in log(output)


def test_the_file_decides_the_batch_size_before_the_configuration(train, folder, tmp_path):  # noqa: F811
    one_size = folder("cat", 8, sizes=[(32, 32)])
    digests = {}
    for name, of_file, of_run in (("file", 4, 2), ("other run", 4, 1), ("run", None, 4)):
        data = dataset(tmp_path / f"{name}.toml", subset_of(one_size), batch_size=of_file)
        digests[name] = curve(train(data, *SHORT, f"--training.local_batch_size={of_run}", run=name), "sample_digest")
    assert digests["file"] == digests["other run"] == digests["run"]


def test_an_adapter_without_effect_has_no_loss_on_preserved_pictures(train, folder, tmp_path):  # noqa: F811
    preserved = "custom_attributes = { diff_output_preservation = true }"
    subject, other = folder("subject", 4, sizes=[(32, 32)]), folder("class", 4, sizes=[(32, 32)])

    def losses(name, *subsets):
        return curve(train(dataset(tmp_path / f"{name}.toml", *subsets), *SHORT, run=name))

    assert losses("preserved", subset_of(other, preserved)) == [0, 0, 0, 0]
    with_class = losses("both", subset_of(subject), subset_of(other, preserved))
    assert 0 < sum(with_class) < sum(losses("plain", subset_of(subject), subset_of(other)))


def test_a_subset_may_be_trained_at_other_times(train, folder, tmp_path):  # noqa: F811
    """custom_attributes.timestep_sampling.offset, of sd-scripts: another loss, and the same validation loss of adapters that do nothing."""
    path = folder("cat", 4, sizes=[(32, 32)])

    def run(name, offset, *options):
        attributes = "custom_attributes = { timestep_sampling = { offset = %s } }" % offset if offset is not None else ""
        data = dataset(tmp_path / f"{name}.toml", subset_of(path, attributes))
        return train(data, *STILL, f"--validation.dataset_path={data}", "--validation.enable", "--validation.freq=1", *options, run=name)

    plain, clear, noisy = run("plain", None), run("clear", -2), run("noisy", 2.0)
    assert len({curve(each)[0] for each in (plain, clear, noisy)}) == 3
    assert curve(run("zero", 0.0)) == curve(plain)
    assert curve(clear, "validation_loss")[0] == curve(noisy, "validation_loss")[0] == curve(plain, "validation_loss")[0]
    uniform = ["--objective.timestep_sampling=uniform"]
    ignored = run("ignored", 0.5, *uniform)
    assert curve(ignored) == curve(run("uniform", None, *uniform))
    assert "timestep_sampling.offset has no effect with objective.timestep_sampling = uniform" in said(ignored)


def test_masked_padding_of_captions_does_not_matter(train, millrace, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 6, caption="picture {} here", sizes=[(32, 32)])))
    draw = ["--sample.every_steps=4", '--sample.prompts=["picture 1", "two of them here"]', "--sample.guidance_scale=3"]

    def run(tokens, *options):
        folder = train(data, *SHORT, f"--encoder.max_t5_encoding_len={tokens}", *draw, *options, run=f"run{tokens}{len(options)}")
        return numpy.array(curve(folder)), numpy.asarray(Image.open(sorted((folder / "samples").glob("*.png"))[-1]), dtype=float)

    (short, short_picture), (long, long_picture) = (run(tokens, "--encoder.apply_t5_attn_mask") for tokens in (5, 9))
    assert numpy.abs(short - long).max() < 1e-5
    assert numpy.abs(short_picture - long_picture).max() <= 1


def test_captions_are_trained_as_their_options_say(train, folder, tmp_path):  # noqa: F811
    plain, empty = folder("plain", 6, sizes=[(32, 32)]), folder("empty", 6, caption="\n", sizes=[(32, 32)])
    with_prefix = folder("prefix", 6, caption="a picture {}", sizes=[(32, 32)])

    def losses(path, *options):
        return curve(train(dataset(tmp_path / "set.toml", subset_of(path, *options)), *STILL, run=f"run-{path.name}-{len(options)}"))

    assert losses(plain, "caption_dropout_rate = 1.0") == losses(empty)
    assert losses(plain, 'caption_prefix = "a"', "num_repeats = 1") == losses(with_prefix)
    assert losses(plain) != losses(empty)


def test_flips_change_some_pictures(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 4, sizes=[(32, 32)])
    plain, flipped = (
        curve(train(dataset(tmp_path / f"{name}.toml", subset_of(path, option), batch_size=1), *STILL, "--training.steps=8", run=name))
        for name, option in (("plain", "flip_aug = false"), ("flipped", "flip_aug = true"))
    )
    same = [a == b for a, b in zip(plain, flipped, strict=True)]
    assert 0 < sum(same) < 8


def test_pictures_are_scaled_by_the_filter_of_the_file(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 4, sizes=[(90, 70)])
    first = {}
    for name in ("lanczos", "area", "nearest", "bicubic", "cubic"):
        data = dataset(tmp_path / f"{name}.toml", subset_of(path, f'resize_interpolation = "{name}"'))
        first[name] = curve(train(data, *STILL, "--training.steps=1", run=name))[0]
    assert first["bicubic"] == first["cubic"] and len(set(first.values())) == 4


def test_pictures_are_cropped_around_faces(train, tmp_path):  # noqa: F811
    """A face in the corner of a large picture, of the size of the crop, is trained on as if it were the picture."""
    for name in ("large", "small"):
        (tmp_path / name).mkdir()
    for i in range(4):
        picture(tmp_path / "small" / f"{i}.png", (32, 32), i)
        with Image.open(tmp_path / "small" / f"{i}.png") as face:
            large = Image.new("RGB", (96, 64), (255, 0, 255))
            large.paste(face, (64, 0))
            large.save(tmp_path / "large" / f"{i}_80_16_32_32.png")
        for path in (tmp_path / "small" / f"{i}.txt", tmp_path / "large" / f"{i}_80_16_32_32.txt"):
            path.write_text(f"picture {i}")

    def losses(folder, *options, run):
        data = dataset(tmp_path / f"{run}.toml", subset_of(tmp_path / folder, *options))
        data.write_text(data.read_text().replace("enable_bucket = true", "enable_bucket = false"))
        return curve(train(data, *STILL, "--training.steps=8", run=run))

    around = losses("large", "face_crop_aug_range = [1.0, 1.0]", run="around")
    assert around == losses("small", run="small")
    drawn = losses("large", "face_crop_aug_range = [1.0, 2.0]", "random_crop = true", run="drawn")
    assert len(set(drawn)) == 8 and not set(drawn) & set(around)


def test_colours_change_some_pictures_and_leave_masks(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 4, sizes=[(32, 32)])
    clear = folder("clear", 4, sizes=[(32, 32)])
    for file in clear.glob("*.png"):
        with Image.open(file) as image:
            image.putalpha(0)
            image.save(file)

    def losses(name, path, *options):
        data = dataset(tmp_path / f"{name}.toml", subset_of(path, *options), batch_size=1)
        return curve(train(data, *STILL, "--training.steps=16", run=name))

    same = [a == b for a, b in zip(losses("plain", path), losses("changed", path, "color_aug = true"), strict=True)]
    assert 4 < sum(same) < 16
    assert losses("masked", clear, "color_aug = true", "alpha_mask = true") == [0] * 16


def test_regularisation_pictures_weigh_what_the_options_say(train, folder, tmp_path):  # noqa: F811
    own, regularisation = folder("own", 4, sizes=[(32, 32)]), folder("reg", 4, sizes=[(32, 32)])

    def losses(weight):
        data = dataset(tmp_path / f"{weight}.toml", subset_of(own), subset_of(regularisation, "is_reg = true"),
                       batch_size=8)  # fmt: skip
        options = [*STILL, "--training.steps=1", f"--training.prior_loss_weight={weight}"]
        return curve(train(data, *options, run=f"run-{weight}"))[0]

    without, half, whole = losses(0.0), losses(0.5), losses(1.0)
    assert without < half < whole
    assert half == pytest.approx((without + whole) / 2, rel=1e-5)


def test_masks_choose_where_the_loss_counts(train, folder, tmp_path):  # noqa: F811
    pictures = folder("cat", 4, sizes=[(32, 32)])
    for name, left in (("black", 0), ("half", 255), ("white", 255)):
        masks = tmp_path / name
        masks.mkdir()
        clear = folder(f"alpha-{name}", 4, sizes=[(32, 32)])
        for i in range(4):
            mask = Image.new("L", (32, 32), 255 if name == "white" else 0)
            mask.paste(left, (0, 0, 16, 32))
            mask.convert("RGB").save(masks / f"{i:03d}.png")
            with Image.open(clear / f"{i:03d}.png") as image:
                image.putalpha(mask)
                image.save(clear / f"{i:03d}.png")

    def loss(name, path, *options, masked):
        data = dataset(tmp_path / f"{name}.toml", subset_of(path, *options))
        flag = ["--training.masked_loss"] if masked else []
        return curve(train(data, *STILL, "--training.steps=1", *flag, run=name))[0]

    plain = loss("plain", pictures, masked=False)
    of = {name: loss(name, pictures, f'conditioning_data_dir = "{tmp_path / name}"', masked=True) for name in ("black", "half", "white")}
    assert of["black"] == 0 and of["white"] == plain
    assert 0.1 * plain < of["half"] < 0.9 * plain
    assert loss("alpha", tmp_path / "alpha-half", "alpha_mask = true", masked=False) == of["half"]
    assert "[training.masked_loss] expected conditioning_data_dir or alpha_mask" in train(
        dataset(tmp_path / "set.toml", subset_of(pictures)), "--training.masked_loss", status=2).stderr  # fmt: skip


@pytest.fixture
def start(program, base, tmp_path):  # noqa: F811
    def run(size, data, name, *overrides):
        return Ranks(program, size, tmp_path / name, "--training.dataset=pictures", f"--training.dataset_path={data}",
                     f"--checkpoint.initial_load_path={base}", "--report.no_enable", *overrides, config=LAPTOP)  # fmt: skip

    return run


@pytest.fixture
def mixed(folder, tmp_path):  # noqa: F811
    """Two data sets in one file, with all that varies from sample to sample."""
    tags = "one, two, three, number {}"
    path = dataset(tmp_path / "mixed.toml",
                   subset_of(folder("cat", 7, tags), "num_repeats = 2", "shuffle_caption = true", "flip_aug = true"),
                   subset_of(folder("reg", 3, tags), "is_reg = true", "caption_dropout_rate = 0.5"),
                   general="validation_split = 0.2")  # fmt: skip
    second = dataset(tmp_path / "second.toml", subset_of(folder("dog", 5, tags), "random_crop = true"), batch_size=3)
    path.write_text(path.read_text() + second.read_text().split("\n\n", 1)[1])
    return path


def test_any_number_of_ranks_takes_the_same_steps(start, mixed, tmp_path):
    options = ["--training.steps=10", "--checkpoint.no_enable", "--validation.enable", "--validation.freq=5"]
    for size in (1, 2, 3):
        start(size, mixed, f"ranks-{size}", *options).finish()
    for size in (2, 3):
        for key in ("sample_digest", "validation_samples"):
            assert curve(tmp_path / f"ranks-{size}", key) == curve(tmp_path / "ranks-1", key), (size, key)
        for key in ("loss", "validation_loss"):
            assert curve(tmp_path / f"ranks-{size}", key) == pytest.approx(curve(tmp_path / "ranks-1", key), rel=1e-5), (size, key)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_run_ends_bit_for_bit_as_if_nothing_had_happened(start, mixed, tmp_path, ranks):
    options = ["--training.steps=30", "--checkpoint.interval=3", "--comm.init_timeout_seconds=10", "--validation.enable",
               "--validation.freq=10"]  # fmt: skip
    start(ranks, mixed, "undisturbed", *options).finish()
    running = start(ranks, mixed, "killed", *options)
    running.wait_for_step(8)
    for process in running.processes:
        process.kill()
        process.wait()
    start(ranks, mixed, "killed", *options).finish()

    def contents(run):
        path = tmp_path / run / "checkpoint" / "step-00000030"
        return {file.name: file.read_bytes() for file in path.glob("*.safetensors")}

    assert len(contents("killed")) == ranks
    assert contents("killed") == contents("undisturbed")
    assert curve(tmp_path / "killed") == curve(tmp_path / "undisturbed")
    assert load(tmp_path / "killed" / "lora.safetensors").keys() == load(tmp_path / "undisturbed" / "lora.safetensors").keys()


@pytest.mark.slow
def test_ctrl_c_during_saves_loses_nothing(start, mixed, tmp_path):
    """Each time as soon as the folder is there in which a checkpoint is written."""
    options = ["--training.steps=40", "--checkpoint.interval=1", "--checkpoint.keep_latest_k=2", "--validation.enable", "--validation.freq=10"]
    start(1, mixed, "undisturbed", *options).finish()
    folder, before = tmp_path / "stopped", 0
    for _ in range(3):
        ranks = start(1, mixed, "stopped", *options)
        (process,) = ranks.processes
        ranks.wait_for_start()
        while not list((folder / "checkpoint").glob(".tmp-*")):
            assert process.poll() is None, ranks.output(0)
        process.send_signal(signal.SIGINT)
        ranks.finish(status=75)
        assert not list((folder / "checkpoint").glob(".tmp-*"))
        before, earlier = max(checkpoint_steps(folder)), before
        assert earlier < before < 40 and load(folder / "lora.safetensors")
    start(1, mixed, "stopped", *options).finish()

    def tensors(run):
        path = tmp_path / run / "checkpoint" / "step-00000040"
        return {file.name: file.read_bytes() for file in path.glob("*.safetensors")}

    assert tensors("stopped") == tensors("undisturbed") and curve(folder) == curve(tmp_path / "undisturbed")


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(start, mixed, tmp_path):
    """In rendezvous, caching, steps, validations, saves and while lora.safetensors is written."""
    options = [f"--training.steps={40 + 20 * NUM_KILLS}", "--checkpoint.interval=3", "--checkpoint.keep_latest_k=2",
               "--checkpoint.async_mode=async", "--comm.init_timeout_seconds=10", "--validation.enable", "--validation.freq=10",
               "--lora.dropout=0.1", "--lora.loraplus_ratio=4", "--metrics.no_enable_tensorboard"]  # fmt: skip
    start(2, mixed, "undisturbed", *options).finish()
    result = tmp_path / "killed" / "lora.safetensors"

    def look():  # the file is whole at every moment
        if result.exists():
            load(result)

    kill_at_random_moments(lambda: start(2, mixed, "killed", *options), tmp_path / "killed", look)
    start(2, mixed, "killed", *options).finish()

    def tensors(run):
        path = tmp_path / run / "checkpoint" / f"step-{40 + 20 * NUM_KILLS:08d}"
        return {file.name: file.read_bytes() for file in path.glob("*.safetensors")}

    assert len(tensors("killed")) == 2 and tensors("killed") == tensors("undisturbed")
    assert curve(tmp_path / "killed") == curve(tmp_path / "undisturbed")
    ours, theirs = load(tmp_path / "killed" / "lora.safetensors"), load(tmp_path / "undisturbed" / "lora.safetensors")
    assert ours.keys() == theirs.keys() and all(ours[name].equal(tensor) for name, tensor in theirs.items())


def test_the_file_says_what_was_trained_on(train, folder, tmp_path):  # noqa: F811
    """As sd-scripts counts: repeats, batches of each bucket, epochs begun."""
    own, regularisation = folder("own", 6, "a cat, red", sizes=[(32, 32)]), folder("reg", 2, "a cat", sizes=[(64, 16)])
    data = dataset(tmp_path / "set.toml", subset_of(own, "num_repeats = 2"), subset_of(regularisation, "is_reg = true"),
                   batch_size=5)  # fmt: skip
    output = train(data, "--training.steps=10", "--checkpoint.interval=10")
    facts = metadata(output / "lora.safetensors")
    # 12 in batches of 5, and 12 regularisation pictures in another bucket.
    expected = {"ss_num_train_images": "12", "ss_num_reg_images": "2", "ss_num_validation_images": "0",
                "ss_num_batches_per_epoch": "6", "ss_num_epochs": "2", "ss_epoch": "2", "ss_steps": "10"}  # fmt: skip
    assert {key: facts[key] for key in expected} == expected
    assert json.loads(facts["ss_tag_frequency"]) == {"own": {"a cat": 6, "red": 6}, "reg": {"a cat": 2}}
    assert json.loads(facts["ss_dataset_dirs"]) == {"own": {"n_repeats": 2, "img_count": 6}}  # not of regularisation
    (described,) = json.loads(facts["ss_datasets"])
    for name in ("ss_tag_frequency", "ss_dataset_dirs", "ss_datasets"):
        assert facts[name] == json.dumps(json.loads(facts[name]))  # blanks and all
    assert described["bucket_info"]["buckets"] == {"0": {"resolution": [32, 32], "count": 12}, "1": {"resolution": [64, 16], "count": 12}}
    assert described["batch_size_per_device"] == 5 and described["subsets"][0]["image_dir"] == "own"
    # Samples are counted, whatever training.local_batch_size says: the last batch of a bucket has two.
    assert curve(output, "samples")[-1] < 50 and curve(output, "samples")[0] in (2, 5)


def test_the_file_tells_data_sets_of_one_folder_apart(train, folder, tmp_path):  # noqa: F811
    """sd-scripts counts the tags of what is trained on, of a folder once, and names folders that come again by number."""
    cats = folder("cats", 4, "cat {}", sizes=[(32, 32)])
    reg = folder("reg", 30, "a cat", sizes=[(32, 32)])
    listed = {str(path): {"caption": "by hand", "tags": "a, b"} for path in folder("listed", 2, None, sizes=[(32, 32)]).iterdir()}
    (tmp_path / "listed.json").write_text(json.dumps(listed))
    text = """
[general]
caption_extension = ".txt"
resolution = 32
enable_bucket = true
bucket_reso_steps = 16
min_bucket_reso = 20
max_bucket_reso = 40
"""
    for split in (0.25, 0.0):
        text += f"[[datasets]]\nvalidation_split = {split}\nvalidation_seed = 1\n[[datasets.subsets]]\nimage_dir = '{cats}'\n"
    text += f"[[datasets.subsets]]\nimage_dir = '{reg}'\nis_reg = true\n[[datasets.subsets]]\nimage_dir = '{tmp_path}'\n"
    text += f"[[datasets]]\n[[datasets.subsets]]\nmetadata_file = '{tmp_path / 'listed.json'}'\n"
    (tmp_path / "set.toml").write_text(text)
    facts = metadata(train(tmp_path / "set.toml", "--training.steps=1") / "lora.safetensors")
    tags, folders = json.loads(facts["ss_tag_frequency"]), json.loads(facts["ss_dataset_dirs"])
    assert len(tags.pop("cats")) == 3
    assert tags == {"reg": {"a cat": 30}, tmp_path.name: {}, "listed.json": {"a": 2, "b": 2}}
    assert folders == {"cats": {"n_repeats": 1, "img_count": 3}, "cats (2)": {"n_repeats": 1, "img_count": 4},
                       "listed.json": {"n_repeats": 1, "img_count": 2}}  # fmt: skip
    first, second, third = json.loads(facts["ss_datasets"])
    assert (first["min_bucket_reso"], first["max_bucket_reso"]) == (16, 48)  # whole steps
    assert [subset["image_dir"] for subset in second["subsets"]] == ["cats", "reg"]  # one without pictures is no subset
    assert second["subsets"][1]["img_count"] == 30 and second["num_reg_images"] == 30  # though four of them are trained on
    assert "image_dir" not in third["subsets"][0] and third["subsets"][0]["metadata_file"] == "listed.json"


def test_tensorboard_has_sd_scripts_tags_of_epochs_and_validations(train, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 8, sizes=[(32, 32)])), general="validation_split = 0.25")
    output = train(data, "--training.steps=4", "--validation.enable", "--validation.freq=4", "--metrics.log_freq=1")
    tags = scalars(output)
    losses, validated = curve(output), curve(output, "validation_loss")[0]
    # Six pictures in batches of four: two steps an epoch.
    assert tags["loss/epoch_average"] == pytest.approx({2: sum(losses[:2]) / 2, 4: sum(losses[2:]) / 2}, rel=1e-6)
    assert tags["loss/validation/step_average"] == pytest.approx({4: validated}, rel=1e-6)
    assert tags["loss/validation/step_divergence"] == pytest.approx({4: validated - sum(losses[2:]) / 2}, rel=1e-4)
    for name in ("average", "divergence"):  # the end of an epoch, too
        assert tags[f"loss/validation/epoch_{name}"] == tags[f"loss/validation/step_{name}"]


def test_pictures_are_drawn_at_the_end_of_epochs(train, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 8, sizes=[(32, 32)])))  # two steps an epoch
    options = ["--sample.every_steps=0", "--sample.every_epochs=2", '--sample.prompts=["cat"]', "--sample.denoising_steps=1"]
    output = train(data, *options, "--training.steps=7", "--checkpoint.no_enable")
    drawn = {path.stem for path in (output / "samples").glob("*.png") if "strength" not in path.stem}
    assert drawn == {f"step-{step:08d}" for step in (0, 4, 7)}


def test_the_average_loss_goes_on_where_a_run_resumes(train, folder, tmp_path):  # noqa: F811
    """Not every loss is in metrics.jsonl: the checkpoint has those of the epoch."""
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 16, sizes=[(32, 32)])))  # four steps an epoch
    options = [data, "--metrics.log_freq=3", "--lr_scheduler.warmup_steps=0", "--lr_scheduler.decay_ratio=0"]
    train(*options, "--training.steps=5", run="resumed")
    resumed = scalars(train(*options, "--training.steps=9", run="resumed"))
    whole = scalars(train(*options, "--training.steps=9", run="whole"))
    assert resumed["loss/average"].keys() == {1, 3, 5, 6, 9} and whole["loss/average"].keys() == {1, 3, 6, 9}
    assert all(resumed["loss/average"][step] == value for step, value in whole["loss/average"].items())
