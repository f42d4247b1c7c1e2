"""Reads the fixture with TensorBoard's own reader: every scalar as [tag, step, value], sorted."""

import json
import pathlib
import shutil
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

here = pathlib.Path(__file__).parent
with tempfile.TemporaryDirectory() as directory:
    shutil.copy(here / "events.out.tfevents.fixture", directory)
    events = EventAccumulator(directory)
    events.Reload()
    scalars = [
        [tag, scalar.step, scalar.value] for tag in events.Tags()["scalars"] for scalar in events.Scalars(tag)
    ]
lines = ",\n".join(json.dumps(scalar) for scalar in sorted(scalars))
(here / "read.json").write_text(f"[\n{lines}\n]\n")
