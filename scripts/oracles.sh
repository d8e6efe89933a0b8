#!/usr/bin/env bash
# Somebody else's code on the other side: wechatpy and @wecom/crypto play the platform against a running gateway,
# open what it seals, and seal what it opens; standardwebhooks, svix and @octokit/webhooks-methods verify what it
# forwards. See tests/oracles/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

GATEWAY=${ORACLE_GATEWAY:-target/release/wecom-gateway}
PYTHON=target/venv/bin/python
PORT=${ORACLE_PORT:-18070}
FAKE_PORT=$((PORT + 4))
OLD_PORT=$((PORT + 5))
TOKEN=OracleToken CORP=ww0123456789abcdef COUNT=60
# Its last character has unused bits that are not zero, as most issued keys do.
KEY=zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR
WORK=$(mktemp -d)
PID=''
FAKE_PID=''
OLD_PID=''
SAMPLES=()
RECEIVERS=()

finish() {
  [ -z "$PID" ] || kill "$PID" 2>/dev/null || true
  [ -z "$FAKE_PID" ] || kill "$FAKE_PID" 2>/dev/null || true
  [ -z "$OLD_PID" ] || kill "$OLD_PID" 2>/dev/null || true
  [ ${#SAMPLES[@]} = 0 ] || kill "${SAMPLES[@]}" 2>/dev/null || true
  [ ${#RECEIVERS[@]} = 0 ] || kill "${RECEIVERS[@]}" 2>/dev/null || true
  wait
  rm -rf "$WORK"
}
trap finish EXIT

die() {
  echo "oracles: $*" >&2
  [ ! -s "$WORK/log" ] || tail -n 20 "$WORK/log" >&2
  exit 1
}

# The platform that the drop-in API sends to.
start_fake() {
  $GATEWAY dev wecom --port $FAKE_PORT --app "$CORP:unused" >"$WORK/fake" 2>&1 &
  FAKE_PID=$!
}

# Somebody else's callback system, which gets copies of the app's callbacks.
start_old() {
  $PYTHON tests/oracles/python/old.py --port $OLD_PORT --token $TOKEN --key $KEY --receive-id $CORP \
    --summary "$WORK/old" &
  OLD_PID=$!
}

# It opened every copy, and its other words were noticed.
check_old() {
  local listed
  for _ in $(seq 100); do
    [ "$(jq '.opened >= $least' --argjson least $((2 * COUNT)) "$WORK/old" 2>/dev/null)" != true ] || break
    sleep 0.1
  done
  jq -e '.opened >= $least and .refused == 0' --argjson least $((2 * COUNT)) "$WORK/old" >/dev/null ||
    die "the old system says $(cat "$WORK/old")"
  listed=$(curl -sS "http://127.0.0.1:$PORT/api/v1/shadow/differences" | jq '.data | length')
  [ "$listed" -gt 0 ] || die "no difference to the old system is listed"
  echo "the old system opened every copy: $(cat "$WORK/old"); $listed differences listed"
}

# The samples of examples/receivers get every event of the play, each once.
start_samples() {
  local secret=whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=
  python3 examples/receivers/receiver.py --port $((PORT + 6)) --secret $secret >"$WORK/sample-python" &
  SAMPLES+=($!)
  node examples/receivers/receiver.js --port $((PORT + 7)) --secret $secret >"$WORK/sample-node" &
  SAMPLES+=($!)
  sleep 1
  subscribe $((PORT + 6)) standard $secret
  subscribe $((PORT + 7)) standard $secret
}

await_samples() {
  local sample all=$((4 * COUNT)) found=0
  for sample in python node; do
    for _ in $(seq 300); do
      found=$(grep -c ^evt_ "$WORK/sample-$sample" || true)
      [ "$found" != $all ] || break
      sleep 0.1
    done
    [ "$found" = $all ] || die "the receiver in $sample handled $found events, not $all"
    echo "the receiver in $sample handled $found events, each once"
  done
}

start_gateway() {
  cat >"$WORK/gateway.yaml" <<YAML
service: { environment: development }
auth: { master_key: a-master-key-for-oracles }
webhook: { host: 127.0.0.1, port: $PORT, rate_exempt: [127.0.0.0/8] }
database: { url: "sqlite:$WORK/gateway.db" }
channels:
  wechat_api:
    { corp_id: $CORP, secret: unused, agent_id: "1000002", token: $TOKEN, encoding_aes_key: $KEY,
      base_url: "http://127.0.0.1:$FAKE_PORT",
      replies: [{ contains: 条, reply: { text: "]]> 好的" } }],
      shadow: { url: "http://127.0.0.1:$OLD_PORT/" } }
  wechat_bot:
    { webhook_url: "https://127.0.0.1/?key=unused", token: $TOKEN, encoding_aes_key: $KEY,
      replies: [{ contains: 条, reply: { text: "]]> 好的" } }] }
  smart_robot:
    { type: wechat_bot, handler: smart, webhook_url: "", token: $TOKEN, encoding_aes_key: $KEY,
      replies: [{ reply: { msgtype: stream, stream: { content: 正在查询 } } }] }
YAML
  $GATEWAY --config "$WORK/gateway.yaml" serve >"$WORK/log" 2>&1 &
  PID=$!
  for _ in $(seq 100); do
    if (: >"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then return; fi
    kill -0 $PID 2>/dev/null || die "the gateway ended"
    sleep 0.1
  done
  die "the gateway does not answer"
}

# play HANDLER RECEIVE_ID: both libraries call the gateway.
play() {
  local arguments=(--url "http://127.0.0.1:$PORT/api/v1/webhooks/wechat/$1" --token "$TOKEN" --key "$KEY"
    --receive-id "$2" --count "$COUNT")
  $PYTHON tests/oracles/python/play.py "${arguments[@]}" || die "wechatpy is not content with $1"
  node tests/oracles/node/play.js "${arguments[@]}" || die "@wecom/crypto is not content with $1"
}

# Every distinct callback is one row, however often it was sent; no forgery is any.
count_events() {
  local found
  found=$($PYTHON -c 'import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute("SELECT COUNT(*) FROM events").fetchone())' "$WORK/gateway.db")
  [ "$found" = $((4 * COUNT)) ] || die "$found events stored, not $((4 * COUNT))"
  echo "$found events stored of as many distinct callbacks"
}

# subscribe PORT DIALECT SECRET: a business system at PORT gets every event.
subscribe() {
  local body
  body=$(jq -n --arg url "http://127.0.0.1:$1/" --arg dialect "$2" --arg secret "$3" \
    '{url: $url, dialect: $dialect, secret: $secret, events: ["*"], schedule: "once"}')
  curl -sS --fail-with-body -o "$WORK/endpoint" "http://127.0.0.1:$PORT/api/v1/endpoints" \
    -H 'Content-Type: application/json' -d "$body" || die "no endpoint: $(cat "$WORK/endpoint")"
}

# Other people's libraries verify what the gateway forwards: every event of the play, each once.
start_receivers() {
  local all=$((4 * COUNT)) standard=whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
  local github="a secret of some length"
  $PYTHON tests/oracles/python/receive.py --port $((PORT + 1)) --secret "$standard" --count $all >"$WORK/python" &
  RECEIVERS+=($!)
  node tests/oracles/node/receive.js --port $((PORT + 2)) --secret "$standard" --count $all --dialect standard \
    >"$WORK/node" &
  RECEIVERS+=($!)
  node tests/oracles/node/receive.js --port $((PORT + 3)) --secret "$github" --count $all --dialect github \
    >"$WORK/octokit" &
  RECEIVERS+=($!)
  sleep 1
  subscribe $((PORT + 1)) standard "$standard"
  subscribe $((PORT + 2)) standard "$standard"
  subscribe $((PORT + 3)) github "$github"
}

await_receivers() {
  local receiver
  for receiver in "${RECEIVERS[@]}"; do
    timeout 60 tail --pid="$receiver" -f /dev/null || die "a receiver still waits"
    wait "$receiver" || die "a receiver refused a signature"
  done
  RECEIVERS=()
  cat "$WORK/python" "$WORK/node" "$WORK/octokit"
}

# A smart robot's stream: @wecom/crypto asks for it and opens every answer, and wechatpy opens them too.
stream_to_them() {
  node tests/oracles/node/stream.js --url "http://127.0.0.1:$PORT/api/v1/webhooks/wechat/smart" \
    --api "http://127.0.0.1:$PORT" --token $TOKEN --key $KEY --receive-id "" >"$WORK/stream" ||
    die "@wecom/crypto is not content with a stream"
  $PYTHON tests/oracles/python/open_reply.py --expected --token $TOKEN --key $KEY --receive-id "" <"$WORK/stream" ||
    die "wechatpy cannot open a stream"
}

# What the libraries seal, the gateway opens.
open_theirs() {
  local keys=() line query opened=0
  printf %s "$TOKEN" >"$WORK/token"
  printf %s "$KEY" >"$WORK/key"
  keys=(--token-file "$WORK/token" --encoding-aes-key-file "$WORK/key" --receive-id "$CORP")
  {
    $PYTHON tests/oracles/python/seal_vectors.py --token $TOKEN --key $KEY --receive-id $CORP
    node tests/oracles/node/seal_vectors.js --token $TOKEN --key $KEY --receive-id $CORP
  } >"$WORK/vectors"
  while read -r line; do
    query=$(jq -r '"msg_signature=\(.msg_signature)&timestamp=\(.timestamp)&nonce=\(.nonce)"' <<<"$line")
    jq -j .plaintext <<<"$line" >"$WORK/expected"
    jq -c '{encrypt}' <<<"$line" | $GATEWAY codec open "${keys[@]}" --query "$query" >"$WORK/opened" ||
      die "cannot open $line"
    # The command ends its output with a line break.
    echo >>"$WORK/expected"
    cmp "$WORK/expected" "$WORK/opened" || die "opened wrongly: $line"
    opened=$((opened + 1))
  done <"$WORK/vectors"
  [ $opened = 128 ] || die "$opened vectors opened, not 128"
  echo "$opened messages of theirs opened by the gateway"
}

# What the gateway seals, the libraries open.
open_ours() {
  local receive_id
  for receive_id in $CORP ""; do
    cargo run --locked --quiet --example seal_replies -- $TOKEN $KEY "$receive_id" >"$WORK/replies"
    $PYTHON tests/oracles/python/open_reply.py --expected --token $TOKEN --key $KEY --receive-id "$receive_id" \
      <"$WORK/replies" || die "wechatpy cannot open a reply"
    node tests/oracles/node/open_reply.js --expected --token $TOKEN --key $KEY --receive-id "$receive_id" \
      <"$WORK/replies" || die "@wecom/crypto cannot open a reply"
  done
}

# Sending: wechatpy's client with nothing changed but its host.
drop_in() {
  $PYTHON tests/oracles/python/drop_in.py --gateway "http://127.0.0.1:$PORT" --corp-id "$CORP" --secret unused \
    --agent-id 1000002 || die "wechatpy cannot send"
}

start_fake
start_old
start_gateway
drop_in
start_receivers
start_samples
play api $CORP
play bot ""
count_events
await_receivers
await_samples
check_old
stream_to_them
open_theirs
open_ours
