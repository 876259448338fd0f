// Calls of Attention, RotaryEmbedding, and of products of integers and of codes that stay codes:
// what language models and dynamically quantized ones have.

#include <algorithm>
#include <cmath>

#include "engine/backends/csource/writer.h"
#include "model/ops/window.h"

namespace slipway::backends::csource {
namespace {

// Steps of batch, head and row.
struct Heads {
  int64_t heads = 0, length = 0, size = 0;
  std::vector<int64_t> steps;
};
Result<Heads> HeadsOf(const Dims& d, int64_t heads) {
  if (d.rank() == 4) return Heads{d[1], d[2], d[3], {d[1] * d[2] * d[3], d[2] * d[3], d[3]}};
  if (d.rank() != 3 || heads < 1 || d[2] % heads != 0)
    return InvalidArgument("heads that do not divide the hidden size");
  const int64_t size = d[2] / heads;
  return Heads{heads, d[1], size, {d[1] * d[2], size, d[2]}};
}

// present = past, then the new entries; from then on keys (or values) are read there.
void WritePresent(SourceWriter& w, size_t input, size_t output, const Heads& fresh, int64_t batch,
                  int64_t past) {
  const int64_t keys = past + fresh.length, rows[] = {batch, fresh.heads, fresh.length, fresh.size};
  const int64_t to[] = {fresh.heads * keys * fresh.size, keys * fresh.size, fresh.size, 1};
  w.Need("copy");
  const auto copy = [&](std::span<const int64_t> dims, std::span<const int64_t> from, int64_t first,
                        const std::string& x) {
    w.Call("sw_copy", {w.Struct("sw_nd", NdFields(dims, to, from)), "4", Number(first), "0", x,
                       w.Output(output)});
  };
  if (past > 0) {
    const int64_t dims[] = {batch, fresh.heads, past, fresh.size},
                  from[] = {fresh.heads * past * fresh.size, past * fresh.size, fresh.size, 1};
    copy(dims, from, 0, w.Input(input + 3));
  }
  const int64_t from[] = {fresh.steps[0], fresh.steps[1], fresh.steps[2], 1};
  copy(rows, from, past * fresh.size, w.Input(input));
}

Status Attention(SourceWriter& w) {
  const auto& a = w.op.attributes;
  for (size_t i = 0; i < w.step->inputs.size(); ++i) {
    const bool mask = i == 3 && w.Has(i) && w.In(i).dtype == DType::kBool;
    if (w.Has(i) && i < 6 && w.In(i).dtype != DType::kFloat32 && !mask)
      return Unsupported(std::string("Attention of ") + DTypeName(w.In(i).dtype));
  }
  if (w.Has(6)) return Unsupported("Attention with nonpad_kv_seqlen");
  if (w.HasOut(3)) return Unsupported("Attention with qk_matmul_output");
  const Dims q_dims = w.Shape(w.In(0));
  const int64_t batch = q_dims[0], q_heads = a.Int("q_num_heads", 0),
                kv_heads = a.Int("kv_num_heads", 0);
  SLIPWAY_ASSIGN_OR_RETURN(const Heads q, HeadsOf(q_dims, q_heads));
  SLIPWAY_ASSIGN_OR_RETURN(Heads k, HeadsOf(w.Shape(w.In(1)), kv_heads));
  SLIPWAY_ASSIGN_OR_RETURN(Heads v, HeadsOf(w.Shape(w.In(2)), kv_heads));
  SLIPWAY_ASSIGN_OR_RETURN(const Heads y, HeadsOf(w.Shape(w.Out()), q_heads));
  if (k.heads < 1 || q.heads % k.heads != 0 || v.heads != k.heads || v.length != k.length ||
      q.size != k.size || v.size != y.size)
    return InvalidArgument("queries, keys and values that do not fit together");
  int64_t past = 0;
  if (w.Has(4) || w.Has(5)) {
    if (!w.Has(4) || !w.Has(5)) return InvalidArgument("past_key without past_value");
    past = w.Shape(w.In(4))[2];
    if (!w.HasOut(1) || !w.HasOut(2))
      return Unsupported("Attention with past keys and without the present ones as outputs");
  }
  const int64_t keys = past + k.length;
  std::string pk = w.Input(1), pv = w.Input(2);
  if (w.HasOut(1)) WritePresent(w, 1, 1, k, batch, past);
  if (w.HasOut(2)) WritePresent(w, 2, 2, v, batch, past);
  if (past > 0) {
    pk = w.Output(1);
    pv = w.Output(2);
    k.steps = {k.heads * keys * k.size, keys * k.size, k.size};
    v.steps = {v.heads * keys * v.size, keys * v.size, v.size};
  }
  std::vector<int64_t> steps(4, 0);
  int64_t mask_keys = keys;
  if (w.Has(3)) {
    const Dims d = w.Shape(w.In(3));
    const int64_t want[4] = {batch, q.heads, q.length, keys};
    int64_t step = 1;
    for (int i = d.rank() - 1, j = 3; i >= 0 && j >= 0; --i, --j) {
      const int64_t n = d[static_cast<size_t>(i)];
      if (n != 1 || want[j] == 1) steps[static_cast<size_t>(j)] = step;
      if (j == 3 && n < want[j] && n != 1) {
        mask_keys = n;
      } else if (n != 1 && n != want[j]) {
        return InvalidArgument("a mask that does not broadcast");
      }
      step *= n;
    }
  }
  const float scale = a.Has("scale")
                          ? a.Float("scale", 1)
                          : static_cast<float>(1 / std::sqrt(static_cast<double>(q.size)));
  w.Need("attention");
  w.Call("sw_attention",
         {w.Struct("sw_attention_shape",
                   Number(batch) + ", " + Number(q.heads) + ", " + Number(k.heads) + ", " +
                       Number(q.length) + ", " + Number(keys) + ", " + Number(q.size) + ", " +
                       Number(v.size) + ", " + (a.Int("is_causal", 0) != 0 ? "1" : "0") + ", " +
                       Number(past) + ", " +
                       (!w.Has(3)                       ? "0"
                        : w.In(3).dtype == DType::kBool ? "1"
                                                        : "2") +
                       ", " + Number(mask_keys) + ", " + List(q.steps) + ", " + List(k.steps) +
                       ", " + List(v.steps) + ", " + List(y.steps) + ", " + List(steps) + ", " +
                       Number(scale) + ", " + Number(a.Float("softcap", 0))),
          w.Input(0), pk, pv, w.Input(3), w.Workspace("float"), w.Output(0)});
  return OkStatus();
}

Status Rotary(SourceWriter& w) {
  const auto& a = w.op.attributes;
  const Dims x = w.Shape(w.In(0));
  for (size_t i = 0; i < 3; ++i) {
    if (w.In(i).dtype != DType::kFloat32)
      return Unsupported(std::string("RotaryEmbedding of ") + DTypeName(w.In(i).dtype));
  }
  const DType ids = w.Has(3) ? w.In(3).dtype : DType::kInt64;
  if (ids != DType::kInt64 && ids != DType::kInt32)
    return Unsupported(std::string("positions of ") + DTypeName(ids));
  SLIPWAY_ASSIGN_OR_RETURN(const Heads h, HeadsOf(x, a.Int("num_heads", 0)));
  int64_t turned = a.Int("rotary_embedding_dim", 0);
  if (turned == 0) turned = h.size;
  const int64_t half = turned / 2, rows = half > 0 ? w.Shape(w.In(1)).count() / half : 0;
  if (turned < 2 || turned > h.size || turned % 2 != 0 ||
      w.Shape(w.In(1)).count() != w.Shape(w.In(2)).count() ||
      (!w.Has(3) && rows != x[0] * h.length))
    return InvalidArgument("caches that do not fit");
  w.Call(w.Instance("rotary", "rotary_" + Suffix(ids), {{"@X", CType(ids)}}),
         {Number(x[0]), Number(h.heads), Number(h.length), Number(h.size), Number(half),
          a.Int("interleaved", 0) != 0 ? "1" : "0", Number(rows), w.Int32Array(h.steps), w.Input(0),
          w.Input(1), w.Input(2), w.Has(3) ? w.Input(3) : "0", w.Output(0)});
  return OkStatus();
}

// Codes with zero points that may come in the run, to int32.
Status NeedCodes(const SourceWriter& w) {
  for (size_t i = 0; i < w.step->inputs.size(); ++i) {
    if (w.Has(i) && !IsCode(w.In(i).dtype))
      return Unsupported(w.op.op + " of " + DTypeName(w.In(i).dtype));
  }
  for (const size_t i : {size_t{2}, size_t{3}}) {
    if (w.Has(i) && w.In(i).dtype != w.In(i - 2).dtype)
      return Unsupported(w.op.op + " with a zero point of another type");
  }
  return OkStatus();
}

Status ConvInteger(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedCodes(w));
  const Dims weights = w.Shape(w.In(1));
  SLIPWAY_ASSIGN_OR_RETURN(
      const std::string window,
      WindowFields(w, std::span(weights).subspan(2), weights[0], w.op.attributes.Int("group", 1)));
  const bool each = w.Has(3) && w.Shape(w.In(3)).count() > 1;
  if ((w.Has(2) && w.Shape(w.In(2)).count() != 1) ||
      (each && w.Shape(w.In(3)).count() != weights[0]))
    return InvalidArgument("zero points that do not fit");
  w.Call(w.Instance("convinteger", "convinteger",
                    {{"@X", CType(w.In(0).dtype)}, {"@Z", CType(w.In(1).dtype)}}),
         {w.Struct("sw_window", window), w.Input(0), w.Input(1), w.Input(2), w.Input(3),
          each ? "1" : "0", w.Output(0)});
  return OkStatus();
}

Status MatMulInteger(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedCodes(w));
  Dims a = w.Shape(w.In(0)), b = w.Shape(w.In(1));
  const Dims y = w.Shape(w.Out());
  if (a.rank() < 2 || b.rank() < 2) return Unsupported("a MatMulInteger of vectors");
  const int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
  const auto zeros = [&](size_t i, int64_t lines) -> Result<std::string> {
    const int64_t count = w.Has(i) ? w.Shape(w.In(i)).count() : 1;
    if (count != 1 && count != lines) return Unsupported("zero points for each matrix");
    return std::string(count > 1 ? "1" : "0");
  };
  SLIPWAY_ASSIGN_OR_RETURN(const std::string a_each, zeros(2, m));
  SLIPWAY_ASSIGN_OR_RETURN(const std::string b_each, zeros(3, n));
  std::vector<int64_t> offsets;
  MatrixOffsets(a, b, y, &offsets);
  w.Call(w.Instance("matmulinteger", "matmulinteger",
                    {{"@X", CType(w.In(0).dtype)}, {"@Z", CType(w.In(1).dtype)}}),
         {Number(static_cast<int64_t>(offsets.size() / 2)), w.Int32Array(offsets), Number(m),
          Number(k), Number(n), w.Input(0), w.Input(1), w.Input(2), a_each, w.Input(3), b_each,
          w.Output(0)});
  return OkStatus();
}

Status DynamicQuantize(SourceWriter& w) {
  if (w.In(0).dtype != DType::kFloat32 || w.Out().dtype != DType::kUInt8)
    return Unsupported(std::string("DynamicQuantizeLinear of ") + DTypeName(w.In(0).dtype));
  if (!w.HasOut(0) || !w.HasOut(1) || !w.HasOut(2))
    return Unsupported("DynamicQuantizeLinear with an output that is left out");
  w.Need("dynamicquantize");
  w.Call("sw_dynamicquantize",
         {Number(w.Shape(w.In(0)).count()), w.Input(0), w.Output(0), w.Output(1), w.Output(2)});
  return OkStatus();
}

// Weight-only quantization: the codes stay codes, of 4 or 2 bits where they span few values.
Status LinearNBits(SourceWriter& w) {
  const Dims codes = w.Shape(w.In(1)), scales = w.Shape(w.In(2));
  const DType t = w.In(1).dtype;
  std::vector<int64_t> values = w.Ints(1), zeros = w.Ints(3);
  const int64_t group = w.op.attributes.Int("group", 0);
  if (w.In(0).dtype != DType::kFloat32 || !IsCode(t) || values.empty() || group < 1 ||
      (w.Has(3) && zeros.empty()) || w.Floats(2).empty())
    return Unsupported("LinearNBits whose weights are no constant codes");
  if (w.Has(4) && w.In(4).dtype != DType::kFloat32)
    return Unsupported("LinearNBits with another bias than float32");
  if (t == DType::kUInt8) {
    zeros.resize(static_cast<size_t>(scales.count()), zeros.size() == 1 ? zeros[0] : 0);
    for (int64_t& v : values) v -= 128;
    for (int64_t& z : zeros) z -= 128;
  }
  const PackedCodes packed = PackCodes(w, values, codes[0]);
  std::vector<uint8_t> bytes;
  for (const int64_t z : zeros) bytes.push_back(static_cast<uint8_t>(z & 255));
  const std::string bits = std::to_string(packed.bits);
  const std::string code =
      packed.bits == 8 ? "(int32_t)weights[at]" : "sw_bits" + bits + "(weights, at) + low[n]";
  w.Call(w.Instance("nbits", "nbits" + bits,
                    {{"@+", packed.bits == 8 ? "" : "bits" + bits},
                     {"@X", packed.bits == 8 ? "int8_t" : "uint8_t"},
                     {"@E", code}}),
         {Number(w.Shape(w.Out()).count() / codes[0]), Number(codes[1]), Number(codes[0]),
          Number(group), w.Input(0), packed.codes, packed.low, w.Input(2),
          bytes.empty() ? "0" : w.ByteArray(bytes, true), w.Input(4), w.Output(0)});
  return OkStatus();
}

constexpr Row kRows[] = {
    {"", "Attention", Attention},
    {"", "RotaryEmbedding", Rotary},
    {"", "ConvInteger", ConvInteger},
    {"", "MatMulInteger", MatMulInteger},
    {"", "DynamicQuantizeLinear", DynamicQuantize},
    {"slipway", "LinearNBits", LinearNBits},
};

}  // namespace

std::span<const Row> AttentionRows() { return kRows; }

}  // namespace slipway::backends::csource
