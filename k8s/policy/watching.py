"""What is read of a run and who is told: alerts with something to do, which are tried, metrics that exist, results that are shown."""

import json
import re

import promql_parser
import yaml
from promql_parser import MatchOp

from rendered import ROOT
from rules import DOCS, rule, settings

# Prometheus' own.
GIVEN = {"up"}
# Where each alert fires and where it does not, as promtool reads it: a file of its name (tried.py).
TRIALS = ROOT / "policy/alerts"


def selectors(expression):
    """What an expression reads: a metric with its labels each; a ValueError when it is no PromQL."""
    found, waiting = [], [promql_parser.parse(expression)]
    while waiting:
        at = waiting.pop()
        if isinstance(at, promql_parser.VectorSelector):
            found.append(at)
        if isinstance(at, promql_parser.MatrixSelector):
            waiting.append(at.vector_selector)
        waiting += [getattr(at, part) for part in ("lhs", "rhs", "expr") if hasattr(at, part)]
        waiting += getattr(at, "args", [])
    return found


def metrics_of(expression):
    return {one.name for one in selectors(expression)} - GIVEN


def unknown(expression, known):
    """What is wrong with what an expression reads."""
    try:
        return [f"{name} is not in docs/metrics.md" for name in sorted(metrics_of(expression) - known)]
    except ValueError as error:
        return [f"no PromQL: {error}"]


def documented():
    """Names of docs/metrics.md, with what the page adds to them. A step metric `loss` is `train_metric_loss` on the page."""
    names = set(re.findall(r"^\| `([a-z0-9_]+)", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    families = {f"{name}{end}" for name in names for end in ("", "_total", "_bucket", "_sum", "_count")}
    return families | {f"train_{of}_{name}" for name in names for of in ("metric", "version")}


def headings():
    text = (DOCS / "operations.md").read_text()
    return {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


def alerts_of(overlay):
    """In an overlay of somebody's own only those that we have too: what others say and read is their owner's."""
    known = {file.stem for file in TRIALS.glob("*.yaml")}
    for thing in overlay.of("PrometheusRule"):
        for one in (one for group in thing["spec"]["groups"] for one in group["rules"]):
            if "alert" in one and (not overlay.own or one["alert"] in known):
                yield one


@rule("alerts say what to do")
def alerts(overlay):
    anchors, seen = headings(), set()
    for alert in alerts_of(overlay):
        name, notes = alert["alert"], alert.get("annotations", {})
        page, _, anchor = notes.get("runbook", "").partition("#")
        if page != "docs/operations.md" or anchor not in anchors or not notes.get("summary"):
            yield f"{name}: its runbook {notes.get('runbook')!r} leads nowhere"
        if alert.get("labels", {}).get("severity") not in ("critical", "warning") or "for" not in alert:
            yield f"{name}: no severity, or it fires at a blink"
        if name in seen:
            yield f"{name}: is there twice"
        seen.add(name)


def trials_of(name):
    """The courses of numbers that an alert is played with."""
    file = TRIALS / f"{name}.yaml"
    return yaml.safe_load(file.read_text())["tests"] if file.is_file() else []


@rule("alerts are tried")
def tried(overlay):
    for name in [alert["alert"] for alert in alerts_of(overlay)] if not overlay.own else []:
        trials = trials_of(name)
        asked = [one for trial in trials for one in trial["alert_rule_test"] if one["alertname"] == name]
        fires = [bool(one.get("exp_alerts")) for one in asked]
        if True not in fires or False not in fires:
            yield f"{name}: k8s/policy/alerts/{name}.yaml has to show where it fires, and where it does not"


@rule("metrics exist")
def metrics(overlay):
    known = documented()
    for alert in alerts_of(overlay):
        for sentence in unknown(alert["expr"], known):
            yield f"alert {alert['alert']}: {sentence}"
    for title, expression in panels(overlay):
        for sentence in unknown(expression, known):
            yield f"panel {title}: {sentence}"
    for name, expression in variables(overlay):
        for sentence in unknown(expression, known):
            yield f"variable {name}: {sentence}"


def figures():
    """What an evaluator measures: the values that docs/metrics.md gives for the label `figure` of `held_out`."""
    [row] = re.findall(r"^\| `held_out` \|.*$", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    return set(re.findall(r"`([a-z_]+)`", row.split("|")[3]))


def figures_of(selector):
    """Those that a selector of `held_out` takes, and what it takes by a name that none has."""
    taken = figures()
    for label in (label for label in selector.matchers.matchers if label.name == "figure"):
        named = set(label.value.split("|")) if label.op in (MatchOp.Re, MatchOp.NotRe) else {label.value}
        if label.op in (MatchOp.Equal, MatchOp.Re):
            taken = named & taken | named - figures()
        else:
            taken -= named
    return taken


@rule("held-out results are shown")
def held_out(overlay):
    if not list(boards(overlay)):
        return
    shown = set()
    for _, expression in panels(overlay):
        for one in selectors(expression):
            if one.name == "held_out":
                shown |= figures_of(one)
    for figure in sorted(figures() - shown):
        yield f"no panel shows the figure {figure} of held_out"
    for figure in sorted(shown - figures()):
        yield f"a panel shows held_out with the figure {figure}, which is not in docs/metrics.md"


def boards(overlay):
    for thing in overlay.of("ConfigMap"):
        if thing["metadata"].get("labels", {}).get("grafana_dashboard"):
            yield from (json.loads(text) for text in thing["data"].values())


def variables(overlay):
    for board in boards(overlay):
        for one in board["templating"]["list"]:
            if one["type"] == "query":
                yield one["name"], re.fullmatch(r"label_values\((.*), *\w+\)", one["query"]["query"])[1]


def panels(overlay):
    for board in boards(overlay):
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield panel["title"], target["expr"]


@rule("a failure is read before its process ends")
def lingers(overlay):
    for monitor in overlay.of("PodMonitor"):
        for end in monitor["spec"]["podMetricsEndpoints"]:
            needed = 2 * float(end["interval"].removesuffix("s"))
            given = settings(overlay)["learner"]["linger_ms"] / 1000
            if given < needed:
                yield f"learner.linger_ms is {given:g} s, and two readings take {needed:g} s"


@rule("every pod is watched")
def watched(overlay):
    if not overlay.of("PodMonitor"):
        return
    for monitor in overlay.of("PodMonitor"):
        pods = {str(pod) for pod in overlay.selected(monitor["spec"]["selector"])}
        if pods != {str(pod) for pod in overlay.our_pods()}:
            yield f"PodMonitor/{monitor['metadata']['name']} reads {sorted(pods)}"
        for pod in overlay.selected(monitor["spec"]["selector"]):
            for end in monitor["spec"]["podMetricsEndpoints"]:
                if end["port"] not in [port.get("name") for port in pod.ports()]:
                    yield f"{pod} has no port {end['port']}"
    found = list(boards(overlay))
    if len(found) != 1:
        yield f"{len(found)} dashboards"
    for board in found:
        ids = [panel["id"] for panel in board["panels"]]
        if len(ids) != len(set(ids)) or not ids:
            yield "panels of one number"
        cells = [(x, y) for panel in board["panels"] for x, y in cells_of(panel["gridPos"])]
        if len(cells) != len(set(cells)) or any(x >= 24 for x, _ in cells):
            yield "panels lie over each other"


def cells_of(grid):
    return [(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])]
