#!/usr/bin/python3
"""Cycles of the inner loops of ARM's products, by llvm-mca on the code that the build made (nothing is run).

The loops are found in the objects of build/runtime-aarch64: in each function below the innermost loop with the most multiplications.
llvm-mca says how many cycles a turn takes when turns follow each other (all loads hit the first-level cache) and what the busiest
port allows at best: Block RThroughput, or half of what the two vector pipes of a CPU that reorders have to do together, which that leaves out. A multiply-accumulate counts once; a population count of 16 bytes is 128 of one bit.

  bench/arm/cycles.py              the table of docs/arm.md
  bench/arm/cycles.py --check      exit 1 when a loop takes 5 % more cycles than bench/arm/expected.json says
  bench/arm/cycles.py --update     writes that file
  bench/arm/cycles.py --chunk      a whole call of `half`: 64 products of its tile, and the sums to float32
  bench/arm/cycles.py --layers A53 cycles of each layer of ResNet-18 at each width, by the table
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
EXPECTED = os.path.join(ROOT, "bench", "arm", "expected.json")
KERNELS = "src/engine/kernels/{0}/CMakeFiles/slipway_kernels_{0}.dir/{1}.cc.o"
# Name, object, function (or that of A53 and A72 and that of A55 and N1), cores (llvm's names); the widths that run it, weights and activations.
CORES = {"A53": "cortex-a53", "A55": "cortex-a55", "A72": "cortex-a72", "N1": "neoverse-n1"}
DOT = ("A55", "N1")
# Loops that run beside one of them: object, function, what it makes, and products for each of these.
BESIDE = {"half wide": (("half", "arm_baseline"), r"\d+WidenColumns", {"fcvtl": 4, "fcvtl2": 4}, 8 * 4)}
LOOPS = [
    ("two", ("qgemm", "arm_baseline"), r"\d+LoopTwo", tuple(CORES), "8/8", "SMULL, SMLAL, SADALP: two products in a lane of 16 bits"),
    ("many", ("qgemm", "arm_baseline"), r"\d+LoopMany", tuple(CORES), "4/8, 4/4", "SMLAL: 28 to 272 products in a lane of 16 bits"),
    ("bytes2", ("qgemm", "arm_baseline"), r"\d+LoopBytes2", tuple(CORES), "3/4", "MUL, MLA, SADALP: two products in a lane of 8 bits"),
    ("bytes4", ("qgemm", "arm_baseline"), r"\d+LoopBytes4", tuple(CORES), "3/3, 2/4", "the same, four"),
    ("bytes8", ("qgemm", "arm_baseline"), r"\d+LoopBytes8", tuple(CORES), "2/3, 3/2", "the same, eight"),
    ("bytes", ("qgemm", "arm_baseline"), r"\d+LoopBytes16", tuple(CORES), "2/2", "the same, sixteen"),
    ("bits", ("bits", "arm_baseline"), r"\d+CountFour", tuple(CORES), "1/1", "AND, CNT, ADD; times the planes of both sides"),
    ("depthwise", ("depthwise", "qarm_baseline"), r"\d+ClampedSigned", ("A53", "A72"), "any", "SMLAL by channel, 2 taps of a column: 7 outputs of 8 channels, their rounding to codes, clamp and store too"),
    ("depthwise sdot", ("depthwise", "qarm_dotprod"), r"\d+ClampedSigned", DOT, "any", "the same by SDOT: 4 taps of a column, of which a window of 3 x 3 has 3"),
    ("sdot", ("qgemm", "arm_dotprod"), r"\d+LoopDot", DOT, "any", "SDOT: four products in a lane of 32 bits"),
    ("float", ("gemm", "arm_baseline"), (r"\d+TileInFours", r"\d+TileOneByOne"), tuple(CORES), "float32", "FMLA on 4 numbers: 8 rows by 8 columns"),
    ("float conv", ("conv", "arm_baseline"), (r"\d+PixelsTogether", r"\d+PixelsApart"), tuple(CORES), "float32", "the same; 8 pixels are read where they lie"),
    ("float depthwise", ("depthwise", "arm_baseline"), (r"\d+ColumnsTogether", r"\d+ColumnsApart"), tuple(CORES), "float32", "FMLA by channel: 3 columns for 4 rows of outputs; the start, clamp and store of 12 outputs too"),
    ("float depthwise /2", ("depthwise", "arm_baseline"), (r"\d+TwoTogether", r"\d+TwoApart"), tuple(CORES), "float32", "the same with stride 2: 2 outputs for 4 rows, of nine numbers each column"),
    ("half", ("half", "arm_fp16"), r"\d+LoopHalf", DOT, "float16", "FMLA on 8 numbers of 16 bits; sums move to float32 every 64 products"),
    ("half wide", ("gemm", "arm_baseline"), r"\d+TileInFours", ("A53", "A72"), "float16", "without FP16: `float`, and weights widened once for 4 tiles"),
    ("smmla", ("qgemm", "arm_i8mm"), r"ProductsILi4E", ("N1",), "any", "SMMLA, on N1's model only to compare: it has none"),
]
MULTIPLY = {"smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8, "sdot": 16, "smmla": 32}
BRANCH = re.compile(r"(b\.\w+|cbn?z|tbn?z)\s")


def macs(body):
    """Multiply-accumulates in a list of instructions."""
    count = 0
    for text in body:
        op, _, rest = text.partition(" ")
        if op in ("smlal", "smlal2") and ".4s" in rest:
            count += 4
        elif op in MULTIPLY:
            count += MULTIPLY[op]
        elif op in ("mul", "mla") and ".16b" in rest:
            count += 16
        elif op == "fmla":
            count += 8 if ".8h" in rest else 4
        elif op == "cnt" and ".16b" in rest:
            count += 128
    return count


def loops(listing):
    """(function, instructions) of every loop without a jump inside, from the text of objdump."""
    name, code = None, []
    for line in listing.splitlines():
        found = re.match(r"^[0-9a-f]+ <(.*)>:", line)
        if found:
            name, code = found.group(1), []
            continue
        found = re.match(r"^\s+([0-9a-f]+):\s+(.*)$", line)
        if not found:
            continue
        at, text = int(found.group(1), 16), found.group(2).split("//")[0].strip().replace("\t", " ")
        code.append((at, text))
        jump = re.match(r"(?:b\.\w+|cbn?z|tbn?z)\s+(?:\w+, )?(?:#\d+, )?([0-9a-f]+) <", text)
        if not jump or int(jump.group(1), 16) >= at:
            continue
        body = [t for a, t in code if a >= int(jump.group(1), 16)]
        if any(BRANCH.match(t) for t in body[:-1]):
            continue
        body[-1] = re.sub(r"\s[0-9a-f]+ <.*", " .Lagain", body[-1])
        yield name, body


def analyse(mca, body, core):
    """(cycles of a turn, cycles that the busiest port takes)."""
    turns = 400
    done = subprocess.run([mca, "-mtriple=aarch64", f"-mcpu={core}", "-mattr=+dotprod,+i8mm,+fullfp16", f"-iterations={turns}"], input="\n".join(body) + "\n",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    cycles = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    limit = re.search(r"Block RThroughput:\s+([\d.]+)", done.stdout)
    pressure = re.search(r"Resource pressure per iteration:\n.*\n(.*)", done.stdout)
    if done.returncode != 0 or not cycles or not limit or not pressure:
        sys.exit(f"cycles: {mca} -mcpu={core} failed: {done.stderr.strip()[:400]}")
    units = re.findall(r"^\[[\d.]+\]\s+- (\w+)$", done.stdout, re.MULTILINE)
    work = [0.0 if w == "-" else float(w) for w in pressure.group(1).split()]
    pipes = [w for unit, w in zip(units, work) if re.search(r"Unit(V[01]|W|X)$", unit)]
    return int(cycles.group(1)) / turns, max(float(limit.group(1)), round(sum(pipes) / 2, 1))


def measure(build, mca):
    """{loop: {"macs": n, core: [cycles, limit]}}"""
    result, listings = {}, {}

    def listing(family, level):
        path = os.path.join(build, KERNELS.format(family, level))
        if path not in listings:
            listings[path] = subprocess.run(["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE, text=True,
                                            check=True).stdout
        return listings[path]

    for name, unit, function, cores, _, _ in LOOPS:
        functions, found = [function] if isinstance(function, str) else function, []
        for function in functions:
            bodies = [body for owner, body in loops(listing(*unit)) if re.search(function, owner) and macs(body) > 0]
            if not bodies:
                sys.exit(f"cycles: no loop of products in {function} of {'/'.join(unit)}; the source has changed, change LOOPS in {__file__}")
            found.append(max(bodies, key=macs))
        result[name] = {"macs": macs(found[0])}
        for core in cores:
            body = found[-1 if core in DOT else 0]
            result[name][core] = [number * macs(found[0]) / macs(body) for number in analyse(mca, body, CORES[core])]
        if name in BESIDE:
            unit, function, makes, products = BESIDE[name]
            made = [(sum(makes.get(text.split()[0], 0) for text in body), body) for owner, body in loops(listing(*unit)) if re.search(function, owner)]
            count, body = max(made, default=(0, None))
            if count == 0:
                sys.exit(f"cycles: no loop in {function} of {'/'.join(unit)}; the source has changed, change BESIDE in {__file__}")
            for core in cores:
                more = [number * macs(found[0]) / (count * products) for number in analyse(mca, body, CORES[core])]
                result[name][core] = [a + b for a, b in zip(result[name][core], more)]
    return result


def chunk(build, mca, turns=8):
    """Prints what LoopHalf takes for `turns` turns, with all before and behind its loop."""
    path = os.path.join(build, KERNELS.format("half", "arm_fp16"))
    listing = subprocess.run(["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    code, inside = [], False
    for line in listing.splitlines():
        if re.match(r"^[0-9a-f]+ <", line):
            inside = "LoopHalf" in line
        found = re.match(r"^\s+([0-9a-f]+):\s+(.*)$", line)
        if inside and found:
            code.append((int(found.group(1), 16), found.group(2).split("//")[0].strip().replace("\t", " ")))
    jumps = [i for i, (_, text) in enumerate(code) if text.startswith("b.ne")]
    if len(jumps) != 1:
        sys.exit(f"cycles: LoopHalf of {path} has {len(jumps)} jumps instead of one; change chunk() in {__file__}")
    end, target = jumps[0], int(code[jumps[0]][1].split()[1], 16)
    start = [a for a, _ in code].index(target)
    text = [[t for _, t in part] for part in (code[:start], code[start:end], code[end + 1:])]
    body = text[0] + (text[1] + ["b.ne .Lagain"]) * turns + [t for t in text[2] if not t.startswith(("ret", "nop"))]
    for core in DOT:
        done = subprocess.run([mca, "-mtriple=aarch64", f"-mcpu={CORES[core]}", "-mattr=+fullfp16", "-iterations=1"], input="\n".join(body) + "\n",
                              stdout=subprocess.PIPE, text=True, check=True)
        cycles = int(re.search(r"Total Cycles:\s+(\d+)", done.stdout).group(1))
        print(f"{core}: {cycles} cycles for {macs(body)} products, {cycles / macs(body):.4f} each")


def table(result):
    print("| loop | weights/activations | " + " | ".join(CORES) + " | instructions |")
    print("|---" * (len(CORES) + 3) + "|")
    for name, _, _, _, widths, what in LOOPS:
        row = []
        for core in CORES:
            if core not in result[name]:
                row.append("–")
                continue
            cycles, limit = result[name][core]
            times = result["two"][core][0] / result["two"]["macs"] / (cycles / result[name]["macs"])
            row.append(f"{cycles / result[name]['macs']:.4f} ({limit / result[name]['macs']:.4f}) {times:.2f}×")
        print(f"| `{name}` | {widths} | " + " | ".join(row) + f" | {what} |")


# Convolutions of ResNet-18 at 224: name, output positions, inputs of a sum, outputs, how often.
RESNET18 = [("conv1", 112 * 112, 147, 64, 1), ("layer1 3x3", 56 * 56, 576, 64, 4), ("layer2.0 3x3 /2", 28 * 28, 576, 128, 1),
            ("layer2 1x1 /2", 28 * 28, 64, 128, 1), ("layer2 3x3", 28 * 28, 1152, 128, 3), ("layer3.0 3x3 /2", 14 * 14, 1152, 256, 1),
            ("layer3 1x1 /2", 14 * 14, 128, 256, 1), ("layer3 3x3", 14 * 14, 2304, 256, 3), ("layer4.0 3x3 /2", 7 * 7, 2304, 512, 1),
            ("layer4 1x1 /2", 7 * 7, 256, 512, 1), ("layer4 3x3", 7 * 7, 4608, 512, 3), ("fc", 1, 512, 1000, 1)]
THREE_ROWS = ("bytes4", "bytes8", "bytes")
WIDTHS = [("8/8", "two"), ("4/4", "many"), ("3/3", "bytes4"), ("2/2", "bytes"), ("1/1", "bits")]


def layers(result, core):
    def up(value, to):
        return (value + to - 1) // to * to

    columns = [(w, loop) for w, loop in WIDTHS] + ([("8/8 SDOT", "sdot")] if core in result["sdot"] else [])
    print(f"Millions of cycles on {core}, products alone (of tiles as they are filled up):\n")
    print("| layer | MMAC | " + " | ".join(w for w, _ in columns) + " |")
    print("|---" * (len(columns) + 2) + "|")
    total = [0.0] * (len(columns) + 1)
    for name, rows, depth, outputs, times in RESNET18:
        real = rows * depth * outputs * times / 1e6
        cells = []
        for i, (_, loop) in enumerate(columns):
            if loop == "bits":
                taps = 9 if "3x3" in name else 49 if name == "conv1" else 1
                filled = up(rows, 4) * taps * up(depth // taps, 64) * up(outputs, 8)
            else:
                filled = up(rows, 3 if loop in THREE_ROWS else 4) * up(depth, 16) * up(outputs, 16)
            cycles = filled * times / 1e6 * result[loop][core][0] / result[loop]["macs"]
            cells.append(f"{cycles:.1f}")
            total[i + 1] += cycles
        total[0] += real
        print(f"| {name}{f' ×{times}' if times > 1 else ''} | {real:.1f} | " + " | ".join(cells) + " |")
    print("| all | " + " | ".join(f"{t:.1f}" for t in total) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "runtime-aarch64"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--chunk", action="store_true")
    parser.add_argument("--layers", choices=list(CORES))
    options = parser.parse_args()
    mca = shutil.which("llvm-mca-19")
    for have, what in ((mca, "llvm-mca-19 is not installed; scripts/setup dev"),
                       (shutil.which("aarch64-linux-gnu-objdump"), "no aarch64-linux-gnu-objdump; scripts/setup core"),
                       (os.path.exists(os.path.join(options.build, KERNELS.format("qgemm", "arm_baseline"))),
                        f"{options.build} has no kernels; scripts/build runtime-aarch64")):
        if not have:
            print(f"skipped: {what}")
            sys.exit(77)
    if options.chunk:
        chunk(options.build, mca)
        return
    result = measure(options.build, mca)
    if options.update:
        with open(EXPECTED, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
        return
    if options.layers:
        layers(result, options.layers)
        return
    if not options.check:
        table(result)
        return
    with open(EXPECTED, encoding="utf-8") as file:
        expected = json.load(file)
    worse = 0
    for name in sorted(set(expected) | set(result)):
        if name not in expected or name not in result:
            sys.exit(f"cycles: loop '{name}' is only in {'the code' if name in result else EXPECTED}; run bench/arm/cycles.py --update")
        for core in result[name]:
            if core == "macs":
                continue
            now, before = (r[name][core][0] / r[name]["macs"] for r in (result, expected))
            if now > before * 1.05:
                print(f"cycles: {name} on {core} takes {now:.4f} cycles a product, {before:.4f} expected")
                worse += 1
    print(f"{sum(len(r) - 1 for r in result.values())} figures, {worse} worse than expected")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
