"""A bill of materials in CycloneDX 1.6 (JSON) of what the program is built from: `cargo tree` says which crates, for the image's platform
and with the features of a build that ships, `cargo metadata` what they are, Cargo.lock which bytes. Written here in some lines, because
the cargo commands that do it have to be compiled first, which takes minutes of every build.

    sbom.py [--features cuda] >adwright.cdx.json
    sbom.py --check       compares one with Cargo.lock and with CycloneDX' schema; needs requirements.txt"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-gnu"


def cargo(*arguments):
    return subprocess.run(
        ["cargo", *arguments], capture_output=True, text=True, check=True, cwd=WORKSPACE
    ).stdout


def built(features):
    """(name, version) of the crates that the program is built from, build scripts' included. Tests' are not among them."""
    tree = cargo(
        "tree",
        "--locked",
        "-p",
        "cli",
        f"--target={TARGET}",
        "--edges=normal,build",
        "--prefix=none",
        "--format={p}",
        *features,
    )
    return {(words[0], words[1].removeprefix("v")) for words in map(str.split, tree.splitlines()) if words}


def reference(package):
    source = "" if package["source"] else "?download_url=none"
    return f"pkg:cargo/{package['name']}@{package['version']}{source}"


def component(package, checksums):
    entry = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package["license"]:
        entry["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if package["description"]:
        entry["description"] = " ".join(package["description"].split())
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def bill(features):
    metadata = json.loads(
        cargo("metadata", "--locked", "--format-version=1", f"--filter-platform={TARGET}", *features)
    )
    lock = tomllib.loads((WORKSPACE / "Cargo.lock").read_text())["package"]
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in lock}
    wanted = built(features)
    packages = {one["id"]: one for one in metadata["packages"] if (one["name"], one["version"]) in wanted}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"] if node["id"] in packages}
    edges = [
        {
            "ref": reference(package),
            "dependsOn": sorted(
                {reference(packages[to]) for to in nodes[at]["dependencies"] if to in packages}
            ),
        }
        for at, package in sorted(packages.items(), key=lambda one: reference(one[1]))
    ]
    root = next(package for package in packages.values() if package["name"] == "cli")
    program = {**component(root, checksums), "type": "application", "name": "adwright"}
    others = [package for package in packages.values() if package is not root]
    components = sorted((component(package, checksums) for package in others), key=lambda one: one["bom-ref"])
    content = json.dumps(components, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # Of its contents: the same crates give the same bill.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": program},
        "components": components,
        "dependencies": edges,
    }


def check(features):
    """What is wrong with a bill."""
    made = bill(features)
    listed = {(one["name"], one["version"]): one for one in made["components"]}
    lock = {
        (one["name"], one["version"]): one.get("checksum")
        for one in tomllib.loads((WORKSPACE / "Cargo.lock").read_text())["package"]
    }
    found = [f"{name} {version} is not in Cargo.lock" for name, version in sorted(set(listed) - set(lock))]
    missing = built(features) - set(listed) - {("cli", made["metadata"]["component"]["version"])}
    found += [f"{name} {version} is built in and not listed" for name, version in sorted(missing)]
    for key, one in listed.items():
        if lock.get(key) and one.get("hashes") != [{"alg": "SHA-256", "content": lock[key]}]:
            found.append(f"{key[0]} {key[1]}: its hash is not that of Cargo.lock")
    reached, waiting = set(), [made["metadata"]["component"]["bom-ref"]]
    edges = {one["ref"]: one["dependsOn"] for one in made["dependencies"]}
    while waiting:
        at = waiting.pop()
        if at not in reached:
            reached.add(at)
            waiting += edges[at]
    found += [
        f"{one['bom-ref']} is nobody's dependency"
        for one in made["components"]
        if one["bom-ref"] not in reached
    ]
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    refused = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made))
    found += [f"CycloneDX' schema: {refused}"] if refused else []
    print(f"bill of materials: {len(listed)} crates, of {len(lock)} in Cargo.lock")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", default="")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    features = [f"--features={given.features}"] if given.features else []
    if not given.check:
        json.dump(bill(features), sys.stdout, indent=1, ensure_ascii=False)
        return 0
    found = check(features)
    for sentence in found:
        print(f"  {sentence}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
