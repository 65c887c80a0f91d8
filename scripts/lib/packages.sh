# Installing Debian packages without side effects: sourced by scripts/try and scripts/test.
#
# Services that packages bring are neither started nor left enabled; those that were there stay as they are.

PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin
POLICY=${POLICY:-/usr/sbin/policy-rc.d}

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The packages among the arguments that are not there.
missing_packages() {
    local package
    for package in "$@"; do
        installed "$package" || say "$package"
    done
}

all_packages() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort; }

# The units and init scripts of a package, by the name that systemctl and update-rc.d know them by.
services_of() {
    dpkg -L "$1" 2>/dev/null |
        sed -nE 's#^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket|timer))$#\2#p; s#^/etc/init\.d/([^/]+)$#\1.service#p' |
        sort -u
}

# Stops and disables what newly installed packages brought. Not what was there before.
quiet_services() {
    local package unit
    for package in "$@"; do
        for unit in $(services_of "$package"); do
            if command -v systemctl >/dev/null; then
                if systemctl is-active --quiet "$unit" 2>/dev/null; then as_root systemctl stop "$unit" || true; fi
                if [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = enabled ]; then
                    as_root systemctl --quiet disable "$unit" 2>/dev/null || true
                    say "  disabled $unit, which $package brought"
                fi
            else
                # No systemd here. Its links may have been made nevertheless, and those of an init script.
                as_root env DPKG_MAINTSCRIPT_PACKAGE="$package" deb-systemd-helper disable "$unit" >/dev/null 2>&1 || true
                [ ! -x "/etc/init.d/${unit%.service}" ] ||
                    as_root update-rc.d "${unit%.service}" disable >/dev/null 2>&1 || true
                say "  disabled $unit, which $package brought"
            fi
        done
    done
}

# Installs packages. While it does, nothing that they bring is started: by the policy that is there, else by our own.
install_packages() {
    local before new own_policy=
    [ $# -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "packages are missing ($*); run this as root, or install sudo"
    before=$(all_packages)
    if [ ! -e "$POLICY" ]; then
        # Also when somebody presses Ctrl-C meanwhile. Callers set their own traps later.
        trap 'as_root rm -f "$POLICY"' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
        printf '#!/bin/sh\n# Of scripts/%s, while it installs packages.\nexit 101\n' "${0##*/}" | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
        own_policy=yes
    fi
    local status=0
    {
        as_root apt-get update -qq &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-remove --no-install-recommends "$@" </dev/null
    } >"${INSTALL_LOG:-/dev/null}" 2>&1 || status=$?
    if [ -n "$own_policy" ]; then
        as_root rm -f "$POLICY"
        trap - EXIT INT TERM HUP
    fi
    new=$(comm -13 <(printf '%s\n' "$before") <(all_packages))
    # shellcheck disable=SC2086 # one package a line, no spaces
    quiet_services $new
    if [ "$status" != 0 ]; then
        [ ! -e "${INSTALL_LOG:-/dev/null}" ] || tail -5 "${INSTALL_LOG:-/dev/null}" >&2
        fail "apt-get could not install: $*"
    fi
}

# Whether the first version is at least the second.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$2" ]; }

# The packages for building: a linker, and Rust where the installed one is older than `rust-version`.
build_packages() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    missing_packages gcc make libc6-dev ca-certificates
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
    if [ -z "$have" ] || ! at_least "$have" "$wanted"; then
        missing_packages cargo-web rustc-web
    fi
}
