"""Fields that do not exist and values that are none, in objects of every API that is used: schemas must refuse each. They are no rules' breaks."""

import schemas

# (overlay, kind, where below the object, a field that nobody has there)
UNKNOWN = (
    ("local", "Deployment", ("spec", "template", "spec", "containers", 0), "imagee"),
    ("gpu", "Job", ("spec", "podFailurePolicy", "rules", 0), "onExitCode"),
    ("local", "Secret", (), "datas"),
    ("gpu", "NetworkPolicy", ("spec",), "ingres"),
    ("gpu", "PodDisruptionBudget", ("spec",), "maxUnavailible"),
    ("gpu", "PriorityClass", (), "preemption"),
    ("gpu", "Issuer", ("spec",), "selfSign"),
    ("gpu", "Certificate", ("spec",), "dnsName"),
    ("gpu", "Certificate", ("metadata",), "label"),
    ("gpu", "PodMonitor", ("spec", "podMetricsEndpoints", 0), "ports"),
    ("gpu", "PrometheusRule", ("spec", "groups", 0, "rules", 0), "expression"),
    ("elastic", "HorizontalPodAutoscaler", ("spec", "behavior", "scaleUp"), "stabilisationWindowSeconds"),
    ("elastic-keda", "ScaledObject", ("spec",), "minReplicas"),
    (
        "elastic-keda",
        "ScaledObject",
        ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown"),
        "window",
    ),
    ("elastic-keda", "TriggerAuthentication", ("spec", "secretTargetRef", 0), "secret"),
    ("jobset", "JobSet", ("spec", "successPolicy"), "targets"),
    ("jobset", "JobSet", ("spec", "replicatedJobs", 2, "template", "spec", "template", "spec"), "restart"),
)
# (overlay, kind, where below the object, a value that nobody takes there)
WRONG = (
    ("gpu", "Certificate", ("spec", "usages", 0), "server"),
    ("gpu", "PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "1s1m"),
    ("gpu", "PodMonitor", ("spec", "podMetricsEndpoints", 0, "scheme"), "HTTPS"),
    ("gpu", "PrometheusRule", ("spec", "groups", 1, "name"), "adwright-run"),
    ("elastic-keda", "ScaledObject", ("spec", "maxReplicaCount"), 1 << 31),
    ("jobset", "JobSet", ("spec", "failurePolicy", "maxRestarts"), 1 << 31),
    ("jobset", "JobSet", ("spec", "failurePolicy", "rules", 0), {"action": "FailJobSet"}),
    ("jobset", "JobSet", ("spec", "replicatedJobs", 1, "name"), "actor"),
)


def unnoticed(overlays, of_others):
    """Those that no schema refuses."""
    missed = []
    for name, kind, path, value in (*((n, k, (*p, field), "x") for n, k, p, field in UNKNOWN), *WRONG):
        copy = overlays[name].copy()
        place = copy.of(kind)[0]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        if not schemas.mistakes(copy, of_others)[0]:
            missed.append(f"{name}: {kind}: {'.'.join(map(str, path))} = {value}")
    return missed
