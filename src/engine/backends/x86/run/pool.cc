// MaxPool, AveragePool and GlobalAveragePool of float32 and bfloat16 where the channels of a pixel
// lie together.

#include "engine/kernels/pool/pool.h"

#include <algorithm>

#include "engine/backends/x86/run/step.h"
#include "engine/kernels/eltwise/eltwise.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

// Elements of the input that are worth a thread.
constexpr int64_t kGrain = 32768;
constexpr int64_t kMostChannels = 64;  // of an image that are summed together

Status BuildGlobal(Builder& b, const kernels::PoolKernels& k, int64_t planes, int64_t pixel,
                   int64_t pixels) {
  const bool half = b.in_type() == DType::kBFloat16;
  const int64_t size = half ? 2 : 4;
  // Enough groups of channels for some threads, whatever their number.
  const int64_t group = std::clamp<int64_t>(RoundUp(CeilDiv(pixel, 8), 16), 16, kMostChannels),
                groups = std::max<int64_t>(1, pixel / group);
  const auto narrow = kernels::GetEltwise(b.isa()).to_bfloat16;
  const float factor = 1.0f / static_cast<float>(pixels);
  b.Run([=, sums = k.sums](const RunContext& c) {
    const int64_t grain = std::max<int64_t>(1, kGrain / (pixels * std::min(pixel, group)));
    c.parallel.ParallelFor(planes * groups, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t plane = i / groups, first = i % groups * group,
                      n = i % groups + 1 == groups ? pixel - first : group;
        float all[2 * kMostChannels];
        sums(c.in<uint8_t>(0) + (plane * pixels * pixel + first) * size, pixels, pixel, all, n);
        for (int64_t j = 0; j < n; ++j) all[j] *= factor;
        const int64_t at = plane * pixel + first;
        if (half)
          narrow(all, c.out<uint16_t>() + at, n);
        else
          std::copy_n(all, n, c.out<float>() + at);
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace

Status BuildPool(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  if (b.num_outputs() > 1 && b.output(1).dtype != 0) return Unsupported("indices of the greatest");
  const bool half = b.in_type() == DType::kBFloat16;
  if (!half) SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kFloat32));
  if (b.out_type() != b.in_type()) return InvalidArgument("an output of another type");
  const kernels::PoolKernels* k = kernels::GetPool(b.isa(), half);
  if (!k) return Unsupported("bfloat16 without AVX-512");
  const Dims x = b.in_dims(), y = b.out_dims();
  if (x.rank() < 3 || x.rank() > 5 || y.rank() != x.rank() || x[0] != y[0] || x[1] != y[1] ||
      b.in_layout() != b.out_layout())
    return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() + " make no pooling");
  const Layout layout = b.out_layout();
  if (layout == Layout::kPlain) return Unsupported("a pooling in plain layout");
  const int64_t block = format::ChannelBlock(layout);
  if (x[1] % block != 0) return Unsupported("channels that do not fill the blocks");
  const bool global = b.op() == "GlobalAveragePool";
  if (global && y.count(2, y.rank()) != 1)
    return InvalidArgument("a global pooling with more than one position");
  if (y.count() == 0) return OkStatus();
  if (x.count() == 0) return Unsupported("a pooling over nothing");
  kernels::PoolShape s;
  s.pixel = block > 1 ? block : x[1];
  s.planes = x[0] * (x[1] / s.pixel);
  if (global) return BuildGlobal(b, *k, s.planes, s.pixel, x.count(2, x.rank()));
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window w, ops::ResolveWindow(b.attributes(), x, y));
  for (int d = 0; d < 3; ++d) {
    if (w.out[d] >
        (w.in[d] + std::max<int64_t>(0, w.pad_begin[d] + w.pad_end[d])) / w.stride[d] + 2)
      return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() +
                             " do not fit the window");
    s.in[d] = w.in[d];
    s.out[d] = w.out[d];
    s.kernel[d] = w.kernel[d];
    s.stride[d] = w.stride[d];
    s.dilation[d] = w.dilation[d];
    s.pad_begin[d] = w.pad_begin[d];
    s.pad_end[d] = w.pad_end[d];
  }
  const auto kind = b.op() == "MaxPool" ? kernels::PoolKind::kMax
                    : b.attributes().Int("count_include_pad", 0) != 0
                        ? kernels::PoolKind::kAveragePadded
                        : kernels::PoolKind::kAverage;
  const int64_t grain = std::max<int64_t>(
      1,
      kGrain / std::max<int64_t>(1, s.out[2] * s.pixel * std::min<int64_t>(w.KernelCount(), 64)));
  b.Run([s, kind, grain, run = k->windows](const RunContext& c) {
    c.parallel.ParallelFor(s.Rows(), grain, [&](int64_t begin, int64_t end) {
      run(s, kind, c.in<void>(0), c.out<void>(), begin, end);
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
