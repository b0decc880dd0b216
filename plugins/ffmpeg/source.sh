# ffmpeg_source VERSION DIR: the distribution's source of FFmpeg VERSION, unpacked into DIR. Sourced.
# VERSION: a Debian suite, or 5.1, 7.1, 9.0. apt's own lists and settings stay as they are.
ffmpeg_source() {
    case $1 in
    5.1*) suite=bookworm ;;
    7.1*) suite=trixie ;;
    9.*) suite=sid ;;
    [a-z]*) suite=$1 ;;
    *) echo "No Debian suite has FFmpeg $1; give a folder with its source instead." >&2; return 2 ;;
    esac
    apt=$(mktemp -d)
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -v security | head -1)
    key=$(ls /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp 2>/dev/null | head -1)
    echo "deb-src [signed-by=$key] ${mirror:-http://deb.debian.org/debian/} $suite main" >"$apt/sources.list"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$2"
    set -- "$1" "$(cd "$2" && pwd)"
    options="-o Dir::Etc::sourcelist=$apt/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::lists=$apt/lists
        -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086
    (cd "$apt" && apt-get $options update -q && apt-get $options source -q --download-only ffmpeg) >"$apt/log" 2>&1 || :
    # a mirror in the middle of an update may lack Debian's part; FFmpeg's own is what counts
    ls "$apt"/ffmpeg_*.orig.tar.?z >/dev/null 2>&1 || {
        tail -5 "$apt/log" >&2
        echo "The source of FFmpeg ($suite) could not be fetched; give a folder with it instead." >&2
        rm -rf "$apt"
        return 1
    }
    tar -xf "$apt"/ffmpeg_*.orig.tar.?z -C "$2" --strip-components=1
    if ls "$apt"/ffmpeg_*.debian.tar.?z >/dev/null 2>&1; then # Debian's own fixes, where it has any
        tar -xf "$apt"/ffmpeg_*.debian.tar.?z -C "$apt"
    fi
    if [ -f "$apt/debian/patches/series" ]; then
        while read -r p; do
            case $p in '' | '#'*) continue ;; esac
            patch -d "$2" -p1 -s -N <"$apt/debian/patches/$p" || echo "Debian's $p does not apply; left out." >&2
        done <"$apt/debian/patches/series"
    fi
    rm -rf "$apt"
}
