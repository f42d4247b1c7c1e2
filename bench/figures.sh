#!/usr/bin/env bash
# The tables of learning in docs/results.md, printed as Markdown: for every seed named, the default run, the same start without the
# product-centric term (mode dpo, which is also pcpo_weight = 0), the same start with random preference labels, and the quick run; for the first of them
# also two deterministic quick runs, whose adapters must be the same bytes. Ends with 1 where a goal is not reached or the bytes differ.
# One seed takes about eight minutes on two quiet cores. Outputs stay in out/figures; what is there already is not run again.
#
#   bench/figures.sh 0 1 2 3 4 5 6 7
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: bench/figures.sh SEED..." >&2; exit 64; }

cargo build --release
adwright() { target/release/adwright "$@"; }
demo() { [ -f "$out/$1/report.json" ] || adwright demo --seed "$seed" --out "$out/$1" "${@:2}"; }

for seed in "$@"; do
    out="out/figures/$seed"
    demo default
    demo dpo --from "$out/default" --mode dpo
    demo control --from "$out/default" --control
    demo quick --quick
done

out="out/figures/$1" seed=$1
for repeat in first second; do demo "deterministic-$repeat" --quick --deterministic; done

# Every table is printed before a goal that is not reached, or bytes that differ, end this with 1.
status=0
of() { for seed in "${@:2}"; do echo "out/figures/$seed/$1"; done; }
for kind in default dpo control quick; do
    against=()
    case $kind in dpo | control) for default in $(of default "$@"); do against+=(--against "$default"); done ;; esac
    printf '\n### %s\n\n' "$kind"
    adwright report $(of "$kind" "$@") --goal "$kind" "${against[@]}" || status=1
done

printf '\n### two deterministic runs\n\n'
grep -H adapter_blake3 "$out"/deterministic-*/report.json
cmp "$out"/deterministic-{first,second}/adapter/adapter_model.safetensors || status=1
exit "$status"
