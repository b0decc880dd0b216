#!/bin/bash
# The documents agree with the program: options in the manual and the completion, both ways; tests
# named in docs/known-failures.md exist; links in the documents lead somewhere.
. "$(dirname "$0")/lib.sh"
need python3
cd "$SOURCE_ROOT" || exit 1

# ---- options: --help against the manual, command by command ----
python3 - "$UPREZ" docs/uprez.1 <<'P' || bad "the manual and --help differ"
import re
import subprocess
import sys

uprez, path = sys.argv[1:]
OPTION = r"(?<![\w=/.-])--?[a-z](?:[a-z0-9_:-]*[a-z0-9])?"


def helped(*command):
    text = subprocess.run([uprez, *command, "--help"], capture_output=True, text=True).stdout
    return {o for line in text.split("\n") if re.match(r"  -", line)
            for o in re.findall(OPTION, line[:38].replace(",", " "))}


page = open(path, encoding="utf-8").read().replace("\\-", "-").replace("\\fR", "").replace("\\fI", "")
parts = {"": page.split(".SH OPTIONS")[1].split(".SH COMMANDS")[0]}
for name, text in re.findall(r"^\.SS uprez ([a-z ]+?)(?: [A-Z\[].*?)?\n(.*?)(?=^\.S[SH]|\Z)",
                             page.split(".SH COMMANDS")[1].split(".SH EXIT")[0], re.M | re.S):
    parts[name] = text
wrong = 0
for name, text in parts.items():
    have = set()
    for block in re.findall(r"^\.T[PQ]\n(.*)", text, re.M):
        have |= set(re.findall(OPTION, block.replace(",", " ").replace('"', " ")))
    want = helped(*name.split())
    if name == "estimate":  # the options of the run, told there
        if want != helped():
            print("uprez estimate has not the options of the run"); wrong = 1
        continue
    for o in sorted(want - have):
        print(f"uprez {name}: the manual lacks {o}"); wrong = 1
    for o in sorted(have - want - {"-h", "--help", "--version"}):
        print(f"uprez {name}: only the manual has {o}"); wrong = 1
    if name == "":  # spellings of other programs: in no --help, but understood
        for o in re.findall(OPTION, text.split(".SS Spellings")[1]):
            r = subprocess.run([uprez, o, "1"], capture_output=True, text=True)
            if "there is no option" in r.stderr:
                print(f"the manual promises {o}, which is refused"); wrong = 1
for name in ("model list", "model info", "model verify", "model pull", "model convert", "model compile",
             "bench", "check", "compare", "estimate", "sample", "devices"):
    if name not in parts:
        print(f"the manual lacks 'uprez {name}'"); wrong = 1
sys.exit(wrong)
P
if command -v mandoc >/dev/null; then
    mandoc -T lint -W error docs/uprez.1 >"$tmp/lint" || bad "the manual: $(cat "$tmp/lint")"
fi

# ---- the completion offers what --help has, and nothing else ----
. completions/uprez.bash
complete_for() { # WORDS…: what is offered after them
    COMP_WORDS=("$UPREZ" "$@") COMP_CWORD=$# COMPREPLY=()
    _uprez
    printf '%s\n' "${COMPREPLY[@]}" | sort -u
}
for command in "" "model list" "model info" "model pull" "model convert" "model compile" bench check compare devices sample; do
    # shellcheck disable=SC2086
    "$UPREZ" $command --help | sed -nE 's/^  (-[^ ]+).*/\1/p' | tr ',' '\n' >"$tmp/want"
    # shellcheck disable=SC2086
    complete_for $command - | sort -u >"$tmp/have"
    { cat "$tmp/want"; echo --help; [ -n "$command" ] || echo --version; } | sort -u >"$tmp/want2"
    diff "$tmp/want2" "$tmp/have" >"$tmp/diff" || bad "completion of 'uprez $command': $(tr '\n' ' ' <"$tmp/diff")"
done
[ "$(complete_for --audio '' | tr '\n' ' ')" = "aac copy none " ] || bad "completion of --audio: $(complete_for --audio '')"
complete_for -m r | grep -qx realesr-general-x4v3 || bad "completion of -m lacks models: $(complete_for -m r)"
complete_for mod | grep -qx model || bad "completion of commands"
complete_for model pull RealESRGAN_x4plus_ | grep -qx RealESRGAN_x4plus_anime_6B || bad "completion of model pull"

# ---- so does the one for fish ----
fish_for() { # LINE: what is offered at its end
    PATH=$(dirname "$UPREZ"):$PATH fish -N -c "source completions/uprez.fish; complete -C '$1'" </dev/null | cut -f1 | sort -u
}
if command -v fish >/dev/null; then
    for command in "" "model list" "model pull" bench check compare devices sample; do
        # shellcheck disable=SC2086
        "$UPREZ" $command --help | sed -nE 's/^  (-[^ ]+).*/\1/p' | tr ',' '\n' | grep -- '^--' >"$tmp/want"
        { cat "$tmp/want"; echo --help; [ -n "$command" ] || echo --version; } | sort -u >"$tmp/want2"
        fish_for "uprez ${command:+$command }--" | grep -- '^--' >"$tmp/have"
        diff "$tmp/want2" "$tmp/have" >"$tmp/diff" || bad "fish: 'uprez $command': $(tr '\n' ' ' <"$tmp/diff")"
    done
    [ "$(fish_for "uprez --audio " | tr '\n' ' ')" = "aac copy none " ] || bad "fish: --audio: $(fish_for "uprez --audio ")"
    fish_for "uprez -m r" | grep -qx realesr-general-x4v3 || bad "fish: -m lacks models"
    fish_for "uprez mod" | grep -qx model || bad "fish: commands"
    fish_for "uprez model pull RealESRGAN_x4plus_" | grep -qx RealESRGAN_x4plus_anime_6B || bad "fish: model pull"
else
    echo "fish is not installed: its completion is not tried"
fi

# ---- and the one for zsh, with what zsh itself would call ----
zsh_for() { # WORDS…: what is offered for the last of them
    PATH=$(dirname "$UPREZ"):$PATH zsh -f -c '
        compadd() {
            local -a offered
            while (( $# )); do
                case $1 in -l) ;; -d) shift ;; -a) shift; offered+=(${(P)1}) ;; --) ;; *) offered+=($1) ;; esac
                shift
            done
            print -rl -- $offered
        }
        _files() { print -r -- FILES }
        words=(uprez "$@") CURRENT=$(( $# + 1 )) PREFIX=${@[-1]}
        source completions/_uprez' zsh "$@" | sort -u
}
if command -v zsh >/dev/null; then
    for command in "" "model list" "model pull" "model convert" bench check compare devices; do
        # shellcheck disable=SC2086
        "$UPREZ" $command --help | sed -nE 's/^  (-[^ ]+).*/\1/p' | tr ',' '\n' >"$tmp/want"
        { cat "$tmp/want"; echo --help; [ -n "$command" ] || echo --version; } | sort -u >"$tmp/want2"
        # shellcheck disable=SC2086
        zsh_for $command - >"$tmp/have"
        diff "$tmp/want2" "$tmp/have" >"$tmp/diff" || bad "zsh: 'uprez $command': $(tr '\n' ' ' <"$tmp/diff")"
    done
    [ "$(zsh_for --audio '' | tr '\n' ' ')" = "aac copy none " ] || bad "zsh: --audio: $(zsh_for --audio '')"
    [ "$(zsh_for --fit '' | tr '\n' ' ')" = "contain cover pad stretch " ] || bad "zsh: --fit: $(zsh_for --fit '')"
    zsh_for -m r | grep -qx realesr-general-x4v3 || bad "zsh: -m lacks models"
    zsh_for mod | grep -qx model && zsh_for mod | grep -qx FILES || bad "zsh: commands: $(zsh_for mod)"
    zsh_for model pull R | grep -qx RealESRGAN_x4plus_anime_6B || bad "zsh: model pull"
else
    echo "zsh is not installed: its completion is not tried"
fi

# ---- every test named in known-failures.md exists ----
python3 - docs/known-failures.md <<'P' || bad "docs/known-failures.md names what is not there"
import os
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
wrong = 0
seen = 0
for path, function in re.findall(r"`(tests/[\w/.-]+)(?:: ?([\w ,]+))?`", text):
    if not os.path.exists(path):
        print(f"there is no {path}"); wrong = 1
        continue
    seen += 1
    content = open(path, encoding="utf-8").read() if os.path.isfile(path) else ""
    for f in re.findall(r"\w+", function or ""):
        if path.endswith(".c"):
            ok = re.search(rf"cmocka_unit_test\w*\({f}\b", content)
        else:
            ok = re.search(rf"^# check: {f}\b", content, re.M) or re.search(rf"\b{f}\b", content)
        if not ok:
            print(f"{path} has no {f}"); wrong = 1
numbers = {int(n) for n in re.findall(r"^\| (\d+) \|", text, re.M)}
if numbers != set(range(1, 31)):
    print("complaints 1 to 30, but", sorted(set(range(1, 31)) ^ numbers)); wrong = 1
if seen < 40:
    print(f"only {seen} tests are named"); wrong = 1
registered = open("tests/meson.build", encoding="utf-8").read()
for path in set(re.findall(r"`tests/cli/([\w-]+)\.sh", text)):
    if f"'{path}'" not in registered:
        print(f"tests/cli/{path}.sh is not run"); wrong = 1
sys.exit(wrong)
P

# ---- links and files that documents name ----
python3 - README.md CONTRIBUTING.md NEWS.md docs/*.md <<'P' || bad "a document names a file that is not there"
import os
import re
import sys

wrong = 0
for doc in sys.argv[1:]:
    text = open(doc, encoding="utf-8").read()
    for target in re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text):
        if not re.match(r"[a-z]+:", target) and not os.path.exists(os.path.join(os.path.dirname(doc), target)):
            print(f"{doc}: {target}"); wrong = 1
    for target in re.findall(r"`((?:src|include|tests|tools|bench|docs|cli|data|completions)/[\w/.-]+)`", text):
        if not os.path.exists(target) and "NAME" not in target:
            print(f"{doc}: {target}"); wrong = 1
sys.exit(wrong)
P
finish
