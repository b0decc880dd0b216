# make_patch DIR OUT: the change to a copy of FFmpeg's source as a git-format-patch series: the filter
# with its documentation and Changelog line, then its FATE test. Sourced by build.sh.
before_first() { # FILE PATTERN TEXTFILE: the text in front of the first line that matches
    P=$2 awk -v text="$3" '!done && $0 ~ ENVIRON["P"] {while ((getline line < text) > 0) print line; done = 1} {print}
        END {exit !done}' "$1" >"$1.uprez" || { echo "$1 has no line like '$2': this FFmpeg is too different." >&2; return 1; }
    cat "$1.uprez" >"$1"
    rm "$1.uprez"
}
make_patch() (
    mkdir -p "$2"
    out=$(cd "$2" && pwd)
    cd "$1"
    as() { git -c user.name="uprez" -c user.email="uprez@localhost" -c commit.gpgsign=false "$@"; }
    git init -q . && git add -A -f >/dev/null 2>&1 && as commit -q -m base
    insert_uprez "$PWD"
    before_first doc/filters.texi '^@section uspp' "$here/filters.texi"
    grep -q '^@anchor{dnn_processing}' doc/filters.texi || # a release whose manual has no such anchor
        sed -i '/^The names of @ref{dnn_processing}/s/@ref{dnn_processing}/dnn_processing/' doc/filters.texi
    awk '{print} !done && /^version / {print "- uprez filter"; done = 1}' Changelog >Changelog.uprez && mv Changelog.uprez Changelog
    git add -A
    as commit -q -m "avfilter: add uprez filter

Enlarges video with super-resolution networks through libuprez."
    printf '%s\n' 'FATE_FILTER-$(call FILTERFRAMECRC, TESTSRC2 UPREZ) += fate-filter-uprez' \
        'fate-filter-uprez: CMD = framecrc -lavfi testsrc2=d=1:r=4:s=64x48,format=yuv420p,uprez=model=lanczos:scale=2' '' >../fate.txt
    before_first tests/fate/filter-video.mak '^FATE_FILTER-.*TESTSRC2 UNTILE' ../fate.txt
    cp "$here/fate-filter-uprez" tests/ref/fate/filter-uprez
    git add -A
    as commit -q -m "fate: add a test of the uprez filter"
    git format-patch -q -2 -o "$out"
    echo "In $out:"
    ls "$out"
)
