"""Breaks of what is read of a run."""

from mutations import breaks, config, container, put, simple

simple(
    "alerts say what to do",
    "gpu",
    "no such heading",
    lambda o: put(
        o.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"][0]["annotations"],
        "runbook",
        "docs/operations.md#nowhere",
    ),
)
simple(
    "alerts say what to do",
    "gpu",
    "no severity",
    lambda o: o.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"][0].pop("labels"),
)
simple(
    "metrics exist",
    "gpu",
    "a misspelt one in an alert",
    lambda o: put(
        o.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"][0], "expr", "learner_run_fialed == 1"
    ),
)
simple(
    "a failure is read before its process ends",
    "gpu",
    "the program's default",
    lambda o: config(o, "linger_ms = 60000", ""),
)
simple(
    "metrics exist",
    "gpu",
    "an alert that is no PromQL",
    lambda o: put(
        o.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"][0], "expr", "max by (namespace (learner_run_failed)"
    ),
)
simple(
    "every pod is watched",
    "gpu",
    "a port of another name",
    lambda o: put(container(o, "actor")["ports"][1], "name", "metrics"),
)
simple(
    "every pod is watched",
    "gpu",
    "some pods",
    lambda o: put(
        o.of("PodMonitor")[0]["spec"]["selector"]["matchLabels"], "app.kubernetes.io/component", "actor"
    ),
)


@breaks("metrics exist", "gpu", "a misspelt one in a panel")
def _(overlay):
    for thing in overlay.of("ConfigMap"):
        for key, text in thing["data"].items():
            thing["data"][key] = text.replace("ledger_waiting_records{", "ledger_waiting{")


@breaks("every pod is watched", "gpu", "panels over each other")
def _(overlay):
    for thing in overlay.of("ConfigMap"):
        for key, text in thing["data"].items():
            thing["data"][key] = text.replace('"x": 8', '"x": 0')
