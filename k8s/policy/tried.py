"""Alerts as Prometheus evaluates them: promtool, of Prometheus' own release, checks the rules that an overlay renders and plays what
alerts/ has of each, where it fires and where it does not. Then every alert is broken on purpose: its trial must fail.

    tried.py              the rules of `gpu`
    tried.py DIRECTORY    those of an overlay of somebody's own: they are checked, and not played, for thresholds may be theirs
"""

import copy
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import promql_parser
import yaml

import own
from breaks import alerts
from rendered import Overlay, render
from watching import TRIALS, alerts_of


def unwrapped(overlay):
    """The files of rules that Prometheus' operator makes of its objects, as one."""
    return {"groups": [group for thing in overlay.of("PrometheusRule") for group in thing["spec"]["groups"]]}


def promtool(*words):
    """What promtool has against something, or nothing."""
    said = subprocess.run(["promtool", *words], capture_output=True, text=True)
    return "" if said.returncode == 0 else (said.stdout + said.stderr).strip() or f"status {said.returncode}"


def checked(rules):
    with tempfile.TemporaryDirectory() as place:
        return promtool("check", "rules", "--lint=all", "--lint-fatal", written(rules, place))


def played(rules, alert):
    """What the trial of an alert comes to under some rules."""
    with tempfile.TemporaryDirectory() as place:
        written(rules, place)
        return promtool("test", "rules", shutil.copy(TRIALS / f"{alert}.yaml", place))


def written(rules, place):
    file = Path(place, "rules.yaml")
    file.write_text(yaml.safe_dump(rules))
    return file


def broken(rules, one):
    """A copy of the rules with one break, which are rules nevertheless."""
    other = copy.deepcopy(rules)
    [alert] = [alert for group in other["groups"] for alert in group["rules"] if alert["alert"] == one.alert]
    changed = one.change(alert)
    assert alert != changed, f"{one.alert}: {one.what}: changes nothing"
    promql_parser.parse(changed["expr"])
    alert.update(changed)
    return other


def trials(rules, names):
    """What goes wrong where alerts are played, as they are and broken."""
    breaks = alerts.of(names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = list(pool.map(lambda name: played(rules, name), names))
        noticed = list(pool.map(lambda one: played(broken(rules, one), one.alert), breaks))
    missed = [one for one, said in zip(breaks, noticed) if not said]
    print(f"{len(names)} alerts tried; {len(breaks)} breaks on purpose, {len(breaks) - len(missed)} noticed")
    return failures + [f"not noticed: {one.alert}: {one.what}" for one in missed]


def main():
    overlay = own.overlay(sys.argv[1]) if len(sys.argv) > 1 else Overlay("gpu", render("gpu"))
    rules = unwrapped(overlay)
    if not rules["groups"]:
        print(f"{overlay.name}: no alerts")
        return 0
    failures = [checked(rules)]
    print(f"{overlay.name}: {sum(len(group['rules']) for group in rules['groups'])} rules, checked by promtool")
    if not overlay.own:
        failures += trials(rules, [alert["alert"] for alert in alerts_of(overlay)])
    failures = [failure for failure in failures if failure]
    for failure in failures:
        print(f"  {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
