"""Breaks of who may talk to whom."""

import copy

from mutations import config, container, pod, put, remove, simple

OPEN = "nothing is open that nobody needs"
simple(OPEN, "gpu", "no default", lambda o: remove(o, "NetworkPolicy", "default-deny"))
simple(
    OPEN,
    "gpu",
    "ingress only",
    lambda o: put(o.named("NetworkPolicy", "default-deny")["spec"], "policyTypes", ["Ingress"]),
)
simple(OPEN, "gpu", "relays are cut off", lambda o: o.named("NetworkPolicy", "actor")["spec"].pop("ingress"))
simple(
    OPEN,
    "gpu",
    "a reward-server that cannot ask whether its run is complete",
    lambda o: o.named("NetworkPolicy", "reward-server")["spec"].pop("egress"),
)
simple(
    OPEN,
    "gpu",
    "everybody to the learner",
    lambda o: o.named("NetworkPolicy", "learner")["spec"]["ingress"][0].pop("from"),
)
simple(
    OPEN,
    "gpu",
    "every port",
    lambda o: o.named("NetworkPolicy", "reward-server")["spec"]["ingress"][0].pop("ports"),
)
simple(
    OPEN,
    "gpu",
    "metrics for all namespaces",
    lambda o: put(
        o.named("NetworkPolicy", "prometheus")["spec"]["ingress"][0]["from"][0], "namespaceSelector", {}
    ),
)
simple(
    OPEN,
    "gpu",
    "private addresses",
    lambda o: o.named("NetworkPolicy", "names-and-stores")["spec"]["egress"][1]["to"][0]["ipBlock"].pop(
        "except"
    ),
)
simple(
    OPEN, "gpu", "no names", lambda o: o.named("NetworkPolicy", "names-and-stores")["spec"]["egress"].pop(0)
)
simple(
    OPEN,
    "gpu",
    "an address that one cloud has",
    lambda o: o.named("NetworkPolicy", "names-and-stores")["spec"]["egress"][1]["to"].append(
        {"ipBlock": {"cidr": "169.254.170.23/32"}}
    ),
)
simple(
    OPEN,
    "gpu",
    "one kind of private addresses",
    lambda o: o.named("NetworkPolicy", "names-and-stores")["spec"]["egress"][1]["to"][0]["ipBlock"]["except"].remove(
        "192.168.0.0/16"
    ),
)
simple(
    OPEN,
    "gpu",
    "a whole network at the stores' port",
    lambda o: o.named("NetworkPolicy", "names-and-stores")["spec"]["egress"][1]["to"].append(
        {"ipBlock": {"cidr": "10.0.0.0/8"}}
    ),
)
for more in ({"endPort": 65535}, {"protocol": "UDP"}):
    simple(
        OPEN,
        "gpu",
        f"more than the stores' port: {more}",
        lambda o, more=more: o.named("NetworkPolicy", "names-and-stores")["spec"]["egress"][1]["ports"][0].update(more),
    )
simple(OPEN, "elastic-keda", "KEDA is kept out", lambda o: remove(o, "NetworkPolicy", "keda"))
simple(
    OPEN,
    "elastic-keda",
    "KEDA by a label that its chart alone has",
    lambda o: put(
        o.named("NetworkPolicy", "keda")["spec"]["ingress"][0]["from"][0]["podSelector"],
        "matchLabels",
        {"app.kubernetes.io/name": "keda-operator"},
    ),
)
simple(OPEN, "local", "no way to the store", lambda o: remove(o, "NetworkPolicy", "to-the-store"))
simple(
    OPEN,
    "gpu",
    "spans for a collector that no policy leads to",
    lambda o: config(o, "[compute]", '[telemetry]\notlp = "http://collector.observability:4317"\n[compute]'),
)
simple(
    OPEN,
    "gpu",
    "a collector at a single address that is not let through",
    lambda o: config(o, "[compute]", '[telemetry]\notlp = "http://10.0.0.9:4317"\n[compute]'),
)


def painted_elsewhere(overlay, url):
    """With pictures of a service at a URL."""
    config(overlay, "[endpoints]", f'[endpoints]\nimages = "{url}"')
    config(overlay, 'image_generator = "diffusion"', 'image_generator = "remote"')


for url in ("https://images.painters:7402", "https://10.0.0.9", ""):
    simple(OPEN, "gpu", f"an image service at {url!r}", lambda o, url=url: painted_elsewhere(o, url))
simple(
    "plain text in local alone",
    "gpu",
    "in gpu",
    lambda o: config(o, "[endpoints]", "[endpoints]\ninsecure_plaintext_network = true"),
)


def beside_a_store(overlay):
    """With a store in the cluster, called as the one of `local`."""
    store = copy.deepcopy(overlay.named("Deployment", "adwright-reward-server"))
    store["metadata"]["name"] = "adwright-store"
    overlay.objects.append(store)
    config(overlay, "[endpoints]", "[endpoints]\ninsecure_plaintext_network = true")


simple("plain text in local alone", "gpu", "beside a store of its own", beside_a_store)
simple(
    "plain text in local alone",
    "jobset",
    "by --set",
    lambda o: container(o, "learner")["args"].extend(["--set", "endpoints.insecure_plaintext_network=true"]),
)
simple(
    "plain text in local alone",
    "gpu",
    "no authority",
    lambda o: config(o, 'ca = "/etc/adwright/tls/ca.crt"', 'ca = ""'),
)
simple(
    "certificates say who they are", "gpu", "another run", lambda o: config(o, 'id = "demo"', 'id = "spring"')
)
simple(
    "certificates say who they are",
    "gpu",
    "another role's",
    lambda o: put(
        pod(o, "actor").spec["volumes"][1]["projected"]["sources"][1]["secret"], "name", "adwright-admin-tls"
    ),
)
simple(
    "certificates say who they are",
    "gpu",
    "servers only",
    lambda o: put(o.named("Certificate", "adwright-actor")["spec"], "usages", ["server auth"]),
)
simple("certificates say who they are", "gpu", "nobody signs", lambda o: remove(o, "Issuer", "adwright"))
simple(
    "certificates say who they are",
    "elastic-keda",
    "another namespace",
    lambda o: put(
        o.of("ScaledObject")[0]["spec"]["triggers"][0]["metadata"],
        "scalerAddress",
        "adwright-learner.other:7400",
    ),
)
