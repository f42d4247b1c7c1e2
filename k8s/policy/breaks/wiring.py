"""Breaks of what is named and must be there."""

from mutations import config, container, pod, put, remove, simple

simple(
    "selectors match",
    "gpu",
    "a label misspelt",
    lambda o: put(pod(o, "actor").labels, "app.kubernetes.io/component", "actors"),
)
simple(
    "selectors match",
    "gpu",
    "a service of nobody",
    lambda o: put(
        o.named("Service", "adwright-learner")["spec"]["selector"], "app.kubernetes.io/component", "lerner"
    ),
)
simple(
    "selectors match",
    "gpu",
    "a policy of nobody",
    lambda o: put(o.named("NetworkPolicy", "actor")["spec"], "podSelector", {"matchLabels": {"a": "b"}}),
)
simple(
    "selectors match",
    "gpu",
    "spread among others",
    lambda o: put(
        pod(o, "actor").spec["topologySpreadConstraints"][0], "labelSelector", {"matchLabels": {"a": "b"}}
    ),
)
simple(
    "services lead to ports",
    "gpu",
    "a port of another name",
    lambda o: put(o.named("Service", "adwright-learner")["spec"]["ports"][0], "targetPort", "http"),
)
simple(
    "services lead to ports",
    "gpu",
    "another number",
    lambda o: put(o.named("Service", "adwright-learner")["spec"]["ports"][0], "port", 80),
)
simple(
    "services lead to ports",
    "gpu",
    "one address for all reward-servers",
    lambda o: o.named("Service", "adwright-reward-server")["spec"].pop("clusterIP"),
)
simple(
    "listeners are the declared ports",
    "gpu",
    "loopback",
    lambda o: config(o, "0.0.0.0:7400", "127.0.0.1:7400"),
)
simple(
    "listeners are the declared ports",
    "gpu",
    "another port",
    lambda o: put(container(o, "actor")["ports"][0], "containerPort", 7403),
)
simple(
    "listeners are the declared ports",
    "local",
    "nobody watches",
    lambda o: container(o, "actor")["args"].extend(["--set", "telemetry.metrics_listen="]),
)
simple(
    "state lies in the object store",
    "local",
    "a directory of the pod",
    lambda o: config(o, "s3://adwright/runs/demo/adapter", "/var/lib/adwright/adapter"),
)
simple(
    "endpoints are services",
    "gpu",
    "no such service",
    lambda o: config(o, "https://adwright-learner:7400", "https://learner:7400"),
)
simple(
    "endpoints are services",
    "gpu",
    "plain to TLS",
    lambda o: config(o, "https://adwright-reward", "http://adwright-reward"),
)
simple(
    "references exist",
    "gpu",
    "a secret of nobody",
    lambda o: put(container(o, "actor")["envFrom"][0]["secretRef"], "name", "adwright-stores"),
)
simple(
    "references exist",
    "gpu",
    "a map of another digest",
    lambda o: put(o.configured()["metadata"], "name", "adwright-config"),
)
simple(
    "references exist",
    "jobset",
    "a JobSet's map of another digest",
    lambda o: put(
        pod(o, "actor").spec["volumes"][1]["projected"]["sources"][0]["configMap"], "name", "adwright-config"
    ),
)
simple(
    "references exist",
    "gpu",
    "a certificate that is not made",
    lambda o: remove(o, "Certificate", "adwright-actor"),
)
simple(
    "references exist",
    "gpu",
    "a priority that is not there",
    lambda o: remove(o, "PriorityClass", "adwright-actor"),
)
simple(
    "references exist",
    "gpu",
    "an account that is not there",
    lambda o: remove(o, "ServiceAccount", "adwright-actor"),
)
simple(
    "references exist",
    "elastic-keda",
    "the scaler's certificate",
    lambda o: remove(o, "Certificate", "adwright-scaler"),
)
simple(
    "files are mounted",
    "gpu",
    "the key is somewhere else",
    lambda o: config(o, "/etc/adwright/tls/tls.key", "/etc/tls/tls.key"),
)
simple(
    "files are mounted",
    "gpu",
    "the cache is in the image",
    lambda o: config(o, "/var/lib/adwright/cache", "/root/.cache"),
)
simple(
    "files are mounted",
    "local",
    "a volume that nobody mounts",
    lambda o: pod(o, "actor").spec["volumes"].append({"name": "spare", "emptyDir": {"sizeLimit": "1Gi"}}),
)
simple(
    "models are there before they are read",
    "local",
    "no pre-training",
    lambda o: pod(o, "learner").spec.pop("initContainers"),
)
simple(
    "models are there before they are read",
    "local",
    "it goes elsewhere",
    lambda o: config(o, "/var/lib/adwright/reward-model", "/var/lib/adwright/reward"),
)
NAMED = "commands name what is there"
simple(NAMED, "gpu", "another learner", lambda o: put(o.named("Job", "adwright-learner")["metadata"], "name", "learner"))
simple(NAMED, "local", "another actor", lambda o: put(o.of("Deployment")[0]["metadata"], "name", "actor"))
simple(NAMED, "jobset", "another set", lambda o: put(o.of("JobSet")[0]["metadata"], "name", "adwright-run"))
simple(
    NAMED, "jobset", "another Job of it", lambda o: put(o.of("JobSet")[0]["spec"]["replicatedJobs"][2], "name", "actors")
)
