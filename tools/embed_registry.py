#!/usr/bin/env python3
"""data/models.json, with the networks that it embeds, becomes a C table:
embed_registry.py models.json out.c"""
import hashlib
import json
import os
import sys

data = json.load(open(sys.argv[1], encoding="utf-8"))
folder = os.path.dirname(sys.argv[1])


def text(value):
    return "NULL" if value is None else json.dumps(value, ensure_ascii=True)


def embed(out, i, m):
    """The bytes of an embedded network; completes its row."""
    if "embedded" not in m:
        return "NULL"
    with open(os.path.join(folder, m["embedded"]), "rb") as f:
        content = f.read()
    m["bytes"], m["sha256"] = len(content), hashlib.sha256(content).hexdigest()
    out.write(f"static const uint8_t data_{i}[] __attribute__((aligned(64))) = {{\n")
    for at in range(0, len(content), 24):
        out.write(",".join(map(str, content[at:at + 24])) + ",\n")
    out.write("};\n")
    return f"data_{i}"


names = {"bicubic", "lanczos", "spline36"}
with open(sys.argv[2], "w", encoding="utf-8") as out:
    out.write('/* Made from data/models.json. */\n#include "model/registry_table.h"\n\n')
    arrays = []
    for i, m in enumerate(data["models"]):
        for n in [m["name"], *m["aliases"]]:
            if n.lower() in names and n.lower() != m["name"].lower():
                sys.exit(f"{n} stands in the registry twice")
            names.add(n.lower())
        if m["sha256"] and (len(m["sha256"]) != 64 or m["sha256_seen"] < 2):
            sys.exit(f"{m['name']}: a hash has 64 digits and stands in two public places")
        arrays.append(embed(out, i, m))
        out.write(f"static const char *const aliases_{i}[] = {{")
        out.write("".join(text(a) + ", " for a in m["aliases"]) + "NULL};\n")
    out.write("const UpzRegistryEntry upz_registry_table[] = {\n")
    for i, m in enumerate(data["models"]):
        out.write("    {.name = %s, .file = %s, .url = %s,\n     .sha256 = %s, .licence = %s,\n"
                  "     .architecture = %s, .about = %s, .aliases = aliases_%d, .twin = %s,\n"
                  "     .bytes = %d, .scale = %d, .embedded = %s},\n"
                  % (text(m["name"]), text(m["file"]), text(m["url"]), text(m["sha256"]),
                     text(m["licence"]), text(m["architecture"]), text(m["about"]), i,
                     text(m["twin"]), m["bytes"], m["scale"], arrays[i]))
    out.write(f"}};\nconst int upz_registry_table_count = {len(data['models'])};\n")
    out.write("const UpzRegistryDefault upz_registry_defaults_table[] = {\n")
    for kind, rows in data["defaults"].items():
        for row in rows:
            for n in row["models"]:
                if n.lower() not in names:
                    sys.exit(f"the default {n} is no model of the registry")
            out.write("    {%s, %.9g, {%s}},\n" % ("true" if kind == "video" else "false", row["up_to"],
                                                  ", ".join(text(n) for n in row["models"])))
    out.write("    {false, 0, {NULL}}};\n")
    out.write("const UpzRegistryFamily upz_registry_families_table[] = {\n")
    for family, kinds in data["families"].items():
        for kind, models in kinds.items():
            for n in models:
                if n.lower() not in names or len(models) > 7:
                    sys.exit(f"{n}: a family has up to 7 models of the registry")
            out.write("    {%s, %s, {%s, NULL}},\n" % (text(family), "true" if kind == "video" else "false",
                                                      ", ".join(text(n) for n in models)))
    out.write("    {NULL, false, {NULL}}};\n")
