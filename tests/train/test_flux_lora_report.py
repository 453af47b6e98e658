"""What a run of LoRA shows while it trains and at its end: grids, strengths, the gallery of the report, planned memory."""

import html.parser
import json
import re
import resource
import subprocess

import numpy
import pytest
from flux_lora_runs import LAPTOP, base, emoji, train  # noqa: F401  (fixtures)
from PIL import Image

PROMPTS = ["red heart", "fox & hen"]
DRAWING = ["--sample.every_steps=4", f"--sample.prompts={json.dumps(PROMPTS)}", "--sample.denoising_steps=2"]


class Page(html.parser.HTMLParser):
    """The gallery's rows and the buttons of both strips."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.buttons = [], []
        self.in_gallery = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "table":
            self.in_gallery = True
        if tag == "tr" and self.in_gallery:
            self.rows.append([])
        if tag == "canvas":
            self.rows[-1].append((int(attributes["data-picture"]), json.loads(attributes["data-cut"])))
        if tag == "button":
            self.buttons.append(attributes["data-label"])

    def handle_endtag(self, tag):
        self.in_gallery = self.in_gallery and tag != "table"


def pixels(path):
    with Image.open(path) as image:
        return numpy.asarray(image.convert("RGB"))


def test_each_prompt_is_shown_through_time_and_by_strength(train):  # noqa: F811
    folder = train(*DRAWING, "--optimizer.lr=3e-2")
    samples = folder / "samples"
    stems = {path.stem for path in samples.glob("*.png")}
    last = "step-00000008"
    assert stems == {"step-00000000", "step-00000004", last, f"{last}-strength-0", f"{last}-strength-0.5"}
    assert {path.stem for path in samples.glob("*.json")} == stems
    # The same noise at every step: without adapters the pictures are those of the start.
    start, whole = pixels(samples / "step-00000000.png"), pixels(samples / f"{last}.png")
    assert (pixels(samples / f"{last}-strength-0.png") == start).all()
    half = pixels(samples / f"{last}-strength-0.5.png")
    assert (half != start).any() and (half != whole).any()

    page = Page((folder / "report.html").read_text())
    assert page.buttons == ["step 0", "step 4", "step 8", "strength 0", "strength 0.5", "strength 1"]
    assert [len(row) for row in page.rows] == [0, 3, 3]  # the head, and a row for each prompt
    for number, row in enumerate(page.rows[1:]):
        assert [picture for picture, _ in row] == [0, 1, 2]
        left, top, width, height = row[-1][1]
        picture = whole[top : top + height, left : left + width]
        assert picture.shape == (96, 96, 3) and picture.std() > 0
        # Whole pictures: of 16 pixels, each six times as large.
        assert (picture == picture[::6, ::6].repeat(6, 0).repeat(6, 1)).all(), number
    assert "fox &amp; hen" in (folder / "report.html").read_text()


def planned(error):
    return re.search(r"planned memory of a step: [\d.]+ [KMG]iB \(.*activations [\d.]+ [KMG]iB\)", error)


@pytest.mark.slow
def test_a_run_out_of_memory_says_what_takes_it_and_what_to_change(program, base, emoji, tmp_path):  # noqa: F811
    command = [program, "train", LAPTOP, f"--job.dump_folder={tmp_path / 'run'}", f"--training.dataset_path={emoji}",
               f"--checkpoint.initial_load_path={base}", "--activation_checkpoint.mode=none", "--training.local_batch_size=16384",
               "--training.num_workers=1", "--checkpoint.no_enable", "--sample.every_steps=0", "--metrics.no_enable_tensorboard"]  # fmt: skip

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (5 << 29, 5 << 29))

    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, preexec_fn=limit)
    assert result.returncode == 1, result.stderr[-2000:]
    first, _, rest = result.stderr.partition("expected enough for this run")
    assert planned(first), result.stderr[-2000:]  # before anything was loaded
    assert planned(rest) and "(try --" in rest, result.stderr[-2000:]
