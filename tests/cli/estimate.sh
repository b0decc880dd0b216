#!/bin/bash
# `uprez estimate`: the arithmetic, against the run itself; never the clock.
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
mkdir pieces
export TMPDIR=$tmp/pieces
ffmpeg -v error -y -f lavfi -i testsrc2=s=160x120:r=25:d=20 -f lavfi -i "sine=d=20:r=48000" -vf "noise=alls=4:allf=t" \
    -c:v libx264 -preset veryfast -pix_fmt yuv420p -c:a aac -b:a 96k film.mkv
expect 0 "$UPREZ" estimate -m lanczos --json film.mkv out.mkv
cp "$tmp/out" said.json
[ ! -e out.mkv ] && [ ! -e out.mkv.uprez ] && [ ! -e out.mkv.part ] || bad "an estimate wrote beside the output"
[ -z "$(ls pieces)" ] || bad "pieces stay: $(ls pieces)"
expect 0 "$UPREZ" -q -m lanczos film.mkv out.mkv
python3 - "$(stat -c %s out.mkv)" "$(nb_frames out.mkv 2>/dev/null ||
    ffprobe -v error -count_packets -select_streams v:0 -show_entries stream=nb_read_packets -of csv=p=0 out.mkv)" <<'P' || bad "figures: $(cat said.json)"
import json, sys
d, size, frames = json.load(open("said.json")), int(sys.argv[1]), int(sys.argv[2].strip(","))
assert d["frames"] == frames == 500, (d["frames"], frames)
assert (d["width"], d["height"]) == (320, 240)
s, t = d["size_bytes"], d["time_s"]
assert abs(s["likely"] / size - 1) < 0.2, (s, size)
assert 0 < s["low"] <= s["likely"] <= s["high"] and 0 < t["low"] <= t["likely"] <= t["high"]
assert d["disk_bytes"] > s["likely"] and d["free_bytes"] > 0 and d["memory_bytes"] > 1e6
assert abs(d["film_s"] - 20) < 0.2
P
# a part of the film: as many frames as the run has
for part in "--frames 77" "--start 5 --duration 4"; do
    # shellcheck disable=SC2086 # words
    expect 0 "$UPREZ" --dry-run -m lanczos --json $part film.mkv part.mkv
    want=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["frames"])' "$tmp/out")
    # shellcheck disable=SC2086
    "$UPREZ" -q -y -m lanczos $part film.mkv part.mkv
    have=$(ffprobe -v error -count_packets -select_streams v:0 -show_entries stream=nb_read_packets -of csv=p=0 part.mkv)
    [ "$want" = "${have%,}" ] || bad "$part: $want frames estimated, $have made"
done
expect 0 "$UPREZ" estimate -m lanczos film.mkv
grep -q '^time ' "$tmp/out" && grep -q '^size ' "$tmp/out" || bad "nothing for people: $(cat "$tmp/out")"
[ ! -e film.upscaled.mkv ] || bad "an estimate wrote a film"
# what it cannot do, and why
ffmpeg -v error -y -i film.mkv -frames:v 1 one.png
expect 2 "$UPREZ" estimate -m lanczos one.png
expect 2 "$UPREZ" estimate -m lanczos . out/
expect 2 "$UPREZ" estimate -m lanczos - out.mkv
expect 3 "$UPREZ" estimate -m lanczos missing.mkv
expect 4 "$UPREZ" estimate -m nowhere.pth film.mkv
[ -z "$(ls pieces)" ] || bad "pieces stay after errors: $(ls pieces)"
finish
