"""Whether our schemas of others' objects are as strict as the CustomResourceDefinitions that they were made after, in what our manifests use: an
object is changed in one place at a time, and what the definitions refuse then must be refused by ours."""

import copy

import schemas

# What somebody might write in the place of a value.
WRONG = (True, -1, 0, 1 << 40, 1.5, "", "x y", "-", "1s1m", [], ["x y"], {}, {"unknown": "x"})


def places(value, schema, path):
    """Where a value may be changed: everything that our schema says something of."""
    yield path
    if isinstance(value, dict):
        known = schema.get("properties", {})
        other = schema.get("additionalProperties")
        for key, one in value.items():
            within = known.get(key, other)
            if isinstance(within, dict):
                yield from places(one, within, [*path, key])
    if isinstance(value, list) and "items" in schema:
        for number, one in enumerate(value):
            yield from places(one, schema["items"], [*path, number])


def changes(thing, schema):
    """(what, the object with that change): a value that may be wrong, one that is missing, one that is twice there, one that is unknown."""
    for path in places(thing["spec"], schema["properties"]["spec"], ["spec"]):
        where = ".".join(map(str, path))
        other, place, key = at(thing, path)
        for wrong in WRONG:
            place[key] = wrong
            yield f"{where} = {wrong!r}", other
        other, place, key = at(thing, path)
        value = place.pop(key)
        yield f"{where} is missing", other
        if isinstance(place, list):
            place[key:key] = [value, value]
            yield f"{where} is twice there", other
        if isinstance(value, dict):
            other, place, key = at(thing, path)
            place[key]["unknown"] = "x"
            yield f"{where}.unknown", other


def at(thing, path):
    """A copy, and the place and key in it that a path leads to."""
    other = copy.deepcopy(thing)
    place = other
    for step in path[:-1]:
        place = place[step]
    return other, place, path[-1]


def beyond(theirs, ours, where):
    """Fields that our schema knows and the definition does not."""
    if theirs.get("additionalProperties") is True or not isinstance(ours, dict):
        return
    known, other = theirs.get("properties", {}), theirs.get("additionalProperties")
    for key, inner in ours.get("properties", {}).items():
        within = known.get(key, other)
        if isinstance(within, dict):
            yield from beyond(within, inner, f"{where}.{key}")
        elif not within:
            yield f"{where}.{key}"
    if "items" in ours and "items" in theirs:
        yield from beyond(theirs["items"], ours["items"], where)


def compared(definitions, overlays, of_others):
    """What our schemas take and the definitions do not, and how many changes of objects were tried."""
    things = {repr(one): one for overlay in overlays for one in overlay.objects}
    found, tried = [], 0
    for kind in sorted(set(of_others) & set(definitions.schemas)):
        for field in beyond(definitions.schemas[kind], of_others[kind], kind):
            found.append(f"k8s/schemas knows {field}, which is not defined")
        for thing in things.values():
            if f"{thing['apiVersion']}/{thing['kind']}" == kind and not definitions.mistakes(thing):
                taken, changes = laxer(definitions, thing, of_others)
                found += [f"k8s/schemas takes {thing['kind']}/{thing['metadata']['name']} with {what}" for what in taken]
                tried += changes
    return found, tried


def laxer(definitions, thing, of_others):
    """Changes of an object that the definitions refuse and our schema takes, and how many were tried."""
    schema, found, tried = of_others[f"{thing['apiVersion']}/{thing['kind']}"], [], 0
    for what, other in changes(thing, schema):
        tried += 1
        if definitions.mistakes(other) and not schemas.of_one(other, of_others)[0]:
            found.append(what)
    return found, tried
