#!/usr/bin/env bash
# Measures the gateway beside what it is compared with, in one run on this machine. See benches/README.md.
#
#   benches/run.sh intake     bare axum against the gateway on SQLite; the ratio is the last line; under 50 s
#   benches/run.sh sealed     intake into sealed rows beside clear ones; the ratio is the last line
#   benches/run.sh mysql      the same on a database of its own in MariaDB
#   benches/run.sh peers      the gateway against FastAPI and Node programs
#   benches/run.sh latency    answer times at half of the measured capacity, of URL verifications and /health meanwhile
#   benches/run.sh status     status queries among 10^6 messages with 10^7 pieces of evidence
#   benches/run.sh growth     intake at 10^6 events against 10^4, and the start on them
#   benches/run.sh sending    messages out: limits, cut answers, kills, latency
#   benches/run.sh forward    deliveries to one receiver against the same client without a store, intake with and
#                             without an endpoint, and how long an event takes to three endpoints
#   benches/run.sh reply      what asking a business system adds to its own time, and one that sleeps 10 s
#   benches/run.sh streams    10,000 events to NATS and to Redis across a restart; a listener cut off for 30 s
#   benches/run.sh order      10,000 events of 100 keys, each refused once, and 20,000 events replayed across kill -9
#   benches/run.sh queued     many deliveries in the queue: memory, the read of what is due, intake, a new endpoint, drain
#   benches/run.sh replicas   three replicas behind nginx on a MariaDB of their own: throughput beside one replica's, memory,
#                             callbacks failed by restarts and a kill, answers and drain without the database; under 3 min
#   benches/run.sh all        all of them
#
# Environment: ROUNDS, SECONDS_EACH, EVENTS (of growth), QUEUED (of queued), REPLICA_RATE (callbacks a second of replicas), MYSQL_ADMIN (default: mariadb -h127.0.0.1 -uroot), PEER_WORKERS (default 1).
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${ROUNDS:-3}
EVENTS=${EVENTS:-1000000}
QUEUED=${QUEUED:-1000000}
SECONDS_EACH=${SECONDS_EACH:-4}
read -ra MYSQL_ADMIN <<<"${MYSQL_ADMIN:-mariadb -h127.0.0.1 -uroot}"
PEER_WORKERS=${PEER_WORKERS:-1}
REPLICA_RATE=${REPLICA_RATE:-200}

TOKEN=BenchToken KEY=zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR CORP=wwbench0000000001
GATEWAY_PORT=18080 RECEIVER_PORT=18089 SECOND_PORT=18088 NOBODYS_PORT=18087 BARE_PORT=18090 FASTAPI_PORT=18091 NODE_PORT=18092
REPLICA_PORTS=(18093 18094 18095) NGINX_PORT=18096 MARIADB_PORT=18097
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
${ASK:-}
YAML
}

# serve_at DATABASE_URL: starts the gateway; it listens before its tasks have begun.
serve_at() {
  configure "$1"
  start gateway $GATEWAY_PORT target/release/wecom-gateway --config "$WORK/gateway.yaml" --log-level warn serve
  GATEWAY_PID=$PID
}

# start_gateway DATABASE_URL
start_gateway() {
  serve_at "$1"
  sleep 1
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

# Intake into clear and into sealed rows, in turns, each into a new file.
sealed() {
  local round key rate
  for round in $(seq "$ROUNDS"); do
    for key in "" a-key-at-rest-for-benches; do
      GATEWAY_ENCRYPTION_KEY=$key start_gateway "sqlite:$WORK/sealed-$round-${#key}.db"
      load callbacks $GATEWAY_PORT --seconds "$SECONDS_EACH" --pid "gateway=$GATEWAY_PID"
      rate=$(figure .per_second)
      echo "round $round: ${key:+sealed }$rate/s, CPU-µs each $(figure '.cpu_us | tostring'), p99 $(figure .ms.p99) ms"
      echo "$rate" >>"$WORK/sealed-${#key}.rates"
      stop_gateway
    done
  done
  echo "ratio sealed/clear: $(ratio "$(median <"$WORK/sealed-25.rates")" "$(median <"$WORK/sealed-0.rates")")"
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
  lateness "to three endpoints"
  RECEIVER_PORT=$NOBODYS_PORT endpoint /dead
  lateness "to the three beside a dead one"
}

# lateness WHOSE: how long after their acceptance events of 200 a second arrive at the receiver.
lateness() {
  curl -sS -X DELETE "http://127.0.0.1:$RECEIVER_PORT/events" >/dev/null
  load callbacks $GATEWAY_PORT --seconds 6 --rate 200 --warmup 0
  sleep 1
  curl -sS "http://127.0.0.1:$RECEIVER_PORT/events" | jq -r '.data[] | "\(.at_ms) \(.body | fromjson | .timestamp)"' |
    python3 -c '
import datetime, sys
late = sorted(int(at) - round(datetime.datetime.fromisoformat(then).timestamp() * 1000) for at, then in map(str.split, sys.stdin))
print(f"{len(late)} deliveries {sys.argv[1]} at 200 events/s: p50 {late[len(late) // 2]} ms, p99 {late[len(late) * 99 // 100]} ms after their acceptance, wanted 50")' "$1"
}

# Asking what to say: the receiver answers after SAYS_MS.
reply() {
  local ms
  start receiver $RECEIVER_PORT target/release/wecom-gateway dev receiver --port $RECEIVER_PORT --quiet
  for ms in 100 10000; do
    ASK="    ask: { url: 'http://127.0.0.1:$RECEIVER_PORT/?type=says-$ms&body={\"text\":\"hi\"}', secret: a-secret-of-the-bench-0001, events: [message.text], timeout_ms: 3900 }" \
      ENVIRONMENT=development start_gateway "sqlite:$WORK/gateway-$ms.db"
    load callbacks $GATEWAY_PORT --rate "$((ms == 100 ? 100 : 20))" --clients 256 --seconds 8 --corpus 2000 --warmup 0
    echo "a business system that takes $ms ms: answers $(figure '.ms | tostring')"
    curl -sS "http://127.0.0.1:$GATEWAY_PORT/metrics" | grep '^wecom_replies_total{' | grep -v ' 0$'
    stop_gateway
  done
}

streams() {
  STREAM_EVENTS=${STREAM_EVENTS:-10000} LISTEN_CUT_S=${LISTEN_CUT_S:-30} cargo test --locked --quiet --test it -- \
    has_every_event_after_a_restart stream::a_listener_gets --nocapture --test-threads 1
}

queued_deliveries() { sqlite 'SELECT COUNT(*) FROM deliveries WHERE due_ms IS NOT NULL'; }

sqlite() {
  python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1], timeout=30).execute(sys.argv[2]).fetchone()[0])' \
    "$WORK/gateway.db" "$1"
}

queued() {
  ENVIRONMENT=development start_gateway "sqlite:$WORK/gateway.db"
  start receiver $RECEIVER_PORT target/release/wecom-gateway dev receiver --port $RECEIVER_PORT --quiet
  start second $SECOND_PORT target/release/wecom-gateway dev receiver --port $SECOND_PORT --quiet
  local first waiting begun left
  load callbacks $GATEWAY_PORT --seconds 6 --rate 500
  echo "an empty queue: answers at 500/s $(figure '.ms | tostring')"
  endpoint /first
  first=$ENDPOINT
  api "endpoints/$first/pause" -X POST >/dev/null
  while [ "$(queued_deliveries)" -lt "$QUEUED" ]; do load callbacks $GATEWAY_PORT --seconds 60 --warmup 0; done
  waiting=$(queued_deliveries)
  load callbacks $GATEWAY_PORT --seconds 6 --rate 500
  echo "$waiting queued: answers at 500/s $(figure '.ms | tostring'), wanted p99 1.25 of that with an empty queue"
  echo "gateway: RSS $(memory_kib VmRSS) KiB, wanted 262144"
  python3 - "$WORK/gateway.db" <<'PYTHON'
import sqlite3, sys, time
db, took = sqlite3.connect(sys.argv[1]), []
(target,) = db.execute("SELECT MIN(target_id) FROM deliveries").fetchone()
for _ in range(500):
    begun = time.perf_counter()
    db.execute("SELECT * FROM deliveries WHERE target_id = ? AND due_ms <= ? ORDER BY due_ms, id LIMIT 256",
               (target, 2**62)).fetchall()
    took.append((time.perf_counter() - begun) * 1000)
print(f"the read of what is due: p99 {sorted(took)[494]:.1f} ms, wanted 10")
PYTHON
  RECEIVER_PORT=$SECOND_PORT endpoint /
  begun=$(date +%s%N)
  api "endpoints/$first/resume" -X POST >/dev/null
  load callbacks $GATEWAY_PORT --corpus 1 --clients 1 --seconds 5 --warmup 0
  until curl -sS "http://127.0.0.1:$SECOND_PORT/events" | jq -e '.data != []' >/dev/null; do sleep 0.05; done
  echo "the event of a new endpoint arrived after at most $((($(date +%s%N) - begun) / 1000000)) ms, wanted 2000"
  sleep 20
  left=$(queued_deliveries)
  echo "drained at $(awk -v n=$((waiting - left)) -v ns=$(($(date +%s%N) - begun)) 'BEGIN { printf "%d", n / (ns / 1e9) }')/s, wanted 1000"
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
  sleep 5 # What earlier callbacks left to be indexed is done then, here and below.
  load callbacks $GATEWAY_PORT --seconds "$SECONDS_EACH"
  local few
  few=$(figure .per_second)
  echo "from 10^4 events: $few/s"
  while [ "$(stored_events)" -lt "$EVENTS" ]; do load callbacks $GATEWAY_PORT --seconds 60 --warmup 0; done
  sleep 5
  load callbacks $GATEWAY_PORT --seconds "$SECONDS_EACH"
  echo "from $(stored_events) events: $(figure .per_second)/s; $(du -h "$WORK/gateway.db" | cut -f1)"
  echo "ratio of the last two: $(ratio "$(figure .per_second)" "$few")"
  stop_gateway
  local start
  start=$(date +%s%N)
  serve_at "sqlite:$WORK/gateway.db"
  until curl -fs "http://127.0.0.1:$GATEWAY_PORT/health" >/dev/null; do sleep 0.005; done
  echo "from exec to /health 200: at most $((($(date +%s%N) - start) / 1000000)) ms"
}

start_mariadb() {
  start mariadb $MARIADB_PORT mariadbd --no-defaults --user="$(id -un)" --datadir="$PWD/$WORK/mariadb" \
    --tmpdir="$PWD/$WORK/mariadb-tmp" --socket="$PWD/$WORK/socket" --port=$MARIADB_PORT \
    --bind-address=127.0.0.1 --innodb-flush-log-at-trx-commit=1 --sync-binlog=1
  MARIADB_PID=$PID
}

# start_replica PLACE: the replica at that place of REPLICA_PORTS; its process id goes to REPLICA_PIDS.
start_replica() {
  local port=${REPLICA_PORTS[$1]}
  GATEWAY_PORT=$port configure "mysql://root@127.0.0.1:$MARIADB_PORT/gateway"
  sed "s|^webhook: {|webhook: { trusted_proxies: [127.0.0.1],|" "$WORK/gateway.yaml" >"$WORK/replica-$1.yaml"
  echo "spool: { directory: '$PWD/$WORK/spool-$1' }" >>"$WORK/replica-$1.yaml"
  start "replica-$1" "$port" target/release/wecom-gateway --config "$WORK/replica-$1.yaml" --log-level warn serve
  REPLICA_PIDS[$1]=$PID
}

# behind_nginx COUNT: nginx passes to the first COUNT replicas. The shipped site without TLS: the load speaks none.
behind_nginx() {
  local place
  {
    # shellcheck disable=SC2016 # the variable is nginx's
    echo 'map "" $wecom_gateway { default wecom_gateway; }'
    echo 'upstream wecom_gateway { zone wecom_gateway 64k; keepalive 32; keepalive_timeout 50s;'
    for place in $(seq 0 $(($1 - 1))); do echo "server 127.0.0.1:${REPLICA_PORTS[$place]} max_fails=2 fail_timeout=2s;"; done
    echo '}'
  } >"$WORK/nginx/upstream.conf"
  [ -z "${NGINX_PID:-}" ] || { kill -HUP "$NGINX_PID" && sleep 1 && return; }
  sed -e "s|/etc/nginx/wecom-gateway|$PWD/$WORK/nginx|; s|/var/log/nginx|$PWD/$WORK/nginx|; /listen \[::\]/d; /^ *ssl_/d" \
    -e "s|listen 443 ssl |listen 127.0.0.1:$NGINX_PORT |; s|listen 80 |listen 127.0.0.1:$((NGINX_PORT + 100)) |" \
    nginx/wecom-gateway.conf >"$WORK/nginx/site"
  {
    echo "daemon off; user root; worker_processes 2; pid $PWD/$WORK/nginx/pid; events { } http { include $PWD/$WORK/nginx/site;"
    for place in client_body proxy fastcgi uwsgi scgi; do echo "${place}_temp_path $PWD/$WORK/nginx/$place;"; done
    echo '}'
  } >"$WORK/nginx/main"
  start nginx $NGINX_PORT nginx -c "$PWD/$WORK/nginx/main" -e stderr
  NGINX_PID=$PID
}

rss_of_replicas() {
  local pid
  for pid in "${REPLICA_PIDS[@]}"; do awk '$1 == "VmHWM:" { printf "%d ", $2 }' "/proc/$pid/status"; done
}

# offer SECONDS: REPLICA_RATE callbacks a second through nginx; says how many failed, and how long answers took.
offer() {
  REPORT=$($BIN/load callbacks --url "http://127.0.0.1:$NGINX_PORT/api/v1/webhooks/wechat/api" --token $TOKEN --key $KEY \
    --receive-id $CORP --corpus $((REPLICA_RATE * $1)) --rate "$REPLICA_RATE" --seconds "$1" --warmup 0)
  echo "$(figure .requests) sent, $(figure '.requests - .ok + .connection_errors + .unanswered') failed (wanted 0): $(figure '.ms | tostring')"
  figure .ok >>"$WORK/acked"
}

replicas() {
  need mariadbd
  need nginx
  local place round offering begun rate one=() three=()
  mkdir "$WORK/nginx" "$WORK/mariadb" "$WORK/mariadb-tmp"
  TMPDIR="$PWD/$WORK/mariadb-tmp" mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$PWD/$WORK/mariadb" \
    --auth-root-authentication-method=normal --skip-test-db >/dev/null
  start_mariadb
  mariadb -h127.0.0.1 -P$MARIADB_PORT -uroot -e 'CREATE DATABASE gateway'
  for place in 0 1 2; do start_replica $place; done
  behind_nginx 1
  for round in $(seq "$ROUNDS"); do
    for place in 1 3; do
      behind_nginx $place
      load callbacks $NGINX_PORT --seconds "$SECONDS_EACH" --corpus 60000
      figure .ok >>"$WORK/acked"
      rate=$(figure .per_second)
      echo "round $round: $place behind nginx: $rate/s, p99 $(figure .ms.p99) ms"
      if [ $place = 1 ]; then one+=("$rate"); else three+=("$rate"); fi
    done
  done
  echo "three replicas against one: ratio $(ratio "$(printf '%s\n' "${three[@]}" | median)" "$(printf '%s\n' "${one[@]}" | median)"), wanted 0.9"
  echo "replicas: peak RSS $(rss_of_replicas)KiB, wanted 262144 each"
  offer 20 >"$WORK/offered" &
  offering=$!
  for place in 0 1 2; do
    sleep 2
    kill "${REPLICA_PIDS[$place]}"
    wait "${REPLICA_PIDS[$place]}" || die "replica $place ended with $?"
    start_replica $place
  done
  sleep 2
  kill -9 "${REPLICA_PIDS[0]}"
  # The shell tells of the killed one when it is waited for.
  { wait "${REPLICA_PIDS[0]}" || true; } 2>/dev/null
  wait "$offering"
  echo "restarted one by one, one killed: $(cat "$WORK/offered")"
  start_replica 0
  kill "$MARIADB_PID"
  wait "$MARIADB_PID" || true
  echo "without the database: $(offer 10), wanted p99 500"
  start_mariadb
  begun=$(date +%s%N)
  until replicas_drained; do
    [ $((($(date +%s%N) - begun) / 1000000000)) -lt 120 ] || die "the spools are not drained"
    sleep 0.1
  done
  echo "spools drained $((($(date +%s%N) - begun) / 1000000)) ms after its return, wanted 60000"
  echo "replicas: peak RSS $(rss_of_replicas)KiB, wanted 262144 each"
  local acked stored
  acked=$(awk '{ all += $1 } END { print all }' "$WORK/acked")
  stored=$(mariadb -h127.0.0.1 -P$MARIADB_PORT -uroot -N -e 'SELECT COUNT(*) FROM gateway.events')
  echo "$acked callbacks acknowledged, $stored events stored"
  [ "$stored" -ge "$acked" ] || die "fewer events than answers"
}

# Whether no replica has callbacks that the database lacks.
replicas_drained() {
  local port
  for port in "${REPLICA_PORTS[@]}"; do
    curl -sS "http://127.0.0.1:$port/api/v1/status" | jq -e '.spool.in_use == false and .spool.rows == 0' >/dev/null || return
  done
}

stop_gateway() {
  kill "$GATEWAY_PID"
  wait "$GATEWAY_PID" || die "the gateway ended with $?"
}

# Sending against the fake platform, in full; see tests/it/figures.rs.
order() {
  ORDER_KEYS=${ORDER_KEYS:-100} ORDER_EACH=${ORDER_EACH:-100} REPLAY_EVENTS=${REPLAY_EVENTS:-20000} \
    cargo test --release --locked --quiet --test it -- \
    of_each_key_the_order_of_acceptance a_replay_survives_a_kill --nocapture --test-threads 1
}

sending() {
  SENDING_ROBOTS=${SENDING_ROBOTS:-100} SENDING_EACH=${SENDING_EACH:-100} SENDING_CUT=${SENDING_CUT:-1000} \
    SENDING_QUEUED=${SENDING_QUEUED:-100000} SENDING_UNPACED=${SENDING_UNPACED:-1000} \
    SENDING_KILLED_ROBOTS=${SENDING_KILLED_ROBOTS:-100} SENDING_KILLED_EACH=${SENDING_KILLED_EACH:-18} \
    cargo test --release --locked --quiet --test it -- figures:: --nocapture --test-threads 1
}

case ${1:-} in
sending | streams | order)
  "$1"
  exit
  ;;
esac
need jq
need curl
build
case ${1:-} in
intake | sealed | mysql | peers | latency | status | growth | forward | reply | queued | replicas) "$1" ;;
all) for part in intake sealed mysql peers latency status growth forward reply queued replicas; do "$0" "$part"; done ;;
*) sed -n '2,/^set /{/^#/p}' "$0"; exit 2 ;;
esac
