#!/usr/bin/env bash
# Installs what scripts/test.sh needs and this machine lacks: Debian packages (as root), Python packages into
# target/venv, Node packages beside their programs. Does nothing the second time.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin

# command:package
needs=(
  cc:build-essential
  chromium:chromium
  curl:curl
  docker-compose:docker-compose
  faketime:faketime
  jq:jq
  mariadb:mariadb-client
  mariadbd:mariadb-server
  mkfs.ext4:e2fsprogs
  nats-server:nats-server
  nginx:nginx
  node:nodejs
  npm:npm
  openssl:openssl
  pkill:procps
  promtool:prometheus
  python3:python3
  redis-server:redis-server
  shellcheck:shellcheck
  sqlite3:sqlite3
  strace:strace
)

missing=()
for need in "${needs[@]}"; do
  command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
done
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not root on Debian; please install: ${missing[*]}" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

command -v cargo >/dev/null || { echo "a Rust toolchain is needed: https://rustup.rs" >&2; exit 1; }

# Those of other systems too: what checks the dependencies reads them all, and fetches none.
cargo fetch --locked --quiet

[ -x target/venv/bin/pip ] || python3 -m venv target/venv
target/venv/bin/pip install --quiet -r tests/oracles/python/requirements.txt -r scripts/requirements.txt
npm ci --prefix tests/oracles/node --silent
