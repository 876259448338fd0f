#!/usr/bin/python3
"""Times convolutions of one and two bits against eight bits, layer by layer on the shapes of ResNet-18, and a whole
ResNet-18 of binary weights against its float and int8 forms. The models are written here (QONNX: BipolarQuant and
Quant); their weights are random, so that they say how fast and not how well.

Layers run alternately in rounds, each form in a process of its own; what counts is the time of the convolution's step
alone (`slipway bench --profile`), packing of the input included. A row's ratio is the median over rounds of (time at
eight bits / time at few bits): above 1 few bits are faster. Before each round it waits until nobody else uses the machine.
Raw samples go to out/bench/.

usage: bench_bits.py [--rounds 5] [--threads 1] [--networks] [--docs docs/models.md] [--models OUT_DIR]

--models only writes the models. --networks also times the networks. Exit code: 0 all timed, 1 a model failed, 2 wrong usage.
"""
import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench_peers import ROOT, Failure, Weather, cpu_name, quartiles, slipway_json, wait_for_idle, write_docs

QONNX = "qonnx.custom_op.general"
FORMS = ("w1a1", "w1a2", "w2a2", "int8")
# channels, outputs, size, stride, kernel
LAYERS = [(64, 64, 56, 1, 3), (64, 128, 56, 2, 3), (128, 128, 28, 1, 3), (128, 256, 28, 2, 3), (256, 256, 14, 1, 3),
          (256, 512, 14, 2, 3), (512, 512, 7, 1, 3), (64, 128, 56, 2, 1), (128, 256, 28, 2, 1), (256, 512, 14, 2, 1)]


class Model:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def constant(self, array):
        self.count += 1
        name = f"c{self.count}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op, inputs, domain="", **attributes):
        self.count += 1
        name = f"v{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{self.count}", domain=domain, **attributes))
        return name

    def quantize(self, x, bits, signed, scale):
        """bits 1: two levels around 0."""
        if bits == 1:
            return self.node("BipolarQuant", [x, self.constant(np.float32(scale))], QONNX)
        return self.node("Quant", [x, self.constant(np.float32(scale)), self.constant(np.float32(0)),
                                   self.constant(np.float32(bits))], QONNX, signed=int(signed), narrow=0,
                         rounding_mode="ROUND")

    def conv(self, x, form, c, o, stride, kernel):
        """A convolution whose input is quantized already, `form` saying how its weights are."""
        w = self.constant((self.random.standard_normal((o, c, kernel, kernel)) * 0.1).astype(np.float32))
        if form != "float":
            w = self.quantize(w, 8 if form == "int8" else int(form[1]), True, 0.1 if form != "int8" else 0.004)
        bias = self.constant((self.random.standard_normal(o) * 0.1).astype(np.float32))
        return self.node("Conv", [x, w, bias], kernel_shape=[kernel, kernel], strides=[stride, stride],
                         pads=[kernel // 2] * 4)

    def save(self, path, x_shape, output, y_shape):
        graph = helper.make_graph(self.nodes, os.path.splitext(os.path.basename(path))[0],
                                  [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
                                  [helper.make_tensor_value_info(output, TensorProto.FLOAT, y_shape)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)])
        model.ir_version = 8
        onnx.save(model, path)
        return path


def activation_bits(form):
    return 8 if form == "int8" else int(form[3])


def layer(folder, form, c, o, size, stride, kernel):
    m = Model(c + o)
    x = m.quantize("x", activation_bits(form), activation_bits(form) == 1, 1.0 if form != "int8" else 0.02)
    # Codes of eight bits come out of every form, so that all write as much.
    y = m.quantize(m.conv(x, form, c, o, stride, kernel), 8, True, 0.1)
    out = size // stride
    return m.save(os.path.join(folder, f"c{c}o{o}s{size}k{kernel}_{form}.onnx"), [1, c, size, size], y, [1, o, out, out])


def resnet18(folder, form):
    """Residual sums and normalisation in float around each quantized convolution, as Bi-Real Net (arXiv:1808.00278) has
    them; stem and classifier as in XNOR-Net in float (int8: everything in eight bits)."""
    m = Model(18)
    first = form if form in ("float", "int8") else "float"

    def unit(x, c, o, stride, kernel=3):
        bits = None if form == "float" else activation_bits(form)
        q = x if bits is None else m.quantize(x, bits, bits == 1, 0.5 if bits < 8 else 0.05)
        return m.conv(q, form, c, o, stride, kernel)

    x = "x" if form != "int8" else m.quantize("x", 8, True, 0.02)
    x = m.node("Relu", [m.conv(x, first, 3, 64, 2, 7)])
    x = m.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    c = 64
    for o in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if o > 64 and block == 0 else 1
            short = x if c == o else unit(x, c, o, stride, 1)
            y = m.node("Relu", [unit(x, c, o, stride)])
            x = m.node("Relu", [m.node("Add", [unit(y, o, o, 1), short])])
            c = o
    x = m.node("Flatten", [m.node("GlobalAveragePool", [x])])
    w = m.constant((m.random.standard_normal((512, 1000)) * 0.05).astype(np.float32))
    return m.save(os.path.join(folder, f"resnet18_{form}.onnx"), [1, 3, 224, 224], m.node("MatMul", [x, w]), [1, 1000])


def conv_ms(options, model, kernel):
    """Time of the convolution's step in one process."""
    report = slipway_json(options, "bench", model, "--platform", "x86-int8", "--threads", str(options.threads), "--profile",
                          "--seconds", str(options.seconds), "--no-record")
    found = [n for n in report["nodes"] if n["op"] == "slipway.QConv"]
    if len(found) != 1:
        raise Failure(f"{os.path.basename(model)}: {len(found)} integer convolutions: {[n['op'] for n in report['nodes']]}")
    if not found[0]["kernel"].startswith(kernel):
        raise Failure(f"{os.path.basename(model)} ran on {found[0]['backend']} {found[0]['kernel']}")
    return found[0]["ms"]


def rounds(options, names, measure):
    """{name: [ms a round]}, all names in each round; what others used at most before a round began."""
    samples = {name: [] for name in names}
    idle = True
    for _ in range(options.rounds):
        idle &= wait_for_idle(60, 0.1) is not None
        for name in names:
            samples[name].append(measure(name))
    return samples, idle


def ratio_cell(over, under):
    ratios = [a / b for a, b in zip(over, under)]
    low, high = quartiles(ratios)
    return f"{statistics.median(ratios):.2f} ± {(high - low) / 2:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.3, help="of measuring a form and round (default 0.3)")
    parser.add_argument("--networks", action="store_true")
    parser.add_argument("--docs", metavar="FILE")
    parser.add_argument("--models", metavar="OUT_DIR")
    parser.add_argument("--slipway", default=os.path.join(ROOT, "build", "release", "slipway"))
    parser.add_argument("--timeout", type=float, default=300)
    options = parser.parse_args()
    folder = options.models or tempfile.mkdtemp(prefix="slipway-bits-")
    os.makedirs(folder, exist_ok=True)
    paths = {(form, shape): layer(folder, form, *shape) for shape in LAYERS for form in FORMS}
    networks = {form: resnet18(folder, form) for form in ("float", "int8", "w1a2", "w1a1")}
    if options.models:
        print(f"{len(paths) + len(networks)} models in {folder}")
        return 0
    raw, lines, failed, always_idle = [], [], 0, True
    title = ["layer", "int8 ms", "W1A1 ms", "W1A1 gain", "W1A2 gain", "W2A2 gain"]
    lines += ["| " + " | ".join(title) + " |", "|---|" + "---:|" * (len(title) - 1)]
    print("  ".join(f"{t:>14}" for t in title), flush=True)
    for shape in LAYERS:
        c, o, size, stride, kernel = shape
        name = f"{kernel}×{kernel}, {c}→{o}, {size}×{size}" + (" / 2" if stride == 2 else "")
        try:
            samples, idle = rounds(options, FORMS, lambda form: conv_ms(options, paths[form, shape], ""))
        except Failure as failure:
            failed += 1
            print(f"{name}: {failure}", file=sys.stderr)
            continue
        always_idle &= idle
        cells = [name, f"{statistics.median(samples['int8']):.3f}", f"{statistics.median(samples['w1a1']):.3f}"]
        cells += [ratio_cell(samples["int8"], samples[form]) for form in FORMS[:3]]
        raw.append({"layer": name, "samples_ms": samples, "idle": idle})
        lines.append("| " + " | ".join(cells) + " |")
        print("  ".join(f"{cell:>14}" for cell in cells), flush=True)
    if options.networks:
        def whole(form):
            return slipway_json(options, "bench", networks[form], "--platform", "x86" if form == "float" else "x86-int8",
                                "--threads", str(options.threads), "--seconds", str(options.seconds * 3),
                                "--no-record")["p50_ms"]
        samples, idle = rounds(options, list(networks), whole)
        always_idle &= idle
        raw.append({"network": "resnet18", "samples_ms": samples, "idle": idle})
        lines += ["", "| ResNet-18 | ms | float / it |", "|---|---:|---:|"]
        for form in networks:
            cells = [form, f"{statistics.median(samples[form]):.2f}", ratio_cell(samples["float"], samples[form])]
            lines.append("| " + " | ".join(cells) + " |")
            print("  ".join(f"{cell:>14}" for cell in ["resnet18"] + cells), flush=True)
    when = datetime.datetime.now()
    os.makedirs(os.path.join(ROOT, "out", "bench"), exist_ok=True)
    path = os.path.join(ROOT, "out", "bench", f"bits-{when:%Y%m%d-%H%M%S}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"when": f"{when:%Y-%m-%d %H:%M}", "cpu": cpu_name(), "threads": options.threads, "rows": raw}, file)
    print(f"raw samples: {os.path.relpath(path, ROOT)}" + ("" if always_idle else " (the machine was not always idle)"))
    if options.docs:
        head = (f"{when:%Y-%m-%d}, {cpu_name()}, {options.threads} thread{'s' if options.threads > 1 else ''}, platform "
                f"`x86-int8`. Gain: the time of the same convolution at eight bits / its time, median over {options.rounds} "
                "rounds ± half the quartile distance.")
        write_docs(options.docs, "bits", "\n".join([head, ""] + lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
