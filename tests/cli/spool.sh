#!/bin/bash
# A segment that takes long is not lost with its run: what was computed is kept, and the bytes are those of a run
# that nothing has disturbed.
. "$(dirname "$0")/lib.sh"
need python3
cd "$tmp" || exit 1
ffmpeg -v error -f lavfi -i testsrc2=size=160x96:rate=25:duration=8 -pix_fmt yuv420p -c:v libx264 -preset ultrafast -g 300 -keyint_min 300 in.mkv
job=("$UPREZ" -q -m uprez-video-2x --threads 1 --no-reuse --preset ultrafast)
record=$((320 * 192 * 3 / 2))
"${job[@]}" in.mkv ref.mkv || bad "the reference"
size() { stat -c %s o.mkv.uprez/seg/"$1" 2>/dev/null || echo 0; }
# slow N [OPTION…]: a run whose clock says that its segment takes long; returns with at least N frames kept, or a result
slow() {
    want=$1; shift
    "${job[@]}" "$@" in.mkv o.mkv 2>err & p=$!
    for _ in $(seq 6000); do ls o.mkv.uprez/seg/*.tmp >/dev/null 2>&1 && break; kill -0 $p 2>/dev/null || break; sleep 0.005; done
    kill -STOP $p 2>/dev/null; sleep 8; kill -CONT $p 2>/dev/null
    for _ in $(seq 60000); do [ "$(size 0.spool)" -gt $((want * record)) ] && break; kill -0 $p 2>/dev/null || break; sleep 0.002; done
}
resumed() { python3 -c "import json;print(json.load(open('sum'))['frames_resumed'])"; }
# again NAME LEAST: the same command ends with the same bytes and used that many frames
again() {
    "${job[@]}" --json in.mkv o.mkv >sum 2>err || bad "$1: exit $? $(cat err)"
    cmp -s o.mkv ref.mkv || bad "$1: other bytes"
    [ "$(resumed)" -ge "$2" ] || bad "$1: only $(resumed) frames were kept of $2"
    [ ! -e o.mkv.uprez ] || bad "$1: the folder stays"
    rm -rf o.mkv*
}
kept() { echo $((($(size 0.spool) - 128) / (record + 32))); }

slow 12; kill -9 $p; wait $p 2>/dev/null
[ "$(size 0.spool)" -gt 0 ] || skip "the run was quicker than its kill"
n=$(kept); rm -rf save; cp -r o.mkv.uprez save
again "killed" $((n - 1))

# a torn end, a changed picture, a changed header of one, another file in its place: computed again
for harm in torn picture record begin; do
    cp -r save o.mkv.uprez; f=o.mkv.uprez/seg/0.spool; least=$((n - 2))
    case $harm in
    torn) truncate -s -1000 $f ;;
    picture) printf '\252\273\314' | dd of=$f bs=1 seek=$(($(size 0.spool) - record / 2)) conv=notrunc 2>/dev/null ;;
    record) printf '\252\273\314' | dd of=$f bs=1 seek=$((record + 200)) conv=notrunc 2>/dev/null; least=1 ;;
    begin) printf 'xyz' | dd of=$f bs=1 conv=notrunc 2>/dev/null; least=0 ;;
    esac
    again "$harm" $least
done

# killed in the run that goes on, and once more; Ctrl-C at last
cp -r save o.mkv.uprez
for more in 5 10; do
    "${job[@]}" in.mkv o.mkv 2>/dev/null & p=$!
    for _ in $(seq 60000); do [ "$(kept)" -ge $((n + more)) ] && break; kill -0 $p 2>/dev/null || break; sleep 0.002; done
    kill -9 $p 2>/dev/null; wait $p 2>/dev/null
done
if [ ! -e o.mkv ]; then
    [ "$(kept)" -ge $((n + 10)) ] || bad "what came behind the first kill is not kept: $(kept) frames"
    "${job[@]}" in.mkv o.mkv 2>err & p=$!
    for _ in $(seq 60000); do [ "$(kept)" -ge $((n + 15)) ] && break; kill -0 $p 2>/dev/null || break; sleep 0.002; done
    kill -INT $p; wait $p; got=$?
    if [ $got = 130 ]; then
        grep -q "goes on from frame" err || bad "Ctrl-C: $(tail -1 err)"
        ffprobe -v error o.mkv.part || bad "Ctrl-C: the part does not play"
        again "Ctrl-C" $((n + 10))
    fi
fi
rm -rf o.mkv*

# another command does not throw it away unasked
cp -r save o.mkv.uprez
expect 2 "$UPREZ" -q -m lanczos --preset ultrafast in.mkv o.mkv; said "begun segment"
expect 0 "$UPREZ" -q -y -m lanczos --preset ultrafast in.mkv o.mkv
rm -rf o.mkv*

# no room: said once, no error
if (ulimit -f 5000) 2>/dev/null; then
    job=("${job[@]/-q/--progress=none}")
    (ulimit -f 5000; slow 1000; wait $p) && cmp -s o.mkv ref.mkv || bad "no room for the spool: $(tail -2 err)"
    [ "$(grep -c "are not kept" err)" = 1 ] || bad "no room for the spool: not said once: $(cat err)"
fi
finish
