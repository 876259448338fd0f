"""Writes small ONNX models byte by byte (protobuf wire format, fields of onnx.proto3), so that tests need no package."""
import random
import struct

FLOAT, UINT8, INT8, INT32, INT64, BOOL = 1, 2, 3, 6, 7, 9
PACK = {FLOAT: "f", UINT8: "B", INT8: "b", INT32: "i", INT64: "q", BOOL: "?"}


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def integer(field, value):
    return varint(field << 3) + varint(value)


def blob(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor(name, dims, values, dtype=FLOAT):
    """A TensorProto with raw_data."""
    raw = struct.pack(f"<{len(values)}{PACK[dtype]}", *values)
    return b"".join(integer(1, d) for d in dims) + integer(2, dtype) + blob(8, name) + blob(9, raw)


def value_info(name, dims, dtype=FLOAT):
    """Text among dims is a symbolic dimension."""
    shape = b"".join(blob(1, blob(2, d) if isinstance(d, str) else integer(1, d)) for d in dims)
    return blob(1, name) + blob(2, blob(1, integer(1, dtype) + blob(2, shape)))


def attribute(name, value):
    if isinstance(value, float):
        return blob(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + integer(20, 1)
    if isinstance(value, int):
        return blob(1, name) + integer(3, value) + integer(20, 2)
    if isinstance(value, (str, bytes)):
        return blob(1, name) + blob(4, value) + integer(20, 3)
    return blob(1, name) + b"".join(integer(8, v) for v in value) + integer(20, 7)


def node(op, inputs, outputs, name="", domain="", **attributes):
    return (b"".join(blob(1, i) for i in inputs) + b"".join(blob(2, o) for o in outputs) + blob(3, name) + blob(4, op) +
            b"".join(blob(5, attribute(k, v)) for k, v in attributes.items()) + (blob(7, domain) if domain else b""))


def model(nodes, inputs, outputs, initializers=(), opset=17, ir_version=8, name="test"):
    graph = (b"".join(blob(1, n) for n in nodes) + blob(2, name) + b"".join(blob(5, t) for t in initializers) +
             b"".join(blob(11, i) for i in inputs) + b"".join(blob(12, o) for o in outputs))
    return integer(1, ir_version) + blob(2, "slipway-tests") + blob(7, graph) + blob(8, blob(1, "") + integer(2, opset))


class Net:
    """A model under construction: every method appends one node and returns its output's name."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.nodes, self.initializers, self.count = [], [], 0

    def weight(self, dims, scale=None, values=None):
        n = 1
        for d in dims:
            n *= d
        fan_in = max(1, n // dims[0]) if len(dims) > 1 else 1
        scale = scale if scale is not None else (2.0 / fan_in) ** 0.5
        name = f"w{len(self.initializers)}"
        self.initializers.append(tensor(name, dims, values or [self.random.gauss(0, scale) for _ in range(n)]))
        return name

    def ints(self, values):
        name = f"i{len(self.initializers)}"
        self.initializers.append(tensor(name, [len(values)], values, INT64))
        return name

    def op(self, op, *inputs, **attributes):
        self.count += 1
        out = f"t{self.count}"
        self.nodes.append(node(op, inputs, [out], f"{op.lower()}{self.count}", **attributes))
        return out

    def conv(self, x, cin, cout, k=3, stride=1, group=1):
        w = self.weight([cout, cin // group, k, k])
        b = self.weight([cout], 0.1)
        return self.op("Conv", x, w, b, kernel_shape=[k, k], strides=[stride, stride], pads=[k // 2] * 4, group=group)

    def finish(self, x, in_dims, out_dims, **options):
        self.nodes.append(node("Identity", [x], ["y"], "last"))
        return model(self.nodes, [value_info("x", in_dims)], [value_info("y", out_dims)], self.initializers, **options)


def tiny_cnn(classes=4, batch="N", seed=1, opset=17):
    """float32[N, 1, 8, 8] -> float32[N, classes]: stem, a residual block, a strided depthwise block, pooling, Gemm."""
    net = Net(seed)
    x = net.op("Relu", net.conv("x", 1, 8))
    y = net.op("Relu", net.conv(x, 8, 8))
    x = net.op("Relu", net.op("Add", net.conv(y, 8, 8), x))
    x = net.op("Relu", net.conv(x, 8, 8, stride=2, group=8))
    x = net.op("Relu", net.conv(x, 8, 16, k=1))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    x = net.op("Gemm", x, net.weight([classes, 16]), net.weight([classes], 0.1), transB=1)
    return net.finish(x, [batch, 1, 8, 8], [batch, classes], opset=opset)


def tiny_transformer(batch="N", seed=2, opset=17):
    """float32[N, 6, 16] -> float32[N, 6, 16]: LayerNorm, two-head attention and a GELU MLP in their pieces."""
    net = Net(seed)

    def layernorm(x):
        mean = net.op("ReduceMean", x, axes=[-1], keepdims=1)
        centred = net.op("Sub", x, mean)
        variance = net.op("ReduceMean", net.op("Mul", centred, centred), axes=[-1], keepdims=1)
        deviation = net.op("Sqrt", net.op("Add", variance, net.weight([], values=[1e-5])))
        scaled = net.op("Mul", net.op("Div", centred, deviation), net.weight([16], 1.0))
        return net.op("Add", scaled, net.weight([16], 0.1))

    def linear(x, cin, cout):
        return net.op("Add", net.op("MatMul", x, net.weight([cin, cout], cin ** -0.5)), net.weight([cout], 0.1))

    def heads(x, perm):
        return net.op("Transpose", net.op("Reshape", x, net.ints([0, 6, 2, 8])), perm=perm)

    h = layernorm("x")
    q, k, v = linear(h, 16, 16), linear(h, 16, 16), linear(h, 16, 16)
    scores = net.op("MatMul", heads(q, [0, 2, 1, 3]), heads(k, [0, 2, 3, 1]))
    scores = net.op("Softmax", net.op("Mul", scores, net.weight([], values=[8 ** -0.5])), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", scores, heads(v, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    x = net.op("Add", "x", linear(net.op("Reshape", mixed, net.ints([0, 6, 16])), 16, 16))
    h = linear(layernorm(x), 16, 32)
    erf = net.op("Erf", net.op("Div", h, net.weight([], values=[2 ** 0.5])))
    gelu = net.op("Mul", net.op("Mul", h, net.op("Add", erf, net.weight([], values=[1.0]))), net.weight([], values=[0.5]))
    x = net.op("Add", x, linear(gelu, 32, 16))
    return net.finish(x, [batch, 6, 16], [batch, 6, 16], opset=opset)


def tiny_mixed(batch=2, seed=3, opset=17):
    """float32[2, 4, 6, 6] -> float32[2, 12]: what the two others lack: batch norm, pads, pools, concat, slices, resize."""
    net = Net(seed)
    x = net.conv("x", 4, 6)
    x = net.op("BatchNormalization", x, net.weight([6], 1.0), net.weight([6], 0.2), net.weight([6], 0.3),
               net.weight([6], values=[0.5, 0.7, 1.1, 1.3, 0.9, 2.0]))
    a = net.op("MaxPool", net.op("HardSwish", x), kernel_shape=[2, 2], strides=[2, 2])
    b = net.op("AveragePool", net.op("LeakyRelu", x, alpha=0.2), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = net.op("Concat", a, b, axis=1)
    x = net.op("Slice", x, net.ints([1]), net.ints([9]), net.ints([1]), net.ints([2]))
    x = net.op("Resize", x, "", net.weight([4], values=[1.0, 1.0, 2.0, 2.0]), mode="nearest",
               coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    x = net.op("Sigmoid", net.op("Pad", x, net.ints([0, 0, 1, 1, 0, 0, 1, 1])))
    x = net.op("ReduceMean", net.op("Transpose", x, perm=[0, 2, 3, 1]), axes=[1], keepdims=0)
    x = net.op("Flatten", net.op("Clip", x, net.weight([], values=[0.1]), net.weight([], values=[0.9])))
    x = net.op("MatMul", x, net.weight([32, 12], 0.2))
    return net.finish(net.op("Tanh", x), [batch, 4, 6, 6], [batch, 12], opset=opset)
