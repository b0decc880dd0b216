# The one list of Debian packages (Debian 12 and newer, and what derives from it). Sourced.
packages_build='gcc libc6-dev meson ninja-build pkgconf libavformat-dev libavcodec-dev
    libavfilter-dev libavutil-dev libswscale-dev libswresample-dev libjpeg-dev libzip-dev zlib1g-dev
    libcjson-dev libcurl4-openssl-dev ca-certificates libmd-dev'
packages_demo='ffmpeg'
packages_test='libcmocka-dev libzimg-dev g++ ffmpeg python3 python3-venv mandoc openssl
    libimage-exiftool-perl'

# packages_missing PACKAGE…: those of them that are not installed
packages_missing() {
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
    done
}

# packages_size PACKAGE…: says what apt would fetch and what it takes on disk; its lists are there
packages_size() {
    LC_ALL=C apt-get install --no-install-recommends --assume-no "$@" 2>/dev/null | awk '
        / newly installed/ { n = $3 }
        /^Need to get/ { sub(/^Need to get /, ""); sub(/ of archives.*/, ""); get = $0 }
        /additional disk space/ { sub(/^After this operation, /, ""); sub(/ of additional.*/, ""); disk = $0 }
        END { if (n) printf "  with what they need %d packages: %s to fetch, %s on disk\n", n, get, disk }'
}

# packages_need PACKAGE…: installs those that are missing, as root or through sudo
packages_need() {
    if ! command -v apt-get >/dev/null; then
        echo "There is no apt-get here, so nothing is installed. Debian's names of what is needed:" $*
        return 0
    fi
    # shellcheck disable=SC2046
    set -- $(packages_missing "$@")
    [ $# -gt 0 ] || return 0
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "These packages are missing; install them as root and run this again:" "$@" >&2
            return 1
        }
        as_root=sudo
    fi
    echo "Installing $# packages: $*"
    log=$(mktemp)
    # the lists may be absent (a bare machine) or older than the mirror
    if $as_root apt-get update -q >"$log" 2>&1 && packages_size "$@" &&
        $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "$@" >"$log" 2>&1; then
        rm -f "$log"
    else
        tail -20 "$log" >&2
        echo "apt-get could not install them; all it said is in $log" >&2
        return 1
    fi
}
