"""What an overlay renders to, and the questions that rules ask of it: which pods there are, who selects them, what they may read.

Nothing is judged here."""

import copy
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CONTAINERFILE = ROOT.parent / "Containerfile"
RIGHTS = ROOT / "iam"
OVERLAYS = sorted(path.parent.name for path in ROOT.glob("overlays/*/kustomization.yaml"))
# An overlay of somebody's own: a component more than the one that it builds on, and a file of its own (docs/operations.md): the simulated shop's
# pictures, since its evaluator has no GPU to paint with.
COMBINED = ("elastic-keda+evaluator",)
SHOPWORLD = '[actor]\nimage_generator = "shopworld"\n'
OWN = """apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: adwright
resources: [{manifests}/overlays/{overlay}]
components: [{manifests}/components/{component}]
images: [{{name: adwright, newName: registry.example/adwright, newTag: "1.0"}}]
configMapGenerator:
  - {{name: adwright-config, namespace: adwright, behavior: merge, files: [30-own.toml]}}
"""


class UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which a key that is given twice is an error, not the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"given twice: {sorted(twice)}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def render(name):
    """The objects of `k8s/overlays/<name>`, of the base, or of a combination, as kubectl renders them."""
    overlay, _, component = name.partition("+")
    directory = ROOT / "overlays" / overlay if overlay != "base" else ROOT / "base"
    return combined(name, overlay, component) if component else rendered(name, directory)


def combined(name, overlay, component):
    with tempfile.TemporaryDirectory() as own:
        # Kustomize takes no absolute path.
        manifests = os.path.relpath(ROOT, os.path.realpath(own))
        text = OWN.format(manifests=manifests, overlay=overlay, component=component)
        Path(own, "kustomization.yaml").write_text(text)
        Path(own, "30-own.toml").write_text(SHOPWORLD)
        return rendered(name, own)


def rendered(name, directory):
    said = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True)
    if said.returncode:
        raise SystemExit(f"{name}: {said.stderr.strip()}")
    return [document for document in yaml.load_all(said.stdout, UniqueKeys) if document]


class Pod:
    """A pod template and what makes pods of it."""

    def __init__(self, name, kind, controller, template):
        self.name, self.kind, self.controller = name, kind, controller
        self.spec = template.get("spec", {})
        self.labels = template.get("metadata", {}).get("labels", {})

    @property
    def role(self):
        return self.labels.get("app.kubernetes.io/component")

    @property
    def containers(self):
        return self.spec.get("containers", [])

    @property
    def all_containers(self):
        return self.spec.get("initContainers", []) + self.containers

    @property
    def is_ours(self):
        return self.labels.get("app.kubernetes.io/name") == "adwright"

    def ports(self):
        return [port for container in self.containers for port in container.get("ports", [])]

    def references(self):
        """Every (kind, name) that the pod cannot start without."""
        for volume in self.spec.get("volumes", []):
            sources = [volume, *volume.get("projected", {}).get("sources", [])]
            for source in sources:
                if "configMap" in source and not source["configMap"].get("optional"):
                    yield "ConfigMap", source["configMap"]["name"]
                if "secret" in source and not source["secret"].get("optional"):
                    yield "Secret", source["secret"].get("secretName") or source["secret"]["name"]
        for container in self.all_containers:
            sources = container.get("envFrom", []) + [
                e["valueFrom"] for e in container.get("env", []) if "valueFrom" in e
            ]
            for source in sources:
                for key, kind in (
                    ("secretRef", "Secret"),
                    ("secretKeyRef", "Secret"),
                    ("configMapRef", "ConfigMap"),
                ):
                    if key in source and not source[key].get("optional"):
                        yield kind, source[key]["name"]

    def __str__(self):
        return f"{self.kind}/{self.name}"


class Overlay:
    """The rendered objects of one overlay, the Containerfile that its image is built from, and the rights in a bucket that are written down
    for it. `own` is one of somebody's own (own.py)."""

    def __init__(self, name, objects, own=False):
        self.name, self.objects, self.own = name, objects, own
        self.containerfile = CONTAINERFILE.read_text()
        self.rights = {path.name: path.read_text() for path in sorted(RIGHTS.iterdir()) if path.suffix != ".md"}

    def copy(self):
        other = copy.copy(self)
        other.objects, other.rights = copy.deepcopy(self.objects), dict(self.rights)
        return other

    @property
    def is_local(self):
        """Whether it is the demo's run beside its store, where alone nothing is encrypted. Others have certificates, whatever else they bring along."""
        return bool(self.named("Deployment", "adwright-store")) and not self.of("Certificate")

    def of(self, *kinds):
        return [thing for thing in self.objects if thing["kind"] in kinds]

    def named(self, kind, name):
        return next((thing for thing in self.of(kind) if thing["metadata"]["name"] == name), None)

    def pods(self):
        found = []
        for thing in self.objects:
            name, spec = thing["metadata"]["name"], thing.get("spec", {})
            if thing["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet"):
                found.append(Pod(name, thing["kind"], spec, spec["template"]))
            elif thing["kind"] == "CronJob":
                job = spec["jobTemplate"]["spec"]
                found.append(Pod(name, "CronJob", job, job["template"]))
            elif thing["kind"] == "Pod":
                found.append(Pod(name, "Pod", {}, thing))
            elif thing["kind"] == "JobSet":
                for job in spec["replicatedJobs"]:
                    template = job["template"]["spec"]
                    found.append(Pod(f"{name}/{job['name']}", "JobSet", template, template["template"]))
        return found

    def our_pods(self):
        return [pod for pod in self.pods() if pod.is_ours]

    def serving_pods(self):
        """Those of ours that others call."""
        return [pod for pod in self.our_pods() if pod.role != "evaluator"]

    def selected(self, selector):
        return [pod for pod in self.pods() if matches(selector, pod.labels)]

    def configured(self):
        """The ConfigMap of the run's configuration."""
        named = [one for one in self.of("ConfigMap") if one["metadata"]["name"].startswith("adwright-config")]
        if len(named) != 1:
            raise ValueError(f"{len(named)} ConfigMaps adwright-config: expected one")
        return named[0]

    def configuration(self):
        """(file, text) of the run's configuration, in the order in which roles read them."""
        data = self.configured()["data"]
        return [(name, data[name]) for name in sorted(data) if name.endswith(".toml")]


def matches(selector, labels):
    """Whether a label selector, none of which selects everything, takes these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for wanted in selector.get("matchExpressions") or []:
        value, operator = labels.get(wanted["key"]), wanted["operator"]
        fits = {
            "In": value in wanted.get("values", []),
            "NotIn": value not in wanted.get("values", []),
            "Exists": wanted["key"] in labels,
            "DoesNotExist": wanted["key"] not in labels,
        }[operator]
        if not fits:
            return False
    return True
