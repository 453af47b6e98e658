"""millrace prepare find-problematic, clean and coco against the libraries that the reference's scripts use."""

import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import tarfile
import time

import datasets
import numpy as np
import pandas
import pytest
import raw_sets
import webdataset
from PIL import Image
from pictures import resize_rows_first
from torchvision.transforms import functional

datasets.disable_progress_bars()

UNDECODABLE = (UnicodeDecodeError, SyntaxError, OSError, ZeroDivisionError, ValueError, TypeError)


def digest(folder):
    """Everything in a folder: path -> hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """60 samples in 3 shards, the indices that cannot be decoded, and the set as `datasets` loads it."""
    folder = tmp_path_factory.mktemp("raw") / "cc12m-wds"
    bad = raw_sets.write_shards(folder)
    cache = tmp_path_factory.mktemp("cache")
    loaded = datasets.load_dataset("webdataset", data_dir=str(folder), split="train", cache_dir=str(cache))
    return folder, bad, loaded


def problematic(loaded):
    """What find_problematic_indices.py does."""
    problems = []
    for i in range(len(loaded)):
        try:
            loaded[i]
        except UNDECODABLE:
            problems.append(i)
    return problems


def cleaned(loaded, left_out, subset=None, size=256):
    """What clean_cc12m.py does, as (index, RGB picture) of what is kept. CMYK is scaled as CMYK, all else as RGB."""
    kept = []
    for i in range(len(loaded)):
        if i in left_out:
            continue
        image = loaded[i]["jpg"]
        if min(image.size) < size:
            continue
        image = functional.resize(image, size, interpolation=functional.InterpolationMode.BICUBIC)
        kept.append((i, functional.center_crop(image, (size, size)).convert("RGB")))
        if len(kept) == subset:
            break
    return kept


def kill_after(count, output, command, folder):
    """Kills the command in the folder once so many units are finished; from the start again when it was faster."""
    units = output / ".prepare"
    for _ in range(10):
        shutil.rmtree(output, ignore_errors=True)
        output.with_suffix(".tsv").unlink(missing_ok=True)
        process = subprocess.Popen(list(map(str, command)), cwd=folder, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while len(list(units.glob("unit-*.json"))) < count and process.poll() is None:
            assert time.monotonic() < deadline, f"expected {count} units of {command} within 300 s"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL and units.is_dir():
            return
    pytest.fail(f"expected {command} to be killed, got its end each time")


def bytes_of(data, column):
    return data.cast_column(column, datasets.Image(decode=False))


def test_finds_the_indices_that_the_reference_finds(millrace, raw, tmp_path):
    folder, bad, loaded = raw
    expected = problematic(loaded)
    assert expected == bad, "the damage is damage to PIL"
    result = millrace("prepare", "find-problematic", "--input_dir", folder, "--num_workers", 3, "--batch_size", 7, "--reasons", "why.tsv")
    assert (tmp_path / "problematic_indices.txt").read_text() == "".join(f"{i}\n" for i in expected)
    assert f"{len(expected)} of 60 samples" in result.stdout
    reasons = pandas.read_csv(tmp_path / "why.tsv", sep="\t")
    assert list(reasons["index"]) == expected
    assert "cc12m-train-0000.tar: 000000017" in reasons["name"][0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["problematic_indices.txt", "why.tsv"]


def test_clean_keeps_what_the_reference_keeps(millrace, raw, tmp_path):
    folder, bad, loaded = raw
    (tmp_path / "filter.txt").write_text("".join(f"{i}\n" for i in [*bad, 5, 41]))
    millrace("prepare", "clean", "--input_dir", folder, "--output_dir", "out", "--filter_file", "filter.txt", "--num_workers=2")
    data = datasets.load_from_disk(tmp_path / "out")
    expected = cleaned(loaded, {*bad, 5, 41})
    assert data.column_names == [*loaded.column_names, "png"]
    assert dict(data.features) == dict(loaded.features) | {"png": datasets.Image()}
    assert len(data) == len(expected) > 40

    differences = []
    for got, (i, image) in zip(data, expected, strict=True):
        assert got["__key__"] == f"{i:09}"
        assert (got["png"].mode, got["png"].size) == ("RGB", (256, 256))
        differences.append(np.abs(np.asarray(got["png"], np.int16) - np.asarray(image, np.int16)).max())
    assert max(differences) <= 1, differences
    assert sum(difference == 0 for difference in differences) > len(differences) * 0.9

    # The other columns, byte for byte.
    ours, theirs = bytes_of(data, "jpg").remove_columns("png"), bytes_of(loaded, "jpg").select([i for i, _ in expected])
    for got, want in zip(ours, theirs, strict=True):
        assert got["jpg"]["bytes"] == want["jpg"]["bytes"]
        del got["jpg"], want["jpg"]
        assert got == want


def test_clean_is_the_same_for_any_workers_and_takes_the_first_so_many(millrace, raw, tmp_path):
    folder, bad, loaded = raw
    arguments = ["--input", folder, "--subset-size", 23, "--samples-per-file", 7, "--max-bad-samples", 0.2]
    for workers in (1, 4):
        millrace("prepare", "clean", *arguments, "--output", f"out{workers}", "--num-workers", workers)
    assert digest(tmp_path / "out1") == digest(tmp_path / "out4")
    expected = cleaned(loaded, bad, subset=23)
    data = datasets.load_from_disk(tmp_path / "out1")
    assert data["__key__"][:] == [f"{i:09}" for i, _ in expected]
    report = json.loads((tmp_path / "out1" / ".prepare.json").read_text())
    assert report["rows"] == 23 and [entry["index"] for entry in report["bad"]] == [i for i in bad if i < report["seen"]]

    # A second time nothing is done; with other options it is refused, and so is a folder of something else.
    before = digest(tmp_path / "out1")
    assert "complete already: 23" in millrace("prepare", "clean", *arguments, "--output", "out1").stdout
    assert "out1" in millrace("prepare", "clean", *arguments, "--output", "out1", "--output-size", 128, status=2).stderr
    assert digest(tmp_path / "out1") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.arrow").write_text("mine")
    assert "mine" in millrace("prepare", "clean", *arguments, "--output", "mine", status=2).stderr


def test_clean_reads_a_folder_of_datasets(millrace, raw, tmp_path):
    """What `datasets` saved, and what clean itself wrote: an existing png is replaced."""
    folder, bad, loaded = raw
    sound = loaded.select([i for i in range(30) if i not in bad])
    sound.save_to_disk(tmp_path / "saved", num_shards=2)
    millrace("prepare", "clean", "--input", "saved", "--output", "once")
    millrace("prepare", "clean", "--input", "once", "--output", "twice", "--image-column", "png")
    once, twice = (datasets.load_from_disk(tmp_path / name) for name in ("once", "twice"))
    expected = cleaned(sound, set())
    assert [np.asarray(row["png"]).tolist() for row in once.select(range(3))] == [
        np.asarray(image).tolist() for _, image in expected[:3]
    ]
    assert once.features == twice.features and len(once) == len(twice) == len(expected)
    for a, b in zip(once, twice, strict=True):
        assert np.array_equal(np.asarray(a["png"]), np.asarray(b["png"]))
        assert a["json"] == b["json"] and a["txt"] == b["txt"]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
def test_clean_makes_rgb_of_other_modes_before_it_scales(millrace, tmp_path, mode):
    image = raw_sets.photo(300, 310, 3).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.arange(300, dtype=np.uint8), (310, 1))))
    image = image.convert(mode)
    raw_sets.write_shards(tmp_path / "raw", 1, make=lambda i: (raw_sets.encode(image, "PNG"), True))
    millrace("prepare", "clean", "--input", "raw", "--output", "out")
    got = np.asarray(datasets.load_from_disk(tmp_path / "out")[0]["png"], np.int16)
    expected = functional.resize(image.convert("RGB"), 256, interpolation=functional.InterpolationMode.BICUBIC)
    expected = np.asarray(functional.center_crop(expected, (256, 256)), np.int16)
    assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize(
    "names, taken",
    [
        (["b.tar", "a.tar", "sub/c.tar"], ["a.tar", "b.tar", "sub/c.tar"]),
        (["train/1.tar", "train/0.tar", "val/2.tar"], ["train/0.tar", "train/1.tar"]),
        (["x-train-1.tar", "x-validation-0.tar", "other.tar"], ["x-train-1.tar"]),
        (["retrain.tar", "a.tar"], ["a.tar", "retrain.tar"]),
        (["training_0.tar", "test.tar"], ["training_0.tar"]),
    ],
)
def test_takes_the_shards_that_datasets_takes(millrace, tmp_path, names, taken):
    for i, name in enumerate(names):
        path = tmp_path / "raw" / name
        raw_sets.write_shards(path.parent, 1, pattern=path.name, make=lambda _, i=i: (raw_sets.encode(raw_sets.photo(257 + i, 260, i)), True))
    loaded = datasets.load_dataset("webdataset", data_dir=str(tmp_path / "raw"), split="train", cache_dir=str(tmp_path / "cache"))
    urls = [str(tmp_path / "raw" / name) for name in taken]
    assert loaded["__url__"][:] == urls
    millrace("prepare", "clean", "--input", "raw", "--output", "out")
    assert datasets.load_from_disk(tmp_path / "out")["__url__"][:] == urls


def test_clean_goes_on_where_it_was_killed(program, millrace, tmp_path):
    raw_sets.write_shards(tmp_path / "raw", 60, make=lambda i: (raw_sets.encode(raw_sets.photo(700, 600, i % 5)), True))
    command = ["prepare", "clean", "--input", "raw", "--output", "out", "--samples-per-file", 3, "--num-workers", 1]
    units = tmp_path / "out" / ".prepare"
    kill_after(4, tmp_path / "out", [program, *command], tmp_path)
    done = {path.name: path.stat().st_mtime_ns for path in units.glob("unit-*.json")}
    assert 4 <= len(done) < 20
    assert not (tmp_path / "out" / "state.json").exists(), "what is not complete cannot be opened"

    assert "--output-size" not in (refusal := millrace(*command, "--output-size", 128, status=2).stderr)
    assert "output size" in refusal and str(units.relative_to(tmp_path)) in refusal
    kept = {path.name: path.stat().st_mtime_ns for path in units.glob("unit-*.json")}
    assert kept == done
    arrows = {path.name: path.stat().st_ino for path in units.glob("unit-*.arrow") if path.with_suffix(".json").exists()}
    millrace(*command)
    final = {path.name: path.stat().st_ino for path in (tmp_path / "out").glob("data-*.arrow")}
    for name, inode in arrows.items():
        assert final[f"data-{int(name[5:12]):05}-of-00020.arrow"] == inode, "a finished unit was done again"
    command[5] = "whole"
    millrace(*command)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_work(millrace, raw, tmp_path, ranks):
    folder, _, _ = raw
    arguments = ["prepare", "clean", "--input", folder, "--subset-size", 31, "--samples-per-file", 4, "--max-bad-samples", 0.2]
    millrace(*arguments, "--output", "alone")
    millrace("launch", "-n", ranks, *arguments, "--output", "shared", "--num-workers", 1)
    assert digest(tmp_path / "alone") == digest(tmp_path / "shared")


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--input", "none"], 3, "none"),
        (["--input", "raw", "--filter-file", "none.txt"], 3, "none.txt"),
        (["--input", "raw", "--filter-file", "words.txt"], 3, "words.txt:2"),
        (["--input", "raw", "--output-size", 4], 2, "output-size"),
        (["--input", "raw", "--output-size", 1024, "--max-bad-samples", 0.2], 3, "at least one picture"),
        (["--input", "raw", "--image-column", "gif"], 3, "expected a column of pictures, gif, got jpg"),
        (["--input", "raw", "--max-bad-samples", 0.01], 3, "got 5 of 60"),
        (["--input", "cut"], 3, "expected whole files"),
        (["--input", "random"], 3, "random.tar"),
        (["--input", "raw", "--output", "words.txt"], 2, "words.txt"),
        (["--input", "raw", "--subset", 3], 2, "--subset"),
        (["--input", "raw", "--num-workers", -1], 2, "--num-workers"),
    ],
)
def test_clean_says_what_is_wrong(millrace, raw, tmp_path, arguments, status, message):
    (tmp_path / "raw").symlink_to(raw[0])
    (tmp_path / "words.txt").write_text("3\nfour\n")
    (tmp_path / "cut").mkdir()
    shard = (raw[0] / "cc12m-train-0001.tar").read_bytes()
    (tmp_path / "cut" / "cut.tar").write_bytes(shard[: len(shard) // 2])
    (tmp_path / "random").mkdir()
    (tmp_path / "random" / "random.tar").write_bytes(random.Random(1).randbytes(5000))
    output = [] if "--output" in arguments else ["--output", "out"]
    result = millrace("prepare", "clean", *arguments, *output, status=status)
    assert message in result.stderr
    assert not (tmp_path / "out" / "state.json").exists()


def test_a_damaged_shard_is_taken_as_far_as_it_goes_when_asked(millrace, raw, tmp_path):
    shard = (raw[0] / "cc12m-train-0001.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(shard[: len(shard) // 2])
    result = millrace("prepare", "clean", "--input", "cut.tar", "--output", "out", "--allow-damaged-shards", "--max-bad-samples", 0.5)
    assert "cut.tar" in result.stderr and 0 < len(datasets.load_from_disk(tmp_path / "out")) < 19


def test_a_disk_that_takes_no_more_loses_nothing(program, millrace, tmp_path):
    raw_sets.write_shards(tmp_path / "raw", 30, make=lambda i: (raw_sets.encode(raw_sets.photo(300, 300, i)), True))
    command = ["prepare", "clean", "--input", "raw", "--output", "out", "--samples-per-file", 4]

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    result = subprocess.run([program, *map(str, command)], cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit_files)
    assert result.returncode == 5 and "unit-" in result.stderr and "File too large" in result.stderr
    assert not list((tmp_path / "out").glob("*.arrow")) and not list((tmp_path / "out" / ".prepare").glob("unit-*.arrow"))
    millrace(*command)
    assert len(datasets.load_from_disk(tmp_path / "out")) == 30


# COCO ----------------------------------------------------------------------------------------------------------------


def write_coco(folder, count, captions_per_image=3, seed=1):
    """Pictures of many sizes and modes, and captions with what captions can have."""
    generator = random.Random(seed)
    (folder / "val2014").mkdir(parents=True)
    ids = generator.sample(range(1, 600000), count)
    for i, image_id in enumerate(ids):
        image = raw_sets.photo(60 + i % 11, 50 + i % 17, i, "L" if i % 10 == 3 else "RGB")
        image.save(folder / "val2014" / f"COCO_val2014_{image_id:012}.jpg", quality=90)
    texts = ["A cat.", "Two\nlines\n", "  blanks\u00a0\u3000", "a\ttab", 'say "hi"', "émoji 🐈", "\x1c control \x85", ""]
    annotations = [
        {"image_id": image_id, "id": 7 * i + 3 + 1000 * k, "caption": generator.choice(texts) + (f" {i}" if i % 3 else "")}
        for k in range(captions_per_image)
        for i, image_id in enumerate(ids)
    ]
    generator.shuffle(annotations)
    images = [{"id": image_id, "file_name": f"COCO_val2014_{image_id:012}.jpg", "height": 50} for image_id in ids]
    (folder / "captions.json").write_text(json.dumps({"info": {}, "images": images, "licenses": [], "annotations": annotations}))
    return folder


def chosen_captions(folder, num_samples, seed):
    """What coco_to_webdataset.py does with pandas."""
    frame = pandas.DataFrame(json.loads((folder / "captions.json").read_text())["annotations"])
    frame["caption"] = frame["caption"].apply(lambda text: text.replace("\n", "").strip())
    frame = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    frame = frame.drop_duplicates(subset=["image_id"], keep="first")[:num_samples].sort_values(by=["id"])
    frame["timestep"] = np.arange(len(frame)) % 8
    return frame


def coco_arguments(folder, output, tsv, **options):
    arguments = ["prepare", "coco", "--input-images-dir", folder / "val2014", "--input-captions-file", folder / "captions.json"]
    arguments += ["--output-dir", output, "--output-tsv-file", tsv]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    return arguments


def test_coco_writes_the_references_set(millrace, tmp_path):
    folder = write_coco(tmp_path / "coco", 101)
    result = millrace(*coco_arguments(folder, "out", "set.tsv", num_samples=80, samples_per_shard=30, num_workers=2, width=64, height=48))
    expected = chosen_captions(folder, 80, 2023)
    assert (tmp_path / "set.tsv").read_text() == expected.to_csv(sep="\t", index=False)
    assert "80 pictures of 64 x 48 in 3 shards" in result.stdout

    shards = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert [os.path.basename(shard) for shard in shards] == [f"shard_{i:05}.tar" for i in range(3)]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("__key__", "png", "txt", "json"))
    assert len(samples) == 80
    for (key, image, caption, about), row in zip(samples, expected.itertuples(), strict=True):
        name = f"COCO_val2014_{row.image_id:012}"
        assert key == f"{row.image_id:012}" and caption == row.caption
        assert about == {"id": str(row.image_id), "caption": row.caption, "filename": f"{name}.png", "timestep": row.timestep}
        source = Image.open(folder / "val2014" / f"{name}.jpg")
        source = resize_rows_first(source, (64, 48), Image.Resampling.BICUBIC).convert("RGB")
        assert np.array_equal(np.asarray(image), np.asarray(source))
    # `datasets` takes the folder as it is.
    loaded = datasets.load_dataset("webdataset", data_dir=str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["json"]["timestep"] for row in loaded] == list(expected["timestep"])
    with tarfile.open(shards[0]) as tar:
        assert [member.name.split(".")[1] for member in tar][:6] == ["png", "txt", "json"] * 2


@pytest.mark.parametrize("count, seed", [(1, 0), (2, 7), (255, 2023), (256, 2023), (257, 4294967295), (1000, 42)])
def test_coco_shuffles_as_pandas(millrace, tmp_path, count, seed):
    """The table alone: no picture is there, so every sample counts as bad."""
    folder = tmp_path / "coco"
    (folder / "val2014").mkdir(parents=True)
    annotations = [{"id": 3 * i, "image_id": i // 2, "caption": f"caption {i}"} for i in range(count)]
    (folder / "captions.json").write_text(json.dumps({"annotations": annotations}))
    raw_sets.photo(40, 40, 1).save(tmp_path / "one.jpg")
    expected = chosen_captions(folder, 600, seed)
    for image_id in expected["image_id"]:
        (folder / "val2014" / f"COCO_val2014_{image_id:012}.jpg").symlink_to(tmp_path / "one.jpg")
    millrace(*coco_arguments(folder, "out", "set.tsv", num_samples=600, seed=seed, width=8, height=8))
    assert (tmp_path / "set.tsv").read_text() == expected.to_csv(sep="\t", index=False)
    assert (tmp_path / "set.tsv").read_text().startswith("id\timage_id\tcaption\ttimestep\n")


def test_coco_is_the_same_for_any_workers_and_ranks_and_after_a_kill(program, millrace, tmp_path):
    folder = write_coco(tmp_path / "coco", 96)
    options = {"num-samples": 90, "samples-per-shard": 7, "width": 128, "height": 128}
    millrace(*coco_arguments(folder, "one", "one.tsv", num_workers=1, **options))
    millrace("launch", "-n", 2, *coco_arguments(folder, "two", "two.tsv", num_workers=2, **options))
    command = coco_arguments(folder, "killed", "killed.tsv", num_workers=1, **options)
    kill_after(2, tmp_path / "killed", [program, *command], tmp_path)
    assert not list((tmp_path / "killed").glob("*.tar")) and not (tmp_path / "killed.tsv").exists()
    millrace(*command)
    assert digest(tmp_path / "one") == digest(tmp_path / "two") == digest(tmp_path / "killed")
    (tmp_path / "killed" / ".prepare.done").mkdir()  # killed at the very end
    assert "complete already" in millrace(*command).stdout
    assert not (tmp_path / "killed" / ".prepare.done").exists()


def test_coco_takes_several_captions_of_a_picture(millrace, tmp_path):
    folder = write_coco(tmp_path / "coco", 16)
    for name, flag in {"a": ["--allow-duplicate-images"], "b": ["--allow_duplicate_images", "True"], "c": ["--allow-duplicate-images=false"]}.items():
        millrace(*coco_arguments(folder, name, f"{name}.tsv", num_samples=40), *flag)
    keys = [key for (key,) in webdataset.WebDataset([str(tmp_path / "a" / "shard_00000.tar")], shardshuffle=False).to_tuple("__key__")]
    assert len(set(keys)) == 40
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert len(pandas.read_csv(tmp_path / "c.tsv", sep="\t")) == 16


@pytest.mark.parametrize("damage", ["missing", "cut", "text"])
def test_coco_needs_every_picture_unless_told_otherwise(millrace, tmp_path, damage):
    folder = write_coco(tmp_path / "coco", 24)
    path = sorted((folder / "val2014").iterdir())[5]
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"no picture")
    result = millrace(*coco_arguments(folder, "out", "set.tsv", num_samples=24), status=3)
    assert path.name in result.stderr
    assert not (tmp_path / "set.tsv").exists()
    result = millrace(*coco_arguments(folder, "out", "set.tsv", num_samples=24), "--max-bad-samples", 0.1)
    assert "23 pictures" in result.stdout and "1 pictures were missing or damaged" in result.stdout


@pytest.mark.parametrize(
    "content, message",
    [
        ("[]", "annotations"),
        ('{"annotations": []}', "annotations"),
        ('{"annotations": [{"id": 1, "image_id": "x", "caption": "a"}]}', "image_id"),
        ('{"annotations": [{"id": 1, "image_id": 5}]}', "caption"),
        ('{"annotations": [3]}', "image_id"),
        ('{"annotations": [{"id": 1, "image_id": -5, "caption": "a"}]}', "12 digits"),
        ('{"images": [{"id": 1, "file_name": "../x.jpg"}], "annotations": [{"id": 1, "image_id": 1, "caption": "a"}]}', "plain name"),
        ('{"annotations": [', "syntax"),
    ],
)
def test_coco_says_what_is_wrong_with_the_captions(millrace, tmp_path, content, message):
    (tmp_path / "val2014").mkdir()
    (tmp_path / "captions.json").write_text(content)
    result = millrace(*coco_arguments(tmp_path, "out", "set.tsv"), status=3)
    assert message in result.stderr and "captions.json" in result.stderr


def test_every_sub_command_explains_itself(millrace):
    listing = millrace("prepare", "--help").stdout
    for name in ("find-problematic", "clean", "coco"):
        assert name in listing and name in millrace("prepare", status=2).stderr
        assert "--num-workers" in millrace("prepare", name, "--help").stdout
