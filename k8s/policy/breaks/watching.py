"""Breaks of what is read of a run."""

from mutations import config, container, put, simple

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

simple(
    "alerts are tried",
    "gpu",
    "one that nobody has seen fire",
    lambda o: o.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"].append({"alert": "AdwrightSlow"}),
)


def board(rule, what, old, new):
    """A break of the dashboard's text."""

    def change(overlay):
        for thing in overlay.of("ConfigMap"):
            for key, text in thing["data"].items():
                thing["data"][key] = text.replace(old, new)

    simple(rule, "gpu", what, change)


SHOWN = "held-out results are shown"
board("metrics exist", "a misspelt one in a panel", "ledger_waiting_records{", "ledger_waiting{")
board("metrics exist", "a misspelt one in a variable", "label_values(learner_epoch,", "label_values(learner_epoc,")
board("metrics exist", "no metric of the held-out results", "held_out{", "heldout{")
board(SHOWN, "no panel of them", "held_out{", "train_metric_loss{")
board(SHOWN, "every figure but one", 'figure=\\"kl\\"', 'figure!=\\"kl\\"')
board(
    SHOWN,
    "a figure of another metric beside them",
    'held_out{namespace=\\"$namespace\\",figure=\\"kl\\"}',
    'held_out{figure=\\"reward\\"} * on () train_metric_loss{figure=\\"kl\\"}',
)
board(SHOWN, "a figure that nobody measures", 'figure=\\"true_ctr', 'figure=\\"ctr')
board("every pod is watched", "panels over each other", '"x": 8', '"x": 0')
