"""Breaks on purpose. A rule that none of them proves might as well not be there."""

from collections import namedtuple

from rules import UNTOLD, broken

Break = namedtuple("Break", "rule overlay what change")
BREAKS = []


def uncaught(overlays):
    """Breaks that change nothing, or that their rule does not see."""
    missed = []
    for one in BREAKS:
        copy = overlays[one.overlay].copy()
        one.change(copy)
        whole = overlays[one.overlay]
        if (copy.objects, copy.containerfile, copy.rights) == (whole.objects, whole.containerfile, whole.rights):
            missed.append(f"{one.overlay}: {one.what}: changes nothing")
            continue
        before, after = broken(whole, [one.rule]), broken(copy, [one.rule])
        if all(sentence.startswith(UNTOLD) or (rule, sentence) in before for rule, sentence in after):
            missed.append(f"{one.overlay}: {one.what} ({one.rule})")
    return missed


def pod(overlay, role):
    return next(one for one in overlay.pods() if one.role == role)


def container(overlay, role):
    return pod(overlay, role).containers[0]


def config(overlay, old, new):
    """In the last file that has it, which is the one that counts."""
    data = overlay.configured()["data"]
    names = [name for name, text in overlay.configuration() if old in text]
    assert names, old
    name = max(names)
    data[name] = data[name].replace(old, new)


def containerfile(overlay, old, new):
    assert old in overlay.containerfile, old
    overlay.containerfile = overlay.containerfile.replace(old, new)


def rights(overlay, name, old, new):
    assert old in overlay.rights[name], old
    overlay.rights[name] = overlay.rights[name].replace(old, new, 1)


def remove(overlay, kind, name=None):
    gone = [one for one in overlay.of(kind) if name in (None, one["metadata"]["name"])]
    overlay.objects = [one for one in overlay.objects if one not in gone]


def simple(rule, overlay, what, change):
    BREAKS.append(Break(rule, overlay, what, change))


def put(place, key, value):
    place[key] = value
