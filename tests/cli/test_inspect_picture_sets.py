"""`millrace inspect` of data sets of pictures in folders: options, buckets, captions, and what is odd about pictures."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.fast

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "flux_lora"


def noise(size, seed, mode="RGB"):
    picture = Image.effect_noise(size, 60 + seed % 50)
    picture = Image.merge("RGB", [picture, picture.rotate(90 * seed).resize(size), picture.rotate(180).resize(size)])
    return picture.convert(mode)


def write_set(folder, text, pictures):
    (folder / "imgs").mkdir()
    for number, (name, picture) in enumerate(pictures.items()):
        if isinstance(picture, tuple):
            picture = noise(picture, number)
        picture.save(folder / "imgs" / name)
        (folder / "imgs" / name).with_suffix(".txt").write_text(f"caption {number}, tag")
    (folder / "dataset.toml").write_text(text)
    return folder / "dataset.toml"


DATASET = """
[general]
caption_extension = ".txt"
enable_bucket = true
[[datasets]]
resolution = 64
min_bucket_reso = 32
max_bucket_reso = 128
bucket_reso_steps = 16
batch_size = 2
  [[datasets.subsets]]
  image_dir = "imgs"
  num_repeats = 3
"""


def report(millrace, *words):
    return json.loads(millrace("inspect", *words, "--json").stdout)


def kinds(dataset):
    return {warning["kind"]: warning["count"] for warning in dataset["warnings"]}


@pytest.mark.parametrize("item", json.loads((GOLDEN / "config" / "valid.json").read_text()), ids=lambda item: item["file"])
def test_the_options_are_those_that_sd_scripts_resolves(millrace, tmp_path, item):
    if item["file"] == "10_cli_fallback.toml":  # refused at a later stage: its resolution is beyond its largest bucket
        item["args"] += ["--max_bucket_reso", "1152"]
        item["datasets"][0]["params"]["max_bucket_reso"] = 1152
    got = report(millrace, GOLDEN / "config" / "valid" / item["file"], *item["args"])["datasets"]
    assert len(got) == len(item["datasets"])
    for dataset, expected in zip(got, item["datasets"]):
        assert dataset["subsets"] == expected["subsets"]
        for name, value in expected["params"].items():
            assert dataset[name] == value, name


@pytest.mark.parametrize("name", [item["file"] for item in json.loads((GOLDEN / "config" / "invalid.json").read_text())])
def test_what_sd_scripts_refuses_is_refused_by_file(millrace, name):
    result = millrace("inspect", GOLDEN / "config" / "invalid" / name, "--sd-scripts-limits", status=2)
    assert name in result.stderr and "expected" in result.stderr


def test_every_picture_has_size_bucket_crop_and_caption(millrace, tmp_path):
    path = write_set(tmp_path, DATASET, {"a.png": (100, 60), "b.jpg": (64, 64), "c.webp": (60, 200), "d.bmp": (80, 80)})
    got = report(millrace, path, "--per-image")
    dataset = got["datasets"][0]
    assert got["num_train_images"] == dataset["num_train_images"] == 12
    assert dataset["batches_per_epoch"] == sum(bucket["batches"] for bucket in dataset["buckets"]) == 7
    images = {Path(image["path"]).name: image for image in dataset["images"]}
    assert images["a.png"] == {
        "path": "imgs/a.png", "subset": 0, "num_repeats": 3, "is_reg": False, "size": [100, 60], "bucket": [80, 48],
        "resized": [80, 48], "crop": [0, 0], "crop_is_drawn": False, "caption": "caption 0, tag",
    }  # fmt: skip
    assert images["c.webp"]["bucket"] == [32, 112] and images["c.webp"]["resized"] == [34, 112]
    assert images["c.webp"]["crop"] == [1, 0]
    assert images["d.bmp"]["size"] == [80, 80]


def test_a_crop_around_a_face_is_shown_where_it_is_always_the_same(millrace, tmp_path):
    text = DATASET.replace("enable_bucket = true", "face_crop_aug_range = [2.0, 2.0]")
    path = write_set(tmp_path, text, {"a_60_50_40_30.png": (120, 100), "b.png": (120, 100)})
    dataset = report(millrace, path, "--per-image")["datasets"][0]
    face, other = dataset["images"]
    assert (face["face"], face["resized"], face["crop"], face["crop_is_drawn"]) == ([60, 50, 40, 30], [96, 80], [16, 8], False)
    assert (other["resized"], other["crop"], other["crop_is_drawn"]) == ([77, 64], [6, 0], False) and "face" not in other
    assert kinds(dataset)["no_face"] == 1
    line = next(line for line in millrace("inspect", path, "--per-image").stdout.splitlines() if "a_60_50" in line)
    assert "96 x 80" in line and "at 16, 8" in line
    for old, new in (("[2.0, 2.0]", "[2.0, 4.0]"), ("num_repeats", "random_crop = true\n  num_repeats")):
        path.write_text(text.replace(old, new))
        assert report(millrace, path, "--per-image")["datasets"][0]["images"][0]["crop_is_drawn"]
        line = next(line for line in millrace("inspect", path, "--per-image").stdout.splitlines() if "a_60_50" in line)
        assert "drawn" in line and "at " not in line
    path.write_text(DATASET.replace("num_repeats", "face_crop_aug_range = [2.0, 2.0]\n  num_repeats"))
    assert "face" not in report(millrace, path, "--per-image")["datasets"][0]["images"][0]  # with buckets, as in sd-scripts


def test_a_picture_is_as_wide_as_it_is_seen(millrace, tmp_path):
    path = write_set(tmp_path, DATASET, {})
    exif = Image.Exif()
    exif[0x0112] = 6
    noise((100, 60), 1).save(tmp_path / "imgs" / "a.jpg", exif=exif)
    dataset = report(millrace, path, "--per-image")["datasets"][0]
    assert dataset["images"][0]["size"] == [60, 100]
    assert kinds(dataset)["turned_picture"] == 1


def test_what_is_odd_is_counted_and_named(millrace, tmp_path):
    path = write_set(tmp_path, DATASET, {
        "cmyk.jpg": noise((64, 64), 1, "CMYK"), "clear.png": noise((64, 64), 2, "RGBA"), "long.png": (1, 5000),
        "twice.png": (64, 64), "twice.jpg": noise((90, 64), 3),
    })  # fmt: skip
    folder = tmp_path / "imgs"
    Image.frombytes("I;16", (64, 64), bytes(range(256)) * 32).save(folder / "deep.png")
    noise((64, 64), 7).save(folder / "moving.webp", save_all=True, append_images=[noise((64, 64), 8)])
    (folder / "broken.png").write_bytes(b"no picture")
    shutil.copy(folder / "cmyk.jpg", folder / "copy.jpg")
    whole = (folder / "twice.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    dataset = report(millrace, path)["datasets"][0]
    found = kinds(dataset)
    assert {"CMYK": 2, "16 bits per channel": 1, "animated": 1, "unreadable_picture": 1, "same_stem": 1,
            "much_enlarged": 1, "truncated_picture": 1}.items() <= found.items()  # fmt: skip
    places = {warning["kind"]: warning["places"] for warning in dataset["warnings"]}
    assert places["unreadable_picture"] == ["imgs/broken.png"]
    assert places["near_duplicate"][0] == "imgs/cmyk.jpg = imgs/copy.jpg"
    text = millrace("inspect", path).stdout
    assert "warning: 1 x [imgs/broken.png] expected a JPEG, PNG or WebP picture, got other content: left out" in text


def test_a_picture_below_one_step_fits_no_bucket(millrace, tmp_path):
    text = DATASET.replace("batch_size", "bucket_no_upscale = true\nbatch_size")
    dataset = report(millrace, write_set(tmp_path, text, {"a.png": (8, 100), "b.png": (64, 64)}))["datasets"][0]
    assert kinds(dataset)["no_bucket"] == 1
    assert dataset["num_train_images"] == 6 and dataset["samples_per_epoch"] == 3


def test_an_empty_folder_is_a_data_set_without_samples(millrace, tmp_path):
    dataset = report(millrace, write_set(tmp_path, DATASET, {}))["datasets"][0]
    assert dataset["batches_per_epoch"] == 0 and dataset["buckets"] == []
    assert kinds(dataset) == {"no_pictures": 1}


def test_captions_are_shown_as_they_are_trained(millrace, tmp_path):
    text = DATASET + "  shuffle_caption = true\n  caption_prefix = 'p,'\n"
    path = write_set(tmp_path, text, {"a.png": (64, 64)})
    image = report(millrace, path, "--captions", "100")["datasets"][0]["images"][0]
    assert len(set(image["captions"])) == 6
    assert {tuple(sorted(caption.split(", "))) for caption in image["captions"]} == {("caption 0", "p", "tag")}
    assert image["captions"] == report(millrace, path, "--captions", "100")["datasets"][0]["images"][0]["captions"]
    assert image["captions"] != report(millrace, path, "--captions", "100", "--seed", "1")["datasets"][0]["images"][0]["captions"]


def test_the_sheet_shows_every_picture(millrace, tmp_path):
    path = write_set(tmp_path, DATASET, {f"{i}.png": (100, 60) for i in range(10)})
    millrace("inspect", path, "--sheet", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 168 + 8, 2 * (160 + 22 + 8) + 8)


def test_folders_say_repeats_and_words(millrace, tmp_path):
    for name in ("train/10_sks dog", "train/noprefix", "reg/1_dog"):
        (tmp_path / name).mkdir(parents=True)
        noise((64, 64), len(name)).save(tmp_path / name / "a.png")
    words = ["--train_data_dir", tmp_path / "train", "--reg_data_dir", tmp_path / "reg", "--resolution", "64"]
    result = millrace("inspect", *words, "--json", "--per-image")
    dataset = json.loads(result.stdout)["datasets"][0]
    assert [subset["class_tokens"] for subset in dataset["subsets"]] == ["sks dog", "dog"]
    assert dataset["num_train_images"] == 10 and dataset["samples_per_epoch"] == 20
    assert [image["num_repeats"] for image in dataset["images"]] == [10, 10]
    assert "noprefix" in result.stderr


def test_a_folder_of_folders_is_shown_as_it_is_trained(millrace, tmp_path):
    for name in ("10_sks dog", "noprefix"):
        (tmp_path / "train" / name).mkdir(parents=True)
        noise((96, 64), len(name)).save(tmp_path / "train" / name / "a.png")
    (tmp_path / "train" / "10_sks dog" / "a.txt").write_text("a dog")
    result = millrace("inspect", tmp_path / "train", "--json", "--per-image", "--resolution", "64")
    dataset = json.loads(result.stdout)["datasets"][0]
    assert dataset["resolution"] == [64, 64] and dataset["bucket_reso_steps"] == 16 and dataset["max_bucket_reso"] == 128
    assert [image["caption"] for image in dataset["images"]] == ["a dog"] and dataset["buckets"][0]["count"] == 10
    assert "noprefix" in result.stderr
    assert json.loads(millrace("inspect", tmp_path / "train", "--json").stdout)["datasets"][0]["resolution"] == [256, 256]


def test_a_listed_picture_that_is_not_there_is_named(millrace, tmp_path):
    write_set(tmp_path, "", {"a.png": (64, 64)})
    entries = {name: {"caption": "x", "image_size": [64, 64]} for name in ("a.png", "gone.png")}
    (tmp_path / "meta.json").write_text(json.dumps(entries))
    path = tmp_path / "listed.toml"
    path.write_text('[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "imgs"\nmetadata_file = "meta.json"\n')
    dataset = report(millrace, path)["datasets"][0]
    assert dataset["num_train_images"] == 2
    assert [(w["kind"], w["places"]) for w in dataset["warnings"]] == [("missing_picture", ["gone.png"])]


def test_an_ending_of_captions_needs_no_dot(millrace, tmp_path):
    path = write_set(tmp_path, DATASET.replace('".txt"', '"txt"'), {"a.png": (64, 64)})
    dataset = report(millrace, path, "--per-image")["datasets"][0]
    assert dataset["images"][0]["caption"] == "caption 0, tag"
    assert dataset["subsets"][0]["caption_extension"] == "txt"  # as given


def test_lines_of_tags_are_counted_apart_where_they_are_joined(millrace, tmp_path):
    write_set(tmp_path, "", {"a.png": (64, 64)})
    (tmp_path / "meta.json").write_text(json.dumps({"a.png": {"caption": "x", "tags": "red\nblue, red"}}))
    for wildcard, counts in [("true", {"red": 2, "blue": 1}), ("false", {"red\nblue": 1, "red": 1})]:
        path = tmp_path / "tags.toml"
        subset = f'image_dir = "imgs"\n  metadata_file = "meta.json"\n  enable_wildcard = {wildcard}\n'
        path.write_text(f"[[datasets]]\nresolution = 64\n  [[datasets.subsets]]\n  {subset}")
        assert report(millrace, path, "--per-image")["datasets"][0]["tag_frequency"] == [counts]


def test_alpha_that_is_the_mask_is_nothing_odd(millrace, tmp_path):
    path = write_set(tmp_path, DATASET, {"a.png": noise((64, 64), 1, "RGBA"), "b.png": (64, 64)})
    assert kinds(report(millrace, path)["datasets"][0]) == {"transparent": 1}
    path.write_text(DATASET + "  alpha_mask = true\n")
    assert kinds(report(millrace, path)["datasets"][0]) == {}


def test_unknown_options_are_named_as_written(millrace, tmp_path):
    path = write_set(tmp_path, DATASET, {"a.png": (64, 64)})
    said = millrace("inspect", path, "--train_batch_siz", "3", status=2).stderr
    assert "expected an option or argument of this command, got --train_batch_siz 3 (try --train_batch_size)" in said


def test_prompts_are_listed(millrace):
    for item in json.loads((GOLDEN / "prompts" / "parsed.json").read_text()):
        assert report(millrace, GOLDEN / "prompts" / item["file"])["prompts"] == item["prompts"]
    text = millrace("inspect", GOLDEN / "prompts" / "all_flags.txt").stdout
    assert "20 prompts" in text and "left out: --z 3: expected a flag with its value" in text


def test_options_of_data_sets_are_refused_elsewhere(millrace, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"")
    assert "expected a data set file" in millrace("inspect", path, "--per-image", status=2).stderr
    assert "expected a file or folder, got none" in millrace("inspect", status=2).stderr
