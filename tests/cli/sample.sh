#!/bin/bash
# `uprez sample`: what it shows is what the run itself makes.
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1
ffmpeg -v error -y -f lavfi -i testsrc2=s=96x64:r=25:d=3 -c:v libx264 -preset veryfast -crf 15 -pix_fmt yuv420p film.mkv
mkdir pieces
export TMPDIR=$tmp/pieces XDG_DATA_HOME=$tmp/none
expect 0 "$UPREZ" sample film.mkv -m lanczos -m bicubic -m uprez-fast-2x --at 1 --at 0:02
[ -s film.sample.html ] && [ -s film.sample.png ] || bad "no page or no picture"
[ -z "$(ls pieces)" ] || bad "pieces stay: $(ls pieces)"
python3 - <<'P' || bad "the page"
import base64, re
t = open("film.sample.html", encoding="utf-8").read()
assert not re.search(r"(src|href)=\"(?!data:)", t), "something is loaded from elsewhere"
pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", t)
assert len(pictures) == 6, len(pictures)
assert all(base64.b64decode(p)[:2] == b"\xff\xd8" for p in pictures)
assert t.count("<section>") == 2 and t.count("<select>") == 4
assert all(t.count(">%s</figcaption>" % m) == 2 for m in ("lanczos", "bicubic", "uprez-fast-2x"))
P
# the third column of the first row is the frame that the run itself makes
"$UPREZ" -q -m uprez-fast-2x --start 1 --frames 1 film.mkv one.png
ffmpeg -v error -y -i film.sample.png -vf crop=192:128:392:0 third.png
"$UPREZ" compare -q --json one.png third.png >found.json 2>/dev/null
python3 -c '
import json
d = json.load(open("found.json"))
assert d["width"] == 192 and d["height"] == 128, (d["width"], d["height"])
assert d["mean"]["psnr"]["all"] is None or d["mean"]["psnr"]["all"] > 60, d["mean"]["psnr"]' || bad "another picture is shown"
expect 2 "$UPREZ" sample film.mkv -m lanczos
expect 0 "$UPREZ" sample -y film.mkv
grep -q 'lanczos, uprez-video-2x at 0.50 s, 1.50 s, 2.50 s' "$tmp/out" || bad "defaults: $(cat "$tmp/out")"
expect 0 "$UPREZ" sample one.png -o shown.html
grep -q 'uprez-fast-2x' "$tmp/out" || bad "a picture: $(cat "$tmp/out")"
expect 3 "$UPREZ" sample missing.mkv
expect 2 "$UPREZ" sample film.mkv -y --at soon
expect 4 "$UPREZ" sample -y film.mkv -m nowhere.pth
expect 2 "$UPREZ" sample
finish
