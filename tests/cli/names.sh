#!/bin/bash
# Several inputs, folders, outputs without a name, and what is refused before any work.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffprobe
plain=(-m lanczos -s 2 --progress none)
mkdir "$tmp/w"; cd "$tmp/w" || exit 1
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=10:duration=0.5 -pix_fmt yuv420p -c:v libx264 a.mkv
cp a.mkv b.mkv; ffmpeg -v error -i a.mkv -frames:v 1 p.png; cp p.png q.png; mkdir d; cp p.png q.png d
whole() { # FILE FRAMES: twice the size, that many frames
    [ "$(probe "$1" width,height)" = 128,96 ] && [ "$(frames "$1")" = "$2" ] || bad "$1: $(probe "$1" width,height), $(frames "$1") frames"
}
nothing_new() { ls -R >now; diff before now >differs || bad "$1: something was touched: $(tr '\n' ' ' <differs)"; }

# one name
expect 0 "$UPREZ" "${plain[@]}" a.mkv; whole a.upscaled.mkv 5
expect 2 "$UPREZ" "${plain[@]}" a.mkv; said "a.upscaled.mkv exists"
expect 0 "$UPREZ" "${plain[@]}" -f mp4 --suffix _big a.mkv; whole a_big.mp4 5
expect 0 "$UPREZ" "${plain[@]}" -i p.png; whole p.upscaled.png 1
expect 0 "$UPREZ" "${plain[@]}" d; whole d.upscaled/p.png 1; whole d.upscaled/q.png 1
expect 2 "$UPREZ" "${plain[@]}" -f png a.mkv; said "mp4, mkv, mov or webm"
expect 2 "$UPREZ" "${plain[@]}" -
expect 3 "$UPREZ" "${plain[@]}" none.mkv; said "none.mkv"
# two: the output, in all spellings; in a folder where it is one
expect 0 "$UPREZ" "${plain[@]}" -i a.mkv -o one.mp4; whole one.mp4 5
expect 0 "$UPREZ" "${plain[@]}" -i a.mkv two.mp4; whole two.mp4 5
expect 0 "$UPREZ" "${plain[@]}" -f mp4 -o three.mp4 a.mkv; whole three.mp4 5
expect 2 "$UPREZ" "${plain[@]}" -f mkv -o four.mp4 a.mkv; said "--ext"
expect 0 "$UPREZ" "${plain[@]}" a.mkv new/; whole new/a.mkv 5
expect 0 "$UPREZ" "${plain[@]}" b.mkv new; whole new/b.mkv 5
# three and more
expect 0 "$UPREZ" "${plain[@]}" a.mkv b.mkv p.png out/; whole out/a.mkv 5; whole out/b.mkv 5; whole out/p.png 1
expect 0 "$UPREZ" "${plain[@]}" -i a.mkv -i b.mkv -o out2/; whole out2/b.mkv 5
expect 0 "$UPREZ" "${plain[@]}" a.mkv d out3/; whole out3/q.png 1
expect 0 "$UPREZ" "${plain[@]}" a.mkv q.png out; whole out/q.png 1; said "out/a.mkv exists and is left"
: >before; : >now; : >differs; ls -R >before
expect 2 "$UPREZ" "${plain[@]}" a.mkv b.mkv none; said "end it with a slash"; nothing_new "no folder"
expect 2 "$UPREZ" "${plain[@]}" a.mkv b.mkv p.png; said "p.png"; nothing_new "a file as the last of three"
expect 2 "$UPREZ" "${plain[@]}" p.png d/p.png out4/; said "would both become out4/p.png"; nothing_new "two of one name"
expect 2 "$UPREZ" "${plain[@]}" a.mkv ./a.mkv out4/; said "given twice"; nothing_new "one twice"
expect 3 "$UPREZ" "${plain[@]}" a.mkv none.mkv out4/; said "none.mkv"; nothing_new "a name that is not there"
expect 2 "$UPREZ" "${plain[@]}" -y p.png q.png .; said "would replace the input"; nothing_new "results over inputs"
expect 2 "$UPREZ" "${plain[@]}" a.mkv - out4/; nothing_new "a pipe among others"
# with --suffix a result may have the name of another input
cp p.png p_x.png; cp q.png kept.png; ls -R >before
expect 2 "$UPREZ" "${plain[@]}" -y --suffix _x p.png p_x.png .; said "would replace the input"; nothing_new "--suffix"
# a bad file does not stop the others, and is the exit code
echo broken >broken.png
expect 3 "$UPREZ" "${plain[@]}" broken.png a.mkv out5/; whole out5/a.mkv 5; said "1 of 2 files failed"

# words that are commands, or will be: never a file's name, also where there is such a file
for word in check compare estimate sample job; do
    for there in no yes; do
        [ $there = no ] || cp a.mkv $word
        expect 2 "$UPREZ" $word; [ "$(grep -c . "$tmp/err")" -ge 1 ] || bad "$word: nothing is said"
        if "$UPREZ" $word --help >"$tmp/help" 2>&1; then grep -q "usage: uprez" "$tmp/help" || bad "$word --help: $(head -1 "$tmp/help")"
        else grep -q "there is no 'uprez $word' yet" "$tmp/help" && grep -q "./$word" "$tmp/help" || bad "$word: $(cat "$tmp/help")"; fi
    done
    expect 0 "$UPREZ" "${plain[@]}" ./$word ./$word.mkv; whole $word.mkv 5
done

# a terminal is asked, everything else is not
if command -v script >/dev/null; then
    answer() { (sleep 0.2; echo "$1") | script -qec "$UPREZ ${plain[*]} a.mkv one.mp4" /dev/null >asked; }
    was=$(stat -c %Y%i one.mp4)
    answer n; [ $? = 2 ] || bad "no is not exit 2"
    grep -q "one.mp4 exists. Replace it?" asked || bad "not asked: $(cat asked)"
    [ "$(stat -c %Y%i one.mp4)" = "$was" ] || bad "replaced although the answer was no"
    answer y || bad "yes is not exit 0: $(cat asked)"
    [ "$(stat -c %Y%i one.mp4)" != "$was" ] || bad "not replaced although the answer was yes"
fi
expect 2 "$UPREZ" "${plain[@]}" a.mkv one.mp4 <<<y; said "-y overwrites"
finish
