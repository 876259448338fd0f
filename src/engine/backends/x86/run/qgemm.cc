// QLinear: products of rows of codes with constant weights.

#include <algorithm>
#include <cstring>

#include "engine/backends/x86/run/qproduct.h"
#include "engine/backends/x86/run/step.h"
#include "model/ops/quantized.h"

namespace slipway::backends::x86 {
namespace {

constexpr int64_t kBlockBytes = 192 * 1024;  // of x that a block of rows may take

// How rows and blocks of columns are shared out. Columns are split only where there are too few
// rows for the threads.
struct Split {
  int64_t rows = 0, block = 1, blocks = 0, parts = 1;

  static Split Of(int64_t rows, int64_t depth, int64_t columns, int threads) {
    Split s;
    s.rows = rows;
    s.block = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(depth, 1) / 24 * 24, 24, 1536);
    if (threads > 1) s.block = std::min(s.block, RoundUp(CeilDiv(rows, 2 * threads), int64_t{24}));
    s.blocks = CeilDiv(rows, s.block);
    if (threads > 1 && s.blocks < 2 * threads)
      s.parts = std::clamp<int64_t>(2 * threads / s.blocks, 1, CeilDiv(columns, int64_t{64}));
    return s;
  }
  int64_t units() const { return blocks * parts; }
};

}  // namespace

Status BuildQLinear(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  const ops::Attributes& a = b.attributes();
  const Dims x = b.in_dims(), w = b.in_dims(1), y = b.out_dims();
  if (x.rank() < 1 || w.rank() != 2 || y.rank() != x.rank())
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " make no product");
  const bool trans = a.Int("transW", 0) != 0;
  const int64_t k = w[trans ? 1 : 0], n = w[trans ? 0 : 1], rows = x.count(0, x.rank() - 1);
  if (x.back() != k || y.back() != n || y.count(0, y.rank() - 1) != rows)
    return InvalidArgument("W " + w.ToString() + " does not fit X " + x.ToString() + " and Y " +
                           y.ToString());
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t x_zero,
                           ops::ReadZeroPoint(a, "x_zero_point", b.in_type()));
  SLIPWAY_ASSIGN_OR_RETURN(QProduct p, ReadQProduct(b, n));
  if (y.count() == 0) return OkStatus();
  if (k == 0) return Unsupported("a product of nothing");
  const auto order = [&] {
    std::vector<int64_t> places(static_cast<size_t>(k));
    for (int64_t i = 0; i < k; ++i) places[static_cast<size_t>(i)] = trans ? i : i * n;
    return places;
  };
  SLIPWAY_ASSIGN_OR_RETURN(p.packed,
                           PackQWeights(b, "qgemm:16x4", 1, n, trans ? k : 1, k, order, x_zero, p));
  const int64_t depth = RoundUp(k, int64_t{kernels::kQGemmDepth});
  const bool direct = depth == k;
  const int threads = b.threads();
  const Split split = Split::Of(rows, depth, n, threads);
  const int64_t slots = std::min<int64_t>(threads, split.units());
  const int64_t scratch = RoundUp(std::min(split.block, rows) * depth, int64_t{64});
  if (!direct) b.Workspace(static_cast<uint64_t>(slots * scratch));
  kernels::QGemmCall call = p.call;
  call.k = k;
  call.x_stride = depth;
  call.y_stride = call.z_stride = n;
  call.columns = n;
  if (p.packed) {
    call.weights = p.packed.weights();
    call.bias = p.packed.bias();
    call.multiplier = p.packed.multiplier();
  }
  const int64_t panels = CeilDiv(n, int64_t{kernels::kQGemmBlock});
  const auto& kernel = kernels::GetQGemm(kernels::BestIntegerIsa());
  const int64_t size = call.y_type == kernels::CodeType::kF32 ? 4 : 1;
  b.Run([=](const RunContext& c) {
    c.parallel.ParallelFor(slots, 1, [&](int64_t slot, int64_t slot_end) {
      for (; slot < slot_end; ++slot) {
        uint8_t* buffer = static_cast<uint8_t*>(c.workspace) + (direct ? 0 : slot * scratch);
        for (int64_t u = split.units() * slot / slots; u < split.units() * (slot + 1) / slots;
             ++u) {
          const int64_t part = u % split.parts, row = u / split.parts * split.block,
                        end = std::min(split.rows, row + split.block);
          kernels::QGemmCall now = call;
          now.rows = end - row;
          now.x = c.in<uint8_t>(0) + row * k;
          if (!direct) {  // rows whose ends may be read
            for (int64_t r = row; r < end; ++r) {
              uint8_t* to = buffer + (r - row) * depth;
              std::memcpy(to, c.in<uint8_t>(0) + r * k, static_cast<size_t>(k));
              std::memset(to + k, 0, static_cast<size_t>(depth - k));
            }
            now.x = buffer;
          }
          now.first_block = panels * part / split.parts;
          now.end_block = panels * (part + 1) / split.parts;
          now.y = c.out<uint8_t>() + row * n * size;
          now.z = p.residual ? c.in<uint8_t>(4) + row * n : nullptr;
          kernel.run(now);
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
