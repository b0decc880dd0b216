#!/bin/bash
# The same command goes on where an interrupted or killed run stopped, and the result has the bytes
# of a run that nobody disturbed. Damaged leftovers are made anew.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
ffmpeg -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=40 -f lavfi -i sine=duration=40 \
    -pix_fmt yuv420p -c:v libx264 -g 100 -preset ultrafast -c:a aac "$tmp/in.mp4"
job=("$UPREZ" -q -m lanczos -s 3 --threads 1 --preset ultrafast "$tmp/in.mp4")
expect 0 "${job[@]}" "$tmp/whole.mp4"
segments() { ls "$1.uprez/seg"/*.json 2>/dev/null | wc -l; }
# begin OUT SIGNAL: starts, waits for a finished segment or two, sends the signal
begin() {
    "${job[@]}" "$1" 2>"$tmp/err" & pid=$!
    before=$(segments "$1")
    for _ in $(seq 600); do [ "$(segments "$1")" -gt "$before" ] && break; sleep 0.02; done
    kill -"$2" $pid
    wait $pid 2>/dev/null
    [ -e "$1" ] && bad "$2 came too late"
}
begin "$tmp/a.mp4" KILL
begin "$tmp/a.mp4" KILL
n=$(segments "$tmp/a.mp4")
[ "$n" -ge 2 ] || bad "two killed runs left $n segments"
begin "$tmp/a.mp4" INT
expect 0 "${job[@]}" "$tmp/a.mp4"
cmp -s "$tmp/whole.mp4" "$tmp/a.mp4" || bad "a run killed three times gives other bytes"
[ -e "$tmp/a.mp4.uprez" ] || [ -e "$tmp/a.mp4.part" ] && bad "something was left behind"

# a finished segment that is no longer what it was
begin "$tmp/b.mp4" KILL
for f in "$tmp"/b.mp4.uprez/seg/*; do
    case $f in *.json) ;; *) truncate -s 1000 "$f"; break ;; esac
done
expect 0 "${job[@]}" "$tmp/b.mp4"
cmp -s "$tmp/whole.mp4" "$tmp/b.mp4" || bad "a damaged segment got into the result"

# other options do not go on from it, nor do they throw it away unasked
begin "$tmp/c.mp4" KILL
n=$(segments "$tmp/c.mp4")
expect 2 "$UPREZ" -q -m bicubic -s 2 --preset ultrafast "$tmp/in.mp4" "$tmp/c.mp4"
said "$tmp/c.mp4.uprez has $n finished segment"; said "encoder width was 960, is 640"; said "give -y"
expect 2 "$UPREZ" -q -m lanczos -s 3 --preset ultrafast -e g=77 "$tmp/in.mp4" "$tmp/c.mp4"; said "encoder options"
[ "$(segments "$tmp/c.mp4")" = "$n" ] || bad "a refused run touched the segments"
cp -r "$tmp/c.mp4.uprez" "$tmp/d.mp4.uprez"
expect 0 "${job[@]}" "$tmp/d.mp4"
cmp -s "$tmp/whole.mp4" "$tmp/d.mp4" || bad "the run could not go on after a refused one"
cp -r "$tmp/c.mp4.uprez" "$tmp/d2.mp4.uprez"
expect 0 "$UPREZ" -q --no-resume --frames 3 -m bicubic "$tmp/in.mp4" "$tmp/d2.mp4"
expect 0 "$UPREZ" -q -y -m bicubic -s 2 --preset ultrafast "$tmp/in.mp4" "$tmp/c.mp4"
[ "$(probe "$tmp/c.mp4" width,height)" = 640,360 ] || bad "segments of another size got in: $(probe "$tmp/c.mp4" width,height)"
[ "$(frames "$tmp/c.mp4")" = 1000 ] || bad "$(frames "$tmp/c.mp4") frames instead of 1000"
finish
