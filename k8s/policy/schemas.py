"""Every object against a schema, strictly: Kubernetes' own against those of two versions, others against k8s/schemas/ and, where somebody gives
them, against the definitions of a cluster (crds.py).

An object without a schema is an error, not a warning."""

import functools

import jsonschema
import kubernetes_validate
import yaml

from rendered import ROOT

VERSIONS = ("1.32", "1.37")

# By itself it reads its schemas anew for every object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def unique(validator, keys, given, schema):
    """No two members of a list with the same values of these fields."""
    if validator.is_type(given, "array"):
        seen = [[repr(one.get(key)) for key in keys] for one in given if isinstance(one, dict)]
        for one in {tuple(values) for values in seen if seen.count(values) > 1}:
            yield jsonschema.ValidationError(f"{', '.join(keys)} twice: {', '.join(one)}")


Strict = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"uniqueBy": unique})


def errors(schema, thing):
    """What a schema says against an object."""
    return [f"{error.json_path}: {error.message[:300]}" for error in Strict(schema).iter_errors(thing)]


def of_others():
    schemas = {}
    for file in sorted(ROOT.glob("schemas/*.yaml")):
        schemas.update(yaml.safe_load(file.read_text()))
    for schema in schemas.values():
        schema["properties"].update(
            {key: {"type": "string"} for key in ("apiVersion", "kind")}, metadata={"type": "object"}
        )
        Strict.check_schema(schema)
    return schemas


def stand_ins(thing):
    """Kubernetes' objects that lie within another's, and its metadata: they are checked as if they stood alone."""
    spec, metadata = thing.get("spec", {}), {"name": "within"}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": thing["metadata"]}
    if thing["kind"] == "JobSet":
        for job in spec.get("replicatedJobs", []):
            yield {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, **job["template"]}
    if thing["kind"] == "ScaledObject":
        behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior")
        target = {"kind": "Deployment", "name": "within"}
        if behavior is not None:
            autoscaler = {"scaleTargetRef": target, "maxReplicas": 1, "behavior": behavior}
            yield {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": metadata,
                "spec": autoscaler,
            }


def mistakes(overlay, schemas, definitions=None):
    """What is wrong, and how many checks were made."""
    each = [of_one(thing, schemas, definitions) for thing in overlay.objects]
    return [sentence for found, _ in each for sentence in found], sum(checks for _, checks in each)


def of_one(thing, schemas, definitions=None):
    """The same of one object."""
    kind = f"{thing['apiVersion']}/{thing['kind']}"
    where = f"{thing['kind']}/{thing['metadata'].get('name')}"
    found, checks, own = [], 0, [thing]
    defined = definitions.mistakes(thing) if definitions else None
    if kind in schemas or defined is not None:
        ours = errors(schemas[kind], thing) if kind in schemas else []
        found = [f"{where}: {error}" for error in ours] + [f"{where}: as defined: {error}" for error in defined or []]
        checks = (kind in schemas) + (defined is not None)
        # What is within has its place only if the whole is right.
        own = [] if found else list(stand_ins(thing))
    for one in own:
        for version in VERSIONS:
            checks += 1
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(part) for part in error.path)
                found.append(f"{where}: Kubernetes {version}: {path}: {error.message[:300]}")
            except kubernetes_validate.SchemaNotFoundError:
                found.append(f"{where}: Kubernetes {version} knows no {kind}, and k8s/schemas has none")
    return found, checks
