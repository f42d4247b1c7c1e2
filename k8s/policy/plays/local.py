"""The overlay `local`, in plain text: an actor and the learner are drained in the middle of the run, and whoever looks on is started again."""

from cluster import wait

from .stage import LOCAL, SMALL, Run, drained, idles, measured, over, prepare, published, ready, unfinished


def run(place, program):
    return Run(LOCAL, place, program, {})


def play(run):
    """The models that it has made: the policy's directory and the reward model's."""
    reward, learner = run.pod("reward-server", "reward-server"), run.pod("learner", "learner-1")
    evaluator = run.pod("evaluator", "evaluator")
    prepare(reward, learner, evaluator)
    reward_process, learner_process = ready(reward), ready(learner)
    # While there is no actor yet, so that it costs the run no time.
    drained(evaluator, ready(evaluator), unfinished(evaluator))
    following = ready(evaluator)
    actors = []
    for number in range(1, run.overlay.named("Deployment", "adwright-actor")["spec"]["replicas"] + 1):
        actor = run.pod("actor", f"actor-{number}")
        actors.append((actor, ready(actor)))

    alive = [learner_process, reward_process, following]
    wait(120, "two versions", lambda: published(learner) >= 2, alive)
    wait(60, "held-out results", lambda: measured(learner) >= 1, alive)
    drained(*actors.pop(0), 0)
    assert learner_process.poll() is None, "the run was over before an actor was drained in it"
    drained(learner, learner_process, unfinished(learner))
    over(evaluator, following, "its learner is gone", 1)

    again = run.pod("learner", "learner-2")
    prepare(again)
    learner_process = ready(again)
    following = ready(evaluator)
    over(again, learner_process, "the run is complete")
    assert 0 < published(again) < SMALL["learner"]["versions"], "the second learner began anew"
    print(f"learner-2: {published(again)} versions more after {published(learner)}", flush=True)
    over(evaluator, following, f"{measured(again)} versions measured more after {measured(learner)}")
    for actor, process in actors:
        idles(actor, process)
    drained(reward, reward_process, 0)
    return learner.place / "work/policy", reward.place / "work/reward-model"
