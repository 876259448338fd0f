#!/usr/bin/python3
"""Writes eleven well-known ImageNet topologies as ONNX files with random weights, for agreement and speed tests.

Weights come from a fixed seed and BatchNorm statistics are made realistic, so that every machine with the same
torch writes the same networks. Needs Debian's python3-torch, python3-torchvision and python3-onnx.

usage: export_topologies.py OUT_DIR [NAME ...]
"""
import os
import sys
import warnings

TOPOLOGIES = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "squeezenet1_1",
    "vit_b_16",
    "regnet_x_400mf",
    "shufflenet_v2_x1_0",
    "densenet121",
    "swin_t",
)
OPSET = 13


def build(name):
    import torch
    import torchvision.models

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model, torch.randn(1, 3, 224, 224)


def export(name, path):
    """Exports to a temporary name first, so that an interrupted run leaves no half file behind."""
    import torch

    model, example = build(name)
    partial = path + ".partial"
    torch.onnx.export(model, example, partial, opset_version=OPSET, input_names=["input"],
                      output_names=["output"])
    os.replace(partial, path)


def main(arguments):
    if not arguments or arguments[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder, names = arguments[0], arguments[1:] or TOPOLOGIES
    unknown = [name for name in names if name not in TOPOLOGIES]
    if unknown:
        print(f"export_topologies.py: unknown topology {unknown[0]!r}; one of: {', '.join(TOPOLOGIES)}",
              file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore")
    os.makedirs(folder, exist_ok=True)
    for name in names:
        path = os.path.join(folder, name + ".onnx")
        export(name, path)
        print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
