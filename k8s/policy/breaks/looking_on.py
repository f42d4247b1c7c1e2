"""Breaks of what looks on beside a run."""

from mutations import config, container, pod, put, remove, simple

BESIDE = "elastic-keda+evaluator"
LOOKS_ON = "an evaluator looks on"
OTHERS = [{"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["evaluator"]}]
simple(
    LOOKS_ON, "local", "started for ever", lambda o: put(o.named("Job", "adwright-evaluator"), "kind", "Deployment")
)
simple(LOOKS_ON, "local", "one policy", lambda o: container(o, "evaluator")["args"].remove("--follow"))
simple(
    LOOKS_ON,
    "local",
    "a pod for each start",
    lambda o: put(pod(o, "evaluator").spec, "restartPolicy", "Never"),
)
simple(
    LOOKS_ON, "local", "few starts", lambda o: put(o.named("Job", "adwright-evaluator")["spec"], "backoffLimit", 2)
)
simple(
    LOOKS_ON,
    "local",
    "the default of 30 s",
    lambda o: pod(o, "evaluator").spec.pop("terminationGracePeriodSeconds"),
)
simple(
    "listeners are the declared ports",
    "local",
    "a port at which nobody listens",
    lambda o: container(o, "evaluator")["ports"].append({"name": "grpc", "containerPort": 7403}),
)
simple(
    "listeners are the declared ports",
    "local",
    "an evaluator that is not watched",
    lambda o: container(o, "evaluator")["args"].extend(["--metrics", "127.0.0.1:7409"]),
)
simple(
    "a stopped pod is no finished one",
    "local",
    "a drained evaluator has finished",
    lambda o: container(o, "evaluator")["args"].remove("--unfinished-status"),
)
simple(
    "time to drain",
    "local",
    "no time for an evaluator to end",
    lambda o: put(pod(o, "evaluator").spec, "terminationGracePeriodSeconds", 5),
)
simple("probes", "local", "an evaluator that hangs unseen", lambda o: container(o, "evaluator").pop("livenessProbe"))
simple(
    LOOKS_ON,
    BESIDE,
    "painting without a GPU",
    lambda o: config(o, 'image_generator = "shopworld"', 'image_generator = "diffusion"'),
)
simple(
    "nothing is open that nobody needs",
    BESIDE,
    "no way to the learner",
    lambda o: remove(o, "NetworkPolicy", "evaluator-to-learner"),
)
simple(
    "nothing is open that nobody needs",
    BESIDE,
    "an evaluator whose numbers nobody can read",
    lambda o: put(o.named("NetworkPolicy", "prometheus")["spec"]["podSelector"], "matchExpressions", OTHERS),
)
simple(
    "certificates say who they are",
    BESIDE,
    "an evaluator with an actor's",
    lambda o: put(
        pod(o, "evaluator").spec["volumes"][0]["projected"]["sources"][1]["secret"], "name", "adwright-actor-tls"
    ),
)
simple(
    "certificates say who they are",
    BESIDE,
    "an evaluator without one",
    lambda o: pod(o, "evaluator").spec["volumes"][0]["projected"]["sources"].pop(),
)
simple(
    "references exist",
    BESIDE,
    "the observer's certificate",
    lambda o: remove(o, "Certificate", "adwright-observer"),
)
simple(
    "files are mounted",
    BESIDE,
    "an evaluator without a key",
    lambda o: pod(o, "evaluator").spec["volumes"][0]["projected"]["sources"].pop(),
)
simple(
    "models are there before they are read",
    "local",
    "an evaluator without a reward model",
    lambda o: pod(o, "evaluator").spec["initContainers"].pop(),
)
simple(
    "every pod is watched",
    BESIDE,
    "an evaluator that nobody watches",
    lambda o: put(o.of("PodMonitor")[0]["spec"]["selector"], "matchExpressions", OTHERS),
)
