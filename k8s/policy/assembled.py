"""What is in the image of the Containerfile's target `cpu`: its own commands, run here with a program that was built elsewhere.

    python3 k8s/policy/assembled.py PROGRAM [DIRECTORY]

assembles it in a directory and says how large it is. It needs root, because a directory of it is its user's. Left out are what the build's own image
brings and the build itself, so libraries and authorities are those of this machine."""

import gzip
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from containerfile import Containerfile
from contents import PROGRAM, TRUST

CONTAINERFILE = Path(__file__).resolve().parent.parent.parent / "Containerfile"
TARGET = "cpu"
# Where the target's stage puts the image together, and where its program is then.
PLACE, BUILT = "/image", "target/release/adwright"


def commands(text):
    """Those that a Containerfile gives for the target's files, once the program is built."""
    image = Containerfile(text)
    [(source, paths, to)] = image.stage(TARGET).copies()
    if (paths, to) != ([f"{PLACE}/"], "/"):
        raise ValueError(f"target {TARGET} copies {paths} to {to}: expected {PLACE}/ to /")
    runs = image.stage(source).of("RUN")
    [at] = [number for number, run in enumerate(runs) if "cargo build" in run]
    _, *after = re.split(r"\s*&&\s*", runs[at])
    return [*after, *runs[at + 1 :]]


def assemble(program, root):
    """The program's path in an image that is assembled at `root`, which must not be there yet."""
    with tempfile.TemporaryDirectory() as build:
        built = Path(build, BUILT)
        built.parent.mkdir(parents=True)
        shutil.copy2(program, built)
        for command in commands(CONTAINERFILE.read_text()):
            here = re.sub(rf"(?<![\w./-]){PLACE}\b", str(root), command)
            done = subprocess.run(["sh", "-euc", here], cwd=build, capture_output=True, text=True)
            if done.returncode:
                raise OSError(f"{command}: {done.stderr.strip()}")
    return Path(f"{root}{PROGRAM}")


def sizes(root):
    """Bytes by what they are, the largest first."""
    found = {"program": 0, "libraries": 0, "authorities": 0, "other": 0}
    for path in (path for path in Path(root).rglob("*") if path.is_file()):
        name = f"/{path.relative_to(root)}"
        what = {PROGRAM: "program", TRUST: "authorities"}.get(name, "libraries" if ".so" in path.name else "other")
        found[what] += path.stat().st_size
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def told(root):
    """A line about the size of an image."""
    parts = sizes(root)
    each = ", ".join(f"{what} {size / 1e6:.1f}" if size > 50_000 else f"{what} {size} B" for what, size in parts.items())
    return f"image {TARGET}: {sum(parts.values()) / 1e6:.1f} MB ({each})"


def compressed(root):
    """Bytes of its one layer as registries have it."""
    with tempfile.TemporaryFile() as file:
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w|") as layer:
            layer.add(root, arcname="/")
        return file.tell()


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__)
        return 64
    with tempfile.TemporaryDirectory() as own:
        root = Path(sys.argv[2]).absolute() if len(sys.argv) == 3 else Path(own, "image")
        if root.exists():
            print(f"{root} is there already: name a directory that is not")
            return 64
        try:
            assemble(Path(sys.argv[1]).resolve(strict=True), root)
        except (OSError, ValueError) as error:
            print(f"not assembled: {error}")
            return 1
        print(f"{told(root)}; {compressed(root) / 1e6:.1f} MB as a compressed layer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
