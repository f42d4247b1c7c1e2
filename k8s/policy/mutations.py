"""Breaks on purpose. A rule that none of them proves might as well not be there."""

from collections import namedtuple

from rules import UNTOLD, broken

Break = namedtuple("Break", "rule overlay what change")
BREAKS = []


def breaks(rule, overlay, what):
    """Keeps a function that breaks `rule` in a copy of an overlay."""

    def keep(function):
        BREAKS.append(Break(rule, overlay, what, function))
        return function

    return keep


def uncaught(overlays):
    """Breaks that change nothing, or that their rule does not see."""
    missed = []
    for one in BREAKS:
        copy = overlays[one.overlay].copy()
        one.change(copy)
        if copy.objects == overlays[one.overlay].objects:
            missed.append(f"{one.overlay}: {one.what}: changes nothing")
            continue
        before = {sentence for rule, sentence in broken(overlays[one.overlay]) if rule == one.rule}
        after = {sentence for rule, sentence in broken(copy) if rule == one.rule}
        if not any(not sentence.startswith(UNTOLD) for sentence in after - before):
            missed.append(f"{one.overlay}: {one.what} ({one.rule})")
    return missed


def pod(overlay, role):
    return next(one for one in overlay.pods() if one.role == role)


def container(overlay, role):
    return pod(overlay, role).containers[0]


def config(overlay, old, new):
    for thing in overlay.of("ConfigMap"):
        if "config.toml" in thing["data"]:
            assert old in thing["data"]["config.toml"], old
            thing["data"]["config.toml"] = thing["data"]["config.toml"].replace(old, new)


def remove(overlay, kind, name=None):
    gone = [one for one in overlay.of(kind) if name in (None, one["metadata"]["name"])]
    overlay.objects = [one for one in overlay.objects if one not in gone]


def simple(rule, overlay, what, change):
    BREAKS.append(Break(rule, overlay, what, change))


def put(place, key, value):
    place[key] = value


# What a pod may be.
simple("images are pinned", "local", "latest", lambda o: put(container(o, "actor"), "image", "adwright:latest"))
simple("images are pinned", "gpu", "no tag", lambda o: put(container(o, "learner"), "image", "host:5000/adwright"))
simple("images are pinned", "local", "the store's latest", lambda o: put(container(o, "store"), "image", "motoserver/moto"))
simple("requests and limits", "gpu", "no limit of CPU", lambda o: container(o, "actor")["resources"]["limits"].pop("cpu"))
simple("requests and limits", "local", "no request of memory", lambda o: pod(o, "learner").spec["initContainers"][0]["resources"]["requests"].pop("memory"))
simple("requests and limits", "gpu", "GPUs by limit alone", lambda o: container(o, "actor")["resources"]["requests"].pop("nvidia.com/gpu"))
simple("not root", "gpu", "root allowed", lambda o: pod(o, "learner").spec["securityContext"].pop("runAsNonRoot"))
simple("not root", "local", "user 0", lambda o: put(pod(o, "store").spec["securityContext"], "runAsUser", 0))
simple("nothing to gain", "gpu", "a capability", lambda o: put(container(o, "actor")["securityContext"], "capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}))
simple("nothing to gain", "gpu", "escalation", lambda o: container(o, "actor")["securityContext"].pop("allowPrivilegeEscalation"))
simple("nothing to gain", "gpu", "no seccomp", lambda o: pod(o, "reward-server").spec["securityContext"].pop("seccompProfile"))
simple("nothing to gain", "gpu", "the host's network", lambda o: put(pod(o, "actor").spec, "hostNetwork", True))
simple("read-only root", "local", "an init container that writes", lambda o: pod(o, "learner").spec["initContainers"][0]["securityContext"].pop("readOnlyRootFilesystem"))
simple("read-only root", "jobset", "an actor that writes", lambda o: put(container(o, "actor")["securityContext"], "readOnlyRootFilesystem", False))
simple("no token", "gpu", "a pod's token", lambda o: pod(o, "actor").spec.pop("automountServiceAccountToken"))
simple("no token", "gpu", "an account's token", lambda o: o.of("ServiceAccount")[0].pop("automountServiceAccountToken"))
simple("no token", "gpu", "rights", lambda o: o.objects.append({"kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "x"}}))
simple("no volume that must survive", "gpu", "a claim", lambda o: put(pod(o, "learner").spec["volumes"], 0, {"name": "work", "persistentVolumeClaim": {"claimName": "x"}}))
simple("no volume that must survive", "gpu", "the node's disk", lambda o: pod(o, "learner").spec["volumes"].append({"name": "h", "hostPath": {"path": "/"}}))
simple("no volume that must survive", "gpu", "no limit", lambda o: [v["emptyDir"].pop("sizeLimit") for v in pod(o, "actor").spec["volumes"] if "emptyDir" in v])
simple("namespace holds to the restricted standard", "gpu", "any pod", lambda o: o.of("Namespace")[0]["metadata"].pop("labels"))
simple("namespace holds to the restricted standard", "gpu", "elsewhere", lambda o: put(o.of("Job")[0]["metadata"], "namespace", "default"))

# What is named.
simple("selectors match", "gpu", "a label misspelt", lambda o: put(pod(o, "actor").labels, "app.kubernetes.io/component", "actors"))
simple("selectors match", "gpu", "a service of nobody", lambda o: put(o.named("Service", "adwright-learner")["spec"]["selector"], "app.kubernetes.io/component", "lerner"))
simple("selectors match", "gpu", "a policy of nobody", lambda o: put(o.named("NetworkPolicy", "actor")["spec"], "podSelector", {"matchLabels": {"a": "b"}}))
simple("selectors match", "gpu", "spread among others", lambda o: put(pod(o, "actor").spec["topologySpreadConstraints"][0], "labelSelector", {"matchLabels": {"a": "b"}}))
simple("services lead to ports", "gpu", "a port of another name", lambda o: put(o.named("Service", "adwright-learner")["spec"]["ports"][0], "targetPort", "http"))
simple("services lead to ports", "gpu", "another number", lambda o: put(o.named("Service", "adwright-learner")["spec"]["ports"][0], "port", 80))
simple("services lead to ports", "gpu", "one address for all reward-servers", lambda o: o.named("Service", "adwright-reward-server")["spec"].pop("clusterIP"))
simple("listeners are the declared ports", "gpu", "loopback", lambda o: config(o, "0.0.0.0:7400", "127.0.0.1:7400"))
simple("listeners are the declared ports", "gpu", "another port", lambda o: put(container(o, "actor")["ports"][0], "containerPort", 7403))
simple("listeners are the declared ports", "local", "nobody watches", lambda o: [container(o, "actor")["args"].remove(a) for a in ("--metrics", "0.0.0.0:7409")])
simple("endpoints are services", "gpu", "no such service", lambda o: config(o, "https://adwright-learner:7400", "https://learner:7400"))
simple("endpoints are services", "gpu", "plain to TLS", lambda o: config(o, "https://adwright-reward", "http://adwright-reward"))
simple("references exist", "gpu", "a secret of nobody", lambda o: put(container(o, "actor")["envFrom"][0]["secretRef"], "name", "adwright-stores"))
simple("references exist", "gpu", "a map of another digest", lambda o: put(o.named("ConfigMap", next(c["metadata"]["name"] for c in o.of("ConfigMap") if "config.toml" in c["data"]))["metadata"], "name", "adwright-config"))
simple("references exist", "jobset", "a JobSet's map of another digest", lambda o: put(pod(o, "actor").spec["volumes"][1]["projected"]["sources"][0]["configMap"], "name", "adwright-config"))
simple("references exist", "gpu", "a certificate that is not made", lambda o: remove(o, "Certificate", "adwright-actor"))
simple("references exist", "gpu", "a priority that is not there", lambda o: remove(o, "PriorityClass", "adwright-actor"))
simple("references exist", "gpu", "an account that is not there", lambda o: remove(o, "ServiceAccount", "adwright-actor"))
simple("references exist", "elastic-keda", "the scaler's certificate", lambda o: remove(o, "Certificate", "adwright-scaler"))
simple("files are mounted", "gpu", "the key is somewhere else", lambda o: config(o, "/etc/adwright/tls/tls.key", "/etc/tls/tls.key"))
simple("files are mounted", "gpu", "the cache is in the image", lambda o: config(o, "/var/lib/adwright/cache", "/root/.cache"))
simple("files are mounted", "local", "a volume that nobody mounts", lambda o: pod(o, "actor").spec["volumes"].append({"name": "spare", "emptyDir": {"sizeLimit": "1Gi"}}))
simple("models are there before they are read", "local", "no pre-training", lambda o: pod(o, "learner").spec.pop("initContainers"))
simple("models are there before they are read", "local", "it goes elsewhere", lambda o: config(o, "/var/lib/adwright/reward-model", "/var/lib/adwright/reward"))

# How pods run.
simple("probes", "gpu", "no startup probe", lambda o: container(o, "learner").pop("startupProbe"))
simple("probes", "gpu", "readiness as liveness", lambda o: put(container(o, "actor")["livenessProbe"]["grpc"], "service", ""))
simple("probes", "local", "the port of mTLS", lambda o: put(container(o, "actor")["readinessProbe"]["grpc"], "port", 7402))
simple("probes", "local", "a store without readiness", lambda o: container(o, "store").pop("readinessProbe"))
simple("time to drain", "gpu", "the default of 30 s", lambda o: pod(o, "actor").spec.pop("terminationGracePeriodSeconds"))
simple("time to drain", "gpu", "a longer drain", lambda o: config(o, "drain_timeout_s = 120.0", "drain_timeout_s = 200.0"))
simple("time to drain", "gpu", "a reward-server that goes at once", lambda o: container(o, "reward-server").pop("lifecycle"))
simple("actors end under a JobSet only", "gpu", "exit in the file", lambda o: config(o, 'on_run_end = "idle"', 'on_run_end = "exit"'))
simple("actors end under a JobSet only", "local", "the program's default", lambda o: config(o, 'on_run_end = "idle"', ""))
simple("actors end under a JobSet only", "elastic", "exit by --set", lambda o: container(o, "actor")["args"].extend(["--set", "actor.on_run_end=exit"]))
simple("actors end under a JobSet only", "jobset", "idle in a job", lambda o: put(container(o, "actor")["args"], -1, "actor.on_run_end=idle"))
simple("the learner is a job", "gpu", "two of them", lambda o: put(o.of("Job")[0]["spec"], "parallelism", 2))
simple("the learner is a job", "gpu", "a Deployment", lambda o: put(o.of("Job")[0], "kind", "Deployment"))
simple("a stopped pod is no finished one", "gpu", "0 when drained", lambda o: put(container(o, "learner"), "args", container(o, "learner")["args"][:-2]))
simple("a stopped pod is no finished one", "gpu", "evictions count", lambda o: o.of("Job")[0]["spec"]["podFailurePolicy"]["rules"].pop(1))
simple("a stopped pod is no finished one", "gpu", "a wrong configuration again and again", lambda o: o.of("Job")[0]["spec"]["podFailurePolicy"]["rules"].pop(0))
simple("a stopped pod is no finished one", "jobset", "another container's status", lambda o: put(pod(o, "actor").controller["podFailurePolicy"]["rules"][0]["onExitCodes"], "containerName", "learner"))
simple("a stopped pod is no finished one", "gpu", "restarted in place", lambda o: put(pod(o, "learner").spec, "restartPolicy", "OnFailure"))
simple("budgets are for actors", "gpu", "of the learner", lambda o: put(o.of("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"], "app.kubernetes.io/component", "learner"))
simple("budgets are for actors", "gpu", "of nobody", lambda o: put(o.of("PodDisruptionBudget")[0]["spec"], "selector", {"matchLabels": {"a": "b"}}))
simple("budgets are for actors", "gpu", "never", lambda o: put(o.of("PodDisruptionBudget")[0]["spec"], "maxUnavailable", 0))
simple("scaling is the learner's word", "elastic", "another target", lambda o: put(o.of("HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"], "name", "adwright-actors"))
simple("scaling is the learner's word", "elastic", "replicas stay", lambda o: put(o.named("Deployment", "adwright-actor")["spec"], "replicas", 2))
simple("scaling is the learner's word", "elastic", "no looking back", lambda o: o.of("HorizontalPodAutoscaler")[0]["spec"]["behavior"].pop("scaleDown"))
simple("scaling is the learner's word", "elastic", "by CPU", lambda o: put(o.of("HorizontalPodAutoscaler")[0]["spec"]["metrics"][0]["external"]["metric"], "name", "cpu"))
simple("scaling is the learner's word", "elastic", "from none", lambda o: put(o.of("HorizontalPodAutoscaler")[0]["spec"], "minReplicas", 0))
simple("scaling is the learner's word", "elastic-keda", "a cold start that takes longer", lambda o: config(o, "cold_start_s = 600.0", "cold_start_s = 900.0"))
simple("scaling is the learner's word", "elastic-keda", "more than may be", lambda o: config(o, "max_actors = 16", "max_actors = 17"))
simple("a set ends with its learner", "jobset", "it waits for the actors", lambda o: put(o.of("JobSet")[0]["spec"]["successPolicy"], "targetReplicatedJobs", ["learner", "actor"]))
simple("a set ends with its learner", "jobset", "no queue", lambda o: o.of("JobSet")[0]["metadata"].pop("labels"))
simple("a set ends with its learner", "jobset", "it starts at once", lambda o: put(o.of("JobSet")[0]["spec"], "suspend", False))

# Who talks to whom.
OPEN = "nothing is open that nobody needs"
simple(OPEN, "gpu", "no default", lambda o: remove(o, "NetworkPolicy", "default-deny"))
simple(OPEN, "gpu", "ingress only", lambda o: put(o.named("NetworkPolicy", "default-deny")["spec"], "policyTypes", ["Ingress"]))
simple(OPEN, "gpu", "relays are cut off", lambda o: o.named("NetworkPolicy", "actor")["spec"].pop("ingress"))
simple(OPEN, "gpu", "everybody to the learner", lambda o: o.named("NetworkPolicy", "learner")["spec"]["ingress"][0].pop("from"))
simple(OPEN, "gpu", "every port", lambda o: o.named("NetworkPolicy", "reward-server")["spec"]["ingress"][0].pop("ports"))
simple(OPEN, "gpu", "metrics for all namespaces", lambda o: put(o.named("NetworkPolicy", "prometheus")["spec"]["ingress"][0]["from"][0], "namespaceSelector", {}))
simple(OPEN, "gpu", "private addresses", lambda o: o.named("NetworkPolicy", "names-and-stores")["spec"]["egress"][1]["to"][0]["ipBlock"].pop("except"))
simple(OPEN, "gpu", "no names", lambda o: o.named("NetworkPolicy", "names-and-stores")["spec"]["egress"].pop(0))
simple(OPEN, "elastic-keda", "KEDA is kept out", lambda o: remove(o, "NetworkPolicy", "keda"))
simple(OPEN, "local", "no way to the store", lambda o: remove(o, "NetworkPolicy", "to-the-store"))
simple("plain text in local alone", "gpu", "in gpu", lambda o: config(o, "[endpoints]", "[endpoints]\ninsecure_plaintext_network = true"))
simple("plain text in local alone", "jobset", "by --set", lambda o: container(o, "learner")["args"].extend(["--set", "endpoints.insecure_plaintext_network=true"]))
simple("plain text in local alone", "gpu", "no authority", lambda o: config(o, 'ca = "/etc/adwright/tls/ca.crt"', 'ca = ""'))
simple("certificates say who they are", "gpu", "another run", lambda o: config(o, 'id = "demo"', 'id = "spring"'))
simple("certificates say who they are", "gpu", "another role's", lambda o: put(pod(o, "actor").spec["volumes"][1]["projected"]["sources"][1]["secret"], "name", "adwright-admin-tls"))
simple("certificates say who they are", "gpu", "servers only", lambda o: put(o.named("Certificate", "adwright-actor")["spec"], "usages", ["server auth"]))
simple("certificates say who they are", "gpu", "nobody signs", lambda o: remove(o, "Issuer", "adwright"))
simple("certificates say who they are", "elastic-keda", "another namespace", lambda o: put(o.of("ScaledObject")[0]["spec"]["triggers"][0]["metadata"], "scalerAddress", "adwright-learner.other:7400"))

# What is watched.
simple("alerts say what to do", "gpu", "no such heading", lambda o: put(o.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"][0]["annotations"], "runbook", "docs/operations.md#nowhere"))
simple("alerts say what to do", "gpu", "no severity", lambda o: o.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"][0].pop("labels"))
simple("metrics exist", "gpu", "a misspelt one in an alert", lambda o: put(o.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"][0], "expr", "learner_run_fialed == 1"))
simple("every pod is watched", "gpu", "a port of another name", lambda o: put(container(o, "actor")["ports"][1], "name", "metrics"))
simple("every pod is watched", "gpu", "some pods", lambda o: put(o.of("PodMonitor")[0]["spec"]["selector"]["matchLabels"], "app.kubernetes.io/component", "actor"))


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
