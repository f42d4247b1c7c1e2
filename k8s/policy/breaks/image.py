"""Breaks of the image: of its Containerfile, and of manifests that it does not fit."""

import re

from mutations import container, containerfile, pod, put, simple
from rendered import CONTAINERFILE

PINNED = "the image is built of what is pinned"
CHECKED = "what a build downloads is checked"
RUNS_AS = "the image runs as its pods do"
HAS = "the image has what pods mount and call"
NAMED = "overlays name images that are built"
[RUST] = re.findall(r"^ARG RUST=.*", CONTAINERFILE.read_text(), re.MULTILINE)
DIGEST = RUST.partition("@")[2]
USER = "USER 10001:10001\nEXPOSE"


def file(rule, overlay, what, old, new):
    simple(rule, overlay, what, lambda o: containerfile(o, old, new))


def mount(overlay, role, path):
    return next(one for one in container(overlay, role)["volumeMounts"] if one["mountPath"] == path)


file(PINNED, "gpu", "whatever has the version", RUST, RUST.partition("@")[0])
file(PINNED, "gpu", "the newest", RUST, f"ARG RUST=docker.io/library/rust:latest@{DIGEST}")
file(PINNED, "gpu", "no tag", RUST, f"ARG RUST=host:5000/rust@{DIGEST}")
file(PINNED, "gpu", "some patch release", RUST, f"ARG RUST=docker.io/library/rust:1.95-slim-bookworm@{DIGEST}")
file(PINNED, "gpu", "a digest cut short", RUST, RUST[:-60])
file(PINNED, "gpu", "whatever is given", RUST, "ARG RUST")
file(PINNED, "gpu", "a moving base", "FROM scratch AS cpu", "FROM docker.io/library/debian:bookworm-slim AS cpu")
file(
    PINNED,
    "gpu",
    "files of a moving image",
    "COPY --from=build-cpu /image/ /",
    "COPY --from=docker.io/library/busybox /bin/ /",
)
file(CHECKED, "gpu", "a download", "WORKDIR /src\n", "ADD https://example.com/cuda.run /cuda.run\nWORKDIR /src\n")
file(
    CHECKED,
    "gpu",
    "an archive by a flag that is none",
    "WORKDIR /src\n",
    "ADD --checksum=no http://a/b /b\nWORKDIR /src\n",
)
file(CHECKED, "gpu", "a branch", "WORKDIR /src\n", "ADD https://example.com/a.git#main /a\nWORKDIR /src\n")
file(CHECKED, "gpu", "a script", "COPY . .\n", "COPY . .\nRUN curl -sSf https://example.com/install | \\\n    sh\n")
file(RUNS_AS, "gpu", "root", USER, "EXPOSE")
file(RUNS_AS, "gpu", "root by number", USER, "USER 0:0\nEXPOSE")
file(RUNS_AS, "gpu", "a group of root", USER, "USER 10001:0\nEXPOSE")
file(RUNS_AS, "gpu", "a name, which nobody can tell from root", USER, "USER adwright\nEXPOSE")
file(RUNS_AS, "gpu", "root after all", "ENTRYPOINT", "USER root\nENTRYPOINT")
file(RUNS_AS, "local", "somebody else than the pods", USER, "USER 10002:10002\nEXPOSE")
simple(
    RUNS_AS,
    "gpu",
    "a pod as somebody else",
    lambda o: put(pod(o, "actor").spec["securityContext"], "runAsUser", 65534),
)
file(HAS, "gpu", "nowhere to work, on the CPU", " /image/var/lib/adwright /image/tmp", " /image/tmp")
file(HAS, "gpu", "no /tmp", " /image/tmp \\", " \\")
file(HAS, "gpu", "nowhere for the configuration, with CUDA", "install -d /etc/adwright", "true")
file(
    HAS,
    "gpu",
    "kernels without their mathematics",
    "COPY --from=build-cuda /usr/local/cuda/nvvm/libdevice/ /usr/local/cuda/nvvm/libdevice/\n",
    "",
)
file(HAS, "gpu", "no compiler of C++", " g++ ", " gcc ")
file(HAS, "gpu", "libraries that nobody looks for", "RUN ! ldd /usr/local/bin/adwright | grep 'not found'\n", "")
file(HAS, "gpu", "a port too many", "EXPOSE 7400", "EXPOSE 7403 7400")
file(HAS, "gpu", "no port of the monitoring", " 7409\n", "\n")
file(HAS, "gpu", "a shell", 'ENTRYPOINT ["/usr/local/bin/adwright"]', "ENTRYPOINT /usr/local/bin/adwright")
file(HAS, "gpu", "another program", 'ENTRYPOINT ["/usr/local/bin/adwright"]', 'ENTRYPOINT ["/opt/bin/adwright"]')
file(HAS, "gpu", "no program, on the CPU", "    && cp target/release/adwright /image/usr/local/bin/ \\\n", "")
file(
    HAS,
    "gpu",
    "no program, with CUDA",
    "COPY --from=build-cuda /src/target/release/adwright /usr/local/bin/adwright\n",
    "RUN mkdir -p /usr/local/bin\n",
)
file(
    HAS,
    "gpu",
    "a directory of the program's name",
    "/usr/local/bin/adwright\nCOPY",
    "/usr/local/bin/adwright/\nCOPY",
)
file(
    HAS,
    "gpu",
    "nobody to trust, on the CPU",
    "    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \\\n",
    "",
)
file(HAS, "gpu", "nobody to trust, with CUDA", "--no-install-recommends ca-certificates", "--no-install-recommends gcc")
file(HAS, "gpu", "names looked up otherwise", "/image/etc/nsswitch.conf", "/image/etc/nsswitch")
file(HAS, "gpu", "a home in the image", "ENV HOME=/var/lib/adwright", "ENV HOME=/home/adwright")
simple(
    HAS,
    "jobset",
    "a mount that the image does not know",
    lambda o: put(container(o, "actor")["volumeMounts"][1], "mountPath", "/work"),
)
simple(
    HAS,
    "gpu",
    "a home that cannot be written to",
    lambda o: put(mount(o, "actor", "/var/lib/adwright"), "readOnly", True),
)
simple(HAS, "gpu", "another command", lambda o: put(container(o, "learner"), "command", ["/bin/sh"]))
file(NAMED, "gpu", "a target of another name", "AS cuda\n", "AS gpu\n")
file(NAMED, "gpu", "a target of nobody", "FROM scratch AS cpu", "FROM scratch AS spare\n\nFROM scratch AS cpu")
file(NAMED, "gpu", "another tag than the overlays'", "adwright:0.1.0-cuda", "adwright:0.2.0-cuda")
file(NAMED, "gpu", "a tag that no node looks for", "--tag docker.io/library/adwright:0.1.0 .", "--tag adwright:0.1.0 .")
file(NAMED, "gpu", "CUDA left out", " --features cuda", "")
simple(NAMED, "gpu", "the CPU's image", lambda o: put(container(o, "actor"), "image", "adwright:0.1.0"))
simple(NAMED, "local", "the image of CUDA", lambda o: put(container(o, "actor"), "image", "adwright:0.1.0-cuda"))
simple(NAMED, "gpu", "an earlier version", lambda o: put(container(o, "actor"), "image", "adwright:0.0.9-cuda"))
