// Attention without cached keys: see kernels/attention. A head is a strided view of the operands,
// whether these are [batch, heads, length, size] or [batch, length, heads * size].

#include "engine/kernels/attention/attention.h"

#include <algorithm>
#include <cmath>

#include "engine/backends/x86/run/activation.h"
#include "engine/backends/x86/run/step.h"

namespace slipway::backends::x86 {
namespace {

struct Heads {
  int64_t batch, heads, length, size;
  int64_t batch_stride, head_stride, row;
};

Result<Heads> ReadHeads(const slipway_tensor& t, int64_t heads) {
  const Dims d = Builder::DimsOf(t);
  if (d.rank() == 4) return Heads{d[0], d[1], d[2], d[3], d[1] * d[2] * d[3], d[2] * d[3], d[3]};
  if (d.rank() == 3 && heads > 0 && d[2] % heads == 0)
    return Heads{d[0], heads, d[1], d[2] / heads, d[1] * d[2], d[2] / heads, d[2]};
  return InvalidArgument(
      "attention needs operands of rank 4, or of rank 3 with head counts that divide them");
}

}  // namespace

Status BuildAttention(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  const DType type = b.in_type();
  for (size_t i = 1; i < 3; ++i) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, type));
  if (b.out_type() != type) return Unsupported("attention to another type");
  const bool half = type == DType::kBFloat16, float16 = type == DType::kFloat16;
  SLIPWAY_RETURN_IF_ERROR(b.NeedHalf(type));
  const kernels::AttentionFunction attention =
      half                      ? kernels::GetAttentionBf16(kernels::BestBfloat16Isa())
      : type == DType::kFloat32 || float16 ? kernels::GetAttention(b.isa())
                                : nullptr;
  if (!attention) return Unsupported(std::string("attention on ") + DTypeName(type) + " here");
  const ops::Attributes& a = b.attributes();
  if (a.Float("softcap", 0) != 0) return Unsupported("capped attention");
  for (size_t i = 4; i < b.num_inputs(); ++i) {
    if (b.Has(i)) return Unsupported("attention with cached keys or counts of them");
  }
  for (size_t i = 1; i < b.num_outputs(); ++i) {
    if (b.output(i).dtype != 0) return Unsupported("attention with a second output");
  }
  const int64_t q_heads = a.Int("q_num_heads", 0), kv_heads = a.Int("kv_num_heads", 0);
  SLIPWAY_ASSIGN_OR_RETURN(const Heads q, ReadHeads(b.input(0), q_heads));
  SLIPWAY_ASSIGN_OR_RETURN(const Heads k, ReadHeads(b.input(1), kv_heads));
  SLIPWAY_ASSIGN_OR_RETURN(const Heads v, ReadHeads(b.input(2), kv_heads));
  SLIPWAY_ASSIGN_OR_RETURN(const Heads y, ReadHeads(b.output(), q_heads > 0 ? q_heads : q.heads));
  if (b.out_dims().count() == 0) return OkStatus();
  if (k.batch != q.batch || v.batch != q.batch || y.batch != q.batch || k.size != q.size ||
      v.length != k.length || y.length != q.length || y.size != v.size || y.heads != q.heads ||
      k.heads != v.heads || k.heads < 1 || q.heads % k.heads != 0) {
    return InvalidArgument("the operands of Attention do not fit each other");
  }
  // The mask broadcasts to [batch, heads, queries, keys].
  Dims mask{1, 1, 1, 1};
  int64_t strides[4] = {0, 0, 0, 0};
  const bool masked = b.Has(3);
  if (masked) {
    const Dims d = b.in_dims(3);
    if (b.in_type(3) != DType::kFloat32) return Unsupported("a mask that is not float32");
    if (d.rank() > 4) return InvalidArgument("the mask of Attention does not fit");
    for (int i = 0; i < d.rank(); ++i)
      mask[static_cast<size_t>(4 - d.rank() + i)] = d[static_cast<size_t>(i)];
    const int64_t full[4] = {q.batch, q.heads, q.length, k.length};
    int64_t stride = 1;
    for (size_t i = 4; i-- > 0;) {
      if (mask[i] != 1 && mask[i] != full[i])
        return Unsupported("a mask of Attention that does not broadcast");
      strides[i] = mask[i] == 1 ? 0 : stride;
      stride *= mask[i];
    }
  }
  kernels::AttentionShape shape{.queries = q.length,
                                .keys = k.length,
                                .size = q.size,
                                .v_size = v.size,
                                .causal = a.Int("is_causal", 0) != 0};
  shape.scale = a.Has("scale") ? a.Float("scale", 1) : 1.0f / std::sqrt(static_cast<float>(q.size));
  if (!shape.Valid()) return Unsupported("attention over nothing or over too much");
  if (half && (q.size % 2 != 0 || q.row % 2 != 0 || k.row % 2 != 0))
    return Unsupported("heads of an odd size in bfloat16");
  const int threads = b.threads();
  // Float16 becomes float32 before, and again behind: the operands of a head.
  const int64_t head_floats =
      float16 ? (q.length + k.length) * q.size + (k.length + q.length) * v.size : 0;
  const int64_t floats = shape.workspace_floats() + RoundUp(head_floats, 16);
  const auto workspace = CheckedMul(floats * 4, threads);
  if (!workspace) return ResourceExhausted("too many keys");
  b.Workspace(static_cast<uint64_t>(*workspace));
  // Few heads are cut, each part with its own copy of keys and values.
  const int64_t heads = q.batch * q.heads, group = q.heads / k.heads;
  const int64_t parts =
      heads >= threads
          ? 1
          : std::min<int64_t>((threads + heads - 1) / heads,
                              (q.length + kernels::kAttentionRows - 1) / kernels::kAttentionRows);
  const int64_t jobs = heads * parts;
  const int64_t mask_batch = strides[0], mask_head = strides[1], mask_row = strides[2],
                mask_key = strides[3];
  b.Run([=, to = Conversions::Of(type, b.isa())](const RunContext& c) {
    c.parallel.ParallelFor(threads, 1, [&](int64_t slot, int64_t end) {
      for (; slot < end; ++slot) {
        float* scratch = static_cast<float*>(c.workspace) + slot * floats;
        const int64_t last = jobs * (slot + 1) / threads;
        for (int64_t job = jobs * slot / threads; job < last; ++job) {
          const int64_t batch = job / parts / q.heads, head = job / parts % q.heads,
                        part = job % parts, kv = head / group;
          const auto at = [&](const slipway_tensor& t, const Heads& h, int64_t i) {
            return static_cast<uint8_t*>(t.data) +
                   (batch * h.batch_stride + i * h.head_stride) * (half || float16 ? 2 : 4);
          };
          kernels::AttentionCall call{
              .q = at(c.inputs[0], q, head),
              .k = at(c.inputs[1], k, kv),
              .v = at(c.inputs[2], v, kv),
              .y = at(c.outputs[0], y, head),
              .q_row = q.row,
              .k_row = k.row,
              .v_row = v.row,
              .y_row = y.row,
              .mask = masked ? c.in<float>(3) + batch * mask_batch + head * mask_head : nullptr,
              .mask_row = mask_row,
              .mask_key = mask_key};
          const int64_t first = q.length * part / parts, end_row = q.length * (part + 1) / parts;
          if (!kRunsFloat16 || !float16) {
            attention(shape, call, scratch, first, end_row);
            continue;
          }
          float* wide = scratch + shape.workspace_floats();
          const auto widen = [&](const void*& x, int64_t& row, int64_t length, int64_t size) {
            for (int64_t i = 0; i < length; ++i)
              to.widen(static_cast<const uint16_t*>(x) + i * row, wide + i * size, size);
            x = wide;
            row = size;
            wide += length * size;
          };
          widen(call.q, call.q_row, q.length, q.size);
          widen(call.k, call.k_row, k.length, k.size);
          widen(call.v, call.v_row, v.length, v.size);
          auto* y_half = static_cast<uint16_t*>(call.y);
          call.y = wide;
          call.y_row = v.size;
          attention(shape, call, scratch, first, end_row);
          for (int64_t i = first; i < end_row; ++i)
            to.narrow(wide + i * v.size, y_half + i * y.row, v.size);
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
