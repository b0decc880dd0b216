#!/bin/bash
# Where results go: through symbolic links, with names of any bytes, with few descriptors.
. "$(dirname "$0")/lib.sh"
need python3
cd "$tmp" || exit 1
ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=25:duration=1 -pix_fmt yuv420p -c:v libx264 in.mkv
ffmpeg -v error -i in.mkv -frames:v 1 in.png
job=("$UPREZ" -q -m lanczos --preset ultrafast)
"${job[@]}" in.mkv ref.mkv; "${job[@]}" in.png ref.png; "${job[@]}" in.mkv ref.y4m

# ---- a link is written through, and stays a link ----
mkdir there
for kind in mkv png y4m; do
    in=in.mkv; [ $kind = png ] && in=in.png
    # of a file that is there, of one that is not, by way of another link, with a name that says nothing
    echo old >there/a.$kind; ln -s there/a.$kind a.$kind
    ln -s there/b.$kind b.$kind
    ln -s "$PWD/there/blob" there/c.$kind; ln -s there/c.$kind c.$kind
    expect 2 "${job[@]}" $in a.$kind; said "-y overwrites it"
    [ "$(cat there/a.$kind)" = old ] || bad "$kind: what a link leads to was touched without -y"
    expect 0 "${job[@]}" -y $in a.$kind
    expect 0 "${job[@]}" $in b.$kind
    expect 0 "${job[@]}" $in c.$kind
    for x in a b c; do
        [ -L $x.$kind ] || bad "$x.$kind: the link was replaced"
        cmp -s $x.$kind ref.$kind || bad "$x.$kind: not the bytes of a run without a link"
    done
    [ -L there/c.$kind ] && [ -f there/blob ] || bad "$kind: a link to a link"
    rm -rf [abc].$kind there/*
done
ls ./*.uprez ./*.part there/* 2>/dev/null && bad "something was left"
ln -s gone/x.mkv x.mkv; expect 7 "${job[@]}" in.mkv x.mkv; said "does not exist"; rm x.mkv
ln -s in.mkv self.mkv; expect 2 "${job[@]}" -y in.mkv self.mkv; said "is the input"
# two names of one file are one output
ln -s there/d.mkv d.mkv; mkdir there/d.mkv.uprez
exec 9<there/d.mkv.uprez; flock 9; expect 7 "${job[@]}" in.mkv d.mkv; said "another uprez is writing"; exec 9<&-
rm -rf there/d.mkv.uprez d.mkv

# ---- JSON is text, whatever bytes a name has ----
bytes=$(printf 'n\377\376\355\240\200\303(\360\237\230\200')
if cp in.mkv "$bytes.mkv" 2>/dev/null; then
    valid() { python3 -c 'import json,sys; [json.loads(l) for l in open(sys.argv[1],"rb").read().decode("utf-8").splitlines()]' "$1" 2>/dev/null || bad "$2 is no UTF-8, or no JSON"; }
    expect 0 "${job[@]}" --json --progress json "$bytes.mkv" "o$bytes.mkv"
    valid out "--json"; valid err "--progress json"
    python3 -c 'import json; assert json.load(open("out"))["input"].endswith("\U0001F600.mkv")' || bad "valid letters of a name are lost"
    expect 3 "${job[@]}" --json "gone$bytes.mkv" p.mkv; valid out "--json of an error"
    expect 0 "$UPREZ" check --json "o$bytes.mkv"; valid out "check --json"
fi

# ---- few descriptors: 7, or the same bytes ----
for n in 7 8 9 10 11 12 14 16; do
    (ulimit -n $n; exec "${job[@]}" in.mkv few.mkv) 2>err; got=$?
    case $got in
    0) cmp -s few.mkv ref.mkv || bad "ulimit -n $n: other bytes" ;;
    7) grep -qi "too many" err || bad "ulimit -n $n: not said why: $(cat err)" ;;
    *) bad "ulimit -n $n: exit $got $(cat err)" ;;
    esac
    rm -rf few.mkv*
done
finish
