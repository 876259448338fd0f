"""Writes small TensorFlow Lite files byte by byte (FlatBuffers, tables of the public schema), so that tests need no package.

A table is a dict {slot: value}; slots count a table's fields in the schema's order (a union has two). Values: I8, U8, I32, U32, F32
for scalars, a dict for a table, a str, a list of dicts, Ints([...]), Floats([...]), Longs([...]), bytes for a [ubyte]."""
import struct


class Scalar:
    def __init__(self, code, value):
        self.code, self.value, self.size = code, value, struct.calcsize(code)


def _scalar(code):
    return lambda value: Scalar("<" + code, value)


I8, U8, I32, U32, F32 = (_scalar(c) for c in "bBiIf")


class Vector:
    def __init__(self, code, values):
        self.data, self.count, self.align = struct.pack(f"<{len(values)}{code}", *values), len(values), struct.calcsize(code)


def Ints(values):
    return Vector("i", values)


def Floats(values):
    return Vector("f", values)


def Longs(values):
    return Vector("q", values)


class Buffer:
    """Parents come before their children, whose offsets are patched in."""

    def __init__(self):
        self.bytes = bytearray()

    def align(self, size, ahead=0):
        while (len(self.bytes) + ahead) % size:
            self.bytes.append(0)

    def place(self, at, value):
        """Writes `value` behind everything and its distance to `at`."""
        if isinstance(value, dict):
            where = self.table(value)
        else:
            if isinstance(value, str):
                value = value.encode()
            if isinstance(value, bytes):
                data, count, align = value, len(value), 16
            elif isinstance(value, Vector):
                data, count, align = value.data, value.count, value.align
            else:
                data, count, align = b"\0\0\0\0" * len(value), len(value), 4
            self.align(max(4, align), 4)
            where = len(self.bytes)
            self.bytes += struct.pack("<I", count) + data + b"\0"
            if isinstance(value, list):
                for i, item in enumerate(value):
                    self.place(where + 4 + 4 * i, item)
        struct.pack_into("<I", self.bytes, at, where - at)

    def table(self, fields):
        offsets, size, children = {}, 4, []
        for slot, value in sorted(fields.items(), key=lambda item: -(item[1].size if isinstance(item[1], Scalar) else 4)):
            width = value.size if isinstance(value, Scalar) else 4
            size += -size % width
            offsets[slot] = size
            size += width
        slots = max(fields, default=-1) + 1
        self.align(2)
        vtable = len(self.bytes)
        self.bytes += struct.pack(f"<{2 + slots}H", 4 + 2 * slots, size, *(offsets.get(s, 0) for s in range(slots)))
        self.align(8)
        where = len(self.bytes)
        self.bytes += struct.pack("<i", where - vtable) + b"\0" * (size - 4)
        for slot, value in fields.items():
            if isinstance(value, Scalar):
                struct.pack_into(value.code, self.bytes, where + offsets[slot], value.value)
            else:
                children.append((where + offsets[slot], value))
        for at, value in children:
            self.place(at, value)
        return where


FLOAT32, INT32, INT8 = 0, 2, 9
CONV_2D, FULLY_CONNECTED, SOFTMAX, RESHAPE = 3, 9, 25, 22
OPTIONS = {CONV_2D: 1, FULLY_CONNECTED: 8, SOFTMAX: 9, RESHAPE: 17}  # the union BuiltinOptions
CODES = {FLOAT32: "f", INT32: "i", INT8: "b"}


class Model:
    def __init__(self):
        self.tensors, self.buffers, self.codes, self.operators = [], [{}], [], []

    def tensor(self, name, shape, kind=FLOAT32, values=None, scale=None, zero=0, sparsity=None):
        fields = {0: Ints(shape), 1: I8(kind), 3: name}
        if values is not None:
            fields[2] = U32(len(self.buffers))
            self.buffers.append({0: struct.pack(f"<{len(values)}{CODES[kind]}", *values)})
        if scale is not None:
            fields[4] = {2: Floats([scale]), 3: Longs([zero])}
        if sparsity is not None:
            fields[6] = sparsity
        self.tensors.append(fields)
        return len(self.tensors) - 1

    def op(self, code, inputs, outputs, options=None):
        if code not in self.codes:
            self.codes.append(code)
        fields = {0: U32(self.codes.index(code)), 1: Ints(inputs), 2: Ints(outputs)}
        if options is not None:
            fields.update({3: U8(OPTIONS[code]), 4: options})
        self.operators.append(fields)

    def finish(self, inputs, outputs):
        graph = {0: self.tensors, 1: Ints(inputs), 2: Ints(outputs), 3: self.operators, 4: "main"}
        model = {0: U32(3), 1: [{0: I8(c), 2: I32(1), 3: I32(c)} for c in self.codes], 2: [graph], 3: "slipway-tests", 4: self.buffers}
        buffer = Buffer()
        buffer.bytes += b"\0\0\0\0TFL3"
        struct.pack_into("<I", buffer.bytes, 0, buffer.table(model))
        return bytes(buffer.bytes)
