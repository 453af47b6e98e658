"""Words on the command line and lines of lists are taken as they stand, in every spelling, by every command."""

import os
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def run_folder(program, emoji_set, tmp_path_factory):
    """A run that draws with random encoders, two steps old."""
    import subprocess

    folder = tmp_path_factory.mktemp("words") / "run"
    subprocess.run([program, "train", ROOT / "configs" / "tiny.toml", f"--job.dump_folder={folder}", "--training.steps=2",
                    f"--training.dataset_path={emoji_set(24)}", "--sample.every_steps=0"],
                   check=True, capture_output=True, timeout=300)  # fmt: skip
    return folder


@pytest.fixture
def draw(millrace, run_folder, tmp_path):
    """draw(words...): the prompts of the pictures that `sample words...` made, as their files are named."""

    def run(*words, status=0):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        words = [run_folder if word == "RUN" else word for word in words]
        result = millrace("sample", *words, env=QUIET, status=status)
        if status != 0:
            assert not out.exists()
            return result.stderr
        names = sorted(name for name in os.listdir(out) if name != "grid.png")
        return [Path(name).stem for name in names]

    return run


REST = ["--steps=1", "--output", "out"]


@pytest.mark.parametrize(
    "words, prompts",
    [
        (["--prompt", "red heart", "RUN"], ["0-red-heart"]),
        (["RUN", "--prompt", "red heart", "--prompt", "b"], ["0-red-heart", "1-b"]),
        (["--prompt", "a", "RUN", "-p", "b", "-pc"], ["0-a", "1-b", "2-c"]),
        (["--prompt=a", "RUN"], ["0-a"]),
        (["--prompt", "[a, b]", "RUN"], ["0-a-b"]),
        (["--prompt=[a, b]", "RUN"], ["0-a-b"]),
        (["--prompt", "a,b,c", "RUN"], ["0-a-b-c"]),
        (["--prompt", "a=b", "--prompt==", "RUN"], ["0-a-b", "1"]),
        (["--prompt", "-x", "--prompt", "--y z", "--prompt", "-old man", "RUN"], ["0-x", "1-y-z", "2-old-man"]),
        (["--prompt=--steps", "RUN"], ["0-steps"]),
        (["--prompt", "42", "--prompt", "-1", "--prompt", "1e5", "RUN"], ["0-42", "1-1", "2-1e5"]),
        (["--prompt", "", "RUN"], ["0"]),
        (["--prompt=", "RUN"], ["0"]),
        (["--prompt", "{}", "--prompt", "%%", "--prompt", "[]", "RUN"], ["0", "1", "2"]),
        (["--prompt", "a\nb", "--prompt", '"q"', "--prompt", "'", "RUN"], ["0-a-b", "1-q", "2"]),
        (["--prompt", "a", "--", "RUN"], ["0-a"]),
        (["--sample.guidance_scale", "3", "--prompt", "a", "RUN"], ["0-a"]),
        (["--sample.shift", "-p", "a", "RUN"], ["0-a"]),
        (["--sample.prompts=x,y", "RUN"], ["0-x", "1-y"]),
        (["--sample.prompts=['x, y', '-z']", "RUN"], ["0-x-y", "1-z"]),
    ],
)
def test_a_prompt_is_one_prompt(draw, words, prompts):
    assert draw(*REST, *words) == prompts


@pytest.mark.parametrize(
    "words, says",
    [
        (["RUN", "--prompt"], "[--prompt] expected a value, got nothing"),
        (["RUN", "--prompt", "--steps", "4"], "[--prompt] expected a value, got the option --steps"),
        (["RUN", "--prompt", "a", "--output="], "[--output] expected a value, got nothing"),
        (["RUN", "--prompt", "a", "--output", ""], "[--output] expected a value, got nothing"),
        (["RUN", "--prompt", "a", "b"], "b"),
        (["RUN", "--prompt", "a", "--", "--steps=1"], "--steps=1"),
    ],
)
def test_words_that_do_not_fit_are_named(draw, words, says):
    assert says in draw(*words, status=2)


def test_options_of_other_commands_take_one_word_each(millrace, tmp_path, emoji_set):
    """With a blank or an equals sign, with dashes or underscores, and with words behind them."""
    data = emoji_set(4)
    plan = [ROOT / "configs" / "tiny.toml", f"--training.dataset_path={data}"]
    spellings = [
        ["plan", *plan, "--gpus=2", "--gpu=cpu", "--json"],
        ["plan", "--gpus", "2", "--gpu", "cpu", *plan, "--json"],
        ["plan", "--json", "--gpu", "cpu", "--training.seed", "1", "--gpus", "2", *plan],
        ["plan", "--gpus", "2", "--gpu", "cpu", "--json", plan[1], "--job.config_file", plan[0]],
    ]
    assert len({millrace(*words).stdout for words in spellings}) == 1
    (tmp_path / "list.txt").write_text("1\n")
    for number, words in enumerate([["--filter-file", "list.txt", "--output-size", "16"], ["--filter_file=list.txt", "--output_size=16"]]):
        said = millrace("prepare", "clean", "--input", data, "--output", f"clean-{number}", *words).stdout
        assert "1 filtered" in said
    # A set whose name looks like anything.
    odd = tmp_path / "[a,b] -c=d"
    shutil.copytree(data, odd)
    said = millrace("prepare", "find-problematic", "--output", "--x.txt", "--input", odd).stdout
    assert "0 of 4 samples" in said and (tmp_path / "--x.txt").exists()


# Lists of lines: (what is in the file, the lines it holds or what is said)
BOM = b"\xef\xbb\xbf"
LISTS = [
    (b"{0}\n{1}\n", 2),
    (b"{0}\n{1}", 2),
    (b"{0}\r\n{1}\r\n", 2),
    (BOM + b"{0}\r\n{1}\r\n", 2),
    (BOM + b"{0}\n" + BOM + b"{1}\n", 2),
    (b"{0}\r{1}\r", 2),
    (b"\n\n  {0}\t\n \n{1} \n\n", 2),
    (b"{0}\ncaf\xe9\n", ":2] expected UTF-8, got the byte 0xE9 in position 4"),
    (b"{0}\n\x80\n", ":2] expected UTF-8"),
    (b"{0}\n{1}\0\n", ":2] expected text, got a zero byte"),
    (b"\xff\xfe{0}\0\n\0", "] expected UTF-8, got UTF-16"),
    (b"\xfe\xff\0{0}\0\n", "] expected UTF-8, got UTF-16"),
    ("{0}\n{1}\n".encode("utf-16"), "] expected UTF-8, got UTF-16"),
    ("1\n".encode("utf-16-le"), ":1] expected text, got a zero byte"),
]
READERS = {  # items, status of a refusal, and the command: "LIST" is the file
    "prompts-file": (["red heart", "banana"], 2, ["sample", "RUN", "--prompts-file", "LIST", *REST]),
    "sample.prompts_file": (["red heart", "banana"], 2, ["sample", "RUN", "--sample.prompts=", "--sample.prompts_file=LIST",
                                                           *REST]),
    "filter-file": (["1", "3"], 3, ["prepare", "clean", "--input", "DATA", "--filter-file", "LIST", "--output-size", "16",
                                    "--output", "out"]),
    "only": (["U+2764 heart", "U+1F34E"], 3, ["prepare", "emoji", "--only", "LIST", "--size", "16", "--output", "out"]),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("number", range(len(LISTS)))
def test_lists_are_read_alike(millrace, run_folder, emoji_set, tmp_path, reader, number):
    content, expected = LISTS[number]
    items, status, words = READERS[reader]
    for i, item in enumerate(items):
        content = content.replace(b"{%d}" % i, item.encode()).replace(f"{{{i}}}".encode("utf-16-le"), item.encode("utf-16-le"))
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    places = {"RUN": str(run_folder), "DATA": str(emoji_set(24)), "LIST": str(path)}
    words = [places.get(word, word.replace("LIST", str(path))) for word in words]
    if isinstance(expected, str):
        result = millrace(*words, status=status, env=QUIET)
        assert f"[{path}{expected}" in result.stderr
        assert result.stdout == "" and not (tmp_path / "out").exists()
        return
    result = millrace(*words, env=QUIET)
    if "prompts" in reader:
        assert sorted(os.listdir(tmp_path / "out")) == ["0-red-heart.png", "1-banana.png", "grid.png"]
    else:
        assert ("2 filtered" if reader == "filter-file" else "Wrote 2 pictures") in result.stdout


def test_a_bad_prompt_is_refused_before_anything_is_loaded(program, millrace, run_folder, tmp_path):
    """The checkpoint and the encoders are missing, but not needed yet."""
    import subprocess

    spoiled = tmp_path / "run"
    shutil.copytree(run_folder, spoiled)
    shutil.rmtree(spoiled / "checkpoint")
    bad = tmp_path / "prompts.txt"
    bad.write_bytes(b"a\nb\ncaf\xe9")
    place = f"[{bad}:3] expected UTF-8, got the byte 0xE9 in position 4"
    assert place in millrace("sample", spoiled, "--prompts-file", bad, status=2).stderr
    assert place in millrace("sample", spoiled, "--sample.prompts=", f"--sample.prompts_file={bad}", status=2).stderr
    train = ["train", ROOT / "configs" / "tiny.toml", "--job.dump_folder=new", "--training.dataset_path=nowhere"]
    assert place in millrace(*train, "--sample.prompts=", f"--sample.prompts_file={bad}", status=2).stderr
    for words in (["--prompt", b"caf\xe9"], [b"--prompt=caf\xe9"], [b"-pcaf\xe9"]):
        result = subprocess.run([program, "sample", spoiled, "-p", "good", *words], capture_output=True, timeout=60)
        assert result.returncode == 2
        assert b"[--prompt, number 2] expected UTF-8, got the byte 0xE9" in result.stderr


def test_tokenize_takes_the_lines_of_any_editor(millrace, tmp_path):
    from tiny_encoders import write_t5_tokenizer

    (tmp_path / "t5").mkdir()
    write_t5_tokenizer(tmp_path / "t5")
    plain = millrace("tokenize", "--tokenizer", tmp_path / "t5", "--text", input="a heart\nb\n").stdout
    for text in ("\ufeffa heart\r\nb\r\n", "a heart\r\nb", "\ufeffa heart\nb"):
        assert millrace("tokenize", "--tokenizer", tmp_path / "t5", "--text", input=text).stdout == plain
