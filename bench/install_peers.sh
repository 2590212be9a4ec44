#!/bin/sh
# Install what the benches compare with: Slurm, and the load generator. Safe to repeat.
set -eu

PACKAGES="slurmctld slurmd slurm-client slurmrestd slurm-wlm-jwt-plugin munge wrk"

missing=""
for package in $PACKAGES; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "the peers of the benches are missing; run: sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi

# The benches start everything themselves, in temporary directories: no service may start by itself.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
apt-get install -y --no-install-recommends $missing || {
    apt-get update
    apt-get install -y --no-install-recommends $missing
}
