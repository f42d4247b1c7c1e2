"""Renders every overlay, checks each object against schemas and each overlay against the rules, and then breaks overlays on purpose:
every break must be caught by the rule that it is meant for. Ends with 1 when anything is wrong.

    check.py              all of this repository
    check.py DIRECTORY    an overlay of somebody's own, held to the same (own.py)

With CRDS=DIRECTORY objects are compared with the CustomResourceDefinitions in it too, and our schemas with those."""

import os
import sys

import crds
import iam  # noqa: F401
import image  # noqa: F401
import layers  # noqa: F401
import looking_on  # noqa: F401
import mutations
import network  # noqa: F401
import own
import pods  # noqa: F401
import running  # noqa: F401
import schemas
import stricter
import watching  # noqa: F401
import wiring  # noqa: F401
from breaks import defined, fields, owned
from rendered import COMBINED, OVERLAYS, Overlay, render
from rules import RULES, broken


def of_one(directory):
    """What is wrong with an overlay of somebody's own."""
    overlay, of_others, definitions = own.overlay(directory), schemas.of_others(), crds.given(os.environ)
    found, checks = own.mistakes(overlay, of_others, definitions)
    if definitions:
        print(definitions.told(kinds([overlay], of_others, definitions)))
    for sentence in found:
        print(f"  {sentence}")
    print(f"{directory}: {len(overlay.objects)} objects, {checks} checks against schemas, {len(RULES)} rules: {told(found)}")
    return 1 if found else 0


def kinds(overlays, of_others, definitions):
    """Kinds of objects that are not Kubernetes' own."""
    all_kinds = {f"{one['apiVersion']}/{one['kind']}" for overlay in overlays for one in overlay.objects}
    return all_kinds & {*of_others, *definitions.schemas}


def told(found):
    return f"{len(found)} mistake{'s' * (len(found) > 1)}" if found else "all hold"


def main():
    if len(sys.argv) > 1:
        return of_one(sys.argv[1])
    where = {}
    of_others, definitions = schemas.of_others(), crds.given(os.environ)
    overlays = {name: Overlay(name, render(name)) for name in ("base", *OVERLAYS, *COMBINED)}
    for name, overlay in overlays.items():
        mistakes, checks = schemas.mistakes(overlay, of_others, definitions)
        # The base is no run: what its overlays add is missing.
        against = [] if name == "base" else broken(overlay)
        for sentence in mistakes + [f"{rule}: {sentence}" for rule, sentence in against]:
            where.setdefault(sentence, []).append(name)
        print(
            f"{name}: {len(overlay.objects)} objects rendered, {checks} checks against schemas of {', '.join(schemas.VERSIONS)}"
        )
    uncaught = mutations.uncaught(overlays)
    print(
        f"{len(RULES)} rules; {len(mutations.BREAKS)} breaks on purpose, {len(mutations.BREAKS) - len(uncaught)} caught"
    )
    unnoticed = fields.unnoticed(overlays, of_others)
    tried = len(fields.UNKNOWN) + len(fields.WRONG)
    print(f"{tried} unknown fields and wrong values, {tried - len(unnoticed)} refused")
    unexpected = owned.unexpected(of_others)
    print(f"{len(owned.CASES)} overlays as somebody may write them, {len(owned.CASES) - len(unexpected)} judged as they should be")
    misjudged = defined.misjudged()
    print(f"{len(defined.CASES)} objects and a definition of ours, {len(defined.CASES) - len(misjudged)} judged as they should be")
    lax = []
    if definitions:
        lax, tried = stricter.compared(definitions, overlays.values(), of_others)
        print(f"{definitions.told(kinds(overlays.values(), of_others, definitions))}; {tried} changes tried, {len(lax)} taken by our schemas alone")
    unproven = set(RULES) - {one.rule for one in mutations.BREAKS}
    failures = [f"{', '.join(names)}: {sentence}" for sentence, names in where.items()]
    failures += [f"not refused: {one}" for one in unnoticed] + unexpected + misjudged + lax
    failures += [f"not caught: {one}" for one in uncaught] + [
        f"no break proves the rule: {rule}" for rule in sorted(unproven)
    ]
    for failure in failures:
        print(f"  {failure}")
    print(told(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
