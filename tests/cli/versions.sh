#!/bin/bash
# A run goes on only with the versions of libavcodec and of the encoder that it began with: two codings
# in one film are nobody's wish.
. "$(dirname "$0")/lib.sh"
need python3
cd "$tmp" || exit 1
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=25:duration=16 -pix_fmt yuv420p -c:v libx264 -g 50 in.mkv
job=("$UPREZ" -q -m lanczos --preset ultrafast in.mkv o.mkv)
# An x264 of another version: a copy of the library with other letters in its version.
lib=$(LD_TRACE_LOADED_OBJECTS=1 "$UPREZ" | awk '$1 ~ /^libx264\.so/ {print $3}')
[ -n "$lib" ] || skip "libx264 is not a shared library here"
said_by() { # the version that a stream coded by ffmpeg carries
    ffmpeg -v error -y -f lavfi -i color=size=64x64:duration=0.04 -c:v libx264 v.h264 && tr -cs '[:print:]' '\n' <v.h264 | grep -ao 'x264 - core [0-9]* [^-]*' | head -1 | sed 's/ *$//'
}
is=$(said_by); rev=${is##* }
mkdir other
python3 - "$lib" other/"$(basename "$lib")" "$rev" <<'P' || skip "the version is not found in $lib"
import sys
d, rev = open(sys.argv[1], "rb").read(), sys.argv[3].encode()
if not rev or rev not in d:
    sys.exit(1)
open(sys.argv[2], "wb").write(d.replace(rev, b"0" * len(rev)))
P
was=$(LD_LIBRARY_PATH=$PWD/other said_by)
[ "$was" != "$is" ] || skip "another libx264 is not taken"

"${job[@]}" || bad "the reference"; mv o.mkv ref.mkv
LD_LIBRARY_PATH=$PWD/other "${job[@]}" || bad "the other version"
mv o.mkv other.mkv
# a run of the other version, killed behind its first segment
for _ in 1 2 3 4 5; do
    LD_LIBRARY_PATH=$PWD/other "${job[@]}" 2>/dev/null & p=$!
    for _ in $(seq 6000); do ls o.mkv.uprez/seg/*.json >/dev/null 2>&1 && break; kill -0 $p 2>/dev/null || break; sleep 0.002; done
    kill -9 $p 2>/dev/null; wait $p 2>/dev/null
    ls o.mkv.uprez/seg/*.json >/dev/null 2>&1 && break
    rm -rf o.mkv*
done
[ -d o.mkv.uprez ] || skip "the run was quicker than its kill"
rm -f o.mkv
grep -qF "\"$was\"" o.mkv.uprez/plan.json || bad "the plan does not name '$was'"
grep -qF "($(ffmpeg -version | sed -n '1s/ffmpeg version \([^ ]*\) .*/\1/p'))" o.mkv.uprez/plan.json || bad "the plan does not name FFmpeg's version"
expect 2 "${job[@]}"; said "encoder version was"; said "$is"
cp -r o.mkv.uprez save
expect 0 "${job[@]}" -y; cmp -s o.mkv ref.mkv || bad "-y: not the bytes of this version"
rm -rf o.mkv*; cp -r save o.mkv.uprez
expect 0 "${job[@]}" --no-resume; cmp -s o.mkv ref.mkv || bad "--no-resume: not the bytes of this version"
rm -rf o.mkv*; cp -r save o.mkv.uprez
LD_LIBRARY_PATH=$PWD/other expect 0 "${job[@]}"; cmp -s o.mkv other.mkv || bad "the same version again: other bytes"
finish
