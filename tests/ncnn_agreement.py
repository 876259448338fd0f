#!/usr/bin/python3
"""`slipway export --to ncnn`: a second implementation of the format (ncnn_reader.py, torch) runs the files; its outputs are
compared with ONNX Runtime's on the original model, to a share of their range. ncnn itself is not in Debian.

Models: those of tests/agreement.py and random recurrent layers, or the named ones. --short: the small ones only.

usage: ncnn_agreement.py [--short] [--half] [--tolerance 1e-4] [--seed 1] [MODEL.onnx ...]

Exit code: 0 all agree, 1 something disagrees or fails, 3 a tool is missing.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agreement as base  # noqa: E402
import export_agreement  # noqa: E402


def recurrent_models(folder, seed, count=24):
    """Random RNN, GRU and LSTM of one sequence: directions, biases, initial states and states at the end as they come."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    draw, numbers, paths = random.Random(seed), np.random.default_rng(seed), []
    weights = lambda name, *dims: numpy_helper.from_array((numbers.standard_normal(dims) * .5).astype(np.float32), name)
    for k in range(count):
        op, gates = draw.choice([("RNN", 1), ("GRU", 3), ("LSTM", 4)])
        directions = draw.choice([1, 2])
        steps, features, hidden = draw.randint(1, 9), draw.randint(1, 12), draw.randint(1, 10)
        constants = [weights("W", directions, gates * hidden, features), weights("R", directions, gates * hidden, hidden)]
        given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, 1, features])]
        names = ["x", "W", "R", "", ""]
        if draw.random() < .7:
            constants.append(weights("B", directions, 2 * gates * hidden))
            names[3] = "B"
        if draw.random() < .5:
            states = ["h", "c"][:2 if op == "LSTM" else 1]
            names += states
            given += [helper.make_tensor_value_info(s, TensorProto.FLOAT, [directions, 1, hidden]) for s in states]
        made = ["y", "y_h", "y_c"][:draw.randint(1, 3 if op == "LSTM" else 2)]
        if len(made) > 1 and draw.random() < .3:
            made[0] = ""
        more = {"linear_before_reset": 1} if op == "GRU" else {}
        node = helper.make_node(op, names, made, name="cell", hidden_size=hidden, **more,
                                direction="bidirectional" if directions == 2 else draw.choice(["forward", "reverse"]))
        results = [helper.make_tensor_value_info(m, TensorProto.FLOAT, None) for m in made if m]
        paths.append(os.path.join(folder, f"{k:02}_{op}.onnx"))
        onnx.save(helper.make_model(helper.make_graph([node], "recurrent", given, results, constants),
                                    opset_imports=[helper.make_opsetid("", 14)], ir_version=8), paths[-1])
    return paths


def check(options, runtime, model):
    folder, signature = base.reference(runtime, model, base.sha256(model), 1, "all")
    place = os.path.join(folder, "1")
    with tempfile.TemporaryDirectory() as work:
        code, text = export_agreement.slipway(options, "export", model, "--to",
                                              "ncnn-fp16" if options.half else "ncnn", "-o", work)
        if code:
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
    parser.add_argument("--seed", type=int, default=1, help="of the recurrent layers")
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
    runtime, failed, made = base.OnnxRuntime(), 0, tempfile.TemporaryDirectory()
    if not options.models:
        models += recurrent_models(made.name, options.seed)
    try:
        for model in models:
            try:
                status, text = check(options, runtime, model)
            except (base.Failure, RuntimeError, AssertionError, ValueError) as error:
                status, text = "fails", f"{type(error).__name__}: {error}"
            failed += status != "agrees"
            name = os.path.relpath(model, base.ROOT) if made.name not in model else f"seed {options.seed}, {os.path.basename(model)}"
            print(f"{status:7} {name}: {text}", flush=True)
    finally:
        runtime.close()
        made.cleanup()
    print(f"ncnn: {len(models) - failed} of {len(models)} models agree within {options.tolerance:g} of the range")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
