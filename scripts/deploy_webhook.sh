#!/usr/bin/env bash
# Deploys the gateway with Docker: checks, makes missing secrets, backs up, builds, exchanges the replicas one by one,
# waits for their health, and goes back to the old image if they do not become healthy. Safe to run twice.
#
#   scripts/deploy_webhook.sh [-e ENVIRONMENT] [-n] [-f] [-b] [--dry-run]
#
#   -e ENVIRONMENT  development, staging or production; default: production
#   -n              nginx in front: TLS on port 443, with nginx/certs/fullchain.pem and privkey.pem
#   -f              build anew, without the cache of earlier builds
#   -b              back the database up first, in development too; staging and production always do
#   --dry-run       show the plan and what is missing; change nothing, need nothing
#   -h              this text
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/database.sh
. scripts/database.sh

ENV_FILE=.env
IMAGE=wecom-gateway
SECRETS=(GATEWAY_MASTER_KEY GATEWAY_API_KEYS MYSQL_PASSWORD REDIS_PASSWORD)
HEALTH_LIMIT_S=${HEALTH_LIMIT_S:-120}
environment=production nginx='' rebuild='' backup='' dry=''
compose=(docker compose) profile=()
problems=() before=''

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

say() { echo "==> $*"; }

die() {
  echo "deploy: $*" >&2
  exit 1
}

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      -e | --environment) environment=${2:-} && shift ;;
      -n | --nginx) nginx=yes ;;
      -f | --force) rebuild=yes ;;
      -b | --backup) backup=yes ;;
      --dry-run) dry=yes ;;
      -h | --help) usage && exit 0 ;;
      *) usage >&2 && exit 2 ;;
    esac
    [ $# -eq 0 ] || shift
  done
  case $environment in
    development | staging | production) ;;
    *) echo "deploy: -e wants development, staging or production" >&2 && exit 2 ;;
  esac
}

# What each environment means. Exported variables win over those of .env.
choose_settings() {
  export GATEWAY_ENV=$environment GATEWAY_IMAGE=$IMAGE:latest GATEWAY_REPLICAS
  GATEWAY_REPLICAS=$(value_of GATEWAY_REPLICAS)
  case $environment in
    development)
      export LOG_LEVEL=debug LOG_FORMAT=text
      GATEWAY_REPLICAS=${GATEWAY_REPLICAS:-1}
      ;;
    staging) GATEWAY_REPLICAS=${GATEWAY_REPLICAS:-2} backup=yes ;;
    production) GATEWAY_REPLICAS=${GATEWAY_REPLICAS:-3} backup=yes ;;
  esac
  [ -z "$nginx" ] || profile=(--profile with-nginx)
}

# run COMMAND…: shows it and, unless this is a dry run, does it.
run() {
  if [ "$1" = compose ]; then
    echo "    ${compose[*]} ${profile[*]:+${profile[*]} }${*:2}"
  else
    echo "    $*"
  fi
  [ -n "$dry" ] || "$@"
}

# Docker Compose, where its file is.
compose() { (cd docker/webhook && "${compose[@]}" "${profile[@]}" "$@"); }

# --- what has to be there -----------------------------------------------------------------------------------------

check_tools() {
  local tool
  for tool in openssl gzip sha256sum; do
    command -v $tool >/dev/null || problems+=("$tool is not installed")
  done
  if ! command -v docker >/dev/null; then
    problems+=("docker is not installed")
    return
  fi
  if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
  elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
  else
    problems+=("neither \`docker compose\` nor docker-compose is installed")
  fi
  docker info >/dev/null 2>&1 || problems+=("the docker client finds no Docker engine: is it running, may $(id -un) use it?")
}

# Every variable that is missing, at once. A channel of which none is set is off.
check_variables() {
  local app=(WECHAT_CORP_ID WECHAT_CORP_SECRET WECHAT_AGENT_ID WECHAT_TOKEN WECHAT_ENCODING_AES_KEY) name set=0
  for name in "${app[@]}"; do [ -z "$(value_of "$name")" ] || set=$((set + 1)); done
  if [ $set = 0 ] && [ -z "$(value_of WECHAT_BOT_WEBHOOK_URL)" ] && grep -q 'WECHAT_CORP_ID' config/notification.yaml; then
    problems+=("no channel is set in $ENV_FILE: ${app[*]} for an app, or WECHAT_BOT_WEBHOOK_URL for a group robot")
  elif [ $set != 0 ]; then
    for name in "${app[@]}"; do
      [ -n "$(value_of "$name")" ] || problems+=("$name is not set in $ENV_FILE")
    done
  fi
  case $GATEWAY_REPLICAS in [1-9] | [1-9][0-9]) ;; *) problems+=("GATEWAY_REPLICAS is no number from 1 to 99") ;; esac
}

check_certificate() {
  local file
  [ -n "$nginx" ] && [ "$environment" != development ] || return 0
  for file in nginx/certs/fullchain.pem nginx/certs/privkey.pem; do
    [ -s $file ] || problems+=("$file is missing: the certificate of your domain, with its chain, and its key")
  done
}

report_problems() {
  local problem
  [ ${#problems[@]} -gt 0 ] || return 0
  for problem in "${problems[@]}"; do echo "    problem: $problem"; done
  [ -n "$dry" ] || die "${#problems[@]} problem(s), nothing was changed"
}

# --- secrets --------------------------------------------------------------------------------------------------------

# keep NAME VALUE: writes it to .env, in the place of an empty one.
keep() {
  local written
  written=$(mktemp "$ENV_FILE.XXXXXX")
  NAME=$1 VALUE=$2 awk '
    !done && $0 ~ "^" ENVIRON["NAME"] "=[ \t]*$" { print ENVIRON["NAME"] "=" ENVIRON["VALUE"]; done = 1; next }
    { print }
    END { if (!done) print ENVIRON["NAME"] "=" ENVIRON["VALUE"] }' "$ENV_FILE" >"$written"
  mv "$written" "$ENV_FILE"
}

make_secrets() {
  local name secret
  umask 077
  [ -n "$dry" ] || [ -e "$ENV_FILE" ] || : >"$ENV_FILE"
  for name in "${SECRETS[@]}"; do
    [ -z "$(value_of "$name")" ] || continue
    echo "    make $name in $ENV_FILE"
    secret=$(openssl rand -hex 32 2>/dev/null || true)
    [ "$name" != GATEWAY_API_KEYS ] || secret=admin:admin:$secret
    [ -n "$dry" ] || keep "$name" "$secret"
  done
  run chmod 600 "$ENV_FILE"
  umask 022
  if [ -n "$nginx" ] && [ "$environment" = development ] && [ ! -s nginx/certs/privkey.pem ]; then
    run mkdir -p nginx/certs
    run openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
      -keyout nginx/certs/privkey.pem -out nginx/certs/fullchain.pem
  fi
}

# --- the exchange ---------------------------------------------------------------------------------------------------

# Container ids of a service. Without a Docker engine, as in a dry run: none.
containers() { compose ps -q "$1" 2>/dev/null || true; }

state_of() { docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$1" 2>/dev/null || true; }

# await SERVICE COUNT: until that many containers are healthy.
await() {
  local service=$1 count=$2 healthy id state waited=0
  echo "    wait for $count healthy $service (at most $HEALTH_LIMIT_S s)"
  [ -z "$dry" ] || return 0
  while [ $waited -lt "$HEALTH_LIMIT_S" ]; do
    healthy=0
    for id in $(containers "$service"); do
      state=$(state_of "$id")
      case $state in
        healthy) healthy=$((healthy + 1)) ;;
        unhealthy | exited | dead)
          echo "    $service is $state" >&2
          return 1
          ;;
      esac
    done
    [ $healthy -lt "$count" ] || return 0
    sleep 1
    waited=$((waited + 1))
  done
  echo "    $healthy of $count $service are healthy after $HEALTH_LIMIT_S s" >&2
  return 1
}

# Removes one replica after the other, each replaced before the next goes.
exchange() {
  local id
  for id in $(containers gateway); do
    run docker stop --time 15 "$id" && run docker rm "$id" || return
    run compose up -d --no-build --no-deps --no-recreate --scale gateway="$GATEWAY_REPLICAS" gateway || return
    await gateway "$GATEWAY_REPLICAS" || return
  done
  run compose up -d --no-build --no-deps --no-recreate --scale gateway="$GATEWAY_REPLICAS" gateway || return
  await gateway "$GATEWAY_REPLICAS"
}

start_nginx() {
  [ -n "$nginx" ] || return 0
  run compose up -d --no-deps nginx && run compose exec -T nginx nginx -t && run compose exec -T nginx nginx -s reload
}

# leave WHY: nothing that runs was touched yet.
leave() {
  [ -z "$before" ] || docker tag "$before" "$GATEWAY_IMAGE"
  die "$1; what ran before runs on"
}

roll_back() {
  local id
  compose logs --tail 30 gateway >&2 || true
  if [ -z "$before" ]; then
    die "the replicas do not become healthy. There is nothing to go back to; they stay for a look"
  fi
  say "Go back to the image before"
  run docker tag "$before" "$GATEWAY_IMAGE"
  for id in $(containers gateway); do
    [ "$(docker inspect -f '{{.Image}}' "$id")" = "$before" ] || run docker rm --force "$id"
  done
  run compose up -d --no-build --no-deps --no-recreate --scale gateway="$GATEWAY_REPLICAS" gateway
  await gateway "$GATEWAY_REPLICAS" || die "the deployment failed, and the image before does not become healthy either." \
    "If the new version changed the schema, the old one refuses it: stop gateway, then scripts/restore.sh --docker with the newest file in backups/"
  die "the deployment failed; the image before runs again"
}

main() {
  read_arguments "$@"
  choose_settings
  say "Deploy $environment: $GATEWAY_REPLICAS replica(s)${nginx:+ behind nginx}, log level ${LOG_LEVEL:-of $ENV_FILE}${dry:+ (dry run: nothing is changed)}"
  say "Check tools, variables, certificate"
  check_tools
  check_variables
  check_certificate
  report_problems
  say "Make missing secrets"
  make_secrets
  run compose config --quiet

  if [ -n "$backup" ] && { [ -n "$dry" ] || [ -n "$(containers mysql)" ]; }; then
    say "Back up${dry:+ (unless this is the first deployment)}"
    run env COMPOSE="${compose[*]}" scripts/backup.sh --docker
  fi
  say "Build"
  before=$(for id in $(containers gateway); do docker inspect -f '{{.Image}}' "$id" && break; done)
  run compose build ${rebuild:+--no-cache --pull} gateway
  say "Start the databases"
  run compose up -d --no-recreate mysql redis
  if ! { await mysql 1 && await redis 1; }; then
    compose logs --tail 30 mysql redis >&2 || true
    die "the databases do not become healthy"
  fi
  say "Check the configuration with the new image, and bring the schema up to date"
  run compose run --rm --no-deps -T gateway check || leave "the configuration is not right"
  run compose run --rm --no-deps -T gateway migrate || leave "the schema could not be changed"
  say "Exchange the replicas one by one"
  exchange || roll_back
  start_nginx || roll_back
  [ -z "$before" ] || run docker tag "$before" "$IMAGE:previous"
  say "Done${dry:+: that would be all}"
  [ -n "$dry" ] || compose ps
}

main "$@"
