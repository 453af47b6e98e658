"""Folders and shards with odd things in them: every command finds the same shards, and calls the same samples bad."""

import io
import json
import os
import subprocess
import tarfile

import datasets
import pytest
import raw_sets
from PIL import Image
from rank_processes import quiet_environment
from tiny_flux import TINY_MODEL

SIZE = 16
CONFIG = f"""{TINY_MODEL}patch_size = 4
[encoder]
t5_encoder = "random"
clip_encoder = "random"
max_t5_encoding_len = 4
autoencoder_path = "none"
[training]
img_size = {SIZE}
local_batch_size = 4
steps = 2
shuffle_buffer_size = 0
mixed_precision_param = "float32"
device = "cpu"
max_bad_samples = 1
[validation]
local_batch_size = 4
[report]
enable = false
[sample]
every_steps = 0
"""


def png(i):
    return raw_sets.encode(Image.new("RGB", (SIZE, SIZE), (10 * i % 255, 90, 200)), "PNG")


def sample(key, i=0):
    return [(f"{key}.png", png(i)), (f"{key}.txt", b"a caption")]


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def write_shard(path, members):
    """members: (name, content) or what member() makes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape") as tar:
        for name, content in members:
            info, content = member(name, content) if isinstance(name, str) else (name, content)
            tar.addfile(info, io.BytesIO(content))
    return path


def numbered(begin, count):
    return [m for i in range(begin, begin + count) for m in sample(f"{i:05}", i)]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


class Commands:
    """What each command makes of a set: the number of samples that it takes, and what it says."""

    def __init__(self, millrace, config, tmp_path):
        self.millrace, self.config, self.folder = millrace, config, tmp_path / "made"
        self.folder.mkdir()

    def train(self, data, *more, status=0, name="run"):
        return self.millrace("train", self.config, f"--training.dataset_path={data}", f"--job.dump_folder={self.folder / name}",
                             *more, status=status).stderr  # fmt: skip

    def evaluate(self, data):
        plain = write_shard(self.folder / "plain" / "a.tar", numbered(0, 8)).parent
        self.train(plain, "--checkpoint.enable", name="plain_run")
        result = self.millrace("evaluate", self.folder / "plain_run", f"--eval.dataset_path={data}", "--eval.dataset=webdataset", "--json")
        return json.loads(result.stdout)["num_samples"], result.stderr

    def encode(self, data, *more, status=0):
        result = self.millrace("prepare", "encode", self.config, "--encoder.autoencoder_path=random", "--model.patch_size=2",
                               "--output", self.folder / "encoded", f"--training.dataset_path={data}", *more, status=status)  # fmt: skip
        return result.stderr if status else (len(datasets.load_from_disk(self.folder / "encoded")), result.stderr)

    def problematic(self, data, *more, status=0):
        output, reasons = self.folder / "indices.txt", self.folder / "reasons.tsv"
        result = self.millrace("prepare", "find-problematic", "--input", data, "--output", output, "--reasons", reasons, *more, status=status)
        return result.stderr if status else ([int(line) for line in output.read_text().split()], reasons.read_text(), result.stderr)

    def clean(self, data, *more, status=0):
        result = self.millrace("prepare", "clean", "--input", data, "--output", self.folder / "cleaned", "--output-size", SIZE,
                               "--max-bad-samples", 1, *more, status=status)  # fmt: skip
        if status:
            return result.stderr
        bad = json.loads((self.folder / "cleaned" / ".prepare.json").read_text())["bad"]
        return datasets.load_from_disk(self.folder / "cleaned")["__key__"][:], bad, result.stderr


@pytest.fixture
def commands(millrace, config, tmp_path):
    return Commands(millrace, config, tmp_path)


# Finding shards --------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowded(tmp_path):
    """24 samples in three shards, one of them behind a link, among what lies about in real folders."""
    data, disk = tmp_path / "data", tmp_path / "disk"
    write_shard(data / "a" / "s-0.tar", numbered(0, 8))
    write_shard(data / "s-1.tar", numbered(8, 8))
    write_shard(disk / "s-2.tar", numbered(16, 8))
    (data / "b").symlink_to("../disk")
    (data / "a" / "up").symlink_to("..")  # a loop
    (data / "._s-1.tar").write_bytes(b"\0\5\26\7" + bytes(200))
    write_shard(data / ".Trash-1000" / "s-9.tar", numbered(90, 8))
    (data / "gone.tar").symlink_to("nowhere.tar")
    (data / "s-3.tar.gz").write_bytes(b"\x1f\x8b")
    (data / "README.md").write_text("about")
    (data / "lost+found").mkdir()
    return data


PASSED_OVER = ["a/up (the same folder as", "._s-1.tar (hidden)", ".Trash-1000 (hidden)", "gone.tar (a dangling link)", "s-3.tar.gz (by its name)"]


def test_every_command_finds_the_same_shards(commands, millrace, crowded):
    def check(text):
        for entry in PASSED_OVER:
            assert entry in text
        assert text.count("passed over") == 1  # one line, whatever it holds

    for name, pattern in (("deep", f"{crowded}/**/*.tar"), ("flat", f"{crowded}/*/*.tar")):
        commands.train(pattern, "--training.steps=1", name=name)
    # An explicitly named hidden file is used, but is not a shard.
    assert "expected a tar archive" in commands.train(f"{crowded}/._s-*", name="hidden", status=3)
    check(commands.train(crowded))
    for count, text in (commands.evaluate(crowded), commands.encode(crowded)):
        assert count == 24
        check(text)
    indices, _, text = commands.problematic(crowded)
    assert indices == []
    check(text)
    keys, bad, text = commands.clean(crowded)
    assert (sorted(keys), bad) == ([f"{i:05}" for i in range(24)], [])
    check(text)
    result = millrace("inspect", crowded, "--json")
    assert json.loads(result.stdout)["sample_count"] == 24 and "._s-1.tar (hidden)" in result.stderr


def as_user(*arguments, cwd):
    """For a test that runs as root, too, who may read everything."""
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    return subprocess.run([*become, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_what_may_not_be_read_is_passed_over_and_named(program, tmp_path):
    data = write_shard(tmp_path / "data" / "s-0.tar", numbered(0, 8)).parent
    closed = data / "lost+found"
    closed.mkdir()
    closed.chmod(0o000)
    output = tmp_path / "out"
    output.mkdir()
    output.chmod(0o777)
    for folder in [tmp_path, *tmp_path.parents][:3]:  # pytest's own are closed to others
        folder.chmod(0o755)
    try:
        find = [program, "prepare", "find-problematic", "--output", output / "list.txt", "--input"]
        found = as_user(*find, data, cwd=output)
        assert found.returncode == 0 and "lost+found (Permission denied)" in found.stderr
        refused = as_user(*find, closed, cwd=output)
        assert refused.returncode == 3 and f"[{closed}] expected a folder that can be read" in refused.stderr
        # The shard itself: no decision is assumed to be its owner.
        (data / "s-0.tar").chmod(0o000)
        refused = as_user(*find, data, cwd=output)
        assert refused.returncode == 3 and "s-0.tar" in refused.stderr and "Permission denied" in refused.stderr
    finally:
        closed.chmod(0o700)


def test_arrow_files_go_before_tar_shards_beside_them(commands, tmp_path):
    folder = tmp_path / "both"
    rows = {"__key__": ["a", "b", "c"], "png": [Image.new("RGB", (SIZE, SIZE))] * 3, "txt": ["x"] * 3}
    datasets.Dataset.from_dict(rows).cast_column("png", datasets.Image()).save_to_disk(folder)
    write_shard(folder / "s-0.tar", numbered(0, 8))
    count, text = commands.encode(folder)
    assert count == 3 and "s-0.tar (beside Arrow files" in text
    keys, _, text = commands.clean(folder)
    assert keys == ["a", "b", "c"] and "s-0.tar (beside Arrow files" in text


# Files that are not shards -----------------------------------------------------------------------------------------------

NO_SHARDS = {
    "html": (b"<html><body>403 Forbidden</body></html>\n" * 30, "a page of HTML"),
    "empty": (b"", "an empty file"),
    "gzip": (b"\x1f\x8b\x08" + bytes(900), "try gunzip"),
    "cut": (None, "ends early"),  # within the first member
}


@pytest.mark.parametrize("kind", NO_SHARDS)
def test_what_is_no_shard_is_known_before_the_first_step(commands, program, config, tmp_path, kind):
    content, text = NO_SHARDS[kind]
    data = write_shard(tmp_path / "data" / "s-0.tar", numbered(0, 8)).parent
    write_shard(data / "s-2.tar", numbered(8, 8))
    (data / "s-1.tar").write_bytes((data / "s-0.tar").read_bytes()[:530] if content is None else content)

    refused = commands.train(data, "--training.max_bad_samples=0.1", "--training.steps=8", status=3)
    assert "s-1.tar] expected" in refused and text in refused and "1 of 3 files" in refused and "step:" not in refused
    taken = commands.train(data, "--training.steps=8")
    assert "each of these counts as one bad sample: 1 entry: " in taken and text in taken and "s-1.tar" in taken
    ranks = [program, "launch", "-n", "2", "train", config, f"--training.dataset_path={data}", "--training.steps=8"]
    for limit, status in (("0.1", 3), ("1", 0)):
        result = subprocess.run([*map(str, ranks), f"--training.max_bad_samples={limit}", f"--job.dump_folder={tmp_path / limit}"],
                                env=quiet_environment(), capture_output=True, text=True, timeout=120)  # fmt: skip
        assert result.returncode == status and text in result.stderr

    refused = commands.train(tmp_path / "data" / "s-0.tar", "--validation.enable", f"--validation.dataset_path={data}", name="v", status=3)
    assert "s-1.tar] expected" in refused and "step:" not in refused
    for refused in (commands.encode(data, status=3), commands.problematic(data, status=3), commands.clean(data, status=3)):
        assert "s-1.tar" in refused and text in refused and "--allow-damaged-shards" in refused
    assert commands.encode(data, "--allow-damaged-shards")[0] == 16
    assert commands.problematic(data, "--allow-damaged-shards")[0] == []
    assert len(commands.clean(data, "--allow-damaged-shards")[0]) == 16


def test_nothing_but_files_that_are_no_shards(commands, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "s-0.tar").write_bytes(b"PK\3\4" + bytes(600))
    assert "expected a tar archive, got a zip archive; no shards: 1 of 1 files" in commands.train(data, status=3)


# One odd member --------------------------------------------------------------------------------------------------------

# What is bad about the sample, its members, how its key is shown.
ODD = {
    "in UTF-8": (sample("caf\udce9"), "caf\\xe9"),
    "UTF-8, got x2.t\\xe9xt": ([*sample("x2"), ("x2.t\udce9xt", b"")], "x2"),
    "got two txt": ([*sample("x3"), ("x3.txt", b"another")], "x3"),
    "relative names": (sample("/x4"), "/x4"),
    "without ..": (sample("../x5"), "../x5"),
    "got a hard link": ([member("x6.png", type=tarfile.LNKTYPE, linkname="00000.png"), ("x6.txt", b"a")], "x6"),
    "got a symbolic link": ([("x7.png", png(7)), member("x7.txt", type=tarfile.SYMTYPE, linkname="00000.txt")], "x7"),
    "got a sparse file": ([member("x8.png", png(8), pax_headers={"GNU.sparse.major": "1"}), ("x8.txt", b"a")], "x8"),
    "a name for every file": ([member("", b"content")], ""),
    "damaged pax header": ([member("PaxHeaders/x9", b"77 path=x9", type=tarfile.XHDTYPE), *sample("x9")], "x9"),
}


def test_one_odd_member_is_one_bad_sample_everywhere(commands, tmp_path):
    members = numbered(0, 6)  # datasets takes the columns from the first five
    for i, (odd, _) in enumerate(ODD.values()):
        members += [*odd, *numbered(6 + i, 1)]
    data = write_shard(tmp_path / "data" / "s-0.tar", members).parent
    sound = [f"{i:05}" for i in range(6 + len(ODD))]
    bad_indices = [6 + 2 * i for i in range(len(ODD))]

    def check(text):
        for problem, (_, key) in ODD.items():
            assert any(problem in line and f"s-0.tar: {key}" in line for line in text.splitlines()), problem

    check(commands.train(data, "--training.steps=8"))
    count, text = commands.evaluate(data)
    assert count == len(sound)
    check(text)
    count, text = commands.encode(data)
    assert count == len(sound)
    check(text)
    indices, reasons, _ = commands.problematic(data)
    assert indices == bad_indices
    keys, bad, _ = commands.clean(data)
    assert keys == sound and [entry["index"] for entry in bad] == bad_indices
    check("\n".join(entry["problem"] for entry in bad))


def test_odd_samples_at_the_beginning_do_not_stop_clean(commands, tmp_path):
    data = write_shard(tmp_path / "data" / "s-0.tar", [*sample("caf\udce9"), *sample("a"), ("a.txt", b"2"), *numbered(0, 6)]).parent
    keys, bad, _ = commands.clean(data)
    assert keys == [f"{i:05}" for i in range(6)] and [entry["index"] for entry in bad] == [0, 1]


def test_names_of_files_and_folders_may_be_any_bytes(commands, tmp_path):
    folder = os.fsencode(tmp_path) + b"/d\xe9p"
    os.mkdir(folder)
    plain = write_shard(tmp_path / "s-0.tar", [*numbered(0, 6), ("bad.png", b"no picture"), ("bad.txt", b"a")])
    os.rename(plain, folder + b"/s\xe9.tar")
    (tmp_path / "data").mkdir()
    os.symlink(folder, os.fsencode(tmp_path / "data") + b"/d\xe9p")
    data = tmp_path / "data"
    assert "expected names in UTF-8" in commands.train(data)
    count, text = commands.encode(data)
    assert count == 6 and "s\\xe9.tar: bad] " in text
    assert commands.problematic(data)[0] == [6]
    keys, bad, _ = commands.clean(data)
    assert len(keys) == 6 and [entry["index"] for entry in bad] == [6]


def test_odd_rows_of_arrow_files(commands, tmp_path):
    """A key that is not UTF-8, an empty one, a picture's path alone."""
    import pyarrow

    picture = {"bytes": png(1), "path": None}
    keys = [b"a", b"caf\xe9", b"", b"d", b"e"]
    pictures = [picture, picture, picture, {"bytes": None, "path": "/tmp/x.png"}, picture]
    offsets = [0]
    for key in keys:
        offsets.append(offsets[-1] + len(key))
    column = pyarrow.StringArray.from_buffers(len(keys), pyarrow.py_buffer(memoryview(bytes().join(n.to_bytes(4, "little") for n in offsets))),
                                              pyarrow.py_buffer(b"".join(keys)))  # fmt: skip
    table = pyarrow.table({"__key__": column, "png": pyarrow.array(pictures, pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
                           "txt": ["a"] * 5})  # fmt: skip
    (tmp_path / "data").mkdir()
    with pyarrow.ipc.new_stream(tmp_path / "data" / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    count, text = commands.encode(tmp_path / "data")
    assert count == 2
    for problem in ("data.arrow: caf\\xe9] expected a name in UTF-8", "row 2] expected a name in __key__, got an empty one", "got its path alone"):
        assert problem in text
    commands.train(tmp_path / "data")
    indices, reasons, _ = commands.problematic(tmp_path / "data")
    assert indices == [1, 2, 3] and "text in UTF-8" in reasons and "path alone" in reasons


def test_files_that_lie_apart_and_archives_that_are_joined(commands, tmp_path):
    apart = [(f"{i}.{kind}", content) for kind, content in (("png", png(1)), ("txt", b"a")) for i in range(8)]
    write_shard(tmp_path / "apart" / "s-0.tar", apart)
    for error in (commands.train(tmp_path / "apart", status=3), commands.encode(tmp_path / "apart", status=3),
                  commands.clean(tmp_path / "apart", status=3)):  # fmt: skip
        assert "tar --sort=name" in error

    parts = [write_shard(tmp_path / f"{i}.tar", numbered(8 * i, 8)).read_bytes() for i in range(2)]
    joined = tmp_path / "joined" / "s-0.tar"
    joined.parent.mkdir()
    joined.write_bytes(b"".join(parts))
    text = "more behind the end mark"
    assert text in commands.train(joined, "--training.steps=4")
    for error in (commands.encode(joined, status=3), commands.problematic(joined, status=3), commands.clean(joined, status=3)):
        assert text in error and "--allow-damaged-shards" in error
    assert len(commands.clean(joined, "--allow-damaged-shards")[0]) == 8
