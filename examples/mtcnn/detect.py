#!/usr/bin/python3
"""Finds faces in a photo with the first two networks of MTCNN (Zhang et al., 2016, https://arxiv.org/abs/1604.02878), compiled from Caffe:
det1 slides over a pyramid of the photo, det2 refines what it proposes. Needs python3-opencv and python3-numpy.

usage: detect.py PHOTO --models FOLDER [--slipway BINARY] [--platform P] [-o boxes.png]
FOLDER holds det1.prototxt, det1.caffemodel, det2.prototxt, det2.caffemodel."""
import argparse
import os
import subprocess
import tempfile

import cv2
import numpy as np

SMALLEST = 40  # pixels of the smallest face looked for
FACTOR = 0.709  # between the pyramid's levels
SURE = 0.97  # of det2: high, because the cascade's third network, which drops hands and the like, is not here
BATCH = 32  # windows that det2 sees at once


class Network:
    """One package per extent of the input, made when first needed."""

    def __init__(self, arguments, name, folder):
        self.a, self.name, self.folder = arguments, name, folder

    def __call__(self, x):
        shape = ",".join(map(str, x.shape))
        package = os.path.join(self.folder, f"{self.name}_{shape}.slip")
        if not os.path.exists(package):
            self.call("compile", os.path.join(self.a.models, self.name + ".prototxt"), "--shape", "data=" + shape, "--platform", self.a.platform,
                      "-o", package)
        np.save(os.path.join(self.folder, "in.npy"), np.ascontiguousarray(x, dtype=np.float32))
        out = os.path.join(self.folder, "out")
        self.call("run", package, "--input", "data=" + os.path.join(self.folder, "in.npy"), "-o", out)
        return lambda blob: np.load(os.path.join(out, blob + ".npy"))

    def call(self, *arguments):
        subprocess.run([self.a.slipway, *arguments], check=True, stdout=subprocess.DEVNULL)


def prepare(image):
    """The networks were trained on column-major RGB: height and width change places."""
    return (image.astype(np.float32).transpose(2, 1, 0) - 127.5) / 128


def suppress(boxes, overlap):
    """Non-maximum suppression of rows x1 y1 x2 y2 score ...: the rows kept, best first."""
    order, kept = list(np.argsort(-boxes[:, 4])), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while order:
        best, order = order[0], np.array(order[1:], dtype=int)
        kept.append(best)
        low, high = np.maximum(boxes[order, :2], boxes[best, :2]), np.minimum(boxes[order, 2:4], boxes[best, 2:4])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        order = list(order[common <= overlap * (area[order] + area[best] - common)])
    return boxes[kept]


def refine(boxes):
    """Moves the corners by the regression in columns 5..8, which counts in the box's size."""
    size = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
    return np.hstack([boxes[:, :4] + boxes[:, 5:9] * size, boxes[:, 4:5]])


def square(boxes):
    middle, side = (boxes[:, :2] + boxes[:, 2:4]) / 2, (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, keepdims=True)
    return np.hstack([middle - side / 2, middle + side / 2, boxes[:, 4:]])


def propose(net, image):
    height, width = image.shape[:2]
    scale, found = 12 / SMALLEST, []
    while min(height, width) * scale >= 12:
        level = cv2.resize(image, (int(np.ceil(width * scale)), int(np.ceil(height * scale))), interpolation=cv2.INTER_AREA)
        out = net(prepare(level)[None])
        score, move = out("prob1")[0, 1], out("conv4-2")[0]
        x, y = np.nonzero(score > 0.6)
        if len(x):
            corner = np.stack([x, y], 1) * 2
            boxes = np.hstack([(corner + 1) / scale, (corner + 12) / scale, score[x, y][:, None], move[:, x, y].T])
            found.append(suppress(boxes, 0.5))
        scale *= FACTOR
    return square(refine(suppress(np.vstack(found), 0.7))) if found else np.zeros((0, 5))


def confirm(net, image, boxes):
    height, width = image.shape[:2]
    windows = []
    for x1, y1, x2, y2 in np.round(boxes[:, :4]).astype(int):
        patch = np.zeros((max(y2 - y1, 1), max(x2 - x1, 1), 3), np.uint8)
        a, b, c, d = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if c > a and d > b:
            patch[b - y1:d - y1, a - x1:c - x1] = image[b:d, a:c]
        windows.append(prepare(cv2.resize(patch, (24, 24), interpolation=cv2.INTER_AREA)))
    rows = []
    for i in range(0, len(windows), BATCH):
        batch = np.zeros((BATCH, 3, 24, 24), np.float32)
        part = windows[i:i + BATCH]
        batch[:len(part)] = part
        out = net(batch)
        rows.append(np.hstack([boxes[i:i + len(part), :4], out("prob1")[:len(part), 1:2], out("conv5-2")[:len(part)]]))
    found = np.vstack(rows)
    found = found[found[:, 4] > SURE]
    return suppress(refine(suppress(found, 0.7)), 0.4) if len(found) else found[:, :5]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo")
    parser.add_argument("--models", required=True)
    parser.add_argument("--slipway", default="build/release/slipway")
    parser.add_argument("--platform", default="x86")
    parser.add_argument("-o", "--output")
    a = parser.parse_args()
    photo = cv2.imread(a.photo)
    if photo is None:
        parser.error(f"'{a.photo}' is no image that OpenCV reads")
    image = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
    with tempfile.TemporaryDirectory() as folder:
        boxes = propose(Network(a, "det1", folder), image)
        if len(boxes):
            boxes = confirm(Network(a, "det2", folder), image, boxes)
    for x1, y1, x2, y2, score in boxes[:, :5]:
        print(f"face {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f} score {score:.3f}")
        cv2.rectangle(photo, (int(x1), int(y1)), (int(x2), int(y2)), (0, 255, 0), 2)
    print(f"{len(boxes)} faces")
    if a.output:
        cv2.imwrite(a.output, photo)


if __name__ == "__main__":
    main()
