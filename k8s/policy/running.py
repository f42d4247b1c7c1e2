"""How pods begin, are watched, end, and are counted."""

from rules import MONITORING, argument, role_container, rule, settings

PROBES = {"startupProbe": "startup", "livenessProbe": "liveness", "readinessProbe": ""}
# Seconds between the end of a drain and SIGKILL, for what a process does after it.
MARGIN = 10
# Seconds in which the learner confirms what an evaluator has told it; what that is measuring is dropped.
CONFIRMED = 2


@rule("probes")
def probes(overlay):
    for pod in overlay.pods():
        for container in pod.containers:
            for probe, service in PROBES.items():
                given = container.get(probe, {})
                if not given:
                    yield f"{pod} container {container['name']}: no {probe}"
                elif pod.is_ours and (given.get("grpc") != {"port": MONITORING, "service": service}):
                    yield f"{pod}: {probe} asks {given}, not {service!r} at {MONITORING}"


def drain_s(overlay, pod):
    wanted = settings(overlay, role_container(pod))
    return {
        "learner": wanted["learner"]["drain_ms"] / 1000,
        "actor": wanted["actor"]["drain_timeout_s"],
        "reward-server": wanted["reward_server"]["drain_timeout_s"],
        "evaluator": CONFIRMED,
    }[pod.role]


def pause_s(container):
    return container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)


@rule("time to drain")
def grace(overlay):
    for pod in overlay.our_pods():
        needed = drain_s(overlay, pod) + pause_s(role_container(pod)) + MARGIN
        given = pod.spec.get("terminationGracePeriodSeconds", 30)
        if given < needed:
            yield f"{pod}: is killed after {given} s, and needs {needed:g} s to drain"
        if pod.role == "reward-server" and pause_s(role_container(pod)) < 5:
            yield f"{pod}: stops serving while its name still leads to it"


@rule("roles end under a JobSet only")
def on_run_end(overlay):
    for pod in overlay.our_pods():
        table = {"actor": "actor", "reward-server": "reward_server"}.get(pod.role)
        if not table:
            continue
        ends = settings(overlay, role_container(pod))[table].get("on_run_end")
        if pod.kind != "JobSet" and ends != "idle":
            yield f"{pod}: {table}.on_run_end = {ends}, and a {pod.kind} would start it again, or its model would stay"
        if pod.role == "actor" and pod.kind == "JobSet" and ends != "exit":
            yield f"{pod}: {table}.on_run_end = {ends}: its Job never completes"


@rule("the learner is a job")
def learner(overlay):
    pods = [pod for pod in overlay.our_pods() if pod.role == "learner"]
    if [pod.kind for pod in pods] not in (["Job"], ["JobSet"]):
        yield f"learners: {[str(pod) for pod in pods]}"
    for pod in pods:
        if pod.controller.get("parallelism", 1) != 1 or pod.controller.get("completions", 1) != 1:
            yield f"{pod}: there is one learner"


@rule("a stopped pod is no finished one")
def unfinished(overlay):
    for pod in overlay.our_pods():
        if pod.kind not in ("Job", "JobSet"):
            continue
        status = argument(role_container(pod), "--unfinished-status")
        if status in (None, "0"):
            yield f"{pod}: a drained pod would count as a finished run"
        # It is started again in its pod, as looking_on.py says.
        if pod.role == "evaluator":
            continue
        if pod.spec.get("restartPolicy") != "Never" or pod.controller.get("backoffLimit", 6) < 6:
            yield f"{pod}: its failures are not counted, or few are allowed"
        rules = pod.controller.get("podFailurePolicy", {}).get("rules", [])
        found = [
            (
                one["action"],
                one.get("onExitCodes", {}).get("values"),
                one.get("onExitCodes", {}).get("containerName"),
            )
            for one in rules
        ]
        # Of every container: one that is run before the role's reads the same configuration.
        if ("FailJob", [64], None) not in found:
            yield f"{pod}: a wrong configuration would be tried again"
        if ("Ignore", [int(status or 0)], pod.role) not in found:
            yield f"{pod}: being stopped (exit {status}) counts as a failure"
        evicted = [
            one["action"]
            for one in rules
            for condition in one.get("onPodConditions", [])
            if condition["type"] == "DisruptionTarget"
        ]
        if evicted != ["Ignore"]:
            yield f"{pod}: an eviction counts as a failure"


@rule("budgets are for actors")
def budgets(overlay):
    for budget in overlay.of("PodDisruptionBudget"):
        name, pods = budget["metadata"]["name"], overlay.selected(budget["spec"]["selector"])
        if not pods:
            yield f"PodDisruptionBudget/{name} selects no pod"
        if "maxUnavailable" not in budget["spec"] or budget["spec"]["maxUnavailable"] in (0, "0%"):
            yield f"PodDisruptionBudget/{name}: a node could never be drained"
        for pod in pods:
            if pod.role != "actor" or pod.kind != "Deployment":
                yield f"PodDisruptionBudget/{name} holds {pod}"


def scalers(overlay):
    for thing in overlay.of("HorizontalPodAutoscaler", "ScaledObject"):
        spec = thing["spec"]
        behavior = spec.get("behavior") or spec.get("advanced", {}).get(
            "horizontalPodAutoscalerConfig", {}
        ).get("behavior", {})
        yield thing, spec, behavior


@rule("scaling is the learner's word")
def scaling(overlay):
    for thing, spec, behavior in scalers(overlay):
        where, target = f"{thing['kind']}/{thing['metadata']['name']}", spec["scaleTargetRef"]
        scaled = overlay.named(target["kind"], target["name"])
        if (
            not scaled
            or scaled["spec"]["template"]["metadata"]["labels"].get("app.kubernetes.io/component") != "actor"
        ):
            yield f"{where}: its target {target} is not the actors"
        elif "replicas" in scaled["spec"]:
            yield f"{where}: an apply would set the replicas back"
        cold_start = settings(overlay)["learner"].get("scaling", {}).get("cold_start_s", 0)
        for direction in ("scaleUp", "scaleDown"):
            window = behavior.get(direction, {}).get("stabilizationWindowSeconds", 0)
            if window < max(cold_start, 60):
                yield f"{where}: {direction} looks back {window} s, less than a cold start"
        if thing["kind"] == "HorizontalPodAutoscaler":
            metrics = [
                (one["external"]["metric"]["name"], one["external"]["target"]) for one in spec["metrics"]
            ]
            if metrics != [("rollout_actors_wanted", {"type": "AverageValue", "averageValue": "1"})]:
                yield f"{where}: scales by {metrics}"
            if spec.get("minReplicas", 1) < 1:
                yield f"{where}: cannot start from none"
        elif spec.get("minReplicaCount", 0) > spec.get("maxReplicaCount", 100):
            yield f"{where}: its least is more than its most"
        elif spec.get("minReplicaCount", 0) == 0 and spec.get("cooldownPeriod", 300) < cold_start:
            yield f"{where}: goes to none for less than a cold start"
        most = settings(overlay)["learner"].get("scaling", {}).get("max_actors")
        if most is not None and most > spec.get("maxReplicas", spec.get("maxReplicaCount")):
            yield f"{where}: the learner may want {most}, more than it starts"
    if len(overlay.of("HorizontalPodAutoscaler", "ScaledObject")) > 1:
        yield "two scalers of one thing"


@rule("a set ends with its learner")
def jobset(overlay):
    for thing in overlay.of("JobSet"):
        spec, labels = thing["spec"], thing["metadata"].get("labels", {})
        names = [job["name"] for job in spec["replicatedJobs"]]
        if spec.get("successPolicy") != {"operator": "All", "targetReplicatedJobs": ["learner"]}:
            yield f"success is {spec.get('successPolicy')}"
        if sorted(names) != ["actor", "learner", "reward-server"]:
            yield f"it has {names}"
        if spec.get("suspend") is not True or "kueue.x-k8s.io/queue-name" not in labels:
            yield "it starts without waiting for its queue"
        if overlay.of("Deployment", "Job"):
            yield "its pods are there a second time"
