"""Several reward-servers behind the headless service's name, with the pods and the certificates of `proven`: each takes load, one is killed with
a request under way, comes again at its address, another one comes beside it, one is drained. Nothing is lost by it and no reward is made up.

While all of that goes on the learner is asked how many actors it wants: more once the only one was slow, fewer when it no longer is.

A name leads to the addresses that a cluster would give it, and to one that is dead for as long as caches of names would. Who shows a
certificate of another run takes nothing, although it names the service and the address that is called."""

import json
import os
import re
import signal
import time

from cluster import wait
from rules import merged, settings

from . import figure, proven
from .stage import drained, heard, number, published, ready, unfinished

# No end that could come before the play's.
CHANGES = merged(proven.CHANGES, {"learner": {"versions": 10_000, "scaling": figure.SETTINGS}})
SERVICE, CONTAINER = "adwright-reward-server", "reward-server"
# "Within seconds": a lookup and a health check of two seconds each, and for the rest whom the draws of a slow machine come to.
SOON = 20


def run(place, program):
    return proven.run(place, program, CHANGES)


def scored(server):
    """Requests that it has answered since it was started."""
    return number(server, "reward_request_seconds_count")


def take_load(what, servers, alive):
    """Waits until requests come to each of these pods."""
    begun, earlier = time.monotonic(), [scored(server) for server in servers]
    for server, before in zip(servers, earlier):
        wait(SOON, f"{what}: {server.place.name} takes load", lambda: scored(server) > before, alive)
    names = ", ".join(server.place.name for server in servers)
    print(f"{what}: {names} in {time.monotonic() - begun:.1f} s", flush=True)


def waits_for_score(actor):
    """Whether the actor has asked for scores and has no answer, for a second."""

    def stages():
        return [
            number(actor, "rollout_stage_seconds_count", f'stage="{stage}"') for stage in ("render", "score")
        ]

    earlier = stages()
    time.sleep(1)
    return earlier == stages() and earlier[0] > earlier[1]


def suspended(server, actor, alive):
    """Stops the process of a pod while it has a request of the actor, which finds out that it does not answer; its health may be quicker, and
    then it goes on and is stopped again."""
    process = server.inside(CONTAINER)
    for _ in range(5):
        os.kill(process, signal.SIGSTOP)
        if any(waits_for_score(actor) for _ in range(4)):
            return process
        os.kill(process, signal.SIGCONT)
        take_load("suspended too late", [server], alive)
    raise AssertionError(f"{server.place.name}: no request was under way when it was suspended")


def killed(server, running, other, actor, alive):
    """SIGKILL to a process with a request under way, which is asked again elsewhere, and nothing more is sent where it was."""
    process = suspended(server, actor, alive)
    os.kill(process, signal.SIGKILL)
    code = running.wait(timeout=10)
    assert code == 128 + signal.SIGKILL, f"{server.place.name}: ended with {code}"
    take_load("one is killed with a request under way", [other], alive)
    retried = number(actor, "rollout_retries_total", 'peer="reward-server"')
    assert retried >= 1, "the request that was under way was not asked again"
    before = scored(other)
    wait(60, "ten requests more", lambda: scored(other) >= before + 10, alive)
    again = number(actor, "rollout_retries_total", 'peer="reward-server"')
    assert again == retried, f"{again - retried:g} more requests went to the dead {server.place.name}"


def impostor(run):
    """A reward-server of another run, signed by the same authority for the service's names and its own address."""
    pod = run.beside(CONTAINER, "impostor")
    spec = run.authority.specs[SERVICE]
    names = ["reward-server.spring", *spec["dnsNames"][1:]]
    assert SERVICE in names, f"the certificate of {SERVICE} names {spec['dnsNames']}"
    secret = run.authority.secret({**spec, "dnsNames": names, "ipAddresses": [pod.address]})
    pod.values["Secret", f"{SERVICE}-tls"] = secret
    pod.refresh()
    ready(pod, "--set", "run.id=spring", "--set", "reward_server.on_run_end=serve")
    return pod


def recorded(run):
    """That every task from the first on has one outcome, by rewards of the one model. How many tasks those are, and how many pairs."""
    config = settings(run.overlay)
    place = ["--store", config["store"]["url"], "--run", config["run"]["id"]]
    lines = [json.loads(line) for line in run.told("ledger", "export", *place).splitlines()]
    tasks = sorted(line["task"] for line in lines)
    assert tasks == list(range(len(tasks))), f"not one outcome for each task: {tasks}"
    failed = [line for line in lines if line["outcome"] not in ("pair", "no_pair")]
    assert not failed, f"failed: {failed[0]}"
    of_model = [line for line in lines if line["reward_model_digest"]]
    models = {line["reward_model_digest"] for line in of_model}
    assert len(models) == 1, f"scored by {models}"
    for line in of_model:
        rewards = [reward for reward, barred in zip(line["rewards"], line["barred"]) if not barred]
        assert len(rewards) >= 2 and all(rewards), f"a reward is missing or made up: {line}"
    pairs = [line for line in of_model if line["outcome"] == "pair"]
    assert pairs, "no pair was made"
    return len(tasks), len(pairs)


def play(run, models):
    proven.push(run, models)
    learner = run.pod("learner", "learner")
    first, second = (run.beside(CONTAINER, f"reward-server-{place}") for place in (1, 2))
    first_process, second_process, learner_process = ready(first), ready(second), ready(learner)
    run.named(SERVICE, first.address, second.address)
    actor = run.pod("actor", "actor")
    actor_process = ready(actor)
    alive = [learner_process, actor_process, second_process]

    take_load("two behind one name", [first, second], alive)
    asked = figure.Figure(run, learner)
    most = asked.rises(actor, alive)
    killed(first, first_process, second, actor, alive)
    # As a kubelet does it: another process in the same pod, at the address that the name still leads to.
    first_process = ready(first)
    take_load("the same again", [first, second], alive)
    third = run.beside(CONTAINER, "reward-server-3")
    third_process = ready(third)
    run.named(SERVICE, first.address, second.address, third.address)
    take_load("a third one", [first, second, third], alive)

    stranger = impostor(run)
    run.named(SERVICE, first.address, second.address, third.address, stranger.address)
    heard(actor, rf"takes no requests.*{re.escape(stranger.address)}.*not valid for name")
    take_load("beside one of another run", [first, second, third], alive)
    assert scored(stranger) == 0, "one of another run has scored"
    run.named(SERVICE, first.address, second.address, third.address)

    # In a cluster its name no longer leads to it then; here it does.
    drained(second, second_process, 0)
    alive = [learner_process, actor_process, first_process, third_process]
    take_load("one is drained", [first, third], alive)
    run.named(SERVICE, first.address, third.address)

    asked.falls(most, alive)
    failed = number(actor, "rollout_outcomes_total", 'kind="failed"')
    assert failed == 0, f"{failed:g} tasks had to be leased again"
    # It ends what it has leased, so that no task is left between two others.
    drained(actor, actor_process, 0)
    versions = published(learner)
    drained(learner, learner_process, unfinished(learner))
    for server, process in ((first, first_process), (third, third_process)):
        drained(server, process, 0)
    tasks, pairs = recorded(run)
    print(f"{tasks} tasks, each with one outcome; {pairs} pairs, {versions} versions", flush=True)
