#!/bin/bash
# The libav* rooms compile without warnings against other versions' headers.
# usage: tests/slow/libav.sh DIR …   each with libavcodec/, libavformat/, … below it
set -u
cd "$(dirname "$0")/../.."
status=0
for dir in "$@"; do
    version=$(printf '#include <libavformat/version.h>\nLIBAVFORMAT_VERSION_MAJOR' |
        cc -E -P -isystem "$dir" - | tail -1)
    for f in src/video/*.c src/job/*.c; do
        cc -std=c11 -D_GNU_SOURCE -DUPZ_VERSION='"0"' -Iinclude -Isrc -isystem "$dir" -Wall -Wextra \
            -Wno-missing-field-initializers -Wno-unused-parameter -Werror -fsyntax-only "$f" || status=1
    done
    echo "libavformat $version: $([ $status = 0 ] && echo compiles || echo FAILS)"
done
exit $status
