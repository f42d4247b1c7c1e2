"""What the files of k8s/iam grant, each cloud's in its own words, as rights that can be compared: who may do what below which prefix.

Nothing is judged here but words that nobody needs: those are `odd`, and what they might grant is not told."""

import json
import re
from collections import namedtuple

import yaml

from rendered import UniqueKeys

# `who` is a Kubernetes service account, as <namespace>:<name>.
Right = namedtuple("Right", "cloud who verb prefix")
ARN = "arn:aws:s3:::"
S3 = {
    "s3:GetObject": "read",
    "s3:PutObject": "write",
    "s3:DeleteObject": "delete",
    "s3:AbortMultipartUpload": "take back",
}
GCS = {
    "roles/storage.objectUser": ("read", "write", "delete", "take back"),
    "roles/storage.objectViewer": ("read",),
}
OBJECT = "resource.name.startsWith('projects/_/buckets/{bucket}/objects/"
LISTED = "api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('"
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
AZURE = {
    f"{BLOBS}/read": ("read",),
    f"{BLOBS}/write": ("write",),
    # Of one that is not there yet; parts of a large one go with it.
    f"{BLOBS}/add/action": ("take back",),
    f"{BLOBS}/delete": ("delete",),
}
CONTAINER = "/providers/Microsoft.Storage/storageAccounts/ACCOUNT/blobServices/default/containers/"
ACCOUNT = "system:serviceaccount:"


class Odd(Exception):
    """Something that a right of a run does not say."""


def many(value):
    return value if isinstance(value, list) else [value]


def below(pattern):
    """The prefix that a pattern stands for: everything below it."""
    prefix = pattern.removesuffix("*")
    if "*" in prefix or "?" in prefix or not pattern.endswith("/*"):
        raise Odd(f"{pattern!r} is no prefix that ends in /*")
    return prefix


def granted(files, bucket):
    """(rights, what is odd) of all files by their names."""
    rights, odd = [], []
    for name, read in (*(("s3-" + role, s3) for role in s3_roles(files)), ("gcs.yaml", gcs), ("azure.json", azure)):
        try:
            for one in read(files, name, bucket):
                (rights if isinstance(one, Right) else odd).append(one)
        except Odd as error:
            odd.append(f"{name}: {error}")
        except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
            odd.append(f"{name}: cannot be read: {type(error).__name__} {error}")
    return rights, odd


def s3_roles(files):
    """Roles that have a policy or a trust."""
    names = (re.fullmatch(r"s3-(.*?)(-trust)?\.json", name) for name in files)
    return sorted({name[1] for name in names if name})


def no_plain_text(bucket):
    """The only statement that takes something away, and each policy has it."""
    return {
        "Sid": "NothingInPlainText",
        "Effect": "Deny",
        "Action": "s3:*",
        "Resource": [f"{ARN}{bucket}", f"{ARN}{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def s3(files, name, bucket):
    whose = trusted(json.loads(files[f"{name}-trust.json"]))
    statements, denied = json.loads(files[f"{name}.json"])["Statement"], no_plain_text(bucket)
    if denied not in statements:
        yield f"{name}: plain text is not refused, expected {denied}"
    for statement in (one for one in statements if one != denied):
        if statement["Effect"] != "Allow":
            yield f"{name}: a statement has the effect {statement['Effect']}, expected Allow: {statement}"
            continue
        if extra := set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}:
            yield f"{name}: a statement has {sorted(extra)}"
        for action in many(statement["Action"]):
            if action == "s3:ListBucket" and statement["Resource"] == ARN + bucket:
                verb, patterns = "list", listings(statement["Condition"])
            elif action in S3 and "Condition" in statement:
                yield f"{name}: grants {action} on {statement['Resource']} by {statement['Condition']}, expected no condition"
                continue
            elif action in S3:
                verb, patterns = S3[action], [one.removeprefix(f"{ARN}{bucket}/") for one in many(statement["Resource"])]
            else:
                yield f"{name}: grants {action} on {statement['Resource']}, which no role needs"
                continue
            yield from (Right("S3", who, verb, below(pattern)) for pattern in patterns for who in whose)


def listings(given):
    """The prefixes that a condition lets be listed, which says nothing else."""
    patterns = given["StringLike"]["s3:prefix"]
    if given != {"StringLike": {"s3:prefix": patterns}}:
        raise Odd(f"lists by {given}, expected StringLike s3:prefix alone")
    return many(patterns)


def trusted(policy):
    """The service accounts that a role lets in."""
    found = []
    for statement in policy["Statement"]:
        if statement["Effect"] != "Allow":
            raise Odd(f"has the effect {statement['Effect']} in its trust, expected Allow")
        issuer = statement["Principal"]["Federated"].partition(":oidc-provider/")[2]
        wanted = {f"{issuer}:aud", f"{issuer}:sub"}
        if not issuer or statement["Action"] != "sts:AssumeRoleWithWebIdentity" or set(statement["Condition"]) != {"StringEquals"}:
            raise Odd(f"trusts {statement['Principal']} for {statement['Action']} by {sorted(statement['Condition'])}")
        equal = statement["Condition"]["StringEquals"]
        if set(equal) != wanted or equal[f"{issuer}:aud"] != "sts.amazonaws.com":
            raise Odd(f"trusts by {sorted(equal)}, expected {sorted(wanted)} and the audience sts.amazonaws.com")
        found += map(account, many(equal[f"{issuer}:sub"]))
    return found


def account(subject):
    if not re.fullmatch(rf"{ACCOUNT}[a-z0-9-]+:[a-z0-9-]+", subject):
        raise Odd(f"{subject!r} is no service account")
    return subject.removeprefix(ACCOUNT)


def gcs(files, name, bucket):
    policy = yaml.load(files[name], UniqueKeys)
    if policy["version"] != 3:
        yield f"{name}: version {policy['version']} drops conditions, expected 3"
    for binding in policy["bindings"]:
        if binding["role"] not in GCS:
            yield f"{name}: grants {binding['role']}, which no role needs"
            continue
        if "condition" not in binding:
            yield f"{name}: {binding['role']} holds for the whole bucket: expected a condition"
            continue
        for member in binding["members"]:
            [subject] = re.findall(r"^principal://.*/subject/ns/([^/*]+/sa/[^/*]+)$", member) or [None]
            if subject is None:
                yield f"{name}: {member} is no service account"
                continue
            for term in binding["condition"]["expression"].split("||"):
                verbs, prefix = gcs_term(term.strip(), binding["role"], bucket)
                yield from (Right("Google", subject.replace("/sa/", ":"), verb, prefix) for verb in verbs)


def gcs_term(term, role, bucket):
    for begin, verbs in ((OBJECT.format(bucket=bucket), GCS[role]), (LISTED, ("list",))):
        if term.startswith(begin) and re.fullmatch(r"[^'*]+/'\)", term.removeprefix(begin)):
            return verbs, term.removeprefix(begin).removesuffix("')")
    raise Odd(f"{role}: the condition {term!r} names no prefix of the bucket {bucket}")


def azure(files, name, bucket):
    roles = [json.loads(text) for file, text in files.items() if re.fullmatch(r"azure-.*-role\.json", file)]
    roles = {role["Name"]: role for role in roles}
    for role in roles.values():
        controls = [*role["Actions"], *(one for one in role["DataActions"] if one not in AZURE)]
        yield from (f"{name}: the role {role['Name']} grants {one}, which no role needs" for one in controls)
    for one in json.loads(files[name]):
        if one["role"] not in roles:
            # Built-in ones let containers be listed at least, and that has no condition.
            yield f"{name}: assigns {one['role']}, expected one of {sorted(roles)}"
            continue
        if not one["scope"].endswith(CONTAINER + bucket) or one["conditionVersion"] != "2.0":
            yield f"{name}: {one['role']} holds for {one['scope']}, condition of version {one['conditionVersion']}"
        actions = roles[one["role"]]["DataActions"]
        paths, listed = (re.findall(rf"{BLOBS}:{word}\] StringLike '([^']*)'", one["condition"]) for word in ("path", "prefix"))
        if one["condition"] != condition(actions, paths, listed):
            yield f"{name}: the condition of {one['role']} does not hold each of {actions} to a prefix"
        for who in map(account, one["subjects"]):
            for action in (action for action in actions if action in AZURE):
                yield from (Right("Azure", who, verb, below(path)) for verb in AZURE[action] for path in paths)
            yield from (Right("Azure", who, "list", below(path)) for path in listed)


def condition(actions, paths, listed):
    """What holds each action to a path. One that is not named in a condition is granted anywhere."""
    read = f"{BLOBS}/read"
    named = (f"'{one}'}}" + " AND NOT SubOperationMatches{'Blob.List'}" * (one == read) for one in actions)
    within = " AND ".join(f"!(ActionMatches{{{one})" for one in named)
    path = " OR ".join(f"@Resource[{BLOBS}:path] StringLike '{one}'" for one in paths)
    prefix = " OR ".join(f"@Request[{BLOBS}:prefix] StringLike '{one}'" for one in listed)
    lists = f"!(ActionMatches{{'{read}'}} AND SubOperationMatches{{'Blob.List'}})"
    return f"(({within}) OR ({path})) AND (({lists}) OR ({prefix}))"
