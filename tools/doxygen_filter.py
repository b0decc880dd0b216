#!/usr/bin/env python3
"""A public header as Doxygen wants to read it, to stdout: the plain comments of our headers become
Doxygen's. The one at the top is the file's; one that begins a line belongs to what follows; one behind a
declaration to that declaration, and to each of its names. Used by docs/Doxyfile.in.

usage: tools/doxygen_filter.py HEADER"""
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
# no words of C in the attribute's place
text = re.sub(r"^UPREZ_API ", "", text, flags=re.M)
out, first = [], True
for part in re.split(r"(/\*.*?\*/)", text, flags=re.S):
    if not part.startswith("/*"):
        out.append(part)
        continue
    line = "".join(out).rpartition("\n")[2]
    body = part[2:-2].strip()
    if first:
        out.append(f"/** @file\n * {body} */")
        first = False
    elif not line.strip():
        out.append(f"/** {body} */")
    elif line.lstrip().startswith("#"):
        name = line.split()[1]
        out.append(part if name.endswith("_H") else f"/**< {body} */")
    else:
        # int width, height; /* px */: each name has the comment
        m = re.fullmatch(r"(\s*)((?:const )?\w+ )((?:\*?\w+(?:\[\d+\])?, )+\*?\w+(?:\[\d+\])?);\s*", line)
        if m:
            out = ["".join(out)[:-len(line)]]
            out.append(m[1] + " ".join(f"{m[2]}{name}; /**< {body} */" for name in m[3].split(", ")))
        else:
            out.append(f"/**< {body} */")
sys.stdout.write("".join(out))
