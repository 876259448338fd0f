"""Writes small Caffe nets: the prototxt as text, the caffemodel byte by byte (NetParameter.layer = 100, name 1, type 2, blobs 7; BlobProto.data 5,
shape 7). Needs numpy arrays for blobs."""


def varint(v):
    out = b""
    while v > 0x7F:
        out += bytes([v & 0x7F | 0x80])
        v >>= 7
    return out + bytes([v])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def blob(array):
    shape = field(1, b"".join(varint(d) for d in array.shape))
    return field(7, shape) + field(5, array.astype("<f4").tobytes())


def caffemodel(layers):
    net = field(1, b"net")
    for name, kind, blobs in layers:
        net += field(100, field(1, name.encode()) + field(2, kind.encode()) + b"".join(field(7, blob(b)) for b in blobs))
    return net


def layer(kind, params="", bottoms=("x",), tops=("y",), name="y"):
    return (f'layer {{ name: "{name}" type: "{kind}" ' + "".join(f'bottom: "{b}" ' for b in bottoms) +
            "".join(f'top: "{t}" ' for t in tops) + params + " }\n")


def net(shape, layers):
    return 'name: "net"\ninput: "x"\ninput_shape { ' + " ".join(f"dim: {d}" for d in shape) + " }\n" + layers


def inputs(shapes):
    """Input layers by name and shape."""
    return "".join(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ ' + " ".join(f"dim: {d}" for d in shape) + " } } }\n"
                   for name, shape in shapes)
