"""Event files as tensorboard's own reader sees them."""

import io
import json
import os
import subprocess
from pathlib import Path

import numpy
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from torch.utils.tensorboard import SummaryWriter

BUILD = Path(os.environ.get("MILLRACE", Path(__file__).parents[2] / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "fuzz" / "millrace_formats_tool"


@pytest.fixture
def events(tmp_path):
    """A folder in which a run was written to step 10 and resumed at step 8, and the picture that is in it."""
    Image.new("RGB", (5, 3), (255, 0, 0)).save(tmp_path / "a.png")
    subprocess.run([TOOL, "write-events", tmp_path / "tb", tmp_path / "a.png"], check=True, timeout=300)
    return tmp_path / "tb"


def test_scalars_images_and_text_are_read_by_tensorboard(events, tmp_path):
    accumulator = EventAccumulator(str(events), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    assert set(accumulator.Tags()["scalars"]) == {"train/loss", "train/grad norm é"}
    (grad_norm,) = accumulator.Scalars("train/grad norm é")
    assert (grad_norm.step, grad_norm.value) == (5, -2.5)
    assert grad_norm.wall_time > 1.6e9
    (image,) = accumulator.Images("samples")
    assert (image.width, image.height, image.step) == (5, 3, 5)
    assert image.encoded_image_string == (tmp_path / "a.png").read_bytes()
    assert Image.open(io.BytesIO(image.encoded_image_string)).getpixel((4, 2)) == (255, 0, 0)
    (text,) = accumulator.Tensors("config")
    assert text.tensor_proto.string_val[0].decode() == "[training]\nsteps = 10"
    assert accumulator.SummaryMetadata("config").plugin_data.plugin_name == "text"


def test_a_resumed_run_replaces_the_steps_it_repeats(events):
    accumulator = EventAccumulator(str(events), size_guidance={"scalars": 0})
    accumulator.Reload()
    points = {point.step: point.value for point in accumulator.Scalars("train/loss")}
    assert points == {step: pytest.approx(1 / step) for step in range(1, 8)} | {step: 100 + step for step in range(8, 13)}
    assert len(accumulator.Scalars("train/loss")) == 12


def test_records_are_those_of_the_reference_writer(tmp_path, events):
    """Field for field what torch.utils.tensorboard writes, apart from times."""

    def messages(path):
        reader = PyRecordReader_New(str(path))
        found = []
        while True:
            try:
                reader.GetNext()
            except Exception:
                return found
            event = Event.FromString(reader.record())
            event.ClearField("wall_time")
            event.ClearField("source_metadata")
            found.append(event)

    with SummaryWriter(tmp_path / "theirs") as writer:
        writer.add_scalar("train/loss", 1.0, 1)
    (theirs,) = (tmp_path / "theirs").iterdir()
    ours = messages(sorted(events.iterdir())[0])
    reference = messages(theirs)
    assert ours[0] == reference[0] and ours[0].file_version == "brain.Event:2"
    assert ours[1] == next(event for event in reference if event.HasField("summary"))


def test_inspect_reads_event_files_of_others(tmp_path, millrace):
    with SummaryWriter(tmp_path / "theirs") as writer:
        for step in range(5):
            writer.add_scalar("loss", 10.0 - step, step)
        writer.add_text("note", "hello", 2)
        writer.add_histogram("weights", numpy.array([1.0, 2.0]), 2)
    report = json.loads(millrace("inspect", tmp_path / "theirs", "--json").stdout)
    tags = {tag["tag"]: tag for tag in report["tags"]}
    assert tags["loss"]["count"] == 5 and tags["loss"]["last"] == 6.0 and tags["loss"]["last_step"] == 4
    assert tags["note/text_summary"]["type"] == "text"
    assert tags["weights"]["type"] == "other"
