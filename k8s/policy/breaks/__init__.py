"""Breaks on purpose, by subject, as the rules are."""

from . import iam, image, layers, looking_on, network, pods, running, watching, wiring  # noqa: F401  they register themselves
