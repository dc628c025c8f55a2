#!/bin/sh
# Installs the Debian packages that building and running (`run`), testing (`test`)
# or packaging (`deb`) needs; does nothing when all are there. Without root or passwordless
# sudo it prints the exact command and exits 69.
#
# redis-tools holds the same binary as redis-server, without a service that
# would be started: the program runs a Redis of its own.
set -eu

BUILD="gcc make pkg-config libc6-dev libuv1-dev libssl-dev libopendkim-dev libhiredis-dev
libunbound-dev libjansson-dev libgmime-3.0-dev libcrypt-dev libzstd-dev libhttp-parser-dev
libidn2-dev libgsasl-dev libspf2-dev libconfig-dev libseccomp-dev uthash-dev redis-tools"
TEST="clang libclang-rt-14-dev clang-format clang-tidy libcmocka-dev universal-ctags python3
python3-pytest python3-pytest-xdist python3-aiosmtpd python3-dkim python3-nacl python3-redis python3-dnspython
python3-flufl.bounce python3-yaml python3-jsonschema libemail-mime-perl libmime-tools-perl libsisimai-perl php-cli s-nail
swaks gsasl libmail-dkim-perl libnet-ssleay-perl curl openssl procps iproute2 git msmtp python3-django libphp-phpmailer
libmail-java default-jdk-headless ruby ruby-mail testssl.sh groff
mandoc dpkg-dev"

# A browser for the tests of the console, where the release has it as a package
# (Ubuntu has not); without it they are skipped.
TEST_OPTIONAL="chromium"

case "${1:-run}" in
run) packages=$BUILD ;;
test) packages="$BUILD $TEST" ;;
deb) packages="$BUILD dpkg-dev" ;;
*) echo "usage: install-packages.sh run|test|deb" >&2; exit 64 ;;
esac

# The sanitizer run-time is named after clang's version, which differs between
# releases: where version 14 is not packaged, clang's own dependency brings it.
installed() {
    dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

# Clients from npm, for tests: into build/, with the versions of the lock file.
npm_clients() {
    root=$(cd "$(dirname "$0")/../.." && pwd)
    cmp -s "$root/tests/system/node/package-lock.json" "$root/build/node/package-lock.json" &&
        [ -d "$root/build/node/node_modules/playwright-core" ] && return 0
    mkdir -p "$root/build/node"
    cp "$root"/tests/system/node/package*.json "$root/build/node/"
    (cd "$root/build/node" && npm ci --no-audit --no-fund --loglevel=error >/dev/null)
}

# Servers for tests: with what they need, into build/NAME and never installed, which would start a service
# and, for mail servers, remove each other.
unpack_server() {
    name=$1 package=$2 program=$3
    root=$(cd "$(dirname "$0")/../.." && pwd)
    [ ! -e "$root/build/$name/$program" ] || return 0
    mkdir -p "$root/build/$name/archives/partial"
    apt-get -qq -y -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
        -o Dir::Cache::archives="$root/build/$name/archives" \
        --download-only --no-install-recommends install "$package" >/dev/null || {
        echo "stagepost: could not fetch $package; its tests are skipped" >&2
        return 0
    }
    for p in "$root/build/$name"/archives/*.deb; do
        dpkg -x "$p" "$root/build/$name"
    done
    for d in bin sbin lib lib64; do # links into usr/ on the machine, and so here
        [ -d "$root/build/$name/$d" ] && [ ! -L "$root/build/$name/$d" ] || continue
        mkdir -p "$root/build/$name/usr/$d"
        cp -a "$root/build/$name/$d/." "$root/build/$name/usr/$d/"
        rm -rf "${root:?}/build/$name/$d"
    done
}

test_servers() {
    unpack_server knot knot usr/sbin/knotd
    unpack_server postfix postfix usr/sbin/postfix
    unpack_server exim exim4-daemon-light usr/sbin/exim4
    unpack_server python3-spf python3-spf usr/share/doc/python3-spf/rfc7208-tests.yml.gz # its suite
    unpack_server opensmtpd opensmtpd usr/sbin/smtpd
    unpack_server prometheus prometheus usr/bin/promtool
    command -v systemd-analyze >/dev/null || unpack_server systemd systemd usr/bin/systemd-analyze
}

# Whether the package lists that are there know it.
offered() {
    apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'
}

missing=
for p in $packages; do
    installed "$p" || missing="$missing $p"
done
if [ "${1:-run}" = test ]; then
    command -v node >/dev/null || missing="$missing nodejs"
    command -v npm >/dev/null || missing="$missing npm"
    for p in $TEST_OPTIONAL; do
        installed "$p" || ! offered "$p" || missing="$missing $p"
    done
fi
if [ -z "$missing" ]; then
    [ "${1:-run}" != test ] || { npm_clients; test_servers; }
    exit
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    echo "stagepost: packages are missing; install them with:" >&2
    echo "  sudo apt-get install --no-install-recommends$missing" >&2
    exit 69
fi
if [ "$(id -u)" -eq 0 ] && ! command -v apt-get >/dev/null; then
    echo "stagepost: this script knows apt-get only; missing:$missing" >&2
    exit 69
fi

# A machine that was never updated has no package lists; an old list may name
# versions that are gone.
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq ||
    echo "stagepost: apt-get update failed, trying with the lists there are" >&2
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    $missing >/dev/null || {
    echo "stagepost: could not install:$missing" >&2
    exit 69
}
[ "${1:-run}" != test ] || { npm_clients; test_servers; }
