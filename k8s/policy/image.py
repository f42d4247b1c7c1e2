"""What the image is that the manifests name: built from what is pinned, for who runs in it, with what they mount and call."""

import json
import re
from pathlib import PurePosixPath

from containerfile import NAMES, Containerfile, parts
from contents import TRUST
from rendered import ROOT
from rules import DOCS, read, rule, settings
from wiring import mounted

VERSION = r"[0-9]+\.[0-9]+\.[0-9]+([-.][A-Za-z0-9._-]+)?"
DIGEST = r"sha256:[0-9a-f]{64}"
# Somewhere else than the build's directory.
REMOTE = r"^(https?://|git://|git@|ssh://)|\.git(#|$)"
PROGRAM = "adwright"
# The compiler of kernels that the program has asks it for exponentials, sines and the like.
LIBDEVICE = "/usr/local/cuda/nvvm/libdevice"
# What the program reads that it is not linked to.
FILES = {TRUST: "whom TLS trusts", NAMES: "how names are looked up"}


@rule("the image is built of what is pinned")
def pinned(overlay):
    for stage, image in Containerfile(overlay.containerfile).images():
        name, _, digest = image.partition("@")
        tag = name.rsplit("/", 1)[-1].partition(":")[2]
        if "$" in image:
            yield f"Containerfile: stage {stage} is built from {image}, which has no default"
        elif not re.fullmatch(DIGEST, digest):
            yield f"Containerfile: stage {stage} is built from {image}: expected a digest of 64 digits"
        elif not re.fullmatch(VERSION, tag):
            yield f"Containerfile: stage {stage} is built from {image}: expected a version of three numbers beside its digest"


@rule("what a build downloads is checked")
def downloads(overlay):
    for stage in Containerfile(overlay.containerfile).stages:
        for flags, words in map(parts, stage.of("ADD")):
            for source in (word for word in words[:-1] if re.search(REMOTE, word)):
                commit = re.search(r"#[0-9a-f]{40}$", source)
                if not re.fullmatch(DIGEST, flags.get("checksum", "")) and not commit:
                    yield f"Containerfile: ADD {source}: expected --checksum=sha256:..."
        for command in stage.of("RUN"):
            if re.search(r"\b(curl|wget)\b", command) and "sha256sum" not in command:
                yield f"Containerfile: stage {stage.name} runs a download that no sha256sum checks: {command[:80]}"


def pod_user(pod, container):
    context = {**pod.spec.get("securityContext", {}), **container.get("securityContext", {})}
    return f"{context.get('runAsUser')}:{context.get('runAsGroup')}"


@rule("the image runs as its pods do")
def user(overlay):
    image = Containerfile(overlay.containerfile)
    for stage in image.targets():
        given = image.last(stage, "USER") or ""
        if not re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", given):
            yield f"Containerfile: target {stage.name} runs as {given or 'root'}: expected numbers, none of them 0"
            continue
        for pod in overlay.our_pods():
            for container in pod.all_containers:
                if pod_user(pod, container) != given:
                    yield f"{pod} container {container['name']} runs as {pod_user(pod, container)}, target {stage.name} as {given}"


@rule("the image has what pods mount and call")
def contents(overlay):
    image = Containerfile(overlay.containerfile)
    containers = [(pod, one) for pod in overlay.our_pods() for one in pod.all_containers]
    mounts = {mount["mountPath"] for _, one in containers for mount in one.get("volumeMounts", [])}
    ports = {port["containerPort"] for pod in overlay.our_pods() for port in pod.ports()}
    for stage in image.targets():
        where = f"Containerfile: target {stage.name}"
        for path in sorted(mounts - image.directories(stage)):
            yield f"{where} makes no directory {path}, and nothing can be made in it where it runs"
        if image.exposed(stage) != ports:
            yield f"{where} exposes {sorted(image.exposed(stage))}, pods listen on {sorted(ports)}"
        if features(image, stage) and LIBDEVICE not in image.directories(stage):
            yield f"{where} has no {LIBDEVICE}, without which its kernels cannot be compiled"
        if features(image, stage) and "g++" not in image.installed(builder(image, stage)):
            yield f"{where} is built without g++, and its compiler of kernels has parts in C++"
        if image.whole(stage)[0].image != "scratch" and ["!", "ldd", f"/usr/local/bin/{PROGRAM}"] not in list(stage.commands()):
            yield f"{where} does not look whether it has the libraries that its program is linked to"
        for path in sorted(set(FILES) - image.files(stage)):
            yield f"{where} has no {path}, which says {FILES[path]}"
        if not calls(image, stage):
            yield f"{where} does not call the program that it has: {image.last(stage, 'ENTRYPOINT')}"
        for pod, container in containers:
            if "command" in container:
                yield f"{pod} container {container['name']} calls {container['command']}, not what the image calls"
            home = image.environment(stage).get("HOME")
            if home and not mounted(pod, container, home, writable=True):
                yield f"{where}: {pod} container {container['name']} cannot write to HOME"


def calls(image, stage):
    """Whether a target calls the program that it has, without a shell."""
    try:
        [path] = json.loads(image.last(stage, "ENTRYPOINT") or "")
    except ValueError:
        return False
    return PurePosixPath(path).name == PROGRAM and path in image.files(stage)


def builds(text):
    """(target, tag) of the commands in a text that build an image, with the registry that nodes look for it by: podman has none of its own."""
    return set(re.findall(r"podman build --target (\S+) +--tag [^\s/]+\.[^\s/]+/(?:\S+/)?adwright:(\S+) \.", text))


@rule("overlays name images that are built")
def names(overlay):
    image = Containerfile(overlay.containerfile)
    targets = {stage.name for stage in image.targets()}
    version = read((ROOT.parent / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    wanted = {("cpu", version), ("cuda", f"{version}-cuda")}
    for where, text in (
        ("Containerfile", overlay.containerfile),
        ("operations.md", (DOCS / "operations.md").read_text()),
    ):
        if builds(text) != wanted:
            yield f"{where} builds {sorted(builds(text))}, expected {sorted(wanted)}"
    for target in sorted({target for target, _ in wanted} ^ targets, key=str):
        yield f"Containerfile: target {target} is there and not documented, or documented and not there"
    for stage in image.targets():
        if features(image, stage) != (["cuda"] if stage.name == "cuda" else []):
            yield f"Containerfile: the program of target {stage.name} is built with the features {features(image, stage)}"
    for pod in overlay.our_pods():
        for container in pod.all_containers:
            name, _, tag = container["image"].partition(":")
            device = settings(overlay, container)["compute"]["device"].partition(":")[0]
            # In a registry of somebody's, tags are theirs.
            if name == PROGRAM and (device, tag) not in wanted:
                yield f"{pod} container {container['name']} computes on {device} with the image {container['image']}"


def built(image, stage):
    """The stage that a target's program is built in, and the command."""
    for source, _, _ in stage.copies():
        for command in image.stage(source).commands():
            if command[:2] == ["cargo", "build"]:
                return image.stage(source), command
    return None, []


def builder(image, stage):
    return built(image, stage)[0]


def features(image, stage):
    """Those that a target's program is built with, beside the usual ones; None where it is built by nobody."""
    _, command = built(image, stage)
    if not command:
        return None
    return command[command.index("--features") + 1].split(",") if "--features" in command else []
