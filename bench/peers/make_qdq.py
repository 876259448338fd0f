#!/usr/bin/python3
"""Writes MODEL_int8.onnx beside each MODEL.onnx: int8 in QDQ form, as ONNX Runtime fuses it best.

Activations are uint8: zero point 0 behind a ReLU or ReLU6 (which then disappears into the range), 128 elsewhere.
Weights are int8, symmetric, per output channel; biases are int32 with scale s_x * s_w. Activation scales are fixed
numbers, not calibrated: these files serve speed tables and integer agreement, never accuracy. Debian's python3-onnx.

usage: make_qdq.py [--force] MODEL.onnx ...
"""
import os
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIGNED = ("slipway_signed", 0.05, 128)
UNSIGNED = ("slipway_unsigned", 0.0235294, 0)
WEIGHTED = ("Conv", "Gemm", "MatMul")
PASSING = ("Add", "GlobalAveragePool", "AveragePool", "MaxPool", "Concat")


class Rewriter:
    def __init__(self, model):
        self.model = model
        self.graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        constants = {node.output[0] for node in self.graph.node if node.op_type == "Constant"}
        # Shapes travel through Concat and Gather as int64: only float32 values may be quantized.
        inferred = onnx.shape_inference.infer_shapes(model).graph
        floats = {value.name for value in [*inferred.value_info, *inferred.input, *inferred.output]
                  if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
        self.quantizable = floats - constants - set(self.initializers)
        self.nodes, self.added = [], []
        self.activations, self.weights = {}, {}
        for name, scale, zero in (SIGNED, UNSIGNED):
            self.add(f"{name}_scale", np.float32(scale))
            self.add(f"{name}_zero", np.uint8(zero))
        self.find_clamps()

    def add(self, name, array):
        self.added.append(numpy_helper.from_array(np.asarray(array), name))

    def find_clamps(self):
        """ReLU and ReLU6 behind a Conv or Add with one reader: dropped, their value is unsigned from then on."""
        readers = {}
        for node in self.graph.node:
            for name in node.input:
                readers[name] = readers.get(name, 0) + 1
        producers = {name: node for node in self.graph.node for name in node.output}
        self.dropped, self.renamed, self.unsigned = set(), {}, set()
        for node in self.graph.node:
            if node.op_type not in ("Relu", "Clip"):
                continue
            producer = producers.get(node.input[0])
            if producer is not None and producer.op_type in ("Conv", "Add") and readers[node.input[0]] == 1:
                self.dropped.add(node.output[0])
                self.renamed[node.output[0]] = node.input[0]
                self.unsigned.add(node.input[0])

    def kind(self, name):
        return UNSIGNED if name in self.unsigned else SIGNED

    def activation(self, name):
        if name not in self.activations:
            kind = self.kind(name)[0]
            parameters = [f"{kind}_scale", f"{kind}_zero"]
            self.nodes.append(helper.make_node("QuantizeLinear", [name] + parameters, [f"{name}_q"],
                                               name=f"quantize_{name}"))
            self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q"] + parameters, [f"{name}_dq"],
                                               name=f"dequantize_{name}"))
            self.activations[name] = f"{name}_dq"
        return self.activations[name]

    def dequantized(self, name, values, scales, axis):
        self.add(f"{name}_q", values)
        self.add(f"{name}_scale", scales)
        self.add(f"{name}_zero", np.zeros(len(scales), values.dtype))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_scale", f"{name}_zero"],
                                           [f"{name}_dq"], name=f"dequantize_{name}", axis=axis))
        return f"{name}_dq"

    def weight(self, name, axis):
        if (name, axis) not in self.weights:
            values = numpy_helper.to_array(self.initializers[name]).astype(np.float32)
            others = tuple(i for i in range(values.ndim) if i != axis)
            scales = (np.maximum(np.abs(values).max(axis=others), 1e-8) / 127).astype(np.float32)
            shape = [1] * values.ndim
            shape[axis] = -1
            integers = np.clip(np.round(values / scales.reshape(shape)), -127, 127).astype(np.int8)
            self.weights[name, axis] = self.dequantized(f"{name}_axis{axis}", integers, scales, axis), scales
        return self.weights[name, axis]

    def weighted(self, node):
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        rank = len(self.initializers[node.input[1]].dims)
        axis = 0 if node.op_type == "Conv" or (node.op_type == "Gemm" and transposed) else rank - 1
        scale = self.kind(node.input[0])[1]
        node.input[0] = self.activation(node.input[0])
        name = node.input[1]
        node.input[1], scales = self.weight(name, axis)
        if len(node.input) > 2 and node.input[2] in self.initializers:
            bias = numpy_helper.to_array(self.initializers[node.input[2]])
            bias_scales = (scales * scale).astype(np.float32)
            integers = np.round(bias / bias_scales).astype(np.int32)
            node.input[2] = self.dequantized(f"{node.input[2]}_{node.output[0]}", integers, bias_scales, 0)

    def rewrite(self):
        for node in self.graph.node:
            if node.output[0] in self.dropped:
                continue
            for i, name in enumerate(node.input):
                node.input[i] = self.renamed.get(name, name)
            if node.op_type in WEIGHTED and node.input[1] in self.initializers:
                self.weighted(node)
            elif node.op_type in PASSING or node.op_type == "MatMul":
                for i, name in enumerate(node.input):
                    if name in self.quantizable:
                        node.input[i] = self.activation(name)
            self.nodes.append(node)
        for output in self.graph.output:
            output.name = self.renamed.get(output.name, output.name)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used] + self.added
        nodes = list(self.nodes)
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        return self.model


def main(arguments):
    force = "--force" in arguments
    paths = [path for path in arguments if path != "--force"]
    if not paths or paths[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    for path in paths:
        out = os.path.splitext(path)[0] + "_int8.onnx"
        if not os.path.exists(path):
            print(f"make_qdq.py: {path}: no such file; run scripts/models", file=sys.stderr)
            return 2
        if force or not os.path.exists(out):
            onnx.save(Rewriter(onnx.load(path)).rewrite(), out + ".partial")
            os.replace(out + ".partial", out)
            print(out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
