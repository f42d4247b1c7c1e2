"""What a pod may and may not be: who it runs as, what it can write to, what it takes of a node."""

from rules import rule

VOLUMES = ("projected", "configMap", "secret", "emptyDir")


def every_container(overlay):
    for pod in overlay.pods():
        for container in pod.all_containers:
            yield pod, container, f"{pod} container {container['name']}"


@rule("images are pinned")
def pinned(overlay):
    for _, container, where in every_container(overlay):
        image = container["image"]
        tag = image.rsplit("/", 1)[-1].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{where}: {image} names no version"


@rule("requests and limits")
def resources(overlay):
    for _, container, where in every_container(overlay):
        given = container.get("resources", {})
        for kind in ("requests", "limits"):
            for what in ("cpu", "memory"):
                if what not in given.get(kind, {}):
                    yield f"{where}: no {kind} of {what}"
        if given.get("requests", {}).get("nvidia.com/gpu") != given.get("limits", {}).get("nvidia.com/gpu"):
            yield f"{where}: GPUs requested and allowed differ"


@rule("not root")
def not_root(overlay):
    for pod, container, where in every_container(overlay):
        context = {**pod.spec.get("securityContext", {}), **container.get("securityContext", {})}
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{where}: may run as root"


@rule("nothing to gain")
def locked(overlay):
    for pod, container, where in every_container(overlay):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{where}: may gain privileges"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{where}: capabilities are not dropped: {context.get('capabilities')}"
        seccomp = context.get("seccompProfile") or pod.spec.get("securityContext", {}).get(
            "seccompProfile", {}
        )
        if seccomp.get("type") != "RuntimeDefault":
            yield f"{where}: system calls are not filtered"
    for pod in overlay.pods():
        for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            if pod.spec.get(key):
                yield f"{pod}: {key}"


@rule("read-only root")
def read_only(overlay):
    for _, container, where in every_container(overlay):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{where}: can write to its image"


@rule("no token")
def no_token(overlay):
    for pod in overlay.pods():
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod}: gets a token of the cluster's API"
        for volume in pod.spec.get("volumes", []):
            if any(
                "serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", [])
            ):
                yield f"{pod}: volume {volume['name']} holds a token"
    for account in overlay.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount/{account['metadata']['name']}: gives tokens"
    for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
        if overlay.of(kind):
            yield f"{kind}: no pod needs rights of the cluster's API"


@rule("no volume that must survive")
def volumes(overlay):
    for kind in ("PersistentVolumeClaim", "PersistentVolume", "StatefulSet"):
        if overlay.of(kind):
            yield f"{kind}: state lies in the object store"
    for pod in overlay.pods():
        for volume in pod.spec.get("volumes", []):
            kinds = [key for key in volume if key != "name"]
            if len(kinds) != 1 or kinds[0] not in VOLUMES:
                yield f"{pod}: volume {volume['name']} is {kinds or 'an emptyDir without a limit'}"
            elif kinds == ["emptyDir"] and not (volume["emptyDir"] or {}).get("sizeLimit"):
                yield f"{pod}: volume {volume['name']} may fill the node"


@rule("namespace holds to the restricted standard")
def restricted(overlay):
    spaces = overlay.of("Namespace")
    if len(spaces) != 1:
        yield f"{len(spaces)} namespaces"
    for space in spaces:
        if space["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{space['metadata']['name']}: pods of any kind are let in"
        for thing in overlay.objects:
            elsewhere = (
                thing["metadata"].get("namespace", space["metadata"]["name"]) != space["metadata"]["name"]
            )
            if elsewhere:
                yield f"{thing['kind']}/{thing['metadata']['name']}: in another namespace"
