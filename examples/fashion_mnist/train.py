#!/usr/bin/python3
"""Trains a small residual network on Fashion-MNIST and writes it as ONNX.

Needs Debian's python3-torch, python3-onnx and dataset-fashion-mnist (`scripts/setup core learn`). The network sees the
60000 training images only; the 10000 test images are used once, at the end, to report the accuracy. The weights that
are exported are a running average over the last part of the training.

usage: train.py [-o resnet_fashion.onnx] [--data FOLDER] [--epochs N] [--threads N] [--seed N]
"""
import argparse
import copy
import gzip
import os
import struct
import sys
import time
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional

# The same numbers as in preprocess.yaml: mean and deviation of the training pixels after scaling to 0..1.
SCALE, MEAN, STD = 1 / 255, 0.2860, 0.3530


def read_idx(path):
    """One IDX file (http://yann.lecun.com/exdb/mnist/), gzipped or not, as an array of uint8."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        data = file.read()
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if zero != 0 or kind != 8 or not 1 <= rank <= 4:
        raise ValueError(f"{path}: not an IDX file of bytes")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load(folder, part):
    def find(stem):
        for ending in ("", ".gz"):
            path = os.path.join(folder, f"{part}-{stem}-ubyte{ending}")
            if os.path.exists(path):
                return read_idx(path)
        raise FileNotFoundError(f"{folder}: no {part}-{stem}-ubyte(.gz); install dataset-fashion-mnist or use --data")

    images = torch.from_numpy(find("images-idx3").astype(np.float32)).unsqueeze(1)
    return (images * SCALE - MEAN) / STD, torch.from_numpy(find("labels-idx1").astype(np.int64))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.skip(x))


class ResNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 64, 2), Block(64, 64, 1))
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        x = self.body(self.stem(x))
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def augment(images, generator):
    """Random horizontal flip and a shift of up to two pixels, by image."""
    count = images.shape[0]
    flip = torch.rand(count, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = functional.pad(images, (2, 2, 2, 2), value=-MEAN / STD)
    dy = torch.randint(0, 5, (count, 1, 1), generator=generator)
    dx = torch.randint(0, 5, (count, 1, 1), generator=generator)
    span = torch.arange(28)
    rows, columns = dy + span[None, :, None], dx + span[None, None, :]
    return padded[torch.arange(count)[:, None, None], 0, rows, columns].unsqueeze(1)


@torch.no_grad()
def accuracy(model, images, labels):
    model.eval()
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(500), labels.split(500)))
    return right / len(labels)


def train(images, labels, epochs, batch, seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = ResNet().to(memory_format=torch.channels_last)
    steps = epochs * (len(images) // batch)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": others}],
                                lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, steps, pct_start=0.2)
    average, step, begin = None, 0, time.time()
    for epoch in range(epochs):
        model.train()
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for at in range(0, len(images) - batch + 1, batch):
            pick = order[at : at + batch]
            inputs = augment(images[pick], generator).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(model(inputs), labels[pick], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total, step = total + float(loss), step + 1
            if step > steps * 0.7 and step % 8 == 0:
                average = average_of(average, model)
        print(f"epoch {epoch + 1:2}/{epochs}  loss {total / (len(images) // batch):.4f}  "
              f"{time.time() - begin:.0f} s", flush=True)
    return average.eval().to(memory_format=torch.contiguous_format)


@torch.no_grad()
def average_of(average, model, keep=0.98):
    if average is None:
        return copy.deepcopy(model)
    for mean, now in zip(average.state_dict().values(), model.state_dict().values()):
        if mean.dtype.is_floating_point:
            mean.mul_(keep).add_(now, alpha=1 - keep)
        else:
            mean.copy_(now)
    return average


def run(doc, name, make, opset):
    """The command line of this script and its siblings: `make`(images, labels, epochs, batch, seed) gives the network, which is
    written as `name` unless -o says otherwise and tested once. Returns the exit code."""
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("-o", "--output", default=os.path.join(here, name))
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        images, labels = load(options.data, "train")
        test_images, test_labels = load(options.data, "t10k")
    except (OSError, ValueError) as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return 2
    model = make(images, labels, options.epochs, options.batch, options.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a GRU, that a variable batch needs initial states as inputs
        torch.onnx.export(model, torch.zeros(1, 1, 28, 28), options.output, opset_version=opset, input_names=["input"],
                          output_names=["output"], dynamic_axes={"input": {0: "N"}, "output": {0: "N"}})
    print(f"top-1 on the {len(test_labels)} test images: {accuracy(model, test_images, test_labels):.4f}")
    print(f"{options.output}: {os.path.getsize(options.output)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(run(__doc__, "resnet_fashion.onnx", train, opset=13))
