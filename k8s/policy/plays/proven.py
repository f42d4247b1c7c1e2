"""An overlay of one's own on `elastic-keda`, with an evaluator, under mTLS: with what cert-manager would make of its Certificates (authority.py).
Who has no certificate of the run, or one for something else, is refused in words; renewed ones reach processes as a kubelet brings them; KEDA's
question is asked as the ScaledObject says.

Of its configuration is changed what a machine without GPUs and weights asks for, and how often certificates are looked at. Models come
by URL from the store, where they were pushed."""

import re
import socket
import ssl

from authority import Authority
from cluster import values, wait
from rendered import COMBINED, Overlay, render
from rules import PORTS
from scaler import Keda, asked

from .stage import LOCAL, Run, drained, heard, idles, measured, number, over, published, ready

CHANGES = {
    "compute": {"device": "cpu", "dtype": "f32"},
    "catalogue": {"source": "shopworld"},
    "paths": {"policy": "s3://adwright/models/policy", "reward_model": "s3://adwright/models/reward-model"},
    "tls": {"reload_s": 1},
    # One place at the learner: the second actor has its weights from the first.
    "learner": {"versions": 24, "micro_batches": 2, "relay_branches": 1, "lora": {"alpha": 4.0}},
}
# An HTTP/2 client's first bytes, and a record of TLS that says that something is wrong.
GREETING, ALERT = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 21


def run(place, program, changes=CHANGES, overlay=None):
    own = Run(overlay or Overlay(COMBINED[0], render(COMBINED[0])), place, program, changes)
    # The Secret that people make (docs/operations.md): here with the keys of this store.
    [store] = [found for (kind, _), found in values(LOCAL).items() if kind == "Secret"]
    own.values["Secret", "adwright-store"] = store
    own.authority = Authority(own.overlay)
    own.values.update(own.authority.secrets())
    return own


def push(run, models):
    """What docs/operations.md says that a bucket has."""
    for model, key in zip(models, ("policy", "reward_model")):
        run.told("model", "push", model, CHANGES["paths"][key])


def keda(run, learner):
    """Whether there is anything to scale for, asked with what the ScaledObject and its TriggerAuthentication name."""
    scaler = Keda(run, learner.address)
    assert scaler.is_active(), "KEDA is told that there is nothing to scale for"
    print(f"KEDA at {scaler.host}: there is something to scale for", flush=True)


def refused(run, learner):
    """Whoever is nobody, or somebody else, hears why; and so does whoever reads the log."""
    of_actor = run.authority.specs["adwright-actor"]
    actor = run.values["Secret", "adwright-actor-tls"]
    spring = run.authority.secret({**of_actor, "dnsNames": ["actor.spring"]})
    stranger = Authority(run.overlay).secret(of_actor)
    address, own = f"{learner.address}:{PORTS['learner']}", actor["ca.crt"]
    for who, secret, words in (
        ("an actor that asks as a scaler", actor, "PERMISSION_DENIED.*actor.demo"),
        ("an actor of another run", spring, "PERMISSION_DENIED.*actor.spring"),
        ("an actor of another authority", stranger, "UNAVAILABLE"),
    ):
        answer = asked(address, "adwright-learner", {**secret, "ca.crt": own})
        assert isinstance(answer, str) and re.search(words, answer), f"{who}: {answer}"
        print(f"{who}: {answer.partition(':')[0]}", flush=True)
    heard(learner, "connection refused.*not signed by the run's authority")


def unproven_actors(run, learner):
    """Actors' pods that were given another Secret, or another run's configuration."""
    observer = run.values["Secret", "adwright-observer-tls"]
    spring = run.authority.secret({**run.authority.specs["adwright-actor"], "dnsNames": ["actor.spring"]})
    of_spring = ["--set", "run.id=spring", "--set", "actor.learner_timeout_s=1"]
    started = []
    for name, secret, more, status, words in (
        ("another-role", observer, [], 64, "tls.cert names observer.demo.*needs actor.demo"),
        ("another-run", spring, [], 64, "tls.cert names actor.spring.*needs actor.demo"),
        ("at-the-wrong-learner", spring, of_spring, 1, 'not valid for name "learner.spring".*learner.demo'),
    ):
        pod = run.pod("actor", name, {("Secret", "adwright-actor-tls"): secret})
        [container] = pod.pod.containers
        process = pod.start({**container, "args": [*container["args"], *more]})
        started.append((pod, process, status, words))
    for pod, process, status, words in started:
        over(pod, process, "refused", status)
        said = pod.said("actor")
        assert re.search(words, said), f"{pod.place.name}: {words} is not in {said}"


def plain_text(pods):
    """To the port of every role."""
    for pod in pods:
        role = pod.pod.role
        with socket.create_connection((pod.address, PORTS[role]), timeout=15) as connection:
            connection.sendall(GREETING)
            answer = connection.recv(64)
        assert answer[:1] == bytes([ALERT]), f"{pod.place.name}: answers plain text with {answer}"
        heard(pod, "connection refused.*speaks plain text")
        print(f"{pod.place.name}: plain text at {PORTS[role]} is refused", flush=True)


def shown(pod):
    """The certificate that a role shows on a new connection, and when it says that its own ends."""
    ends = number(pod, "tls_certificate_ends_seconds")
    return ssl.get_server_certificate((pod.address, PORTS[pod.pod.role]), timeout=10), ends


def renew(run, pods):
    """Every Secret again, and then every volume."""
    earlier = [shown(pod) for pod in pods]
    run.values.update(run.authority.secrets())
    for pod in pods:
        pod.values.update(run.values)
        pod.refresh()
    for pod, (certificate, ends) in zip(pods, earlier):
        heard(pod, "certificates renewed")
        found, until = shown(pod)
        own = run.values["Secret", f"adwright-{pod.pod.role}-tls"]["tls.crt"]
        assert found != certificate and found.strip() == own.strip(), f"{pod.place.name} shows {found}"
        assert until > ends, f"{pod.place.name}: ends at {until}, earlier {ends}"
        print(f"{pod.place.name}: shows its renewed certificate", flush=True)


def play(run, models):
    push(run, models)
    reward, learner = run.pod("reward-server", "reward-server"), run.pod("learner", "learner")
    reward_process, learner_process = ready(reward), ready(learner)
    refused(run, learner)
    unproven_actors(run, learner)
    plain_text([learner, reward])

    evaluator, first = run.pod("evaluator", "evaluator"), run.pod("actor", "actor-1")
    following = evaluator.start(evaluator.pod.containers[0])
    first_process = ready(first)
    plain_text([first])
    keda(run, learner)
    alive = [learner_process, reward_process, first_process, following]
    wait(120, "a version", lambda: published(learner) >= 1, alive)
    wait(60, "held-out results", lambda: measured(learner) >= 1, alive)
    renew(run, [learner, reward, first])
    second = run.pod("actor", "actor-2")
    second_process = ready(second)
    assert learner_process.poll() is None, "the run was over before an actor came with a renewed certificate"
    received = number(second, "weights_relayed_bytes_total")
    assert received > 0, "actor-2 has nothing from actor-1"
    print(f"actor-2: {received:.0f} bytes from actor-1", flush=True)
    over(learner, learner_process, "the run is complete")
    over(evaluator, following, f"{measured(learner)} versions measured")
    idles(first, first_process)
    idles(second, second_process)
    drained(reward, reward_process, 0)
