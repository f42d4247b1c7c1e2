"""Whether what is named is there: labels, ports, services, secrets, files."""

import re
from urllib.parse import urlsplit

from rules import ANY, DOCS, MONITORING, PORTS, argument, role_container, rule, settings

LISTEN = {"learner": "learner_listen", "reward-server": "reward_listen", "actor": "actor_listen"}


def required_secrets():
    """Those that docs/operations.md tells people to make: the rows of its table of secrets."""
    rows = re.findall(r"^\| Secret `([a-z0-9-]+)` \|", (DOCS / "operations.md").read_text(), re.MULTILINE)
    return set(rows)


@rule("selectors match")
def selectors(overlay):
    for thing in overlay.of("Deployment", "StatefulSet", "DaemonSet"):
        own, name = thing["spec"]["selector"], thing["metadata"]["name"]
        found = [str(pod) for pod in overlay.selected(own)]
        if found != [f"{thing['kind']}/{name}"]:
            yield f"{thing['kind']}/{name} selects {found}"
    for service in overlay.of("Service"):
        if not overlay.selected({"matchLabels": service["spec"]["selector"]}):
            yield f"Service/{service['metadata']['name']} selects no pod"
    for policy in overlay.of("NetworkPolicy"):
        if not overlay.selected(policy["spec"]["podSelector"]):
            yield f"NetworkPolicy/{policy['metadata']['name']} selects no pod"
    for pod in overlay.pods():
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if str(pod) not in [str(one) for one in overlay.selected(spread["labelSelector"])]:
                yield f"{pod} is spread among others than its own"


@rule("services lead to ports")
def services(overlay):
    for service in overlay.of("Service"):
        name = service["metadata"]["name"]
        for pod in overlay.selected({"matchLabels": service["spec"]["selector"]}):
            for port in service["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                hit = [one for one in pod.ports() if target in (one.get("name"), one["containerPort"])]
                if not hit:
                    yield f"Service/{name}: {pod} has no port {target}"
                elif hit[0]["containerPort"] != port["port"]:
                    yield f"Service/{name}: {port['port']} leads to {hit[0]['containerPort']}; policies and callers know one number"
    server = overlay.named("Service", "adwright-reward-server")
    if server["spec"].get("clusterIP") != "None":
        yield "Service/adwright-reward-server: one address, so callers cannot balance"


def is_reached(address, port):
    """Whether other pods reach who listens there, and the kubelet."""
    return address in [f"{any_one}:{port}" for any_one in ANY]


@rule("listeners are the declared ports")
def listeners(overlay):
    for pod in overlay.our_pods():
        container = role_container(pod)
        declared = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
        wanted = settings(overlay, container)
        address = wanted["endpoints"][LISTEN[pod.role]] if pod.role in LISTEN else None
        if address and (not is_reached(address, PORTS[pod.role]) or declared.get("grpc") != PORTS[pod.role]):
            yield f"{pod}: listens on {address}, declares {declared}"
        if not address and set(declared) != {"monitoring"}:
            yield f"{pod}: declares {declared}, and is called by nobody but who watches it"
        metrics = argument(container, "--metrics") or wanted["telemetry"]["metrics_listen"]
        if not is_reached(metrics, MONITORING) or declared.get("monitoring") != MONITORING:
            yield f"{pod}: is watched at {metrics}, declares {declared}"


@rule("endpoints are services")
def endpoints(overlay):
    for pod in overlay.our_pods():
        wanted = settings(overlay, role_container(pod))
        for key in ("learner", "reward"):
            url = urlsplit(wanted["endpoints"][key])
            service = overlay.named("Service", url.hostname)
            if not service or url.port not in [port["port"] for port in service["spec"]["ports"]]:
                yield f"{pod}: endpoints.{key} = {url.geturl()} is no service here"
            if url.scheme != ("https" if wanted["tls"]["cert"] else "http"):
                yield f"{pod}: endpoints.{key} = {url.geturl()}, with tls.cert = {wanted['tls']['cert']!r}"


@rule("references exist")
def references(overlay):
    made = {thing["spec"]["secretName"] for thing in overlay.of("Certificate")}
    documented = required_secrets()
    named = [(str(pod), *reference) for pod in overlay.pods() for reference in pod.references()]
    for thing in overlay.of("TriggerAuthentication"):
        named += [
            ("TriggerAuthentication", "Secret", one["name"]) for one in thing["spec"]["secretTargetRef"]
        ]
    for thing in overlay.of("Issuer"):
        if "ca" in thing["spec"]:
            named.append(("Issuer", "Secret", thing["spec"]["ca"]["secretName"]))
    for where, kind, name in named:
        if not overlay.named(kind, name) and not (kind == "Secret" and name in made | documented):
            yield f"{where}: {kind} {name} is neither here nor documented as required"
    for pod in overlay.our_pods():
        if not overlay.named("ServiceAccount", pod.spec.get("serviceAccountName")):
            yield f"{pod}: no ServiceAccount {pod.spec.get('serviceAccountName')}"
    for pod in overlay.pods():
        priority = pod.spec.get("priorityClassName")
        if priority and not overlay.named("PriorityClass", priority):
            yield f"{pod}: no PriorityClass {priority}"


def controllers(overlay):
    """(kind, name) of what makes pods, in kubectl's words, a JobSet's Jobs among them."""
    for thing in overlay.of("Job", "Deployment", "JobSet"):
        yield thing["kind"].lower(), thing["metadata"]["name"]
    for thing in overlay.of("JobSet"):
        for job in thing["spec"]["replicatedJobs"]:
            for number in range(job["replicas"]):
                yield "job", f"{thing['metadata']['name']}-{job['name']}-{number}"


@rule("commands name what is there")
def commands(overlay):
    text = (DOCS / "operations.md").read_text()
    there, evaluated = set(controllers(overlay)), overlay.named("Job", "adwright-evaluator")
    for kind, name in sorted(set(re.findall(r"\b(job|deployment|jobset)[/ ](adwright[a-z0-9-]*)", text))):
        in_set = kind == "jobset" or re.search(r"-[0-9]+$", name) is not None
        here = in_set == bool(overlay.of("JobSet")) and (evaluated or not name.endswith("-evaluator"))
        if here and (kind, name) not in there:
            yield f"docs/operations.md speaks of {kind} {name}, which is not there"


def mounted(pod, container, path, writable):
    """Whether `path` is in a volume of the container: one that it can write to, or one that has the file."""
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        if not (path == mount["mountPath"] or path.startswith(mount["mountPath"] + "/")):
            continue
        volume = volumes.get(mount["name"], {})
        if writable:
            return "emptyDir" in volume and not mount.get("readOnly")
        inside = path[len(mount["mountPath"]) + 1 :]
        for source in volume.get("projected", {}).get("sources", []):
            items = source.get("configMap", source.get("secret", {})).get("items")
            # A ConfigMap as it is has files of any name, and no directories.
            whole = "configMap" in source and not items and "/" not in inside
            if whole or inside in [item["path"] for item in items or []]:
                return True
    return False


@rule("files are mounted")
def files(overlay):
    for pod in overlay.pods():
        names = {volume["name"] for volume in pod.spec.get("volumes", [])}
        used = {
            mount["name"] for container in pod.all_containers for mount in container.get("volumeMounts", [])
        }
        if names != used:
            yield f"{pod}: volumes {sorted(names)}, mounted {sorted(used)}"
    for pod in overlay.our_pods():
        for container in pod.all_containers:
            wanted, where = settings(overlay, container), f"{pod} container {container['name']}"
            read = [argument(container, "--config"), *(wanted["tls"][key] for key in ("cert", "key", "ca"))]
            written = [
                wanted["paths"]["cache"],
                argument(container, "--out"),
                argument(container, "--work-dir"),
            ]
            for path in filter(None, read):
                if not mounted(pod, container, path, writable=False):
                    yield f"{where}: {path} is in none of its volumes"
            for path in filter(None, written):
                if not mounted(pod, container, path, writable=True):
                    yield f"{where}: {path} cannot be written"


# Whatever reaches a cloud's bucket.
BUCKET = r"^(s3a?|gs|az|abfss?|adl)://"


@rule("state lies in the object store")
def state(overlay):
    for pod in overlay.our_pods():
        container = role_container(pod)
        wanted = settings(overlay, container)
        for key, url in (("store.url", wanted["store"]["url"]), ("paths.adapter", wanted["paths"]["adapter"])):
            if not re.match(BUCKET, url):
                yield f"{pod}: {key} = {url} goes with the pod: expected a bucket's, such as s3://bucket/runs/demo"
        source = wanted["catalogue"]["source"]
        given = source == "shopworld" or re.match(BUCKET, source) or mounted(pod, container, source, writable=False)
        if not given:
            yield f"{pod}: catalogue.source = {source} is in none of its volumes: expected a bucket's, such as s3://bucket/catalogue"


READ = {"learner": ("policy",), "reward-server": ("reward_model",), "evaluator": ("policy", "reward_model")}


@rule("models are there before they are read")
def models(overlay):
    for pod in overlay.our_pods():
        makers = [argument(container, "--out") for container in pod.spec.get("initContainers", [])]
        for key in READ.get(pod.role, ()):
            path = settings(overlay)["paths"][key]
            if not re.match(r"^(s3|gs|az|hf):", path) and path not in makers:
                yield f"{pod}: paths.{key} = {path} is made by nobody"
