"""What a cluster does for the pods of an overlay, on this machine: addresses and names, volumes, init containers, probes, signals.

Pods are sandboxes (sandbox.py) on one bridge. What comes from a cluster's API is read from the rendered objects.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import contents
import sandbox

HERE = Path(__file__).resolve().parent


def ip(*words):
    said = subprocess.run(["ip", *words], capture_output=True, text=True)
    if said.returncode:
        raise OSError(f"ip {' '.join(words)}: {said.stderr.strip()}")


class Network:
    """A bridge with the node at its first address and a namespace for each pod, from `open` to `close`."""

    def __init__(self):
        self.tag, self.pods = f"adw{os.getpid()}", 0
        self.switch = f"{self.tag}-switch"

    def open(self):
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "hub", "type", "bridge")
        ip("-n", self.switch, "addr", "add", "10.78.0.1/24", "dev", "hub")
        for link in ("hub", "lo"):
            ip("-n", self.switch, "link", "set", link, "up")

    def pod(self):
        """The name and the address of a new pod's namespace."""
        self.pods += 1
        name, link, address = f"{self.tag}-{self.pods}", f"to-{self.pods}", f"10.78.0.{self.pods + 1}"
        ip("netns", "add", name)
        ip("-n", self.switch, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", self.switch, "link", "set", link, "master", "hub")
        ip("-n", self.switch, "link", "set", link, "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for link in ("eth0", "lo"):
            ip("-n", name, "link", "set", link, "up")
        return name, address

    def close(self):
        for name in [f"{self.tag}-{number + 1}" for number in range(self.pods)] + [self.switch]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Running:
    """A pod of an overlay with volumes of its own. `image` is that of its containers (contents.py), `values` are the run's ConfigMaps and Secrets
    by (kind, name), `hosts` the file of names that all pods share."""

    def __init__(self, pod, place, network, image, values, hosts):
        self.pod, self.place, self.image, self.values, self.hosts = pod, place, image, values, hosts
        self.network, self.address = network.pod()
        self.processes, self.written = [], 0
        (place / "root").mkdir(parents=True)
        for volume in pod.spec["volumes"]:
            self.fill(volume, place / volume["name"])

    def fill(self, volume, directory):
        directory.mkdir()
        if "emptyDir" in volume:
            # Everybody's; with an fsGroup the group's, and what is made in it too.
            os.chown(directory, 0, self.group or 0)
            directory.chmod(0o2770 if self.group else 0o777)
        if "projected" in volume:
            self.project(volume["projected"], directory)

    @property
    def group(self):
        return self.pod.spec["securityContext"].get("fsGroup")

    def files(self, projected):
        """(path, text) of everything that a projected volume has."""
        for source in projected["sources"]:
            for kind in ("configMap", "secret"):
                if kind not in source:
                    continue
                data = self.values[kind[0].upper() + kind[1:], source[kind]["name"]]
                items = source[kind].get("items") or [{"key": key, "path": key} for key in data]
                yield from ((item["path"], data[item["key"]]) for item in items)

    def project(self, projected, directory):
        """The volume as a kubelet writes it: in a directory of its own, which takes the earlier one's place in one step."""
        self.written += 1
        new, link = directory / f"..written-{self.written}", directory / "..data"
        earlier = os.readlink(link) if link.is_symlink() else None
        for path, text in self.files(projected):
            file = new / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(projected.get("defaultMode", 0o644))
            os.chown(file, 0, self.group)
            visible = directory / path.split("/")[0]
            if not visible.is_symlink():
                visible.symlink_to(Path("..data", visible.name))
        swap = directory / "..data_tmp"
        swap.symlink_to(new.name)
        swap.rename(link)
        if earlier:
            shutil.rmtree(directory / earlier)

    def refresh(self):
        """What a kubelet does some time after a ConfigMap or a Secret has changed."""
        for volume in self.pod.spec["volumes"]:
            if "projected" in volume:
                self.project(volume["projected"], self.place / volume["name"])

    def environment(self, container):
        found = {"PATH": self.image["path"], "HOME": "/", "HOSTNAME": self.place.name}
        for source in container.get("envFrom", []):
            found.update(self.values["Secret", source["secretRef"]["name"]])
        return {**found, **{one["name"]: one["value"] for one in container.get("env", [])}}

    def user(self, container):
        context = {**self.pod.spec["securityContext"], **container["securityContext"]}
        return context["runAsUser"], context["runAsGroup"]

    def start(self, container):
        user, group = self.user(container)
        mounts = [
            {
                "source": str(self.place / one["name"]),
                "path": one["mountPath"],
                "read_only": bool(one.get("readOnly")),
            }
            for one in container["volumeMounts"]
        ]
        wanted = {
            "root": str(self.place / "root"),
            "files": self.image["files"],
            "directories": self.image["directories"],
            "command": [*container.get("command", ["adwright"]), *container["args"]],
            "env": self.environment(container),
            "mounts": mounts,
            "hosts": str(self.hosts),
            "network": self.network,
            "user": user,
            "group": group,
        }
        command = [sys.executable, HERE / "sandbox.py"]
        # A container that is started again goes on in its log.
        with open(self.log(container["name"]), "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        process.stdin.write(json.dumps(wanted).encode())
        process.stdin.close()
        self.processes.append(process)
        return process

    def execute(self, container, command):
        """A command in a container that has been started, as its user: what a hook of its lifecycle is."""
        name, (user, group) = container["name"], map(str, self.user(container))
        what = f"{self.place.name}: {command[0]} in {name}"
        # Its process is the user's as soon as it is the container's command.
        wait(10, what, lambda: owner(self.inside(name)) == user, self.processes[-1:])
        enter = [shutil.which("nsenter"), "--target", str(self.inside(name)), "--setuid", user, "--setgid", group]
        parts = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--"]
        said = subprocess.run(
            [*enter, *parts, *command],
            env=self.environment(container),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert said.returncode == 0, f"{what} ended with {said.returncode}: {said.stderr[-2000:]}"

    def log(self, container):
        return self.place / f"{container}.log"

    def said(self, container):
        return self.log(container).read_text(errors="replace")

    def began(self, container):
        """Every process that a container has been: its number on this machine, and when it began."""
        lines = [line for line in self.said(container).splitlines() if line.startswith('{"process"')]
        return [(told["process"], told["began_at"]) for told in map(json.loads, lines)]

    def inside(self, container):
        """The process of a container, the newest if it was started again."""
        return next((process for process, _ in reversed(self.began(container))), None)

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def left(self):
        """Its processes that are still there. A number that another process has by now is not one of them."""
        begun = [one for log in self.place.glob("*.log") for one in self.began(log.stem)]
        return [process for process, when in begun if owner(process) is not None and sandbox.began_at(process) == when]


def owner(process):
    """Whose a process is, or None when there is none or it has ended."""
    try:
        about = Path(f"/proc/{process}/status").read_text()
        return None if "\nState:\tZ" in about else str(os.stat(f"/proc/{process}").st_uid)
    except (FileNotFoundError, ProcessLookupError):
        return None


def passes(address, container, probe):
    """Whether a kubelet would be content with one answer to a container's probe."""
    if "grpc" in probe:
        return health(address, probe) == "SERVING"
    get, ports = probe["httpGet"], {port.get("name"): port["containerPort"] for port in container["ports"]}
    url = f"{get.get('scheme', 'http').lower()}://{address}:{ports.get(get['port'], get['port'])}{get['path']}"
    try:
        with urllib.request.urlopen(url, timeout=probe.get("timeoutSeconds", 1)) as answer:
            return 200 <= answer.status < 400
    except (OSError, HTTPException):
        return False


def health(address, probe):
    """What a kubelet's gRPC probe hears: the status' name, or why there is none."""
    with grpc.insecure_channel(f"{address}:{probe['grpc']['port']}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
        try:
            answer = stub.Check(request, timeout=probe.get("timeoutSeconds", 1))
        except grpc.RpcError as error:
            return error.code().name
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def wait(seconds, what, question, alive=()):
    """Asks until the answer is yes; an end of one of `alive` before that is a failure."""
    end = time.monotonic() + seconds
    while not question():
        for process in alive:
            if process.poll() is not None:
                raise AssertionError(f"{what}: a container ended with {process.returncode} before that")
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.2)


def values(overlay):
    """ConfigMaps and Secrets as containers see them."""
    found = {("ConfigMap", one["metadata"]["name"]): dict(one["data"]) for one in overlay.of("ConfigMap")}
    for one in overlay.of("Secret"):
        data = {key: base64.b64decode(text).decode() for key, text in one.get("data", {}).items()}
        found["Secret", one["metadata"]["name"]] = {**data, **one.get("stringData", {})}
    return found


def why_not():
    """Why pods cannot be played here, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs Linux and root"
    for tool in ("ip", "ldd", "nsenter", "strip"):
        if not shutil.which(tool):
            return f"there is no {tool}"
    if not os.path.exists(contents.TRUST):
        return f"there is no {contents.TRUST}; it is in ca-certificates"
    if subprocess.run(
        ["unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "true"], capture_output=True
    ).returncode:
        return "namespaces are not permitted"
    return None


def terminate(process, grace):
    """SIGTERM, and after the grace period what a kubelet does. The exit status, and after how many seconds."""
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=grace), time.monotonic() - begun
    except subprocess.TimeoutExpired:
        process.kill()
        return "SIGKILL", grace
