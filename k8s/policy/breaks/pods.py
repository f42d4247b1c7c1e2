"""Breaks of what a pod may be."""

from mutations import container, pod, put, simple

simple(
    "images are pinned", "local", "latest", lambda o: put(container(o, "actor"), "image", "adwright:latest")
)
simple(
    "images are pinned",
    "gpu",
    "no tag",
    lambda o: put(container(o, "learner"), "image", "host:5000/adwright"),
)
simple(
    "images are pinned",
    "local",
    "the store's latest",
    lambda o: put(container(o, "store"), "image", "motoserver/moto"),
)
simple(
    "requests and limits",
    "gpu",
    "no limit of CPU",
    lambda o: container(o, "actor")["resources"]["limits"].pop("cpu"),
)
simple(
    "requests and limits",
    "local",
    "no request of memory",
    lambda o: pod(o, "learner").spec["initContainers"][0]["resources"]["requests"].pop("memory"),
)
simple(
    "requests and limits",
    "gpu",
    "GPUs by limit alone",
    lambda o: container(o, "actor")["resources"]["requests"].pop("nvidia.com/gpu"),
)
simple(
    "not root", "gpu", "root allowed", lambda o: pod(o, "learner").spec["securityContext"].pop("runAsNonRoot")
)
simple("not root", "local", "user 0", lambda o: put(pod(o, "store").spec["securityContext"], "runAsUser", 0))
simple(
    "nothing to gain",
    "gpu",
    "a capability",
    lambda o: put(
        container(o, "actor")["securityContext"], "capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    ),
)
simple(
    "nothing to gain",
    "gpu",
    "escalation",
    lambda o: container(o, "actor")["securityContext"].pop("allowPrivilegeEscalation"),
)
simple(
    "nothing to gain",
    "gpu",
    "no seccomp",
    lambda o: pod(o, "reward-server").spec["securityContext"].pop("seccompProfile"),
)
simple(
    "nothing to gain", "gpu", "the host's network", lambda o: put(pod(o, "actor").spec, "hostNetwork", True)
)
simple(
    "read-only root",
    "local",
    "an init container that writes",
    lambda o: pod(o, "learner").spec["initContainers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
)
simple(
    "read-only root",
    "jobset",
    "an actor that writes",
    lambda o: put(container(o, "actor")["securityContext"], "readOnlyRootFilesystem", False),
)
simple("no token", "gpu", "a pod's token", lambda o: pod(o, "actor").spec.pop("automountServiceAccountToken"))
simple(
    "no token",
    "gpu",
    "an account's token",
    lambda o: o.of("ServiceAccount")[0].pop("automountServiceAccountToken"),
)
simple(
    "no token",
    "gpu",
    "rights",
    lambda o: o.objects.append(
        {"kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "x"}}
    ),
)
simple(
    "no volume that must survive",
    "gpu",
    "a claim",
    lambda o: put(
        pod(o, "learner").spec["volumes"], 0, {"name": "work", "persistentVolumeClaim": {"claimName": "x"}}
    ),
)
simple(
    "no volume that must survive",
    "gpu",
    "the node's disk",
    lambda o: pod(o, "learner").spec["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
)
simple(
    "no volume that must survive",
    "gpu",
    "no limit",
    lambda o: [v["emptyDir"].pop("sizeLimit") for v in pod(o, "actor").spec["volumes"] if "emptyDir" in v],
)
simple(
    "namespace holds to the restricted standard",
    "gpu",
    "any pod",
    lambda o: o.of("Namespace")[0]["metadata"].pop("labels"),
)
simple(
    "namespace holds to the restricted standard",
    "gpu",
    "elsewhere",
    lambda o: put(o.of("Job")[0]["metadata"], "namespace", "default"),
)
