#!/usr/bin/python3
"""`slipway export` of quantized models: every format is read back by a reader of its own, written from the format's
description, and must hold every quantized tensor of the model with its scale, zero point and codes; what ONNX Runtime
can run runs and is compared with Slipway's interpreter. Recurrent layers, whose weights alone are codes, too.

Models: a small one made here (residual, Clip, Concat, pooling, a linear layer), quantized by `slipway quantize` with
schemes of several vendors, and ResNet-20 of the shared data where that is. Skipped (exit code 77) without the Python
packages onnx and numpy; the comparisons with ONNX Runtime are skipped without it.

usage: quant_export_test.py [--filter TEXT] [--keep FOLDER]
"""
import argparse
import copy
import json
import os
import sys
import tempfile

ROOT = os.environ.get("SLIPWAY_SOURCE_DIR", os.path.abspath(os.path.join(os.path.dirname(__file__), "..")))
SKIP = 77

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    sys.path.insert(0, os.path.join(ROOT, "tests"))
    from agreement import Failure, OnnxRuntime
    import quant_readers as readers
    from quant_readers import F, Wrong, check, read_pairs, role, slipway
except ImportError as missing:
    print(f"quant_export_test: skipped: {missing}")
    sys.exit(SKIP)

# ---- models ----

def small_model(path, rng):
    def constant(name, *shape, scale=0.3):
        return numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(F), name)

    weights = [constant("w1", 8, 3, 3, 3), constant("b1", 8), constant("w2", 8, 8, 3, 3), constant("b2", 8),
               constant("w3", 8, 1, 3, 3), constant("w4", 4, 8, 1, 1), constant("b4", 4), constant("fc", 12, 5),
               constant("fb", 5), numpy_helper.from_array(F(0), "zero"), numpy_helper.from_array(F(6), "six")]
    n = helper.make_node
    nodes = [n("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1] * 4), n("Relu", ["c1"], ["r1"], "relu1"),
             n("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1] * 4), n("Add", ["c2", "r1"], ["s"], "add"),
             n("Relu", ["s"], ["t"], "relu2"), n("MaxPool", ["t"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
             n("Conv", ["m", "w3"], ["d"], "depthwise", group=8, pads=[1] * 4),
             n("Clip", ["d", "zero", "six"], ["e"], "clip"),
             n("Conv", ["e", "w4", "b4"], ["f"], "pointwise"), n("Concat", ["e", "f"], ["g"], "concat", axis=1),
             n("GlobalAveragePool", ["g"], ["p"], "gap"), n("Flatten", ["p"], ["q"], "flatten"),
             n("Gemm", ["q", "fc", "fb"], ["y"], "linear")]
    graph = helper.make_graph(nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


PLATFORM = """name: {name}
description: a scheme for the test of exporters
vendor: any
openness: L1
arch: x86_64
features: []
backends: [reference]
fallback: []
precision: int8
scheme:
  weights: {{bits: {wbits}, sign: signed, symmetric: true, narrow: true, per: {per}, observer: minmax{kind}}}
  activations: {{bits: {abits}, sign: {sign}, symmetric: {symmetric}, per: tensor, observer: minmax{kind}}}
  rounding: half_even
  operators: [{operators}]
{more}"""
ALL = "Conv, Linear, Add, Mul, AveragePool, GlobalAveragePool, MaxPool, Concat"
SCHEMES = {
    "signed": dict(per="channel", sign="signed", symmetric="true"),
    "auto": dict(per="channel", sign="auto", symmetric="true"),
    "asymmetric": dict(per="channel", sign="unsigned", symmetric="false"),
    "asymmetric_signed": dict(per="channel", sign="signed", symmetric="false"),
    "tensor": dict(per="tensor", sign="signed", symmetric="true"),
    "tensor_asymmetric": dict(per="tensor", sign="unsigned", symmetric="false"),
    "power_of_two": dict(per="tensor", sign="signed", symmetric="true", kind=", kind: power_of_two"),
    "wide": dict(per="channel", sign="unsigned", symmetric="false", abits=16),
    "layers": dict(per="channel", sign="signed", symmetric="true", operators="Conv, Linear"),
    "layers_tensor": dict(per="tensor", sign="signed", symmetric="true", operators="Conv, Linear"),
    "outputs": dict(per="channel", sign="signed", symmetric="false",
                    more="  outputs: true\n  shared: [Concat, AveragePool, GlobalAveragePool]\n"),
    "outputs_unsigned": dict(per="tensor", sign="auto", symmetric="true",
                             more="  outputs: true\n  shared: [Concat, AveragePool, GlobalAveragePool]\n"),
    "weights4": dict(per="channel", sign="signed", symmetric="true", wbits=4),
}


def quantized(folder, scheme):
    path = os.path.join(folder, f"{scheme}.onnx")
    if os.path.exists(path):
        return path
    if scheme == "sparse":
        out = slipway("quantize", os.path.join(folder, "small.onnx"), "--platform", "tensorrt-int8", "--calib",
                      os.path.join(folder, "calib.npz"), "--sparsity", "2:4", "-o", path, "--json")
        layers = [row["node"] for row in json.loads(out)["sparsity"]["layers"]]
        check(layers == ["conv2", "pointwise"], f"pruned are {layers}")
        weights = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
        sparse = [name for name, w in weights.items() if readers.is_two_of_four(w)]
        check(len(sparse) == 2, f"2:4 are {sparse}")
        return path
    if scheme not in SCHEMES:  # a platform of ours
        slipway("quantize", os.path.join(folder, "small.onnx"), "--platform", scheme, "--calib",
                os.path.join(folder, "calib.npz"), "-o", path)
        return path
    values = dict(name=scheme, wbits=8, abits=8, kind="", operators=ALL, more="")
    values.update(SCHEMES[scheme])
    with open(os.path.join(folder, f"{scheme}.yaml"), "w", encoding="utf-8") as file:
        file.write(PLATFORM.format(**values))
    slipway("quantize", os.path.join(folder, "small.onnx"), "--platform", os.path.join(folder, f"{scheme}.yaml"),
            "--calib", os.path.join(folder, "calib.npz"), "-o", path)
    return path


# format: its reader, schemes that it holds, schemes that it refuses with words of the error
FORMATS = {
    "tensorrt": (readers.read_tensorrt, ["signed", "weights4", "tensorrt-int8", "sparse"],
                 {"auto": ["unsigned codes", "--platform tensorrt"], "asymmetric_signed": ["zero point", "TensorRT"]}),
    "onnxruntime": (readers.read_integer_onnx, ["signed", "auto", "asymmetric", "asymmetric_signed", "tensor_asymmetric", "wide",
                                        "weights4", "onnxruntime-int8", "academic"], {}),
    "tvm": (readers.read_integer_onnx, ["tensor_asymmetric", "auto", "tvm-int8"], {"wide": ["16 bits", "TVM"]}),
    "openvino": (readers.read_openvino, ["auto", "asymmetric", "signed", "wide", "openvino-int8", "openvino-avx2-int8"], {}),
    "snpe": (readers.read_encodings, ["tensor_asymmetric", "auto", "wide", "weights4", "snpe-int8", "qnn-htp-int8", "qnn-htp-w8a16"], {}),
    "ncnn-int8": (readers.read_ncnn, ["layers", "layers_tensor", "ncnn-int8"],
                  {"signed": ["float", "--platform ncnn"],
                   "auto": ["unsigned", "ncnn"]}),
    "tflite": (readers.read_tflite, ["outputs", "outputs_unsigned", "tflite-int8"],
               {"auto": ["Conv node", "is not quantized", "--platform tflite-int8"], "wide": ["16 bits", "TensorFlow Lite"]}),
    "nnie": (readers.read_nnie, ["nnie-int8"], {"tensor": ["not logarithmic", "--platform nnie-int8"], "signed": ["NNIE"]}),
    "ppl": (readers.PPL, ["asymmetric", "auto", "wide", "ppl-cuda-int8", "ppl-w8a16"], {}),
    "vitis": (readers.VITIS, ["power_of_two", "vitis-int8"], {"tensor": ["power of two", "--platform vitis"], "auto": ["each channel"]}),
    "tengine": (readers.read_tengine, ["tensor_asymmetric", "tengine-int8"], {"asymmetric": ["each channel", "Tengine"]}),
    "rknn": (readers.read_rknn, ["asymmetric", "tensor_asymmetric", "rknn-int8", "rknn1-uint8"], {"wide": ["16 bits"]}),
    "ascend": (readers.ASCEND, ["asymmetric", "asymmetric_signed", "ascend-int8"], {}),
    "magicmind": (readers.MAGICMIND, ["asymmetric", "magicmind-int8"], {"wide": ["16 bits"]}),
    "tidl": (readers.read_tidl, ["power_of_two", "tidl-int8"], {"tensor": ["power of two"]}),
    "imx": (readers.IMX, ["power_of_two", "imx-int8"], {"signed": ["power of two"]}),
    "stpu": (readers.read_stpu, ["tensor", "stpu-int8"], {"signed": ["each channel"]}),
}


# ---- running in ONNX Runtime ----

def compare_in_ort(runtime, model, path, folder, optimize, share):
    """`path` in ONNX Runtime against `model` in Slipway's interpreter; `share` of the output's range may differ."""
    theirs, ours = os.path.join(folder, "ort"), os.path.join(folder, "ours")
    inputs = {"x": os.path.join(folder, "x.npy")}
    slipway("run", model, "--input", f"x={inputs['x']}", "-o", ours)
    runtime.ask(op="load", id="m", model=path, threads=1, optimize=optimize)
    runtime.ask(op="run", id="m", inputs=inputs, output_dir=theirs)
    runtime.ask(op="unload", id="m")
    want, got = np.load(os.path.join(ours, "y.npy")), np.load(os.path.join(theirs, "y.npy"))
    check(want.shape == got.shape, f"shape {got.shape}, expected {want.shape}")
    off = float(np.abs(want - got).max() / np.abs(want).max())
    check(off <= share, f"{os.path.basename(path)} ({optimize}): off by {off:.1e} of the largest output")
    return off


def check_reader(reader, out, tensors):
    """A reader that overlooks a missing tensor, another scale or another code is no test."""
    def first(kind):
        return next(t for t in tensors.values() if role(t) == kind)

    def missing(changed):
        changed["phantom"] = copy.deepcopy(first("activation"))
        changed["phantom"].name = changed["phantom"].node = "phantom"
        changed["phantom"].scale = changed["phantom"].scale * F(2)

    def scale(changed):
        changed[first("activation").name].scale = first("activation").scale * F(1.01)

    def code(changed):
        codes = first("weights").codes.copy()
        codes.reshape(-1)[0] += 1 if codes.reshape(-1)[0] < 5 else -1
        changed[first("weights").name].codes = codes

    for change in (missing, scale, code):
        changed = copy.deepcopy(tensors)
        change(changed)
        try:
            reader(out, changed)
        except (Wrong, KeyError):
            continue
        raise Wrong(f"the reader does not see that it is another model ({change.__name__})")


def run_format(name, folder, runtime):
    reader, holds, refuses = FORMATS[name]
    lines = []
    for scheme in holds:
        model = quantized(folder, scheme)
        tensors = read_pairs(model)
        check(sum(t.codes is None for t in tensors.values()) >= 5 and sum(role(t) == "weights" for t in tensors.values()) == 5,
              "the model is not quantized")
        out = os.path.join(folder, f"{name}_{scheme}")
        copy = os.path.join(folder, "net.onnx")
        with open(model, "rb") as source, open(copy, "wb") as target:
            target.write(source.read())
        variants = [[], ["--float-weights"]] if name == "tensorrt" else [[]]
        for extra in variants:
            chosen = ["--to", name] if scheme in SCHEMES or scheme == "sparse" else ["--platform", scheme]
            slipway("export", copy, *chosen, "-o", out, *extra)
            with open(os.path.join(out, "README.txt"), encoding="utf-8") as file:
                text = file.read()
            for file in os.listdir(out):
                check(file in text or file == "README.txt", f"README.txt does not speak of {file}")
            reader(out, tensors)
            if scheme == holds[0]:
                check_reader(reader, out, tensors)
            line = f"{name} {scheme} {' '.join(extra)}: {len(tensors)} tensors"
            if runtime:
                for file in ("net.onnx", "net_integer.onnx"):
                    path = os.path.join(out, file)
                    if not os.path.exists(path) or (name == "openvino" and scheme == "wide"):
                        continue
                    for optimize in ("disabled", "all"):
                        off = compare_in_ort(runtime, model, path, folder, optimize, 0.02)
                        line += f", {file} {optimize} {off:.0e}"
            if name == "tflite":
                line += readers.run_tflite(folder, out, model)
            if name == "ncnn-int8":
                line += readers.run_ncnn(folder, out, model)
            lines.append(line)
    for scheme, words in refuses.items():
        out = os.path.join(folder, f"{name}_{scheme}_refused")
        slipway("export", quantized(folder, scheme), "--to", name, "-o", out, fails=words)
        check(not os.path.exists(out), "something was written before the error")
    out = os.path.join(folder, f"{name}_float")
    slipway("export", os.path.join(folder, "small.onnx"), "--to", name, "-o", out, fails=["float", "slipway quantize"])
    check(not os.path.exists(out), "something was written before the error")
    return lines


def run_resnet(folder, runtime):
    """ResNet-20 of the shared data: the .tflite gives the quantized model's outputs bit for bit, ONNX Runtime its classes."""
    model = os.path.join(ROOT, "..", "shared", "data", "models", "resnet20_cifar10.onnx")
    train = os.path.join(ROOT, "..", "shared", "data", "cifar10", "train.npz")
    if not os.path.exists(model) or not os.path.exists(train):
        return ["resnet20: skipped: no ../shared/data"]
    with open(os.path.join(folder, "cifar.yaml"), "w", encoding="utf-8") as file:
        file.write("scale: 0.00392156862745098\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n")
    with np.load(train) as data:
        images = data["images"][:16].astype(F) / 255
    x = ((images - np.array([0.485, 0.456, 0.406], F)) / np.array([0.229, 0.224, 0.225], F)).astype(F)
    np.save(os.path.join(folder, "nhwc.npy"), x)
    np.save(os.path.join(folder, "nchw.npy"), np.ascontiguousarray(x.transpose(0, 3, 1, 2)))

    def run(path, layout, label):
        slipway("run", path, "--input", f"input={os.path.join(folder, layout + '.npy')}", "-o", os.path.join(folder, label))
        return np.load(os.path.join(folder, label, "logits.npy"))

    lines = []
    for platform in ("tflite-int8", "onnxruntime-int8"):
        quantized_model = os.path.join(folder, "resnet.onnx")
        slipway("quantize", model, "--platform", platform, "--calib", train, "--preprocess", os.path.join(folder, "cifar.yaml"),
                "--samples", "32", "-o", quantized_model)
        out = os.path.join(folder, "resnet_" + platform)
        slipway("export", quantized_model, "--platform", platform, "-o", out)
        want = run(quantized_model, "nchw", "want")
        if platform == "tflite-int8":
            got = run(os.path.join(out, "resnet.tflite"), "nhwc", "got")
            check(np.array_equal(want, got), f"resnet20: the .tflite is off by {np.abs(want - got).max()}")
            lines.append("ok resnet20: the .tflite bit for bit")
        elif runtime:
            runtime.ask(op="load", id="r", model=os.path.join(out, "resnet_integer.onnx"), threads=1, optimize="all")
            runtime.ask(op="run", id="r", inputs={"input": os.path.join(folder, "nchw.npy")},
                        output_dir=os.path.join(folder, "ort"))
            runtime.ask(op="unload", id="r")
            got = np.load(os.path.join(folder, "ort", "logits.npy"))
            off = float(np.abs(want - got).max() / np.abs(want).max())
            check(off < 0.05 and (want.argmax(1) == got.argmax(1)).mean() > 0.9, f"resnet20 in ONNX Runtime: off by {off:.1e}")
            lines.append(f"ok resnet20: integer operators in ONNX Runtime {off:.0e}")
    return lines


def run_vit(folder):
    """The vision transformer of the shared data: attention and LayerNormalization in float between the codes, the batch at 1."""
    model = os.path.join(ROOT, "..", "shared", "data", "models", "vit_small_cifar10.onnx")
    train = os.path.join(ROOT, "..", "shared", "data", "cifar10", "train.npz")
    if not os.path.exists(model) or not os.path.exists(train):
        return ["vit_small: skipped: no ../shared/data"]
    quantized, out = os.path.join(folder, "vit.onnx"), os.path.join(folder, "vit_tflite")
    slipway("quantize", model, "--platform", "tflite-int8", "--calib", train, "--preprocess", os.path.join(folder, "cifar.yaml"), "--samples", "32",
            "-o", quantized)
    slipway("export", quantized, "--platform", "tflite-int8", "-o", out)
    with open(os.path.join(out, "README.txt"), encoding="utf-8") as file:
        check("is 1 here" in file.read(), "README.txt does not tell the batch")
    worst, images = 0.0, np.load(os.path.join(folder, "nhwc.npy"))
    for i in range(4):
        outputs = []
        for path, x in ((quantized, images[i:i + 1].transpose(0, 3, 1, 2)), (os.path.join(out, "vit.tflite"), images[i:i + 1])):
            np.save(os.path.join(folder, "one.npy"), np.ascontiguousarray(x))
            slipway("run", path, "--platform", "interpreter", "--input", f"input={os.path.join(folder, 'one.npy')}", "-o", os.path.join(folder, "vit_run"))
            outputs.append(np.load(os.path.join(folder, "vit_run", "logits.npy")))
        worst = max(worst, float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max()))
        check(outputs[0].argmax() == outputs[1].argmax(), f"vit_small: image {i} gets another class")
    # LayerNormalization in its pieces differs by the last bits of a float, which may move a code.
    check(worst < 0.05, f"vit_small: the .tflite is off by {worst:.1e}")
    return [f"ok vit_small: the .tflite off by {worst:.0e}"]


def run_recurrent(folder, runtime):
    """Weights of RNN, GRU and LSTM alone: codes with a scale a row in the file, and ONNX Runtime gives what the interpreter gives."""
    lines, rng, n = [], np.random.default_rng(3), helper.make_node
    place = os.path.join(folder, "recurrent")
    os.makedirs(place, exist_ok=True)
    x = rng.standard_normal((7, 2, 5)).astype(F)
    np.save(os.path.join(place, "x.npy"), x)
    np.savez(os.path.join(place, "calib.npz"), inputs=np.concatenate([x, x]))
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for both in (0, 1):
            rows, d = gates * 9, 1 + both
            w, r = rng.standard_normal((d, rows, 5)).astype(F), (rng.standard_normal((d, rows, 9)) * 0.3).astype(F)
            graph = helper.make_graph([n(op, ["x", "w", "r"], ["y"], "cell", hidden_size=9, direction="bidirectional" if both else "forward")], "cell",
                                      [helper.make_tensor_value_info("x", TensorProto.FLOAT, [7, 2, 5])],
                                      [helper.make_tensor_value_info("y", TensorProto.FLOAT, [7, d, 2, 9])],
                                      [numpy_helper.from_array(w, "w"), numpy_helper.from_array(r, "r")])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
            model.ir_version = 8
            path = os.path.join(place, "cell.onnx")
            onnx.save(model, path)
            for bits, opset, stored in ((8, 13, TensorProto.INT8), (8, 21, TensorProto.INT8), (4, 21, TensorProto.INT4 if hasattr(TensorProto, "INT4") else 22)):
                quantized, name = os.path.join(place, "q.onnx"), f"{op} W{bits} opset {opset}, {d} directions"
                slipway("quantize", path, "--platform", "onnxruntime-int8", "--bits", f"W{bits}A8", "--weight-observer", "minmax", "--opset", str(opset),
                        "--calib", os.path.join(place, "calib.npz"), "-o", quantized)
                written = onnx.load(quantized)
                held = {t.name: t for t in written.graph.initializer}
                pairs = [node for node in written.graph.node if node.op_type == "DequantizeLinear"]
                check(len(pairs) == 2, f"{name}: {len(pairs)} DequantizeLinear")
                for node, given in zip(pairs, (w, r)):
                    codes, scale = held[node.input[0]], numpy_helper.to_array(held[node.input[1]])
                    check(codes.data_type == stored, f"{name}: codes of type {codes.data_type}")
                    want = np.abs(given).reshape(d * rows, -1).max(1) / ((1 << (bits - 1)) - 1)
                    check(np.allclose(scale, want, rtol=1e-6), f"{name}: scales are not those of the rows")
                    axis = {a.name: a.i for a in node.attribute}.get("axis", 1)
                    check(axis == 1 - both and codes.dims[axis] == d * rows, f"{name}: axis {axis} of {list(codes.dims)}")
                if runtime:
                    off = compare_in_ort(runtime, quantized, quantized, place, "all", 1e-5)
                    lines.append(f"ok {name}: in ONNX Runtime {off:.0e}")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--filter", default="")
    parser.add_argument("--keep", default="")
    options = parser.parse_args()
    runtime = OnnxRuntime() if os.path.isdir(os.path.join(ROOT, ".cache", "ort", "node_modules")) else None
    if not runtime:
        print("quant_export_test: ONNX Runtime is not installed (scripts/setup dev): files are read, not run")
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or temporary
        os.makedirs(folder, exist_ok=True)
        rng = np.random.default_rng(20261126)
        small_model(os.path.join(folder, "small.onnx"), rng)
        images = rng.standard_normal((32, 3, 8, 8)).astype(F)
        np.savez(os.path.join(folder, "calib.npz"), inputs=images)
        np.save(os.path.join(folder, "x.npy"), images[:4])
        for name in FORMATS:
            if options.filter not in name:
                continue
            try:
                for line in run_format(name, folder, runtime):
                    print("ok " + line)
            except (Wrong, Failure) as wrong:
                failed += 1
                print(f"FAILED {name}: {wrong}")
        if options.filter in "resnet20":
            try:
                print("\n".join(run_resnet(folder, runtime) + run_vit(folder)))
            except (Wrong, Failure) as wrong:
                failed += 1
                print(f"FAILED real models: {wrong}")
        if options.filter in "recurrent":
            try:
                print("\n".join(run_recurrent(folder, runtime)))
            except (Wrong, Failure) as wrong:
                failed += 1
                print(f"FAILED recurrent: {wrong}")
    if runtime:
        runtime.close()
    print(f"quant_export: {failed} formats failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
