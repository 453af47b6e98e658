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
    assert "expected pictures that are held back from training, got none" in train(data, "--validation.enable", status=2).stderr


def test_a_run_without_pictures_or_captions_says_so(train, folder, tmp_path):  # noqa: F811
    (tmp_path / "empty").mkdir()
    data = dataset(tmp_path / "empty.toml", subset_of(tmp_path / "empty"))
    assert "expected pictures to train on, got none" in train(data, status=3).stderr
    picture(tmp_path / "empty" / "a.png", (32, 32), 1)
    loose = train(tmp_path / "empty", status=3).stderr
    assert "expected folders named after repeats and words, such as 10_cat, got none (try moving the pictures into 1_empty" in loose
    gone = train(tmp_path / "gone", status=2).stderr
    assert "expected a data set file (.toml, .json) or a folder of folders, got no such file or folder" in gone
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


def test_a_resolution_that_no_bucket_fits_is_refused(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 2, sizes=[(32, 32)])
    for resolution, expected in ((8, "(try a resolution of at least bucket_reso_steps, 16)"), (200, "(try max_bucket_reso = 208)")):
        data = dataset(tmp_path / "set.toml", subset_of(path), resolution=resolution)
        assert expected in train(data, status=2).stderr


def test_captions_that_cannot_be_read_are_named(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 4, sizes=[(32, 32)])
    data = dataset(tmp_path / "set.toml", subset_of(path))
    for content, expected in ((b"\xff\xfe", "expected a caption in UTF-8"), (b"", "expected a caption, got an empty file"),
                              (b"word " * 300_000, "expected a caption of at most 1048576 bytes, got a longer file")):  # fmt: skip
        (path / "002.txt").write_bytes(content)
        error = train(data, status=3).stderr
        assert "002.txt" in error and expected in error
    cached = dataset(tmp_path / "cached.toml", subset_of(path, "cache_info = true"))
    for _ in range(2):  # what is refused is refused again
        assert "002.txt" in train(cached, status=3).stderr and not (path / "metadata_cache.json").exists()


def test_one_folder_read_in_two_ways_has_no_cache_of_captions(train, folder, tmp_path):  # noqa: F811
    path = folder("cat", 4, sizes=[(32, 32)])
    for file in sorted(path.glob("*.txt")):
        file.with_suffix(".cap").write_text("another " + file.read_text())
    ways = [subset_of(path, "cache_info = true"), subset_of(path, "cache_info = true", 'caption_extension = ".cap"')]
    data = dataset(tmp_path / "set.toml", *ways)
    first = train(data, *SHORT, run="first")
    assert not (path / "metadata_cache.json").exists()
    assert curve(train(data, *SHORT, run="second")) == curve(first)


def test_odd_pictures_are_trained_on_and_named(train, folder, tmp_path):  # noqa: F811
    path = folder("odd", 2, sizes=[(32, 32)])
    noise = Image.effect_noise((40, 40), 80)
    Image.effect_noise((1, 5000), 80).convert("RGB").save(path / "long.png")
    noise.convert("CMYK").save(path / "cmyk.jpg")
    Image.frombytes("I;16", (40, 40), bytes(range(250)) * 12 + bytes(200)).save(path / "deep.png")
    noise.convert("RGB").save(path / "moving.webp", save_all=True, append_images=[noise.convert("RGB").rotate(90)])
    noise.save(path / "001.jpg")
    (path / "gone.png").symlink_to(path / "nowhere.png")
    output = train(dataset(tmp_path / "set.toml", subset_of(path)), *SHORT, "--training.max_bad_samples=0.2")
    assert len(curve(output)) == 4
    for name, expected in (("long.png", "enlarged more than four times"), ("cmyk.jpg", "CMYK: converted to RGB"),
                           ("deep.png", "16 bits per channel: the high bytes are taken"), ("moving.webp", "the first frame is taken"),
                           ("001.png", "got the same name with two endings"), ("gone.png", "left out")):  # fmt: skip
        assert any(name in line and expected in line for line in said(output).splitlines()), name


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
