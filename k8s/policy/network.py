"""Who may talk to whom: policies against the table below and the services that the configuration names, and certificates against the names that
roles prove."""

import ipaddress
from urllib.parse import urlsplit

from rendered import matches
from rules import MONITORING, PORTS, rule, settings

# The port at which names are asked for.
NAMES = 53
# (from, to, port); roles, or what a peer outside is called here.
ALWAYS = {
    ("actor", "learner", 7400),
    ("reward-server", "learner", 7400),
    ("actor", "reward-server", 7401),
    ("actor", "actor", 7402),
}
# Whose certificate a role shows that has none of its own name.
SHOWN = {"evaluator": "observer"}
NAMESPACE = "kubernetes.io/metadata.name"
PEERS = {
    (NAMESPACE, "kube-system"): "names",
    (NAMESPACE, "monitoring"): "prometheus",
    (NAMESPACE, "keda"): "keda",
}
# By which label these are known among a namespace's pods, however they were installed.
PODS = {"keda": {"app": "keda-operator"}}
# How a peer is called that is a single address: where credentials or names come from, a store in a network of one's own. Several of them are a
# network, which nobody is let out to.
ONE = "address"
EVERYWHERE = ("0.0.0.0/0", "::/0")
PRIVATE = {
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
}


def roles_of(overlay):
    return tuple(PORTS) + (("evaluator",) if overlay.named("Job", "adwright-evaluator") else ())


def expected(overlay):
    flows = set(ALWAYS)
    roles = roles_of(overlay)
    if "evaluator" in roles:
        flows.add(("evaluator", "learner", PORTS["learner"]))
    flows |= {(role, "names", NAMES) for role in roles} | {(role, "anywhere", 443) for role in roles}
    if overlay.of("PodMonitor"):
        flows |= {("prometheus", role, MONITORING) for role in roles}
    if overlay.of("ScaledObject"):
        flows.add(("keda", "learner", 7400))
    if overlay.named("Service", "adwright-store"):
        flows |= {(role, "store", 9000) for role in roles}
    return flows


def services(overlay):
    """(role, URL) of services that the configuration names and somebody else runs, but for those within the pod."""
    wanted = settings(overlay)
    collector, painter = wanted["telemetry"]["otlp"], wanted["endpoints"]["images"]
    asked = {(role, collector) for role in roles_of(overlay) if collector}
    if wanted["actor"]["image_generator"] == "remote":
        asked |= {(role, painter) for role in roles_of(overlay) if role in ("actor", "evaluator")}
    return {(role, url) for role, url in asked if not is_within(urlsplit(url).hostname)}


def port_of(url):
    """Where a service is called, or None for what is no URL of one."""
    parts = urlsplit(url)
    return (parts.port or {"http": 80, "https": 443}.get(parts.scheme)) if parts.hostname else None


def is_within(host):
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_private(host):
    """Whether an address is one of those to which a way to anywhere does not lead."""
    networks = map(ipaddress.ip_network, PRIVATE)
    return any(ipaddress.ip_address(host) in network for network in networks)


def is_address(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def leads(peer, host):
    """Whether a peer of a policy may be this host. Which addresses a name has is known where the overlay was written."""
    if peer.startswith(ONE):
        return not is_address(host) or peer.split()[1].split("/")[0] == host
    if is_address(host):
        return peer == "anywhere" and not is_private(host)
    name, *beyond = host.split(".")
    # A Service is called by its name within its namespace, and by NAME.NAMESPACE from elsewhere.
    return peer in (("anywhere", namespaces({NAMESPACE: beyond[0]})) if beyond else ("nobody", name))


def namespaces(labels):
    """What a peer in namespaces with these labels is called."""
    return PEERS.get(next(iter(labels.items()), None), f"namespaces {labels}")


def peers(overlay, peer):
    """What a peer of a rule is called."""
    if "ipBlock" in peer:
        cidr = peer["ipBlock"]["cidr"]
        if cidr in EVERYWHERE:
            return {"anywhere"}
        return {f"{ONE if ipaddress.ip_network(cidr, strict=False).num_addresses == 1 else 'network'} {cidr}"}
    if "namespaceSelector" in peer:
        name, pods = namespaces(peer["namespaceSelector"].get("matchLabels") or {}), peer.get("podSelector")
        return {name if pods is None or pods == {"matchLabels": PODS.get(name)} else f"{name}, pods {pods}"}
    return {pod.role for pod in overlay.pods() if matches(peer["podSelector"], pod.labels)} or {"nobody"}


def called(port):
    """How a port of a rule is called: its number, where it is one of TCP. Names are asked for by both protocols."""
    number, last, protocol = port.get("port"), port.get("endPort"), port.get("protocol", "TCP")
    if last or number is None:
        return f"{protocol} {number} to {last}"
    return number if protocol == "TCP" or number == NAMES else f"{protocol} {number}"


def allowed(overlay, direction):
    """(from, to, port) that the policies of one direction let through."""
    found = set()
    for policy in overlay.of("NetworkPolicy"):
        spec = policy["spec"]
        own = {pod.role for pod in overlay.selected(spec["podSelector"])}
        for one in spec.get(direction, []):
            others = one.get("from" if direction == "ingress" else "to")
            names = set().union(*(peers(overlay, peer) for peer in others)) if others else {"everybody"}
            ports = {called(port) for port in one.get("ports", [])} or {"every port"}
            for mine in own:
                for other in names:
                    pair = (other, mine) if direction == "ingress" else (mine, other)
                    found |= {(*pair, port) for port in ports}
    return found


@rule("nothing is open that nobody needs")
def policies(overlay):
    deny = [one["spec"] for one in overlay.of("NetworkPolicy") if not one["spec"]["podSelector"]]
    if deny != [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]:
        yield "no policy denies everything to every pod"
    for policy in overlay.of("NetworkPolicy"):
        spec = policy["spec"]
        missing = {kind for kind in ("Ingress", "Egress") if kind.lower() in spec} - set(spec["policyTypes"])
        if missing:
            yield f"NetworkPolicy/{policy['metadata']['name']}: {missing} without effect"
        for one in spec.get("egress", []):
            for block in (peer["ipBlock"] for peer in one.get("to", []) if "ipBlock" in peer):
                if block["cidr"] not in EVERYWHERE:
                    continue
                inner = {one for one in PRIVATE if (":" in one) == (":" in block["cidr"])}
                for one in sorted(inner - set(block.get("except", []))):
                    yield f"NetworkPolicy/{policy['metadata']['name']}: lets out to private addresses, {one}"
    inside = {pod.role for pod in overlay.pods()}
    wanted = expected(overlay)
    got_in, got_out = allowed(overlay, "ingress"), allowed(overlay, "egress")
    for role, url in sorted(services(overlay)):
        host, port = urlsplit(url).hostname, port_of(url)
        if port is None:
            yield f"{role} is to call {url!r}: expected a URL, such as http://collector.observability:4317"
            continue
        ways = {flow for flow in got_out if (flow[0], flow[2]) == (role, port) and leads(flow[1], host)}
        wanted |= ways
        if not ways:
            yield f"{role} is not let out of a pod to {url}"
    wanted_in = {flow for flow in wanted if flow[1] in inside}
    wanted_out = {flow for flow in wanted if flow[0] in inside}
    for word, got, right in (("into", got_in, wanted_in), ("out of", got_out, wanted_out)):
        for flow in sorted(got - right, key=str):
            # Which of them there are is known where the overlay was written.
            if overlay.own and flow[1].startswith(ONE):
                continue
            yield f"{flow} is let {word} a pod and need not be"
        for flow in sorted(right - got, key=str):
            yield f"{flow} is not let {word} a pod"


@rule("plain text in local alone")
def plain_text(overlay):
    wanted = settings(overlay)
    insecure = wanted["endpoints"]["insecure_plaintext_network"]
    for pod in overlay.our_pods():
        given = [argument for container in pod.all_containers for argument in container.get("args", [])]
        insecure = insecure or any("insecure_plaintext_network" in argument for argument in given)
    if insecure != overlay.is_local:
        yield f"insecure_plaintext_network = {insecure}"
    if not overlay.is_local and not all(wanted["tls"][key] for key in ("cert", "key", "ca")):
        yield f"[tls] is {wanted['tls']}"


@rule("certificates say who they are")
def certificates(overlay):
    if overlay.is_local:
        return
    run = settings(overlay)["run"]["id"]
    found = {one["metadata"]["name"]: one["spec"] for one in overlay.of("Certificate")}
    issuers = {one["metadata"]["name"] for one in overlay.of("Issuer")}
    for spec in found.values():
        if spec["issuerRef"]["name"] not in issuers:
            yield f"nobody signs {spec['secretName']}"
    for role in ("learner", "actor", "reward-server", "observer", "scaler", "admin"):
        spec = found.get(f"adwright-{role}", {})
        if f"{role}.{run}" != spec.get("dnsNames", [None])[0]:
            yield f"the certificate of {role} names {spec.get('dnsNames')}, and the run is {run}"
        if not {"server auth", "client auth"} <= set(spec.get("usages", [])) or spec.get("isCA"):
            yield f"the certificate of {role} cannot be used both ways, or signs others"
        others = {one.split(".")[0] for one in spec.get("dnsNames", [])[1:]}
        if not others <= {f"adwright-{role}"} or (
            others and not overlay.named("Service", f"adwright-{role}")
        ):
            yield f"the certificate of {role} names other hosts: {spec.get('dnsNames')}"
    for pod in overlay.our_pods():
        sources = [
            s for v in pod.spec["volumes"] for s in v.get("projected", {}).get("sources", []) if "secret" in s
        ]
        if [source["secret"]["name"] for source in sources] != [f"adwright-{SHOWN.get(pod.role, pod.role)}-tls"]:
            yield f"{pod} shows the certificates {sources}"
    for trigger in (one for thing in overlay.of("ScaledObject") for one in thing["spec"]["triggers"]):
        host, meta = trigger["metadata"]["scalerAddress"].split(":")[0], trigger["metadata"]
        space = overlay.of("Namespace")[0]["metadata"]["name"]
        if (
            host not in found["adwright-learner"]["dnsNames"]
            or not host.endswith(f".{space}")
            or meta.get("enableTLS") != "true"
        ):
            yield f"KEDA asks {meta}, and the learner's certificate names {found['adwright-learner']['dnsNames']}"
