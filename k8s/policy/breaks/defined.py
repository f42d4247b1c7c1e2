"""Objects and a CustomResourceDefinition of ours, which the comparison with definitions (crds.py, stricter.py) must judge as a cluster would."""

import copy
import json
import tempfile
from pathlib import Path

import yaml

import crds
import own
import schemas
import stricter

DEFINITION = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.example.org}
spec:
  group: example.org
  names: {kind: Lamp, plural: lamps}
  scope: Namespaced
  versions:
    - {name: v1alpha1, served: false, storage: false, schema: {openAPIV3Schema: {type: object}}}
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [watts]
              x-kubernetes-validations: [{rule: "self.watts < 100"}]
              anyOf: [{required: [colour]}, {properties: {watts: {maximum: 9}}}]
              properties:
                watts: {type: integer, format: int32, minimum: 0, exclusiveMinimum: true}
                colour: {type: string, enum: [red, green], nullable: true}
                port: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
                shade: {type: object}
                free: {type: object, x-kubernetes-preserve-unknown-fields: true}
                any: {x-kubernetes-preserve-unknown-fields: true, nullable: true}
                labels: {type: object, additionalProperties: {type: string}}
                places: {type: array, x-kubernetes-list-type: set, items: {type: string}}
                bulbs:
                  type: array
                  x-kubernetes-list-type: map
                  x-kubernetes-list-map-keys: [name]
                  items: {type: object, properties: {name: {type: string, pattern: "^[a-z]+$"}}}
"""
LAMP = {
    "apiVersion": "example.org/v1",
    "kind": "Lamp",
    "metadata": {"name": "desk"},
    "spec": {"watts": 7, "colour": "red", "bulbs": [{"name": "a"}, {"name": "b"}]},
}
# What is changed of the lamp's spec, and whether it is refused then.
CASES = (
    ({}, False),
    ({"watts": 0}, True),
    ({"watts": 1 << 31}, True),
    ({"watts": "7"}, True),
    ({"colour": "blue"}, True),
    ({"colour": None}, False),
    ({"any": None}, False),
    ({"port": 80}, False),
    ({"port": "http"}, False),
    ({"port": 1.5}, True),
    ({"shade": {}}, False),
    ({"shade": {"form": "round"}}, True),
    ({"free": {"anything": {"at": "all"}}}, False),
    ({"labels": {"a": "b"}}, False),
    ({"labels": {"a": 1}}, True),
    ({"places": ["x", "y"]}, False),
    ({"places": ["x", "x"]}, True),
    ({"bulbs": [{"name": "a"}, {"name": "a"}]}, True),
    ({"bulbs": [{"name": "A"}]}, True),
    ({"bulbs": [{"name": "a", "size": 1}]}, True),
    ({"wats": 7}, True),
)
# As somebody might have written it by hand, not strictly enough.
OURS = {
    "example.org/v1/Lamp": yaml.safe_load("""
        type: object
        additionalProperties: false
        properties:
          apiVersion: {}
          kind: {}
          metadata: {}
          spec:
            type: object
            additionalProperties: false
            properties:
              watts: {type: integer, minimum: 1}
              colour: {enum: [red, green]}
              height: {type: integer}
              bulbs: {type: array, items: {type: object, additionalProperties: false, properties: {name: {type: string}}}}""")
}
LAXER = {"spec.watts = 1099511627776", "spec.watts is missing", "spec.bulbs.0.name = 'x y'", "spec.bulbs.0 is twice there"}
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [lamp.yaml]\n"


def misjudged():
    """Everything that is judged otherwise than it should be."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "lamps.yaml").write_text(f"# Two documents.\n---\n{DEFINITION}")
        definitions = crds.given({"CRDS": place})
        listed = Path(place, "listed")
        listed.mkdir()
        items = {"kind": "List", "items": [yaml.safe_load(DEFINITION)]}
        Path(listed, "all.json").write_text(json.dumps(items))
        found = [] if crds.given({"CRDS": listed}).schemas == definitions.schemas else ["a list defines something else"]
        Path(listed, "all.json").write_text("{")
        Path(listed, "none").mkdir()
        found += [f"{words}: not told" for words in unread(listed)]
        found += of_overlay(definitions, Path(place, "overlay"))
    if list(definitions.schemas) != ["example.org/v1/Lamp"] or definitions.cel["example.org/v1/Lamp"] != 1:
        found.append(f"it defines {definitions.cel}")
    for change, refused in CASES:
        lamp = copy.deepcopy(LAMP)
        lamp["spec"].update(change)
        if bool(definitions.mistakes(lamp)) != refused:
            found.append(f"a lamp with {change}: {definitions.mistakes(lamp)}, expected a refusal: {refused}")
    taken, _ = stricter.laxer(definitions, LAMP, OURS)
    if not LAXER <= set(taken) or any("unknown" in what for what in taken):
        found.append(f"taken by a schema that is not strict: {taken}, expected {sorted(LAXER)} among them")
    further = list(stricter.beyond(definitions.schemas["example.org/v1/Lamp"], OURS["example.org/v1/Lamp"], "Lamp"))
    if further != ["Lamp.spec.height"]:
        found.append(f"known to it alone: {further}, expected Lamp.spec.height")
    return found


def unread(place):
    """Of directories that define nothing, those of which that is not said."""
    for directory, words in ((place, "expected YAML or JSON"), (place / "none", "no CustomResourceDefinition")):
        try:
            crds.Definitions(directory)
        except SystemExit as said:
            if words in str(said):
                continue
        yield words


def of_overlay(definitions, place):
    """An overlay with an object that only the definitions know."""
    place.mkdir()
    Path(place, "kustomization.yaml").write_text(KUSTOMIZATION)
    lamp = {**LAMP, "metadata": {"name": "desk", "namespace": "adwright"}}
    for change, by, expected in (
        ({}, None, "k8s/schemas has none"),
        ({}, definitions, None),
        ({"wats": 7}, definitions, "as defined: $.spec"),
    ):
        Path(place, "lamp.yaml").write_text(yaml.safe_dump({**lamp, "spec": {**lamp["spec"], **change}}))
        mistakes, _ = schemas.mistakes(own.overlay(place), {}, by)
        if bool(mistakes) != bool(expected) or not all(expected in one for one in mistakes):
            yield f"an overlay with a lamp with {change}: {mistakes}, expected {expected}"
