#!/usr/bin/env bash
# Lays out the root directory of an image that holds one program: the binary, the shared libraries it names, the
# certificates of the authorities it trusts, its configuration and two folders it may write to.
#
#   assemble_root.sh BINARY CONFIGURATION DIRECTORY
set -euo pipefail

binary=$1 configuration=$2 root=$3
[ ! -e "$root" ] || { echo "$root exists already" >&2; exit 1; }

mkdir -p "$root"/{app/config,app/data,app/logs,etc/ssl/certs,tmp}
install -m 755 "$binary" "$root/wecom-gateway"
install -m 644 "$configuration" "$root/app/config/notification.yaml"
install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'gateway:x:10001:10001::/app:/wecom-gateway' >"$root/etc/passwd"
echo 'gateway:x:10001:' >"$root/etc/group"
# Names are looked up as usual: files first, then the name server. Both are in glibc itself.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"

# "libm.so.6 => /lib/… (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)"; the kernel's vdso has no path.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
  install -D -m 755 "$library" "$root$library"
done
