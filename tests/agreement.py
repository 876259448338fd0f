#!/usr/bin/python3
"""Runs every test model through ONNX Runtime and through Slipway on the same seeded inputs and compares the outputs.

Models: .cache/models/*.onnx (scripts/models; the int8 files only when named), examples/**/*.onnx and
../shared/data/models/**/*.onnx where that folder exists. An output agrees when the largest absolute difference is at
most the tolerance times the output's range (largest minus smallest value of ONNX Runtime's output); integer and bool
outputs must be equal. "Signal" is how far another input moves the output, as a share of the same range. A model with
a dynamic first dimension runs with batch 1 and batch 2.

--locate makes every float value inside a failing model an output as well and names the first node, in the model's
order, whose result differs; a fault that only fusion brings about then disappears, which is also said.

usage: agreement.py [--platform P] [--tolerance 1e-4] [--json] [--seed N] [--locate] [MODEL.onnx ...]

Exit code: 0 all agree, 1 something disagrees or fails, 2 wrong usage, 3 ONNX Runtime or Slipway is not there.
"""
import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
ORT = os.path.join(ROOT, "bench", "peers", "ort.mjs")
REFERENCES = os.path.join(ROOT, ".cache", "ort-ref")
# Part of a reference's key: raise it when the inputs below are made differently.
INPUTS_VERSION = 2
# What a symbolic image size or sequence length becomes: the first that ONNX Runtime runs the model with.
SIZES = [32, 64, 224, 10, 16, 8, 5, 3, 2, 1]
# Two different inputs must move the output by this share of its range, or agreement would mean nothing.
MIN_SIGNAL = 0.02
NUMPY_TYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "int64": np.int64,
               "int32": np.int32, "int16": np.int16, "int8": np.int8, "uint64": np.uint64, "uint32": np.uint32,
               "uint16": np.uint16, "uint8": np.uint8, "bool": np.bool_}


class Failure(Exception):
    """Something that ends one model's comparison, with what the user should know."""


def file_name(tensor_name):
    return re.sub(r"[/:]", "_", tensor_name) + ".npy"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


class OnnxRuntime:
    """One `ort.mjs serve` process, started when the first reference is not in the cache."""

    def __init__(self):
        self.process = None

    def ask(self, **request):
        if self.process is None:
            self.process = subprocess.Popen(["node", ORT, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            text=True, cwd=ROOT)
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            self.close()
            raise Failure("ONNX Runtime ended without an answer")
        answer = json.loads(line)
        if not answer["ok"]:
            raise Failure(f"ONNX Runtime: {answer['error']}")
        return answer

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


def smooth_noise(generator, shape):
    """Normal noise at several scales of the last two axes: pictures that still differ after averaging over the plane."""
    values = generator.standard_normal(shape) * 0.5
    if len(shape) == 4:
        height, width = shape[2:]
        for cells in (1, 4, 16):
            coarse = generator.standard_normal(shape[:2] + [cells, cells])
            rows, columns = np.arange(height) * cells // height, np.arange(width) * cells // width
            values += 0.5 * coarse[:, :, rows][:, :, :, columns]
    return values


def free_sizes(signature):
    """Whether an input has a symbolic dimension besides its first, the batch."""
    return any(not (isinstance(d, int) and d > 0) for entry in signature for d in entry["shape"][1:])


def make_inputs(signature, batch, seed, size=1):
    """Random inputs of a signature [{name, type, shape}]: noise for floats, 0/1 for integers and bool. Symbolic dimensions
    become `batch` where first, else `size`."""
    generator = np.random.default_rng([seed, batch])
    made = {}
    for entry in signature:
        shape = [d if isinstance(d, int) and d > 0 else (batch if i == 0 else size)
                 for i, d in enumerate(entry["shape"])]
        kind = NUMPY_TYPES.get(entry["type"])
        if kind is None:
            raise Failure(f"input {entry['name']}: element type {entry['type']} is not supported here")
        if np.issubdtype(kind, np.floating):
            made[entry["name"]] = smooth_noise(generator, shape).astype(kind)
        else:
            made[entry["name"]] = generator.integers(0, 2, shape).astype(kind)
    return made


def choose_size(runtime, model_id, signature, folder, seed):
    if not free_sizes(signature):
        return 1
    place = os.path.join(folder, "try")
    os.makedirs(place, exist_ok=True)
    refusals = []
    for size in SIZES:
        files = {}
        for name, values in make_inputs(signature, 1, seed, size).items():
            files[name] = os.path.join(place, file_name(name))
            np.save(files[name], values)
        try:
            runtime.ask(op="run", id=model_id, inputs=files, output_dir=os.path.join(place, "out"))
        except Failure as failure:
            refusals.append(f"{size}: {str(failure)[-120:]}")
            continue
        shutil.rmtree(place)
        return size
    raise Failure("ONNX Runtime runs it at no size of its symbolic dimensions; " + refusals[0])


def reference(runtime, model, digest, seed, optimize):
    """Folder with signature.json and, by batch, in/ and out/ as ONNX Runtime gave them; made once a model."""
    folder = os.path.join(REFERENCES, f"{digest[:24]}-v{INPUTS_VERSION}-s{seed}-{optimize}")
    description = os.path.join(folder, "signature.json")
    if os.path.exists(description):
        with open(description, encoding="utf-8") as file:
            signature = json.load(file)
        if "size" in signature or not free_sizes(signature["inputs"]):
            return folder, signature
    partial = folder + f".partial{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    loaded = runtime.ask(op="load", id=digest, model=model, threads=2, optimize=optimize)
    signature = {"inputs": loaded["inputs"], "outputs": [o["name"] for o in loaded["outputs"]]}
    dynamic = any(entry["shape"] and not (isinstance(entry["shape"][0], int) and entry["shape"][0] > 0)
                  for entry in loaded["inputs"])
    signature["batches"] = [1, 2] if dynamic else [1]
    signature["size"] = choose_size(runtime, digest, signature["inputs"], partial, seed)
    for batch in signature["batches"]:
        place = os.path.join(partial, str(batch))
        os.makedirs(os.path.join(place, "in"))
        files = {}
        for name, values in make_inputs(signature["inputs"], batch, seed, signature["size"]).items():
            files[name] = os.path.join(place, "in", file_name(name))
            np.save(files[name], values)
        runtime.ask(op="run", id=digest, inputs=files, output_dir=os.path.join(place, "out"))
    # A second picture tells how much of each output depends on the input at all.
    other = os.path.join(partial, "other")
    os.makedirs(other)
    files = {}
    for name, values in make_inputs(signature["inputs"], 1, seed + 1000, signature["size"]).items():
        files[name] = os.path.join(other, file_name(name))
        np.save(files[name], values)
    runtime.ask(op="run", id=digest, inputs=files, output_dir=os.path.join(other, "out"))
    runtime.ask(op="unload", id=digest)
    signature["signal"] = {}
    for name in signature["outputs"]:
        one = np.load(os.path.join(partial, "1", "out", file_name(name))).astype(np.float64)
        two = np.load(os.path.join(other, "out", file_name(name))).astype(np.float64)
        comparable = one.shape == two.shape and one.size
        signature["signal"][name] = float(np.abs(one - two).max() / (np.ptp(one) or 1.0)) if comparable else 1.0
    shutil.rmtree(other)
    with open(os.path.join(partial, "signature.json"), "w", encoding="utf-8") as file:
        json.dump(signature, file)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(partial, folder)
    return folder, signature


def compare(expected, actual, tolerance):
    """(difference relative to the range, fault or None) of one output."""
    if expected.shape != actual.shape:
        return float("inf"), f"shape {list(actual.shape)}, expected {list(expected.shape)}"
    if expected.dtype != actual.dtype:
        return float("inf"), f"type {actual.dtype}, expected {expected.dtype}"
    if expected.size == 0:
        return 0.0, None
    if not np.issubdtype(expected.dtype, np.floating):
        wrong = int((expected != actual).sum())
        return float(wrong > 0), f"{wrong} of {expected.size} integers differ" if wrong else None
    if not np.isfinite(expected).all():
        raise Failure("ONNX Runtime's own output is not finite; change the inputs")
    if not np.isfinite(actual).all():
        return float("inf"), "values are not finite"
    reach = float(expected.max()) - float(expected.min())
    reach = reach or max(abs(float(expected.max())), 1.0)
    relative = float(np.abs(expected.astype(np.float64) - actual).max()) / reach
    return relative, None if relative <= tolerance else f"off by {relative:.1e} of the range"


def run_slipway(options, model, inputs, folder):
    command = [options.slipway, "run", model, "-o", folder]
    for name, path in inputs.items():
        command += ["--input", f"{name}={path}"]
    if options.platform:
        command += ["--platform", options.platform]
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
                                timeout=options.timeout)
    except subprocess.TimeoutExpired:
        raise Failure(f"slipway run took longer than {options.timeout} s") from None
    if result.returncode != 0:
        lines = [line for line in result.stdout.strip().split("\n") if line] or ["no message"]
        raise Failure(f"slipway run exits {result.returncode}: {lines[-1]}")


def check_model(options, runtime, model):
    row = {"model": os.path.relpath(model, ROOT), "batches": [], "worst": 0.0, "signal": 0.0, "status": "agrees",
           "reason": "", "seconds": 0.0}
    try:
        folder, signature = reference(runtime, model, sha256(model), options.seed, options.ort_optimize)
        row["signal"] = min(signature["signal"].values())
        row["size"] = signature.get("size", 1)
        if row["signal"] < MIN_SIGNAL:
            raise Failure(f"the output hardly depends on the input ({row['signal']:.1e} of its range): comparing says "
                          "nothing; give the model livelier weights (scripts/models does)")
        for batch in signature["batches"]:
            place = os.path.join(folder, str(batch))
            inputs = {e["name"]: os.path.join(place, "in", file_name(e["name"])) for e in signature["inputs"]}
            row["batches"].append(batch)
            with tempfile.TemporaryDirectory() as out:
                begin = time.time()
                run_slipway(options, model, inputs, out)
                row["seconds"] += time.time() - begin
                for name in signature["outputs"]:
                    path = os.path.join(out, file_name(name))
                    if not os.path.exists(path):
                        raise Failure(f"batch {batch}: slipway wrote no output {name}")
                    worst, fault = compare(np.load(os.path.join(place, "out", file_name(name))), np.load(path),
                                           options.tolerance)
                    row["worst"] = max(row["worst"], worst)
                    if fault:
                        raise Failure(f"batch {batch}, output {name}: {fault}")
    except Failure as failure:
        row["status"], row["reason"] = "fails", str(failure)
    return row


def locate(options, runtime, model):
    """One line on the first node of the model whose result differs between the two."""
    import onnx

    proto = onnx.load(model)
    types = {v.name: v for v in onnx.shape_inference.infer_shapes(proto).graph.value_info}
    present = {output.name for output in proto.graph.output}
    inner = [(node, name) for node in proto.graph.node for name in node.output
             if name in types and name not in present and node.op_type not in ("Constant", "Identity")
             and types[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    for _, name in inner:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    with tempfile.TemporaryDirectory() as work:
        probed, theirs, ours = (os.path.join(work, name) for name in ("probed.onnx", "ort", "slipway"))
        onnx.save(proto, probed)
        loaded = runtime.ask(op="load", id="probed", model=probed, threads=2, optimize="disabled")
        inputs = {}
        for name, values in make_inputs(loaded["inputs"], 1, options.seed,
                                        choose_size(runtime, "probed", loaded["inputs"], work, options.seed)).items():
            inputs[name] = os.path.join(work, "in_" + file_name(name))
            np.save(inputs[name], values)
        runtime.ask(op="run", id="probed", inputs=inputs, output_dir=theirs)
        runtime.ask(op="unload", id="probed")
        run_slipway(options, probed, inputs, ours)
        for node, name in inner:
            path = os.path.join(ours, file_name(name))
            if not os.path.exists(path):
                return f"value {name} of {node.op_type} node '{node.name}' was not written"
            _, fault = compare(np.load(os.path.join(theirs, file_name(name))), np.load(path), options.tolerance)
            if fault:
                return f"first at {node.op_type} node '{node.name}', value {name}: {fault}"
    return f"all {len(inner)} inner values agree when they are outputs: look at fusions, plan and in-place reuse"


def default_models():
    found = [path for path in sorted(glob.glob(os.path.join(ROOT, ".cache", "models", "*.onnx")))
             if not path.endswith("_int8.onnx")]
    for pattern in ("examples/**/*.onnx", "../shared/data/models/**/*.onnx"):
        found += sorted(glob.glob(os.path.join(ROOT, pattern), recursive=True))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--platform", help="platform to compile for; default: what `slipway run` takes by itself")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="share of the output's range (default 1e-4)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one run of slipway")
    parser.add_argument("--slipway", default=os.path.join(ROOT, "build", "release", "slipway"))
    parser.add_argument("--ort-optimize", default="all", choices=("all", "extended", "basic", "disabled"))
    parser.add_argument("--references-only", action="store_true", help="only fill the cache of references")
    parser.add_argument("--locate", action="store_true", help="name the first node that differs in a failing model")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.slipway = os.path.abspath(options.slipway)
    if shutil.which("node") is None or not os.path.isdir(os.path.join(ROOT, ".cache", "ort", "node_modules")):
        print("agreement.py: ONNX Runtime is not installed; run scripts/setup dev", file=sys.stderr)
        return 3
    if not options.references_only and not os.access(options.slipway, os.X_OK):
        print(f"agreement.py: {options.slipway} is not there; run scripts/build", file=sys.stderr)
        return 3
    models = [os.path.abspath(path) for path in options.models] or default_models()
    for path in models:
        if not os.path.isfile(path):
            print(f"agreement.py: {path}: no such file; run scripts/models", file=sys.stderr)
            return 2
    if not models:
        print("agreement.py: no model found; run scripts/models", file=sys.stderr)
        return 2
    runtime, rows = OnnxRuntime(), []
    try:
        for model in models:
            if options.references_only:
                reference(runtime, model, sha256(model), options.seed, options.ort_optimize)
                print(os.path.relpath(model, ROOT), flush=True)
                continue
            rows.append(check_model(options, runtime, model))
            if options.locate and rows[-1]["status"] == "fails":
                try:
                    rows[-1]["reason"] += "; " + locate(options, runtime, model)
                except Failure as failure:
                    rows[-1]["reason"] += f"; not located: {failure}"
            if not options.json:
                row = rows[-1]
                print(f"{row['status']:7} {row['worst']:8.1e}  signal {row['signal']:5.2f} {row['seconds']:7.1f} s  "
                      f"batch {','.join(map(str, row['batches'])):4} {row['model']}" + (f" at size {row['size']}" if row.get("size", 1) > 1 else "")
                      + (f": {row['reason']}" if row["reason"] else ""), flush=True)
    except Failure as failure:
        print(f"agreement.py: {failure}", file=sys.stderr)
        return 3
    finally:
        runtime.close()
    failed = sum(row["status"] != "agrees" for row in rows)
    if options.json:
        print(json.dumps({"platform": options.platform, "tolerance": options.tolerance, "seed": options.seed,
                          "models": rows}, indent=1))
    elif not options.references_only:
        print(f"agreement: {len(rows) - failed} of {len(rows)} models agree within {options.tolerance:g} of the range"
              f" (platform {options.platform or 'default'}, seed {options.seed})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
