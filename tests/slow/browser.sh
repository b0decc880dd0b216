#!/bin/bash
# Results play in a browser: headless Chromium plays each, decodes its sound, and what it shows has the size
# and, on a coarse grid, the colours that ffmpeg finds in the file.
# usage: tests/slow/browser.sh [FILE WIDTH HEIGHT]   without: made from real media with $UPREZ: the default of
#        an ordinary clip, and with --for browser a DVD clip with AC-3, 10-bit clips, and phones' turned ones
. "$(dirname "$0")/../cli/lib.sh"
need chromium python3 ffmpeg
mkdir "$tmp/www"
cat >"$tmp/www/index.html" <<'H'
<video id=v src=clip.mp4></video><canvas id=c width=160 height=160></canvas><script>
const v = document.getElementById('v'), c = document.getElementById('c');
const say = t => fetch('/said?' + encodeURIComponent(t));
v.onerror = () => say('error ' + v.error.code + ' ' + v.error.message);
let done = false;
v.ontimeupdate = () => {
  if (done || v.currentTime < Math.min(0.5, v.duration / 3)) return;
  done = true;
  v.pause();
  const g = c.getContext('2d'), cells = [];
  g.drawImage(v, 0, 0, 160, 160);
  for (let y = 0; y < 4; y++) for (let x = 0; x < 4; x++) {
    const d = g.getImageData(40 * x, 40 * y, 40, 40).data, sum = [0, 0, 0];
    for (let i = 0; i < d.length; i++) if (i % 4 < 3) sum[i % 4] += d[i];
    cells.push(...sum.map(s => Math.round(s / 1600)));
  }
  say(`played ${v.videoWidth}x${v.videoHeight} audio ${v.webkitAudioDecodedByteCount > 0} frames ${v.getVideoPlaybackQuality().totalVideoFrames > 3} at ${v.currentTime} cells ${cells.join(' ')}`);
};
v.play().catch(e => say('error play ' + e));
</script>
H
cat >"$tmp/serve.py" <<'P'
import http.server, os, sys, urllib.parse
os.chdir(sys.argv[1])
class H(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith('/said?'):
            open('said.part', 'w').write(urllib.parse.unquote(self.path[6:]))
            os.rename('said.part', 'said')
            self.send_response(204); self.end_headers(); return
        super().do_GET()
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
open('port', 'w').write(str(s.server_port))
s.serve_forever()
P
# play FILE WIDTH HEIGHT true|false DIFFERENCE: as displayed; has it sound; most that a colour may differ
play() {
    rm -f "$tmp/www/said" "$tmp/www/port"; ln -sf "$(realpath "$1")" "$tmp/www/clip.mp4"
    python3 "$tmp/serve.py" "$tmp/www" & server=$!
    for _ in $(seq 100); do [ -s "$tmp/www/port" ] && break; sleep 0.1; done
    chromium --headless=new --no-sandbox --disable-gpu --mute-audio --autoplay-policy=no-user-gesture-required \
        --user-data-dir="$tmp/profile" "http://127.0.0.1:$(cat "$tmp/www/port")/" >"$tmp/chromium" 2>&1 & browser=$!
    for _ in $(seq 900); do [ -s "$tmp/www/said" ] && break; sleep 0.1; done
    kill $browser $server 2>/dev/null; wait $browser $server 2>/dev/null
    said=$(cat "$tmp/www/said" 2>/dev/null || echo "the browser said nothing: $(tail -3 "$tmp/chromium")")
    echo "$(basename "$1"): ${said%% cells*} ($(ffprobe -v error -show_entries stream=codec_name,pix_fmt -of csv=p=0 "$1" | tr -s ',\n' ' '), $(stat -Lc %s "$1") bytes)"
    case $said in "played $2x$3 audio $4 frames true "*) ;; *) bad "expected: played $2x$3 audio $4 frames true"; return ;; esac
    at=${said#* at } at=${at%% *}
    # the browser's clock is not exact to the frame: the nearest of those around it counts
    python3 - "$5" "${said##* cells }" "$at" "$1" <<'P' || bad "$1: not the picture"
import subprocess, sys
most, shown, at = float(sys.argv[1]), [int(x) for x in sys.argv[2].split()], float(sys.argv[3])
raw = subprocess.run(["ffmpeg", "-v", "error", "-ss", str(max(at - 0.2, 0)), "-t", "0.4", "-i", sys.argv[4], "-an", "-sn",
                      "-vf", "format=rgb24,scale=4:4:flags=area", "-fps_mode", "passthrough", "-f", "rawvideo", "-"],
                     capture_output=True).stdout
frames = [raw[i:i + 48] for i in range(0, len(raw) - 47, 48)]
off = min((sum(abs(x - y) for x, y in zip(shown, f)) / 48 for f in frames), default=999)
print(f"    colours differ by {off:.1f} of 255 on average; darkest to brightest cell {max(shown) - min(shown)}")
sys.exit(off > most or max(shown) - min(shown) < 8)
P
}
if [ $# = 3 ]; then
    play "$1" "$2" "$3" true 6
    finish
fi
need_media
V=$SHARED/media/video
up() { expect 0 "$UPREZ" -q -m lanczos -s 2 "$@"; }
up "$V/dog_848x464_aac.mp4" "$tmp/clip.mp4"; play "$tmp/clip.mp4" 1696 928 true 6
ffmpeg -v error -i "$V/mpeg2_ntsc_dvd_720x480i_lpcm.vob" -map 0:v:0 -map 0:a:0 -c:v copy -c:a ac3 "$tmp/dvd.vob"
up --for browser --tolerate-damage "$tmp/dvd.vob" "$tmp/dvd.mp4"
shown=$(ffprobe -v error -select_streams v:0 -show_entries stream=width,height,sample_aspect_ratio -of csv=p=0 "$tmp/dvd.mp4" | head -1 |
    awk -F, '{ split($3, s, ":"); r = s[2] ? s[1] / s[2] : 1; w = $1; h = $2; if (r > 1) w = int(w * r + 0.5); else h = int(h / r + 0.5); print w, h }')
# shellcheck disable=SC2086
play "$tmp/dvd.mp4" $shown true 6
up --for browser "$V/face_ass.mkv" "$tmp/ac3.mp4"; play "$tmp/ac3.mp4" 2160 1440 true 6
up --for browser "$V/h265_10bit_200x200.mp4" "$tmp/ten.mp4"; play "$tmp/ten.mp4" 400 400 false 6
# HDR in 8 bits: the browser maps its tones, ffmpeg does not
up --for browser "$V/dog_848x464_hevc10_hlg.mkv" "$tmp/hlg.mp4"; play "$tmp/hlg.mp4" 1696 928 true 40
up --for browser "$V/phone_1280x720_rot180_vfr.mp4" "$tmp/phone.mp4"; play "$tmp/phone.mp4" 2560 1440 true 6
up --for browser "$V/portrait_568x320_rot90.mov" "$tmp/portrait.mp4"; play "$tmp/portrait.mp4" 640 1136 true 6
finish
