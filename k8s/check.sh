#!/usr/bin/env bash
# Renders what is under k8s/ and checks every object against Kubernetes' own schemas. Needs kubectl and Python; without one of
# them, or without PyPI, it says so and checks nothing.
set -euo pipefail
cd "$(dirname "$0")"
skip() { echo "k8s not checked: $*"; exit 0; }

command -v kubectl >/dev/null || skip "no kubectl"
command -v python3 >/dev/null || skip "no python3"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kubectl kustomize base >"$work/base.yaml"
echo "base: $(grep -c '^kind:' "$work/base.yaml") objects rendered"
python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q --disable-pip-version-check kubernetes-validate==1.37.0 \
    || skip "no validator from PyPI"
"$work/venv/bin/kubernetes-validate" --strict -k 1.32 "$work/base.yaml"
