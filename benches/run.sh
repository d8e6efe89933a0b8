#!/usr/bin/env bash
# Measures the gateway beside what it is compared with, in one run on this machine. See benches/README.md.
#
#   benches/run.sh intake     bare axum against the gateway on SQLite; the ratio is the last line; under 50 s
#   benches/run.sh mysql      the same on a database of its own in MariaDB
#   benches/run.sh peers      the gateway against FastAPI and Node programs
#   benches/run.sh latency    answer times at half of the measured capacity, of URL verifications and /health meanwhile
#   benches/run.sh status     status queries among 10^6 messages with 10^7 pieces of evidence
#   benches/run.sh growth     intake at 10^6 events against 10^4, and the start on them
#   benches/run.sh sending    messages out: limits, cut answers, kills, latency
#   benches/run.sh forward    deliveries to one receiver against the same client without a store, intake with and
#                             without an endpoint, and how long an event takes to three endpoints
#   benches/run.sh all        all of them
#
# Environment: ROUNDS, SECONDS_EACH, EVENTS (of growth), MYSQL_ADMIN (default: mariadb -h127.0.0.1 -uroot), PEER_WORKERS (default 1).
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${ROUNDS:-3}
EVENTS=${EVENTS:-1000000}
SECONDS_EACH=${SECONDS_EACH:-4}
read -ra MYSQL_ADMIN <<<"${MYSQL_ADMIN:-mariadb -h127.0.0.1 -uroot}"
PEER_WORKERS=${PEER_WORKERS:-1}

TOKEN=BenchToken KEY=zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR CORP=wwbench0000000001
GATEWAY_PORT=18080 RECEIVER_PORT=18089 BARE_PORT=18090 FASTAPI_PORT=18091 NODE_PORT=18092
BIN=target/benches/release
WORK=$(mktemp -d -p target benches.XXXXXX)
DATABASE_NAME=wecom_gateway_bench_$$
STARTED=()
DATABASE_MADE=

finish() {
  for pid in "${STARTED[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  [ -z "$DATABASE_MADE" ] || "${MYSQL_ADMIN[@]}" -e "DROP DATABASE IF EXISTS $DATABASE_NAME"
  rm -rf "$WORK"
}
trap finish EXIT

die() { echo "benches: $*" >&2; exit 1; }

need() { command -v "$1" >/dev/null || die "$1 is needed"; }

build() {
  cargo build --release --quiet --manifest-path benches/load/Cargo.toml --target-dir target/benches
  cargo build --release --quiet
}

# start NAME PORT COMMAND…: runs it until the end of this script; its process id is in PID.
start() {
  local name=$1 port=$2
  shift 2
  ! (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "port $port is taken"
  "$@" >"$WORK/$name.log" 2>&1 &
  PID=$!
  STARTED+=("$PID")
  for _ in $(seq 1000); do
    if (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
    kill -0 "$PID" 2>/dev/null || break
    sleep 0.01
  done
  cat "$WORK/$name.log" >&2
  die "$name does not answer on port $port"
}

# configure DATABASE_URL
configure() {
  cat >"$WORK/gateway.yaml" <<YAML
service: { environment: ${ENVIRONMENT:-production} }
auth: { master_key: a-master-key-for-benches }
webhook: { host: 127.0.0.1, port: $GATEWAY_PORT, rate_exempt: [127.0.0.0/8] }
database: { url: "$1" }
channels:
  wechat_api:
    type: wechat_api
    handler: api
    corp_id: $CORP
    secret: unused
    agent_id: "1000002"
    token: $TOKEN
    encoding_aes_key: $KEY
YAML
}

# start_gateway DATABASE_URL
start_gateway() {
  configure "$1"
  start gateway $GATEWAY_PORT target/release/wecom-gateway --config "$WORK/gateway.yaml" --log-level warn serve
  GATEWAY_PID=$PID
  echo "gateway: idle RSS $(memory_kib VmRSS) KiB"
}

start_bare() {
  start bare $BARE_PORT $BIN/bare 127.0.0.1:$BARE_PORT
  BARE_PID=$PID
}

memory_kib() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$GATEWAY_PID/status"; }

# load WHAT PORT OPTION…: one run; the report is in REPORT. Anything but 200 ends the measurement.
load() {
  local what=$1 port=$2
  shift 2
  [ "$what" = get ] || set -- --token $TOKEN --key $KEY --receive-id $CORP "$@"
  REPORT=$($BIN/load "$what" --url "http://127.0.0.1:$port/api/v1/webhooks/wechat/api" "$@")
  figure '.ok == .requests and .connection_errors == 0 and .unanswered == 0' | grep -q true || die "not clean: $REPORT"
  if figure .exhausted | grep -q true; then echo "(all callbacks used up after $(figure .seconds) s)"; fi
}

figure() { jq -r "$1" <<<"$REPORT"; }

median() { sort -g | awk '{ all[NR] = $1 } END { print (NR % 2) ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a / b }'; }

# compare WHAT GATEWAY_PID_OPTION…: alternates bare and gateway; every callback must be a row in the end.
compare() {
  local what=$1 bare gateway round acked=0
  shift
  : >"$WORK/ratios"
  for round in $(seq "$ROUNDS"); do
    load callbacks $BARE_PORT --seconds "$SECONDS_EACH" --corpus 50000 --wrap --pid "bare=$BARE_PID"
    bare=$(figure .per_second)
    echo "round $round: bare    $bare/s, CPU-µs each $(figure '.cpu_us | tostring'), p99 $(figure .ms.p99) ms"
    load callbacks $GATEWAY_PORT --seconds "$SECONDS_EACH" --pid "gateway=$GATEWAY_PID" "$@"
    gateway=$(figure .per_second)
    acked=$((acked + $(figure .ok)))
    echo "round $round: gateway $gateway/s, CPU-µs each $(figure '.cpu_us | tostring'), p99 $(figure .ms.p99) ms"
    ratio "$gateway" "$bare" >>"$WORK/ratios"
    echo >>"$WORK/ratios"
  done
  echo "gateway: RSS $(memory_kib VmRSS) KiB after load, peak $(memory_kib VmHWM) KiB"
  echo "$acked callbacks acknowledged in the measured time, $(stored_events) events stored"
  [ "$(stored_events)" -ge "$acked" ] || die "fewer events than answers"
  echo "ratio gateway/bare ($what): $(median <"$WORK/ratios")"
}

stored_events() {
  if [ -n "$DATABASE_MADE" ]; then
    "${MYSQL_ADMIN[@]}" -N -e "SELECT COUNT(*) FROM $DATABASE_NAME.events"
  else
    python3 -c "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT COUNT(*) FROM events').fetchone()[0])" "$WORK/gateway.db"
  fi
}

intake() {
  start_bare
  start_gateway "sqlite:$WORK/gateway.db"
  compare "SQLite, synchronous=FULL"
}

mysql() {
  need "${MYSQL_ADMIN[0]}"
  local flush pid
  flush=$("${MYSQL_ADMIN[@]}" -N -e 'SELECT @@innodb_flush_log_at_trx_commit')
  [ "$flush" = 1 ] || die "innodb_flush_log_at_trx_commit is $flush; only 1 is comparable"
  pid=$(cat "$("${MYSQL_ADMIN[@]}" -N -e 'SELECT @@pid_file')")
  "${MYSQL_ADMIN[@]}" -e "CREATE DATABASE $DATABASE_NAME"
  DATABASE_MADE=yes
  start_bare
  start_gateway "${BENCH_MYSQL_URL:-mysql://root@127.0.0.1:3306}/$DATABASE_NAME"
  compare "MariaDB, innodb_flush_log_at_trx_commit=1" --pid "mariadbd=$pid"
}

peers() {
  export TOKEN KEY CORP
  [ -x target/peers-venv/bin/uvicorn ] || python3 -m venv target/peers-venv
  target/peers-venv/bin/pip install --quiet -r benches/peers/fastapi/requirements.txt
  [ -d benches/peers/node/node_modules ] || npm ci --prefix benches/peers/node --silent
  DATABASE="$PWD/$WORK/fastapi.db" start fastapi $FASTAPI_PORT target/peers-venv/bin/uvicorn app:app \
    --app-dir benches/peers/fastapi --host 127.0.0.1 --port $FASTAPI_PORT --workers "$PEER_WORKERS" \
    --loop uvloop --http httptools --no-access-log --log-level warning
  local fastapi=$PID
  DATABASE="$PWD/$WORK/node.db" PORT=$NODE_PORT WORKERS=$PEER_WORKERS start node $NODE_PORT \
    node benches/peers/node/server.js
  local node=$PID
  start_gateway "sqlite:$WORK/gateway.db"
  local round
  for round in $(seq "$ROUNDS"); do
    peer fastapi $FASTAPI_PORT "$fastapi"
    peer node $NODE_PORT "$node"
    peer gateway $GATEWAY_PORT "$GATEWAY_PID"
  done
  local gateway
  gateway=$(median <"$WORK/gateway.rates")
  echo "ratio gateway/node: $(ratio "$gateway" "$(median <"$WORK/node.rates")")"
  echo "ratio gateway/FastAPI: $(ratio "$gateway" "$(median <"$WORK/fastapi.rates")")"
}

# peer NAME PORT PID: one run of one of the programs, its worker processes included.
peer() {
  local pids
  pids=$(pgrep -d, -P "$3" || true)
  load callbacks "$2" --seconds "$SECONDS_EACH" --pid "$1=$3${pids:+,$pids}"
  figure .per_second >>"$WORK/$1.rates"
  echo "$1 $(figure .per_second)/s, CPU-µs each $(figure '.cpu_us | tostring'), p99 $(figure .ms.p99) ms"
}

latency() {
  start_gateway "sqlite:$WORK/gateway.db"
  load callbacks $GATEWAY_PORT --seconds "$SECONDS_EACH"
  local capacity half
  capacity=$(figure .per_second)
  half=$(awk -v c="$capacity" 'BEGIN { printf "%d", c / 2 }')
  echo "capacity $capacity/s, p99 $(figure .ms.p99) ms"
  load handshake $GATEWAY_PORT --seconds 2 --clients 4 --rate 200
  echo "handshake on an idle gateway: $(figure '.ms | tostring')"
  # The verifications run beside the callbacks and end before them.
  ( load handshake $GATEWAY_PORT --seconds 3 --clients 4 --rate 200
    echo "handshake at half of capacity: $(figure '.ms | tostring')" ) &
  local beside=$!
  echo /health >"$WORK/health"
  ( load get $GATEWAY_PORT --paths "$WORK/health" --seconds 3 --clients 4 --rate 200
    echo "/health at half of capacity: $(figure '.ms | tostring')" ) &
  local health=$!
  load callbacks $GATEWAY_PORT --seconds 6 --rate "$half"
  wait "$beside" "$health"
  echo "answers at half of capacity ($half/s): $(figure '.ms | tostring')"
}

api() { curl -sS --fail-with-body -H 'Content-Type: application/json' "http://127.0.0.1:$GATEWAY_PORT/api/v1/$1" "${@:2}"; }

# endpoint PATH: makes one at the receiver; its id is in ENDPOINT.
endpoint() {
  ENDPOINT=$(api endpoints -d "{\"url\": \"http://127.0.0.1:$RECEIVER_PORT$1\", \"events\": [\"*\"], \"concurrency\": 8}" | jq -r .id)
}

forward() {
  ENVIRONMENT=development start_gateway "sqlite:$WORK/gateway.db"
  start receiver $RECEIVER_PORT target/release/wecom-gateway dev receiver --port $RECEIVER_PORT --quiet
  local without posted waiting begun took delivered
  load callbacks $GATEWAY_PORT --seconds "$SECONDS_EACH"
  without=$(figure .per_second)
  posted=$(target/release/wecom-gateway dev post --url "http://127.0.0.1:$RECEIVER_PORT/" --count 20000 | jq .per_second)
  endpoint /
  api "endpoints/$ENDPOINT/pause" -X POST >/dev/null
  load callbacks $GATEWAY_PORT --corpus 20000 --seconds 60 --warmup 0
  waiting=$(figure .ok)
  echo "intake with none $without/s; with one endpoint $(figure .per_second)/s: ratio $(ratio "$(figure .per_second)" "$without"), wanted 0.7"
  begun=$(date +%s%N)
  api "endpoints/$ENDPOINT/resume" -X POST >/dev/null
  until api 'deliveries?state=queued&limit=1' | jq -e '.data == []' >/dev/null; do sleep 0.1; done
  took=$(($(date +%s%N) - begun))
  delivered=$(awk -v n="$waiting" -v ns="$took" 'BEGIN { printf "%d", n / (ns / 1e9) }')
  echo "$waiting deliveries drained at $delivered/s; the same client without a store $posted/s: ratio $(ratio "$delivered" "$posted"), wanted 0.5"
  echo "gateway: RSS $(memory_kib VmRSS) KiB, peak $(memory_kib VmHWM) KiB"
  endpoint /b
  endpoint /c
  curl -sS -X DELETE "http://127.0.0.1:$RECEIVER_PORT/events" >/dev/null
  load callbacks $GATEWAY_PORT --seconds 6 --rate 200 --warmup 0
  sleep 1
  curl -sS "http://127.0.0.1:$RECEIVER_PORT/events" | jq -r '.data[] | "\(.at_ms) \(.body | fromjson | .timestamp)"' |
    python3 -c '
import datetime, sys
late = sorted(int(at) - round(datetime.datetime.fromisoformat(then).timestamp() * 1000) for at, then in map(str.split, sys.stdin))
print(f"{len(late)} deliveries to three endpoints at 200 events/s: p50 {late[len(late) // 2]} ms, p99 {late[len(late) * 99 // 100]} ms after their acceptance, wanted 50")'
}

status() {
  local database=$WORK/gateway.db start=$SECONDS
  configure "sqlite:$database"
  target/release/wecom-gateway --config "$WORK/gateway.yaml" --log-level warn migrate >/dev/null
  python3 benches/fill.py "$database" "$WORK/paths"
  echo "filled in $((SECONDS - start)) s: $(du -h "$database" | cut -f1)"
  start_gateway "sqlite:$database"
  local answer
  answer=$(curl -sS "http://127.0.0.1:$GATEWAY_PORT$(head -n1 "$WORK/paths")")
  jq -e '.status == "delivered" and (.recipients | length == 4)' <<<"$answer" >/dev/null || die "unexpected: $answer"
  query --rate 500
  echo "status at 500/s: $(figure '.ms | tostring')"
  query
  echo "status at full speed: $(figure .per_second)/s, CPU-µs each $(figure '.cpu_us | tostring'), $(figure '.ms | tostring')"
}

# query OPTION…: status queries for a few seconds.
query() {
  load get $GATEWAY_PORT --paths "$WORK/paths" --clients 16 --seconds "$SECONDS_EACH" --pid "gateway=$GATEWAY_PID" "$@"
}

growth() {
  start_gateway "sqlite:$WORK/gateway.db"
  load callbacks $GATEWAY_PORT --corpus 10000 --seconds 60 --warmup 0
  load callbacks $GATEWAY_PORT --seconds "$SECONDS_EACH"
  local few
  few=$(figure .per_second)
  echo "from 10^4 events: $few/s"
  while [ "$(stored_events)" -lt "$EVENTS" ]; do load callbacks $GATEWAY_PORT --seconds 60 --warmup 0; done
  load callbacks $GATEWAY_PORT --seconds "$SECONDS_EACH"
  echo "from $(stored_events) events: $(figure .per_second)/s; $(du -h "$WORK/gateway.db" | cut -f1)"
  echo "ratio of the last two: $(ratio "$(figure .per_second)" "$few")"
  stop_gateway
  local start
  start=$(date +%s%N)
  start_gateway "sqlite:$WORK/gateway.db"
  until curl -fs "http://127.0.0.1:$GATEWAY_PORT/health" >/dev/null; do sleep 0.005; done
  echo "from exec to /health 200: at most $((($(date +%s%N) - start) / 1000000)) ms"
}

stop_gateway() {
  kill "$GATEWAY_PID"
  wait "$GATEWAY_PID" || die "the gateway ended with $?"
}

# Sending against the fake platform, in full; see tests/it/figures.rs.
sending() {
  SENDING_ROBOTS=${SENDING_ROBOTS:-100} SENDING_EACH=${SENDING_EACH:-100} SENDING_CUT=${SENDING_CUT:-1000} \
    SENDING_QUEUED=${SENDING_QUEUED:-100000} SENDING_UNPACED=${SENDING_UNPACED:-1000} \
    cargo test --release --locked --quiet --test it -- figures:: --nocapture --test-threads 1
}

if [ "${1:-}" = sending ]; then
  sending
  exit
fi
need jq
need curl
build
case ${1:-} in
intake | mysql | peers | latency | status | growth | forward) "$1" ;;
all) for part in intake mysql peers latency status growth forward; do "$0" "$part"; done ;;
*) sed -n '2,15p' "$0"; exit 2 ;;
esac
