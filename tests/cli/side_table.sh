#!/bin/bash
# The tables of docs/side-data.md: what becomes of each kind of side data in each kind of file. Made by
# running uprez and looking at what came out (ffprobe, plain Python) and at what was said. Every cell is
# `kept`, `converted` or `named`; what is gone without a word fails, on any FFmpeg. With the FFmpeg that
# the tables were made with, they have to be those of the page.
#   side_table.sh --write    puts new tables into the page
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe python3
page=$(realpath "$(dirname "$0")/../../docs/side-data.md")
cd "$tmp" || exit 1
up() { "$UPREZ" --progress none -m lanczos -s 2 -y "$@" </dev/null; }
ff() { ffmpeg -nostdin -v error -y "$@" || bad "ffmpeg cannot build an input: $*"; }
have() { ffmpeg -v error -encoders 2>/dev/null | grep -qw "$1"; }
have libx264 && have libx265 || skip "libx264 or libx265 is missing"
sed -n '/^cat >messages.py/,/^P$/p' "$(dirname "$(realpath "$page")")/../tests/cli/side_data.sh" >make.sh && bash make.sh

# ---- two sources that say everything
printf '1\n00:00:00,000 --> 00:00:00,300\nHello\n' >words.srt
printf ';FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Two\n' >chapters.txt
printf 'a file of words' >notes.txt
ff -f lavfi -i color=red:size=16x16 -frames:v 1 cover.png
ff -f lavfi -i testsrc2=size=64x48:rate=25:duration=0.4 -c:v libx264 -preset ultrafast -bf 0 -f h264 raw.h264
python3 messages.py h264 raw.h264 cc.h264 captions
ff -framerate 25 -i cc.h264 -c copy -bsf:v h264_metadata=display_orientation=insert:rotate=90 turned.mkv
ff -i turned.mkv -f lavfi -i sine=duration=0.4 -i words.srt -i chapters.txt -map 0:v -map 1:a -map 2:s -map_chapters 3 -c copy -c:a aac \
    -attach notes.txt -metadata:s:t mimetype=text/plain -attach cover.png -metadata:s:t:1 mimetype=image/png -metadata:s:t:1 filename=cover.png \
    -metadata title=A-title -metadata "own_tag=own-words" -metadata location=+50.0500+010.0300/ -metadata creation_time=2024-05-01T08:00:00Z \
    -metadata timecode=01:02:03:04 -metadata:s:a:0 title=S-title -metadata:s:a:0 language=fra -disposition:a:0 hearing_impaired \
    -metadata:s:v:0 stereo_mode=left_right rich.mkv
ff -f lavfi -i testsrc2=size=64x48:rate=25:duration=0.4 -pix_fmt yuv420p10le -c:v libx265 -x265-params "log-level=none:bframes=0:repeat-headers=1:hdr10=1:max-cll=1000,400:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)" \
    -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -f hevc raw.hevc
python3 messages.py hevc raw.hevc plus.hevc hdr10+ captions
ff -framerate 25 -i plus.hevc -c copy hdr.mkv

# ---- judging: what a reader finds in $1, and what was said (err)
all() { ffprobe -v error -show_format -show_streams -show_chapters -show_programs "$1" 2>/dev/null; }
first() { ffprobe -v error -select_streams v:0 -read_intervals '%+#1' -show_frames -show_streams "$1" 2>/dev/null; }
told() { grep -qE -- "$1" err; }
# cell KEPT? CONVERTED? PATTERN of the line that names the loss
cell() {
    if [ "$1" = 1 ]; then echo kept; elif [ "$2" = 1 ]; then echo converted; elif told "$3"; then echo named; else echo LOST; fi
}
yes() { "$@" >/dev/null 2>&1 && echo 1 || echo 0; }
inall() { yes grep -qiE -- "$1" all.txt; }
infirst() { yes grep -qE -- "$1" first.txt; }

kinds=(title own place created chapters language name role subtitles file cover timecode turn captions views)
words=("the film's title" "tags of any name" "place" "time of creation" "chapters" "a stream's language" "a stream's title" \
    "a stream's role (for the deaf)" "text subtitles" "attached files" "cover art" "timecode" "turn of the picture" "captions in the picture" "3D: how two views lie")
judge() { # KIND of $out, from rich.mkv
    case $1 in
    title) cell "$(inall '=A-title$')" 0 'tags .*lost: .*title' ;;
    own) cell "$(inall 'own-words')" 0 'tags .*lost.*OWN_TAG' ;;
    place) cell "$(inall '\+50\.05')" 0 'tags .*lost.*LOCATION' ;;
    created) cell "$(inall '2024-05-01')" 0 'tags .*lost.*creation_time' ;;
    chapters) cell "$(inall 'TAG:title=Two')" 0 'chapters are lost' ;;
    language) cell "$(inall 'TAG:language=fr[ae]')" 0 'lost.*language of stream 1|audio stream 1 .*dropped' ;;
    name) cell "$(inall 'TAG:title=S-title')" "$(inall '=S-title')" 'lost.*title of stream 1|audio stream 1 .*dropped' ;;
    role) cell "$(inall 'DISPOSITION:hearing_impaired=1')" 0 "stream 1's role|audio stream 1 .*dropped" ;;
    subtitles) cell "$(inall 'codec_name=subrip')" "$(inall 'codec_type=subtitle')" 'subtitle stream 2 .*dropped' ;;
    file) cell "$(inall 'filename=notes.txt')" 0 'notes.txt.* dropped' ;;
    cover) cell "$(inall 'attached_pic=1')" 0 'cover.*dropped' ;;
    timecode) cell "$(inall '01:02:03:04')" 0 'timecode is lost' ;;
    turn) cell "$(infirst 'rotation=-?[1-9]')" 0 'picture is shown' ;;
    captions) cell "$(infirst A53)" 0 'captions .*lost' ;;
    views) cell "$(infirst 'type=side by side|stereo_mode=left_right|Stereo 3D')" 0 '3D.*lost' ;;
    esac
}

columns=(mp4 mov mkv webm avi ts mpg flv ogv gif nut mxf)
make_films() {
    declare -A cells
    local shown=()
    for e in "${columns[@]}"; do
        out=film.$e
        up rich.mkv $out >/dev/null 2>err || { bad "$e: exit $?: $(tail -1 err)"; continue; }
        shown+=("$e")
        all $out >all.txt; first $out >first.txt
        for k in "${kinds[@]}"; do
            cells[$k.$e]=$(judge "$k")
            [ "${cells[$k.$e]}" = LOST ] && bad ".$e: $k is lost without a word" >&2
        done
    done
    echo "| $(printf '| .%s ' "${shown[@]}")|"
    echo "|---$(printf '|---%.0s' "${shown[@]}")|"
    for i in "${!kinds[@]}"; do
        echo "| ${words[$i]} $(for e in "${shown[@]}"; do printf '| %s ' "${cells[${kinds[$i]}.$e]}"; done)|"
    done
}

make_coders() {
    echo "| | captions | HDR10 | HDR10+ |"
    echo "|---|---|---|---|"
    for c in libx264:mkv libx265:mp4 libx265:ts libsvtav1:mp4 libvpx-vp9:webm ffv1:mkv prores_ks:mov mpeg2video:ts mpeg4:mp4; do
        have "${c%:*}" || { echo "not tried: ${c%:*}" >&2; continue; }
        out=coder.${c#*:}
        up -c "${c%:*}" hdr.mkv $out >/dev/null 2>err || { bad "$c: exit $?: $(tail -1 err)" >&2; continue; }
        first $out >first.txt
        row=""
        for k in "A53:captions .*lost" "Mastering:(mastering|light level).*lost" "2094-40:HDR10\\+ .*lost"; do
            v=$(cell "$(infirst "${k%%:*}")" 0 "${k#*:}")
            [ "$v" = LOST ] && bad "$c: ${k%%:*} is lost without a word" >&2
            row="$row| $v "
        done
        echo "| ${c%:*} in .${c#*:} $row|"
    done
}

# ---- pictures: a JPEG and a PNG that say everything, and a judge that unpacks
cat >picture.py <<'P'
import struct, sys, zlib
def chunk(t, d): return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
def make():
    tags = [(270, 2, b"the old mill\0"), (271, 2, b"Maker\0")]
    body = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)); at = 8 + 2 + 12 * len(tags) + 4; tail = b""
    for t, kind, v in tags:
        body += struct.pack("<HHII", t, kind, len(v), at + len(tail)); tail += v + b"\0" * (len(v) & 1)
    exif = body + bytes(4) + tail
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    iptc = b"\x1c\2\x5a\0\7Wetzlar"
    shop = b"8BIM\4\4\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) & 1)
    seg = lambda m, d: b"\xff" + bytes([m]) + struct.pack(">H", len(d) + 2) + d
    j = open("plain.jpg", "rb").read()
    open("rich.jpg", "wb").write(j[:2] + seg(0xe1, b"Exif\0\0" + exif) + seg(0xe1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) +
        seg(0xed, b"Photoshop 3.0\0" + shop) + seg(0xfe, b"a comment") + j[2:])
    p = open("plain.png", "rb").read()
    open("rich.png", "wb").write(p[:33] + chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"tEXt", b"parameters\0a castle") +
        chunk(b"pHYs", struct.pack(">IIB", 5906, 5906, 1)) + p[33:])
def look(path):
    d = open(path, "rb").read(); text = d; found = set()
    if d[:4] == b"\x89PNG":
        at = 8
        while at < len(d):
            n, = struct.unpack(">I", d[at:at + 4]); t, v = d[at + 4:at + 8], d[at + 8:at + 8 + n]; at += 12 + n
            if t == b"zTXt": text += bytes.fromhex(b"".join(zlib.decompress(v[v.index(b"\0") + 2:]).split(b"\n")[3:]).decode())
            if t == b"gAMA" and n == 4 and v == struct.pack(">I", 100000): found.add("gamma")
            if t == b"pHYs" and v == struct.pack(">IIB", 5906, 5906, 1): found.add("density")
    for k, v in {"exif": b"the old mill", "xmp": b"xmpmeta", "iptc": b"Wetzlar", "comment": b"a comment", "text": b"a castle",
                 "profile": b"colours as the picture file told them"}.items():
        if v in text: found.add(k)
    if d[6:10] == b"JFIF" and d[13] == 1 and struct.unpack(">H", d[14:16])[0] == 150: found.add("density")
    if d[:4] == b"II*\0" and struct.pack("<II", 150, 1) in d: found.add("density")
    print(*sorted(found))
make() if sys.argv[1] == "make" else look(sys.argv[1])
P
make_pictures() {
    ff -f lavfi -i testsrc2=size=32x24 -frames:v 1 plain.png
    ff -i plain.png plain.jpg
    python3 picture.py make || bad "the pictures cannot be built"
    declare -A cells
    local rows=("exif:EXIF, GPS" "xmp:XMP" "iptc:IPTC" "comment:comments" "text:PNG's texts" "gamma:PNG's gAMA, cHRM, sRGB, cICP" "density:density")
    for e in png jpg webp tif; do
        for i in jpg png; do
            up rich.$i pic.$e >/dev/null 2>err || bad "rich.$i into .$e: exit $?"
            found=" $(python3 picture.py pic.$e) "
            for k in exif xmp iptc comment text gamma density; do
                case $i.$k in jpg.text|jpg.gamma|jpg.density|png.exif|png.xmp|png.iptc|png.comment) continue ;; esac
                other=0; [ $k = gamma ] && [[ $found == *" profile "* ]] && other=1
                name=$k; [ $k = text ] && name="the text"; [ $k = comment ] && name="the text 'Comment'"
                [ $k = iptc ] && name=IPTC
                v=$(cell "$([[ $found == *" $k "* ]] && echo 1 || echo 0)" $other "metadata of .*$name")
                [ $k.$v = comment.kept ] && [ $e != jpg ] && v=converted
                [ $k.$v = text.kept ] && [ $e != png ] && v=converted
                [ "$k.$e.$v" = density.webp.LOST ] && v="none" # it has no place for it, and it means nothing on a screen
                [ "$v" = LOST ] && bad "rich.$i into .$e: $k is lost without a word" >&2
                cells[$k.$e]=$v
            done
        done
    done
    echo "| | .png | .jpg | .webp | .tif |"
    echo "|---|---|---|---|---|"
    for r in "${rows[@]}"; do
        echo "| ${r#*:} $(for e in png jpg webp tif; do printf '| %s ' "${cells[${r%%:*}.$e]}"; done)|"
    done
}

version=$(ffmpeg -version | sed -n '1s/^ffmpeg version n\{0,1\}\([0-9]*\.[0-9]*\).*/\1/p')
make_films >films.md 2>wrong; make_coders >coders.md 2>>wrong; make_pictures >pictures.md 2>>wrong
cat wrong
n=$(grep -c '^FAIL' wrong films.md coders.md pictures.md | awk -F: '{s += $2} END {print s}'); failures=$((failures + n))
cat >put.py <<'P'
import re, sys
page, version, write = sys.argv[1], sys.argv[2], sys.argv[3] == "--write"
old = text = open(page, encoding="utf-8").read()
made = re.search(r"made with FFmpeg ([\d.]+)", text)
for name in ("films", "coders", "pictures"):
    table = open(name + ".md", encoding="utf-8").read()
    text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: m[1] + table + m[2], text, flags=re.S)
if write:
    text = re.sub(r"made with FFmpeg [\d.]+", "made with FFmpeg " + version, text)
    open(page, "w", encoding="utf-8").write(text)
elif not made or made[1] != version:
    print(f"not compared: the page's tables were made with FFmpeg {made and made[1]}, this one is {version}")
elif text != old:
    a, b = old.splitlines(), text.splitlines()
    for x, y in zip(a, b):
        if x != y: print("page: " + x + "\nnow:  " + y)
    sys.exit(1)
P
python3 put.py "$page" "$version" "${1:-check}" || bad "docs/side-data.md is not what happens; tests/cli/side_table.sh --write makes its tables anew"
finish
