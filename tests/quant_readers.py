"""Readers of the files that `slipway export` writes for vendors' tools, each written from its format's description and not
from the writer: quant_export_test.py compares what they find with the quantized model.
"""
import json
import os
import re
import struct
import subprocess

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROOT = os.environ.get("SLIPWAY_SOURCE_DIR", os.path.abspath(os.path.join(os.path.dirname(__file__), "..")))
SLIPWAY = os.environ.get("SLIPWAY_BINARY", os.path.join(ROOT, "build", "release", "slipway"))
F = np.float32


class Wrong(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Wrong(message)


def slipway(*arguments, fails=None):
    result = subprocess.run([SLIPWAY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    if fails is None:
        check(result.returncode == 0, f"slipway {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout
    check(result.returncode != 0, f"slipway {' '.join(arguments)}: succeeded, expected a failure")
    for word in fails:
        check(word in result.stderr, f"slipway {' '.join(arguments)}: '{word}' is not in: {result.stderr.strip()}")
    return result.stderr


# ---- what the quantized model says, read from its Q/DQ nodes ----

class Tensor:
    def __init__(self, name, scale, zero, dtype, axis, codes, node, index, bits):
        self.name, self.scale, self.zero, self.dtype = name, np.atleast_1d(scale), np.atleast_1d(zero).astype(np.int64), dtype
        self.codes, self.node, self.index, self.bits = codes, node, index, bits
        if len(self.scale) > 1 and (self.scale == self.scale[0]).all() and (self.zero == self.zero[0]).all():
            self.scale, self.zero = self.scale[:1], self.zero[:1]
        if len(self.zero) != len(self.scale):
            self.zero = np.zeros(len(self.scale), np.int64) + self.zero[0]
        self.axis = axis if len(self.scale) > 1 else None

    @property
    def signed(self):
        return np.issubdtype(self.dtype, np.signedinteger)

    @property
    def low(self):
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self):
        return (1 << (self.bits - 1 if self.signed else self.bits)) - 1

    def spread(self, values):
        """One value a channel, in the shape of the codes."""
        if self.axis is None:
            return values[0]
        return values.reshape([-1 if i == self.axis else 1 for i in range(self.codes.ndim)])

    def floats(self):
        return (self.codes.astype(np.int64) - self.spread(self.zero)).astype(F) * self.spread(self.scale)


def attribute(node, name, default):
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def unpacked(tensor):
    """int4 codes of opset 21, which this version of the package may not know."""
    count = int(np.prod(tensor.dims)) if tensor.dims else 1
    raw = np.frombuffer(tensor.raw_data, np.uint8)
    nibbles = np.stack([raw & 15, raw >> 4], 1).reshape(-1)[:count].astype(np.int64)
    if tensor.data_type == 22:
        nibbles = np.where(nibbles > 7, nibbles - 16, nibbles)
    return nibbles.reshape(tuple(tensor.dims)).astype(np.int8 if tensor.data_type == 22 else np.uint8)


def initializers(model):
    return {t.name: unpacked(t) if t.data_type in (21, 22) else numpy_helper.to_array(t) for t in model.graph.initializer}


def read_pairs(path):
    """Every quantized tensor of a model with QuantizeLinear and DequantizeLinear, by its name in the float model."""
    model = onnx.load(path)
    constants = initializers(model)
    widths = {t.name: 4 for t in model.graph.initializer if t.data_type in (21, 22)}
    producer = {out: (node, i) for node in model.graph.node for i, out in enumerate(node.output)}
    readers, outputs = {}, {v.name for v in model.graph.output}
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, i))
    found, real, reads = {}, {}, {}
    for node in model.graph.node:
        kind = node.op_type.removesuffix("Linear")  # logarithmic pairs are operators of our own
        if kind not in ("Quantize", "Dequantize"):
            continue
        scale = constants[node.input[1]]
        zero = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.int8(0)
        axis = attribute(node, "axis", 1)
        if kind == "Quantize" and node.input[0] not in constants:
            made = producer.get(node.input[0])
            # What a pair at the end of the model rounds takes the output's name in the float model.
            after = [n for n, _ in readers.get(node.output[0], [])]
            if after and after[0].op_type == "Clip":  # to a narrow range
                after = [n for n, _ in readers.get(after[0].output[0], [])]
            ends = [n.output[0] for n in after if n.output[0] in outputs]
            name = ends[0] if ends else node.input[0]
            for reader in after:
                real[reader.output[0]] = name
            found[name] = Tensor(name, scale, zero, zero.dtype, axis, None, made[0].name if made else name, made[1] if made else 0, zero.dtype.itemsize * 8)
        elif kind == "Dequantize" and node.input[0] in constants:
            codes = constants[node.input[0]]
            name = re.sub("_dq$", "", node.output[0])
            user, index = readers[node.output[0]][0]
            reads[name] = user.input[0]
            found[name] = Tensor(name, scale, zero, codes.dtype, axis, codes, user.name, index,
                                 widths.get(node.input[0], codes.dtype.itemsize * 8))
    for name, value in reads.items():
        found[name].reads = real.get(value)  # the activation that the weights' layer reads
    return found


def values_of(path):
    """Names of all values of an ONNX file, and its constants."""
    model = onnx.load(path)
    names = {v.name for v in model.graph.input} | {o for n in model.graph.node for o in n.output}
    return names, initializers(model), model


# ---- readers of the formats ----

def same(a, b):
    return np.array_equal(np.atleast_1d(np.asarray(a, F)), np.atleast_1d(np.asarray(b, F)))


def check_float_graph(path, tensors):
    """Activations are there by name, and float weights round to the codes."""
    names, constants, model = values_of(path)
    check(not any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in model.graph.node), "pairs are left")
    for t in tensors.values():
        if t.codes is None:
            check(t.name in names, f"activation {t.name} is not in {path}")
            continue
        check(t.name in constants, f"{t.name} is not in {path}")
        back = np.rint(constants[t.name] / t.spread(t.scale)).astype(np.int64) + t.spread(t.zero)
        check(np.array_equal(back, t.codes.astype(np.int64)), f"{t.name} does not round back to its codes")


def activations(tensors):
    return {k: t for k, t in tensors.items() if t.codes is None}


def check_keys(have, want, what):
    check(set(have) == set(want), f"{what}: {sorted(set(have) ^ set(want))} are missing or too many")


def read_json(folder, suffix):
    with open(os.path.join(folder, "net" + suffix), encoding="utf-8") as file:
        return json.load(file)


def read_encodings(folder, tensors):
    data = read_json(folder, ".encodings")
    check_keys(data["activation_encodings"], activations(tensors), "activation_encodings")
    check_keys(data["param_encodings"], set(tensors) - set(activations(tensors)), "param_encodings")
    for name, t in tensors.items():
        entries = data["activation_encodings" if t.codes is None else "param_encodings"][name]
        check(len(entries) == len(t.scale), f"{name}: {len(entries)} encodings")
        for entry, scale, zero in zip(entries, t.scale, t.zero):
            check(set(entry) == {"bitwidth", "min", "max", "scale", "offset", "is_symmetric", "dtype"}, f"{name}: {entry}")
            check(entry["bitwidth"] == t.bits and F(entry["scale"]) == scale, f"{name}: {entry}")
            # The grid of the tool: scale * (q + offset), q = 0 .. 2^b - 1.
            check(entry["offset"] == t.low - zero, f"{name}: offset {entry['offset']}")
            check(np.isclose(entry["min"], float(scale) * entry["offset"], rtol=1e-9), f"{name}: min")
            check(np.isclose(entry["max"], float(scale) * (entry["offset"] + 2 ** t.bits - 1), rtol=1e-9), f"{name}: max")
            check((entry["is_symmetric"] == "True") == bool(t.signed and zero == 0), f"{name}: is_symmetric")
    check_float_graph(os.path.join(folder, "net_float.onnx"), tensors)


def is_two_of_four(codes):
    if codes.ndim < 3 or codes.shape[1] % 4 != 0 or not codes.any():
        return False
    groups = codes.reshape(codes.shape[0], codes.shape[1] // 4, 4, -1)
    return bool((np.count_nonzero(groups, axis=2) <= 2).all())


def read_tensorrt(folder, tensors):
    ranges = read_json(folder, "_blob_range.json")["tensorrt"]["blob_range"]
    check_keys(ranges, activations(tensors), "blob_range")
    with open(os.path.join(folder, "net_calibration.cache"), encoding="utf-8") as file:
        lines = file.read().strip().split("\n")
    check(re.fullmatch(r"TRT-\d+-EntropyCalibration2", lines[0]), lines[0])
    cache = dict(line.rsplit(": ", 1) for line in lines[1:])
    check_keys(cache, activations(tensors), "cache")
    for name, t in activations(tensors).items():
        check(F(ranges[name] / 127) == t.scale[0], f"{name}: range {ranges[name]}")
        check(struct.unpack(">f", bytes.fromhex(cache[name]))[0] == t.scale[0], f"{name}: {cache[name]}")
    check_float_graph(os.path.join(folder, "net_float.onnx"), tensors)
    model = onnx.load(os.path.join(folder, "net.onnx"))
    check(model.opset_import[0].version >= 13, "the opset is below 13")
    constants = initializers(model)
    quantized_weights = 0
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero = constants[node.input[2]] if len(node.input) > 2 else np.int8(0)
        check(zero.dtype == np.int8 and not zero.any(), f"{node.name}: zero point {zero}")
        if node.op_type == "QuantizeLinear" and node.input[0] in tensors and tensors[node.input[0]].codes is not None:
            t = tensors[node.input[0]]
            back = np.rint(constants[node.input[0]] / t.spread(constants[node.input[1]].reshape(-1)))
            check(np.array_equal(back, t.codes), f"{t.name} does not round back to its codes")
            quantized_weights += 1
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            t = tensors[re.sub("_dq$", "", node.output[0])]
            check(np.array_equal(constants[node.input[0]], t.codes) and same(constants[node.input[1]], t.scale), t.name)
            check(constants[node.input[0]].dtype == np.int8, f"{t.name}: {constants[node.input[0]].dtype}")
            quantized_weights += 1
    weights = [t for t in tensors.values() if t.codes is not None and t.bits <= 8]
    check(quantized_weights == len(weights), f"{quantized_weights} of {len(weights)} weights")
    pairs = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in constants]
    check_keys([n.input[0] for n in pairs], activations(tensors), "pairs")
    check(all(same(constants[n.input[1]], tensors[n.input[0]].scale) for n in pairs), "a scale differs")
    with open(os.path.join(folder, "trtexec.sh"), encoding="utf-8") as file:
        script = file.read()
    for name in ("net.onnx", "net_float.onnx", "net_calibration.cache"):
        check(f"'{name}'" in script, f"{name} is not in trtexec.sh")
    subprocess.run(["sh", "-n", os.path.join(folder, "trtexec.sh")], check=True)
    # TensorRT's condition on kernel weights [K, C, R, S]: two zeros in w[k, 4i..4i+3, r, s].
    sparse = [t.name for t in weights if is_two_of_four(t.codes)]
    for line in script.splitlines():
        if line.startswith("trtexec"):
            check(("--sparsity=enable" in line) == bool(sparse), f"2:4 are {sparse}: {line}")


def read_integer_onnx(folder, tensors):
    back = read_pairs(os.path.join(folder, "net.onnx"))
    check_keys(back, tensors, "pairs")
    for name, t in tensors.items():
        check(same(back[name].scale, t.scale) and np.array_equal(back[name].zero, t.zero), f"{name}: parameters")
        check(t.codes is None or np.array_equal(back[name].codes, t.codes), f"{name}: codes")
    # Of the integer form: every scale and all codes of weights are there, transposed or not at all.
    _, constants, model = values_of(os.path.join(folder, "net_integer.onnx"))
    read = {name for n in model.graph.node for name in n.input}
    for name, t in tensors.items():
        if t.codes is not None:
            held = any(v.size == t.codes.size and np.array_equal(v.reshape(-1), t.codes.reshape(-1))
                       for k, v in constants.items() if k in read and v.dtype == t.codes.dtype)
            check(held, f"{name}: its codes are not in the integer form")
        elif any(n.op_type.startswith("QLinear") for n in model.graph.node):
            held = any(v.size == 1 and F(v.reshape(-1)[0]) == t.scale[0] for v in constants.values() if v.dtype == F)
            check(held or any(n.op_type in ("MaxPool", "Reshape", "Flatten") for n in model.graph.node),
                  f"{name}: its scale is not in the integer form")


def fake_quantize(x, low, high, levels):
    """https://docs.openvino.ai: FakeQuantize-1, with equal input and output ranges."""
    x = np.asarray(x, np.float64)
    q = np.rint((x - low) / (high - low) * (levels - 1)) / (levels - 1) * (high - low) + low
    return np.where(x <= low, low, np.where(x > high, high, q))


def read_openvino(folder, tensors):
    names, constants, model = values_of(os.path.join(folder, "net_fakequantize.onnx"))
    check(any(o.domain == "org.openvinotoolkit" for o in model.opset_import), "the domain is not imported")
    found = {}
    for node in model.graph.node:
        if node.op_type != "FakeQuantize":
            continue
        check(node.domain == "org.openvinotoolkit" and len(node.input) == 5, node.name)
        check(node.input[1] == node.input[3] and node.input[2] == node.input[4], f"{node.name}: output range")
        found[node.input[0]] = (constants[node.input[1]], constants[node.input[2]], attribute(node, "levels", 0))
    want = {k for k, t in tensors.items() if t.bits < 32}
    check_keys(found, want, "FakeQuantize")
    for name in want:
        t, (low, high, levels) = tensors[name], found[name]
        scale = (high.astype(np.float64) - low) / (levels - 1)
        check(np.allclose(scale.reshape(-1), t.scale, rtol=1e-6), f"{name}: scale")
        check(np.array_equal(np.rint(low / scale).reshape(-1), (t.high - levels + 1) - t.zero), f"{name}: zero point")
        if t.codes is None:
            check(levels == 1 << t.bits, f"{name}: {levels} levels")
            x = np.random.default_rng(1).standard_normal(1000) * float(t.scale[0]) * 100
            codes = np.clip(np.rint(x / float(t.scale[0])) + t.zero[0], t.low, t.high)
            off = np.abs(fake_quantize(x, low, high, levels) - (codes - t.zero[0]) * float(t.scale[0])).max()
            check(off < 1.001 * t.scale[0], f"{name}: FakeQuantize is off by {off}")
        else:
            y = fake_quantize(constants[name], low, high, levels)
            check(np.array_equal(np.rint(y / t.spread(t.scale)) + t.spread(t.zero), t.codes), f"{name}: codes")
    check_keys(read_pairs(os.path.join(folder, "net.onnx")), tensors, "pairs")


def simple(suffix, path, entry, only=None):
    """A reader of JSON {tensor: entry}; `entry(t)` gives what must stand there."""
    def reader(folder, tensors):
        data = read_json(folder, suffix)
        for key in path:
            data = data[key]
        chosen = {k: t for k, t in tensors.items() if only is None or only(t)}
        check_keys(data, chosen, suffix)
        for name, t in chosen.items():
            want = entry(t)
            have = data[name]
            check(type(want) is type(have) and (not isinstance(want, dict) or set(want) == set(have)), f"{name}: {have}")
            pairs = [(want[k], have[k]) for k in want] if isinstance(want, dict) else [(want, have)]
            for a, b in pairs:
                equal = a == b if isinstance(a, str) else np.allclose(np.asarray(a, float), np.asarray(b, float), rtol=1e-7,
                                                                      atol=0)
                check(equal and np.shape(a) == np.shape(b), f"{name}: {have}, expected {want}")
        check_float_graph(os.path.join(folder, "net_float.onnx"), tensors)
    return reader


def one_or_list(t, values):
    return [v.item() for v in values] if t.axis is not None else values[0].item()


def least(t):
    return (t.low - t.zero) * t.scale.astype(float)


def most(t):
    return (t.high - t.zero) * t.scale.astype(float)


def read_tengine(folder, tensors):
    with open(os.path.join(folder, "net.scale"), encoding="utf-8") as file:
        lines = [line.split(" ") for line in file.read().strip().split("\n")]
    check_keys([line[0] for line in lines], tensors, ".scale")
    for name, scale, zero in lines:
        check(F(scale) == tensors[name].scale[0] and int(zero) == tensors[name].zero[0], f"{name}: {scale} {zero}")
    check_float_graph(os.path.join(folder, "net_float.onnx"), tensors)


def role(t):
    return "activation" if t.codes is None else "bias" if t.index == 2 else "weights"


def read_rknn(folder, tensors):
    data = read_json(folder, "_quantized_param_rv1126.json")["quantize_parameters"]
    keys = {}
    for t in tensors.values():
        keys[f"@{t.node}:out{t.index}" if t.codes is None else f"@{t.node}:{'bias' if t.bits == 32 else 'weight'}"] = t
    check(len(keys) == len(tensors), "keys are not unique")
    check_keys(data, keys, "rv1126")
    for key, t in keys.items():
        entry = data[key]
        check(same(entry["scale"], t.scale) and entry["zero_point"] == t.zero.tolist(), f"{key}: {entry}")
        check(entry["qtype"] == ("i" if t.signed else "u") + str(t.bits), f"{key}: {entry['qtype']}")
        check(t.bits == 32 or np.allclose(entry["max_value"], most(t), rtol=1e-7), f"{key}: max_value")
    data = read_json(folder, "_quantized_param_rk3568.json")["quantize_parameters"]
    suffix = {"activation": "", "weights": "_W", "bias": "_b"}
    keys = {t.name if t.codes is None else t.node + suffix[role(t)]: t for t in tensors.values()}
    check_keys(data, keys, "rk3568")
    for key, t in keys.items():
        if t.bits == 32:
            check(np.isclose(data[key]["max"][0], np.abs(t.floats().astype(float)).max(), rtol=1e-5), key)
        else:
            check(np.allclose(data[key]["max"], most(t)) and np.allclose(data[key]["min"], least(t)), key)
    check_float_graph(os.path.join(folder, "net_float.onnx"), tensors)


def read_tidl(folder, tensors):
    with open(os.path.join(folder, "net_blob_range.txt"), encoding="utf-8") as file:
        lines = [line.split(" ") for line in file.read().strip().split("\n")]
    check_keys([line[0] for line in lines], tensors, "text")
    for name, low, high in lines:
        t = tensors[name]
        check(np.isclose(float(low), least(t)[0]) and np.isclose(float(high), most(t)[0]), f"{name}: {low} {high}")
    simple("_blob_range.json", ["blob_range"], lambda t: [least(t)[0].item(), most(t)[0].item()])(folder, tensors)


def read_stpu(folder, tensors):
    data = read_json(folder, "_minmax.json")
    suffix = {"activation": "", "weights": "_weights", "bias": "_bias"}
    keys = {t.name if t.codes is None else t.node + suffix[role(t)]: t for t in tensors.values()}
    check_keys(data, keys, "minmax")
    for key, t in keys.items():
        if role(t) == "bias":
            check(F(data[key]["alpha"]) == t.scale[0] and data[key]["zero_point"] == 0, f"{key}: {data[key]}")
        else:
            reach = float(t.scale[0]) * 127
            check(np.isclose(data[key]["max"], reach) and np.isclose(data[key]["min"], -reach), f"{key}: {data[key]}")
    check_float_graph(os.path.join(folder, "net_float.onnx"), tensors)


def read_ncnn(folder, tensors):
    try:
        import ncnn_reader
    except ImportError as missing:
        print(f"ncnn files are not read: {missing}")
        return
    net = ncnn_reader.Net(os.path.join(folder, "net.param"))
    with open(os.path.join(folder, "net.table"), encoding="utf-8") as file:
        table = {line.split(" ")[0]: [float(v) for v in line.split(" ")[1:]] for line in file.read().strip().split("\n")}
    floats = {name: w for (_, name, _, _, _), w in zip(*[getattr(ncnn_reader.Net(os.path.join(folder, "net_float.param")), k)
                                                        for k in ("layers", "weights")])}
    layers = {name: (p, w) for (_, name, _, _, p), w in zip(net.layers, net.weights) if p.get(8, 0)}
    weights = {t.node: t for t in tensors.values() if role(t) == "weights"}
    check_keys(layers, weights, "int8 layers")
    check(len(table) == 2 * len(weights), f"{len(table)} lines in the table")
    # A view of another blob has no layer: its scale is checked with the layer that reads it.
    blobs = {blob for _, _, _, tops, _ in net.layers for blob in tops} | {t.reads for t in tensors.values() if role(t) == "weights"}
    check(set(activations(tensors)) <= blobs, f"{set(activations(tensors)) - blobs} are no blobs of the net")
    for name, t in weights.items():
        p, w = layers[name]
        codes = t.codes if t.codes.ndim > 2 or t.axis == 0 else t.codes.T
        if t.codes.ndim == 2 and t.axis is None:  # a linear layer's weights in this test are [in, out]
            codes = t.codes.T
        check(np.array_equal(w[0].numpy(), codes.reshape(-1)), f"{name}: codes")
        scales = np.broadcast_to(t.scale, codes.shape[0])
        check(np.allclose(1 / w[-2].numpy(), scales, rtol=1e-6), f"{name}: scales of weights")
        back = np.rint(floats[name][0].numpy().reshape(codes.shape[0], -1) * np.asarray(table[name + "_param_0"], F)[:, None])
        check(np.array_equal(back.reshape(-1), codes.reshape(-1)), f"{name}: ncnn2int8 would round to other codes")
        check(np.isclose(1 / float(w[-1][0]), tensors[t.reads].scale[0], rtol=1e-6), f"{name}: scale of the input")
        check(same(table[name], w[-1].numpy()) and same(table[name + "_param_0"], w[-2].numpy()), f"{name}: table")


def run_ncnn(folder, out, model):
    """The int8 net against Slipway's interpreter, image by image."""
    import ncnn_reader
    x = np.load(os.path.join(folder, "x.npy"))
    slipway("run", model, "--input", f"x={os.path.join(folder, 'x.npy')}", "-o", os.path.join(folder, "ours"))
    want = np.load(os.path.join(folder, "ours", "y.npy"))
    net = ncnn_reader.Net(os.path.join(out, "net.param"))
    off = max(float(np.abs(net.run({"x": image})["y"] - y).max()) for image, y in zip(x, want)) / float(np.abs(want).max())
    check(off <= 0.02, f"the int8 net is off by {off:.1e} of the largest output")
    return f", net.param in the second reader {off:.0e}"


class Table:
    """A FlatBuffers table (https://flatbuffers.dev/internals): fields by their number in the public TFLite schema."""

    def __init__(self, data, at):
        self.data, self.at = data, at
        vtable = at - struct.unpack_from("<i", data, at)[0]
        size = struct.unpack_from("<H", data, vtable)[0]
        self.fields = struct.unpack_from(f"<{(size - 4) // 2}H", data, vtable + 4)

    def where(self, field):
        return self.at + self.fields[field] if field < len(self.fields) and self.fields[field] else None

    def number(self, field, kind, default=0):
        at = self.where(field)
        return default if at is None else struct.unpack_from("<" + kind, self.data, at)[0]

    def follow(self, at):
        return at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, field):
        at = self.where(field)
        return None if at is None else Table(self.data, self.follow(at))

    def vector(self, field, kind):
        at = self.where(field)
        if at is None:
            return np.zeros(0, kind)
        at = self.follow(at)
        return np.frombuffer(self.data, kind, struct.unpack_from("<I", self.data, at)[0], at + 4)

    def text(self, field):
        return self.vector(field, "u1").tobytes().decode()

    def tables(self, field):
        at = self.where(field)
        if at is None:
            return []
        at = self.follow(at)
        count = struct.unpack_from("<I", self.data, at)[0]
        return [Table(self.data, self.follow(at + 4 + 4 * i)) for i in range(count)]


def read_tflite(folder, tensors):
    with open(os.path.join(folder, "net.tflite"), "rb") as file:
        data = file.read()
    check(data[4:8] == b"TFL3", "no TFL3 file")
    model = Table(data, struct.unpack_from("<I", data, 0)[0])
    check(model.number(0, "I") == 3, "schema version")
    buffers = [b.vector(0, "u1") for b in model.tables(4)]
    (graph,) = model.tables(2)
    kinds = {0: "<f4", 2: "<i4", 9: "i1"}
    read = []
    for t in graph.tables(0):
        q = t.table(4)
        scale = q.vector(2, "<f4") if q else np.zeros(0, F)
        zero = q.vector(3, "<i8") if q else np.zeros(0, np.int64)
        read.append((t.text(3), t.vector(0, "<i4"), t.number(1, "b"), buffers[t.number(2, "I")], scale, zero,
                     q.number(6, "i") if q else 0))
    codes = [c.number(3, "i") for c in model.tables(1)]
    used = set()
    for name, t in tensors.items():
        zero = t.zero - (0 if t.signed else 1 << (t.bits - 1))
        found = []
        for i, (_, shape, kind, buffer, scale, z, axis) in enumerate(read):
            if i in used or len(scale) != len(t.scale) or not np.allclose(scale, t.scale, rtol=2e-7 if t.bits == 32 else 0, atol=0) \
                    or not np.array_equal(z, zero):
                continue
            if t.codes is None:
                if kind == 9 and len(buffer) == 0:
                    found.append(i)
            elif buffer.size and kind == (2 if t.bits == 32 else 9):
                values = buffer.view(kinds[kind]).reshape(shape)
                if t.codes.ndim == 4:
                    wants = [t.codes.transpose(0, 2, 3, 1), t.codes.transpose(1, 2, 3, 0)]
                else:
                    wants = [t.codes, t.codes.T] if t.codes.ndim == 2 else [t.codes]
                    if values.ndim == 4 and values.shape[1:3] == (1, 1):  # a linear layer as a convolution
                        values = values.reshape(values.shape[0], -1)
                for want in wants:
                    if values.shape == want.shape and np.array_equal(values, want):
                        check(len(t.scale) == 1 or values.shape[axis] == len(t.scale), f"{name}: quantized_dimension {axis}")
                        found.append(i)
                        break
        check(found, f"{name}: not in the .tflite")
        used.add(found[0])
    counted = sum(kind == 9 and len(buffer) == 0 for _, _, kind, buffer, _, _, _ in read)
    check(counted >= len(activations(tensors)), f"{counted} int8 activations")
    # Every operator that can computes on codes: no DEQUANTIZE but at the end.
    operators = [codes[op.number(0, "I")] for op in graph.tables(3)]
    check(operators.count(6) == 1 and operators[-1] == 6, f"DEQUANTIZE at {[i for i, c in enumerate(operators) if c == 6]}")
    check(3 in operators and 4 in operators, f"operators {operators}")


def run_tflite(folder, out, model):
    """The file through Slipway's own importer: the codes and so the outputs are the same, bit for bit."""
    x = np.load(os.path.join(folder, "x.npy"))
    np.save(os.path.join(folder, "x_nhwc.npy"), np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    slipway("run", model, "--input", f"x={os.path.join(folder, 'x.npy')}", "-o", os.path.join(folder, "ours"))
    slipway("run", os.path.join(out, "net.tflite"), "--input", f"x={os.path.join(folder, 'x_nhwc.npy')}",
            "-o", os.path.join(folder, "tflite"))
    want, got = (np.load(os.path.join(folder, f, "y.npy")) for f in ("ours", "tflite"))
    check(np.array_equal(want, got), f"the .tflite gives other outputs: off by {np.abs(want - got).max() / np.abs(want).max():.1e}")
    return ", net.tflite bit for bit"


def read_nnie(folder, tensors):
    """The weights lie on NNIE's grid, +-2^(n / 16), and each layer has the largest magnitude of its inputs."""
    data = read_json(folder, "_gfpq_param_dict.json")["nnie"]["gfpq_param_dict"]
    with open(os.path.join(folder, "net.prototxt"), encoding="utf-8") as file:
        text = file.read()
    layers = {}
    for block in text.split("layer {")[1:]:
        name = re.search(r'name: "([^"]*)"', block).group(1)
        layers[name] = (re.search(r'type: "([^"]*)"', block).group(1), re.findall(r'bottom: "([^"]*)"', block),
                        int((re.search(r"group: (\d+)", block) or [0, 1])[1]))
    for name, values in data.items():
        kind, bottoms, groups = layers[name]
        want = [float(tensors[b].scale[0]) for b in bottoms if b in tensors for _ in range(groups)]
        check(len(want) == len(bottoms) * groups and np.allclose(values, want, rtol=1e-7), f"{name} ({kind}): {values}, not {want}")
    blobs = {re.search('input: "([^"]*)"', text).group(1)} | set(layers)
    check(set(activations(tensors)) <= blobs, f"{set(activations(tensors)) - blobs} are no blobs of the net")
    arithmetic = [n for n, (kind, _, _) in layers.items() if kind in ("Convolution", "InnerProduct", "Eltwise")]
    check(len(arithmetic) >= 5 and set(arithmetic) <= set(data), f"{sorted(set(arithmetic) - set(data))} have no range")
    # The caffemodel, read by Slipway's importer.
    slipway("export", os.path.join(folder, "net.prototxt"), "-o", folder + "_back.onnx")
    _, constants, _ = values_of(folder + "_back.onnx")
    weights = [t for t in tensors.values() if role(t) == "weights"]
    for t in weights:
        floats = decode_nnie(t)
        held = [v for v in constants.values() if v.size == floats.size and v.dtype == F and v.ndim == floats.ndim]
        held += [v.T for v in held if v.ndim == 2]
        check(any(v.shape == floats.shape and np.allclose(v, floats, rtol=1e-6, atol=0) for v in held), f"{t.name}: weights")
        steps = 16 * np.log2(np.abs(floats[floats != 0]).astype(np.float64))
        check(np.abs(steps - np.rint(steps)).max() < 1e-4, f"{t.name}: off the grid")


def decode_nnie(t):
    """QUANTIZATION.md: +-2^((k + z) / 16), z = round(16 log2 max) - 127; code -128 is zero."""
    z = np.rint(16 * np.log2(float(t.scale[0]))) - 127
    codes = t.codes.astype(np.int64)
    level = np.where(codes >= 0, codes, codes + 128)
    value = np.where(codes >= 0, 1.0, -1.0) * 2.0 ** ((level + z) / 16)
    return np.where(codes == -128, 0.0, value)


PPL = simple("_ranges.json", ["ppl"], lambda t: {
    "step": one_or_list(t, t.scale.astype(float)), "zero_point": one_or_list(t, t.zero), "min": one_or_list(t, least(t)),
    "max": one_or_list(t, most(t)), "bit": t.bits, "type": "biased"})
ASCEND = simple("_quant_param.json", [], lambda t: {
    "scale": one_or_list(t, t.scale.astype(float)),
    "offset": one_or_list(t, t.zero - (0 if t.signed else 1 << (t.bits - 1)))})
MAGICMIND = simple("_quant_param.json", ["blob_range"], lambda t: {"min": one_or_list(t, least(t)),
                                                                  "max": one_or_list(t, most(t))})
VITIS = simple("_ranges.json", ["vitis"], lambda t: {"scale": t.scale.astype(float)[0].item()})
IMX = simple("_scale.json", ["blob_range"], lambda t: one_or_list(t, t.scale.astype(float)))
