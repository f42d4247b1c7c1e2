"""Breaks of how pods begin, are watched, end and are counted."""

from mutations import config, container, pod, put, simple

# What the base says of both roles.
REWARD = 'it stays, not ready and without a model.\non_run_end = "idle"'
ACTOR = '# As the reward-server.\non_run_end = "idle"'

simple("probes", "gpu", "no startup probe", lambda o: container(o, "learner").pop("startupProbe"))
simple(
    "probes",
    "gpu",
    "readiness as liveness",
    lambda o: put(container(o, "actor")["livenessProbe"]["grpc"], "service", ""),
)
simple(
    "probes",
    "local",
    "the port of mTLS",
    lambda o: put(container(o, "actor")["readinessProbe"]["grpc"], "port", 7402),
)
simple("probes", "local", "a store without readiness", lambda o: container(o, "store").pop("readinessProbe"))
simple(
    "time to drain",
    "gpu",
    "the default of 30 s",
    lambda o: pod(o, "actor").spec.pop("terminationGracePeriodSeconds"),
)
simple(
    "time to drain",
    "gpu",
    "a longer drain",
    lambda o: config(o, "drain_timeout_s = 120.0", "drain_timeout_s = 200.0"),
)
simple(
    "time to drain",
    "gpu",
    "a reward-server that goes at once",
    lambda o: container(o, "reward-server").pop("lifecycle"),
)
simple(
    "roles end under a JobSet only",
    "gpu",
    "exit in the file",
    lambda o: config(o, ACTOR, ACTOR.replace("idle", "exit")),
)
simple(
    "roles end under a JobSet only",
    "gpu",
    "a reward-server that ends",
    lambda o: config(o, REWARD, REWARD.replace("idle", "exit")),
)
simple(
    "roles end under a JobSet only",
    "local",
    "a reward-server that keeps its model",
    lambda o: config(o, REWARD, ""),
)
simple(
    "roles end under a JobSet only",
    "local",
    "the program's default",
    lambda o: config(o, ACTOR, ""),
)
simple(
    "roles end under a JobSet only",
    "elastic",
    "exit by --set",
    lambda o: container(o, "actor")["args"].extend(["--set", "actor.on_run_end=exit"]),
)
simple(
    "roles end under a JobSet only",
    "jobset",
    "idle in a job",
    lambda o: config(o, 'on_run_end = "exit"', 'on_run_end = "idle"'),
)
simple("the learner is a job", "gpu", "two of them", lambda o: put(o.of("Job")[0]["spec"], "parallelism", 2))
simple("the learner is a job", "gpu", "a Deployment", lambda o: put(o.of("Job")[0], "kind", "Deployment"))
simple(
    "a stopped pod is no finished one",
    "gpu",
    "0 when drained",
    lambda o: put(container(o, "learner"), "args", container(o, "learner")["args"][:-2]),
)
simple(
    "a stopped pod is no finished one",
    "gpu",
    "evictions count",
    lambda o: o.of("Job")[0]["spec"]["podFailurePolicy"]["rules"].pop(1),
)
simple(
    "a stopped pod is no finished one",
    "gpu",
    "a wrong configuration again and again",
    lambda o: o.of("Job")[0]["spec"]["podFailurePolicy"]["rules"].pop(0),
)
simple(
    "a stopped pod is no finished one",
    "local",
    "a wrong configuration again and again, found before the role begins",
    lambda o: put(
        pod(o, "learner").controller["podFailurePolicy"]["rules"][0]["onExitCodes"], "containerName", "learner"
    ),
)
simple(
    "a stopped pod is no finished one",
    "jobset",
    "another container's status",
    lambda o: put(
        pod(o, "actor").controller["podFailurePolicy"]["rules"][0]["onExitCodes"], "containerName", "learner"
    ),
)
simple(
    "a stopped pod is no finished one",
    "gpu",
    "restarted in place",
    lambda o: put(pod(o, "learner").spec, "restartPolicy", "OnFailure"),
)
simple(
    "budgets are for actors",
    "gpu",
    "of the learner",
    lambda o: put(
        o.of("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"],
        "app.kubernetes.io/component",
        "learner",
    ),
)
simple(
    "budgets are for actors",
    "gpu",
    "of nobody",
    lambda o: put(o.of("PodDisruptionBudget")[0]["spec"], "selector", {"matchLabels": {"a": "b"}}),
)
simple(
    "budgets are for actors",
    "gpu",
    "never",
    lambda o: put(o.of("PodDisruptionBudget")[0]["spec"], "maxUnavailable", 0),
)
simple(
    "scaling is the learner's word",
    "elastic",
    "another target",
    lambda o: put(o.of("HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"], "name", "adwright-actors"),
)
simple(
    "scaling is the learner's word",
    "elastic",
    "replicas stay",
    lambda o: put(o.named("Deployment", "adwright-actor")["spec"], "replicas", 2),
)
simple(
    "scaling is the learner's word",
    "elastic",
    "no looking back",
    lambda o: o.of("HorizontalPodAutoscaler")[0]["spec"]["behavior"].pop("scaleDown"),
)
simple(
    "scaling is the learner's word",
    "elastic",
    "by CPU",
    lambda o: put(
        o.of("HorizontalPodAutoscaler")[0]["spec"]["metrics"][0]["external"]["metric"], "name", "cpu"
    ),
)
simple(
    "scaling is the learner's word",
    "elastic",
    "from none",
    lambda o: put(o.of("HorizontalPodAutoscaler")[0]["spec"], "minReplicas", 0),
)
simple(
    "scaling is the learner's word",
    "elastic-keda",
    "a cold start that takes longer",
    lambda o: config(o, "cold_start_s = 600.0", "cold_start_s = 900.0"),
)
simple(
    "scaling is the learner's word",
    "elastic-keda",
    "more than may be",
    lambda o: config(o, "max_actors = 16", "max_actors = 17"),
)
simple(
    "scaling is the learner's word",
    "elastic-keda",
    "more at least than at most",
    lambda o: put(o.of("ScaledObject")[0]["spec"], "minReplicaCount", 17),
)
simple(
    "a set ends with its learner",
    "jobset",
    "it waits for the actors",
    lambda o: put(o.of("JobSet")[0]["spec"]["successPolicy"], "targetReplicatedJobs", ["learner", "actor"]),
)
simple(
    "a set ends with its learner", "jobset", "no queue", lambda o: o.of("JobSet")[0]["metadata"].pop("labels")
)
simple(
    "a set ends with its learner",
    "jobset",
    "it starts at once",
    lambda o: put(o.of("JobSet")[0]["spec"], "suspend", False),
)
