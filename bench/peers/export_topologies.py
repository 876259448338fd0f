#!/usr/bin/python3
"""Writes eleven well-known ImageNet topologies as ONNX files with random weights, for agreement and speed tests.

Weights come from a fixed seed. BatchNorm statistics are measured on a few made-up pictures: with arbitrary statistics
the signal of the deeper networks dies out before the classifier, whose bias alone then decides the output, and two
runtimes "agree" whatever they do in between. For the same reason a head that starts as zeros (ViT) gets random
weights. Needs Debian's python3-torch, python3-torchvision and python3-onnx.

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
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear) and not module.weight.any():
                module.weight.normal_(0, 0.02)
        for norm in norms:
            norm.momentum = None  # one pass decides the statistics
            norm.reset_running_stats()
            norm.train()
        if norms:
            model(pictures(4))
        for norm in norms:
            norm.eval()
    return model, torch.randn(1, 3, 224, 224)


def pictures(count):
    """Noise at several scales, so that pictures differ from each other also after averaging over the plane."""
    import torch

    image = torch.randn(count, 3, 224, 224) * 0.5
    for size in (1, 4, 16, 56):
        noise = torch.randn(count, 3, size, size)
        image += torch.nn.functional.interpolate(noise, size=(224, 224), mode="nearest") * 0.5
    return image


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
