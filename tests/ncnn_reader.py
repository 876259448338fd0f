"""A second implementation of ncnn's .param and .bin for tests: reads a network and runs it with torch, layer by layer, as
ncnn's documentation says what each does (docs/developer-guide/operators.md and param-and-model-file-structure.md of
Tencent/ncnn). Written from that documentation alone, but for the order of gates and biases of recurrent layers, which is that
of src/layer/gru.cpp and lstm.cpp there; it knows nothing of Slipway.

A blob is a float32 tensor of one to four dimensions, outermost first: [w], [h, w], [c, h, w], [c, d, h, w].
"""
import numpy as np
import torch
import torch.nn.functional as F

MAGIC = "7767517"
ORDERS = {2: ["wh", "hw"],
          3: ["whc", "hwc", "wch", "cwh", "hcw", "chw"],
          4: ["whdc", "hwdc", "wdhc", "dwhc", "hdwc", "dhwc", "whcd", "hwcd", "wchd", "cwhd", "hcwd", "chwd", "wdch",
              "dwch", "wcdh", "cwdh", "dcwh", "cdwh", "hdcw", "dhcw", "hcdw", "chdw", "dchw", "cdhw"]}
NAMES = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}
UNARY = [torch.abs, torch.neg, torch.floor, torch.ceil, torch.square, torch.sqrt, torch.rsqrt, torch.exp, torch.log,
         torch.sin, torch.cos, torch.tan, torch.asin, torch.acos, torch.atan, torch.reciprocal, torch.tanh,
         torch.log10, torch.round, torch.trunc]
BINARY = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b, torch.maximum, torch.minimum,
          lambda a, b: a ** b, lambda a, b: b - a, lambda a, b: b / a]


class Params(dict):
    """id -> int, float or list; `get` with ncnn's default."""


class Bin:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count, kind):
        size = count * np.dtype(kind).itemsize
        if self.at + size > len(self.data):
            raise ValueError(f"the .bin ends at {len(self.data)}, a weight needs {self.at + size}")
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += (size + 3) // 4 * 4
        return values

    def raw(self, count):
        return torch.from_numpy(self.take(count, "<f4").astype(np.float32))

    def tagged(self, count):
        flag = int(self.take(1, "<u4")[0])
        if flag == 0:
            return self.raw(count)
        if flag == 0x01306B47:
            return torch.from_numpy(self.take(count, "<f2").astype(np.float32))
        if flag == 0x000D4B38:
            return torch.from_numpy(self.take(count, "i1").copy())
        raise ValueError(f"weight flag {flag:#x} is unknown")


def parse_value(text):
    return float(text) if any(c in text for c in ".eEn") else int(text)


def parse(path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    if lines[0] != MAGIC:
        raise ValueError("not a .param file")
    layer_count, blob_count = map(int, lines[1].split())
    layers, made, used, names = [], set(), set(), set()
    for line in lines[2:]:
        if not line:
            continue
        words = line.split()
        kind, name, bottoms, tops = words[0], words[1], int(words[2]), int(words[3])
        inputs, outputs = words[4:4 + bottoms], words[4 + bottoms:4 + bottoms + tops]
        params = Params()
        for word in words[4 + bottoms + tops:]:
            key, value = word.split("=")
            key = int(key)
            if key <= -23300:
                parts = value.split(",")
                params[-key - 23300] = [parse_value(p) for p in parts[1:]]
                assert len(parts) == int(parts[0]) + 1
            else:
                params[key] = parse_value(value)
        assert max(len(w) for w in words[:4 + bottoms + tops]) < 256, line
        assert name not in names, f"layer name {name} twice"
        names.add(name)
        for blob in inputs:
            assert blob in made, f"{name} reads {blob} before it is made"
            assert blob not in used, f"{blob} is read twice without a Split"
            used.add(blob)
        for blob in outputs:
            assert blob not in made, f"{blob} is made twice"
            made.add(blob)
        layers.append((kind, name, inputs, outputs, params))
    assert len(layers) == layer_count and len(made) == blob_count, "the counts of the header are wrong"
    return layers


def extent_params(p):
    """[c, d, h, w] of Input, MemoryData and Reshape; -233 or 0: not there."""
    return [p[i] for i in (2, 11, 1, 0) if p.get(i, -233) not in (-233, 0)]


def activate(x, p):
    kind, a = p.get(9, 0), p.get(10, [])
    if kind == 1:
        return F.relu(x)
    if kind == 2:
        return F.leaky_relu(x, a[0])
    if kind == 3:
        return x.clamp(a[0], a[1])
    if kind == 4:
        return torch.sigmoid(x)
    if kind == 5:
        return F.mish(x)
    if kind == 6:
        return x * (x * a[0] + a[1]).clamp(0, 1)
    assert kind == 0
    return x


def window(p, rank, pooling=False):
    """kernel, stride, dilation, pads before, pads behind; outermost first."""
    k, d, s, left, right = (1, None, 2, 3, 14) if pooling else (1, 2, 3, 4, 15)
    w = [(p[k], p.get(s, 1), p.get(d, 1) if d else 1, p.get(left, 0), p.get(right, p.get(left, 0)))]
    if rank > 1:
        top = 13 if pooling else 14
        bottom = 15 if pooling else 16
        t = p.get(top, p.get(left, 0))
        w.insert(0, (p.get(11, p[k]), p.get(12 if pooling else 13, p.get(s, 1)),
                     1 if pooling else p.get(12, p.get(2, 1)), t, p.get(bottom, t)))
    if rank > 2:
        f = p.get(23 if pooling else 24, p.get(left, 0))
        w.insert(0, (p.get(21, p[k]), p.get(22 if pooling else 23, p.get(s, 1)),
                     1 if pooling else p.get(22, p.get(2, 1)), f, p.get(16 if pooling else 17, f)))
    return [list(column) for column in zip(*w)]


def torch_pads(before, behind):
    out = []
    for b, e in zip(reversed(before), reversed(behind)):
        out += [b, e]
    return out


def to_int8(x, factor):
    """ncnn's float2int8: halves away from zero, [-127, 127]."""
    v = x * factor
    return (torch.sign(v) * torch.floor(torch.abs(v) + 0.5)).clamp(-127, 127)


def int8_operands(x, weights, p, bias_term):
    """Codes of the input and the weights as exact float64 integers, the factor of each output's sum, and the bias."""
    at = 2 if bias_term else 1
    factors, inputs = weights[at], weights[at + 1]
    assert weights[0].dtype == torch.int8 and len(inputs) == 1
    factors = factors.repeat_interleave(p[0] // len(factors))
    return to_int8(x, inputs[0]).double(), weights[0].double(), 1 / (inputs[0] * factors), weights[1] if bias_term else None


def convolution(kind, x, p, weights):
    rank = 1 if "1D" in kind else 3 if "3D" in kind else 2
    if x.dim() == rank:
        x = x.unsqueeze(0)
    kernel, stride, dilation, before, behind = window(p, rank)
    group = p.get(7, 1)
    conv = [None, F.conv1d, F.conv2d, F.conv3d][rank]
    if p.get(8, 0):
        x, codes, factors, bias = int8_operands(x, weights, p, p.get(5, 0))
        codes = codes.reshape([p[0], x.shape[0] // group] + kernel)
        x = F.pad(x, torch_pads(before, behind), value=0.0)
        y = conv(x.unsqueeze(0), codes, None, stride, 0, dilation, group)[0].float() * channels(factors, x)
        return activate(y + channels(bias, y) if bias is not None else y, p)
    weight = weights[0].reshape([p[0], x.shape[0] // group] + kernel)
    x = F.pad(x, torch_pads(before, behind), value=p.get(18, 0.0))
    y = conv(x.unsqueeze(0), weight, weights[1] if p.get(5, 0) else None, stride, 0, dilation, group)[0]
    return activate(y, p)


def deconvolution(kind, x, p, weights):
    rank = 1 if "1D" in kind else 3 if "3D" in kind else 2
    kernel, stride, dilation, before, behind = window(p, rank)
    group = p.get(7, 1)
    conv = [None, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][rank]
    # [group][out / group][in / group][kernel]
    weight = weights[0].reshape([group, p[0] // group, x.shape[0] // group] + kernel)
    weight = weight.transpose(1, 2).reshape([x.shape[0], p[0] // group] + kernel)
    more = [p.get(18 + i, 0) for i in range(rank)][::-1]
    full = conv(x.unsqueeze(0), weight, weights[1] if p.get(5, 0) else None, stride, 0, 0, group, dilation)[0]
    full = F.pad(full, torch_pads([0] * rank, more))
    if p.get(5, 0) and any(more):
        raise AssertionError("output padding with a bias is not modelled")
    for axis in range(rank):
        length = full.shape[axis + 1] - before[axis] - behind[axis]
        full = full.narrow(axis + 1, before[axis], length)
    return activate(full, p)


def pooling(kind, x, p):
    if p.get(4, 0):
        flat = x.reshape(x.shape[0], -1)
        return flat.mean(1) if p.get(0, 0) else flat.max(1).values
    rank = 1 if "1D" in kind else 3 if "3D" in kind else 2
    kernel, stride, _, before, behind = window(p, rank, True)
    tail = [0] * rank
    if p.get(5, 0) == 0:  # full: the last window may reach beyond
        for i in range(rank):
            rest = (x.shape[i + 1] + before[i] + behind[i] - kernel[i]) % stride[i]
            tail[i] = (stride[i] - rest) % stride[i]
    pads = torch_pads(before, [b + t for b, t in zip(behind, tail)])
    average = p.get(0, 0) == 1
    padded = F.pad(x, pads, value=0.0 if average else -torch.inf)
    for axis in range(rank):
        padded = padded.unfold(axis + 1, kernel[axis], stride[axis])
    dims = tuple(range(-rank, 0))
    if not average:
        return padded.amax(dims)
    total = padded.sum(dims)
    ones = torch.ones_like(x)
    inner = F.pad(ones, torch_pads(before, behind), value=1.0 if p.get(6, 0) else 0.0)
    counts = F.pad(inner, torch_pads([0] * rank, tail), value=0.0)
    for axis in range(rank):
        counts = counts.unfold(axis + 1, kernel[axis], stride[axis])
    return total / counts.sum(dims)


def broadcast(a, b):
    """ncnn lines up dimensions from the outermost on; only explicit ones are used here."""
    if a.numel() == 1 or b.numel() == 1 or a.dim() == b.dim():
        return a, b
    raise AssertionError("implicit broadcasting")


def interp(x, p):
    size = (p[3], p[4])
    mode = {1: "nearest", 2: "bilinear", 3: "bicubic"}[p[0]]
    if mode == "nearest":
        rows = [min(int(y / p.get(1, 1.0)), x.shape[1] - 1) for y in range(size[0])]
        columns = [min(int(c / p.get(2, 1.0)), x.shape[2] - 1) for c in range(size[1])]
        return x[:, rows][:, :, columns]
    return F.interpolate(x.unsqueeze(0), size, mode=mode, align_corners=bool(p.get(6, 0)))[0]


def reduction(x, p):
    assert p.get(1, 1) == 0 and p.get(5, 0) == 1
    axes, keep = p[3], bool(p.get(4, 0))
    x = x * p.get(2, 1.0)
    op = p.get(0, 0)
    if op == 0:
        return x.sum(axes, keepdim=keep)
    if op in (1, 7):
        return x.abs().sum(axes, keepdim=keep)
    if op == 2:
        return (x * x).sum(axes, keepdim=keep)
    if op == 3:
        return x.mean(axes, keepdim=keep)
    if op == 4:
        return x.amax(axes, keepdim=keep)
    if op == 5:
        return x.amin(axes, keepdim=keep)
    if op == 6:
        for axis in sorted(axes, reverse=True):
            x = x.prod(axis, keepdim=keep)
        return x
    if op == 8:
        return (x * x).sum(axes, keepdim=keep).sqrt()
    raise AssertionError(f"reduction {op}")


def permute(x, p):
    order = ORDERS[x.dim()][p.get(0, 0)]
    old = NAMES[x.dim()]
    return x.permute([old.index(letter) for letter in reversed(order)]).contiguous()


def lrn(x, p):
    size = p.get(1, 5)
    square = F.pad((x * x).unsqueeze(0), (0, 0, 0, 0, size // 2, size // 2))[0]
    total = square.unfold(0, size, 1).sum(-1)
    return x * (p.get(4, 1.0) + p.get(2, 1.0) / size * total) ** -p.get(3, 0.75)


def normalise(x, dims, eps):
    mean = x.mean(dims, keepdim=True)
    variance = ((x - mean) ** 2).mean(dims, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


def channels(v, x):
    return v.reshape([-1] + [1] * (x.dim() - 1))


# Gates R U N and I F O G, and rows of their biases: the new gate of a GRU has one of the input and one of the state.
GATES, BIASES = {"RNN": 1, "GRU": 3, "LSTM": 4}, {"RNN": 1, "GRU": 4, "LSTM": 4}


def recurrent(kind, inputs, p, weights):
    """[time, features], the states [directions, hidden] if given -> [time, directions * hidden] and the states at the end."""
    x, hidden, direction = inputs[0], p[0], p.get(2, 0)
    both = 2 if direction == 2 else 1
    w, r = (t.reshape(both, GATES[kind], hidden, -1) for t in (weights[0], weights[2]))
    b = weights[1].reshape(both, BIASES[kind], hidden)
    h = inputs[1].clone() if len(inputs) > 1 else torch.zeros(both, hidden)
    c = inputs[2].clone() if len(inputs) > 2 else torch.zeros(both, hidden)
    out = torch.zeros(x.shape[0], both, hidden)
    for d in range(both):
        backwards = direction == 1 or d == 1
        for t in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
            from_x, from_h = w[d] @ x[t], r[d] @ h[d]
            if kind == "RNN":
                h[d] = torch.tanh(b[d, 0] + from_x[0] + from_h[0])
            elif kind == "GRU":
                reset, update = torch.sigmoid(b[d, :2] + from_x[:2] + from_h[:2])
                new = torch.tanh(b[d, 2] + from_x[2] + reset * (b[d, 3] + from_h[2]))
                h[d] = (1 - update) * new + update * h[d]
            else:
                gates = b[d] + from_x + from_h
                take, keep, give = torch.sigmoid(gates[:3])
                c[d] = keep * c[d] + take * torch.tanh(gates[3])
                h[d] = give * torch.tanh(c[d])
            out[t, d] = h[d]
    return [out.reshape(x.shape[0], -1), h, c]


def read_weights(kind, p, bin_file):
    if kind.startswith(("Convolution", "Deconvolution")):
        weights = [bin_file.tagged(p[6])] + ([bin_file.raw(p[0])] if p.get(5, 0) else [])
        if p.get(8, 0):  # 1: of each group, 2: of each output (of depthwise ones: one for all)
            depthwise = "DepthWise" in kind
            count = (p.get(7, 1) if p[8] == 1 else 1) if depthwise else p[0]
            weights += [bin_file.raw(count), bin_file.raw(1)]
        return weights
    if kind == "InnerProduct":
        weights = [bin_file.tagged(p[2])] + ([bin_file.raw(p[0])] if p.get(1, 0) else [])
        return weights + ([bin_file.raw(p[0]), bin_file.raw(1)] if p.get(8, 0) else [])
    if kind in GATES:
        both = 2 if p.get(2, 0) == 2 else 1
        return [bin_file.tagged(count) for count in (p[1], both * BIASES[kind] * p[0], both * GATES[kind] * p[0] * p[0])]
    if kind == "BatchNorm":
        return [bin_file.raw(p[0]) for _ in range(4)]
    if kind == "LayerNorm":
        return [bin_file.raw(p[0]) for _ in range(2)] if p.get(2, 1) else []
    if kind == "RMSNorm":
        return [bin_file.raw(p[0])] if p.get(2, 1) else []
    if kind == "GroupNorm":
        return [bin_file.raw(p[1]) for _ in range(2)] if p.get(3, 1) else []
    if kind == "InstanceNorm":
        return [bin_file.raw(p[0]) for _ in range(2)] if p.get(2, 1) else []
    if kind == "PReLU":
        return [bin_file.raw(p[0])]
    if kind == "MemoryData":
        dims = extent_params(p)
        return [bin_file.raw(int(np.prod(dims))).reshape(dims)]
    return []


def run_layer(kind, inputs, p, weights):
    x = inputs[0] if inputs else None
    if kind == "MemoryData":
        return [weights[0]]
    if kind == "Split":
        return None
    if kind == "Noop":
        return [x]
    if kind.startswith("Convolution"):
        return [convolution(kind, x, p, weights)]
    if kind.startswith("Deconvolution"):
        return [deconvolution(kind, x, p, weights)]
    if kind.startswith("Pooling"):
        return [pooling(kind, x, p)]
    if kind in GATES:
        return recurrent(kind, inputs, p, weights)
    if kind == "InnerProduct":
        weight = weights[0].reshape(p[0], -1)
        flat = x if x.dim() == 2 and x.shape[1] == weight.shape[1] else x.reshape(-1)
        if p.get(8, 0):
            flat, codes, factors, bias = int8_operands(flat, weights, p, p.get(1, 0))
            y = (flat @ codes.reshape(p[0], -1).T).float() * factors
            return [activate(y + bias if bias is not None else y, p)]
        y = flat @ weight.T
        return [activate(y + weights[1] if p.get(1, 0) else y, p)]
    if kind == "MatMul":
        assert inputs[0].dim() == inputs[1].dim()
        return [x @ (inputs[1].transpose(-1, -2) if p.get(0, 0) else inputs[1])]
    if kind == "BinaryOp":
        b = torch.tensor(p.get(2, 0.0)) if p.get(1, 0) else inputs[1]
        return [BINARY[p.get(0, 0)](*broadcast(x, b))]
    if kind == "UnaryOp":
        return [UNARY[p.get(0, 0)](x)]
    if kind == "ReLU":
        return [F.leaky_relu(x, p.get(0, 0.0))]
    if kind == "Clip":
        return [x.clamp(p.get(0, -3.4e38), p.get(1, 3.4e38))]
    if kind == "Sigmoid":
        return [torch.sigmoid(x)]
    if kind == "TanH":
        return [torch.tanh(x)]
    if kind == "HardSigmoid":
        return [(x * p.get(0, 0.2) + p.get(1, 0.5)).clamp(0, 1)]
    if kind == "HardSwish":
        return [x * (x * p.get(0, 0.2) + p.get(1, 0.5)).clamp(0, 1)]
    if kind == "Swish":
        return [x * torch.sigmoid(x)]
    if kind == "GELU":
        return [F.gelu(x) if not p.get(0, 0) else
                0.5 * x * (1 + torch.tanh(0.79788452 * (x + 0.044715 * x * x * x)))]
    if kind == "ELU":
        return [torch.where(x < 0, (torch.exp(x) - 1) * p.get(0, 0.1), x)]
    if kind == "CELU":
        return [F.celu(x, p.get(0, 1.0))]
    if kind == "SELU":
        a, scale = p.get(0, 1.67326324), p.get(1, 1.050700987)
        return [torch.where(x < 0, (torch.exp(x) - 1) * a * scale, x * scale)]
    if kind == "Softplus":
        return [torch.log1p(torch.exp(x))]
    if kind == "Mish":
        return [F.mish(x)]
    if kind == "PReLU":
        return [torch.where(x < 0, x * (weights[0] if len(weights[0]) == 1 else channels(weights[0], x)), x)]
    if kind == "Concat":
        return [torch.cat(inputs, p.get(0, 0))]
    if kind == "Slice":
        return list(torch.split(x, p[0], p.get(1, 0)))
    if kind == "Crop":
        for start, end, axis in zip(p[9], p[10], p[11]):
            x = x.narrow(axis, start, end - start)
        return [x]
    if kind == "Reshape":
        assert not p.get(3, 0)
        return [x.reshape(extent_params(p))]
    if kind == "Permute":
        return [permute(x, p)]
    if kind == "Padding":
        pads = [p.get(2, 0), p.get(3, 0), p.get(0, 0), p.get(1, 0), p.get(7, 0), p.get(8, 0)][:2 * x.dim()]
        if p.get(4, 0) == 0:
            return [F.pad(x, pads, value=p.get(5, 0.0))]
        assert not any(pads[4:])
        return [F.pad(x.unsqueeze(0), pads[:4], mode={1: "replicate", 2: "reflect"}[p[4]])[0]]
    if kind == "Interp":
        return [interp(x, p)]
    if kind == "PixelShuffle":
        r, mode = p.get(0, 1), p.get(1, 0)
        c = x.shape[0] // (r * r)
        if mode == 0:  # channels: outc, sh, sw
            y = x.reshape(c, r, r, x.shape[1], x.shape[2]).permute(0, 3, 1, 4, 2)
        else:
            y = x.reshape(r, r, c, x.shape[1], x.shape[2]).permute(2, 3, 0, 4, 1)
        return [y.reshape(c, x.shape[1] * r, x.shape[2] * r)]
    if kind == "Reorg":
        r, mode = p.get(0, 1), p.get(1, 0)
        y = x.reshape(x.shape[0], x.shape[1] // r, r, x.shape[2] // r, r)
        y = y.permute(0, 2, 4, 1, 3) if mode == 0 else y.permute(2, 4, 0, 1, 3)
        return [y.reshape(x.shape[0] * r * r, x.shape[1] // r, x.shape[2] // r)]
    if kind == "Softmax":
        assert p.get(1, 0) == 1 and x.dim() < 4
        return [torch.softmax(x, p.get(0, 0))]
    if kind == "Reduction":
        return [reduction(x, p)]
    if kind == "LRN":
        return [lrn(x, p)]
    if kind == "BatchNorm":
        slope, mean, variance, bias = (channels(w, x) for w in weights)
        return [(x - mean) / (variance + p.get(1, 0.0)).sqrt() * slope + bias]
    if kind == "LayerNorm":
        assert x.dim() < 3 and x.shape[-1] == p[0]
        return [normalise(x, (-1,), p.get(1, 0.001)) * weights[0] + weights[1]]
    if kind == "RMSNorm":
        assert x.dim() < 3 and x.shape[-1] == p[0]
        return [x / ((x * x).mean(-1, keepdim=True) + p.get(1, 0.001)).sqrt() * weights[0]]
    if kind == "InstanceNorm":
        y = normalise(x, tuple(range(1, x.dim())), p.get(1, 0.001))
        return [y * channels(weights[0], x) + channels(weights[1], x)]
    if kind == "GroupNorm":
        y = normalise(x.reshape(p.get(0, 1), -1), (-1,), p.get(2, 0.001)).reshape(x.shape)
        return [y * channels(weights[0], x) + channels(weights[1], x)]
    raise AssertionError(f"no layer {kind}")


class Net:
    def __init__(self, param_path):
        self.layers = parse(param_path)
        with open(param_path[:-len(".param")] + ".bin", "rb") as file:
            bin_file = Bin(file.read())
        self.weights = [read_weights(kind, p, bin_file) for kind, _, _, _, p in self.layers]
        if bin_file.at != len(bin_file.data):
            raise ValueError(f"{len(bin_file.data) - bin_file.at} bytes of the .bin belong to no layer")

    def run(self, inputs):
        """Arrays without the batch by blob name; gives all blobs that nobody read."""
        blobs = {}
        with torch.no_grad():
            for (kind, name, bottoms, tops, p), weights in zip(self.layers, self.weights):
                if kind == "Input":
                    blob = torch.from_numpy(np.ascontiguousarray(inputs[tops[0]]))
                    assert list(blob.shape) == extent_params(p), f"input {name}: {list(blob.shape)}"
                    blobs[tops[0]] = blob
                    continue
                taken = [blobs.pop(b) for b in bottoms]
                try:
                    made = taken * len(tops) if kind == "Split" else run_layer(kind, taken, p, weights)
                except Exception as error:
                    raise RuntimeError(f"{kind} layer {name} of {[list(t.shape) for t in taken]}, {dict(p)}: {error}"
                                       ) from error
                made = made[:len(tops)] if kind in GATES else made  # states at the end, if wanted
                assert len(made) == len(tops), name
                for blob, value in zip(tops, made):
                    assert 1 <= value.dim() <= 4, f"{name}: {value.dim()} dimensions"
                    blobs[blob] = value
        return {name: value.numpy() for name, value in blobs.items()}
