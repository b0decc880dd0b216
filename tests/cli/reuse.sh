#!/bin/bash
# A clip that repeats itself, as drawn film and screens do: the same bytes with and without reuse, less
# work, and the counts.
. "$(dirname "$0")/lib.sh"
need ffmpeg python3
python3 "$SOURCE_ROOT/tests/gpu/make_models.py" "$tmp" tiny2 || bad "make_models.py"
net=$tmp/tiny2.safetensors
# every picture three times, and a small clock that moves each time
ffmpeg -v error -f lavfi -i testsrc2=size=320x180:rate=4:duration=2 -f lavfi -i testsrc=size=32x24:rate=12:duration=2 \
    -filter_complex "[0]fps=12[a];[1]trim=start_frame=12,setpts=PTS-STARTPTS+1/TB[b];[a][b]overlay=280:8:eof_action=pass:format=yuv420" \
    -pix_fmt yuv420p -c:v ffv1 -colorspace bt709 -color_range tv "$tmp/a.mkv" || bad "the clip cannot be made"
pixels() { ffmpeg -v error -i "$1" -map 0:v -f framemd5 - | grep -v '^#'; }
for way in "" "--height 270" "--pix-fmt yuv420p10le" "-m $net" "--blend 0.5" "-m lanczos" "--tta"; do
    # shellcheck disable=SC2086
    expect 0 "$UPREZ" -y --json -m "$net" $way -c ffv1 "$tmp/a.mkv" "$tmp/with.mkv"
    cp "$tmp/out" "$tmp/json"
    # shellcheck disable=SC2086
    expect 0 "$UPREZ" -y --json --no-reuse -m "$net" $way -c ffv1 "$tmp/a.mkv" "$tmp/without.mkv"
    cmp -s "$tmp/with.mkv" "$tmp/without.mkv" || bad "$way: the file is another with reuse"
    [ "$(pixels "$tmp/with.mkv" | wc -l)" = 24 ] || bad "$way: not 24 frames"
    python3 - "$tmp/json" "$tmp/out" "$way" <<'P' || bad "$way: counts"
import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:3])
whole = 8 if sys.argv[3] in ("--tta", "-m lanczos") else 10  # repeats alone, or parts as well
print(sys.argv[3] or "plain", "reused", round(a["reused"], 2))
assert b["reused"] == 0 and whole <= a["reused"] < 17, (a["reused"], b["reused"])
P
done
expect 0 "$UPREZ" -y -m "$net" -c ffv1 --progress json "$tmp/a.mkv" "$tmp/with.mkv"
said "was as in the frame before and only copied"
grep '^{' "$tmp/err" | tail -1 | python3 -c 'import json,sys; assert json.load(sys.stdin)["reused"] >= 10' || bad "progress does not count"
# a folder's count is that of all its files
mkdir "$tmp/in"
ln -s "$tmp/a.mkv" "$tmp/in/a.mkv"
ffmpeg -v error -f lavfi -i testsrc2=size=64x36:rate=12:duration=0.25 -pix_fmt yuv420p -c:v ffv1 "$tmp/in/b.mkv"
expect 0 "$UPREZ" -y --json -m "$net" -c ffv1 "$tmp/in" "$tmp/out.d"
python3 -c 'import json,sys; d = json.load(open(sys.argv[1])); assert d["files"] == 2 and d["reused"] >= 10, d' "$tmp/out" || bad "a folder's count"
# interrupted and gone on: what a segment begins with is never taken from elsewhere
ffmpeg -v error -stream_loop 4 -i "$tmp/a.mkv" -c copy "$tmp/long.mkv"
expect 0 "$UPREZ" -y -m "$net" -c ffv1 "$tmp/long.mkv" "$tmp/whole.mkv"
timeout -s INT 0.6 "$UPREZ" -y -m "$net" -c ffv1 "$tmp/long.mkv" "$tmp/cut.mkv" >/dev/null 2>&1
expect 0 "$UPREZ" -y -m "$net" -c ffv1 "$tmp/long.mkv" "$tmp/cut.mkv"
cmp -s "$tmp/whole.mkv" "$tmp/cut.mkv" || bad "gone on with reuse: another file"
finish
