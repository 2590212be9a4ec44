#!/usr/bin/env bash
# The Debian packages that Kumoi's engines and tests need. Installs the missing ones as root; names the exact command otherwise.
set -euo pipefail

python=${1:-python3.11}
packages=()

need() { # need PACKAGE TEST...: PACKAGE is missing unless TEST succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || packages+=("$package")
}

need bubblewrap command -v bwrap
# Containers: podman with runc (crun refuses hybrid control groups), and busybox for the tests' image.
need podman command -v podman
need runc command -v runc
need conmon command -v conmon
need catatonit command -v catatonit
need busybox-static command -v busybox
# Encrypted volumes for files and logs.
need gocryptfs command -v gocryptfs
need fuse3 command -v fusermount3
need libseccomp2 sh -c 'ldconfig -p | grep -q libseccomp.so.2 || ls /usr/lib/*/libseccomp.so.2'
need postgresql test -x /usr/lib/postgresql/15/bin/initdb
need python3-venv "$python" -c 'import ensurepip, venv'
need iproute2 command -v ip
# The independent verifier of the log, which tests hold against a running plane (ADR 0024).
need golang-go command -v go
need golang-golang-x-mod-dev test -d /usr/share/gocode/src/golang.org/x/mod/sumdb
# A token for tests of keys that tenants hold.
need softhsm2 test -f /usr/lib/softhsm/libsofthsm2.so
need haproxy sh -c 'command -v haproxy || test -x /usr/sbin/haproxy'

[ ${#packages[@]} -eq 0 ] && exit 0

install="apt-get update && apt-get install --yes --no-install-recommends ${packages[*]}"
if [ "$(id -u)" -ne 0 ]; then
    echo "Debian packages are missing: ${packages[*]}"
    echo "Install them as root:  $install"
    # Without venv there is no virtual environment at all; without the others, tests skip and say why.
    case " ${packages[*]} " in *" python3-venv "*) exit 1 ;; esac
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# The gateway starts HAProxy itself: no service of that name may start by being installed.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install --yes -qq --no-install-recommends "${packages[@]}" >/dev/null
echo "installed ${packages[*]}"
