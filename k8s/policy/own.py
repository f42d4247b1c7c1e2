"""An overlay of somebody's own: a directory that builds on overlays of this repository, or of a copy, as `adwright launch` writes one or as
docs/operations.md says how. It is held to the same schemas and rules, but for what is its owner's: which single addresses pods may
reach, how its image is called, and thresholds of its alerts."""

from pathlib import Path

import yaml

import schemas
from rendered import Overlay, rendered
from rules import broken

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
# Overlays build on each other, never this deep.
DEEP = 16


def overlay(directory):
    return Overlay(str(directory), rendered(directory, directory), below(Path(directory)))


def below(directory, depth=0):
    """The overlays that a directory builds on, by their names in `overlays/`."""
    file = next((file for file in map(directory.joinpath, NAMES) if file.is_file()), None)
    found = set()
    if file is None or depth > DEEP:
        return found
    for name in (yaml.safe_load(file.read_text()) or {}).get("resources", []):
        resource = (directory / name).resolve()
        if resource.is_dir():
            found |= below(resource, depth + 1) | ({resource.name} if resource.parent.name == "overlays" else set())
    return found


def mistakes(one, of_others):
    """Everything that is wrong with it, and how many objects were compared with schemas."""
    found, checks = schemas.mistakes(one, of_others)
    return found + [f"{rule}: {sentence}" for rule, sentence in broken(one)], checks
