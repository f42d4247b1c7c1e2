#!/usr/bin/env bash
# Renders what is under k8s/, checks every object against schemas and every overlay against the rules of k8s/policy, and starts the
# roles of two overlays as their pods would run them, in plain text and under mTLS (policy/started.py). Needs kubectl, Python 3.11 and PyPI; without
# one of them it says so and checks nothing, or fails where K8S=required. ADWRIGHT names the program that is started (default: target/debug/adwright, which the
# tests build); VENV a directory that keeps the packages.
set -euo pipefail
cd "$(dirname "$0")"
skip() {
    echo "k8s not checked: $*"
    [ "${K8S:-}" != required ]
    exit
}

command -v kubectl >/dev/null || skip "no kubectl"
command -v python3 >/dev/null || skip "no python3"
python3 -c 'import tomllib' 2>/dev/null || skip "Python 3.11 is needed"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${VENV:-$work/venv}
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement policy/requirements.txt || skip "no packages from PyPI"
"$venv/bin/python" policy/check.py
"$venv/bin/python" policy/sbom.py --check
"$venv/bin/python" policy/started.py "${ADWRIGHT:-${CARGO_TARGET_DIR:-../target}/debug/adwright}"
