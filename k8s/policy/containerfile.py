"""What a Containerfile says: its stages, what each is built on, who runs in it, which directories and files are made for it.

Nothing is judged here, and nothing is built: a directory or a file is known by the command that makes it."""

import re
import shlex
from pathlib import PurePosixPath

from contents import TRUST

# Directories that every image has which is not begun from nothing.
USUAL = {"/tmp"}
# Files that such an image has, and those that packages bring.
NAMES = "/etc/nsswitch.conf"
PACKAGES = {"ca-certificates": TRUST}


def instructions(text):
    """(WORD, the rest) of each, comments and line ends taken out."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        yield word.upper(), rest.strip()


def parts(rest):
    """Flags of an instruction by name, and its other words."""
    words = shlex.split(rest)
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--"))
    return flags, [word for word in words if not word.startswith("--")]


class Stage:
    """From one FROM to the next."""

    def __init__(self, name, image):
        self.name, self.image, self.steps = name, image, []

    def of(self, *words):
        return [rest for word, rest in self.steps if word in words]

    def copies(self):
        """(stage or image, sources, destination) of what is copied from elsewhere than the build's directory."""
        for flags, words in map(parts, self.of("COPY")):
            if "from" in flags:
                yield flags["from"], words[:-1], words[-1]

    def commands(self):
        """The words of every command that is run."""
        for run in self.of("RUN"):
            for command in re.split(r"&&|\|\||[;|]", run):
                yield shlex.split(command, comments=True)


class Containerfile:
    def __init__(self, text):
        self.stages, arguments = [], {}
        for word, rest in instructions(text):
            if word == "FROM":
                words = [one for one in rest.split() if not one.startswith("--")]
                named = len(words) == 3 and words[1].upper() == "AS"
                self.stages.append(Stage(words[2] if named else None, resolved(words[0], arguments)))
            elif self.stages:
                self.stages[-1].steps.append((word, rest))
            elif word == "ARG":
                name, _, value = rest.partition("=")
                arguments[name] = value

    def stage(self, name):
        return next((stage for stage in self.stages if stage.name == name), None)

    def targets(self):
        """Stages that are images: no other is built from them."""
        inner = {stage.image for stage in self.stages}
        inner |= {source for stage in self.stages for source, _, _ in stage.copies()}
        return [stage for stage in self.stages if stage.name not in inner]

    def images(self):
        """(who asks, image) of everything that is pulled."""
        names = {stage.name for stage in self.stages} | {"scratch"}
        for stage in self.stages:
            asked = [stage.image, *(source for source, _, _ in stage.copies())]
            yield from ((stage.name, image) for image in asked if image not in names)

    def whole(self, stage):
        """A stage and those that it is built on, the first below all others."""
        below = self.stage(stage.image)
        return [*(self.whole(below) if below else []), stage]

    def last(self, stage, *words):
        """What the last instruction of a kind says, or None."""
        return next((rest for one in reversed(self.whole(stage)) for rest in reversed(one.of(*words))), None)

    def environment(self, stage):
        said = (word for one in self.whole(stage) for rest in one.of("ENV") for word in shlex.split(rest))
        return dict(word.partition("=")[::2] for word in said)

    def installed(self, stage):
        """Packages that are asked for by name."""
        commands = (command for one in self.whole(stage) for command in one.commands())
        return {word for command in commands if command[:2] == ["apt-get", "install"] for word in command[2:]}

    def exposed(self, stage):
        words = (word for one in self.whole(stage) for rest in one.of("EXPOSE") for word in rest.split())
        return {int(word.removesuffix("/tcp")) for word in words}

    def directories(self, stage):
        """Those that a stage is known to have."""
        whole = self.whole(stage)
        found = set() if whole[0].image == "scratch" else set(USUAL)
        for one in whole:
            found |= {rest for rest in one.of("WORKDIR")}
            for command in one.commands():
                found |= made(command)
            for source, paths, to in one.copies():
                within = self.stage(source)
                below = self.directories(within) if within else set()
                found |= {moved for path in paths for moved in under(below, path, to)}
        return {str(parent) for path in found for parent in [PurePosixPath(path), *PurePosixPath(path).parents]}

    def files(self, stage):
        """Those that a stage is known to have. What has no name where it is copied from is not known."""
        whole, directories = self.whole(stage), self.directories(stage)
        found = set() if whole[0].image == "scratch" else {NAMES}
        for one in whole:
            for command in one.commands():
                found |= written(command, directories)
            for source, paths, to in one.copies():
                within = self.stage(source)
                below = self.files(within) if within else set()
                found |= {moved for path in paths for moved in moved_files(below, path, to)}
        return found


def resolved(image, arguments):
    """An image with the defaults of its arguments; one without a default stays as it is written."""

    def value(found):
        name, _, default = found[1].partition(":-")
        return arguments.get(name) or default or found[0]

    return re.sub(r"\$\{([^}]+)\}", value, re.sub(r"\$(\w+)", r"${\1}", image))


def made(command):
    """Directories that a command makes."""
    if command[:1] == ["mkdir"]:
        return {word for word in command[1:] if not word.startswith("-")}
    if command[:1] == ["install"] and "-d" in command:
        valued = {at + 1 for at, word in enumerate(command) if word in ("-o", "-g", "-m")}
        return {word for at, word in enumerate(command[1:], 1) if not word.startswith("-") and at not in valued}
    return set()


def written(command, directories):
    """Files that a command makes: copies, what it writes its output to, what packages bring."""
    found = {word for before, word in zip(command, command[1:]) if before in (">", ">>")}
    found |= {word.lstrip(">") for word in command if re.match(">{1,2}[^>]", word)}
    if command[:1] == ["cp"]:
        *sources, to = [word for word in command[1:] if not word.startswith("-")]
        within = to.endswith("/") or len(sources) > 1 or to in directories
        found |= {str(PurePosixPath(to, PurePosixPath(source).name)) for source in sources} if within else {to}
    if command[:2] == ["apt-get", "install"]:
        found |= {PACKAGES[word] for word in command if word in PACKAGES}
    return found


def moved_files(files, path, to):
    """Files below `path` where they are below `to`; a path that is no directory is one itself."""
    top = path.rstrip("/") + "/"
    inside = {str(PurePosixPath(to, one[len(top) :])) for one in files if one.startswith(top)}
    itself = {str(PurePosixPath(to, PurePosixPath(path).name)) if to.endswith("/") else to}
    return inside if inside or path.endswith("/") else itself


def under(directories, path, to):
    """Directories below `path` where they are below `to`, and that which a file at `to` lies in."""
    top = path.rstrip("/") + "/"
    inside = [one[len(top) :] for one in directories if one.startswith(top)]
    return [
        to if to.endswith("/") else str(PurePosixPath(to).parent),
        *(to.rstrip("/") + "/" + one for one in inside),
    ]
