#!/usr/bin/env bash
# Everything that can be tested on one machine, from nothing: installs what is missing (so it wants to be root on a
# machine that may be changed), starts MariaDB and Redis if they do not run, and stops at the first step that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/services.sh
trap stop_services EXIT

times=() steps=0

step() {
  local name=$1 start=$SECONDS
  shift
  echo "==> $name"
  if ! "$@"; then
    printf '%s\n' "${times[@]}" "==> $name: FAILED after $((SECONDS - start)) s"
    echo "$steps passed, 1 failed"
    exit 1
  fi
  steps=$((steps + 1))
  times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
}

demo() { timeout 60 target/release/wecom-gateway demo --once; }

step "install what is missing" ./scripts/install.sh
step "databases" start_services
step "checks" ./scripts/check.sh
step "tests" cargo test --locked
step "archive in MongoDB" cargo test --locked --features mongodb --test it archive::
step "negative controls" ./scripts/sabotage.sh
step "load generator" cargo test --locked --quiet --manifest-path benches/load/Cargo.toml --target-dir target/benches
step "release build" cargo build --locked --release
step "demo" demo
step "other people's clients" ./scripts/oracles.sh
printf '%s\n' "" "${times[@]}" "$(printf '%5d s  in all' $SECONDS)"
echo "$steps passed, 0 failed"
