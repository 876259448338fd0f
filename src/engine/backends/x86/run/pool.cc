// MaxPool, AveragePool, GlobalAveragePool and squeeze-excite of float32, bfloat16 and float16 where
// the channels of a pixel lie together.

#include "engine/kernels/pool/pool.h"

#include <algorithm>

#include "base/aligned.h"
#include "base/float16.h"
#include "engine/backends/x86/run/activation.h"
#include "engine/backends/x86/run/pooling.h"
#include "engine/backends/x86/run/step.h"
#include "engine/kernels/eltwise/eltwise.h"
#include "engine/kernels/thin/thin.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

// Elements of the input that are worth a thread.
constexpr int64_t kGrain = 32768;
constexpr int64_t kMostChannels = 64;  // of an image that are summed together

// Means over whole images, a group of channels at a time: enough groups for some threads, whatever
// their number.
struct Means {
  int64_t planes, pixel, pixels;  // of planes: channels of a pixel; of images: pixels
  int64_t size;                   // bytes of an element
  decltype(kernels::PoolKernels::sums) sums;

  int64_t Group() const {
    return std::clamp<int64_t>(RoundUp(CeilDiv(pixel, 8), 16), 16, kMostChannels);
  }
  int64_t Groups() const { return std::max<int64_t>(1, pixel / Group()); }

  // f(means, n, place of the first in [planes, pixel])
  template <typename F>
  void Run(Parallel& parallel, const uint8_t* x, const F& f) const {
    const int64_t group = Group(), groups = Groups(),
                  grain = std::max<int64_t>(1, kGrain / (pixels * std::min(pixel, group)));
    const float factor = 1.0f / static_cast<float>(pixels);
    parallel.ParallelFor(planes * groups, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t plane = i / groups, first = i % groups * group,
                      n = i % groups + 1 == groups ? pixel - first : group;
        float all[2 * kMostChannels];
        sums(x + (plane * pixels * pixel + first) * size, pixels, pixel, all, n);
        for (int64_t j = 0; j < n; ++j) all[j] *= factor;
        f(static_cast<const float*>(all), n, plane * pixel + first);
      }
    });
  }
};

Status BuildGlobal(Builder& b, const Means& means) {
  const bool half = means.size == 2;
  const auto narrow = Conversions::Of(b.in_type(), b.isa()).narrow;
  b.Run([=](const RunContext& c) {
    means.Run(c.parallel, c.in<uint8_t>(0), [&](const float* all, int64_t n, int64_t at) {
      if (half)
        narrow(all, c.out<uint16_t>() + at, n);
      else
        std::copy_n(all, n, c.out<float>() + at);
    });
    return OkStatus();
  });
  return OkStatus();
}

// The kernels for the type of input 0, which output 0 must have too.
Result<const kernels::PoolKernels*> Kernels(const Builder& b) {
  const DType type = b.in_type();
  if (!IsHalf(type)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kFloat32));
  SLIPWAY_RETURN_IF_ERROR(b.NeedHalf(type));
  if (b.out_type() != type) return InvalidArgument("an output of another type");
  const kernels::PoolKernels* k = type == DType::kFloat16
                                      ? kernels::GetPoolF16()
                                      : kernels::GetPool(b.isa(), type == DType::kBFloat16);
  if (!k) return Unsupported("bfloat16 without AVX-512");
  if (b.out_layout() == Layout::kPlain || b.in_layout() != b.out_layout())
    return Unsupported("layouts other than channels last and blocks of channels");
  const Dims x = b.in_dims();
  if (x.rank() < 3 || x[1] % format::ChannelBlock(b.out_layout()) != 0)
    return Unsupported("channels that do not fill the blocks");
  return k;
}
Means MeansOf(const Builder& b, const kernels::PoolKernels& k) {
  const Dims x = b.in_dims();
  const int64_t block = format::ChannelBlock(b.in_layout()), pixel = block > 1 ? block : x[1];
  return {x[0] * (x[1] / pixel), pixel, x.count(2, x.rank()), DTypeBits(b.in_type()) / 8, k.sums};
}

// Weights of squeeze-excite, one array: those of the first product as they are [hidden, channels],
// its bias, those of the second transposed [hidden, channels], its bias.
struct SqueezeWeights {
  int64_t channels, hidden;
  AlignedBuffer data;
};
// Element k of input i, float32, bfloat16 or float16.
float At(const Builder& b, size_t i, int64_t k) {
  const void* data = b.ConstantData(i);
  if (b.in_type(i) == DType::kFloat16) return static_cast<const Float16*>(data)[k];
  return b.in_type(i) == DType::kBFloat16
             ? static_cast<float>(static_cast<const BFloat16*>(data)[k])
             : static_cast<const float*>(data)[k];
}
Result<std::shared_ptr<const SqueezeWeights>> PackSqueeze(const Builder& b, int64_t channels,
                                                          int64_t hidden) {
  const int64_t count = channels * hidden;
  auto made = std::make_shared<SqueezeWeights>(SqueezeWeights{
      channels, hidden, AlignedBuffer(static_cast<size_t>(2 * count + hidden + channels) * 4)});
  if (!made->data.data()) return ResourceExhausted("no memory for packed weights");
  auto* to = reinterpret_cast<float*>(made->data.data());
  for (int64_t i = 0; i < count; ++i) *to++ = At(b, 1, i);
  for (int64_t i = 0; i < hidden; ++i) *to++ = b.Has(3) ? At(b, 3, i) : 0.0f;
  for (int64_t h = 0; h < hidden; ++h) {
    for (int64_t i = 0; i < channels; ++i) *to++ = At(b, 2, i * hidden + h);
  }
  for (int64_t i = 0; i < channels; ++i) *to++ = b.Has(4) ? At(b, 4, i) : 0.0f;
  return std::shared_ptr<const SqueezeWeights>(std::move(made));
}

}  // namespace

Status CheckPooled(const Builder& b) {
  const Dims x = b.in_dims(), y = b.out_dims();
  if (x.rank() >= 3 && x.rank() <= 5 && y.rank() == x.rank() && x[0] == y[0] && x[1] == y[1])
    return OkStatus();
  return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() + " make no pooling");
}

Result<ops::Window> ReadPooling(const Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(CheckPooled(b));
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window w, ops::ResolveWindow(b.attributes(), x, y));
  for (int d = 0; d < 3; ++d) {
    if (w.out[d] >
        (w.in[d] + std::max<int64_t>(0, w.pad_begin[d] + w.pad_end[d])) / w.stride[d] + 2)
      return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() +
                             " do not fit the window");
  }
  return w;
}

Status BuildPool(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  if (b.op() == "MaxPool" && DTypeBits(b.in_type()) == 8) return BuildQMaxPool(b);
  if (b.num_outputs() > 1 && b.output(1).dtype != 0) return Unsupported("indices of the greatest");
  SLIPWAY_ASSIGN_OR_RETURN(const kernels::PoolKernels* const k, Kernels(b));
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_RETURN_IF_ERROR(CheckPooled(b));
  const bool global = b.op() == "GlobalAveragePool";
  if (global && y.count(2, y.rank()) != 1)
    return InvalidArgument("a global pooling with more than one position");
  if (y.count() == 0) return OkStatus();
  if (x.count() == 0) return Unsupported("a pooling over nothing");
  const Means means = MeansOf(b, *k);
  if (global) return BuildGlobal(b, means);
  kernels::PoolShape s;
  s.planes = means.planes;
  s.pixel = means.pixel;
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window w, ReadPooling(b));
  for (int d = 0; d < 3; ++d) {
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

Status BuildSqueezeExcite(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_ASSIGN_OR_RETURN(const kernels::PoolKernels* const k, Kernels(b));
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  const Dims x = b.in_dims(), w1 = b.in_dims(1), w2 = b.in_dims(2);
  const int64_t channels = x[1], hidden = w1.rank() < 2 ? 0 : w1[0];
  if (w1.rank() < 2 || w2.rank() < 2 || w1[1] != channels || w2[0] != channels || w2[1] != hidden ||
      w1.count() != channels * hidden || w2.count() != channels * hidden || hidden < 1)
    return InvalidArgument("weights " + w1.ToString() + " and " + w2.ToString() + " do not fit X " +
                           x.ToString());
  const int64_t biases[] = {hidden, channels};
  for (size_t i = 1; i < 5; ++i) {
    if (!b.Has(i)) continue;
    SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, b.in_type()));
    if (i > 2 && b.in_dims(i).count() != biases[i - 3])
      return InvalidArgument("a bias that does not fit the weights");
    if (!b.ConstantData(i) && x.count() != 0)
      return Unsupported("weights or a bias that are no constants");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation inner, ops::ParseActivation(b.attributes()));
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation outer,
                           ops::ParseActivation(b.attributes(), "gate", "gate_params", "Sigmoid"));
  if (x.count() == 0) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(
      const std::shared_ptr<const SqueezeWeights> packed,
      b.Shared<SqueezeWeights>([&] { return PackSqueeze(b, channels, hidden); }));
  if (packed && (packed->channels != channels || packed->hidden != hidden))
    return Internal("the weights changed");
  const Means means = MeansOf(b, *k);
  const auto& thin = kernels::GetThin(b.isa());
  const auto act = FusedActivation::Of(inner, b.isa()), gate = FusedActivation::Of(outer, b.isa());
  const int64_t batch = x[0];
  // Means, then the gates in their place; hidden ones.
  b.Workspace(static_cast<uint64_t>(batch * (channels + hidden)) * 4);
  // Pixels that are scaled together: some tens of kilobytes.
  const int64_t part = std::max<int64_t>(1, kGrain / 2 / means.pixel),
                parts = CeilDiv(means.pixels, part);
  b.Run([=, scale = k->scale](const RunContext& c) {
    float* const factors = static_cast<float*>(c.workspace);
    float* const middle = factors + batch * channels;
    means.Run(c.parallel, c.in<uint8_t>(0),
              [&](const float* all, int64_t n, int64_t at) { std::copy_n(all, n, factors + at); });
    const auto* weights = reinterpret_cast<const float*>(packed->data.data());
    const auto product = [&](const FusedActivation& finish, kernels::ThinFunction f,
                             const float* in, const float* w, float* out, int64_t k_, int64_t n) {
      const int64_t blocks = CeilDiv(n, 16),
                    grain = std::max<int64_t>(1, (int64_t{1} << 16) / (16 * k_ * batch));
      const kernels::ThinCall call{in, w, out, batch, k_, n};
      c.parallel.ParallelFor(blocks, grain, [&](int64_t begin, int64_t end) {
        begin *= 16;
        end = std::min(end * 16, n);
        for (int64_t i = 0; i < batch; ++i)
          std::copy(w + k_ * n + begin, w + k_ * n + end, out + i * n + begin);
        f(call, begin, end);
        for (int64_t i = 0; i < batch; ++i) finish(out + i * n + begin, end - begin);
      });
    };
    product(act, thin.transposed, factors, weights, middle, channels, hidden);
    product(gate, thin.plain, middle, weights + channels * hidden + hidden, factors, hidden,
            channels);
    c.parallel.ParallelFor(means.planes * parts, 2, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t plane = i / parts, first = i % parts * part,
                      n = std::min(part, means.pixels - first),
                      at = (plane * means.pixels + first) * means.pixel * means.size;
        scale(c.in<uint8_t>(0) + at, n, means.pixel, factors + plane * means.pixel,
              c.out<uint8_t>() + at, means.pixel);
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
