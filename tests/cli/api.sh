#!/bin/bash
# The reference of the library: every public name has a comment, made by Doxygen from the headers; what
# docs/api.md names is there.
. "$(dirname "$0")/lib.sh"
need python3
cd "$SOURCE_ROOT" || exit 1
grep -ohE '\b(uprez_[a-z_]+|Uprez[A-Za-z]+|UPREZ_[A-Z_]+)\b' include/uprez/*.h | sort -u >"$tmp/there"
grep -ohE '\b(uprez_[a-z_]+|Uprez[A-Z][A-Za-z]*|UPREZ_[A-Z_]+)\b' docs/api.md | sort -u >"$tmp/named"
comm -13 "$tmp/there" "$tmp/named" >"$tmp/gone"
[ -s "$tmp/gone" ] && bad "docs/api.md names what no header has: $(tr '\n' ' ' <"$tmp/gone")"

command -v doxygen >/dev/null || { echo "doxygen is not installed: comments of public names are not checked"; finish; }
sed "s|@SOURCE@|$SOURCE_ROOT|g; s|@OUT@|$tmp|g; s|@VERSION@|test|" docs/Doxyfile.in >"$tmp/Doxyfile"
doxygen "$tmp/Doxyfile" >"$tmp/log" 2>&1 || bad "doxygen: $(tail -2 "$tmp/log")"
[ -s "$tmp/warnings" ] && bad "doxygen: $(sed "s|$SOURCE_ROOT/||" "$tmp/warnings" | head -20)"
# the whole interface is in it: each function, and each field of a structure
for f in $(grep -ohE '\buprez_[a-z_]+\(' include/uprez/*.h | tr -d '(' | sort -u); do
    grep -qsr ">$f<" "$tmp/html" || bad "the reference lacks $f"
done
for f in UprezParams::models UprezPicture::stride UprezInfo::numerics; do
    grep -qs ">${f#*::}<" "$tmp/html/struct${f%::*}.html" || bad "the reference lacks $f"
done

# and it notices: a field without a comment
mkdir -p "$tmp/copy/include/uprez" "$tmp/copy/docs" "$tmp/copy/tools" "$tmp/copy/out"
cp include/uprez/*.h "$tmp/copy/include/uprez/"
cp docs/api.md "$tmp/copy/docs/"
cp tools/doxygen_filter.py "$tmp/copy/tools/"
sed -i 's|^    int n_models;.*|    int n_models;|' "$tmp/copy/include/uprez/upscaler.h"
sed "s|@SOURCE@|$tmp/copy|g; s|@OUT@|$tmp/copy/out|g; s|@VERSION@|test|" docs/Doxyfile.in >"$tmp/copy/Doxyfile"
doxygen "$tmp/copy/Doxyfile" >"$tmp/log" 2>&1
grep -q 'n_models.*not documented' "$tmp/copy/out/warnings" || bad "a field without a comment is not noticed"
finish
