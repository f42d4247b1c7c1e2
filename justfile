# `just` lists what there is.
_default:
    @just --list

# Run everything on this machine, about four minutes
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# A smaller demo, about a minute and a half
quick *ARGS:
    cargo run --release -- demo --quick {{ARGS}}

# The tables of docs/results.md for some seeds, about eight minutes each
figures *SEEDS:
    bench/figures.sh {{SEEDS}}

# Every test that needs nothing but cargo; .ci/run has the others
test:
    cargo test --workspace

# Kill every role N times and at every failpoint: just chaos --kills 100 --seed 1; the report is target/chaos.json
chaos *ARGS="--kills 100 --seed 1":
    cargo test --locked --workspace --test chaos -- {{ARGS}}

# Learner and actors on a simulated network, clock and disk: just simulate --seeds 10000, or --seed 242 --trace events.txt
simulate *ARGS="--seeds 1000":
    cargo test --locked --workspace --test simulation -- {{ARGS}}

# What a change must pass before it is proposed; nextest and deny are extra tools
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo nextest run --workspace
    cargo test --workspace --doc
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
    cargo deny check

# What the build server runs
ci:
    .ci/run

# What the program is built from, as CycloneDX; FEATURES=cuda for the image of that name
sbom OUT="adwright.cdx.json" FEATURES="":
    python3 k8s/policy/sbom.py --features "{{FEATURES}}" >{{OUT}}

# Render the manifests, check them, and start the roles as they would be started
k8s:
    cargo build --locked
    k8s/check.sh

# Make target/dashboard.png, a picture of the dashboard of a small run in headless Chromium
dashboard-screenshot:
    DASHBOARD_SCREENSHOT="$PWD/target/dashboard.png" cargo test --locked --workspace --test dashboard -- --ignored a_person_watches

# Type-check the CUDA backend without its compiler
check-cuda:
    DOCS_RS=1 cargo check -p cli --features cuda

# Put the sources into the house style
fmt:
    cargo fmt --all

# The tables of what we compute against transformers and peft
parity:
    cargo test --locked --workspace --lib -- --nocapture parity | grep '^|'
