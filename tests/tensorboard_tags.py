"""What a run has left for TensorBoard."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(folder):
    """Values by tag and step."""
    events = EventAccumulator(str(folder / "tb"))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
