"""Every object against a schema, strictly: Kubernetes' own against those of two versions, others against k8s/schemas/.

An object without a schema is an error, not a warning."""

import functools

import jsonschema
import kubernetes_validate
import yaml

from rendered import ROOT

VERSIONS = ("1.32", "1.37")

# By itself it reads its schemas anew for every object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def of_others():
    schemas = {}
    for file in sorted(ROOT.glob("schemas/*.yaml")):
        schemas.update(yaml.safe_load(file.read_text()))
    for schema in schemas.values():
        schema["properties"].update(
            {key: {"type": "string"} for key in ("apiVersion", "kind")}, metadata={"type": "object"}
        )
        jsonschema.Draft202012Validator.check_schema(schema)
    return schemas


def stand_ins(thing):
    """Kubernetes' objects that lie within another's: they are checked as if they stood alone."""
    spec, metadata = thing.get("spec", {}), {"name": "within"}
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


def mistakes(overlay, schemas):
    """What is wrong, and how many checks were made."""
    found, checks = [], 0
    for thing in overlay.objects:
        kind = f"{thing['apiVersion']}/{thing['kind']}"
        where = f"{thing['kind']}/{thing['metadata'].get('name')}"
        own = [thing] if kind not in schemas else list(stand_ins(thing))
        if kind in schemas:
            checks += 1
            for error in jsonschema.Draft202012Validator(schemas[kind]).iter_errors(thing):
                found.append(f"{where}: {error.json_path}: {error.message[:300]}")
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
