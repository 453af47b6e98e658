"""LoRA on FLUX from pictures in folders: what is skipped, warned of and refused, and which edits a resumed run notices."""

import shutil

from picture_runs import SHORT, TINY, base, curve, dataset, folder, make_base, picture, said, subset_of, train  # noqa: F401  (fixtures)
from PIL import Image


def test_preserving_needs_a_frozen_model(millrace, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 4), "custom_attributes = { diff_output_preservation = true }"))
    result = millrace("train", TINY, f"--job.dump_folder={tmp_path / 'run'}", "--training.dataset=pictures",
                      f"--training.dataset_path={data}", status=2)  # fmt: skip
    assert "expected diff_output_preservation with a section [lora] alone" in result.stderr


def test_what_validates_on_nothing_is_refused(train, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 4)))
    assert "expected pictures that validation_split holds back, got none" in train(data, "--validation.enable", status=2).stderr


def test_a_run_without_pictures_or_captions_says_so(train, folder, tmp_path):  # noqa: F811
    (tmp_path / "empty").mkdir()
    data = dataset(tmp_path / "empty.toml", subset_of(tmp_path / "empty"))
    assert "expected pictures to train on, got none" in train(data, status=3).stderr
    assert "expected" in train(tmp_path / "empty", status=3).stderr
    data = dataset(tmp_path / "bare.toml", subset_of(folder("bare", 4, caption=None)))
    assert "beside every picture, got none: the caption is empty" in said(train(data, *SHORT))


def test_an_unreadable_picture_among_many_is_skipped_and_named(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 12, sizes=[(32, 32)])
    damage(path / "003.png")
    (path / "005.png").unlink()
    Image.effect_noise((64, 64), 90).convert("RGB").save(path / "005.jpg")
    (path / "005.jpg").write_bytes((path / "005.jpg").read_bytes()[:-600])
    (path / "004.png").write_bytes(b"no picture")
    data = dataset(tmp_path / "set.toml", subset_of(path))
    output = train(data, *SHORT, "--training.max_bad_samples=0.2")
    assert "004.png" in said(output) and "skipped a picture that cannot be read" in said(output)
    assert said(output).count("003.png]") == 1  # once, however often it comes up
    assert "005.jpg] expected a whole picture, got one cut short" in said(output)
    refused = train(data, *SHORT, status=3, run="refused").stderr
    assert "004.png" in refused and "(try training.max_bad_samples)" in refused
    (path / "004.png").unlink()
    assert "003.png" in train(data, *SHORT, status=3, run="again").stderr


def damage(path):
    """A header that can be read before pixels that cannot."""
    content = bytearray(path.read_bytes())
    begin = content.index(b"IDAT") + 4
    content[begin : begin + 40] = bytes(40)
    path.write_bytes(content)


def test_an_edited_data_set_is_not_resumed_on(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 6, sizes=[(32, 32)])
    data = dataset(tmp_path / "set.toml", subset_of(path))
    train(data, "--training.steps=4")
    more = "--training.steps=8"
    (path / "002.txt").write_text("another caption")
    assert "expected the data set that the run was started with" in (error := train(data, more, status=3).stderr)
    assert "002.png" in error
    (path / "002.txt").write_text("picture 2")
    picture(path / "004.png", (32, 32), 99)
    assert "004.png" in train(data, more, status=3).stderr
    picture(path / "004.png", (32, 32), 4)
    dataset(data, subset_of(path, "num_repeats = 2"))
    assert "num_repeats 1, got 2" in train(data, more, status=3).stderr
    dataset(data, subset_of(path))
    assert len(curve(train(data, more))) == 8


def test_copies_of_a_data_set_elsewhere_resume(train, folder, tmp_path):  # noqa: F811
    path = folder("here/cat", 4, sizes=[(32, 32)])
    data = dataset(path.parent / "set.toml", subset_of("cat"))
    train(data, "--training.steps=4")
    shutil.copytree(path.parent, tmp_path / "there")
    assert len(curve(train(tmp_path / "there" / "set.toml", "--training.steps=8"))) == 8


def test_options_without_effect_are_refused(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 4)
    for option, name in (("face_crop_aug_range = [1.0, 3.0]", "enable_bucket = false with face_crop_aug_range"),
                         ("custom_attributes = { a = 1 }", "custom_attributes")):  # fmt: skip
        data = dataset(tmp_path / "set.toml", subset_of(path, option))
        assert name in train(data, status=2).stderr
    data = dataset(tmp_path / "set.toml", subset_of(path, "random_crop = true"))
    for option in ("training.classifier_free_guidance_prob=0.1", "training.subset_size=8", "training.shuffle_buffer_size=8",
                   "encoder.cache_latents=memory"):  # fmt: skip
        assert f"[{option.split('=')[0]}] expected" in train(data, f"--{option}", status=2).stderr
    data = dataset(tmp_path / "set.toml", subset_of(path, "color_aug = true"))
    assert "expected none with random_crop, color_aug" in train(data, "--encoder.cache_latents=memory", status=2).stderr
    shards = train(data, "--training.dataset=webdataset", status=2).stderr
    assert '(try training.dataset = "pictures")' in shards
