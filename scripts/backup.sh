#!/usr/bin/env bash
# Backs up the database that .env names, while the gateway runs: one compressed file, and its SHA-256 beside it.
#
#   scripts/backup.sh [-d DIRECTORY] [-k COUNT] [--docker]
#
#   -d DIRECTORY  where to; default: backups
#   -k COUNT      how many to keep there; default: 14
#   --docker      the MySQL of docker/webhook/docker-compose.yml instead
#
# The file holds payloads and hashes of keys: keep it where only you can read it. Restore it with scripts/restore.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/database.sh
. scripts/database.sh

directory=backups keep=14 docker=''
while [ $# -gt 0 ]; do
  case $1 in
    -d) directory=${2:?-d wants a directory} && shift ;;
    -k) keep=${2:?-k wants a number} && shift ;;
    --docker) docker=yes ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 2 ;;
  esac
  shift
done
case $keep in '' | *[!0-9]* | 0) echo "-k wants a number of at least 1" >&2 && exit 2 ;; esac

# Callbacks go first: a backup takes the processors and the disk that they leave.
renice -n 19 -p $$ >/dev/null 2>&1 || true
ionice -c 3 -p $$ 2>/dev/null || true

umask 077
mkdir -p "$directory"
work=$(mktemp -d "$directory/.unfinished-XXXXXX")
trap 'rm -rf "$work"' EXIT
# A consistent picture without a lock; blobs survive any terminal.
DUMP=(--single-transaction --quick --skip-lock-tables --no-tablespaces --hex-blob --default-character-set=utf8mb4)

backup_sqlite() {
  command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed" >&2; return 1; }
  [ -f "$database_file" ] || { echo "$database_file does not exist" >&2; return 1; }
  # One picture of one moment. `.backup` begins anew with each commit of the gateway, and under load never ends.
  sqlite3 -cmd '.timeout 10000' "$database_file" "VACUUM INTO '$work/copy'"
  # The copy is one file: it has no use for a write-ahead log.
  [ "$(sqlite3 "$work/copy" 'PRAGMA journal_mode = DELETE; PRAGMA integrity_check')" = $'delete\nok' ] ||
    { echo "the copy is not sound" >&2; return 1; }
  gzip <"$work/copy" >"$work/file"
}

backup_mysql() {
  local program
  program=$(first_program mariadb-dump mysqldump)
  write_login "$work/login"
  "$program" --defaults-extra-file="$work/login" "${DUMP[@]}" "$database_name" | gzip >"$work/file"
  whole_dump
}

backup_docker() {
  # shellcheck disable=SC2016 # the variables are those inside the container
  local inside='MYSQL_PWD=$MYSQL_PASSWORD exec mysqldump -u"$MYSQL_USER" --set-gtid-purged=OFF "$@" "$MYSQL_DATABASE"'
  (cd docker/webhook && ${COMPOSE:-docker compose} exec -T mysql sh -c "$inside" sh "${DUMP[@]}") |
    gzip >"$work/file"
  whole_dump
}

# A dump that was cut off lacks its last line.
whole_dump() {
  zcat "$work/file" | tail -n 1 | grep -q '^-- Dump completed' || { echo "the dump is not whole" >&2; return 1; }
}

ending=sql.gz
if [ -n "$docker" ]; then
  backup_docker
else
  find_database
  [ "$database_kind" = mysql ] || ending=db.gz
  "backup_$database_kind"
fi

file=$directory/gateway-$(date -u +%Y%m%dT%H%M%S.%3NZ).$ending
mv "$work/file" "$file"
(cd "$directory" && sha256sum "${file##*/}" >"${file##*/}.sha256")
find "$directory" -maxdepth 1 -name "gateway-*.$ending" | sort -r | tail -n "+$((keep + 1))" | while read -r old; do
  rm -f "$old" "$old.sha256"
done
echo "$file"
