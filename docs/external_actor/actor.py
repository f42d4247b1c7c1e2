"""An actor for Adwright in Python, as an example: it takes part in a run over the public wire and nothing else.

What to keep: the order of calls, what is checked, what becomes of refusals, and that nothing is submitted that was not computed.
What to replace: `sample`, which draws tokens without a policy, and `paint`, which paints two colours.
"""

import argparse
import io
import json
import math
import os
import pathlib
import random
import signal
import sys
import threading
import time

import grpc
from adwright.v1 import common_pb2, learner_pb2, learner_pb2_grpc, reward_pb2, reward_pb2_grpc
from blake3 import blake3
from PIL import Image

PROTOCOL = 1
END_FORMAT = 1  # of what a run's end is recorded in
MAX_MESSAGE_BYTES = 64 << 20  # the protocol's
GROUP = 2  # candidates of a task
TOKENS = 6  # of a completion
SIDE = 32  # of a picture, in pixels
RETRYABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
)


class Gone(Exception):
    """The learner has been started anew: what is in hand is lost."""


class Over(Exception):
    """The run is complete, and nobody is there any more to take part with."""


class Away(Exception):
    """There was no answer for as long as one is waited for."""


class Refused(Exception):
    """A call that would be refused again."""


class Stopped(Exception):
    """This actor was asked to stop."""


class Peer:
    """Whom calls go to, and whether anybody is there."""

    def __init__(self, role, address, stub):
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_reconnect_backoff_ms", 2000),  # a learner that is back is found soon
        ]
        channel = grpc.insecure_channel(address, options)
        self.name, self.calls, self.is_there = f"the {role} at {address}", stub(channel), False
        channel.subscribe(self.seen)

    def seen(self, state):
        self.is_there = state is grpc.ChannelConnectivity.READY


def sample(randomness, vocabulary):
    """A completion and the natural-log probability of each of its tokens under what drew them: here all are equally likely.

    A policy's goes here: with the weights of the leased version, its raw logits' softmax at temperature 1.
    """
    tokens = [randomness.randrange(vocabulary) for _ in range(TOKENS)]
    return tokens, [-math.log(vocabulary)] * TOKENS


def paint(tokens):
    """A picture as PNG: two colours that the completion decides."""
    colours = blake3(json.dumps(tokens).encode()).digest()
    picture = Image.new("RGB", (SIDE, SIDE), tuple(colours[:3]))
    picture.paste(tuple(colours[3:6]), (0, SIDE // 2, SIDE, SIDE))
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return encoded.getvalue()


def recorded_end(store, run):
    """The end of a run that stands in its store, or None: the highest epoch that has taken the run has completed it too. In a bucket this is one
    listing and one GET."""
    left = []
    for file in (store / "runs" / run / "end").glob("*.json"):
        kind, _, epoch = file.stem.partition("-")
        if kind in ("epoch", "complete") and epoch.isdecimal():
            left.append((int(epoch), kind == "complete", file))
    epoch, is_complete, file = max(left, default=(0, False, None))
    if not is_complete:
        return None
    end = json.loads(file.read_text())
    if (end["format"], end["run"], end["version"]["epoch"]) != (END_FORMAT, run, epoch):
        raise ValueError(f"{file}: {end} is not the end of {run} by epoch {epoch}")
    return end


class Actor:
    def __init__(self, options, stopped):
        self.name, self.stopped, self.patience = options.id, stopped, options.patience
        self.store = pathlib.Path(options.store)
        self.learner = Peer("learner", options.learner, learner_pb2_grpc.LearnerServiceStub)
        self.reward = Peer("reward-server", options.reward, reward_pb2_grpc.RewardServiceStub)
        # The run that is expected, until a learner tells which one it serves.
        self.run, self.versions, self.epoch = options.run, options.versions, 0
        self.in_hand, self.complete, self.told = [], False, None

    def header(self):
        return common_pb2.RequestHeader(
            protocol_version=PROTOCOL, run_id=self.run, learner_epoch=self.epoch, caller_id=self.name
        )

    def call(self, peer, method, request, until=None, read=lambda answer: answer):
        """An answer, however often it takes to get one; every call here may be repeated without harm. Whoever is not there is waited for no longer
        than `patience`, and no answer for longer than `until`, on the clock of time.monotonic()."""
        pause, missed, until = 0.05, None, until or math.inf
        while not self.stopped.is_set():
            try:
                return read(getattr(peer.calls, method)(request, timeout=60))
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.ABORTED:
                    raise Gone(error.details()) from error
                if error.code() not in RETRYABLE:
                    raise Refused(f"{peer.name} refuses {method}: {error.code().name}: {error.details()}") from error
                now = time.monotonic()
                missed = None if peer.is_there else missed or now
                # Who answers is believed before any record.
                if missed and peer is self.learner and self.is_over():
                    raise Over from error
                if now > until or missed and now - missed > self.patience:
                    raise Away(f"{peer.name} gave no answer: {error.details()}") from error
                asked = dict(error.trailing_metadata() or []).get("retry-after-ms")
                self.stopped.wait(float(asked) / 1000 if asked else pause * random.uniform(0.5, 1))
                pause = min(2, pause * 2)
        raise Stopped

    def is_over(self):
        """Whether a run whose learner is missed is complete: the learner has said so, or the run's end stands in its store, by the learner that
        was joined or a later one. Who has joined none can only compare it with what is expected."""
        if self.complete:
            return True
        try:
            end = recorded_end(self.store, self.run) if self.run else None
            if end is None:
                return False
            epoch, number = end["version"]["epoch"], end["version"]["number"]
            found = f"version {epoch}.{number}"
            if epoch >= self.epoch if self.epoch else number >= self.versions:
                print(f"the run's end stands in its store: {found}", file=sys.stderr, flush=True)
                return True
        except (OSError, ValueError, KeyError, TypeError) as error:
            found = repr(error)
        # Once, and it is waited on.
        if found != self.told:
            print(f"this is not the end of the run: {found}", file=sys.stderr, flush=True)
            self.told = found
        return False

    def take_part(self):
        """Works until the run is complete."""
        self.join()
        print(f"joined {self.run} with a vocabulary of {self.vocabulary}", flush=True)
        while not self.complete:
            try:
                self.work()
            except Gone as why:
                print(f"joins again: {why}", file=sys.stderr, flush=True)
                self.in_hand = []
                self.join()
        self.join()  # the learner waits for whoever has not adopted the last version

    def leave(self):
        """Hands back what is in hand and says that this actor takes no further part: a complete run waits for nobody who has said so. Said once,
        for whoever is stopped has little time; what is not heard costs the lease's time and a complete learner's patience."""
        if self.epoch:
            request = learner_pb2.ReturnTasksRequest(header=self.header(), tasks=self.in_hand, leaves=True)
            try:
                self.learner.calls.ReturnTasks(request, timeout=2)
            except grpc.RpcError as error:
                print(f"not told that it leaves: {error.details()}", file=sys.stderr, flush=True)

    def join(self):
        """Learns of the run and its newest version. The request names no run: the answer does."""
        while True:
            request = learner_pb2.JoinRequest(
                header=common_pb2.RequestHeader(protocol_version=PROTOCOL, caller_id=self.name)
            )
            joined = self.call(self.learner, "Join", request)
            self.run, self.epoch, self.seed = joined.run_id, joined.learner_epoch, joined.run_seed
            try:
                return self.adopt(joined.policy)
            except Gone:
                continue  # started anew in between

    def adopt(self, manifest):
        """A real actor fetches the adapter here, builds the new weights and runs the manifest's canary."""
        config = next(file for file in manifest.base if file.name == "config.json")
        described = json.loads(self.fetch(config))
        self.vocabulary = find(described, "vocab_size")
        self.version, self.last = manifest.version, manifest.last
        report = learner_pb2.ReportAdoptionRequest(header=self.header(), version=self.version)
        self.call(self.learner, "ReportAdoption", report)

    def fetch(self, artifact):
        """The bytes of an artifact, checked against the digest that the learner names."""
        request = learner_pb2.FetchArtifactRequest(header=self.header(), digest=artifact.digest)
        content = b"".join(chunk.data for chunk in self.call(self.learner, "FetchArtifact", request, read=list))
        if blake3(content).digest() != artifact.digest.blake3:
            raise ValueError(f"{artifact.name}: other bytes than the learner's")
        return content

    def work(self):
        """One lease."""
        request = learner_pb2.LeaseTasksRequest(header=self.header(), policy=self.version, max_tasks=4)
        answer = self.call(self.learner, "LeaseTasks", request)
        kind = answer.WhichOneof("answer")
        if kind == "complete":
            self.complete = True
        elif kind == "wait":
            self.stopped.wait(answer.wait.retry_after_ms / 1000)
            if answer.wait.reason == learner_pb2.WAIT_REASON_POLICY_BEHIND:
                self.join()  # or follow WatchPolicy
        else:
            self.rollouts(answer.lease)

    def rollouts(self, lease):
        """What a lease's tasks come to, within its time."""
        self.in_hand = [task.task for task in lease.tasks]
        until = time.monotonic() + 0.75 * lease.ttl_ms / 1000
        outcomes = [self.rollout(task, lease, until) for task in lease.tasks]
        request = learner_pb2.SubmitOutcomesRequest(header=self.header(), outcomes=outcomes)
        for receipt in self.call(self.learner, "SubmitOutcomes", request).receipts:
            if receipt.disposition == learner_pb2.DISPOSITION_REFUSED:
                print(f"task {receipt.task} refused: {receipt.detail}", file=sys.stderr, flush=True)
        self.in_hand = []

    def rollout(self, task, lease, until):
        """What a task came to. The same task and version give the same candidates, whoever computes them."""
        seed = f"{self.seed}/{task.task}/{self.version.epoch}/{self.version.number}"
        randomness = random.Random(seed)
        completions = [sample(randomness, self.vocabulary) for _ in range(GROUP)]
        pictures = [paint(tokens) for tokens, _ in completions]
        digests = [self.keep(picture) for picture in pictures]
        image_group = reward_pb2.ImageGroup(caption=task.caption, images=pictures)
        request = reward_pb2.ScoreGroupsRequest(header=self.header(), groups=[image_group])
        try:
            scored = self.call(self.reward, "ScoreGroups", request, until)
        except Away as why:
            return self.failed(task, True, str(why))
        if lease.HasField("reward_model") and scored.reward_model != lease.reward_model:
            return self.failed(task, True, "the reward-server has another model than the run takes")
        result = scored.scores[0]
        if result.WhichOneof("result") == "failure":
            # A model that failed may be asked again; a picture that is none, or an abstention, stays what it is.
            failure = result.failure
            return self.failed(task, failure.reason == reward_pb2.SCORE_FAILURE_REASON_MODEL, failure.detail)
        rewards = list(result.scores.rewards)
        if len(rewards) != GROUP or not all(map(math.isfinite, rewards)):
            return self.failed(task, True, f"{rewards} are no scores")
        group = learner_pb2.CandidateGroup(reward_model=scored.reward_model)
        for (tokens, log_probs), digest, reward in zip(completions, digests, rewards):
            trajectory = common_pb2.Trajectory(
                behaviour=self.version,
                token_ids=tokens,
                log_probs=log_probs,
                text=" ".join(map(str, tokens)),
                finish=common_pb2.FINISH_LENGTH,
            )
            group.candidates.add(trajectory=trajectory, image=digest, reward=reward)
        chosen, rejected = rewards.index(max(rewards)), rewards.index(min(rewards))
        outcome = learner_pb2.RolloutOutcome(task=task.task)
        if chosen == rejected:
            outcome.no_pair.CopyFrom(learner_pb2.NoPair(group=group, reason=learner_pb2.NO_PAIR_REASON_TIE))
        else:
            margin = rewards[chosen] - rewards[rejected]
            outcome.pair.CopyFrom(learner_pb2.Pair(group=group, chosen=chosen, rejected=rejected, margin=margin))
        return outcome

    def failed(self, task, retryable, detail):
        """An outcome without a number: a reward that was not computed is never 0."""
        failure = learner_pb2.Failed(
            reason=learner_pb2.FAILURE_REASON_REWARD_UNAVAILABLE, retryable=retryable, detail=detail[:1024]
        )
        return learner_pb2.RolloutOutcome(task=task.task, failed=failure)

    def keep(self, picture):
        """Stores a picture under its digest, on the disk, before anybody is told of it. In a bucket this is one PUT."""
        digest = blake3(picture)
        directory = self.store / "runs" / self.run / "images"
        directory.mkdir(parents=True, exist_ok=True)
        partial = directory / f"{digest.hexdigest()}.{self.name}"
        with partial.open("wb") as file:
            file.write(picture)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(directory / digest.hexdigest())
        entries = os.open(directory, os.O_RDONLY)  # the new name is on the disk when its directory is
        os.fsync(entries)
        os.close(entries)
        return common_pb2.Digest(blake3=digest.digest())


def find(described, key):
    """The value of a key, wherever it is in a model's description."""
    if isinstance(described, dict):
        if key in described:
            return described[key]
        found = (find(inner, key) for inner in described.values())
        return next((value for value in found if value is not None), None)
    return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--learner", required=True, help="HOST:PORT")
    arguments.add_argument("--reward", required=True, help="HOST:PORT of the reward-server")
    arguments.add_argument("--store", required=True, help="the run's store, a directory")
    arguments.add_argument("--id", default="external-0", help="of this actor, its own in the run")
    arguments.add_argument("--run", default="", help="run.id, for when no learner is there to tell it")
    arguments.add_argument("--versions", type=int, default=0, help="learner.versions, with --run")
    arguments.add_argument("--patience", type=float, default=60, help="seconds in which somebody has to be reached")
    options = arguments.parse_args()
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    actor = Actor(options, stopped)
    try:
        actor.take_part()
    except Stopped:
        actor.leave()
    except Over:
        pass
    except (Away, Refused) as why:
        sys.exit(f"gives up: {why}")
    print("done", flush=True)


if __name__ == "__main__":
    main()
