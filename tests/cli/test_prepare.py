"""millrace prepare emoji: the data set of the quickstart."""

import io
import json
import tarfile

import pytest
from PIL import Image

pytestmark = pytest.mark.fast


def read_shards(folder):
    samples = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, extension = member.name.split(".", 1)
                samples.setdefault(key, {})[extension] = tar.extractfile(member).read()
    return samples


def test_writes_captioned_pictures(millrace, tmp_path):
    result = millrace("prepare", "emoji", "--output", "set", "--size", 48, "--count", 120, "--samples-per-shard", 50)
    assert "120 pictures of 48 x 48 in 3 shards" in result.stdout
    samples = read_shards(tmp_path / "set")
    listing = json.loads((tmp_path / "set" / "captions.json").read_text())
    assert len(samples) == len(listing) == 120
    for entry in listing:
        sample = samples[entry["key"]]
        assert set(sample) == {"png", "txt", "json"}
        assert sample["txt"].decode() == entry["caption"]
        assert json.loads(sample["json"])["codepoint"] == f"U+{ord(entry['emoji']):04X}"
        picture = Image.open(io.BytesIO(sample["png"]))
        assert (picture.size, picture.mode) == ((48, 48), "RGB")
        assert picture.getpixel((0, 0)) == (255, 255, 255)
        assert len(picture.getcolors(48 * 48)) > 1


def test_is_the_same_on_every_run_and_replaces_old_shards(millrace, tmp_path):
    for folder in ("a", "b"):
        millrace("prepare", "emoji", "--output", folder, "--count", 30, "--samples-per-shard", 10)
    millrace("prepare", "emoji", "--output", "b", "--count", 5)
    assert [path.name for path in sorted((tmp_path / "b").glob("*.tar"))] == ["emoji-000000.tar"]
    millrace("prepare", "emoji", "--output", "b", "--count", 30, "--samples-per-shard", 10)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_webdataset_reads_it(millrace, tmp_path):
    import webdataset

    millrace("prepare", "emoji", "--output", "set", "--filter", "heart")
    shards = [str(path) for path in sorted((tmp_path / "set").glob("*.tar"))]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "txt"))
    captions = [caption for _, caption in samples]
    assert {"red heart", "blue heart"} <= set(captions)
    assert all("heart" in caption.replace("-", " ").split() for caption in captions)


def test_takes_the_emoji_of_a_list(millrace, tmp_path):
    (tmp_path / "list.txt").write_text("# mine\n🍎\nU+2764 a heart of mine\n")
    millrace("prepare", "emoji", "--output", "set", "--only", "list.txt", "--background", "#102030")
    samples = read_shards(tmp_path / "set")
    assert {key: sample["txt"].decode() for key, sample in samples.items()} == {
        "1f34e": "red apple",
        "02764": "a heart of mine",
    }
    picture = Image.open(io.BytesIO(samples["1f34e"]["png"])).convert("RGB")
    assert picture.getpixel((0, 0)) == (0x10, 0x20, 0x30)


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--font", "none.ttf"], 3, "fonts-noto-color-emoji"),
        (["--annotations", "none.xml"], 3, "unicode-cldr-core"),
        (["--filter", "nosuchword"], 3, "expected at least one emoji"),
        (["--background", "reddish"], 2, "#RRGGBB"),
        (["--size", "1"], 2, "8 to 1024"),
        (["--sizes", "32"], 2, "--sizes"),
        (["--only", "none.txt"], 3, "none.txt"),
    ],
)
def test_says_what_is_wrong(arguments, status, message, millrace):
    assert message in millrace("prepare", "emoji", "--output", "set", *arguments, status=status).stderr


def test_the_command_alone_names_what_it_can_prepare(millrace):
    assert "emoji" in millrace("prepare", status=2).stderr
    help_text = millrace("prepare", "emoji", "--help").stdout
    assert "millrace prepare emoji" in help_text and "--samples-per-shard" in help_text
