"""Objects against CustomResourceDefinitions as a cluster has them: files of a directory, read for one check and never kept here.

What an API server with them would refuse is told, and unknown fields, which it would drop with a warning. Their rules in CEL are counted and not
evaluated; what a controller or a webhook refuses is not known."""

import copy
from pathlib import Path

import yaml

from schemas import errors

# Beyond these a number of that format is none.
FORMATS = {"int32": 2**31, "int64": 2**63}
# What JSON's schemas do not know, or know otherwise.
OPENAPI = ("nullable", "format", "default", "description", "example", "externalDocs", "exclusiveMinimum", "exclusiveMaximum")


def given(environment):
    """Those of the directory that somebody names, or None."""
    directory = environment.get("CRDS")
    return Definitions(directory) if directory else None


class Definitions:
    """What a directory defines: a schema for each `group/version/Kind` that is served, and how many rules in CEL it has beside that."""

    def __init__(self, directory):
        self.schemas, self.cel = {}, {}
        for file in sorted(path for path in Path(directory).rglob("*") if path.suffix in (".yaml", ".yml", ".json")):
            try:
                documents = list(yaml.load_all(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise SystemExit(f"{file}: expected YAML or JSON: {error}") from None
            for document in documents:
                self.take(file, document)
        if not self.schemas:
            raise SystemExit(f"{directory}: no CustomResourceDefinition in its *.yaml, *.yml and *.json")

    def take(self, file, document):
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind == "List":
            for item in document.get("items", []):
                self.take(file, item)
        if kind != "CustomResourceDefinition":
            return
        try:
            spec = document["spec"]
            served = [version for version in spec["versions"] if version["served"]]
            for version in served:
                name = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
                self.cel[name] = 0
                self.schemas[name] = self.strict(whole(version["schema"]["openAPIV3Schema"]), name)
        except KeyError as missing:
            raise SystemExit(f"{file}: a CustomResourceDefinition without {missing}: expected one of apiextensions.k8s.io/v1") from None

    def told(self, kinds):
        """What was compared with them, of objects of these kinds."""
        known, unknown = sorted(kinds & set(self.schemas)), sorted(kinds - set(self.schemas))
        cel = sum(self.cel[kind] for kind in known)
        missing = f"; not defined: {', '.join(unknown)}" if unknown else ""
        return f"{len(known)} kinds compared as defined, but for {cel} rules in CEL{missing}"

    def strict(self, given, name):
        """A schema of an API server as one of JSON, which refuses what that would not keep."""
        self.cel[name] += len(given.get("x-kubernetes-validations", []))
        plain = translated(given)
        if "properties" in plain:
            plain["properties"] = {key: self.strict(inner, name) for key, inner in plain["properties"].items()}
        for key in ("items", "additionalProperties"):
            if isinstance(plain.get(key), dict):
                plain[key] = self.strict(plain[key], name)
        kept = given.get("x-kubernetes-preserve-unknown-fields") or given.get("x-kubernetes-embedded-resource")
        if given.get("type") == "object" and not kept:
            plain.setdefault("additionalProperties", False)
        return plain

    def mistakes(self, thing):
        """What they refuse of an object, or None where they do not know its kind."""
        schema = self.schemas.get(f"{thing['apiVersion']}/{thing['kind']}")
        return None if schema is None else errors(schema, thing)


def whole(schema):
    """With what the API server knows of every object. Metadata is Kubernetes' own, checked as such (schemas.py)."""
    schema = copy.deepcopy(schema)
    schema.setdefault("properties", {}).update(
        {key: {"type": "string"} for key in ("apiVersion", "kind")},
        metadata={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    )
    return schema


def translated(given):
    """One level of a schema, without what is within its fields."""
    plain = {key: value for key, value in given.items() if not key.startswith("x-") and key not in OPENAPI}
    # These add to what the schema lists, and say nothing of other fields.
    for key in ("allOf", "anyOf", "oneOf"):
        if key in plain:
            plain[key] = [opened(one) for one in plain[key]]
    if "not" in plain:
        plain["not"] = opened(plain["not"])
    for bound in ("minimum", "maximum"):
        if given.get(f"exclusive{bound.title()}") and bound in plain:
            plain[f"exclusive{bound.title()}"] = plain.pop(bound)
    size = FORMATS.get(given.get("format"))
    if size and given.get("type") == "integer":
        plain["minimum"] = max(plain.get("minimum", -size), -size)
        plain["maximum"] = min(plain.get("maximum", size - 1), size - 1)
    if given.get("x-kubernetes-int-or-string"):
        plain["type"] = ["integer", "string"]
    if given.get("nullable"):
        # What has no type takes null as it is.
        if "type" in plain:
            plain["type"] = [*([plain["type"]] if isinstance(plain["type"], str) else plain["type"]), "null"]
        if "enum" in plain:
            plain["enum"] = [*plain["enum"], None]
    if given.get("x-kubernetes-list-type") == "set":
        plain["uniqueItems"] = True
    if given.get("x-kubernetes-list-type") == "map":
        plain["uniqueBy"] = given["x-kubernetes-list-map-keys"]
    return plain


def opened(given):
    plain = translated(given)
    if "properties" in plain:
        plain["properties"] = {key: opened(inner) for key, inner in plain["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(plain.get(key), dict):
            plain[key] = opened(plain[key])
    return plain
