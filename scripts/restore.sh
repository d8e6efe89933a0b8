#!/usr/bin/env bash
# Puts a backup of scripts/backup.sh into the database that .env names. The gateway has to be stopped; what the
# database holds now is kept: a SQLite file beside it, MySQL as another backup.
#
#   scripts/restore.sh [--docker] FILE
#
#   --docker      into the MySQL of docker/webhook/docker-compose.yml
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/database.sh
. scripts/database.sh

docker='' file=''
while [ $# -gt 0 ]; do
  case $1 in
    --docker) docker=yes ;;
    -*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 2 ;;
    *) file=$1 ;;
  esac
  shift
done

die() {
  echo "restore: $*" >&2
  exit 1
}

[ -f "$file" ] || die "which file? scripts/restore.sh [--docker] FILE"
if [ -f "$file.sha256" ]; then
  (cd "$(dirname "$file")" && sha256sum --check --status "${file##*/}.sha256") || die "$file is not what was backed up"
fi
gzip --test "$file" 2>/dev/null || die "$file is damaged"
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

restore_sqlite() {
  local aside
  command -v sqlite3 >/dev/null || die "sqlite3 is not installed"
  mkdir -p "$(dirname "$database_file")"
  # The gateway holds this lock as long as it runs; so do we until the files are exchanged.
  exec 9>>"$database_file.lock"
  flock --nonblock 9 || die "$database_file is in use: stop the gateway first"
  zcat "$file" >"$database_file.restoring"
  [ "$(sqlite3 "$database_file.restoring" 'PRAGMA integrity_check')" = ok ] ||
    die "$file is no sound SQLite database"
  if [ -e "$database_file" ]; then
    aside=$database_file.before-$(date -u +%Y%m%dT%H%M%SZ)
    # With its log, where the last commits may be.
    for part in "" -wal -shm; do
      [ ! -e "$database_file$part" ] || mv "$database_file$part" "$aside$part"
    done
    echo "what was there: $aside"
  fi
  chmod --reference="$database_file.lock" "$database_file.restoring"
  chown --reference="$database_file.lock" "$database_file.restoring"
  mv "$database_file.restoring" "$database_file"
}

# sql: runs its input in the database.
sql() {
  if [ -n "$docker" ]; then
    # shellcheck disable=SC2016 # the variables are those inside the container
    (cd docker/webhook && ${COMPOSE:-docker compose} exec -T mysql \
      sh -c 'MYSQL_PWD=$MYSQL_PASSWORD exec mysql -u"$MYSQL_USER" --default-character-set=utf8mb4 -N "$MYSQL_DATABASE"')
  else
    "$(first_program mariadb mysql)" --defaults-extra-file="$work/login" --default-character-set=utf8mb4 -N \
      "$database_name"
  fi
}

restore_mysql() {
  local others
  [ -n "$docker" ] || write_login "$work/login"
  zcat "$file" | tail -n 1 | grep -q '^-- Dump completed' || die "$file is no whole dump"
  others=$(sql <<<'SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()')
  [ "$others" = 0 ] || die "$others others use the database: stop the gateway first"
  if [ "$(sql <<<"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()")" != 0 ]; then
    echo "what was there: $(scripts/backup.sh -d "$(dirname "$file")" -k 1000 ${docker:+--docker})"
  fi
  # Tables and views that the backup does not know belong to a newer version: they go as well.
  {
    echo 'SET FOREIGN_KEY_CHECKS = 0;'
    sql <<<"SELECT CONCAT(IF(table_type = 'VIEW', 'DROP VIEW', 'DROP TABLE'), ' \`', table_name, '\`;') FROM information_schema.tables WHERE table_schema = DATABASE()"
    zcat "$file"
  } | sql
}

if [ -n "$docker" ]; then
  restore_mysql
else
  find_database
  case $database_kind:$file in
    sqlite:*.db.gz | mysql:*.sql.gz) ;;
    *) die "$file is a backup of the other kind: .env names a $database_kind database" ;;
  esac
  "restore_$database_kind"
fi
echo "restored $file"
