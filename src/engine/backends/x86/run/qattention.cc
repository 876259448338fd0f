// QAttention: for each head, keys and values are packed once, then bands of queries go through
// scores, softmax, codes and the product with the values without leaving the nearest caches.

#include "model/ops/qattention.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/backends/x86/run/step.h"
#include "engine/kernels/qgemm/qgemm.h"
#include "engine/kernels/rows/rows.h"

namespace slipway::backends::x86 {
namespace {

using kernels::kQGemmBlock, kernels::kQGemmDepth;

// A product of unsigned codes around a_point with signed ones around b_point. From
// sum of (a - a_point) * (b - b_point) = sum of a * b - a_point * sum of b - b_point * sum of a
//   + depth * a_point * b_point
// the kernel computes the first, bias and row_add hold the others.
struct Product {
  int64_t depth = 0, columns = 0, wide = 0;  // wide: columns in whole blocks
  uint32_t a_point = 0, b_point = 0;
  bool a_signed = false, b_unsigned = false;
  bool by_rows = false;  // the columns of b lie together
  int64_t b_stride = 0;
  kernels::QGemmCall call;
  // From the beginning of a slot.
  int64_t packed_at = 0, sums_at = 0, bias_at = 0, multiplier_at = 0;

  Product(int64_t depth, int64_t columns, int32_t a_zero, bool a_signed, int32_t b_zero,
          bool b_unsigned)
      : depth(depth),
        columns(columns),
        wide(RoundUp(columns, int64_t{kQGemmBlock})),
        a_point(static_cast<uint32_t>(a_zero + kernels::QGemmShift(a_signed))),
        b_point(static_cast<uint32_t>(b_zero - (b_unsigned ? 128 : 0))),
        a_signed(a_signed),
        b_unsigned(b_unsigned) {
    call.k = depth;
    call.flip = kernels::QGemmShift(a_signed) != 0;
    call.columns = columns;
  }
  // Takes its place in a slot that is `at` bytes long so far.
  void Place(int64_t& at) {
    packed_at = at;
    sums_at = RoundUp(packed_at + kernels::QGemmPackedBytes(depth, columns), int64_t{64});
    bias_at = sums_at + wide * 4;
    multiplier_at = bias_at + wide * 4;
    at = RoundUp(multiplier_at + wide * 4, int64_t{64});
  }
  Status SetB(const ops::QAttention::Matrix& b) {
    by_rows = b.column != 1;
    if (by_rows && b.row != 1) return Unsupported("keys or values that lie apart one by one");
    b_stride = by_rows ? b.column : b.row;
    return OkStatus();
  }
  // The call for b in this slot.
  kernels::QGemmCall Pack(const kernels::QGemmKernels& kernel, const uint8_t* b, uint8_t* slot,
                          float multiplier) const {
    auto* packed = reinterpret_cast<int8_t*>(slot + packed_at);
    auto* sums = reinterpret_cast<int32_t*>(slot + sums_at);
    auto* bias = reinterpret_cast<int32_t*>(slot + bias_at);
    auto* multipliers = reinterpret_cast<float*>(slot + multiplier_at);
    (by_rows ? kernel.pack_rows : kernel.pack)(b, b_stride, depth, columns, b_unsigned, packed,
                                               sums);
    const uint32_t both = static_cast<uint32_t>(depth) * a_point * b_point;
    for (int64_t j = 0; j < wide; ++j)
      bias[j] = static_cast<int32_t>(both - a_point * static_cast<uint32_t>(sums[j]));
    std::fill_n(multipliers, wide, multiplier);
    kernels::QGemmCall now = call;
    now.weights = packed;
    now.bias = bias;
    now.multiplier = multipliers;
    return now;
  }
  // The products of some rows of a; row_add: room for as many.
  void Run(const kernels::QGemmKernels& kernel, kernels::QGemmCall& now, const uint8_t* x,
           int64_t x_stride, int64_t rows, void* y, int32_t* row_add) const {
    now.x = x;
    now.x_stride = x_stride;
    now.rows = rows;
    now.y = y;
    if (b_point != 0) {
      kernel.row_sums[a_signed ? 1 : 0](x, x_stride, rows, depth, row_add);
      const uint32_t shift =
          static_cast<uint32_t>(kernels::QGemmShift(a_signed)) * static_cast<uint32_t>(depth);
      for (int64_t i = 0; i < rows; ++i)
        row_add[i] = static_cast<int32_t>(-b_point * (static_cast<uint32_t>(row_add[i]) + shift));
      now.row_add = row_add;
    }
    kernel.run(now);
  }
};

kernels::Rounding RoundingOf(const ops::Requantizer& to, float scale) {
  return {scale, static_cast<float>(to.lo - to.zero_point),
          static_cast<float>(to.hi - to.zero_point)};
}

}  // namespace

Status BuildQAttention(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  std::array<ops::QAttention::Operand, 5> operands;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (b.Has(i)) operands[i] = {b.in_dims(i), b.in_type(i)};
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      const ops::QAttention a,
      ops::ReadQAttention(b.attributes(), operands, {b.out_dims(), b.out_type()}));
  if (b.out_dims().count() == 0) return OkStatus();
  if (a.k == 0) return Unsupported("heads of size 0");
  if (a.q.column != 1 || a.y.column != 1)
    return Unsupported("queries or outputs that lie apart one by one");
  const bool biased = b.Has(3), masked = b.Has(4);
  if ((biased && a.n > 1 && a.bias.column != 1) || (masked && a.n > 1 && a.mask.column != 1))
    return Unsupported("a bias or mask that is the same for all keys");
  if (masked && !biased) return Unsupported("a mask without a bias");

  const bool p_signed = a.p_type == DType::kInt8;
  const int32_t p_point = a.p_to.zero_point + (p_signed ? 128 : 0);  // codes as unsigned ones
  Product score(a.k, a.n, a.q_zero, b.in_type(0) == DType::kInt8, a.k_zero,
                b.in_type(1) == DType::kUInt8);
  Product value(a.n, a.d, p_point, false, a.v_zero, b.in_type(2) == DType::kUInt8);
  SLIPWAY_RETURN_IF_ERROR(score.SetB(a.keys));
  SLIPWAY_RETURN_IF_ERROR(value.SetB(a.v));
  score.call.columns = score.wide;  // whole blocks are stored faster
  score.call.y_type = kernels::CodeType::kF32;
  score.call.y_stride = score.wide;
  value.call.y_type = b.out_type() == DType::kFloat32 ? kernels::CodeType::kF32
                      : b.out_type() == DType::kInt8  ? kernels::CodeType::kS8
                                                      : kernels::CodeType::kU8;
  value.call.to = {a.to.zero_point, a.to.lo, a.to.hi};
  value.call.y_stride = a.y.row;
  value.call.bounded = a.multiplier < 0.9f && a.multiplier > -0.9f;

  // Bands of a few tiles of the products, whose scores stay near the first-level cache.
  constexpr int64_t kScores = 10240, kTile = 12, kMost = 64;
  const int64_t most = std::clamp(kScores / score.wide / kTile * kTile, kTile, kMost);
  const int64_t bands = CeilDiv(a.m, most), band = CeilDiv(a.m, bands);
  const int threads = b.threads();
  const int64_t parts = threads > 1 && a.batches < 2 * threads
                            ? std::clamp<int64_t>(2 * threads / a.batches, 1, bands)
                            : 1;
  const int64_t units = a.batches * parts, slots = std::min<int64_t>(threads, units);
  // The end of a row of queries may be read beyond: where that matters, rows are copied.
  const int64_t q_depth = RoundUp(a.k, int64_t{kQGemmDepth}),
                q_copy = q_depth == a.k ? 0 : band * q_depth, p_stride = RoundUp(a.n, int64_t{64});
  int64_t at = 0;
  score.Place(at);
  value.Place(at);
  const auto place = [&](int64_t bytes) {
    const int64_t begin = at;
    at = RoundUp(at + bytes, int64_t{64});
    return begin;
  };
  const int64_t scores_at = place(band * score.wide * 4), codes_at = place(band * p_stride),
                work_at = place(4 * score.wide * 4), rows_at = place(band * 4),
                copy_at = place(q_copy), stride = at;
  b.Workspace(static_cast<uint64_t>(slots * stride));

  kernels::SoftmaxCodesCall softmax;
  softmax.x_stride = score.wide;
  softmax.y_stride = p_stride;
  softmax.n = a.n;
  if (a.s_scale != 0) softmax.score = RoundingOf(a.s_to, a.s_scale);
  if (masked) softmax.sum = RoundingOf(a.t_to, a.t_scale);
  softmax.sum_multiplier = a.t_multiplier;
  softmax.code = RoundingOf(a.p_to, a.p_scale);
  softmax.zero = p_point;
  softmax.bias_stride = a.bias.row;
  softmax.mask_stride = a.mask.row;
  const int64_t size = b.out_type() == DType::kFloat32 ? 4 : 1;
  const auto* kernel = &kernels::GetQGemm(kernels::BestIntegerIsa());
  const auto* rows_kernel = &kernels::GetRows(b.isa());
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(slots, 1, [&](int64_t index, int64_t slot_end) {
      for (; index < slot_end; ++index) {
        uint8_t* slot = static_cast<uint8_t*>(c.workspace) + index * stride;
        auto* scores = reinterpret_cast<float*>(slot + scores_at);
        uint8_t *codes = slot + codes_at, *copy = slot + copy_at;
        auto* row_add = reinterpret_cast<int32_t*>(slot + rows_at);
        kernels::SoftmaxCodesCall rows = softmax;
        rows.x = scores;
        rows.y = codes;
        rows.work = reinterpret_cast<float*>(slot + work_at);
        for (int64_t u = units * index / slots; u < units * (index + 1) / slots; ++u) {
          const int64_t batch = u / parts, part = u % parts;
          auto first =
              score.Pack(*kernel, c.in<uint8_t>(1) + a.At(a.keys, batch), slot, a.s_multiplier);
          auto second =
              value.Pack(*kernel, c.in<uint8_t>(2) + a.At(a.v, batch), slot, a.multiplier);
          const uint8_t* q = c.in<uint8_t>(0) + a.At(a.q, batch);
          uint8_t* y = c.out<uint8_t>() + a.At(a.y, batch) * size;
          for (int64_t i = bands * part / parts; i < bands * (part + 1) / parts; ++i) {
            const int64_t row = i * band, count = std::min(band, a.m - row);
            if (count <= 0) break;
            const uint8_t* x = q + row * a.q.row;
            int64_t x_stride = a.q.row;
            if (q_copy != 0) {
              for (int64_t r = 0; r < count; ++r)
                std::memcpy(copy + r * q_depth, x + r * x_stride, static_cast<size_t>(a.k));
              x = copy;
              x_stride = q_depth;
            }
            score.Run(*kernel, first, x, x_stride, count, scores, row_add);
            rows.rows = count;
            if (biased) rows.bias = c.in<float>(3) + a.At(a.bias, batch) + row * a.bias.row;
            if (masked) rows.mask = c.in<float>(4) + a.At(a.mask, batch) + row * a.mask.row;
            rows_kernel->softmax_codes(rows);
            value.Run(*kernel, second, codes, p_stride, count, y + row * a.y.row * size, row_add);
          }
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
