"""What roles may do in a bucket (clouds.py reads it): what k8s/iam grants in each cloud is what the configuration makes them do there, and no more."""

from clouds import Right, granted
from rules import rule, settings

CLOUDS = ("S3", "Google", "Azure")
SCHEME = "s3://"
# Of what a run writes: all of it, and of what it reads.
WRITES = ("read", "write", "delete", "take back", "list")
READS = ("read", "list")


def ours(overlay):
    """Whether the rights are written for this run: those of a demo are its store's, and those of somebody's own are theirs."""
    return not overlay.is_local and not overlay.own


def places(overlay):
    """The bucket, the run's prefix in it, and the prefixes that models and catalogues are read from."""
    wanted = settings(overlay)
    bucket, _, run = wanted["store"]["url"].removeprefix(SCHEME).partition("/")

    def read(urls):
        inside = [str(url).removeprefix(f"{SCHEME}{bucket}/") for url in urls if str(url).startswith(f"{SCHEME}{bucket}/")]
        return {one.split("/")[0] + "/" for one in inside if not one.startswith(run + "/")}

    return bucket, run + "/", read(wanted["paths"].values()), read([wanted["catalogue"]["source"]])


def needed(overlay):
    """The rights that roles need, in every cloud."""
    _, run, models, catalogue = places(overlay)
    reads = {"learner": models | catalogue, "actor": models | catalogue, "evaluator": models | catalogue, "reward-server": models}
    for role, prefixes in reads.items():
        pairs = [(verb, prefix) for verb in READS for prefix in prefixes]
        pairs += [(verb, run) for verb in WRITES] if role in ("learner", "actor") else []
        yield from (Right(cloud, f"adwright:adwright-{role}", *pair) for cloud in CLOUDS for pair in pairs)


@rule("rights in a bucket are named one by one")
def named(overlay):
    if ours(overlay):
        yield from granted(overlay.rights, places(overlay)[0])[1]


@rule("rights in a bucket are those of the run")
def of_the_run(overlay):
    if not ours(overlay):
        return
    got, wanted = set(granted(overlay.rights, places(overlay)[0])[0]), set(needed(overlay))
    for one in sorted(got - wanted):
        yield f"k8s/iam: {one.cloud} lets {one.who} {one.verb} below {one.prefix!r}, and it need not"
    for one in sorted(wanted - got):
        yield f"k8s/iam: {one.cloud} does not let {one.who} {one.verb} below {one.prefix!r}"


@rule("whoever has rights in a bucket is a pod's account")
def accounts(overlay):
    if not ours(overlay):
        return
    has = {(one.cloud, one.who) for one in granted(overlay.rights, places(overlay)[0])[0]}
    space = overlay.of("Namespace")[0]["metadata"]["name"]
    for pod in overlay.our_pods():
        who = f"{space}:{pod.spec.get('serviceAccountName')}"
        for cloud in (cloud for cloud in CLOUDS if (cloud, who) not in has):
            yield f"{pod} runs as {who}, which k8s/iam grants nothing in {cloud}"
