#!/bin/bash
# `uprez compare` beside FFmpeg's filters psnr and ssim (their plain-C form: the vector form of `ssim` in
# FFmpeg 5.1 is wrong for planes whose width is no multiple of 16) and libvmaf where FFmpeg has it.
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1

# SRC FORMAT: a film and what a coder makes of it
pair() {
    ffmpeg -v error -y -f lavfi -i "$1" -frames:v 12 -pix_fmt "$2" -c:v ffv1 a.mkv
    ffmpeg -v error -y -i a.mkv -vf "gblur=0.7,noise=alls=6:allf=t:all_seed=3" -pix_fmt "$2" -c:v ffv1 b.mkv
}
# The mean of each component by FFmpeg: psnr from mean errors over the frames, ssim from their mean.
cat >judge.py <<'E2'
import json, math, re, subprocess, sys
run = lambda *a: subprocess.run(a, capture_output=True, text=True)
ours = json.loads(run(sys.argv[1], "compare", "-q", "--json", "a.mkv", "b.mkv").stdout)
def theirs(name):
    run("ffmpeg", "-v", "error", "-cpuflags", "0", "-i", "b.mkv", "-i", "a.mkv", "-lavfi",
        f"[0:v][1:v]{name}=stats_file={name}.log", "-f", "null", "-")
    return [dict(re.findall(r"(\w+):([-\w.]+)", l)) for l in open(name + ".log")]
psnr, ssim = theirs("psnr"), theirs("ssim")
frames = ours["frames"]
assert len(frames) == len(psnr) == len(ssim) == 12, (len(frames), len(psnr), len(ssim))
bad = 0
for f, p, s in zip(frames, psnr, ssim):
    for c, v in f["psnr"].items():
        want = p["psnr_" + ("avg" if c == "all" else c.lower())]
        # the log gives two decimals of dB; its squared errors give two decimals more
        mse = p["mse_" + ("avg" if c == "all" else c.lower())]
        if (v is None) != (want == "inf") or (v is not None and abs(v - float(want)) > 0.0051):
            bad = print("psnr", c, v, want) or 1
    for c, v in f["ssim"].items():
        want = s["All" if c == "all" else c]
        if abs(v - float(want)) > 1e-5: bad = print("ssim", c, v, want) or 1
sys.exit(bad)
E2
tried=0
for case in "testsrc2=s=320x180:r=25 yuv420p" "mandelbrot=s=214x122:r=25 yuv420p" "testsrc2=s=203x131:r=25 yuv444p" \
    "mandelbrot=s=322x190:r=25 yuv422p10le" "testsrc2=s=200x200:r=25 gray" "testsrc2=s=97x61:r=25 gbrp" \
    "testsrc2=s=176x144:r=25 yuv420p12le"; do
    # shellcheck disable=SC2086 # two words
    set -- $case
    pair "$1" "$2"
    python3 judge.py "$UPREZ" >judge.out || bad "$case: $(cat judge.out)"
    tried=$((tried + 1))
done
[ $tried = 7 ] || bad "only $tried formats were tried"

# the sum over all frames, to 1e-3 dB
pair "testsrc2=s=320x180:r=25" yuv420p
want=$(ffmpeg -hide_banner -cpuflags 0 -i b.mkv -i a.mkv -lavfi "[0:v][1:v]psnr" -f null - 2>&1 |
    sed -n 's/.*PSNR y:\([0-9.]*\) u:\([0-9.]*\) v:\([0-9.]*\) average:\([0-9.]*\).*/\1 \2 \3 \4/p')
got=$("$UPREZ" compare -q --json a.mkv b.mkv | python3 -c '
import json, sys
p = json.load(sys.stdin)["mean"]["psnr"]
want = [float(x) for x in sys.argv[1].split()]
print(max(abs(p[c] - w) for c, w in zip(("Y", "U", "V", "all"), want)) < 1e-3 and "equal" or (p, want))' "$want")
[ "$got" = equal ] || bad "means: $got"

# a film with itself, and frames without a partner
expect 0 "$UPREZ" compare a.mkv a.mkv
grep -q 'inf' "$tmp/out" || bad "identical films: $(cat "$tmp/out")"
ffmpeg -v error -y -i a.mkv -vf "select=not(eq(n\,5))" -fps_mode passthrough -c:v ffv1 hole.mkv
expect 8 "$UPREZ" compare a.mkv hole.mkv
grep -q "1 of 12 frames of 'a.mkv' have no partner" "$tmp/err" || bad "one frame is missing: $(cat "$tmp/err")"
"$UPREZ" compare -q --json a.mkv hole.mkv 2>/dev/null | python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d["compared"] == 11 and d["a"]["alone"] == 1 and d["b"]["alone"] == 0, d
assert all(f["psnr"]["all"] is None for f in d["frames"]), "a frame was compared with its neighbour"
assert 5 not in [f["a"] for f in d["frames"]]' || bad "the hole is elsewhere"
# the same film beginning later, and at another clock
ffmpeg -v error -y -itsoffset 3 -i a.mkv -c copy -output_ts_offset 3 later.mkv
expect 0 "$UPREZ" compare a.mkv later.mkv
# other sizes and other formats: reduced by the same filter elsewhere, the difference is small
"$UPREZ" -q -y -m bicubic -s 2 a.mkv big.mkv
expect 0 "$UPREZ" compare --json a.mkv big.mkv
grep -q '"width":640,"height":360,"format":"YUV' "$tmp/out" || bad "measured at another size"
expect 0 "$UPREZ" compare --down --json a.mkv big.mkv
python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
assert d["width"] == 320 and d["mean"]["psnr"]["Y"] > 30, d["mean"]' "$tmp/out" || bad "--down"
ffmpeg -v error -y -i a.mkv -pix_fmt yuv422p10le -c:v ffv1 wide.mkv
expect 0 "$UPREZ" compare --json a.mkv wide.mkv
python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
assert d["format"] == "YUV 4:2:2, 10 bits" and d["mean"]["psnr"]["Y"] is None, d["mean"]' "$tmp/out" ||
    bad "eight bits beside ten"
ffmpeg -v error -y -i a.mkv -frames:v 1 one.png
ffmpeg -v error -y -i a.mkv -frames:v 1 -pix_fmt rgb48be deep.png
expect 0 "$UPREZ" compare one.png deep.png

# the page: everything inside, what it says is what was measured; nothing is overwritten
expect 0 "$UPREZ" compare --report page.html a.mkv b.mkv
python3 - <<'E2' || bad "the page"
import base64, re
t = open("page.html", encoding="utf-8").read()
assert not re.search(r"(src|href)=\"(?!data:)", t), "something is loaded from elsewhere"
pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", t)
assert len(pictures) in range(2, 13, 2), len(pictures)
for p in pictures:
    assert base64.b64decode(p)[:2] == b"\xff\xd8"
assert t.count("<svg") == 2 and "PSNR" in t
E2
expect 2 "$UPREZ" compare --report page.html a.mkv b.mkv
expect 0 "$UPREZ" compare -y --report page.html a.mkv b.mkv

# wrong words
expect 2 "$UPREZ" compare a.mkv
expect 3 "$UPREZ" compare a.mkv missing.mkv
printf 'not a film' >text.mkv
expect 3 "$UPREZ" compare a.mkv text.mkv
head -c 60000 a.mkv >cut.mkv
expect 8 "$UPREZ" compare a.mkv cut.mkv
# MS-SSIM, where an FFmpeg with libvmaf is at hand
vmaf=${UPREZ_VMAF_FFMPEG:-ffmpeg}
if "$vmaf" -hide_banner -filters 2>/dev/null | grep -q ' libvmaf '; then
    for s in 320x180 427x241; do
        pair "mandelbrot=s=$s:r=25" yuv444p
        "$vmaf" -v error -i b.mkv -i a.mkv -lavfi \
            "[0:v][1:v]libvmaf=feature=name=float_ms_ssim:log_fmt=json:log_path=vmaf.json" -f null - 2>/dev/null
        "$UPREZ" compare -q --json a.mkv b.mkv | python3 -c '
import json, sys
ours, theirs = json.load(sys.stdin), json.load(open("vmaf.json"))
for f, v in zip(ours["frames"], theirs["frames"]):
    d = abs(f["ms_ssim"] - v["metrics"]["float_ms_ssim"])
    assert d < 2e-5, d' || bad "MS-SSIM at $s"
    done
else
    echo "note: no FFmpeg with libvmaf (UPREZ_VMAF_FFMPEG names one): MS-SSIM was not compared with it"
fi
finish
