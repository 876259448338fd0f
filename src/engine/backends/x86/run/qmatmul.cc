// QMatMul: products of two tensors of codes. The right one is packed when it is known, a matrix (or
// some columns of one) at a time, into memory that stays in the second-level cache.

#include <algorithm>
#include <cstring>

#include "engine/backends/x86/run/step.h"
#include "engine/kernels/qgemm/qgemm.h"
#include "model/ops/broadcast.h"
#include "model/ops/quantized.h"

namespace slipway::backends::x86 {
namespace {

bool IsCode(DType t) { return t == DType::kUInt8 || t == DType::kInt8; }

struct Shape {
  int64_t m = 0, n = 0, k = 0, batches = 0;
  ops::BroadcastPlan<2> plan;

  // The matrix of operand `which` for a batch.
  int64_t Matrix(int which, int64_t batch) const {
    int64_t at = 0;
    for (int d = 0; d < plan.rank; ++d) {
      at += batch % plan.dims[d] * plan.strides[which][d];
      batch /= plan.dims[d];
    }
    return at;
  }
};

Result<Shape> ReadShape(const Builder& b) {
  const Dims a = b.in_dims(0), w = b.in_dims(1), y = b.out_dims();
  const Status bad = InvalidArgument("A " + a.ToString() + ", B " + w.ToString() + " and Y " +
                                     y.ToString() + " make no product");
  if (a.rank() < 2 || w.rank() < 2 || y.rank() != std::max(a.rank(), w.rank())) return bad;
  const auto at = [](const Dims& d, int from_end) {
    return d[static_cast<size_t>(d.rank() - from_end)];
  };
  Shape s;
  s.m = at(a, 2);
  s.k = at(a, 1);
  s.n = at(w, 1);
  if (at(w, 2) != s.k || at(y, 2) != s.m || at(y, 1) != s.n) return bad;
  for (int d = 3; d <= y.rank(); ++d) {
    for (const Dims* x : {&a, &w}) {
      if (d <= x->rank() && at(*x, d) != at(y, d) && at(*x, d) != 1) return bad;
    }
  }
  const auto batch = [](const Dims& d) {
    return Dims(std::span(d).first(static_cast<size_t>(d.rank() - 2)));
  };
  const Dims batch_a = batch(a), batch_w = batch(w), batch_y = batch(y);
  const Dims* const operands[2] = {&batch_a, &batch_w};
  s.plan = ops::BroadcastPlan<2>::Make(batch_y, operands);
  s.batches = batch_y.count();
  return s;
}

}  // namespace

Status BuildQMatMul(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  if (!IsCode(b.in_type(0)) || !IsCode(b.in_type(1)))
    return Unsupported("operands that are not 8 bit");
  SLIPWAY_ASSIGN_OR_RETURN(const Shape s, ReadShape(b));
  const ops::Attributes& attributes = b.attributes();
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to,
                           ops::MakeRequantizer(attributes, b.out_type()));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t a_zero,
                           ops::ReadZeroPoint(attributes, "a_zero_point", b.in_type(0)));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t b_zero,
                           ops::ReadZeroPoint(attributes, "b_zero_point", b.in_type(1)));
  if (b.out_dims().count() == 0) return OkStatus();
  if (s.k == 0) return Unsupported("a product of nothing");
  const float multiplier = attributes.Float("multiplier", 1);
  // The kernel multiplies unsigned codes of A (on ARM signed ones) with signed ones of B:
  // sum of (a - a_zero) * (b - b_zero) = sum of a' * b' - a_point * sum of b' - b_point * sum of a'
  //   + k * a_point * b_point.
  const bool a_signed = b.in_type(0) == DType::kInt8, b_unsigned = b.in_type(1) == DType::kUInt8;
  const uint32_t a_point = static_cast<uint32_t>(a_zero + kernels::QGemmShift(a_signed)),
                 b_point = static_cast<uint32_t>(b_zero - (b_unsigned ? 128 : 0));
  const int threads = b.threads();
  const int64_t blocks = CeilDiv(s.n, int64_t{kernels::kQGemmBlock});
  const int64_t parts = threads > 1 && s.batches < 2 * threads
                            ? std::clamp<int64_t>(2 * threads / s.batches, 1, CeilDiv(blocks, 4))
                            : 1;
  const int64_t units = s.batches * parts, slots = std::min<int64_t>(threads, units);
  const int64_t depth = RoundUp(s.k, int64_t{kernels::kQGemmDepth}),
                wide = CeilDiv(blocks, parts) * kernels::kQGemmBlock;
  // A slot: packed columns, their sums, bias and multipliers, sums of rows, the last row.
  const int64_t sums_at = RoundUp(kernels::QGemmPackedBytes(s.k, wide), int64_t{64}),
                bias_at = sums_at + wide * 4, multiplier_at = bias_at + wide * 4,
                rows_at = multiplier_at + wide * 4,
                row_at = rows_at + (b_point != 0 ? RoundUp(s.m * 4, int64_t{64}) : 0),
                stride = RoundUp(row_at + depth, int64_t{64});
  b.Workspace(static_cast<uint64_t>(slots * stride));
  kernels::QGemmCall call;
  call.x_stride = s.k;
  call.k = s.k;
  call.flip = kernels::QGemmShift(a_signed) != 0;
  call.y_type = b.out_type() == DType::kFloat32 ? kernels::CodeType::kF32
                : b.out_type() == DType::kInt8  ? kernels::CodeType::kS8
                                                : kernels::CodeType::kU8;
  call.to = {to.zero_point, to.lo, to.hi};
  call.y_stride = s.n;
  call.bounded = multiplier < 0.9f && multiplier > -0.9f;
  const int64_t size = call.y_type == kernels::CodeType::kF32 ? 4 : 1;
  const auto* kernel = &kernels::GetQGemm(kernels::BestIntegerIsa());
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(slots, 1, [&](int64_t slot, int64_t slot_end) {
      for (; slot < slot_end; ++slot) {
        uint8_t* scratch = static_cast<uint8_t*>(c.workspace) + slot * stride;
        auto* packed = reinterpret_cast<int8_t*>(scratch);
        auto* sums = reinterpret_cast<int32_t*>(scratch + sums_at);
        auto* bias = reinterpret_cast<int32_t*>(scratch + bias_at);
        auto* multipliers = reinterpret_cast<float*>(scratch + multiplier_at);
        auto* row_add = reinterpret_cast<int32_t*>(scratch + rows_at);
        std::fill_n(multipliers, wide, multiplier);
        for (int64_t u = units * slot / slots; u < units * (slot + 1) / slots; ++u) {
          const int64_t batch = u / parts, part = u % parts;
          const int64_t first = blocks * part / parts * kernels::kQGemmBlock,
                        end = std::min(s.n, blocks * (part + 1) / parts * kernels::kQGemmBlock);
          const uint8_t* x = c.in<uint8_t>(0) + s.Matrix(0, batch) * s.m * s.k;
          kernel->pack(c.in<uint8_t>(1) + s.Matrix(1, batch) * s.k * s.n + first, s.n, s.k,
                       end - first, b_unsigned, packed, sums);
          for (int64_t j = 0; j < wide; ++j) {
            const uint32_t sum = j < end - first ? static_cast<uint32_t>(sums[j]) : 0;
            bias[j] = static_cast<int32_t>(static_cast<uint32_t>(s.k) * a_point * b_point -
                                           a_point * sum);
          }
          kernels::QGemmCall now = call;
          now.weights = packed;
          now.bias = bias;
          now.multiplier = multipliers;
          now.columns = end - first;
          if (b_point != 0) {
            kernel->row_sums[a_signed ? 1 : 0](x, s.k, s.m, s.k, row_add);
            const uint32_t shift =
                static_cast<uint32_t>(kernels::QGemmShift(a_signed)) * static_cast<uint32_t>(s.k);
            for (int64_t i = 0; i < s.m; ++i)
              row_add[i] =
                  static_cast<int32_t>(-b_point * (static_cast<uint32_t>(row_add[i]) + shift));
            now.row_add = row_add;
          }
          uint8_t* y = c.out<uint8_t>() + (batch * s.m * s.n + first) * size;
          // The end of a row may be read beyond: of the last one in a copy.
          const int64_t own = depth == s.k ? s.m : s.m - 1;
          now.x = x;
          now.rows = own;
          now.y = y;
          if (own > 0) kernel->run(now);
          if (own == s.m) continue;
          uint8_t* last = scratch + row_at;
          std::memcpy(last, x + own * s.k, static_cast<size_t>(s.k));
          std::memset(last + s.k, 0, static_cast<size_t>(depth - s.k));
          now.x = last;
          now.rows = 1;
          now.y = y + own * s.n * size;
          if (now.row_add) now.row_add += own;
          kernel->run(now);
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
