#!/bin/bash
# Exit codes and sentences for wrong use; nothing here needs real media.
. "$(dirname "$0")/lib.sh"
need ffmpeg
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=10:duration=0.5 -pix_fmt yuv420p -c:v libx264 "$tmp/a.mp4"

expect 0 "$UPREZ" --help; grep -q -- '--model' "$tmp/out" || bad "--help without --model"
expect 0 "$UPREZ" --version; grep -q '^uprez [0-9]' "$tmp/out" || bad "--version"
expect 2 "$UPREZ"
expect 2 "$UPREZ" "$tmp/a.mp4" b.mp4 c.mp4
expect 2 "$UPREZ" --nonsense "$tmp/a.mp4" "$tmp/b.mp4"; said "--nonsense"
for o in --reuse-threshold --mixed; do # not built yet: refused, never ignored
    expect 2 "$UPREZ" $o 1 "$tmp/a.mp4" "$tmp/b.mp4"
    "$UPREZ" --help | grep -q -- "$o " && bad "$o is in --help"
done
expect 2 "$UPREZ" -s 0 "$tmp/a.mp4" "$tmp/b.mp4"
expect 2 "$UPREZ" -s two "$tmp/a.mp4" "$tmp/b.mp4"
expect 2 "$UPREZ" --size 10 "$tmp/a.mp4" "$tmp/b.mp4"
expect 2 "$UPREZ" --threads 0 "$tmp/a.mp4" "$tmp/b.mp4"
expect 2 "$UPREZ" -q -v "$tmp/a.mp4" "$tmp/b.mp4"
expect 3 "$UPREZ" "$tmp/none.mp4" "$tmp/b.mp4"; said "none.mp4"
echo text >"$tmp/text.mp4"
expect 3 "$UPREZ" "$tmp/text.mp4" "$tmp/b.mp4"; said "text.mp4"
expect 4 "$UPREZ" -m "$tmp/none.pth" "$tmp/a.mp4" "$tmp/b.mp4"; said "none.pth"
expect 4 "$UPREZ" -m "$tmp/text.mp4" "$tmp/a.mp4" "$tmp/b.mp4"
expect 5 "$UPREZ" -m lanczos -d cuda "$tmp/a.mp4" "$tmp/b.mp4"; said "CPU only"
expect 5 "$UPREZ" -d cuda "$tmp/a.mp4" "$tmp/b.mp4"; said "cuda"
expect 5 "$UPREZ" --engine warp "$tmp/a.mp4" "$tmp/b.mp4"; said "warp"
expect 5 "$UPREZ" -g 1 "$tmp/a.mp4" "$tmp/b.mp4"
expect 2 "$UPREZ" -g one "$tmp/a.mp4" "$tmp/b.mp4"; said "-g one"
for d in cuda:0, ,cuda 0,1 cuda:1,1 cuda:0,cuda:0 "$(printf 'cuda:%s' "$(seq -s, 0 16)")"; do
    expect 2 "$UPREZ" -d "$d" "$tmp/a.mp4" "$tmp/b.mp4"
done
expect 2 "$UPREZ" -c nosuchencoder "$tmp/a.mp4" "$tmp/b.mp4"; said "nosuchencoder"
expect 2 "$UPREZ" -e nosuchoption=1 "$tmp/a.mp4" "$tmp/b.mp4"; said "nosuchoption"
expect 2 "$UPREZ" "$tmp/a.mp4" "$tmp/b.xyz"
# one line says what is wrong with an option of the encoder, before a model is read; libraries say nothing
while read -r words; do
    # shellcheck disable=SC2086
    expect 2 "$UPREZ" -s 2 -m "$tmp/none.pth" $words "$tmp/a.mp4" "$tmp/b.mp4"; said "${words##*[ =,]}"
    [ "$(wc -l <"$tmp/err")" = 1 ] || bad "$words: $(wc -l <"$tmp/err") lines"
done <<'T'
--preset nonsense
-e crf=abc
-e tune=film,bogus
-e profile=extended
-e profile=baseline --pix-fmt yuv444p
-c libx265 --preset nonsense
-c libvpx-vp9 -e deadline=nonsense
T
# too big for the codec or the file: refused before a model is read
for o in "--size 17000x100 --fit stretch -c libx264" "--size 20000x20000"; do
    # shellcheck disable=SC2086
    expect 2 "$UPREZ" -m "$tmp/none.pth" $o "$tmp/a.mp4" "$tmp/b.mp4"; said "make it smaller"
done
ffmpeg -v error -i "$tmp/a.mp4" -frames:v 1 "$tmp/a.png"
expect 2 "$UPREZ" -m "$tmp/none.pth" --size 20000x70 --fit stretch "$tmp/a.png" "$tmp/b.webp"; said "16383"
expect 2 "$UPREZ" -m "$tmp/none.pth" --size 65501x70 --fit stretch "$tmp/a.png" "$tmp/b.jpg"; said "65500"
# a picture becomes a picture that uprez writes, or a video: not whatever FFmpeg's encoders make of it
for ext in avif heic apng bmp; do
    expect 2 "$UPREZ" -m "$tmp/none.pth" "$tmp/a.png" "$tmp/b.$ext"; said "write it as .png, .jpg, .webp or .tif"
done
expect 7 "$UPREZ" "$tmp/a.mp4" "$tmp/no/such/dir/b.mp4"
[ -e "$tmp/b.mp4" ] && bad "a refused run left an output"
ls "$tmp" | grep -q 'uprez\|part' && bad "a refused run left $(ls "$tmp")"

# an existing output is not touched without -y
echo precious >"$tmp/b.mp4"
expect 2 "$UPREZ" "$tmp/a.mp4" "$tmp/b.mp4"; said "b.mp4"
[ "$(cat "$tmp/b.mp4")" = precious ] || bad "the existing output was touched"
expect 0 "$UPREZ" -y "$tmp/a.mp4" "$tmp/b.mp4"
[ "$(frames "$tmp/b.mp4")" = 5 ] || bad "-y did not replace it"
# the encoder is probed before the model: with both wrong, the encoder is named
expect 2 "$UPREZ" -s 2 -c nosuchencoder -m "$tmp/none.pth" "$tmp/a.mp4" "$tmp/c.mp4"; said nosuchencoder
# aliases
expect 0 "$UPREZ" -i "$tmp/a.mp4" -o "$tmp/c.mp4" -n lanczos -g -1 -j 1:2:2 --outscale 2 --fp32 -q
[ "$(probe "$tmp/c.mp4" width)" = 128 ] || bad "aliases: width $(probe "$tmp/c.mp4" width)"
[ -s "$tmp/err" ] && bad "-q was not quiet: $(cat "$tmp/err")"
# a summary for programs
expect 0 "$UPREZ" -y --json --progress none "$tmp/a.mp4" "$tmp/c.mp4"
python3 - "$tmp/out" <<'P' || bad "--json: $(cat "$tmp/out")"
import json, sys
o = json.load(open(sys.argv[1]))
assert o["exit"] == 0 and o["frames_in"] == o["frames_out"] == 5 and o["width"] == 128, o
P
expect 0 "$UPREZ" -y --progress json --progress-fd 3 "$tmp/a.mp4" "$tmp/c.mp4" 3>"$tmp/progress"
python3 - "$tmp/progress" <<'P' || bad "--progress json: $(cat "$tmp/progress")"
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
assert lines and all({"frame", "total", "fps", "eta_s", "reused", "bottleneck"} <= set(l) for l in lines)
assert lines[-1]["frame"] == 5 and lines[-1]["total"] == 5, lines[-1]
P
# that no network was named is said when the work begins, not before a sentence that ends the run
expect 0 "$UPREZ" -y --progress none "$tmp/a.mp4" "$tmp/c.mp4"; said "no -m"
for f in "$tmp/none.mp4" "$tmp/text.mp4"; do
    expect 3 "$UPREZ" "$f" "$tmp/d.mp4"
    [ "$(wc -l <"$tmp/err")" = 1 ] || bad "$f: more than a sentence: $(cat "$tmp/err")"
done
# words that other programs understand
expect 0 "$UPREZ" help; grep -q -- '--model' "$tmp/out" || bad "uprez help"
expect 0 "$UPREZ" help model list; grep -q 'uprez model list' "$tmp/out" || bad "uprez help model list"
while IFS=: read -r words answer; do
    # shellcheck disable=SC2086
    expect 2 "$UPREZ" $words; said "'uprez $answer' meant?"
done <<'T'
models list:model list
list --json:model list --json
info x.pth:model info x.pth
device:devices
benchmark -m lanczos:bench -m lanczos
T
# what goes to standard output must arrive there, alone
expect 2 "$UPREZ" --progress-fd 9 "$tmp/a.mp4" "$tmp/d.mp4"; said "--progress-fd 9"
expect 2 "$UPREZ" --progress-fd 9 "$tmp/a.mp4" "$tmp/d.mp4" 9<"$tmp/a.mp4"; said "--progress-fd 9"
expect 2 "$UPREZ" --json "$tmp/a.mp4" -; said "standard output"
expect 2 "$UPREZ" --progress-fd 1 "$tmp/a.mp4" -; said "standard output"
expect 7 sh -c '"$0" model list >/dev/full' "$UPREZ"; said "cannot be written"
expect 2 "$UPREZ" "$tmp/a.mp4" ""; said "name is empty"
# names cannot steer the terminal
odd=$tmp/$(printf 'a\033[31m.mp4')
expect 0 "$UPREZ" "$tmp/a.mp4" "$odd"
grep -q "$(printf '\033')" "$tmp/err" && bad "a control character was printed"
finish
