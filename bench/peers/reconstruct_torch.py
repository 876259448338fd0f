#!/usr/bin/python3
"""The published block reconstruction (BRECQ, QDrop) written plainly in PyTorch, for the CIFAR ResNet-20 of ../shared/data:
the peer that bench_reconstruct.py times `slipway quantize --algorithm` against, and a second opinion on its accuracy.

Recipe: ../shared/QUANTIZATION.md section 2. Weights are asymmetric, per channel, with ranges from 80 shrinks by the
smallest |err|^2.4; rounding by the rectified sigmoid with Adam 1e-3, the regulariser from 20 % of the iterations on with
beta 20 -> 2; activations unsigned behind their ReLU with scales learned by Adam 4e-5 and a cosine; first and last layer 8 bits.

usage: reconstruct_torch.py [--method brecq|qdrop] [--bits W2A4] [--iterations 500] [--threads 2] [--eval] [--json]
                            [--blocks 0,1,4,7] [--weights asymmetric|symmetric] [--placement public|slipway]

--blocks: only these are learned (the others keep the nearest rounding), for timing. --placement slipway quantizes what the
platform x86-int8 does: the stem's output to the low bits, shortcuts again, the input of the last product to 8 bits.
"""
import argparse
import json
import os
import re
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DATA = os.path.join(ROOT, "..", "shared", "data")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GAMMA, ZETA = -0.1, 1.1


class RoundStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, g):
        return g


def fake_quantize(x, scale, zero, levels):
    codes = torch.clamp(RoundStraightThrough.apply(x / scale) + zero, 0, levels - 1)
    return (codes - zero) * scale


def search_range(x, bits, symmetric, power=2.4):
    """Scale and zero point of each row of x by 80 shrinks of its range."""
    levels = 2 ** bits
    lo, hi = x.min(1).values.clamp(max=0), x.max(1).values.clamp(min=0)
    best = torch.full_like(lo, float("inf"))
    scale, zero = torch.ones_like(lo), torch.zeros_like(lo)
    for step in range(80):
        a, b = lo * (1 - 0.01 * step), hi * (1 - 0.01 * step)
        if symmetric:  # codes -2^(bits-1) ..; its zero point is in the middle
            s = torch.maximum(b / (levels // 2 - 1), -a / (levels // 2)).clamp(min=1e-8)
            z = torch.full_like(s, levels // 2)
        else:
            s = ((b - a) / (levels - 1)).clamp(min=1e-8)
            z = torch.round(-a / s)
        q = fake_quantize(x, s[:, None], z[:, None], levels)
        error = (q - x).abs().pow(power).mean(1)
        better = error < best
        best = torch.where(better, error, best)
        scale, zero = torch.where(better, s, scale), torch.where(better, z, zero)
    return scale, zero


class Weights:
    def __init__(self, weight, bits, symmetric):
        rows = weight.reshape(weight.shape[0], -1)
        scale, zero = search_range(rows, bits, symmetric)
        shape = [-1] + [1] * (weight.dim() - 1)
        self.float, self.scale, self.zero, self.levels = weight, scale.reshape(shape), zero.reshape(shape), 2 ** bits
        self.floor = torch.floor(weight / self.scale)
        rest = weight / self.scale - self.floor
        self.alpha = -torch.log((ZETA - GAMMA) / (rest - GAMMA) - 1)
        self.mode = "float"

    def soft_targets(self):
        return torch.clamp(torch.sigmoid(self.alpha) * (ZETA - GAMMA) + GAMMA, 0, 1)

    def value(self):
        if self.mode == "float":
            return self.float
        if self.mode == "nearest":
            return fake_quantize(self.float, self.scale, self.zero, self.levels)
        up = self.soft_targets() if self.mode == "soft" else (self.alpha >= 0).float()
        return (torch.clamp(self.floor + up + self.zero, 0, self.levels - 1) - self.zero) * self.scale


class Activation:
    """Unsigned codes behind a ReLU."""

    def __init__(self, bits):
        self.levels, self.scale, self.on, self.drop = 2 ** bits, None, False, 0.0

    def __call__(self, x):
        if not self.on:
            return x
        if self.scale is None:
            scale, _ = search_range(x.detach().reshape(1, -1), int(np.log2(self.levels)), False)
            self.scale = scale[0].clone()
        q = fake_quantize(x, self.scale, 0, self.levels)
        return torch.where(torch.rand_like(x) < self.drop, x, q) if self.drop > 0 else q


class Layer:
    def __init__(self, weight, bias, bits, symmetric, stride=1):
        self.weights, self.bias, self.stride = Weights(weight, bits, symmetric), bias, stride

    def __call__(self, x):
        w = self.weights.value()
        if w.dim() == 2:
            return F.linear(x, w, self.bias)
        return F.conv2d(x, w, self.bias, self.stride, w.shape[2] // 2)


class Stem:
    def __init__(self, layer, act):
        self.layers, self.acts = [layer], [act]

    def __call__(self, x):
        return self.acts[0](F.relu(self.layers[0](x)))


class Residual:
    def __init__(self, first, second, acts, shortcut):
        self.layers, self.acts, self.shortcut = [first, second], acts[:2], shortcut
        if shortcut:
            self.acts.append(shortcut)

    def __call__(self, x):
        y = self.layers[1](self.acts[0](F.relu(self.layers[0](x))))
        if self.layers[0].stride == 2:
            x = x[:, :, ::2, ::2]
            pad = (y.shape[1] - x.shape[1]) // 2
            x = F.pad(x, (0, 0, 0, 0, pad, pad))
            if self.shortcut:
                x = self.shortcut(x)
        return self.acts[1](F.relu(y + x))


class Classifier:
    def __init__(self, layer, act):
        self.layers, self.acts = [layer], [act] if act else []

    def __call__(self, x):
        x = x.mean((2, 3))
        return self.layers[0](self.acts[0](x) if self.acts else x)


def load(bits_w, bits_a, symmetric, placement):
    graph = onnx.load(os.path.join(DATA, "models", "resnet20_cifar10.onnx")).graph
    constants = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in graph.initializer}
    layers = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        stride = next((a.ints[0] for a in node.attribute if a.name == "strides"), 1)
        layers.append((constants[node.input[1]], constants[node.input[2]], stride))
    ends = lambda i: 8 if i in (0, len(layers) - 1) else bits_w
    made = [Layer(w, b, ends(i), symmetric and ends(i) < 8, s) for i, (w, b, s) in enumerate(layers)]
    slipway = placement == "slipway"
    blocks = [Stem(made[0], Activation(bits_a if slipway else 8))]
    for i in range(1, len(made) - 1, 2):
        again = Activation(bits_a) if slipway and made[i].stride == 2 else None
        blocks.append(Residual(made[i], made[i + 1], [Activation(bits_a), Activation(bits_a)], again))
    blocks.append(Classifier(made[-1], Activation(8) if slipway else None))
    return blocks


def images(name, count=None):
    data = np.load(os.path.join(DATA, "cifar10", name))
    x = torch.tensor(data["images"][:count]).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(MEAN).reshape(1, 3, 1, 1)) / torch.tensor(STD).reshape(1, 3, 1, 1)
    return x.contiguous(), data["labels"][:count]


def set_state(block, weights, on):
    for layer in block.layers:
        layer.weights.mode = weights
    for act in block.acts:
        act.on = on


def run(block, x):
    with torch.no_grad():
        return torch.cat([block(part) for part in x.split(64)])


def learn(block, x, x_float, target, args, rounding, scales):
    """Seconds of the iterations."""
    alphas = [layer.weights.alpha.requires_grad_(True) for layer in block.layers] if rounding else []
    steps = [act.scale.requires_grad_(True) for act in block.acts if act.on] if scales else []
    iterations = args.iterations if rounding else max(1, args.iterations // 4)
    if rounding:
        set_state(block, "soft", block.acts[0].on if block.acts else False)
        rounding_adam = torch.optim.Adam(alphas, lr=1e-3)
    if steps:
        scale_adam = torch.optim.Adam(steps, lr=args.scale_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(scale_adam, T_max=iterations, eta_min=0.0)
    for act in block.acts:
        act.drop = args.drop if rounding and scales else 0.0
    warm_up = 0.2 * iterations
    start = time.perf_counter()
    for i in range(iterations):
        picked = torch.randperm(x.shape[0])[: args.batch]
        inputs = x[picked]
        if x_float is not None:
            inputs = torch.where(torch.rand_like(inputs) < args.drop, x_float[picked], inputs)
        if rounding:
            rounding_adam.zero_grad()
        if steps:
            scale_adam.zero_grad()
        loss = (block(inputs) - target[picked]).abs().pow(2.0).sum(1).mean()
        if rounding and i >= warm_up:
            beta = 2 + 18 * max(0.0, 1 - (i - warm_up) / (iterations - warm_up))
            for layer in block.layers:
                h = layer.weights.soft_targets()
                loss = loss + 0.01 * (1 - ((h - 0.5).abs() * 2).pow(beta)).sum()
        loss.backward()
        if rounding:
            rounding_adam.step()
        if steps:
            scale_adam.step()
            schedule.step()
    seconds = time.perf_counter() - start
    for act in block.acts:
        act.drop = 0.0
        if act.scale is not None:
            act.scale = act.scale.detach()
    if rounding:
        for a in alphas:
            a.requires_grad_(False)
        set_state(block, "hard", block.acts[0].on if block.acts else False)
    return seconds, iterations


def accuracy(blocks):
    x, labels = images("test.npz")
    for block in blocks:
        x = run(block, x)
    return float((x.argmax(1).numpy() == labels).mean())


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--method", default="brecq", choices=["brecq", "qdrop"])
    parser.add_argument("--bits", default="W2A4")
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale-rate", type=float, default=4e-5)
    parser.add_argument("--blocks", default="")
    parser.add_argument("--weights", default="asymmetric", choices=["asymmetric", "symmetric"])
    parser.add_argument("--placement", default="public", choices=["public", "slipway"])
    parser.add_argument("--eval", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    bits_w, bits_a = map(int, re.fullmatch(r"W(\d+)A(\d+)", args.bits).groups())
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.drop = 0.5 if args.method == "qdrop" else 0.0
    blocks = load(bits_w, bits_a, args.weights == "symmetric", args.placement)
    chosen = [int(b) for b in args.blocks.split(",")] if args.blocks else range(len(blocks))
    calibration, _ = images("train.npz", args.samples)
    report = {"method": args.method, "bits": args.bits, "threads": args.threads, "torch": torch.__version__, "blocks": []}

    def walk(rounding, scales, activations):
        x_float = x = calibration
        for index, block in enumerate(blocks):
            set_state(block, "float", False)
            target = run(block, x_float)
            set_state(block, "nearest" if rounding else "hard", activations)
            if not rounding and index not in chosen:
                set_state(block, "nearest", activations)
            if activations:
                with torch.no_grad():
                    block(x[:64])  # first scales
            if index in chosen and (rounding or block.acts):
                mixed = x_float if rounding and scales else None
                seconds, iterations = learn(block, x, mixed, target, args, rounding, scales)
                report["blocks"].append({"index": index, "layers": len(block.layers), "seconds": seconds,
                                         "iterations": iterations, "rounding": rounding})
            x_float, x = target, run(block, x)

    if args.method == "qdrop":
        walk(True, True, True)
    else:
        walk(True, False, False)
        walk(False, True, True)
    if args.eval:
        report["top1"] = accuracy(blocks)
    if args.json:
        print(json.dumps(report))
        return
    for b in report["blocks"]:
        what = "rounding" if b["rounding"] else "scales"
        print(f"block {b['index']:2d} ({b['layers']} layers) {what:8s} {b['iterations'] / b['seconds']:8.1f} iterations/s")
    if args.eval:
        print(f"top1 {100 * report['top1']:.2f} %")


if __name__ == "__main__":
    main()
