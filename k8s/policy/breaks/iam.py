"""Breaks of the rights in a bucket."""

import json

from clouds import BLOBS
from mutations import config, pod, put, rights, simple

NAMED = "rights in a bucket are named one by one"
RUN = "rights in a bucket are those of the run"
ACCOUNTS = "whoever has rights in a bucket is a pod's account"
AGENT = "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/PROJECT.svc.id.goog/subject/ns/adwright/sa/"


def without_last(overlay, name):
    """A policy without its last statement."""
    policy = json.loads(overlay.rights[name])
    policy["Statement"].pop()
    overlay.rights[name] = json.dumps(policy)


def change(rule, what, name, old, new):
    simple(rule, "gpu", what, lambda o: rights(o, name, old, new))


change(NAMED, "every action", "s3-run.json", '"s3:GetObject"', '"s3:*"')
change(NAMED, "a family of actions", "s3-run.json", '"s3:GetObject"', '"s3:Get*"')
change(NAMED, "the bucket deleted", "s3-run.json", '"s3:DeleteObject"', '"s3:DeleteBucket"')
change(NAMED, "every resource", "s3-run.json", '"arn:aws:s3:::adwright/runs/demo/*"', '"*"')
change(NAMED, "every run of that name", "s3-run.json", "adwright/runs/demo/*", "adwright/runs/*/demo/*")
change(NAMED, "runs whose names begin so", "s3-run.json", '"runs/demo/*"', '"runs/demo*"')
change(NAMED, "listings of any bucket", "s3-reader.json", '"arn:aws:s3:::adwright",', '"arn:aws:s3:::*",')
change(NAMED, "all but what is named", "s3-run.json", '"Sid": "TheRun",', '"NotResource": "x",')
change(
    NAMED,
    "everything taken away",
    "s3-run.json",
    ',\n      "Condition": {"Bool": {"aws:SecureTransport": "false"}}',
    "",
)
simple(NAMED, "gpu", "plain text for whoever scores", lambda o: without_last(o, "s3-reader.json"))
change(NAMED, "objects on a condition", "s3-run.json", '"Sid": "TheRun",', '"Condition": {"Bool": {"aws:ViaAWSService": "true"}},')
change(NAMED, "listings on one more condition", "s3-reader.json", '{"StringLike":', '{"Bool": {"aws:ViaAWSService": "true"}, "StringLike":')
change(NAMED, "a role that is refused", "s3-run-trust.json", '"Allow"', '"Deny"')
change(NAMED, "no JSON", "s3-reader.json", "{", "")
change(NAMED, "any pod of the namespace", "s3-run-trust.json", "adwright:adwright-actor", "adwright:*")
change(NAMED, "patterns of pods", "s3-run-trust.json", "StringEquals", "StringLike")
change(NAMED, "any audience", "s3-run-trust.json", ":aud", ":azp")
change(NAMED, "whoever comes", "s3-reader-trust.json", '"Principal": {', '"Principal": "*", "Nobody": {')
simple(NAMED, "gpu", "a role for nobody", lambda o: o.rights.pop("s3-evaluator-trust.json"))
change(NAMED, "administration of objects", "gcs.yaml", "storage.objectUser", "storage.admin")
change(NAMED, "a version without conditions", "gcs.yaml", "version: 3", "version: 1")
change(NAMED, "the whole bucket", "gcs.yaml", "condition:", "unconditional:")
change(NAMED, "everybody with an account", "gcs.yaml", f"{AGENT}adwright-learner", "allAuthenticatedUsers")
change(NAMED, "an expression that always holds", "gcs.yaml", "|| api.getAttribute", "|| true || api.getAttribute")
change(NAMED, "another bucket", "gcs.yaml", "buckets/adwright/objects/runs", "buckets/ads/objects/runs")
change(NAMED, "containers deleted", "azure-run-role.json", '"Actions": []', f'"Actions": ["{BLOBS[:-6]}/delete"]')
change(NAMED, "containers listed", "azure-reader-role.json", '"Actions": []', f'"Actions": ["{BLOBS[:-6]}/read"]')
change(NAMED, "blobs moved", "azure-run-role.json", f"{BLOBS}/add/action", f"{BLOBS}/move/action")
change(NAMED, "every data action", "azure-run-role.json", f"{BLOBS}/add/action", f"{BLOBS}/*")
change(NAMED, "a built-in role", "azure.json", '"Adwright run"', '"Storage Blob Data Contributor"')
change(NAMED, "a whole account", "azure.json", "/blobServices/default/containers/adwright", "")
change(NAMED, "an action without a condition", "azure.json", f" AND !(ActionMatches{{'{BLOBS}/delete'}})", "")
change(NAMED, "either path or prefix", "azure.json", ")) AND ((", ")) OR ((")
change(NAMED, "listings without a condition", "azure.json", "StringLike 'runs/demo/*'))\"", "StringLike '*'))\"")
change(RUN, "another run written", "s3-run.json", "adwright/runs/demo/*", "adwright/runs/*")
change(RUN, "another run listed", "s3-run.json", '"runs/demo/*"', '"runs/*"')
change(RUN, "parts that stay", "s3-run.json", ',\n        "s3:AbortMultipartUpload"', "")
change(RUN, "the run for whoever scores", "s3-run-trust.json", "adwright:adwright-actor", "adwright:adwright-reward-server")
change(RUN, "the catalogue for whoever scores", "s3-reader.json", '"models/*"', '"models/*", "catalogue/*"')
change(RUN, "models in another place", "gcs.yaml", "objects/models/", "objects/model/")
change(RUN, "the run for whoever looks on", "gcs.yaml", "adwright-actor\n", "adwright-evaluator\n")
change(RUN, "models written", "gcs.yaml", "storage.objectViewer", "storage.objectUser")
change(RUN, "all runs", "azure.json", ":path] StringLike 'runs/demo/*'", ":path] StringLike 'runs/*'")
change(RUN, "nothing deleted", "azure-run-role.json", f',\n    "{BLOBS}/delete"', "")
simple(RUN, "gpu", "a run that is elsewhere", lambda o: config(o, "s3://adwright/runs/demo", "s3://adwright/runs/spring"))
simple(RUN, "elastic", "a catalogue that is elsewhere", lambda o: config(o, "s3://adwright/catalogue", "s3://adwright/shop"))
simple(ACCOUNTS, "gpu", "the namespace's own account", lambda o: put(pod(o, "actor").spec, "serviceAccountName", "default"))
simple(
    ACCOUNTS,
    "elastic-keda+evaluator",
    "an account that nobody knows",
    lambda o: put(pod(o, "evaluator").spec, "serviceAccountName", "adwright-observer"),
)
change(ACCOUNTS, "a service account of another name", "gcs.yaml", "adwright-reward-server", "adwright-scorer")
