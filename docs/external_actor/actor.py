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


class Actor:
    def __init__(self, options, stopped):
        self.name, self.stopped = options.id, stopped
        self.store = pathlib.Path(options.store)
        limits = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ]
        self.learner = learner_pb2_grpc.LearnerServiceStub(grpc.insecure_channel(options.learner, limits))
        self.reward = reward_pb2_grpc.RewardServiceStub(grpc.insecure_channel(options.reward, limits))
        self.run, self.epoch, self.adopted = "", 0, None

    def header(self):
        return common_pb2.RequestHeader(
            protocol_version=PROTOCOL, run_id=self.run, learner_epoch=self.epoch, caller_id=self.name
        )

    def call(self, method, request, seconds=60):
        """An answer, however often it takes to get one; every call here may be repeated without harm."""
        pause = 0.05
        while not self.stopped.is_set():
            try:
                return method(request, timeout=seconds)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.ABORTED:
                    raise Gone(error.details()) from error
                if error.code() not in RETRYABLE:
                    raise
                asked = dict(error.trailing_metadata() or []).get("retry-after-ms")
                time.sleep(float(asked) / 1000 if asked else pause * random.uniform(0.5, 1))
                pause = min(2, pause * 2)
        sys.exit(0)

    def join(self):
        """Learns of the run and its newest version. The first request names no run: the answer does."""
        self.run, self.epoch = "", 0
        joined = self.call(self.learner.Join, learner_pb2.JoinRequest(header=self.header()))
        self.run, self.epoch, self.seed = joined.run_id, joined.learner_epoch, joined.run_seed
        self.adopt(joined.policy)

    def adopt(self, manifest):
        """A real actor fetches the adapter here, builds the new weights and runs the manifest's canary."""
        config = next(file for file in manifest.base if file.name == "config.json")
        described = json.loads(self.fetch(config))
        self.vocabulary = find(described, "vocab_size")
        self.version, self.last = manifest.version, manifest.last
        report = learner_pb2.ReportAdoptionRequest(header=self.header(), version=self.version)
        self.call(self.learner.ReportAdoption, report)

    def fetch(self, artifact):
        """The bytes of an artifact, checked against the digest that the learner names."""
        request = learner_pb2.FetchArtifactRequest(header=self.header(), digest=artifact.digest)
        content = b"".join(chunk.data for chunk in self.learner.FetchArtifact(request, timeout=60))
        if blake3(content).digest() != artifact.digest.blake3:
            raise ValueError(f"{artifact.name}: other bytes than the learner's")
        return content

    def work(self):
        """One lease; whether the run goes on."""
        request = learner_pb2.LeaseTasksRequest(header=self.header(), policy=self.version, max_tasks=4)
        answer = self.call(self.learner.LeaseTasks, request)
        kind = answer.WhichOneof("answer")
        if kind == "complete":
            return False
        if kind == "wait":
            time.sleep(answer.wait.retry_after_ms / 1000)
            if answer.wait.reason == learner_pb2.WAIT_REASON_POLICY_BEHIND:
                self.join()  # or follow WatchPolicy
            return True
        outcomes = [self.rollout(task, answer.lease) for task in answer.lease.tasks]
        request = learner_pb2.SubmitOutcomesRequest(header=self.header(), outcomes=outcomes)
        for receipt in self.call(self.learner.SubmitOutcomes, request).receipts:
            if receipt.disposition == learner_pb2.DISPOSITION_REFUSED:
                print(f"task {receipt.task} refused: {receipt.detail}", file=sys.stderr, flush=True)
        return True

    def rollout(self, task, lease):
        """What a task came to. The same task and version give the same candidates, whoever computes them."""
        seed = f"{self.seed}/{task.task}/{self.version.epoch}/{self.version.number}"
        randomness = random.Random(seed)
        completions = [sample(randomness, self.vocabulary) for _ in range(GROUP)]
        pictures = [paint(tokens) for tokens, _ in completions]
        digests = [self.keep(picture) for picture in pictures]
        image_group = reward_pb2.ImageGroup(caption=task.caption, images=pictures)
        scored = self.call(
            self.reward.ScoreGroups, reward_pb2.ScoreGroupsRequest(header=self.header(), groups=[image_group])
        )
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
    options = arguments.parse_args()
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    actor = Actor(options, stopped)
    actor.join()
    print(f"joined {actor.run} with a vocabulary of {actor.vocabulary}", flush=True)
    goes_on = True
    while goes_on and not stopped.is_set():
        try:
            goes_on = actor.work()
        except Gone as why:
            print(f"joins again: {why}", file=sys.stderr, flush=True)
            actor.join()
    if not stopped.is_set():
        actor.join()  # the learner waits for whoever has not adopted the last version
    print("done", flush=True)


if __name__ == "__main__":
    main()
