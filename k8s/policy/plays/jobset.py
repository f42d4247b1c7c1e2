"""The pods of the overlay `jobset`: a node goes with the learner, the actor and a reward-server on it in the middle of the run, all told at the same
time. Their Jobs count none of that, others come in their places, and of the run nothing is lost. When it is complete the actor ends with it; the
reward-servers are there until the JobSet is."""

import re
import signal

from cluster import wait
from rendered import Overlay, render
from rules import merged

from . import proven
from .balanced import SERVICE, recorded
from .stage import drained, ended, heard, over, published, ready

# The simulated shop's pictures: there is no GPU to paint with. The node takes the only actor, so a run of few versions waits for all that come.
CHANGES = merged(proven.CHANGES, {"actor": {"image_generator": "shopworld"}, "learner": {"versions": 12}})


def run(place, program):
    return proven.run(place, program, CHANGES, Overlay("jobset", render("jobset")))


def uncounted(running):
    """The exit status that the pod's Job neither counts as a failure nor takes for the end of its work."""
    rules = running.pod.controller["podFailurePolicy"]["rules"]
    ignored = [
        rule["onExitCodes"]["values"]
        for rule in rules
        if rule["action"] == "Ignore" and "onExitCodes" in rule
    ]
    [[status]] = ignored
    assert status != 0, f"{running.place.name}: 0 is the end of its work"
    return status


def goes(*pods):
    """SIGTERM to all pods of a node at the same time."""
    for running, process in pods:
        assert process.poll() is None, f"{running.place.name}: ended before its node went"
    for _, process in pods:
        process.send_signal(signal.SIGTERM)


def play(run, models):
    proven.push(run, models)
    learner = run.pod("learner", "learner-1")
    first, second = (run.beside("reward-server", f"reward-server-{place}") for place in (1, 2))
    run.named(SERVICE, first.address, second.address)
    first_process, second_process, learner_process = ready(first), ready(second), ready(learner)
    actor = run.pod("actor", "actor-1")
    actor_process = ready(actor)
    wait(120, "a version", lambda: published(learner) >= 1, [learner_process, first_process, actor_process])

    goes((learner, learner_process), (actor, actor_process), (first, first_process))
    # Each Job waits for the end of its pod. An actor that has outcomes in hand keeps them for the next learner.
    ended(learner, learner_process, uncounted(learner))
    ended(first, first_process, uncounted(first))
    again, third = run.pod("learner", "learner-2"), run.beside("reward-server", "reward-server-3")
    run.named(SERVICE, second.address, third.address)
    again_process, third_process = ready(again), ready(third)
    ended(actor, actor_process, uncounted(actor))
    other = run.pod("actor", "actor-2")
    other_process = ready(other)

    over(again, again_process, "the run is complete")
    over(other, other_process, "ends with the run")
    # The JobSet ends when its learner has, and with it whoever is still there.
    for server, process in ((second, second_process), (third, third_process)):
        heard(server, "the run is complete")
        drained(server, process, 0)
    assert 0 < published(again) < CHANGES["learner"]["versions"], "the second learner began anew"
    failures = re.findall(r".*failures=[1-9].*", actor.said("actor") + other.said("actor"))
    assert not failures, f"tasks had to be leased again: {failures[0]}"
    tasks, pairs = recorded(run)
    print(
        f"{tasks} tasks, each with one outcome; {pairs} pairs, {published(again)} versions more after {published(learner)}",
        flush=True,
    )
