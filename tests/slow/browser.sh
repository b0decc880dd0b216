#!/bin/bash
# The default output plays in a browser: headless Chromium plays it, decodes audio, sees the size.
# usage: tests/slow/browser.sh FILE WIDTH HEIGHT   (or none: makes one from real media with $UPREZ)
. "$(dirname "$0")/../cli/lib.sh"
need chromium python3
if [ $# = 3 ]; then
    file=$1 w=$2 h=$3
else
    need_media
    file=$tmp/clip.mp4 w=1696 h=928
    expect 0 "$UPREZ" -q -m lanczos -s 2 "$SHARED/media/video/dog_848x464_aac.mp4" "$file"
fi
mkdir "$tmp/www"
cp "$file" "$tmp/www/clip.mp4"
cat >"$tmp/www/index.html" <<'H'
<video id=v src=clip.mp4></video><pre id=r>nothing</pre><script>
const v = document.getElementById('v'), r = document.getElementById('r');
const say = t => { r.textContent = t; fetch('/said?' + encodeURIComponent(t)); };
v.onerror = () => say('error ' + v.error.code + ' ' + v.error.message);
let done = false;
v.ontimeupdate = () => {
  if (done || v.currentTime < 0.5) return;
  done = true;
  say(`played ${v.videoWidth}x${v.videoHeight} audio ${v.webkitAudioDecodedByteCount > 0} frames ${v.getVideoPlaybackQuality().totalVideoFrames > 3}`);
};
v.play().catch(e => say('error play ' + e));
</script>
H
cat >"$tmp/serve.py" <<'P'
import http.server, sys, urllib.parse, os
os.chdir(sys.argv[1])
class H(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith('/said?'):
            open('said', 'w').write(urllib.parse.unquote(self.path[6:]))
            self.send_response(204); self.end_headers(); return
        super().do_GET()
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
open('port', 'w').write(str(s.server_port))
s.serve_forever()
P
python3 "$tmp/serve.py" "$tmp/www" & server=$!
for i in $(seq 50); do [ -s "$tmp/www/port" ] && break; sleep 0.1; done
chromium --headless=new --no-sandbox --disable-gpu --mute-audio --autoplay-policy=no-user-gesture-required \
    --user-data-dir="$tmp/profile" "http://127.0.0.1:$(cat "$tmp/www/port")/" >"$tmp/chromium" 2>&1 & browser=$!
for i in $(seq 600); do [ -s "$tmp/www/said" ] && break; sleep 0.1; done
kill $browser $server 2>/dev/null; wait $browser $server 2>/dev/null
said=$(cat "$tmp/www/said" 2>/dev/null || echo "the browser said nothing: $(tail -3 "$tmp/chromium")")
echo "$said"
[ "$said" = "played ${w}x${h} audio true frames true" ] || bad "expected: played ${w}x${h} audio true frames true"
finish
