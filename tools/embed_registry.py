#!/usr/bin/env python3
"""data/models.json becomes a C table: embed_registry.py models.json out.c"""
import json
import sys

data = json.load(open(sys.argv[1], encoding="utf-8"))


def text(value):
    return "NULL" if value is None else json.dumps(value, ensure_ascii=True)


names = set()
with open(sys.argv[2], "w", encoding="utf-8") as out:
    out.write('/* Made from data/models.json. */\n#include "model/registry_table.h"\n\n')
    out.write(f'const char *const upz_registry_default_name = {text(data["default"])};\n')
    for i, m in enumerate(data["models"]):
        for n in [m["name"], *m["aliases"]]:
            if n.lower() in names and n.lower() != m["name"].lower():
                sys.exit(f"{n} stands in the registry twice")
            names.add(n.lower())
        if m["sha256"] and (len(m["sha256"]) != 64 or m["sha256_seen"] < 2):
            sys.exit(f"{m['name']}: a hash has 64 digits and stands in two public places")
        out.write(f"static const char *const aliases_{i}[] = {{")
        out.write("".join(text(a) + ", " for a in m["aliases"]) + "NULL};\n")
    out.write("const UpzRegistryEntry upz_registry_table[] = {\n")
    for i, m in enumerate(data["models"]):
        out.write("    {.name = %s, .file = %s, .url = %s,\n     .sha256 = %s, .licence = %s,\n"
                  "     .architecture = %s, .about = %s, .aliases = aliases_%d, .twin = %s,\n"
                  "     .bytes = %d, .scale = %d},\n"
                  % (text(m["name"]), text(m["file"]), text(m["url"]), text(m["sha256"]),
                     text(m["licence"]), text(m["architecture"]), text(m["about"]), i,
                     text(m["twin"]), m["bytes"], m["scale"]))
    out.write(f"}};\nconst int upz_registry_table_count = {len(data['models'])};\n")
