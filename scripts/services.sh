# shellcheck shell=bash
# MariaDB and Redis for the tests; to be sourced. `start_services` uses those that already answer on this machine and
# starts the others on data of their own, which `stop_services` removes again. Sets TEST_MYSQL_URL.

SERVICE_DIR=
SERVICE_PIDS=()

start_services() {
  PATH=$PATH:/usr/sbin
  if [ -z "${TEST_MYSQL_URL:-}" ]; then
    export TEST_MYSQL_URL=mysql://root@127.0.0.1:3306
    mariadb -h127.0.0.1 -uroot -e 'SELECT 1' >/dev/null 2>&1 || start_mariadb || return
  fi
  redis-cli ping >/dev/null 2>&1 || start_redis
}

stop_services() {
  local pid
  for pid in "${SERVICE_PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${SERVICE_PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ -z "$SERVICE_DIR" ] || rm -rf "$SERVICE_DIR"
}

service_dir() {
  if [ -z "$SERVICE_DIR" ]; then
    SERVICE_DIR=$(mktemp -d)
    # Servers run as users of their own.
    chmod 755 "$SERVICE_DIR"
  fi
}

start_mariadb() {
  service_dir
  # A server that starts deletes the temporary tables it finds, those of servers beside it too: each has a place.
  local data=$SERVICE_DIR/mariadb temporary=$SERVICE_DIR/mariadb-tmp port=3306 user
  user=$(id -un)
  [ "$user" != root ] || user=mysql
  while (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  mkdir "$data" "$temporary"
  [ "$(id -u)" != 0 ] || chown "$user" "$data" "$temporary"
  TMPDIR=$temporary mariadb-install-db --no-defaults --user="$user" --datadir="$data" \
    --auth-root-authentication-method=normal --skip-test-db >/dev/null || return
  mariadbd --no-defaults --user="$user" --datadir="$data" --tmpdir="$temporary" --socket="$data/socket" \
    --pid-file="$data/pid" --port="$port" --bind-address=127.0.0.1 \
    --innodb-flush-log-at-trx-commit=1 --sync-binlog=1 >"$SERVICE_DIR/mariadb.log" 2>&1 &
  SERVICE_PIDS+=($!)
  export TEST_MYSQL_URL=mysql://root@127.0.0.1:$port
  await_service MariaDB mariadb -h127.0.0.1 -P"$port" -uroot -e 'SELECT 1'
}

start_redis() {
  service_dir
  mkdir "$SERVICE_DIR/redis"
  redis-server --port 6379 --bind 127.0.0.1 --save '' --appendonly no --dir "$SERVICE_DIR/redis" \
    >"$SERVICE_DIR/redis.log" 2>&1 &
  SERVICE_PIDS+=($!)
  await_service Redis redis-cli ping
}

await_service() {
  local name=$1
  shift
  for _ in $(seq 150); do
    if "$@" >/dev/null 2>&1; then
      echo "started $name"
      return
    fi
    sleep 0.2
  done
  cat "$SERVICE_DIR"/*.log >&2
  echo "$name does not answer" >&2
  return 1
}
