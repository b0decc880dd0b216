#!/bin/bash
# Makes the change that docs/first-change.md describes in a copy of the sources, builds, runs its test.
set -eu
cd "$(dirname "$0")/../.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
tar -c --exclude='./build*' --exclude=./.git . | tar -x -C "$tmp"
cd "$tmp"
python3 - <<'P'
import re

page = open("docs/first-change.md", encoding="utf-8").read()
blocks = dict(re.findall(r"^```c (\S+)\n(.*?)^```", page, re.M | re.S))
open("src/model/arch_plain.c", "w").write(blocks["src/model/arch_plain.c"])


def edit(path, *pairs):
    text = open(path, encoding="utf-8").read()
    for old, new in pairs:
        assert old in text, (path, old)
        text = text.replace(old, new, 1)
    open(path, "w", encoding="utf-8").write(text)


edit("src/model/arch_list.c", ("upz_arch_fsrcnn;", "upz_arch_fsrcnn, upz_arch_plain;"),
     ("&upz_arch_fsrcnn, NULL", "&upz_arch_fsrcnn, &upz_arch_plain, NULL"))
edit("src/model/meson.build", ("'arch_fsrcnn.c'", "'arch_fsrcnn.c', 'arch_plain.c'"))
edit("tests/unit/test_arch.c", ("int main(void)", blocks["tests/unit/test_arch.c"] + "\nint main(void)"),
     ("cmocka_unit_test(denoise_mixes_every_tensor),",
      "cmocka_unit_test(denoise_mixes_every_tensor),\n"
      "        cmocka_unit_test(plain_without_weights_is_nearest),"))
P
meson setup build -Dtests=enabled -Dwerror=true >log || { cat log; exit 1; }
ninja -C build tests/test_arch >log || { tail -30 log; exit 1; }
SOURCE_ROOT=$PWD build/tests/test_arch 2>&1 | grep -E 'plain|FAILED'
SOURCE_ROOT=$PWD build/tests/test_arch >/dev/null 2>&1
SOURCE_ROOT=$PWD tests/style.sh
