#!/usr/bin/python3
"""Element types below 16 bits, by the tables of the ONNX specification: every type is decoded and encoded here by search through
all of its codes, written as backend test cases (TensorProto with raw or int32_data) and run through `slipway conformance`."""
import itertools
import math
import os
import struct

from harness import BINARY, Case, main
import onnx_writer as ox

FLOAT, UINT8, INT8, INT32, INT64, FLOAT16, BFLOAT16 = 1, 2, 3, 6, 7, 10, 16
E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ, UINT4, INT4, FLOAT4, E8M0, UINT2, INT2 = range(17, 27)
BITS = {FLOAT: 32, UINT8: 8, INT8: 8, INT32: 32, INT64: 64, FLOAT16: 16, BFLOAT16: 16, E4M3FN: 8, E4M3FNUZ: 8, E5M2: 8, E5M2FNUZ: 8,
        UINT4: 4, INT4: 4, FLOAT4: 4, E8M0: 8, UINT2: 2, INT2: 2}
# exponent bits, mantissa bits, bias, has infinities, codes of NaN
SHAPES = {E4M3FN: (4, 3, 7, False, (0x7F, 0xFF)), E4M3FNUZ: (4, 3, 8, False, (0x80,)), E5M2: (5, 2, 15, True, ()),
          E5M2FNUZ: (5, 2, 16, False, (0x80,)), FLOAT4: (2, 1, 1, False, ())}
FLOATS8 = (E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ)
NAMES = {v: k for k, v in list(globals().items()) if k.isupper() and isinstance(v, int)}


def decode(kind, code):
    if kind == E8M0:
        return math.nan if code == 255 else 2.0 ** (code - 127)
    exponent_bits, mantissa_bits, bias, infinite, nans = SHAPES[kind]
    if code in nans:
        return math.nan
    mantissa = code & (1 << mantissa_bits) - 1
    exponent = code >> mantissa_bits & (1 << exponent_bits) - 1
    sign = -1.0 if code >> exponent_bits + mantissa_bits else 1.0
    if infinite and exponent == (1 << exponent_bits) - 1:
        return sign * math.inf if mantissa == 0 else math.nan
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - bias - mantissa_bits)
    return sign * (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)


def encode(kind, x, saturate=True):
    """Nearest value, ties to the even code; beyond the largest the saturate attribute's table."""
    finite = [(c, decode(kind, c)) for c in range(1 << BITS[kind]) if math.isfinite(decode(kind, c))]
    exponent_bits, mantissa_bits, _, infinite, nans = SHAPES[kind]
    sign = math.copysign(1.0, x) if not math.isnan(x) else 1.0
    largest = max(v for _, v in finite)
    step = largest - sorted(v for _, v in finite)[-2]
    if math.isnan(x):
        if kind == FLOAT4:
            return next(c for c, v in finite if v == largest)
        return nans[0] if nans else 0x7F
    if abs(x) >= largest + step / 2 or math.isinf(x):  # a tie at the end goes to the even code, which is beyond
        beyond_even = [c for c, v in finite if v == largest][0] & 1
        if math.isinf(x) or abs(x) > largest + step / 2 or beyond_even:
            if saturate or kind == FLOAT4:
                return next(c for c, v in finite if v == sign * largest)
            if infinite:
                return (1 if sign < 0 else 0) << 7 | ((1 << exponent_bits) - 1) << mantissa_bits
            return nans[-1] if sign < 0 else nans[0]
        return next(c for c, v in finite if v == sign * largest)
    best = min(abs(v - x) for _, v in finite)
    near = [c for c, v in finite if abs(v - x) == best]
    value = next((c for c in near if c & 1 == 0), near[0])
    if decode(kind, value) == 0:  # the sign of zero stays where there are two zeros
        signed = 1 << exponent_bits + mantissa_bits
        return signed if sign < 0 and signed not in nans else 0
    return value


def pack(kind, codes):
    bits = BITS[kind]
    if bits < 8:
        per = 8 // bits
        codes = list(codes) + [0] * (-len(codes) % per)
        return bytes(sum((codes[i + k] & (1 << bits) - 1) << bits * k for k in range(per)) for i in range(0, len(codes), per))
    if kind == FLOAT:
        return struct.pack(f"<{len(codes)}f", *codes)
    if kind == FLOAT16:
        return struct.pack(f"<{len(codes)}e", *codes)
    return b"".join((int(c) & (1 << bits) - 1).to_bytes(bits // 8, "little") for c in codes)


def tensor(name, dims, kind, codes, raw=True):
    data = pack(kind, codes)
    head = b"".join(ox.integer(1, d) for d in dims) + ox.integer(2, kind) + ox.blob(8, name)
    if raw:
        return head + ox.blob(9, data)
    return head + ox.blob(5, b"".join(ox.varint(b) for b in data))  # int32_data: one byte an entry


def half(x):
    try:
        return struct.unpack("<e", struct.pack("<e", float(x)))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def single(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


VALUES = [0.47892547, 0.48033667, 0.49968487, 0.81910545, 0.47031248, 0.7229038, 1000000, 1e-7, math.nan, math.inf, -math.inf, -1e-7,
          1e-7, -1000000, 0.0, -0.0, 448, 464, 465, 480, 240, 247, 248, 249, 57344, 61440, 61439, -61441, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5,
          5, 5.5, 6, 7, -2.5, -5, 0.001953125, 0.0009765625, 0.00097, 0.0029296875, 1.52587890625e-05, 7.62939453125e-06]


class SmallTypes(Case):
    def setUp(self):
        super().setUp()
        self.count = 0

    def case(self, name, nodes, inputs, outputs, opset=25, declared=None):
        """inputs, outputs: {name: (dims, type, codes, raw?)}"""
        folder = self.path(f"cases/{name}/test_data_set_0")
        os.makedirs(folder)
        model = ox.model(nodes, [ox.value_info(k, (declared or {}).get(k, v[0]), v[1]) for k, v in inputs.items()],
                         [ox.value_info(k, v[0], v[1]) for k, v in outputs.items()], opset=opset, ir_version=11)
        with open(self.path(f"cases/{name}/model.onnx"), "wb") as file:
            file.write(model)
        for kind, values in (("input", inputs), ("output", outputs)):
            for i, (k, v) in enumerate(values.items()):
                with open(f"{folder}/{kind}_{i}.pb", "wb") as file:
                    file.write(tensor(k, *v))
        self.count += 1

    def run_cases(self):
        for platform in ("interpreter", "reference", "x86"):
            r = self.slipway("conformance", self.path("cases"), "--platform", platform, "--json", "-q", code=None)
            bad = {c["name"]: c["reason"] for c in r.json["cases"] if c["status"] != "passed"}
            self.assertEqual(bad, {}, platform)
            self.assertEqual(r.json["passed"], self.count)

    def test_casts_to_small_floats(self):
        for kind, source, saturate in itertools.product(SHAPES, (FLOAT, FLOAT16), (1, 0)):
            if kind == FLOAT4 and not saturate:
                continue
            x = [single(v) if source == FLOAT else half(v) for v in VALUES]
            attributes = {"to": kind} if saturate else {"to": kind, "saturate": 0}
            n = [len(x)]
            self.case(f"cast_{NAMES[source]}_{NAMES[kind]}_{saturate}", [ox.node("Cast", ["x"], ["y"], **attributes)],
                      {"x": (n, source, x, True)}, {"y": (n, kind, [encode(kind, v, bool(saturate)) for v in x], bool(saturate))})
            if saturate:  # `like` is declared as large as x, as ONNX's own cases do
                self.case(f"castlike_{NAMES[source]}_{NAMES[kind]}", [ox.node("CastLike", ["x", "like"], ["y"])],
                          {"x": (n, source, x, True), "like": ([1], kind, [1], True)},
                          {"y": (n, kind, [encode(kind, v) for v in x], True)}, declared={"like": n})
        self.run_cases()

    def test_casts_from_small_types(self):
        for kind, to in itertools.product(list(SHAPES) + [E8M0], (FLOAT, FLOAT16)):
            codes = list(range(1 << BITS[kind]))
            if kind == E8M0 and to == FLOAT16:
                codes = list(range(112, 143))
            values = [decode(kind, c) for c in codes]
            self.case(f"from_{NAMES[kind]}_{NAMES[to]}", [ox.node("Cast", ["x"], ["y"], to=to)],
                      {"x": ([len(codes)], kind, codes, to == FLOAT)}, {"y": ([len(codes)], to, values, True)})
        for kind, to in itertools.product((UINT4, INT4, UINT2, INT2), (FLOAT, FLOAT16, INT8, INT32)):
            bits = BITS[kind]
            codes = list(range(1 << bits)) + [1]  # odd: the last byte is not full
            signed = [c - (1 << bits) if kind in (INT4, INT2) and c >> bits - 1 else c for c in codes]
            self.case(f"from_{NAMES[kind]}_{NAMES[to]}", [ox.node("Cast", ["x"], ["y"], to=to)],
                      {"x": ([len(codes)], kind, codes, to != INT8)}, {"y": ([len(codes)], to, signed, True)})
            self.case(f"to_{NAMES[kind]}_{NAMES[to]}", [ox.node("Cast", ["x"], ["y"], to=kind)],
                      {"x": ([len(codes)], to, signed, True)}, {"y": ([len(codes)], kind, codes, to != INT32)})
        self.run_cases()

    def test_casts_to_powers_of_two(self):
        x = [0.124, 0.25, 0.5, 1.1, 1.49, 1.5, 1.51, 2.0, 4.0, 7.9, 3e38]
        for mode in ("up", "down", "nearest"):
            codes = []
            for v in map(single, x):
                fraction, exponent = math.frexp(v)  # v = fraction * 2^exponent, fraction in [0.5, 1)
                low = exponent - 1
                up = fraction > 0.5 if mode == "up" else fraction >= 0.75 if mode == "nearest" else False
                codes.append(min(254, low + up + 127))
            self.case(f"e8m0_{mode}", [ox.node("Cast", ["x"], ["y"], to=E8M0, round_mode=mode)],
                      {"x": ([len(x)], FLOAT, x, True)}, {"y": ([len(x)], E8M0, codes, True)})
        self.run_cases()

    def test_quantize(self):
        x = [0.0, 1.0, 2.0, 100000.0, 200.0, -3.5, -7.0, 2.5, 4.8, 8.6, -30, 12]
        for kind in FLOATS8 + (FLOAT4,):
            codes = [encode(kind, single(v) / 2) for v in x]
            for shape in ([], [1]):  # a zero point of one element serves a scalar scale
                self.case(f"q_{NAMES[kind]}_{len(shape)}", [ox.node("QuantizeLinear", ["x", "s", "z"], ["y"])],
                          {"x": ([12], FLOAT, x, True), "s": ([], FLOAT, [2.0], True), "z": (shape, kind, [0], False)},
                          {"y": ([12], kind, codes, False)})
            self.case(f"dq_{NAMES[kind]}", [ox.node("DequantizeLinear", ["x", "s"], ["y"])],
                      {"x": ([12], kind, codes, False), "s": ([], FLOAT, [2.0], True)},
                      {"y": ([12], FLOAT, [2 * decode(kind, c) for c in codes], True)})
        for kind, low, high in ((UINT4, 0, 15), (INT4, -8, 7), (UINT2, 0, 3), (INT2, -2, 1)):
            scales, zeros = [2.0, 3.0, 4.0], [1, 1, 0]
            codes = [max(low, min(high, round(x[4 * r + c] / scales[r]) + zeros[r])) for r in range(3) for c in range(4)]
            self.case(f"q_{NAMES[kind]}", [ox.node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=0)],
                      {"x": ([3, 4], FLOAT, x, True), "s": ([3], FLOAT, scales, True), "z": ([3], kind, zeros, False)},
                      {"y": ([3, 4], kind, codes, False)})
            self.case(f"dq_{NAMES[kind]}", [ox.node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=0)],
                      {"x": ([3, 4], kind, codes, True), "s": ([3], FLOAT, scales, True), "z": ([3], kind, zeros, True)},
                      {"y": ([3, 4], FLOAT, [(codes[4 * r + c] - zeros[r]) * scales[r] for r in range(3) for c in range(4)], True)})
            blocks = [1.5, 2.5, 3.0, 4.9, 5.1, 6.9]
            codes = [max(low, min(high, round(single(single(x[4 * r + c]) / single(blocks[2 * r + c // 2])))))
                     for r in range(3) for c in range(4)]
            self.case(f"q_{NAMES[kind]}_blocked", [ox.node("QuantizeLinear", ["x", "s"], ["y"], axis=1, block_size=2, output_dtype=kind)],
                      {"x": ([3, 4], FLOAT, x, True), "s": ([3, 2], FLOAT, blocks, True)}, {"y": ([3, 4], kind, codes, True)})
            self.case(f"dq_{NAMES[kind]}_half", [ox.node("DequantizeLinear", ["x", "s"], ["y"], axis=1, block_size=2, output_dtype=FLOAT)],
                      {"x": ([3, 4], kind, codes, True), "s": ([3, 2], FLOAT16, [0.5, 1, 2, 4, 0.25, 8], True)},
                      {"y": ([3, 4], FLOAT, [codes[4 * r + c] * [0.5, 1, 2, 4, 0.25, 8][2 * r + c // 2] for r in range(3) for c in range(4)],
                             True)})
        self.run_cases()

    def test_movement(self):
        """What opsets 21 to 25 let pass through: the codes stay, whatever they mean."""
        for kind in BITS:
            if kind in (FLOAT, FLOAT16):
                continue
            codes = [(7 * i + 1) % (1 << min(8, BITS[kind])) for i in range(15)]
            x = {"x": ([3, 5], kind, codes, True)}
            name = NAMES[kind]
            turned = [codes[5 * r + c] for c in range(5) for r in range(3)]
            self.case(f"transpose_{name}", [ox.node("Transpose", ["x"], ["y"], perm=[1, 0])], x, {"y": ([5, 3], kind, turned, True)})
            self.case(f"identity_{name}", [ox.node("Identity", ["x"], ["y"])], x, {"y": ([3, 5], kind, codes, True)})
            self.case(f"reshape_{name}", [ox.node("Reshape", ["x", "s"], ["y"])], dict(x, s=([2], INT64, [5, 3], True)),
                      {"y": ([5, 3], kind, codes, True)})
            self.case(f"unsqueeze_{name}", [ox.node("Unsqueeze", ["x", "s"], ["y"])], dict(x, s=([1], INT64, [1], True)),
                      {"y": ([3, 1, 5], kind, codes, True)})
            self.case(f"squeeze_{name}", [ox.node("Squeeze", ["x", "s"], ["y"])],
                      {"x": ([3, 1, 5], kind, codes, True), "s": ([1], INT64, [1], True)}, {"y": ([3, 5], kind, codes, True)})
            self.case(f"flatten_{name}", [ox.node("Flatten", ["x"], ["y"], axis=0)], x, {"y": ([1, 15], kind, codes, True)})
            self.case(f"shape_{name}", [ox.node("Shape", ["x"], ["y"])], x, {"y": ([2], INT64, [3, 5], True)})
            self.case(f"size_{name}", [ox.node("Size", ["x"], ["y"])], x, {"y": ([], INT64, [15], True)})
            padded = [0] * 7 + sum(([0] + codes[5 * r:5 * r + 5] + [0] for r in range(3)), []) + [0] * 7
            self.case(f"pad_{name}", [ox.node("Pad", ["x", "s"], ["y"])], dict(x, s=([4], INT64, [1, 1, 1, 1], True)),
                      {"y": ([5, 7], kind, padded, True)})
        self.run_cases()


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
