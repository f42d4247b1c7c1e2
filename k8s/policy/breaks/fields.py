"""Fields that do not exist, in objects of every API that is used: schemas must refuse each. They are no rules' breaks."""

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


def unnoticed(overlays, of_others):
    """Those that no schema refuses."""
    missed = []
    for name, kind, path, field in UNKNOWN:
        copy = overlays[name].copy()
        place = copy.of(kind)[0]
        for step in path:
            place = place[step]
        place[field] = "x"
        if not schemas.mistakes(copy, of_others)[0]:
            missed.append(f"{name}: {kind}: {'.'.join(map(str, path))}.{field}")
    return missed
