#!/usr/bin/python3
"""Writes ONNX backend test cases: random one-operator models with the outputs that ONNX Runtime gives them.

  tests/make_operator_cases.py -o DIR [--seed N] [--count N] [OPERATOR ...]
  SLIPWAY_CONFORMANCE_DATA=DIR build/release/test_onnx --gtest_filter='Conformance.*'
  build/release/slipway conformance DIR --platform reference

Needs ONNX Runtime (scripts/setup dev) and Python's onnx and numpy. Cases that ONNX Runtime refuses are listed and left out.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

from operator_generators import MORE

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
ORT = os.path.join(ROOT, "bench", "peers", "ort.mjs")


def recurrent(rng, op):
    steps, batch, size, hidden = (int(v) for v in rng.integers(1, 7, 4))
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    direction = rng.choice(["forward", "reverse", "bidirectional"])
    dirs = 2 if direction == "bidirectional" else 1
    each = {"RNN": 1, "GRU": 2, "LSTM": 3}[op]
    attributes = {"hidden_size": hidden, "direction": str(direction)}
    if rng.random() < 0.4:
        attributes["clip"] = float(rng.uniform(0.2, 1))
    if rng.random() < 0.4:
        names = ["Tanh", "Sigmoid", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu",
                 "Softsign", "Softplus"]
        chosen = [str(n) for n in rng.choice(names, each * dirs)]
        attributes["activations"] = chosen
        takes = {"Affine": (1, 1), "LeakyRelu": (1, 0), "ThresholdedRelu": (1, 0), "ScaledTanh": (1, 1),
                 "HardSigmoid": (1, 1), "Elu": (1, 0)}
        alphas = sum(takes.get(n, (0, 0))[0] for n in chosen)
        betas = sum(takes.get(n, (0, 0))[1] for n in chosen)
        attributes["activation_alpha"] = [float(v) for v in rng.uniform(0.1, 0.9, alphas)]
        attributes["activation_beta"] = [float(v) for v in rng.uniform(0.1, 0.9, betas)]
        attributes = {k: v for k, v in attributes.items() if not (isinstance(v, list) and not v)}
    if op == "GRU" and rng.random() < 0.5:
        attributes["linear_before_reset"] = 1
    if op == "LSTM" and rng.random() < 0.3:
        attributes["input_forget"] = 1

    def noise(*shape):
        return rng.uniform(-0.8, 0.8, shape).astype(np.float32)

    inputs = [noise(steps, batch, size), noise(dirs, gates * hidden, size), noise(dirs, gates * hidden, hidden)]
    inputs.append(noise(dirs, 2 * gates * hidden) if rng.random() < 0.7 else None)
    inputs.append(rng.integers(1, steps + 1, batch).astype(np.int32) if rng.random() < 0.5 else None)
    inputs.append(noise(dirs, batch, hidden) if rng.random() < 0.6 else None)
    if op == "LSTM":
        inputs.append(noise(dirs, batch, hidden) if rng.random() < 0.6 else None)
        inputs.append(noise(dirs, 3 * hidden) if rng.random() < 0.5 else None)
    return inputs, attributes, 3 if op == "LSTM" else 2, 14


def einsum(rng, _):
    equation, shapes = [("ij,jk->ik", [(3, 4), (4, 5)]), ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
                        ("...ij,...jk->...ik", [(2, 5, 3, 4), (2, 5, 4, 2)]), ("ii->i", [(4, 4)]), ("ij->ji", [(3, 5)]),
                        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]), ("i,j->ij", [(3,), (70,)]),
                        ("ab,bc,cd->ad", [(3, 4), (4, 5), (5, 2)]), ("ij,jk", [(3, 4), (4, 5)]), ("ij->", [(3, 4)]),
                        ("bij,bkj,bk->bi", [(2, 3, 4), (2, 5, 4), (2, 5)]), ("abc,cb->a", [(2, 3, 4), (4, 3)])][
                            int(rng.integers(0, 12))]
    return [rng.standard_normal(s).astype(np.float32) for s in shapes], {"equation": equation}, 1, 12


def grid_sample(rng, _):
    mode = str(rng.choice(["linear", "nearest", "cubic"]))
    spatial = 3 if mode != "cubic" and rng.random() < 0.3 else 2
    shape = [2, 3] + [int(v) for v in rng.integers(1, 6, spatial)]
    grid = [2] + [int(v) for v in rng.integers(1, 5, spatial)] + [spatial]
    return [rng.standard_normal(shape).astype(np.float32), rng.uniform(-1.6, 1.6, grid).astype(np.float32)], {
        "mode": mode, "padding_mode": str(rng.choice(["zeros", "border", "reflection"])),
        "align_corners": int(rng.integers(0, 2))}, 1, 20


def affine_grid(rng, _):
    spatial = int(rng.integers(2, 4))
    size = np.array([2, 3] + [int(v) for v in rng.integers(2, 6, spatial)], np.int64)
    return [rng.standard_normal((2, spatial, spatial + 1)).astype(np.float32), size], {
        "align_corners": int(rng.integers(0, 2))}, 1, 20


def roi_align(rng, _):
    corners = rng.uniform(-2, 9, (4, 2))
    rois = np.concatenate([corners, corners + rng.uniform(0.5, 9, (4, 2))], 1).astype(np.float32)
    return [rng.standard_normal((2, 3, 8, 9)).astype(np.float32), rois, rng.integers(0, 2, 4).astype(np.int64)], {
        "output_height": 3, "output_width": 2, "sampling_ratio": int(rng.integers(0, 3)), "spatial_scale": 0.7,
        "mode": str(rng.choice(["avg", "avg", "max"])),
        "coordinate_transformation_mode": str(rng.choice(["half_pixel", "output_half_pixel"]))}, 1, 16


def max_roi_pool(rng, _):
    corners = rng.integers(0, 7, (4, 2))
    rois = np.concatenate([rng.integers(0, 2, (4, 1)), corners, corners + rng.integers(0, 9, (4, 2))], 1)
    return [rng.standard_normal((2, 3, 8, 9)).astype(np.float32), rois.astype(np.float32)], {
        "pooled_shape": [3, 2], "spatial_scale": 0.5}, 1, 17


def deform_conv(rng, _):
    groups, offset_groups = int(rng.choice([1, 2])), int(rng.choice([1, 2]))
    x = rng.standard_normal((2, 4, 7, 6)).astype(np.float32)
    w = rng.standard_normal((6, 4 // groups, 3, 2)).astype(np.float32)
    stride, pad = int(rng.integers(1, 3)), int(rng.integers(0, 2))
    oh, ow = (7 + 2 * pad - 3) // stride + 1, (6 + 2 * pad - 2) // stride + 1
    offset = rng.uniform(-1.5, 1.5, (2, offset_groups * 12, oh, ow)).astype(np.float32)
    return [x, w, offset, rng.standard_normal(6).astype(np.float32) if rng.random() < 0.5 else None,
            rng.uniform(0, 1, (2, offset_groups * 6, oh, ow)).astype(np.float32) if rng.random() < 0.5 else None], {
                "kernel_shape": [3, 2], "strides": [stride] * 2, "pads": [pad] * 4, "group": groups,
                "offset_group": offset_groups}, 1, 19


def col2im(rng, _):
    image, block, stride, pad = [6, 7], [2, 3], int(rng.integers(1, 3)), int(rng.integers(0, 2))
    columns = 1
    for i, b in zip(image, block):
        columns *= (i + 2 * pad - b) // stride + 1
    return [rng.standard_normal((2, 3 * 6, columns)).astype(np.float32), np.array(image, np.int64),
            np.array(block, np.int64)], {"strides": [stride] * 2, "pads": [pad] * 4}, 1, 18


def elementwise(rng, op):
    x = rng.uniform(1.01, 3, (3, 4)) if op == "Acosh" else rng.uniform(-0.98, 0.98, (3, 4))
    return [x.astype(np.float32)], {}, 1, 17


def special(rng, op):
    x = rng.standard_normal((3, 4)).astype(np.float32)
    x[0] = [np.nan, np.inf, -np.inf, 0]
    attributes = {} if op == "IsNaN" else {"detect_negative": int(rng.integers(0, 2)),
                                            "detect_positive": int(rng.integers(0, 2))}
    return [x], attributes, 1, 13


def shrink(rng, _):
    return [rng.standard_normal((3, 5)).astype(np.float32)], {"bias": 0.25, "lambd": 0.6}, 1, 9


def hardmax(rng, _):
    return [rng.standard_normal((3, 4, 5)).astype(np.float32)], {"axis": int(rng.integers(-3, 3))}, 1, int(
        rng.choice([11, 13]))


def lp_pool(rng, op):
    x = rng.standard_normal((2, 3, 7, 8)).astype(np.float32)
    if op == "GlobalLpPool":
        return [x], {"p": int(rng.integers(1, 4))}, 1, 17
    return [x], {"p": int(rng.integers(1, 4)), "kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}, 1, 17


def max_unpool(rng, _):
    x = rng.standard_normal((1, 2, 2, 2)).astype(np.float32)
    indices = np.stack([rng.permutation(16)[:4] + 16 * c for c in range(2)]).reshape(1, 2, 2, 2).astype(np.int64)
    return [x, indices], {"kernel_shape": [2, 2], "strides": [2, 2]}, 1, 11


def scatter_elements(rng, _):
    axis = int(rng.integers(-2, 2))
    indices = rng.permuted(np.tile(np.arange(4), (4, 1)), axis=1)
    indices = (indices if axis % 2 else indices.T).astype(np.int64)
    indices = np.ascontiguousarray(indices)
    indices[0, 0] -= 4
    return [rng.standard_normal((4, 4)).astype(np.float32), indices, rng.standard_normal((4, 4)).astype(np.float32)], {
        "axis": axis, "reduction": str(rng.choice(["none", "add", "mul", "max", "min"]))}, 1, 18


def tensor_scatter(rng, _):
    mode = str(rng.choice(["linear", "circular"]))
    first = rng.integers(0, 6 if mode == "circular" else 4, 2).astype(np.int64)
    return [rng.standard_normal((2, 3, 6, 2)).astype(np.float32), rng.standard_normal((2, 3, 2, 2)).astype(np.float32),
            first], {"mode": mode}, 1, 24


def reverse_sequence(rng, _):
    axis = int(rng.integers(0, 2))
    x = rng.standard_normal((4, 5, 2)).astype(np.float32)
    return [x, rng.integers(1, x.shape[1 - axis] + 1, x.shape[axis]).astype(np.int64)], {
        "batch_axis": axis, "time_axis": 1 - axis}, 1, 10


def center_crop_pad(rng, _):
    return [rng.standard_normal((5, 6, 3)).astype(np.float32), rng.integers(1, 9, 2).astype(np.int64)], {
        "axes": [0, -2]}, 1, 18


def eye_like(rng, _):
    return [np.zeros((4, 5), np.int32)], {"k": int(rng.integers(-5, 6)), "dtype": int(rng.choice([1, 7, 11]))}, 1, 9


def det(rng, _):
    return [rng.standard_normal((2, 3, 4, 4)).astype(np.float32)], {}, 1, 11


def loss(rng, op):
    shape = [(3, 5), (3, 5, 2), (2, 4, 3, 2)][int(rng.integers(0, 3))]
    target = rng.integers(0, shape[1], shape[:1] + shape[2:]).astype(np.int64)
    attributes = {"reduction": str(rng.choice(["none", "sum", "mean"]))}
    if rng.random() < 0.5:
        attributes["ignore_index"] = int(target.flat[0])
    inputs = [rng.standard_normal(shape).astype(np.float32), target]
    if rng.random() < 0.5:
        inputs.append(rng.uniform(0.1, 2, shape[1]).astype(np.float32))
    return inputs, attributes, 2 if op.startswith("Soft") else 1, 13


def dft(rng, _):
    n = int(rng.choice([4, 5, 7, 8, 12, 16, 31]))
    parts = int(rng.choice([1, 2]))
    inverse = int(parts == 2 and rng.random() < 0.5)
    onesided = int(parts == 1 and rng.random() < 0.5)
    length = None if rng.random() < 0.5 else np.array(int(rng.integers(3, 20)), np.int64)
    return [rng.standard_normal((2, n, 3, parts)).astype(np.float32), length, np.array(1, np.int64)], {
        "inverse": inverse, "onesided": onesided}, 1, 20


def stft(rng, _):
    n = int(rng.choice([4, 6, 8, 15]))
    return [rng.standard_normal((2, 40, 1)).astype(np.float32), np.array(int(rng.integers(1, 6)), np.int64),
            rng.uniform(0, 1, n).astype(np.float32), np.array(n, np.int64)], {"onesided": int(rng.integers(0, 2))}, 1, 17


def window(rng, _):
    return [np.array(int(rng.integers(2, 20)), np.int64)], {"periodic": int(rng.integers(0, 2))}, 1, 17


def mel(rng, _):
    return [np.array(int(rng.integers(2, 20)), np.int64), np.array(int(rng.choice([64, 400, 512])), np.int64),
            np.array(16000, np.int64), np.array(float(rng.uniform(0, 300)), np.float32),
            np.array(float(rng.uniform(3000, 8000)), np.float32)], {}, 1, 17


def rotary(rng, _):
    flat, ids, partial = rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.4
    turned = 4 if partial else 8
    cache = (16, turned // 2) if ids else (2, 5, turned // 2)
    inputs = [rng.standard_normal((2, 5, 24) if flat else (2, 3, 5, 8)).astype(np.float32),
              rng.standard_normal(cache).astype(np.float32), rng.standard_normal(cache).astype(np.float32)]
    if ids:
        inputs.append(rng.integers(0, 16, (2, 5)).astype(np.int64))
    attributes = {"interleaved": int(rng.integers(0, 2))}
    if partial:
        attributes["rotary_embedding_dim"] = turned
    if flat or partial:
        attributes["num_heads"] = 3
    return inputs, attributes, 1, 23


def attention(rng, _):
    kv, repeat = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    flat = rng.random() < 0.4
    batch, queries, keys, size, v_size, past = 2, 3, 4, 8, 6, int(rng.integers(0, 4))

    def noise(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    if flat:
        inputs = [noise(batch, queries, kv * repeat * size), noise(batch, keys, kv * size), noise(batch, keys, kv * v_size)]
        attributes = {"q_num_heads": kv * repeat, "kv_num_heads": kv}
    else:
        inputs = [noise(batch, kv * repeat, queries, size), noise(batch, kv, keys, size), noise(batch, kv, keys, v_size)]
        attributes = {}
    total = keys + past
    if rng.random() < 0.5:
        inputs.append(rng.random((queries, total)) < 0.8 if rng.random() < 0.4 else noise(batch, 1, queries, total))
        if inputs[-1].dtype == bool:
            inputs[-1][:, 0] = True
    else:
        inputs.append(None)
    if past:
        inputs += [noise(batch, kv, past, size), noise(batch, kv, past, v_size)]
    if rng.random() < 0.4:
        attributes["is_causal"] = 1
    if rng.random() < 0.3:
        attributes["softcap"] = 1.5
    if rng.random() < 0.3:
        attributes["scale"] = 0.3
    outputs = 3 if past else 1
    if past and rng.random() < 0.5:
        outputs = 4
        attributes["qk_matmul_output_mode"] = int(rng.integers(0, 4))
    opset = 23
    if not past and rng.random() < 0.5:
        inputs += [None, None, rng.integers(queries, keys + 1, batch).astype(np.int64)]
        opset = 24
    return inputs, attributes, outputs, opset


def upsample(rng, _):
    return [rng.standard_normal((1, 2, 3, 4)).astype(np.float32), np.array([1, 1, 2, 1.5], np.float32)], {
        "mode": str(rng.choice(["nearest", "linear"]))}, 1, 9


def cumulative(rng, _):
    return [rng.standard_normal((3, 4)).astype(np.float32), np.array(int(rng.integers(-2, 2)), np.int64)], {
        "exclusive": int(rng.integers(0, 2)), "reverse": int(rng.integers(0, 2))}, 1, 26


def mvn(rng, _):
    return [rng.standard_normal((2, 3, 4, 5)).astype(np.float32)], {}, 1, 13


def tfidf(rng, _):
    return [rng.integers(0, 5, (3, 9)).astype(np.int32)], {
        "max_gram_length": 2, "max_skip_count": int(rng.integers(0, 4)), "min_gram_length": int(rng.integers(1, 3)),
        "mode": str(rng.choice(["TF", "IDF", "TFIDF"])), "ngram_counts": [0, 3], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6],
        "pool_int64s": [1, 2, 3, 1, 2, 2, 2, 3, 0, 4, 4], "weights": [0.5, 1.0, 2.0, 0.25, 1.5, 3.0, 0.1]}, 1, 9


def nms(rng, _):
    corners = rng.uniform(0, 1, (2, 12, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.8, (2, 12, 2))], 2).astype(np.float32)
    inputs = [boxes, rng.uniform(0, 1, (2, 3, 12)).astype(np.float32), np.array([int(rng.integers(1, 6))], np.int64),
              np.array([float(rng.uniform(0.1, 0.8))], np.float32)]
    if rng.random() < 0.6:
        inputs.append(np.array([0.3], np.float32))
    return inputs, {"center_point_box": int(rng.integers(0, 2))}, 1, 11


def unique(rng, _):
    attributes = {"sorted": int(rng.integers(0, 2))}
    if rng.random() < 0.6:
        attributes["axis"] = int(rng.integers(-2, 2))
    return [rng.integers(0, 3, (5, 3)).astype(np.float32)], attributes, 4, 11


OPERATORS = {
    "RNN": recurrent, "GRU": recurrent, "LSTM": recurrent, "Einsum": einsum, "GridSample": grid_sample,
    "AffineGrid": affine_grid, "RoiAlign": roi_align, "MaxRoiPool": max_roi_pool, "DeformConv": deform_conv,
    "Col2Im": col2im, "IsNaN": special, "IsInf": special, "Shrink": shrink, "Hardmax": hardmax, "LpPool": lp_pool,
    "GlobalLpPool": lp_pool, "MaxUnpool": max_unpool, "ScatterElements": scatter_elements,
    "TensorScatter": tensor_scatter, "ReverseSequence": reverse_sequence, "CenterCropPad": center_crop_pad,
    "EyeLike": eye_like, "Det": det, "NegativeLogLikelihoodLoss": loss, "SoftmaxCrossEntropyLoss": loss, "DFT": dft,
    "STFT": stft, "HannWindow": window, "HammingWindow": window, "BlackmanWindow": window, "MelWeightMatrix": mel,
    "RotaryEmbedding": rotary, "Attention": attention, "Upsample": upsample, "CumProd": cumulative,
    "MeanVarianceNormalization": mvn, "TfIdfVectorizer": tfidf, "NonMaxSuppression": nms, "Unique": unique,
    **MORE,
    **{op: elementwise for op in ("Acos", "Asin", "Atan", "Acosh", "Asinh", "Atanh", "Cosh", "Sinh", "Tan")},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=8, help="cases of each operator")
    parser.add_argument("operators", nargs="*")
    options = parser.parse_args()
    unknown = [op for op in options.operators if op not in OPERATORS]
    if unknown:
        parser.error(f"no generator for {', '.join(unknown)}; there are {', '.join(sorted(OPERATORS))}")
    runtime = subprocess.Popen(["node", ORT, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def ask(**request):
        runtime.stdin.write(json.dumps(request) + "\n")
        runtime.stdin.flush()
        line = runtime.stdout.readline()
        if not line:
            print("make_operator_cases: ONNX Runtime ended; is it installed (scripts/setup dev)?", file=sys.stderr)
            sys.exit(3)
        return json.loads(line)

    made, refused = 0, {}
    for op in options.operators or OPERATORS:
        for i in range(options.count):
            rng = np.random.default_rng([options.seed, i, *op.encode()])
            arrays, attributes, outputs, opset = OPERATORS[op](rng, op)
            arrays = [None if a is None else np.asarray(a) for a in arrays]
            names = ["" if a is None else f"x{k}" for k, a in enumerate(arrays)]
            results = [f"y{k}" for k in range(outputs)]
            nodes = attributes if isinstance(attributes, list) else [helper.make_node(op, names, results, name="n", **attributes)]
            infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype)
                                                   if hasattr(helper, "np_dtype_to_tensor_dtype") else
                                                   onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[a.dtype], a.shape)
                     for n, a in zip(names, arrays) if n]
            graph = helper.make_graph(nodes, "g", infos, [onnx.ValueInfoProto(name=r) for r in results])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
            model.ir_version = 8
            with tempfile.TemporaryDirectory() as work:
                path = os.path.join(work, "model.onnx")
                onnx.save(model, path)
                files = {}
                for n, a in zip(names, arrays):
                    if n:
                        files[n] = os.path.join(work, n + ".npy")
                        np.save(files[n], a)
                answer = ask(op="load", id="a", model=path, threads=1, optimize="disabled")
                if answer["ok"]:
                    answer = ask(op="run", id="a", inputs=files, output_dir=os.path.join(work, "out"))
                    ask(op="unload", id="a")
                if not answer["ok"]:
                    refused.setdefault(op, answer["error"].split("\n")[0][:160])
                    continue
                folder = os.path.join(options.output, f"test_{op.lower()}_{options.seed}_{i}")
                shutil.rmtree(folder, ignore_errors=True)
                data = os.path.join(folder, "test_data_set_0")
                os.makedirs(data)
                shutil.copy(path, folder)
                present = [(n, a) for n, a in zip(names, arrays) if n]
                for kind, values in (("input", present),
                                     ("output", [(r, np.load(answer["outputs"][r])) for r in results])):
                    for k, (n, a) in enumerate(values):
                        with open(os.path.join(data, f"{kind}_{k}.pb"), "wb") as file:
                            file.write(numpy_helper.from_array(np.asarray(a), n).SerializeToString())
                made += 1
    runtime.stdin.close()
    for op, error in refused.items():
        print(f"refused {op}: {error}")
    print(f"{made} cases in {options.output}")


if __name__ == "__main__":
    main()
