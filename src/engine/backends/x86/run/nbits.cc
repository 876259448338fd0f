// slipway.LinearNBits with weights packed by the compile side (compile/nbits.cc): inputs x, bias
// (may be absent) and the packed bytes.

#include "engine/kernels/nbits/nbits.h"

#include <algorithm>

#include "engine/backends/x86/run/step.h"

namespace slipway::backends::x86 {

Status BuildLinearNBits(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kFloat32));
  if (b.out_type() != DType::kFloat32) return Unsupported("an output that is not float32");
  const ops::Attributes& a = b.attributes();
  kernels::NBitsShape shape{.n = a.Int("n", 0), .k = a.Int("k", 0), .group = a.Int("group", 0)};
  const int64_t bits = a.Int("bits", 0);
  shape.offsets = a.Int("offsets", 1) != 0;
  shape.bits = bits >= 1 && bits <= 8 ? static_cast<int>(bits) : 0;
  if (!shape.Valid()) return InvalidArgument("extents, groups or bits that cannot be");
  const Dims x = b.in_dims(), y = b.out_dims();
  const int rank = x.rank();
  bool fits = rank >= 1 && y.rank() == rank && x.back() == shape.k && y.back() == shape.n;
  for (int i = 0; fits && i + 1 < rank; ++i)
    fits = x[static_cast<size_t>(i)] == y[static_cast<size_t>(i)];
  if (!fits)
    return InvalidArgument("an output " + y.ToString() + " that does not fit the input " +
                           x.ToString());
  if (b.Has(1)) {
    SLIPWAY_RETURN_IF_ERROR(b.NeedType(1, DType::kFloat32));
    if (b.in_dims(1).count() != shape.n) return InvalidArgument("a bias of another extent");
  }
  if (!b.Has(2) || b.in_type(2) != DType::kUInt8 || b.in_dims(2).count() != shape.bytes())
    return InvalidArgument("packed weights of another size");
  const int64_t m = x.count(0, rank - 1);
  if (m == 0) return OkStatus();
  if (shape.offsets) {
    const auto sums = CheckedMul(m * shape.groups(), 4);
    if (!sums) return ResourceExhausted("too many rows");
    b.Workspace(static_cast<uint64_t>(*sums));
  }
  const kernels::NBitsKernels& kernels = kernels::GetNBits(b.isa());
  const auto linear = kernels.linear(shape.bits);
  const bool bias = b.Has(1);
  // A few microseconds of work at least for a thread.
  const int64_t grain =
      std::max<int64_t>(1, (int64_t{1} << 17) / (m * shape.k * kernels::kNBitsPanel));
  const int64_t row_grain = std::max<int64_t>(1, (int64_t{1} << 16) / shape.k);
  b.Run([=, sum = kernels.sums](const RunContext& c) {
    auto* group_sums = shape.offsets ? static_cast<float*>(c.workspace) : nullptr;
    if (group_sums) {
      c.parallel.ParallelFor(m, row_grain, [&](int64_t begin, int64_t end) {
        sum(shape, c.in<float>(0), group_sums, begin, end);
      });
    }
    const kernels::NBitsCall call{c.in<uint8_t>(2), c.in<float>(0),
                                  group_sums,       bias ? c.in<float>(1) : nullptr,
                                  c.out<float>(),   m};
    c.parallel.ParallelFor(shape.panels(), grain,
                           [&](int64_t begin, int64_t end) { linear(shape, call, begin, end); });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
