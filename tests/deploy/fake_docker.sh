#!/usr/bin/env bash
# A Docker engine that only remembers: which containers of which image there are, and every command it was given
# (FAKE/log). Started as `docker`. FAKE/sick holds the id of an image whose containers are never healthy.
set -euo pipefail
FAKE=${FAKE:?}
echo "$*" >>"$FAKE/log"

# start SERVICE COUNT: containers until there are that many, gateways of the newest image.
start() {
  local number
  while [ "$(find "$FAKE/containers" -name "$1-*" | wc -l)" -lt "$2" ]; do
    number=$(cat "$FAKE/next" 2>/dev/null || echo 1)
    echo $((number + 1)) >"$FAKE/next"
    case $1 in
      gateway) cat "$FAKE/latest" ;;
      *) echo "$1" ;;
    esac >"$FAKE/containers/$1-$number"
  done
}

health() {
  if cmp -s "$FAKE/sick" "$FAKE/containers/$1"; then echo unhealthy; else echo healthy; fi
}

compose() {
  [ "${1:-}" != --profile ] || shift 2
  local command=$1 scale
  shift
  case $command in
    version | config | logs | run) ;;
    ps)
      [ "${1:-}" = -q ] || { echo "NAME  STATUS" && return; }
      find "$FAKE/containers" -name "$2-*" -printf '%f\n' | sort
      ;;
    build)
      # Another image each time, unless nothing changed.
      [ -e "$FAKE/unchanged" ] || echo "sha256:image-$(grep -c ' build' "$FAKE/log")" >"$FAKE/latest"
      ;;
    up)
      case "$*" in
        *mysql*) start mysql 1 && start redis 1 ;;
        *nginx*) start nginx 1 ;;
        *)
          scale="$*" scale=${scale#*--scale gateway=}
          start gateway "${scale%% *}"
          ;;
      esac
      ;;
    exec)
      case "$*" in
        *mysqldump*) printf -- 'CREATE TABLE x (y INT);\n-- Dump completed on 2024-01-01\n' ;;
      esac
      ;;
    *) echo "unknown command $command" >&2 && exit 1 ;;
  esac
}

mkdir -p "$FAKE/containers"
case $1 in
  info) ;;
  compose) shift && compose "$@" ;;
  inspect)
    case $3 in
      *Health*) health "$4" ;;
      *) cat "$FAKE/containers/$4" ;;
    esac
    ;;
  stop) ;;
  rm) rm "$FAKE/containers/${!#}" ;;
  tag) [ "${3##*:}" != latest ] || echo "$2" >"$FAKE/latest" ;;
  *) echo "unknown command $1" >&2 && exit 1 ;;
esac
