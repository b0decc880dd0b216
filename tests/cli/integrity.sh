#!/bin/bash
# A source that misbehaves and a folder that was touched: nothing wrong comes out with exit 0.
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
clip() { # PATTERN FILE SECONDS
    ffmpeg -v error -f lavfi -i "$1=size=64x48:rate=25:duration=$3" -f lavfi -i "sine=frequency=440:duration=$3" \
        -pix_fmt yuv420p -c:v libx264 -preset veryfast -bf 0 -g 50 -sc_threshold 0 -c:a aac "$2"
}
clip testsrc2 whole.mkv 24
job=("$UPREZ" -q -m lanczos --preset ultrafast)
run() { "${job[@]}" "$@" 2>err; }
# begin OUTPUT: a run that is killed behind its second segment; the folder is kept in save/
begin() {
    rm -rf save "$1" "$1".*
    "${job[@]}" in.mkv "$1" 2>/dev/null & p=$!
    for _ in $(seq 6000); do [ "$(ls "$1.uprez"/seg/*.json 2>/dev/null | wc -l)" -ge 2 ] && break; sleep 0.01; done
    kill -9 $p 2>/dev/null; wait $p 2>/dev/null
    rm -f "$1"; [ -d "$1.uprez" ] && cp -r "$1.uprez" save
}

# ---- cut off: what the index or the header promises and does not come is damage ----
for kind in mp4 mkv avi mov; do
    case $kind in avi) filter='-bsf:v h264_mp4toannexb' ;; *) filter='-movflags +faststart' ;; esac
    # shellcheck disable=SC2086
    ffmpeg -v error -y -i whole.mkv -t 4 -c copy $filter "w.$kind"
    for share in 30 60 95; do
        head -c $(($(stat -c %s "w.$kind") * share / 100)) "w.$kind" >"cut.$kind"
        rm -rf o.mkv*; run "cut.$kind" o.mkv; got=$?
        { [ $got = 8 ] && [ -s o.mkv ]; } || [ $got = 3 ] || bad "$kind cut at $share %: exit $got"
    done
    rm -rf o.mkv*; run "w.$kind" o.mkv || bad "whole $kind: exit $? $(cat err)"
    head -c $(($(stat -c %s "w.$kind") * 60 / 100)) "w.$kind" >"cut.$kind"
    rm -rf o.mkv*; run --frames 5 "cut.$kind" o.mkv || bad "five frames of a cut $kind: exit $?"
done

# ---- an index of which one entry is damaged: what it names behind that is left out by demuxers ----
for kind in mp4 mov; do
    ffmpeg -v error -y -i whole.mkv -t 6 -c copy "w.$kind"
    for at in 10 80 140; do
        python3 - "w.$kind" "hole.$kind" $at <<'P'
import sys
d = bytearray(open(sys.argv[1], "rb").read())
i = d.find(b"stsz") + 16 + 4 * int(sys.argv[3])
d[i - 4] = 0x58
open(sys.argv[2], "wb").write(d)
P
        rm -rf o.mkv*; run "hole.$kind" o.mkv; got=$?
        [ $got = 8 ] || bad "$kind whose sample $at has no size: exit $got with $(frames o.mkv) frames"
    done
    # an edit list names fewer, and means it
    ffmpeg -v error -y -ss 1.3 -t 2 -i "w.$kind" -c copy "part.$kind"
    rm -rf o.mkv*; run "part.$kind" o.mkv || bad "a part of $kind: exit $? $(cat err)"
done

# ---- a place in the middle of a Matroska file that is nothing: demuxers step over it in silence ----
ffmpeg -v error -y -i whole.mkv -t 12 -c copy -cluster_time_limit 1000 w.mkv
rm -rf o.mkv*; run w.mkv o.mkv || bad "whole clusters: exit $?"
for at in 3 5 8; do
    python3 - w.mkv hole.mkv $at <<'P'
import sys
d = bytearray(open(sys.argv[1], "rb").read())
places, i = [], d.find(b"\x1f\x43\xb6\x75")
while i >= 0:
    places.append(i)
    i = d.find(b"\x1f\x43\xb6\x75", i + 4)
at = places[int(sys.argv[3]) % len(places)]
d[at:at + 400] = bytes((i * 37 + 11) % 255 for i in range(400))
open(sys.argv[2], "wb").write(d)
P
    rm -rf o.mkv*; expect 8 "$UPREZ" -q -m lanczos --preset ultrafast hole.mkv o.mkv
done
# uneven times are no damage
ffmpeg -v error -y -i whole.mkv -an -vf "select='lt(mod(n,50),20)'" -fps_mode vfr -t 6 -c:v libx264 uneven.mkv
rm -rf o.mkv*; run uneven.mkv o.mkv || bad "uneven times: exit $? $(cat err)"

# ---- the source goes away midway, and comes back ----
cp whole.mkv in.mkv
run in.mkv ref.mkv || bad "the reference: $(cat err)"
rm -rf o.mkv*; "${job[@]}" in.mkv o.mkv 2>/dev/null & p=$!
for _ in $(seq 6000); do ls o.mkv.uprez/seg/*.json >/dev/null 2>&1 && break; sleep 0.005; done
kill -STOP $p; truncate -s $(($(stat -c %s in.mkv) / 2)) in.mkv; kill -CONT $p; wait $p; got=$?
case $got in 3 | 8) ;; 0) echo "the run was quicker than its disk" ;; *) bad "source cut midway: exit $got" ;; esac
if [ $got = 3 ]; then
    cp whole.mkv in.mkv
    run in.mkv o.mkv || bad "whole again: exit $? $(cat err)"
    cmp -s o.mkv ref.mkv || bad "whole again: $(frames o.mkv) frames, not the bytes of an undisturbed run"
fi

# ---- another film with the same times ----
cp whole.mkv in.mkv; begin o.mkv
if [ -d save ]; then
    clip testsrc other.mkv 24; cp other.mkv in.mkv
    expect 2 "$UPREZ" -q -m lanczos --preset ultrafast in.mkv o.mkv; said "pictures"
    cp whole.mkv in.mkv; run in.mkv o.mkv || bad "the first film again: exit $?"
    cmp -s o.mkv ref.mkv || bad "the first film again: other bytes"

    # ---- bytes of a finished segment changed ----
    rm -rf o.mkv*; cp -r save o.mkv.uprez
    f=$(ls o.mkv.uprez/seg/0.[nm]*); n=$(stat -c %s "$f")
    for i in 1 2 3; do printf '\377\377' | dd of="$f" bs=1 seek=$((n * i / 4)) conv=notrunc 2>/dev/null; done
    run in.mkv o.mkv || bad "a changed segment: exit $?"
    cmp -s o.mkv ref.mkv || bad "a changed segment went into the result"

    # ---- ended between the last step and the clean-up, or anywhere in it ----
    id=$(sha256sum <save/plan.json | cut -d' ' -f1)
    # ended PLACE [DAMAGE]: the output is there and its folder as a run left it that was killed at PLACE
    ended() {
        rm -rf o.mkv*; cp -r save o.mkv.uprez; cp ref.mkv o.mkv
        printf '{"plan": "%s", "inode": "%s", "bytes": %s, "frames": 600, "damaged": 0, "held": %d, "damage": "%s"}\n' "$id" \
            "$(stat -c %i o.mkv)" "$(stat -c %s o.mkv)" ${2:+1} "${2-}" >o.mkv.uprez/finished.json
        case $1 in segments) rm -f o.mkv.uprez/seg/*.json ;; folder) rm -r o.mkv.uprez/seg ;; plan) rm -r o.mkv.uprez/seg o.mkv.uprez/plan.json ;; esac
    }
    for place in rename segments folder plan; do
        ended $place
        run in.mkv o.mkv || bad "ended behind $place: exit $? $(cat err)"
        [ ! -e o.mkv.uprez ] || bad "ended behind $place: the folder stays"
        cmp -s o.mkv ref.mkv || bad "ended behind $place: other bytes"
        # the folder says nothing about other options, and a new beginning takes nothing over
        for other in "-m bicubic" "--crf 30" "-s 3" "--no-resume"; do
            ended $place
            # shellcheck disable=SC2086
            expect 2 "$UPREZ" -q -m lanczos --preset ultrafast $other in.mkv o.mkv; said "-y overwrites it"
            cmp -s o.mkv ref.mkv || bad "ended behind $place, then $other: the output was touched"
            [ -e o.mkv.uprez/finished.json ] || bad "ended behind $place, then $other: the folder was touched"
        done
    done
    rm -rf o.mkv.uprez; expect 2 "$UPREZ" -q -m lanczos --preset ultrafast in.mkv o.mkv; said "-y overwrites it"
    # what that run had to say is said
    ended plan "a hole"
    expect 8 "$UPREZ" -q -m lanczos --preset ultrafast in.mkv o.mkv; said "a hole"
    # in a folder, a file that is there and not of these options is left as it is
    ended plan; mkdir folder; mv o.mkv folder/in.mkv; mv o.mkv.uprez folder/in.mkv.uprez; mkdir films; cp in.mkv films
    expect 0 "$UPREZ" -m bicubic --preset ultrafast films folder; said "left as it is"
    cmp -s folder/in.mkv ref.mkv || bad "a finished file in a folder was touched"
    run films folder || bad "the folder's own command: exit $?"
    [ ! -e folder/in.mkv.uprez ] || bad "the folder's own command: the job's folder stays"
fi

# ---- the container's pixel shape is what players show ----
ffmpeg -v error -y -i whole.mkv -t 1 -vf setsar=1 -c:v libx264 a.mkv && ffmpeg -v error -y -i a.mkv -c copy -aspect 16:9 wide.mkv
rm -rf o.mkv*; run wide.mkv o.mkv || bad "another pixel shape in the container: exit $?"
[ "$(probe o.mkv display_aspect_ratio)" = 16:9 ] || bad "16:9 by its container became $(probe o.mkv display_aspect_ratio)"
finish
