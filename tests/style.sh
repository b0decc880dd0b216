#!/bin/bash
# Rules a compiler does not know: which room may include which, headers that stand alone, banned
# functions, file sizes, stray paths and notes. Needs no git. usage: tests/style.sh
set -u
cd "${SOURCE_ROOT:-$(dirname "$0")/..}" || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
status=0

python3 - <<'P' || status=1
import os
import re
import sys

errors = []
TEXT = (".c", ".h", ".def", ".py", ".sh", ".md", ".build", ".txt", ".1", ".bash", ".fish", ".pov",
        ".json", ".yml")


def walk(*roots):
    for root in roots:
        for d, dirs, files in os.walk(root):
            dirs[:] = [x for x in dirs if not x.startswith(("build", ".git", "__pycache__", ".venv"))]
            for f in sorted(files):
                yield os.path.join(d, f).removeprefix("./")


def bare(text):
    """C without comments, strings and characters, line numbers kept."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def bad(path, line, what):
    errors.append(f"{path}:{line}: {what}")


# The rooms, lowest first. Equal numbers do not see each other.
RANK = {"base": 0, "model": 1, "picture": 1, "engine": 2, "upscale": 3, "video": 4, "job": 5,
        "quality": 5, "cli": 6}
# A library's headers are for these rooms (or files) only.
OWNERS = [
    (r"lib(av|sw|postproc)\w*/", ("src/video/", "src/job/", "tests/", "bench/")),
    (r"curl/", ("src/job/fetch.c",)),
    (r"jpeglib\.h", ("src/video/", "src/quality/sample.c", "tests/")),
    (r"zip\.h", ("src/model/", "tests/")),
    (r"sha256\.h|sha2\.h|md5\.h", ("src/base/", "tests/")),
    (r"cjson/", ("src/model/", "src/job/", "cli/", "tests/")),
]
BANNED = r"\b(sprintf|vsprintf|strcpy|strcat|atoi|atol|atof|strtok|alloca|system|s?rand|gets|tmpnam)\s*\("
MEMORY = r"(?<![\w>.])(malloc|calloc|realloc|free|strdup|strndup|asprintf|vasprintf|aligned_alloc|posix_memalign)\s*\("
PRINT = r"(?<!\w)(printf|vprintf|puts|putchar|perror)\s*\(|\bf(printf|puts|putc)\s*\(\s*(stdout|stderr)\b"
ENDS = r"\b(abort|exit|_exit|_Exit|quick_exit)\s*\("


def room(path):
    parts = path.split("/")
    if parts[0] == "cli":
        return "cli"
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


for path in walk("src", "cli", "include", "tests", "bench"):
    if not path.endswith((".c", ".h", ".def")):
        continue
    raw = open(path, encoding="utf-8").read()
    code = bare(raw)
    here = room(path)
    for n, line in enumerate(raw.split("\n"), 1):
        m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not m:
            continue
        name = m.group(2)
        if m.group(1) == "<":
            for pattern, owners in OWNERS:
                if re.match(pattern, name) and not path.startswith(owners):
                    bad(path, n, f"<{name}> belongs to {' '.join(owners)}")
            continue
        if name.startswith("uprez/"):
            continue
        there = name.split("/")[0] if "/" in name else None
        if path.startswith("include/"):
            if there:
                bad(path, n, f'a public header includes "{name}"')
            continue
        if here is None or there is None or there == here:
            continue
        if there not in RANK:
            if not os.path.exists(os.path.join(os.path.dirname(path), name)):
                bad(path, n, f'"{name}" is in no room')
        elif RANK[there] >= RANK[here]:
            bad(path, n, f'room {here} includes "{name}": rooms go cli, job, video, upscale, engine, '
                         "model and picture, base")
    for n, line in enumerate(code.split("\n"), 1):
        if not path.startswith("tests/"):
            for m in re.finditer(BANNED, line):
                bad(path, n, f"{m.group(1)}() is banned")
        if path.startswith(("src/", "cli/")):
            if here != "base":
                for m in re.finditer(MEMORY, line):
                    bad(path, n, f"{m.group(1)}() outside src/base: use base/alloc.h")
            for m in re.finditer(ENDS, line):
                if path != "cli/main.c":
                    bad(path, n, f"{m.group(1)}(): return an error")
        if path.startswith("src/"):
            for m in re.finditer(PRINT, line):
                bad(path, n, "printing is for cli/; rooms log through the context")

for path in walk("src", "cli", "include", "tests", "bench", "tools", "docs", "completions", "examples"):
    if path.startswith("tests/data/") or not path.endswith(TEXT):
        continue
    lines = open(path, encoding="utf-8").read().split("\n")
    if len(lines) > 1001:
        bad(path, len(lines), "more than 1000 lines: two nouns?")
    for n, line in enumerate(lines, 1):
        if path.endswith((".c", ".h", ".def", ".py", ".build")) and "\t" in line:
            bad(path, n, "a tab")
        if line != line.rstrip() and not path.endswith(".md"):
            bad(path, n, "blanks at the end of the line")
        if path.startswith(("src/", "cli/", "include/", "tests/", "bench/")) and path != "tests/style.sh":
            if re.search(r"^\s*skip\(\);|\bskip\(\);$", line) and path != "tests/unit/skip.h":
                bad(path, n, "skip() without a reason: SKIP_BECAUSE")
            m = re.search(r"\b(TODO|FIXME|XXX)\b", line)
            if m:
                bad(path, n, f"{m.group(1)}: do it or say why not")
for path in list(walk("src", "cli", "include", "tests", "bench", "tools", "docs", "completions", "data")) + [
        f for f in os.listdir(".") if os.path.isfile(f) and f != ".git"]:
    if path.startswith("tests/data/") or path == "tests/style.sh":
        continue
    try:
        text = open(path, encoding="utf-8").read()
    except UnicodeDecodeError:
        continue
    for n, line in enumerate(text.split("\n"), 1):
        m = re.search(r"(?<![\w.])/(work|root|farm|home/\w+)/", line)
        if m:
            bad(path, n, f"a path of somebody's machine: {m.group(0)}")

print("\n".join(errors))
sys.exit(1 if errors else 0)
P

# Public headers alone, in both languages.
CC=${CC:-cc} CXX=${CXX:-c++}
for h in include/uprez/*.h; do
    printf '#include "uprez/%s"\n' "${h##*/}" >"$tmp/a.c"
    $CC -std=c99 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only "$tmp/a.c" || status=1
    if command -v "$CXX" >/dev/null; then
        cp "$tmp/a.c" "$tmp/a.cc"
        $CXX -std=c++11 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only "$tmp/a.cc" || status=1
    fi
done
command -v "$CXX" >/dev/null || echo "no C++ compiler: headers were compiled as C only"

for s in quickstart.sh test.sh .ci/run tools/*.sh tests/*.sh tests/*/*.sh docs/scene/*.sh; do
    [ -f "$s" ] || continue
    case $(head -1 "$s") in *bash*) bash -n "$s" || status=1 ;; *) sh -n "$s" || status=1 ;; esac
done
[ $status = 0 ] && echo "style: nothing to complain about"
exit $status
