"""An overlay of somebody's own: a directory that builds on overlays of this repository, or of a copy, as `adwright launch` writes one or as
docs/operations.md says how. It is held to the same schemas and rules, but for what is its owner's: which single addresses pods may
reach, how its image is called, and thresholds of its alerts."""

import schemas
from rendered import Overlay, rendered
from rules import broken


def overlay(directory):
    return Overlay(str(directory), rendered(directory, directory), own=True)


def mistakes(one, of_others, definitions=None):
    """Everything that is wrong with it, and how many objects were compared with schemas."""
    found, checks = schemas.mistakes(one, of_others, definitions)
    return found + [f"{rule}: {sentence}" for rule, sentence in broken(one)], checks
