"""Starts the roles of the overlay `local` under the constraints of its manifests: their command lines, configuration, environment, user,
read-only root and volumes, each pod at an address of its own; calls every probe and every declared port; drains an actor and the learner in the
middle of the run, with the grace period that the manifests give; and waits until the run is complete.

The run is smaller than the demo's: `SMALL`, and nothing else, is changed. The store is moto, as in the overlay, from PyPI. Left out is what the
kernel would add on a node: limits of memory and CPU, filtered system calls, and network policies."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from pathlib import Path

import cluster
import sandbox
from cluster import Running, health, terminate, wait
from rendered import Overlay, render
from rules import MONITORING, merged

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
    "actor": {"group_size": 2, "max_new_tokens": 8, "tasks_per_lease": 2},
}


def toml(table, name=""):
    """A table as TOML, as far as a configuration has kinds of values."""
    lines = [f"[{name}]"] if name else []
    for key, value in table.items():
        if not isinstance(value, dict):
            text = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
            lines.append(f"{key} = {text}")
    tables = [
        toml(value, f"{name}.{key}".strip(".")) for key, value in table.items() if isinstance(value, dict)
    ]
    return "\n".join([*lines, *tables])


def shrunk(values):
    for (kind, name), files in values.items():
        if kind == "ConfigMap" and "config.toml" in files:
            files["config.toml"] = toml(merged(tomllib.loads(files["config.toml"]), SMALL))
    return values


class Run:
    """The pods of `local`. There is nothing of it on the machine before `open`, and nothing after `close`, however far it came."""

    def __init__(self, place, program):
        self.overlay, self.place, self.program = Overlay("local", render("local")), place, program
        self.values = shrunk(cluster.values(self.overlay))
        self.network, self.names = cluster.Network(), {"localhost": "127.0.0.1"}
        self.started, self.others = [], []

    def open(self):
        self.network.open()
        sandbox.enter_network(self.network.switch)

    def template(self, role):
        return next(pod for pod in self.overlay.pods() if pod.role == role)

    def pod(self, role, name):
        hosts = self.place / "hosts"
        running = Running(
            self.template(role), self.place / name, self.network, self.program, self.values, hosts
        )
        self.named(f"adwright-{role}", running.address)
        self.started.append(running)
        return running

    def named(self, name, address):
        """A service's name leads to this address from now on. The file is written in place: pods have it as it is."""
        self.names[name] = address
        (self.place / "hosts").write_text(
            "".join(f"{address}\t{name}\n" for name, address in self.names.items())
        )

    def store(self):
        """The overlay's own container, outside a sandbox: it is not ours."""
        pod = self.template("store")
        container = pod.containers[0]
        name, address = self.network.pod()
        log = open(self.place / "store.log", "wb")
        here = Path(sys.executable).parent
        inside = ["ip", "netns", "exec", name]
        serve = subprocess.Popen(
            [*inside, here / container["command"][0], *container["args"]], stdout=log, stderr=log, cwd="/"
        )
        self.others.append(serve)
        made = container["lifecycle"]["postStart"]["exec"]["command"]
        subprocess.run([*inside, sys.executable, *made[1:]], check=True, cwd="/")
        self.named("adwright-store", address)

    def close(self):
        for running in self.started:
            running.kill()
        for process in self.others:
            process.kill()
            process.wait()
        self.network.close()


def prepare(running):
    """Init containers, one after the other."""
    return [running.start(container) for container in running.pod.spec.get("initContainers", [])]


def ready(running):
    """Every probe of the pod, within the time that its startup probe allows, and every port that it declares."""
    container = running.pod.containers[0]
    process = running.start(container)
    startup = container["startupProbe"]
    allowed = startup["periodSeconds"] * startup["failureThreshold"]
    for probe, seconds in (("startupProbe", allowed), ("livenessProbe", 5), ("readinessProbe", 120)):
        what = f"{running.place.name}: {probe}"
        wait(seconds, what, lambda: health(running.address, container[probe]) == "SERVING", [process])
    for port in container["ports"]:
        socket.create_connection((running.address, port["containerPort"]), timeout=5).close()
    page(running.address)
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


def held(running, container):
    """That the process is as confined as the manifest says, by the kernel's own account."""
    process = running.inside(container["name"])
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
    assert (
        mounts["/"] == "ro" and mounts["/etc/adwright"] == "ro" and mounts["/var/lib/adwright"] == "rw"
    ), mounts


def drained(running, process, status):
    """SIGTERM with the time that is left of the grace period after preStop."""
    container = running.pod.containers[0]
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    code, seconds = terminate(process, running.pod.spec["terminationGracePeriodSeconds"] - pause)
    said = running.said(container["name"])
    assert code == status, f"{running.place.name}: ended with {code}, not {status}: {said[-2000:]}"
    assert "leases were not handed back" not in said, said[-2000:]
    print(f"{running.place.name}: drained in {seconds:.1f} s, exit {code}", flush=True)


def published(learner):
    return learner.said("learner").count(" published")


def play(run):
    reward, learner = run.pod("reward-server", "reward-server"), run.pod("learner", "learner-1")
    making = prepare(reward) + prepare(learner)
    for process in making:
        assert process.wait(timeout=300) == 0, [
            one.said(c["name"])[-2000:] for one in (reward, learner) for c in one.pod.spec["initContainers"]
        ]
    print(f"init containers: {len(making)} ended with 0", flush=True)
    reward_process, learner_process = ready(reward), ready(learner)
    actors = []
    for number in range(1, run.overlay.named("Deployment", "adwright-actor")["spec"]["replicas"] + 1):
        actor = run.pod("actor", f"actor-{number}")
        actors.append((actor, ready(actor)))

    wait(120, "two versions", lambda: published(learner) >= 2, [learner_process, reward_process])
    drained(*actors.pop(0), 0)
    assert learner_process.poll() is None, "the run was over before an actor was drained in it"
    status = learner.pod.containers[0]["args"]
    drained(learner, learner_process, int(status[status.index("--unfinished-status") + 1]))

    again = run.pod("learner", "learner-2")
    for process in prepare(again):
        assert process.wait(timeout=300) == 0
    learner_process = ready(again)
    code = learner_process.wait(timeout=300)
    assert code == 0, f"the learner ended with {code}: {again.said('learner')[-2000:]}"
    assert 0 < published(again) < SMALL["learner"]["versions"], "the second learner began anew"
    print(
        f"learner-2: {published(again)} versions more after {published(learner)}, the run is complete, exit 0",
        flush=True,
    )
    for actor, process in actors:
        idle = actor.pod.containers[0]["readinessProbe"]
        what = f"{actor.place.name}: not ready after the run, and still there"
        wait(60, what, lambda: health(actor.address, idle) == "NOT_SERVING", [process])
        print(what, flush=True)
        drained(actor, process, 0)
    drained(reward, reward_process, 0)


def main():
    reason = cluster.why_not()
    if reason:
        print(f"roles not started: {reason}")
        return 0
    program = Path(sys.argv[1]).resolve()
    if not os.access(program, os.X_OK):
        print(f"no program at {program}: cargo build, or set ADWRIGHT")
        return 64
    begun, place = time.monotonic(), Path(tempfile.mkdtemp(prefix="adwright-started-"))
    # Users of pods go through it to what is theirs.
    place.chmod(0o755)
    run, well = Run(place, program), False
    try:
        run.open()
        run.store()
        play(run)
        well = True
    except AssertionError as error:
        print(f"failed: {error}\nlogs: {place}", file=sys.stderr)
    finally:
        run.close()
        if well:
            shutil.rmtree(place, ignore_errors=True)
    print(f"{time.monotonic() - begun:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
