#!/usr/bin/env python3
"""The backend tensorrt on an NVIDIA GPU and the real CUDA runtime, with TensorRT alone doubled (docs/tensorrt.md#on-a-gpu).

on_gpu.py [--build FOLDER] [--out FOLDER]     of a build on this machine, whose CUDA toolkit has 12.8 or later
on_gpu.py --pack FILE.tar.xz                  no GPU: what another machine needs, beside a checkout of the same commit
on_gpu.py --bundle FILE.tar.xz [--out FOLDER] there

Says PASS or FAIL for each row, in 5 minutes at most; exits with 0, with 1 where a row failed, with 77 where there is no GPU and the backend says so."""
import argparse
import concurrent.futures
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import onnx_writer as ox  # noqa: E402

MODELS = ("resnet20", "mobilenetv2_small", "vit_small")
MEMORY = "doubles/tensorrt_cuda/gpu_memory"
PROGRAMS = ("slipway", "slipway-run", "test_backends_cts", "test_e2e_session", MEMORY, "doubles/tensorrt_cuda/libslipway_tensorrt.so",
            "doubles/tensorrt_cuda/libtensorrt_double_cuda.so")
CASES = "/usr/share/libonnx-testdata/data"  # Debian's libonnx-testdata
# They fail on every platform whose oracle is the interpreter: docs/conformance.md.
FAIL_EVERYWHERE = {"node/test_cast_FLOAT_to_BFLOAT16", "node/test_castlike_FLOAT_to_BFLOAT16", "node/test_castlike_FLOAT_to_BFLOAT16_expanded"}


class Wrong(Exception):
    pass


def need(condition, *what):
    if not condition:
        raise Wrong(" ".join(str(w) for w in what))


def the(pattern, text, what="output"):
    """The groups of the pattern in the text, or all that it matches."""
    found = re.search(pattern, text)
    need(found, f"no /{pattern}/ in the {what}: ...{text.strip()[-400:]}")
    return found.groups() or found.group(0)


class Gpu:
    def __init__(self, arguments, folder):
        self.folder, self.out = folder, os.path.abspath(arguments.out) if arguments.out else folder
        os.makedirs(self.out, exist_ok=True)
        self.end = time.monotonic() + 60 * arguments.minutes
        self.log = open(os.path.join(self.out, "on_gpu.log"), "w", encoding="utf-8")
        self.summary = open(os.path.join(self.out, "summary.txt"), "w", encoding="utf-8")
        self.build, self.models, self.cases = os.path.abspath(arguments.build), os.path.abspath(arguments.models), CASES
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLIPWAY_", "TENSORRT_DOUBLE_"))}
        if arguments.bundle:
            with tarfile.open(arguments.bundle) as tar:
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(folder)
            self.build, self.models, self.cases = (os.path.join(folder, "bundle", f) for f in ("bin", "models", "cases"))
            libraries = [os.path.join(folder, "bundle", "lib")]
            if subprocess.run([os.path.join(self.build, "slipway"), "--version"], env=dict(self.environment, LD_LIBRARY_PATH=libraries[0]),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
                libraries.append(os.path.join(folder, "bundle", "lib-fallback"))  # this machine's libstdc++ is older
            self.environment["LD_LIBRARY_PATH"] = ":".join(libraries + [p for p in [self.environment.get("LD_LIBRARY_PATH")] if p])
            self.say("libraries of " + " and ".join(os.path.basename(p) for p in libraries))
        self.environment.update(
            SLIPWAY_BACKENDS=os.path.join(self.build, "doubles", "tensorrt_cuda"), SLIPWAY_PLATFORMS=os.path.join(ROOT, "platforms"), SLIPWAY_SOURCE_DIR=ROOT,
            SLIPWAY_TENSORRT_CACHE="off", SLIPWAY_PERFDB=self.path("perf.db"), SLIPWAY_TEST_TENSORRT="1")
        self.failed = self.rows = self.reports = 0

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def program(self, name):
        return os.path.join(self.build, name) if name in PROGRAMS else name

    def say(self, line):
        print(line, flush=True)
        self.summary.write(line + "\n")
        self.summary.flush()

    def call(self, *command, timeout=60, **environment):
        """(exit code, standard output, both outputs)"""
        command = [self.program(command[0]), *command[1:]]
        shown = " ".join([*(f"{k}={v}" for k, v in environment.items()), *command]).replace(self.folder + "/", "")
        timeout = min(timeout, self.end - time.monotonic())
        need(timeout > 0, "no time is left")
        try:
            done = subprocess.run(command, env=dict(self.environment, **environment), cwd=self.folder, timeout=timeout, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace", check=False)
        except subprocess.TimeoutExpired as late:
            texts = [t.decode(errors="replace") if isinstance(t, bytes) else t or "" for t in (late.stdout, late.stderr)]
            self.log.write(f"$ {shown}\n{''.join(texts)[-4000:]}\nno end after {timeout:.0f} s\n\n")
            raise Wrong(f"no end after {timeout:.0f} s: {shown}") from late
        self.log.write(f"$ {shown}\n{done.stdout[-4000:]}{done.stderr[-4000:]}exit {done.returncode}\n\n")
        self.log.flush()
        return done.returncode, done.stdout, done.stdout + done.stderr

    def passes(self, *command, **more):
        code, out, both = self.call(*command, **more)
        need(code == 0, f"exit {code}: ...{both.strip()[-400:]}")
        return out

    def reported(self, *command, code=0, fails=False, **environment):
        """The lines that the double reports about itself, of a process in which every object of its was freed; and what the process says."""
        self.reports += 1
        report = self.path(f"report{self.reports}")
        got, _, both = self.call(*command, TENSORRT_DOUBLE_REPORT=report, **environment)
        need(got in (code if isinstance(code, tuple) else (code,)), f"exit {got} instead of {code}: ...{both.strip()[-400:]}")
        lines = open(report, encoding="utf-8").read().splitlines() if os.path.exists(report) else []
        need(not [line for line in lines if line.startswith("alive")], "objects of TensorRT are alive at the end:", lines)
        if fails:
            return the(r"(?m)^slipway: .*$", both)
        need(lines[-1:] == ["end"], "no end of the report:", lines)
        return lines[:-1]

    def row(self, name, function):
        start, self.rows = time.monotonic(), self.rows + 1
        self.log.write(f"===== {name}\n")
        try:
            word, detail = "PASS", function()
        except (Wrong, OSError, ValueError, KeyError) as error:
            word, detail = "FAIL", f"{error}"
            self.failed += 1
        line = f"{word} {name} ({time.monotonic() - start:.1f} s)" + (f": {detail}" if detail else "")
        self.log.write(line + "\n\n")
        self.say(" ".join(line.split()))


def compile_model(gpu, model, package):
    shares = json.loads(gpu.passes("slipway", "compile", model, "--platform", "x86-tensorrt", "-o", package, "--json"))
    need(shares["own_mac_share"] >= 0.99, "of the multiplications TensorRT has", shares["own_mac_share"])


def write(gpu, name, data):
    with open(gpu.path(name), "wb") as file:
        file.write(data)
    return gpu.path(name)


def suite(gpu, program, least, **more):
    out = gpu.passes(program, "--gtest_filter=*tensorrt*", timeout=90, **more)
    count = int(the(r"\[  PASSED  \] (\d+) tests?", out)[0])
    need(count >= least and "FAILED" not in out and "SKIPPED" not in out, out[-400:])
    return f"{count} tests"


def whole_model(gpu, name, kernels):
    model, package = os.path.join(gpu.models, name + "_cifar10.onnx"), gpu.path(name + ".slip")
    compile_model(gpu, model, package)
    lines = gpu.reported("slipway", "verify", package, "--against", model, "--runs", "8", "--shape", "input=3,3,32,32",
                         **({"TENSORRT_DOUBLE_KERNELS": "1"} if kernels else {}))
    built = sum(line.startswith("build ") for line in lines)
    need(built >= 1, "no engine was built")
    return f"{built} engine(s)"


def run_tool(gpu):
    gpu.reported("slipway-run", gpu.path("resnet20.slip"), "--shape", "input=2,3,32,32")


def kept_engines(gpu):
    cache = gpu.path("engines")
    command = ("slipway", "verify", gpu.path("resnet20.slip"), "--against", os.path.join(gpu.models, "resnet20_cifar10.onnx"))
    first, second = (gpu.reported(*command, SLIPWAY_TENSORRT_CACHE=cache) for _ in range(2))
    need([line.split()[0] for line in first] == ["build", "deserialized"] and second == ["deserialized"], first, second)
    need(len(glob.glob(cache + "/*.engine")) == 1, os.listdir(cache))


def bench(gpu):
    gpu.reported("slipway", "bench", gpu.path("vit_small.slip"), "--threads", "4", "--no-record", "--json")


def processes(gpu):
    def one(name):
        return gpu.passes("slipway", "verify", gpu.path(name + ".slip"), "--against", os.path.join(gpu.models, name + "_cifar10.onnx"), "--runs", "50",
                          TENSORRT_DOUBLE_KERNELS="1")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(one, MODELS * 2))
    return f"{2 * len(MODELS)} processes"


def onnx_cases(gpu, *more):
    if not os.path.isdir(gpu.cases):
        return "SKIPPED: there is no " + gpu.cases
    _, out, both = gpu.call("slipway", "conformance", gpu.cases, "--platform", "x86-tensorrt", "--filter", "node/", "--json", "--seed", "1", *more, timeout=90)
    need(out.startswith("{"), both[-400:])
    result = json.loads(out)
    wrong = {c["name"] for c in result["cases"] if c["status"] not in ("passed", "unsupported")}
    need(result["passed"] > 0 and wrong <= FAIL_EVERYWHERE, "wrong:", sorted(wrong - FAIL_EVERYWHERE)[:5])
    return (f"{result['passed']} passed, {result['unsupported']} unsupported, {result['failed']} failed as on every platform, "
            f"{100 * result['own_node_share']:.1f} % of the nodes and {100 * result['own_mac_share']:.1f} % of the MACs in steps for TensorRT")


def refused(gpu, says, *command, code=2, **environment):
    command = command or ("slipway", "run", gpu.path("tiny.slip"), "--random")
    message = gpu.reported(*command, code=code, fails=True, **environment)
    the(says, message, "message")
    return the("(?:the memory of|there is no GPU|CUDA: ).*", message)


def filled(gpu, leave, run):
    """`run` while another process has the memory of the GPU, but for so many MiB."""
    with subprocess.Popen(["timeout", "90", gpu.program(MEMORY), str(leave)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=gpu.environment,
                          text=True) as other:
        try:
            lines = [other.stdout.readline(), other.stdout.readline()]
            gpu.log.write(f"$ gpu_memory {leave}\n{''.join(lines)}\n")
            need(lines[1].startswith("taken: "), "gpu_memory has not taken the memory:", lines)
            return f"{lines[1][7:].strip()}; {run()}"
        finally:
            other.stdin.close()
            other.wait(timeout=30)


def out_of_memory(gpu):
    net = ox.Net(1)
    model = write(gpu, "large.onnx", net.finish(net.op("Relu", "x"), ["N", 64], ["N", 64]))
    compile_model(gpu, model, gpu.path("large.slip"))
    command = ("slipway", "run", gpu.path("large.slip"), "--random", "--shape", f"x={512 << 12},64")  # 512 MiB
    # A process has something there for itself, about as much as gpu_memory, which was alone.
    free, everything = the(r"(\d+) MiB of (\d+) free", gpu.passes(MEMORY))
    for more in (128, 256, 384):
        detail = filled(gpu, int(everything) - int(free) + more, lambda: refused(gpu, r"CUDA: cuda\w+ \(2\): ", *command, code=3))
        if "cudaMalloc" in detail:
            break
    the(r"the memory of i0 \(536870912 bytes\): CUDA: cudaMalloc \(2\): ", detail, "message")
    gpu.reported(*command)  # and with the memory there it runs
    return detail


def no_memory(gpu):
    return filled(gpu, 16, lambda: refused(gpu, r"CUDA: cuda\w+ \(\d+\): .", code=(2, 3)))


def sanitizer():
    places = [shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer", *sorted(glob.glob("/opt/nvidia/*/compute-sanitizer"))]
    return next((p for p in places if p and os.access(p, os.X_OK)), None)


def sanitized(gpu, tool, *command, errors=False, leaks=None, code=(0,), says="", **environment):
    """What compute-sanitizer finds: `errors` and `leaks` say whether it is to find any, None that it does not matter."""
    program = sanitizer()
    need(program, "there is no compute-sanitizer (it is in the CUDA toolkit)")
    log = gpu.path("sanitizer.log")
    got, _, both = gpu.call(program, "--tool", tool, *(["--leak-check", "full"] if leaks is not None else []), "--log-file", log,
                            gpu.program(command[0]), *command[1:], TENSORRT_DOUBLE_KERNELS="1", TENSORRT_DOUBLE_RESET="1", **environment)
    text = open(log, encoding="utf-8", errors="replace").read()
    gpu.log.write(text[-6000:] + "\n")
    need(got in code, f"exit {got} instead of {code}: ...{both.strip()[-300:]}")
    if says:
        the(says, both + text)
    found = int(the(r"ERROR SUMMARY: (\d+) error", text, "sanitizer's log")[0])
    need(errors is None or (found > 0) == errors, found, "errors:", text.strip()[-300:])
    detail = f"{found} errors"
    if leaks is not None:
        lost = int(the(r"LEAK SUMMARY: (\d+) bytes", text, "sanitizer's log")[0])
        need((lost > 0) == leaks, lost, "bytes are leaked")
        detail += f", {lost} bytes leaked"
    return detail


def rows(gpu):
    tiny = ("slipway", "verify", gpu.path("tiny.slip"), "--against", gpu.path("tiny.onnx"))
    gpu.row("the conformance suite of backends", lambda: suite(gpu, "test_backends_cts", 100, SLIPWAY_CTS_MS="50"))
    gpu.row("the conformance suite of backends, read and written by kernels",
            lambda: suite(gpu, "test_backends_cts", 100, SLIPWAY_CTS_MS="20", TENSORRT_DOUBLE_KERNELS="1"))
    gpu.row("sessions: batches that change, four at once in threads", lambda: suite(gpu, "test_e2e_session", 4))
    for name in MODELS:
        gpu.row(f"{name}: compile, verify", lambda n=name: whole_model(gpu, n, False))
        gpu.row(f"{name}: verify, read and written by kernels", lambda n=name: whole_model(gpu, n, True))
    gpu.row("slipway-run", lambda: run_tool(gpu))
    gpu.row("engines are kept, by the GPU's name", lambda: kept_engines(gpu))
    gpu.row("bench with four threads", lambda: bench(gpu))
    gpu.row("processes at once", lambda: processes(gpu))
    gpu.row("no such GPU", lambda: refused(gpu, r"there is no GPU 7: CUDA finds \d+; SLIPWAY_TENSORRT_DEVICE chooses", SLIPWAY_TENSORRT_DEVICE="7"))
    gpu.row("no GPU", lambda: refused(gpu, r"TensorRT needs an NVIDIA GPU and its driver .*CUDA: cudaGetDeviceCount \(100\): ", CUDA_VISIBLE_DEVICES=""))
    gpu.row("another process has the memory: cudaMalloc", lambda: out_of_memory(gpu))
    gpu.row("another process has the memory: no context", lambda: no_memory(gpu))
    for when, what in (("preparation", "trap"), ("run", "trap@2")):
        gpu.row(f"a kernel stops by a trap in the {when}",
                lambda w=what: refused(gpu, r"CUDA: cuda(StreamSynchronize|MemcpyAsync) \(7\d\d\): .", TENSORRT_DOUBLE_FAIL=w))
    gpu.row("ONNX's node cases, a process each, a sample", lambda: onnx_cases(gpu, "--sample", "48", "--jobs", "8"))
    gpu.row("compute-sanitizer, memcheck with leaks: verify", lambda: sanitized(gpu, "memcheck", *tiny, leaks=False))
    gpu.row("compute-sanitizer, memcheck with leaks: vit_small", lambda: sanitized(
        gpu, "memcheck", "slipway", "verify", gpu.path("vit_small.slip"), "--against", os.path.join(gpu.models, "vit_small_cifar10.onnx"), leaks=False))
    gpu.row("compute-sanitizer, memcheck with leaks: sessions in threads",
            lambda: sanitized(gpu, "memcheck", "test_e2e_session", "--gtest_filter=*tensorrt*", leaks=False))
    for what in ("address@2", "enqueue", "enqueue@2"):
        gpu.row(f"compute-sanitizer, memcheck with leaks: a failure ({what})", lambda w=what: sanitized(
            gpu, "memcheck", *tiny, leaks=False, code=(2,), says="asked to fail at " + w.split("@")[0], TENSORRT_DOUBLE_FAIL=w))
    gpu.row("compute-sanitizer, initcheck: verify", lambda: sanitized(gpu, "initcheck", *tiny))
    # That it would have seen it.
    gpu.row("compute-sanitizer sees a write beyond an output", lambda: sanitized(
        gpu, "memcheck", "slipway", "run", gpu.path("tiny.slip"), "--random", errors=True, code=(0, 2), says="Invalid __global__ write",
        TENSORRT_DOUBLE_FAIL="overrun"))
    gpu.row("compute-sanitizer sees a leak", lambda: sanitized(gpu, "memcheck", *tiny, errors=None, leaks=True, TENSORRT_DOUBLE_FAIL="leak"))
    gpu.row("compute-sanitizer sees memory that was not written", lambda: sanitized(
        gpu, "initcheck", *tiny, errors=True, says="Uninitialized __global__ memory read", TENSORRT_DOUBLE_FAIL="unset"))
    gpu.row("ONNX's node cases, all in one process", lambda: onnx_cases(gpu, "--in-process"))


def pack(arguments):
    """A tree of the build's programs without symbols, their libraries, models and cases."""
    with tempfile.TemporaryDirectory() as folder:
        top = os.path.join(folder, "bundle")
        libraries = {}
        for name in PROGRAMS:
            to = os.path.join(top, "bin", name)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            subprocess.run(["strip", "-o", to, os.path.join(arguments.build, name)], check=True)
            listed = subprocess.run(["ldd", os.path.join(arguments.build, name)], stdout=subprocess.PIPE, text=True, check=True).stdout
            libraries.update(re.findall(r"^\s*(\S+) => (/\S+)", listed, re.M))
        for name, path in libraries.items():
            # glibc and the driver are the other machine's; libstdc++ too where it is newer.
            if re.match(r"(ld-linux|lib(c|m|dl|rt|pthread|cuda)\.so|libtensorrt_double)", name):
                continue
            part = "lib-fallback" if re.match(r"lib(stdc\+\+|gcc_s)\.so", name) else "lib"
            os.makedirs(os.path.join(top, part), exist_ok=True)
            shutil.copy(path, os.path.join(top, part, name))
        os.makedirs(os.path.join(top, "models"))
        for name in MODELS:
            shutil.copy(os.path.join(arguments.models, name + "_cifar10.onnx"), os.path.join(top, "models"))
        if os.path.isdir(CASES):
            shutil.copytree(os.path.join(CASES, "node"), os.path.join(top, "cases", "node"))
        with tarfile.open(arguments.pack, "w:xz") as tar:
            tar.add(top, "bundle")
    print(f"{arguments.pack}: {os.path.getsize(arguments.pack) / 2**20:.1f} MiB")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"), help="a folder of scripts/build")
    parser.add_argument("--models", default=os.path.join(ROOT, "..", "shared", "data", "models"))
    parser.add_argument("--out", help="a folder for summary.txt and on_gpu.log (default: none is kept)")
    parser.add_argument("--minutes", type=float, default=4.8, help="no row begins or goes on after that")
    parser.add_argument("--pack", metavar="FILE")
    parser.add_argument("--bundle", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.pack:
        return pack(arguments)
    with tempfile.TemporaryDirectory(prefix="slipway-gpu-") as folder:
        gpu = Gpu(arguments, folder)
        compile_model(gpu, write(gpu, "tiny.onnx", ox.tiny_cnn(seed=3)), gpu.path("tiny.slip"))
        code, _, about = gpu.call(MEMORY)
        if code:
            gpu.say(about.strip())
            gpu.row("without a GPU", lambda: refused(gpu, r"TensorRT needs an NVIDIA GPU and its driver .*CUDA: cudaGetDeviceCount \((35|100)\): "))
            return 1 if gpu.failed else 77
        gpu.say(about.strip())
        rows(gpu)
        gpu.say(f"{gpu.rows - gpu.failed} of {gpu.rows} rows passed")
        return 1 if gpu.failed else 0


if __name__ == "__main__":
    sys.exit(main())
