#!/usr/bin/env python3
"""CUDA images -> one fatbin, and an assembler file that includes it.

usage: embed_fatbin.py NVCC OUT.fatbin OUT.S SPEC... -- IMAGE...
SPEC as fatbinary's --image3 has it, without the file: kind=elf,sm=89
"""
import os
import shutil
import subprocess
import sys

ASM = """\
    .section .rodata.upz_cuda_fatbin, "a"
    .balign 64
    .globl upz_cuda_fatbin
    .hidden upz_cuda_fatbin
upz_cuda_fatbin:
    .incbin "{path}"
    .globl upz_cuda_fatbin_end
    .hidden upz_cuda_fatbin_end
upz_cuda_fatbin_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
"""


def main():
    nvcc, fatbin, asm = sys.argv[1:4]
    middle = sys.argv.index("--")
    specs, images = sys.argv[4:middle], sys.argv[middle + 1:]
    if len(specs) != len(images):
        sys.exit(f"{len(specs)} descriptions of {len(images)} images")
    beside = os.path.join(os.path.dirname(os.path.realpath(nvcc)), "fatbinary")
    tool = beside if os.access(beside, os.X_OK) else shutil.which("fatbinary")
    if not tool:
        sys.exit(f"no fatbinary beside {nvcc} nor in PATH; it comes with nvcc")
    subprocess.run([tool, "--create=" + fatbin, "-64", "--compress-all"] +
                   [f"--image3={s},file={i}" for s, i in zip(specs, images)], check=True)
    path = os.path.abspath(fatbin).replace("\\", "\\\\").replace('"', '\\"')
    with open(asm, "w", encoding="utf-8") as f:
        f.write(ASM.format(path=path))


main()
