"""What every play has: a run smaller than the demo's, its pods, and what is asked of each of them."""

import re
import socket
import subprocess
import urllib.request
from pathlib import Path

import cluster
import contents
import sandbox
from cluster import Running, health, passes, terminate, wait
from layers import toml
from rendered import Overlay, render
from rules import MONITORING, argument, merged

# What is changed of every run that is played.
SMALL = {
    "shopworld": {"products": 16},
    "pretrain": {"samples": 2000},
    "reward": {"epochs": 1},
    "compute": {"threads": 1},
    # Deterministic, so that no version comes without each task's outcome, and leases that do not run out: a task
    # that a drained actor kept to itself would keep the run from its end.
    "learner": {
        "versions": 20,
        "pairs_per_version": 8,
        "minibatch_pairs": 4,
        "passes": 1,
        "deterministic": True,
        "max_staleness": 0,
        "lease_ttl_ms": 3_600_000,
        "lora": {"rank": 4},
    },
    "demo": {"samples": 2, "kl_samples": 1, "products": 2},
    "actor": {"group_size": 2, "max_new_tokens": 8, "tasks_per_lease": 2},
}


def changed(overlay, changes):
    """What its pods read, with one more file of the configuration, read last."""
    values = cluster.values(overlay)
    values["ConfigMap", overlay.configured()["metadata"]["name"]]["90-played.toml"] = toml(merged(SMALL, changes))
    return values


# Its store serves every play.
LOCAL = Overlay("local", render("local"))


class Run:
    """The pods of an overlay, whose configuration is that of its files but for SMALL and `changes`. There is nothing of it on the machine before
    `open`, and nothing after `close`, however far it came."""

    def __init__(self, overlay, place, program, changes):
        self.overlay, self.place, self.program = overlay, place, program
        self.values = changed(overlay, changes)
        self.network, self.names = cluster.Network(), {"localhost": ["127.0.0.1"]}
        self.started = []

    def open(self):
        self.place.mkdir()
        self.network.open()
        sandbox.enter_network(self.network.switch)

    def template(self, role):
        return next(pod for pod in self.overlay.pods() if pod.role == role)

    def pod(self, role, name, secrets={}):
        """A pod of a role, with these Secrets in the place of the run's. Its service's name leads to it, and to no other."""
        running = self.beside(role, name, secrets)
        self.named(f"adwright-{role}", running.address)
        return running

    def beside(self, role, name, secrets={}):
        """The same, and its service's name leads where it led."""
        return self.placed(self.template(role), name, contents.of_program(self.program), secrets)

    def placed(self, pod, name, image, secrets):
        values = {**self.values, **secrets}
        running = Running(pod, self.place / name, self.network, image, values, self.place / "hosts")
        self.started.append(running)
        return running

    def named(self, name, *addresses):
        """A service's name leads to these addresses from now on. The file is written in place: pods have it as it is."""
        self.names[name] = addresses
        lines = [f"{address}\t{name}\n" for name, found in self.names.items() for address in found]
        (self.place / "hosts").write_text("".join(lines))

    def told(self, *arguments):
        """What the program says to somebody on the node who has the store's keys."""
        [address] = self.names["adwright-store"]
        keys = {"AWS_ENDPOINT_URL": f"http://{address}:9000", "HOME": "/"}
        environment = {**self.values["Secret", "adwright-store"], **keys}
        said = subprocess.run(
            [self.program, *arguments], env=environment, capture_output=True, text=True, timeout=60
        )
        assert said.returncode == 0, f"{' '.join(map(str, arguments))}: {said.stderr[-2000:]}"
        return said.stdout

    def store(self):
        """The store of `local`. Its image is not ours: here it is this Python and its packages, moto among them."""
        pod = next(pod for pod in LOCAL.pods() if pod.role == "store")
        store = self.placed(pod, "store", contents.of_python(), {})
        self.named("adwright-store", store.address)
        begin(store)

    def close(self):
        for running in self.started:
            running.kill()
        self.network.close()

    def gone(self):
        """That a container ends with its pod, however that came to its end."""
        for running in self.started:
            wait(10, f"{running.place.name}: nothing is left of it", lambda: not running.left())


def prepare(*pods):
    """Init containers: those of a pod one after the other, of several pods at the same time."""
    waiting = [list(pod.pod.spec.get("initContainers", [])) for pod in pods]
    while any(waiting):
        making = [(pod, left.pop(0)) for pod, left in zip(pods, waiting) if left]
        for pod, container, process in [(pod, container, pod.start(container)) for pod, container in making]:
            said = f"{pod.place.name}: {container['name']}"
            code = process.wait(timeout=600)
            assert code == 0, f"{said} ended with {code}: {pod.said(container['name'])[-2000:]}"
            print(f"{said}: exit 0", flush=True)


def ready(running, *more):
    """One of ours, begun, with what Prometheus reads of it."""
    process = begin(running, *more)
    page(running.address)
    return process


def begin(running, *more):
    """What is to be done when the pod starts, every probe, within the time that its startup probe allows, and every port that it declares. It is
    started with `more` arguments than the manifest's."""
    [container] = running.pod.containers
    container = {**container, "args": [*container["args"], *more]}
    process = running.start(container)
    if "postStart" in container.get("lifecycle", {}):
        running.execute(container, container["lifecycle"]["postStart"]["exec"]["command"])
    startup = container["startupProbe"]
    allowed = startup["periodSeconds"] * startup["failureThreshold"]
    for probe, seconds in (("startupProbe", allowed), ("livenessProbe", 5), ("readinessProbe", 120)):
        what = f"{running.place.name}: {probe}"
        wait(seconds, what, lambda: passes(running.address, container, container[probe]), [process])
    for port in container["ports"]:
        socket.create_connection((running.address, port["containerPort"]), timeout=5).close()
    held(running, container)
    print(
        f"{running.place.name}: three probes serve, ports {[port['containerPort'] for port in container['ports']]} answer",
        flush=True,
    )
    return process


def page(address):
    """What Prometheus reads, at the port that the PodMonitor names."""
    with urllib.request.urlopen(f"http://{address}:{MONITORING}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert "# TYPE " in text, text[:500]
    return text


def number(running, name, label=""):
    """One of a pod's numbers, over all labels, or over those with this one."""
    found = re.findall(rf"^{name}((?:\{{.*\}})?) (\S+)$", page(running.address), re.MULTILINE)
    assert found, f"{running.place.name} has no {name}"
    return sum(float(value) for labels, value in found if label in labels)


def heard(running, words):
    name = running.pod.containers[0]["name"]
    wait(10, f"{running.place.name} says {words}", lambda: re.search(words, running.said(name)))


def held(running, container):
    """That the process is as confined as the manifest says, by the kernel's own account."""
    process = running.inside(container["name"])
    assert process in running.left(), f"{process} is not seen to be there"
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if ":\t" in line
    )
    user = str(running.pod.spec["securityContext"]["runAsUser"])
    assert status["Uid"].split() == [user] * 4, status["Uid"]
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1", status
    mounts = {
        fields[4]: fields[5].split(",")[0]
        for fields in map(str.split, Path(f"/proc/{process}/mountinfo").read_text().splitlines())
    }
    expected = {"/": "ro"}
    for one in container["volumeMounts"]:
        expected[one["mountPath"]] = "ro" if one.get("readOnly") else "rw"
    assert {path: mounts.get(path) for path in expected} == expected, mounts


def unfinished(running):
    """The exit status of a container that was stopped before the run was complete, as its manifest says."""
    return int(argument(running.pod.containers[0], "--unfinished-status"))


def told_to_end(running, process):
    """SIGTERM with the time that is left of the grace period after preStop. The exit status, and after how many seconds."""
    container = running.pod.containers[0]
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    return terminate(process, running.pod.spec["terminationGracePeriodSeconds"] - pause)


def drained(running, process, status):
    """That a container which was told to end has nothing left in hand either: who it is of is there."""
    said = ended(running, told_to_end(running, process), status, "drained")
    assert "leases were not handed back" not in said, said[-2000:]


def ended(running, end, status, what):
    """That a container which was told to end has done so within its grace period; what it has said."""
    code, seconds = end
    said = exited(running, code, status)
    print(f"{running.place.name}: {what} in {seconds:.1f} s, exit {code}", flush=True)
    return said


def over(running, process, what, status=0):
    """Waits for the end of a container that ends by itself."""
    exited(running, process.wait(timeout=300), status)
    print(f"{running.place.name}: {what}, exit {status}", flush=True)


def exited(running, code, status):
    """That this is how a container had to end. What it has said."""
    said = running.said(running.pod.containers[0]["name"])
    assert code == status, f"{running.place.name}: ended with {code}, not {status}: {said[-2000:]}"
    return said


def published(learner):
    return learner.said("learner").count(" published")


def measured(learner):
    return learner.said("learner").count("version measured")


def idles(actor, process):
    """An actor stays after its run, and takes no part in anything."""
    probe = actor.pod.containers[0]["readinessProbe"]
    what = f"{actor.place.name}: not ready after the run, and still there"
    wait(60, what, lambda: health(actor.address, probe) == "NOT_SERVING", [process])
    print(what, flush=True)
    drained(actor, process, 0)


