#!/bin/bash
# Writes that fail, wherever they do: exit 7, one sentence, no output, the source untouched; with room
# again the same command ends with the bytes of a run that nobody disturbed.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
ffmpeg -v error -f lavfi -i testsrc2=size=160x96:rate=25:duration=16 -f lavfi -i sine=duration=16 \
    -pix_fmt yuv420p -c:v libx264 -g 50 -preset ultrafast -c:a aac "$tmp/in.mp4"
before=$(md5sum <"$tmp/in.mp4")
options=(-m bicubic -s 2 --threads 1 --preset ultrafast --progress none)
expect 0 "$UPREZ" "${options[@]}" "$tmp/in.mp4" "$tmp/whole.mp4"
expect 0 "$UPREZ" "${options[@]}" --frames 40 "$tmp/in.mp4" "$tmp/raw.y4m"
kb=$(($(stat -c %s "$tmp/whole.mp4") / 1024))

refused() { # WHAT OUT: what a failed run leaves
    [ "$(grep -c '^uprez: .*\(written\|created\)' "$tmp/err")" = 1 ] || bad "$1: not one sentence: $(cat "$tmp/err")"
    [ "$(grep -vc '^uprez: ' "$tmp/err")" = 0 ] || bad "$1: lines of others: $(cat "$tmp/err")"
    [ -e "$2" ] && bad "$1: an output was left"
    [ "$(md5sum <"$tmp/in.mp4")" = "$before" ] || bad "$1: the source was touched"
}

# a limit on files' sizes, from one that stops the plan to one that stops only the joined file
segments=0
for limit in 1 2 8 40 $((kb / 4)) $((kb / 2)) $((kb - 2)); do
    out=$tmp/limit.mp4
    rm -rf "$out".*
    expect 7 bash -c 'ulimit -f "$0"; exec "$@"' "$limit" "$UPREZ" "${options[@]}" "$tmp/in.mp4" "$out"
    refused "files of at most $limit KB" "$out"
    segments=$((segments + $(ls "$out.uprez/seg"/*.json 2>/dev/null | wc -l)))
    expect 0 "$UPREZ" "${options[@]}" "$tmp/in.mp4" "$out"
    cmp -s "$tmp/whole.mp4" "$out" || bad "files of at most $limit KB: other bytes afterwards"
    [ -z "$(ls -d "$out".* 2>/dev/null)" ] || bad "left behind: $(ls -d "$out".*)"
    rm -f "$out"
done
[ "$segments" -gt 2 ] || bad "no failing run kept a finished segment: the check is void"
for limit in 1 100; do
    expect 7 bash -c 'ulimit -f "$0"; exec "$@"' "$limit" "$UPREZ" "${options[@]}" --frames 40 "$tmp/in.mp4" "$tmp/limit.y4m"
    refused "y4m, $limit KB" "$tmp/limit.y4m"
done
ffmpeg -v error -i "$tmp/in.mp4" -frames:v 1 "$tmp/in.png"
for ext in png jpg webp tif; do
    expect 7 bash -c 'ulimit -f 1; exec "$@"' - "$UPREZ" "${options[@]:0:4}" "$tmp/in.png" "$tmp/limit.$ext"
    refused "$ext" "$tmp/limit.$ext"
    [ -z "$(ls -d "$tmp/limit.$ext".* 2>/dev/null)" ] || bad "left behind: $(ls -d "$tmp/limit.$ext".*)"
done
expect 7 sh -c '"$@" - >/dev/full' - "$UPREZ" "${options[@]}" "$tmp/in.mp4"

# a full disk: a small one of memory, made larger afterwards
if unshare -rm mount -t tmpfs -o size=64k none "$tmp" 2>/dev/null; then
    mkdir "$tmp/disk"
    for size in 4 $((kb / 3)) $((kb + 40)) $((kb * 3 / 2)); do
        expect 7 unshare -rm bash -c '
            size=$1 disk=$2 whole=$3; shift 3
            mount -t tmpfs -o "size=${size}k" none "$disk" || exit 90
            "$@" "$disk/out.mp4"; code=$?
            [ -e "$disk/out.mp4" ] && exit 91
            mount -o remount,size=64m "$disk" || exit 92
            "$@" "$disk/out.mp4" 2>/dev/null || exit 93
            cmp -s "$whole" "$disk/out.mp4" || exit 94
            [ "$(ls "$disk")" = out.mp4 ] || exit 95
            exit $code' - "$size" "$tmp/disk" "$tmp/whole.mp4" "$UPREZ" "${options[@]}" "$tmp/in.mp4"
        refused "a disk of $size KB" "$tmp/disk/out.mp4"
        said "space"
    done
else
    echo "no file system can be mounted here: full disks are not tried"
fi
finish
