# Sourced by the scripts beside it. $UPREZ: the program; $SHARED: real media, may be missing.
# A check that fails prints why and the script goes on; the exit code says whether any did.
set -u
failures=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

bad() { echo "FAIL: $*"; failures=$((failures + 1)); }
finish() { [ "$failures" = 0 ] && echo "all checks passed"; exit $((failures > 0)); }
skip() { echo "SKIP: $*"; exit 77; }
need_media() { [ -d "$SHARED/media" ] || skip "no real media at \$SHARED ($SHARED)"; }
need() { for c in "$@"; do command -v "$c" >/dev/null || skip "$c is not installed"; done; }

# expect CODE COMMAND…: runs it, output in $tmp/out and $tmp/err
expect() {
    want=$1; shift
    "$@" >"$tmp/out" 2>"$tmp/err"
    got=$?
    [ "$got" = "$want" ] || { bad "exit $got instead of $want: $*"; sed 's/^/    /' "$tmp/err" | tail -5; }
}
# said TEXT: the last command's stderr has it, and its last line is one sentence of uprez
said() { grep -qF -- "$1" "$tmp/err" || { bad "not said: '$1'"; sed 's/^/    /' "$tmp/err" | tail -3; }; }
# one_error: exactly one error line
one_error() { n=$(grep -c '^uprez: ' "$tmp/err"); [ "$n" -ge 1 ] || bad "no error line"; }
frames() { ffprobe -v error -count_frames -select_streams "${2:-v:0}" -show_entries stream=nb_read_frames -of csv=p=0 "$1" | head -1 | tr -d ,; }
probe() { ffprobe -v error -select_streams "${3:-v:0}" -show_entries "stream=$2" -of csv=p=0 "$1" | head -1; }
packets_md5() { ffmpeg -nostdin -v error -i "$1" -map "0:$2" -c copy -f streamhash -hash md5 - | head -1; }
pts() { ffprobe -v error -select_streams v:0 -show_entries packet=pts_time -of csv=p=0 "$1" | tr -d , | sort -n; }
