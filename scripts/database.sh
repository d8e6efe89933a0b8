# shellcheck shell=bash disable=SC2034 # the variables are for those who source it
# What .env says, and which database that means; to be sourced. Read as the gateway reads it: the process's own
# variables win, an empty one counts as unset, DATABASE_URL wins over MYSQL_*, and without both it is a SQLite file.

# value_of NAME: the variable's value; empty if it is unset.
value_of() {
  local name=$1 value=${!1:-}
  if [ -z "$value" ] && [ -r "${ENV_FILE:=.env}" ]; then
    value=$(sed -nE "s/^[[:space:]]*(export[[:space:]]+)?${name}[[:space:]]*=[[:space:]]*//p" "$ENV_FILE" | tail -n 1)
    case $value in
      \'*) value=${value#\'} value=${value%%\'*} ;;
      \"*) value=${value#\"} value=$(sed -E 's/^(([^"\\]|\\.)*)".*/\1/; s/\\(["\\])/\1/g' <<<"$value") ;;
      *) value=${value%% #*} value=$(sed -E 's/[[:space:]]+$//' <<<"$value") ;;
    esac
  fi
  printf %s "$value"
}

# Undoes %XX.
percent_decoded() {
  local text=${1//\\/\\\\}
  printf '%b' "${text//%/\\x}"
}

# Sets database_kind to sqlite (and database_file) or mysql (and database_host, _port, _user, _password, _name).
find_database() {
  local url rest login server
  url=$(value_of DATABASE_URL)
  if [ -z "$url" ] && [ -n "$(value_of MYSQL_HOST)" ]; then
    database_kind=mysql
    database_host=$(value_of MYSQL_HOST) database_port=$(value_of MYSQL_PORT) database_user=$(value_of MYSQL_USER)
    database_password=$(value_of MYSQL_PASSWORD) database_name=$(value_of MYSQL_DATABASE)
    return
  fi
  case ${url:-sqlite:data/gateway.db} in
    sqlite:*)
      database_kind=sqlite database_file=${url:-sqlite:data/gateway.db}
      database_file=${database_file#sqlite:} database_file=${database_file#//} database_file=${database_file%%\?*}
      ;;
    mysql://* | mariadb://*)
      rest=${url#*://} rest=${rest%%\?*}
      login='' server=${rest%%/*}
      case $server in *@*) login=${server%@*} server=${server##*@} ;; esac
      database_kind=mysql
      database_name=$(percent_decoded "${rest#*/}") database_user=$(percent_decoded "${login%%:*}") database_password=
      case $login in *:*) database_password=$(percent_decoded "${login#*:}") ;; esac
      database_port=
      case $server in *:*[0-9]) database_port=${server##*:} server=${server%:*} ;; esac
      server=${server#[} database_host=${server%]}
      ;;
    *)
      echo "DATABASE_URL is neither sqlite: nor mysql://" >&2
      return 1
      ;;
  esac
}

# Writes how to log in to FILE, for --defaults-extra-file: arguments are seen by everybody on the machine.
write_login() {
  local quoted=${database_password//\\/\\\\}
  quoted=${quoted//\"/\\\"}
  (
    umask 077
    printf '[client]\nhost=%s\nport=%s\nuser=%s\npassword="%s"\n' \
      "$database_host" "${database_port:-3306}" "$database_user" "$quoted" >"$1"
  )
}

# The first of these programs that is installed: MariaDB and MySQL name theirs differently.
first_program() {
  local name
  for name in "$@"; do
    if command -v "$name" >/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "none of these is installed: $*" >&2
  return 1
}
