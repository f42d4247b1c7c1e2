"""What an evaluator is: a Job beside a run that looks on, is watched and asked nothing else, and ends with the run."""

from rules import role_container, rule, settings

GPU = "nvidia.com/gpu"
# Starts of its containers, which a learner that moves costs.
STARTS = 6
# Seconds between SIGTERM and SIGKILL, for which a node is kept at most.
GRACE = 20


@rule("an evaluator looks on")
def evaluators(overlay):
    pods = [pod for pod in overlay.our_pods() if pod.role == "evaluator"]
    for pod in pods:
        container = role_container(pod)
        if pod.kind != "Job" or len(pods) > 1:
            yield f"{pod}: expected one Job, which ends with the run"
        if "--follow" not in container["args"]:
            yield f"{pod}: measures one policy and not the run's versions"
        if pod.spec.get("restartPolicy") != "OnFailure" or pod.controller.get("backoffLimit", 6) < STARTS:
            yield f"{pod}: a learner that moves would cost it its models, or its Job"
        if pod.spec.get("terminationGracePeriodSeconds", 30) > GRACE:
            yield f"{pod}: is waited for longer than it drains"
        if container.get("lifecycle"):
            yield f"{pod}: has a lifecycle, and nobody calls it"
        renders = settings(overlay, container)["actor"]["image_generator"]
        if renders == "diffusion" and painted_on_gpu(overlay) and GPU not in limits(container):
            yield f"{pod}: paints as the run's actors do, and they have a GPU for it"


def limits(container):
    return container.get("resources", {}).get("limits", {})


def painted_on_gpu(overlay):
    return any(GPU in limits(role_container(pod)) for pod in overlay.our_pods() if pod.role == "actor")
