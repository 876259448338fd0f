// slipway.Linear, Gemm and MatMul: their operands, and the products of a few rows (kernels/thin).

#include "engine/kernels/thin/thin.h"

#include <algorithm>
#include <cstring>

#include "engine/backends/x86/run/backend.h"
#include "engine/backends/x86/run/linear.h"

namespace slipway::backends::x86 {
namespace {

// Checks all shapes, and the types unless the weights are to be packed.
Result<Linear> ReadLinear(const Builder& b, bool transposed) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  const Dims x = b.in_dims(0), w = b.in_dims(1), y = b.out_dims();
  const int rank = x.rank();
  if (rank < 1 || w.rank() != 2) return Unsupported("operands of other ranks than [..., K] and 2");
  Linear t{.m = x.count(0, rank - 1),
           .k = x.back(),
           .n = w[transposed ? 0 : 1],
           .transposed = transposed};
  bool fits = y.rank() == rank && y.back() == t.n && w[transposed ? 1 : 0] == t.k;
  for (int i = 0; fits && i + 1 < rank; ++i)
    fits = x[static_cast<size_t>(i)] == y[static_cast<size_t>(i)];
  if (!fits) {
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " make no product");
  }
  if (b.Has(2) &&
      (b.in_dims(2).count() != t.n || b.in_dims(2).rank() < 1 || b.in_dims(2).back() != t.n))
    return Unsupported("a bias of another extent than the columns of Y");
  if (b.Has(3)) SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(3));
  return t;
}

Status BuildThin(Builder& b, const Linear& t) {
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    if (b.Has(i)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, DType::kFloat32));
  }
  if (b.out_type() != DType::kFloat32) return Unsupported("an output that is not float32");
  const auto activation = FusedActivation::Of(t.activation, b.isa());
  const bool bias = b.Has(2), residual = b.Has(3);
  if (t.m == 0 || t.n == 0) return OkStatus();
  const kernels::ThinKernels& kernels = kernels::GetThin(b.isa());
  const kernels::ThinFunction product = t.transposed ? kernels.transposed : kernels.plain;
  // Some microseconds of work at least for a thread, and ranges that share no lines of the cache:
  // whole blocks of 16 columns.
  constexpr int64_t kBlock = 16;
  const int64_t blocks = (t.n + kBlock - 1) / kBlock;
  const int64_t work = std::max<int64_t>(1, std::min(t.m, kernels::kThinRows) * t.k * kBlock);
  int64_t grain = std::max<int64_t>(1, (int64_t{1} << 17) / work);
  // Where columns lie together, a range is a strip of all rows, and narrow strips read memory in the
  // worst order: one for each thread.
  if (!t.transposed) grain = std::max(grain, CeilDiv(blocks, int64_t{b.threads()}));
  b.Run([=](const RunContext& c) {
    const kernels::ThinCall call{c.in<float>(0), c.in<float>(1), c.out<float>(), t.m, t.k, t.n};
    const float* start = residual ? c.in<float>(3) : nullptr;
    const float* add = bias ? c.in<float>(2) : nullptr;
    c.parallel.ParallelFor(blocks, grain, [&](int64_t begin, int64_t end) {
      begin *= kBlock;
      end = std::min(end * kBlock, t.n);
      const auto count = static_cast<size_t>(end - begin);
      for (int64_t row = 0; row < t.m; ++row) {
        float* y = call.y + row * t.n;
        if (!start) {
          add ? static_cast<void>(std::memcpy(y + begin, add + begin, count * 4))
              : static_cast<void>(std::memset(y + begin, 0, count * 4));
          continue;
        }
        const float* z = start + row * t.n;  // perhaps y itself
        for (int64_t i = begin; i < end; ++i) y[i] = add ? z[i] + add[i] : z[i];
      }
      product(call, begin, end);
      if (!activation.function) return;
      for (int64_t row = 0; row < t.m; ++row) activation(call.y + row * t.n + begin, end - begin);
    });
    return OkStatus();
  });
  return OkStatus();
}

// The compile side names the kernel.
Status Build(Builder& b, const Linear& l) {
  const std::string_view kernel = b.attributes().String("kernel", "");
  return kernel.ends_with(kGemm) ? BuildPacked(b, l) : BuildThin(b, l);
}

}  // namespace

Status BuildLinear(Builder& b) {
  SLIPWAY_ASSIGN_OR_RETURN(Linear l, ReadLinear(b, b.attributes().Int("transW", 0) != 0));
  SLIPWAY_ASSIGN_OR_RETURN(l.activation, ops::ParseActivation(b.attributes()));
  return Build(b, l);
}

Status BuildGemm(Builder& b) {
  const ops::Attributes& a = b.attributes();
  if (a.Int("transA", 0) != 0 || a.Float("alpha", 1) != 1 || (b.Has(2) && a.Float("beta", 1) != 1))
    return Unsupported("Gemm with transA, alpha or beta");
  if (b.Has(3)) return InvalidArgument("Gemm has no input 3");
  SLIPWAY_ASSIGN_OR_RETURN(const Linear l, ReadLinear(b, a.Int("transB", 0) != 0));
  return Build(b, l);
}

Status BuildMatMul(Builder& b) {
  if (b.num_inputs() > 2) return InvalidArgument("MatMul has two inputs");
  SLIPWAY_ASSIGN_OR_RETURN(const Linear l, ReadLinear(b, false));
  return Build(b, l);
}

}  // namespace slipway::backends::x86
