"""Overlays as somebody may write them, some of which must hold and some of which a rule must refuse."""

import os
import re
import tempfile
from collections import namedtuple
from pathlib import Path

import own
import schemas
from layers import toml
from rendered import ROOT, Overlay, render
from rules import DOCS, broken, together

Case = namedtuple("Case", "what overlay config more refused")
# What the file of docs/operations.md says.
SERVE = '[reward_server]\non_run_end = "serve"\n'
POLICY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: credentials, namespace: adwright}}
spec:
  podSelector: {{matchLabels: {{app.kubernetes.io/name: adwright}}}}
  policyTypes: [Egress]
  egress: [{{to: [{{ipBlock: {{cidr: {cidr}}}}}], ports: [{{protocol: TCP, port: {port}}}]}}]
"""


def reaching(cidr, port=80):
    return {"policy.yaml": POLICY.format(cidr=cidr, port=port)}


def patched(kind, name, operation):
    return {"patches": f"patches:\n  - target: {{kind: {kind}, name: {name}}}\n    patch: '[{operation}]'\n"}


def shown(beginning):
    """What docs/operations.md shows of a kustomization, by its first words."""
    return block("yaml", beginning)


def block(language, beginning):
    """One of docs/operations.md, by its first words."""
    text = (DOCS / "operations.md").read_text()
    [found] = re.findall(rf"```{language}\n({beginning}.*?)```", text, re.DOTALL)
    return found


# Spans for a collector, and the way there.
TRACED, WAY = block("toml", r"\[telemetry\]"), block("yaml", "apiVersion: networking")
# Listeners for pods with addresses of IPv6.
SIX = block("toml", r"\[endpoints\]")
COLLECTED = {"collector.yaml": WAY}
PAINTED = """[actor]
image_generator = "remote"
[endpoints]
images = "https://images.painters:7402"
"""
PAINTERS = WAY.replace("observability", "painters").replace("4317", "7402")


def of_actors(policy):
    """A policy of the actors alone."""
    return policy.replace("app.kubernetes.io/name: adwright", "app.kubernetes.io/component: actor")


LATER = '{"op": "replace", "path": "/spec/groups/0/rules/2/for", "value": "2h"}'
THEIRS = """{"op": "add", "path": "/spec/groups/-", "value": {"name": "ours", "rules": [
      {"record": "ours:pods", "expr": "sum(kube_pod_info)"}, {"alert": "Ours", "expr": "ours:pods > 9", "for": "1m"}]}}"""
MISSPELT = '{"op": "add", "path": "/spec/template/spec/containers/0/imagee", "value": "x"}'
GRACE = '{"op": "add", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 310}'
# All that the overlay says, in one file.
WHOLE = object()
LONGER = "[actor]\ndrain_timeout_s = 300.0\n"
# (what it is, the overlay below, its configuration, further files, the rule that refuses it or None)
CASES = (
    Case("as docs/operations.md has it", "gpu", "", {}, None),
    Case("a demo in plain text beside its store", "local", "", {}, None),
    Case("one JobSet", "jobset", "", {}, None),
    Case("a value that is said below", "gpu", '[run]\nid = "demo"\n', {}, None),
    Case("a configuration that takes the place of ours", "gpu", WHOLE, {}, None),
    Case("more actors of a JobSet, as docs/operations.md has it", "jobset", "", {"patches": shown(r"patches:\n  - target: {kind: JobSet")}, None),
    Case("an image that is pulled with a Secret", "gpu", "", {"patches": shown(r"patches:\n  - target: {kind: ServiceAccount")}, None),
    Case("with a way to where credentials come from", "gpu", "", reaching("169.254.170.23/32"), None),
    # By the port at which pods are let out to the internet.
    Case("with a way to a whole network", "gpu", "", reaching("10.0.0.0/8", 443), "nothing is open that nobody needs"),
    Case("a cluster of IPv6, as docs/operations.md has it", "gpu", SIX, {}, None),
    Case("a store of Azure", "gpu", '[store]\nurl = "abfss://runs@ads.dfs.core.windows.net/demo"\n', {}, None),
    Case("a store in a pod", "gpu", '[store]\nurl = "/var/lib/adwright/store"\n', {}, "state lies in the object store"),
    Case("a catalogue that no pod has", "gpu", '[catalogue]\nsource = "products.json"\n', {}, "state lies in the object store"),
    Case("spans for a collector, as docs/operations.md has it", "gpu", TRACED, COLLECTED, None),
    Case("spans for a collector within the pod", "gpu", '[telemetry]\notlp = "http://127.0.0.1:4317"\n', {}, None),
    Case("spans for a collector that no policy leads to", "gpu", TRACED, {}, "nothing is open that nobody needs"),
    Case("a way to a collector that gets no spans", "gpu", "", COLLECTED, "nothing is open that nobody needs"),
    Case("pictures of a service elsewhere", "gpu", PAINTED, {"images.yaml": of_actors(PAINTERS)}, None),
    Case(
        "pictures of a service that is let out to by whoever asks for none",
        "gpu",
        PAINTED,
        {"images.yaml": PAINTERS},
        "nothing is open that nobody needs",
    ),
    Case("pictures of a service that no policy leads to", "gpu", PAINTED, {}, "nothing is open that nobody needs"),
    Case("an alert that waits for longer", "gpu", "", patched("PrometheusRule", "adwright", LATER), None),
    Case("an alert of one's own", "gpu", "", patched("PrometheusRule", "adwright", THEIRS), None),
    Case("a longer drain, with time for it", "gpu", LONGER, patched("Deployment", "adwright-actor", GRACE), None),
    Case("a longer drain", "gpu", LONGER, {}, "time to drain"),
    Case("a field that is none", "gpu", "", patched("Deployment", "adwright-actor", MISSPELT), "schemas"),
    Case("a model for nobody", "gpu", SERVE, {}, "roles end under a JobSet only"),
    Case("a server that its JobSet ends", "jobset", SERVE, {}, None),
    Case(
        "another run, certified as the first",
        "gpu",
        '[run]\nid = "s"\n',
        {},
        "certificates say who they are",
    ),
    Case(
        "plain text elsewhere",
        "gpu",
        "[endpoints]\ninsecure_plaintext_network = true\n",
        {},
        "plain text in local alone",
    ),
)


def write(case, place):
    text = shown("apiVersion: kustomize").replace("../adwright/k8s", os.path.relpath(ROOT, os.path.realpath(place)))
    files = dict(case.more)
    text = text.replace("overlays/gpu", f"overlays/{case.overlay}") + files.pop("patches", "")
    for name in files:
        text = text.replace("resources: [", f"resources: [{name}, ")
    [file], config = re.findall(r"behavior: merge, files: \[(\S+)\]", text), case.config
    if config is WHOLE:
        text = text.replace("behavior: merge", "behavior: replace")
        config = toml(together(Overlay(case.overlay, render(case.overlay))))
    for name, content in {**files, "kustomization.yaml": text, file: config}.items():
        Path(place, name).write_text(content)


def unexpected(of_others):
    """Cases that are judged otherwise than they should be."""
    found = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as place:
            write(case, place)
            overlay = own.overlay(place)
        rules, (mistakes, _) = broken(overlay), schemas.mistakes(overlay, of_others)
        by = {rule for rule, _ in rules} | ({"schemas"} if mistakes else set())
        if by != ({case.refused} if case.refused else set()):
            found.append(f"{case.what}: refused by {sorted(by)}, expected {case.refused}: {(mistakes + rules)[:3]}")
    return found
