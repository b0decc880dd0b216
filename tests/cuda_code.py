#!/usr/bin/env python3
"""The compiled kernels: kernel x target x registers x spilled bytes x local memory x tensor-core instructions.

Fails on a missing kernel, and from sm_75 on, where there are tensor cores, on spills, on local memory
and on a convolution that does not use them (CUDA 12's compiler, told by its older targets, may spill 64 bytes). Exit 77 without a fatbin or without cuobjdump (which is looked for
in PATH, beside nvcc, in Python packages and where tools/runtimes.sh puts them).

usage: cuda_code.py kernels.fatbin [--markdown FILE]
--markdown: puts the table into FILE, between the lines <!-- cuda_code --> and <!-- /cuda_code -->
"""
import glob
import os
import re
import shutil
import site
import subprocess
import sys

EVERYWHERE = {"conv_mma_m16", "conv_mma_m32", "conv_mma_m64", "load_map", "store_picture", "resize_image",
              "compare_pictures", "clear_frame"}
EIGHT = {"conv_quant_m32", "conv_quant_m64", "conv_int8_m32", "conv_int8_m64", "range_map"}  # sm_75 and up
FP8 = {"conv_fp8_m32", "conv_fp8_m64"}  # sm_89, sm_120 and up
HOPPER = {"conv_ring"} | {"conv_stream" + form + kind for form in ("", "_one", "_up", "_pair")
                          for kind in ("", "_fp8", "_int8")}
WIDTH = {"": 4, "U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}


def find_cuobjdump(fatbin):
    nvcc = shutil.which(os.environ.get("CUDACXX", "nvcc"))
    places = [os.path.dirname(os.path.realpath(nvcc))] if nvcc else []
    places += [os.path.join(os.environ[v], "bin") for v in ("CUDA_HOME", "CUDA_PATH") if v in os.environ]
    places += sorted(glob.glob("/usr/local/cuda*/bin"), reverse=True)
    for base in sorted(set(site.getsitepackages() + [site.getusersitepackages()] + sys.path)):
        places += [os.path.join(base, "triton/backends/nvidia/bin")]
        places += glob.glob(os.path.join(base, "nvidia/cu*/bin"))
    build = os.path.realpath(fatbin).split("/src/engine/")[0]
    places += glob.glob(os.path.join(build, "runtimes/lib/python*/site-packages/nvidia/cu*/bin"))
    found = shutil.which("cuobjdump")
    for place in places:
        found = found or shutil.which("cuobjdump", path=place)
    return found


def lines_of(tool, option, fatbin):
    run = subprocess.run([tool, option, fatbin], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, check=False)
    if run.returncode:
        sys.exit(f"{tool} {option} {fatbin}: {run.stderr.strip()}")
    return run.stdout.split("\n")


def by_kernel(lines, pattern):
    """(target, kernel, line) of all lines below a line that names a kernel."""
    target = kernel = None
    for line in lines:
        m = re.match(r"arch = (sm_\w+)", line)
        if m:
            target, kernel = m.group(1), None
        m = re.search(pattern, line)
        if m:
            kernel = m.group(1)
        elif target and kernel:
            yield target, kernel, line


def measure(tool, fatbin):
    """{(target, kernel): {"regs", "stack", "local", "spill", "mma"}}"""
    table = {}
    for target, kernel, line in by_kernel(lines_of(tool, "-res-usage", fatbin), r"Function (\w+):"):
        m = re.search(r"REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)", line)
        if m:
            table[target, kernel] = dict(regs=int(m.group(1)), stack=int(m.group(2)),
                                         local=int(m.group(3)), spill=0, mma={})
    code = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)((?:\.[A-Z0-9_]+)*)")
    for target, kernel, line in by_kernel(lines_of(tool, "-sass", fatbin), r"Function : (\w+)"):
        m = code.search(line)
        if not m or (target, kernel) not in table:
            continue
        row, op, more = table[target, kernel], m.group(1), m.group(2).split(".")[1:]
        if op in ("STL", "LDL"):
            row["spill"] += next((WIDTH[k] for k in more if k in WIDTH), 4)
        elif op in ("HMMA", "HGMMA", "UTCHMMA", "QMMA", "QGMMA", "IMMA", "IGMMA"):
            row["mma"][op] = row["mma"].get(op, 0) + 1
    return table


def number(target):
    return int(re.sub(r"\D", "", target))


def complaints(table):
    targets = sorted({t for t, _ in table}, key=number)
    if not targets:
        yield "the fatbin has no compiled kernels"
    for target in targets:
        wanted = EVERYWHERE | (HOPPER if target == "sm_90a" else set())
        n = number(target)
        wanted |= (EIGHT if n >= 75 else set()) | (FP8 if n == 89 or n >= 120 else set())
        for kernel in sorted(wanted - {k for t, k in table if t == target}):
            yield f"{target}: no kernel {kernel}"
    few = 64 if targets and number(targets[0]) < 75 else 0
    for (target, kernel), row in table.items():
        if number(target) < 75:
            continue
        if max(row["spill"], row["stack"], row["local"]) > few:
            yield (f"{target} {kernel}: {row['spill']} bytes spilled, {row['stack']} of stack, "
                   f"{row['local']} of local memory")
        need = [(r"conv_stream\w*_fp8", "QGMMA"), (r"conv_stream\w*_int8", "IGMMA"),
                ("conv_(ring|stream)", "HGMMA"), ("conv_int8", "IMMA"), ("conv_fp8", "QMMA"), ("conv_", "HMMA")]
        for pattern, op in need:
            if re.match(pattern, kernel):
                if not row["mma"].get(op):
                    yield f"{target} {kernel}: no {op}: the tensor cores are not used"
                break


def markdown(table):
    targets = sorted({t for t, _ in table}, key=number)
    out = ["Registers a thread, and tensor-core instructions in the code (HMMA of halves, QMMA of fp8, IMMA of",
           "integers, with a G of a warpgroup); no kernel spills or uses local memory. Made by `tests/cuda_code.py --markdown`.", "",
           "| kernel | " + " | ".join(targets) + " |", "|---|" + "---|" * len(targets)]
    for kernel in sorted({k for _, k in table}):
        cells = []
        for target in targets:
            row = table.get((target, kernel))
            mma = ", ".join(f"{n} {op}" for op, n in sorted(row["mma"].items())) if row else ""
            cells.append("" if not row else f"{row['regs']}" + (f", {mma}" if mma else ""))
        out.append(f"| `{kernel}` | " + " | ".join(cells) + " |")
    return "\n".join(out)


def main():
    args = sys.argv[1:]
    page = None
    if "--markdown" in args:
        at = args.index("--markdown")
        page = args[at + 1]
        del args[at:at + 2]
    if len(args) != 1:
        sys.exit(__doc__)
    if not os.path.exists(args[0]):
        print(f"skipped: {args[0]} is not there (built without nvcc)")
        sys.exit(77)
    tool = find_cuobjdump(args[0])
    if not tool:
        print("skipped: no cuobjdump (of the CUDA toolkit, or PyPI's nvidia-cuda-cuobjdump and -nvdisasm)")
        sys.exit(77)
    table = measure(tool, args[0])
    print(f"{'target':8} {'kernel':18} {'registers':>9} {'spilled':>8} {'local':>6}  tensor cores")
    for (target, kernel), row in sorted(table.items(), key=lambda i: (number(i[0][0]), i[0][1])):
        mma = " ".join(f"{op} {n}" for op, n in sorted(row["mma"].items()))
        print(f"{target:8} {kernel:18} {row['regs']:9} {row['spill']:8} {row['local']:6}  {mma}".rstrip())
    bad = list(complaints(table))
    for line in bad:
        print(line)
    if page and not bad:
        text = open(page, encoding="utf-8").read()
        new = re.sub(r"(<!-- cuda_code -->\n).*?(<!-- /cuda_code -->)",
                     lambda m: m.group(1) + markdown(table) + "\n" + m.group(2), text, flags=re.S)
        if new == text and markdown(table) not in text:
            sys.exit(f"{page}: no place for the table")
        open(page, "w", encoding="utf-8").write(new)
    sys.exit(1 if bad else 0)


main()
