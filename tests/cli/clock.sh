#!/bin/bash
# One clock for all streams: recordings joined end to end, streams that begin late or end early, times
# that repeat or lie before 0, edit lists, sound whose decoder leaves a part out, several programmes.
# What ffprobe and ffmpeg find of the result is compared with what they find of the source.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe python3
cd "$tmp" || exit 1
ff() { ffmpeg -v error -y -nostdin "$@" 2>fferr || { bad "ffmpeg cannot build a source: $(tail -1 fferr)"; }; }
up() { "$UPREZ" --progress none -m lanczos -s 1 --preset ultrafast -y "$@" </dev/null; }
picture() { echo "testsrc2=size=64x48:rate=25:duration=$1"; }
x264="-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
times() { ffprobe -v error -select_streams "$2" -show_entries packet=pts_time -of csv=p=0 "$1" | tr -d , | grep .; }
seconds() { ffmpeg -v error -nostdin -i "$1" -map "0:${2:-a:0}" -ac 1 -ar 8000 -f s16le - 2>/dev/null | wc -c | awk '{printf "%.3f", $1/16000}'; }
near() { awk -v a="$1" -v b="$2" -v e="$3" 'BEGIN{d=a-b; exit !(a != "" && b != "" && d<=e && -d<=e)}'; }
first() { times "$1" "$2" | sort -g | head -1; }
last() { times "$1" "$2" | sort -g | tail -1; }
# even FILE STREAM LEAST MOST: all steps between packets lie between them
even() { times "$1" "$2" | sort -g | awk -v lo="$3" -v hi="$4" 'NR>1&&($1-p<lo||$1-p>hi){exit 1}{p=$1}END{exit !(NR>9)}' || bad "$1: times of $2 are uneven"; }
no_time() { times "$1" "$2" | grep -q N/A && bad "$1: $2 has packets without a time"; }

# ---- recordings joined end to end: clocks that begin anew, that jump far back or far forward ----
for f in 440 880; do
    ff -f lavfi -i "$(picture 3)" -f lavfi -i "sine=frequency=$f:duration=3" $x264 -g 25 -bf 2 -c:a aac -f mpegts $f.ts
    ff -i $f.ts -c copy -output_ts_offset 3000 -f mpegts high$f.ts
    ff -f lavfi -i "$(picture 3)" -f lavfi -i "sine=frequency=$f:duration=3" -c:v mpeg2video -g 12 -bf 2 -c:a mp2 -f vob $f.vob
done
ff -f lavfi -i "$(picture 3)" -f lavfi -i "sine=duration=3.6" $x264 -g 25 -c:a aac -f mpegts longer.ts
cat 440.ts 880.ts >same.ts
cat 440.ts high880.ts >forward.ts
cat high440.ts 880.ts >back.ts
cat longer.ts 880.ts >sound.ts
cat 440.ts 880.ts 440.ts >three.ts
cat 440.vob 880.vob >dvd.mpg
for f in 440 880; do ff -i $f.ts -c copy -bsf:a aac_adtstoasc $f.flv; done
{ cat 440.flv; tail -c +14 880.flv; } >flash.flv # behind the second file's header
for t in "same.ts 150 mkv" "same.ts 150 mp4" "same.ts 150 ts" "forward.ts 150 mkv" "back.ts 150 mp4" "sound.ts 150 mkv" "three.ts 225 mp4" "dvd.mpg 150 mkv" "flash.flv 150 mkv" "flash.flv 150 mp4"; do
    set -- $t
    expect 0 up "$1" "j.$3"
    [ "$(frames "j.$3")" = "$2" ] || bad "$t: $(frames "j.$3") frames"
    near "$(last "j.$3" a:0)" "$(last "j.$3" v:0)" 0.2 || bad "$t: the picture ends at $(last "j.$3" v:0) s, the sound at $(last "j.$3" a:0) s"
    even "j.$3" a:0 0.015 0.12
    even "j.$3" v:0 0.03 0.75
    said "timestamps jump"
    ffprobe -v error "j.$3" 2>&1 | grep -E 'Element|EBML' && bad "$t: the file is damaged"
    # the sound of the second recording begins with its picture: at the first frame behind the seam
    python3 - "j.$3" "$(ffprobe -v error -select_streams v:0 -show_entries packet=pts_time -of csv=p=0 "j.$3" | tr -d , | grep . | sort -g | sed -n 76p)" <<'P' || bad "$t: the second recording's sound is not with its picture"
import array, subprocess, sys
path, seam = sys.argv[1], float(sys.argv[2])
start = float(subprocess.run(["ffprobe", "-v", "error", "-show_entries", "format=start_time", "-of", "csv=p=0", path], stdout=subprocess.PIPE).stdout)
d = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", path, "-map", "0:a:0", "-ac", "1", "-ar", "16000", "-af", "aresample=async=1:first_pts=0", "-f", "s16le", "-"], stdout=subprocess.PIPE).stdout
a = array.array("h"); a.frombytes(d[:len(d) // 2 * 2])
def hertz(t):
    w = a[int(t * 16000):int((t + .25) * 16000)]
    return sum((x < 0) != (y < 0) for x, y in zip(w, w[1:])) * 2
seam -= start
sys.exit(not (abs(hertz(seam - .6) - 440) < 40 and abs(hertz(seam + .2) - 880) < 60))
P
done
# a part across the seam; a second file that is joined itself; sound that is coded anew
expect 0 up --start 2 --duration 2 same.ts part.mkv
near "$(last part.mkv a:0)" "$(last part.mkv v:0)" 0.1 && near "$(last part.mkv v:0)" 1.96 0.06 || bad "a part across the seam ends at $(last part.mkv v:0) s, its sound at $(last part.mkv a:0) s"
expect 0 up --streams-from same.ts dvd.mpg from.mp4
near "$(last from.mp4 a:0)" 5.97 0.1 || bad "--streams-from: sound of the joined file ends at $(last from.mp4 a:0) s"
expect 0 up --audio aac dvd.mpg aac.mkv
near "$(last aac.mkv a:0)" "$(last aac.mkv v:0)" 0.1 && near "$(seconds aac.mkv)" 6 0.1 || bad "coded anew: $(seconds aac.mkv) s of sound, to $(last aac.mkv a:0) s"
# a pause of the picture alone is one
ff -f lavfi -i "$(picture 20)" -f lavfi -i sine=duration=20 -vf "select='lt(t,2)+gt(t,15)'" -fps_mode passthrough $x264 -c:a aac -f mpegts pause.ts
expect 0 up pause.ts pause.mkv
near "$(last pause.mkv v:0)" 19.96 0.1 || bad "a pause is gone: the picture ends at $(last pause.mkv v:0) s"

# ---- streams that begin late, or end early ----
noise="nullsrc=s=160x120:rate=25,geq=random(1)*255:128:128" dvd="-c:v mpeg2video -b:v 8M -minrate 8M -maxrate 8M -bufsize 2M -c:a ac3 -b:a 96k"
ff -f lavfi -i "$noise" -f lavfi -i sine -t 9 $dvd -f vob 1.vob
ff -f lavfi -i "$(picture 2)" -f lavfi -i sine=duration=2 -f lavfi -i sine=frequency=880:duration=2 -map 0 -map 1 -map 2 $dvd -s 160x120 -output_ts_offset 10 -f vob 2.vob
ff -f lavfi -i "$noise" -f lavfi -i sine -t 1 $dvd -output_ts_offset 13 -f vob 3.vob
cat 1.vob 2.vob 3.vob >late.vob
ff -f lavfi -i "$(picture 8)" -f lavfi -i sine=duration=8 -c:v mpeg2video -c:a ac3 -b:a 96k -f vob 4.vob
cat 4.vob 2.vob >late2.vob
ff -f lavfi -i "$noise" -f lavfi -i sine -t 9 $dvd -f mpegts 1.ts
ff -i 2.vob -map 0:v -map 0:a -c copy -output_ts_offset 10 -copyts -f mpegts 2.ts
cat 1.ts 2.ts >late.ts
for t in "late.vob mkv 300" "late.vob mp4 300" "late2.vob mkv 249" "late.ts mkv 275"; do
    set -- $t
    expect 0 up "$1" "l.$2"
    [ "$(frames "l.$2")" = "$3" ] || bad "$t: $(frames "l.$2") frames"
    [ "$(ffprobe -v error -select_streams a -show_entries stream=codec_name -of csv=p=0 "l.$2" | tr -d , | grep . | tr '\n' ' ')" = "ac3 ac3 " ] || bad "$t: the late sound is gone"
    near "$(seconds "l.$2" a:1)" 2 0.1 || bad "$t: $(seconds "l.$2" a:1) s of the late sound"
    from=$(ffprobe -v error -select_streams a:1 -show_entries packet=pts_time -of csv=p=0 "l.$2" | head -1 | tr -d ,)
    awk -v t="$from" 'BEGIN{exit !(t > 7.5 && t < 10.5)}' || bad "$t: the late sound begins at $from s"
done
ff -f lavfi -i "$(picture 6)" -itsoffset 1.73 -f lavfi -i sine=duration=2 $x264 -c:a aac late.mp4
for out in a.mkv a.mp4 a.mov; do
    expect 0 up late.mp4 $out
    near "$(awk -v a="$(first $out a:0)" -v v="$(first $out v:0)" 'BEGIN{print a-v}')" "$(awk -v a="$(first late.mp4 a:0)" -v v="$(first late.mp4 v:0)" 'BEGIN{print a-v}')" 0.003 || bad "$out: late sound begins at $(first $out a:0) s"
    near "$(seconds $out)" "$(seconds late.mp4)" 0.05 || bad "$out: $(seconds $out) s of sound"
done

# ---- a time that repeats ----
ff -f lavfi -i "$(picture 8)" $x264 -bf 0 -g 25 a.mkv
ff -i a.mkv -c copy -bsf:v "setts=pts=if(gte(N\,60)\,PTS-40\,PTS):dts=if(gte(N\,60)\,DTS-40\,DTS)" twice.mkv
for out in t.mkv t.mp4 t.ts t.avi; do
    expect 0 up twice.mkv $out
    [ "$(frames $out)" = 200 ] || bad "$out: $(frames $out) of 200 frames"
    paste <(times twice.mkv v:0 | sort -g) <(times $out v:0 | sort -g) | awk 'NR==1{o=$2-$1}{d=$2-$1-o; if (d<0) d=-d; if (d>.041) exit 1}' || [ $out = t.avi ] || bad "$out: times are off by more than a frame"
done

# sound whose packets stand still: what muxers make of a clock that goes back
ff -f lavfi -i "$(picture 6)" -f lavfi -i sine=duration=6 $x264 -c:a flac b.mkv
ff -i b.mkv -c copy -bsf:a "setts=pts=if(gte(N\,29)\,PTS-2500\,PTS):dts=if(gte(N\,29)\,DTS-2500\,DTS)" still.mkv
[ "$(times still.mkv a:0 | uniq -d | wc -l)" = 1 ] || bad "no time stands still: the check is void"
for out in s.mkv s.mp4; do
    expect 0 up still.mkv $out
    even $out a:0 0.09 0.12
    near "$(last $out a:0)" "$(last b.mkv a:0)" 0.1 || bad "$out: sound that stood still ends at $(last $out a:0) s"
done

# ---- times before 0 ----
ff -f lavfi -i "$(picture 3)" -c:v mpeg2video -bf 2 -g 12 a.m2v
ff -i a.m2v -c copy before.mpg
ff -f lavfi -i sine=duration=3 -c:a mp2 a.mp2
ff -i a.m2v -i a.mp2 -c copy sound.mpg
for t in "before.mpg b.mp4" "before.mpg b.mkv" "sound.mpg b.mp4" "sound.mpg b.mkv" "sound.mpg b.mov" "sound.mpg b.ts"; do
    set -- $t
    expect 0 up "$1" "$2"
    [ "$(frames "$2")" = 75 ] || bad "$t: a player shows $(frames "$2") of 75 frames"
    no_time "$2" v
    [ "$1" = before.mpg ] && continue
    no_time "$2" a
    near "$(seconds "$2")" "$(seconds "$1")" 0.05 || bad "$t: $(seconds "$2") s of sound"
    near "$(first "$2" a:0)" "$(first "$2" v:0)" 0.1 || bad "$t: sound from $(first "$2" a:0) s, picture from $(first "$2" v:0) s"
done

# ---- edit lists: what was cut away stays away ----
ff -f lavfi -i "$(picture 6)" -f lavfi -i "aevalsrc=if(lt(t\,2.7)\,0.8*sin(3000*t)\,0):d=6:s=48000" $x264 -g 50 -bf 2 -c:a aac full.mp4
ff -ss 2.72 -i full.mp4 -c copy trimmed.mp4
ff -ss 2.72 -i full.mp4 -c copy -f mov trimmed.mov
for t in "trimmed.mp4 e.mkv" "trimmed.mp4 e.mp4" "trimmed.mov e.mov" "trimmed.mov e.mkv" "trimmed.mp4 e.ts"; do
    set -- $t
    expect 0 up "$1" "$2"
    [ "$(frames "$2")" = "$(frames "$1")" ] || bad "$t: $(frames "$2") of $(frames "$1") frames"
    near "$(seconds "$2")" "$(seconds "$1")" 0.1 || bad "$t: $(seconds "$2") s of sound of $(seconds "$1") s"
    no_time "$2" a
    loud=$(ffmpeg -v error -nostdin -i "$2" -map 0:a -ac 1 -f s16le - | python3 -c 'import sys,array; a=array.array("h"); d=sys.stdin.buffer.read(); a.frombytes(d[:len(d)//2*2]); print(max(map(abs,a)))')
    [ "$loud" -lt 3000 ] || bad "$t: what was cut away is heard"
    near "$(awk -v a="$(last "$2" a:0)" -v v="$(last "$2" v:0)" 'BEGIN{print a-v}')" "$(awk -v a="$(last "$1" a:0)" -v v="$(last "$1" v:0)" 'BEGIN{print a-v}')" 0.03 || bad "$t: sound and picture have moved"
done

# ---- sound whose decoder leaves a part out: the same times however often ----
ff -f lavfi -i "$(picture 3)" -f lavfi -i sine=duration=3:sample_rate=48000 $x264 -c:a libopus o0.mkv
ff -f lavfi -i "$(picture 3)" -f lavfi -i sine=duration=3:sample_rate=48000 $x264 -c:a aac aac.mp4
for i in 1 2 3; do
    expect 0 up o$((i - 1)).mkv o$i.mkv
    cmp -s <(times o0.mkv v:0; times o0.mkv a:0) <(times o$i.mkv v:0; times o$i.mkv a:0) || bad "pass $i: Opus is at $(first o$i.mkv a:0) s, the picture at $(first o$i.mkv v:0) s, and were at $(first o0.mkv a:0) and $(first o0.mkv v:0)"
done
expect 0 up aac.mp4 k0.mkv
no_time k0.mkv a
expect 0 up k0.mkv k1.mkv
cmp -s <(times k0.mkv v:0; times k0.mkv a:0) <(times k1.mkv v:0; times k1.mkv a:0) || bad "AAC moves in the second pass"
expect 0 up aac.mp4 k.mp4
for f in k0.mkv k1.mkv; do
    near "$(awk -v a="$(last $f a:0)" -v v="$(last $f v:0)" 'BEGIN{print a-v}')" "$(awk -v a="$(last aac.mp4 a:0)" -v v="$(last aac.mp4 v:0)" 'BEGIN{print a-v}')" 0.003 || bad "$f: AAC has moved"
done
cmp -s <(times aac.mp4 a:0) <(times k.mp4 a:0) || bad "AAC from MP4 to MP4: times differ"

# ---- programmes with clocks of their own ----
ff -f lavfi -i "$(picture 3)" -f lavfi -i sine=duration=3 -itsoffset 500 -f lavfi -i "$(picture 3)" -itsoffset 500 -f lavfi -i sine=frequency=880:duration=3 -map 0 -map 1 -map 2 -map 3 $x264 -s:v:0 96x64 -c:a mp2 -program title=a:st=0:st=1 -program title=b:st=2:st=3 -f mpegts programs.ts
expect 0 up programs.ts p.mkv
for s in v:0 a:0 v:1 a:1; do
    near "$(first p.mkv $s)" 0 0.3 && near "$(last p.mkv $s)" 3 0.4 || bad "programmes: $s from $(first p.mkv $s) to $(last p.mkv $s) s"
done
finish
