#!/usr/bin/env bash
# Negative controls: a test that cannot see a fault proves nothing. For each line of tests/sabotage.tsv
# (protection, test, lib or it) the test has to pass, and to fail when exactly that protection is removed.
#
#   scripts/sabotage.sh [PROTECTION…]
set -euo pipefail
cd "$(dirname "$0")/.."

LIMIT_S=300
passed=0 failed=0

# run TARGET TEST: the output of one test; removed protections may well make it hang.
run() {
  local target=(--lib)
  [ "$1" = lib ] || target=(--test "$1")
  timeout -k 5 $LIMIT_S cargo test --locked --quiet --features sabotage "${target[@]}" "$2" 2>&1
}

wanted() {
  local protection=$1 name
  shift
  [ $# -gt 0 ] || return 0
  for name in "$@"; do [ "$name" != "$protection" ] || return 0; done
  return 1
}

verdict() {
  if [ "$2" = good ]; then
    passed=$((passed + 1))
    echo "ok   $1"
  else
    failed=$((failed + 1))
    echo "FAIL $1: $2"
    tail -n 20 <<<"$3" | sed 's/^/     /'
  fi
}

cargo test --locked --quiet --features sabotage --no-run
while IFS=$'\t' read -r protection test target; do
  case $protection in '' | '#'*) continue ;; esac
  wanted "$protection" "$@" || continue
  if ! output=$(run "$target" "$test") || ! grep -qE 'test result: ok\. [1-9]' <<<"$output"; then
    verdict "$protection" "$test does not pass, or is no test" "$output"
  elif output=$(WECOM_GATEWAY_SABOTAGE=$protection run "$target" "$test"); then
    verdict "$protection" "$test passes without it" "$output"
  elif [ $? != 124 ] && ! grep -q 'test result: FAILED' <<<"$output"; then
    verdict "$protection" "$test did not run without it" "$output"
  else
    verdict "$protection ($test)" good
  fi
done <tests/sabotage.tsv
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
