#!/usr/bin/python3
"""`slipway export --to ncnn`: a second implementation of the format (ncnn_reader.py, torch) runs the files; its outputs are
compared with ONNX Runtime's on the original model, to a share of their range. ncnn itself is not in Debian.

Models: those of tests/agreement.py, or the named ones. --short: the small ones only.

usage: ncnn_agreement.py [--short] [--half] [--tolerance 1e-4] [MODEL.onnx ...]

A model of REFUSED must be refused for the reason there.

Exit code: 0 all agree, 1 something disagrees or fails, 3 a tool is missing.
"""
import argparse
import os
import shutil
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agreement as base  # noqa: E402
import export_agreement  # noqa: E402


# File: what the refusal says.
REFUSED = {"gru_fashion.onnx": "GRU node '/cell/GRU': Slipway does not write ncnn's recurrent layers"}


def check(options, runtime, model):
    folder, signature = base.reference(runtime, model, base.sha256(model), 1, "all")
    place = os.path.join(folder, "1")
    with tempfile.TemporaryDirectory() as work:
        code, text = export_agreement.slipway(options, "export", model, "--to",
                                              "ncnn-fp16" if options.half else "ncnn", "-o", work)
        expected = REFUSED.get(os.path.basename(model))
        if expected and code == 2 and expected in text:
            return "refused", text.split("\n")[-1]
        if code or expected:
            return "fails", text.split("\n")[-1]
        (param,) = [f for f in os.listdir(work) if f.endswith(".param")]
        import ncnn_reader
        net = ncnn_reader.Net(os.path.join(work, param))
        inputs = {}
        for e in signature["inputs"]:
            value = np.load(os.path.join(place, "in", base.file_name(e["name"])))
            inputs[e["name"]] = value[0] if value.ndim > 1 and value.shape[0] == 1 else value
        blobs = net.run(inputs)
    worst = 0.0
    for name in signature["outputs"]:
        want = np.load(os.path.join(place, "out", base.file_name(name)))
        if name not in blobs:
            return "fails", f"no output {name}; there are {list(blobs)}"
        if blobs[name].size != want.size:
            return "fails", f"output {name} is {blobs[name].shape}, expected {want.shape}"
        difference, fault = base.compare(want, blobs[name].reshape(want.shape), options.tolerance)
        worst = max(worst, difference)
        if fault:
            return "fails", f"output {name}: {fault}"
    return "agrees", f"{worst:.1e} of the range, {len(net.layers)} layers"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--half", action="store_true", help="float16 weights; the default tolerance is then 2e-2")
    parser.add_argument("--tolerance", type=float)
    parser.add_argument("--slipway", default=os.environ.get(
        "SLIPWAY_BINARY", os.path.join(base.ROOT, "build", "release", "slipway")))
    options = parser.parse_args()
    options.slipway = os.path.abspath(options.slipway)
    if options.tolerance is None:
        options.tolerance = 2e-2 if options.half else 1e-4
    try:
        import torch  # noqa: F401
    except ImportError:
        print("ncnn_agreement.py: python3-torch is not installed; run scripts/setup learn", file=sys.stderr)
        return 3
    if shutil.which("node") is None or not os.path.isdir(os.path.join(base.ROOT, ".cache", "ort", "node_modules")):
        print("ncnn_agreement.py: ONNX Runtime is not installed; run scripts/setup dev", file=sys.stderr)
        return 3
    models = [os.path.abspath(m) for m in options.models] or base.default_models()
    if options.short and not options.models:
        models = [m for m in models if os.path.getsize(m) < export_agreement.SMALL]
    runtime, failed, refused = base.OnnxRuntime(), 0, 0
    try:
        for model in models:
            try:
                status, text = check(options, runtime, model)
            except (base.Failure, RuntimeError, AssertionError, ValueError) as error:
                status, text = "fails", f"{type(error).__name__}: {error}"
            failed += status == "fails"
            refused += status == "refused"
            print(f"{status:7} {os.path.relpath(model, base.ROOT)}: {text}", flush=True)
    finally:
        runtime.close()
    print(f"ncnn: {len(models) - failed - refused} of {len(models)} models agree within {options.tolerance:g} of the range, {refused} refused by name")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
