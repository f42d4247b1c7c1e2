"""The pods of the overlay `jobset`: a node goes with the learner, the actor and a reward-server on it in the middle of the run, all told at the same
time. Their Jobs count none of that, others come in their places, and of the run nothing is lost. When it is complete the actor ends with it; the
reward-servers are there until the JobSet is."""

import re
from concurrent.futures import ThreadPoolExecutor

from cluster import wait
from rendered import Overlay, render
from rules import merged

from . import proven
from .balanced import SERVICE, recorded
from .stage import drained, ended, heard, over, published, ready, told_to_end, unfinished

# The simulated shop's pictures: there is no GPU to paint with. The node takes the only actor, so a run of few versions waits for all that come.
CHANGES = merged(proven.CHANGES, {"actor": {"image_generator": "shopworld"}, "learner": {"versions": 12}})


def run(place, program):
    return proven.run(place, program, CHANGES, Overlay("jobset", render("jobset")))


def goes(*pods):
    """SIGTERM to all pods of a node at the same time, from which on each has its grace period. Their ends to come, in the same order."""
    for running, process in pods:
        assert process.poll() is None, f"{running.place.name}: ended before its node went"
    pool = ThreadPoolExecutor(len(pods))
    ends = [pool.submit(told_to_end, *pod) for pod in pods]
    # What is under way goes on.
    pool.shutdown(wait=False)
    return ends


def gone(running, end):
    """That a pod has gone with its node as its Job neither counts as a failure nor takes for the end of its work."""
    ended(running, end.result(), unfinished(running), "went with its node")


def play(run, models):
    proven.push(run, models)
    learner = run.pod("learner", "learner-1")
    first, second = (run.beside("reward-server", f"reward-server-{place}") for place in (1, 2))
    run.named(SERVICE, first.address, second.address)
    first_process, second_process, learner_process = ready(first), ready(second), ready(learner)
    actor = run.pod("actor", "actor-1")
    actor_process = ready(actor)
    wait(120, "a version", lambda: published(learner) >= 1, [learner_process, first_process, actor_process])

    learner_end, actor_end, first_end = goes((learner, learner_process), (actor, actor_process), (first, first_process))
    # Each Job waits for the end of its pod. An actor that has outcomes in hand keeps them for the next learner.
    gone(learner, learner_end)
    gone(first, first_end)
    again, third = run.pod("learner", "learner-2"), run.beside("reward-server", "reward-server-3")
    run.named(SERVICE, second.address, third.address)
    again_process, third_process = ready(again), ready(third)
    gone(actor, actor_end)
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
