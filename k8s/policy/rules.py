"""What a rule is: a name, and a function that yields what breaks it in an overlay. The rules themselves are in files by subject."""

import functools
import tomllib

from rendered import ROOT

RULES = {}
MONITORING = 7409
# Of roles that are called otherwise than the command that they run.
COMMANDS = {"evaluator": "evaluate"}
# At which addresses a process listens to other pods: the second one takes IPv4 too, where there is any.
ANY = ("0.0.0.0", "[::]")
PORTS = {"learner": 7400, "reward-server": 7401, "actor": 7402}
DOCS = ROOT.parent / "docs"
# How a rule ends that an overlay is too odd for.
UNTOLD = "cannot be told"


def rule(name):
    """Makes a rule of a function that takes an overlay and yields sentences."""

    def keep(function):
        assert name not in RULES, name
        RULES[name] = function
        return function

    return keep


def broken(overlay, names=RULES):
    """(rule, sentence) of everything that breaks one, or one of these."""
    found = []
    for name in names:
        try:
            found += [(name, sentence) for sentence in RULES[name](overlay)]
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, ValueError) as error:
            found.append((name, f"{UNTOLD}: {type(error).__name__} {error}"))
    return found


def merged(below, above):
    both = dict(below)
    for key, value in above.items():
        both[key] = (
            merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
        )
    return both


def arguments(container, flag):
    """What follows a flag, each time that it is there."""
    words = container.get("args", [])
    return [following for word, following in zip(words, words[1:]) if word == flag]


def argument(container, flag):
    """What follows a flag, or None."""
    return next(iter(arguments(container, flag)), None)


# Rules are asked hundreds of times, mostly of the same texts.
@functools.cache
def read(toml):
    """The settings in a text, which nobody changes."""
    return tomllib.loads(toml)


def defaults():
    """The settings of the program."""
    return read((ROOT.parent / "configs/demo.toml").read_text())


def together(overlay, both=None):
    """What all files of the run's configuration say, in their order, over what there is already."""
    both = both or {}
    for _, text in overlay.configuration():
        both = merged(both, read(text))
    return both


def settings(overlay, container=None):
    """The configuration of a container: the program's defaults, the run's files in their order, then `--set`."""
    both = together(overlay, defaults())
    for assignment in arguments(container or {}, "--set"):
        key, value = assignment.split("=", 1)
        try:
            value = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            pass
        for part in reversed(key.split(".")):
            value = {part: value}
        both = merged(both, value)
    return both


def role_container(pod):
    """The container that is the pod's role."""
    command = COMMANDS.get(pod.role, pod.role)
    return next(container for container in pod.containers if container["args"][0] == command)
