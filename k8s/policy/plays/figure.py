"""How many actors the learner wants, as KEDA asks and as a HorizontalPodAutoscaler reads it: more while an actor is slow, fewer when it is no longer."""

import os
import signal
import time

from cluster import wait
from scaler import Keda

from .stage import number, published

# Horizons of seconds, and no bound that the figure could come to.
SETTINGS = {"max_actors": 4096, "horizon_s": 1.0, "cold_start_s": 0.0}
# Seconds in which the actor stands still, between moments in which it works.
STANDS = 2.0
# Shares by which nothing but what is done here moves the figure.
RISEN, FALLEN = 2.0, 0.7
# Of so few, one more or less is no change.
FEW = 2
# How often the learner is asked while the actor works. It takes back what it wants within a horizon.
ASKED = 6


class Figure:
    """Of a learner, asked on behalf of the run's ScaledObject."""

    def __init__(self, run, learner):
        self.scaler, self.learner = Keda(run, learner.address), learner

    def wanted(self):
        return self.scaler.replicas()

    def same(self):
        """Whether the page says what KEDA is told."""
        return self.wanted() == number(self.learner, "rollout_actors_wanted") == self.wanted()

    def rises(self, actor, alive):
        """Makes the only actor slow, as on a node that has no time for it, until more are wanted. How many."""
        # Before that both rates of which the figure is made may be unknown.
        wait(120, "three versions", lambda: published(self.learner) >= 3, alive)
        wait(20, "the page says what KEDA is told", self.same, alive)
        earlier, told = max(self.wanted(), FEW), []

        def more():
            self.stands_still(actor.inside("actor"))
            # It has to hand in what it had in hand.
            for _ in range(ASKED):
                time.sleep(0.05)
                told.append(self.wanted())
                if told[-1] >= RISEN * earlier:
                    return True

        wait(120, f"more than {earlier:g} actors are wanted", more, alive)
        print(f"with a slow actor {told[-1]:g} are wanted, after {earlier:g} at most", flush=True)
        return told[-1]

    def stands_still(self, process):
        """Stops the actor for a while in which it holds tasks: of any other the learner does not know how slow it is."""
        for _ in range(50):
            os.kill(process, signal.SIGSTOP)
            # What was on its way is there.
            time.sleep(0.05)
            works = number(self.learner, "rollout_leases_open") > 0
            time.sleep(STANDS if works else 0)
            os.kill(process, signal.SIGCONT)
            if works:
                return
            time.sleep(0.03)

    def falls(self, most, alive):
        """Waits until fewer are wanted than that, of an actor that is left alone."""
        wait(60, f"fewer than {most:g} actors are wanted", lambda: self.wanted() <= FALLEN * most, alive)
        wait(20, "the page says what KEDA is told", self.same, alive)
        print(f"with one that is not, {self.wanted():g}", flush=True)
