// Conv, slipway.Conv (float32, bfloat16, float16) and slipway.QConv where every channel has a window of
// its own.

#include "engine/kernels/depthwise/depthwise.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "base/float16.h"
#include "engine/backends/x86/run/conv.h"
#include "engine/backends/x86/run/step.h"
#include "model/ops/quantized.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

bool IsCode(DType t) { return t == DType::kUInt8 || t == DType::kInt8; }

Result<kernels::DepthwiseShape> ReadShape(const Builder& b) {
  const Dims x = b.in_dims(0), w = b.in_dims(1), y = b.out_dims();
  const int64_t group = b.attributes().Int("group", 1);
  if (x.rank() < 3 || x.rank() > 4)
    return Unsupported("a convolution of rank " + std::to_string(x.rank()));
  if (group != x[1]) return Unsupported("a convolution that is not depthwise");
  if (w.rank() != x.rank() || y.rank() != x.rank() || w[0] != group || w[1] != 1 || y[1] != group ||
      y[0] != x[0]) {
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " with group " + std::to_string(group) +
                           " make no depthwise convolution");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window window,
                           ops::ResolveWindow(b.attributes(), x, y, std::span(w).subspan(2)));
  for (int d = 1; d < 3; ++d) {
    const int64_t span = (window.kernel[d] - 1) * window.dilation[d] + 1,
                  padded = window.in[d] + window.pad_begin[d] + window.pad_end[d];
    if (span > padded || (padded - span) / window.stride[d] + 1 != window.out[d]) {
      return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() +
                             " do not fit the window");
    }
  }
  const kernels::DepthwiseShape s = {.batch = x[0],
                                     .channels = group,
                                     .in_h = window.in[1],
                                     .in_w = window.in[2],
                                     .out_h = window.out[1],
                                     .out_w = window.out[2],
                                     .kernel_h = window.kernel[1],
                                     .kernel_w = window.kernel[2],
                                     .stride_h = window.stride[1],
                                     .stride_w = window.stride[2],
                                     .dilation_h = window.dilation[1],
                                     .dilation_w = window.dilation[2],
                                     .pad_top = window.pad_begin[1],
                                     .pad_left = window.pad_begin[2]};
  if (y.count() != 0 && !s.Valid()) return Unsupported("extents that are empty or too large");
  return s;
}

// Units that are worth a thread: some microseconds of work.
int64_t Grain(const kernels::DepthwiseShape& s, int64_t units) {
  const int64_t macs = s.batch * s.channels * s.out_h * s.out_w * s.kernel_h * s.kernel_w;
  return std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, macs / units));
}

// Packed weights, and for what.
struct DepthwiseWeights {
  int64_t channels, taps;
  int lanes;
  AlignedBuffer data;
};

}  // namespace

std::vector<float> Floats(const Builder& b, size_t i) {
  const void* data = b.ConstantData(i);
  std::vector<float> v(data ? static_cast<size_t>(b.in_dims(i).count()) : 0);
  for (size_t k = 0; k < v.size(); ++k) {
    v[k] = b.in_type(i) == DType::kFloat16
               ? static_cast<float>(static_cast<const Float16*>(data)[k])
           : b.in_type(i) == DType::kBFloat16
               ? static_cast<float>(static_cast<const BFloat16*>(data)[k])
               : static_cast<const float*>(data)[k];
  }
  return v;
}

Status BuildDepthwise(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  SLIPWAY_ASSIGN_OR_RETURN(const kernels::DepthwiseShape shape, ReadShape(b));
  const bool float16 = b.in_type() == DType::kFloat16, half = IsHalf(b.in_type());
  SLIPWAY_RETURN_IF_ERROR(b.NeedHalf(b.in_type()));
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    if (b.Has(i)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, half ? b.in_type() : DType::kFloat32));
  }
  if (b.out_type() != b.in_type()) return Unsupported("an output of another type");
  const Layout layout = b.out_layout();
  if (layout == Layout::kPlain || b.in_layout() != layout)
    return Unsupported("layouts other than channels last and blocks of channels");
  kernels::DepthwiseParams p;
  p.block = format::ChannelBlock(layout);
  if (float16 && p.block != 1) return Unsupported("float16 in other layouts than channels last");
  const int64_t channels = shape.channels;
  if (channels % p.block != 0) return Unsupported("channels that do not fill the blocks");
  if (b.Has(2) && b.in_dims(2) != Dims{channels})
    return InvalidArgument("the bias does not fit the channels");
  const bool residual = b.Has(3);
  ops::Activation activation;
  if (b.IsSlipway()) {
    if (residual) SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(3));
    SLIPWAY_ASSIGN_OR_RETURN(activation, ops::ParseActivation(b.attributes()));
  } else if (residual) {
    return InvalidArgument("Conv has no input 3");
  }
  if (b.out_dims().count() == 0) return OkStatus();
  if (!b.ConstantData(1) || (b.Has(2) && !b.ConstantData(2)))
    return Unsupported("weights or a bias that are no constants");
  SetActivation(activation, b.isa(), p, half && !float16);
  const kernels::DepthwiseKernels* const half_kernels =
      kRunsFloat16 && float16 ? kernels::GetDepthwiseF16(kernels::BestHalfIsa())
      : half  ? kernels::GetDepthwiseBf16(kernels::BestBfloat16Isa(), p.block)
              : nullptr;
  if (!kRunsFloat16 && float16) return OkStatus();  // a probe
  if (half && !half_kernels) return Unsupported("bfloat16 in blocks of 8 or without AVX512-BF16");
  const kernels::DepthwiseKernels& kernels =
      half ? *half_kernels : kernels::GetDepthwise(b.isa(), p.block);
  const int64_t taps = shape.kernel_h * shape.kernel_w;
  p.rows = std::max<int64_t>(1, 112 / shape.out_w);
  p.rows += (kernels.rows - p.rows % kernels.rows) % kernels.rows;
  SLIPWAY_ASSIGN_OR_RETURN(
      const std::shared_ptr<const DepthwiseWeights> packed,
      b.Shared<DepthwiseWeights>([&]() -> Result<std::shared_ptr<const DepthwiseWeights>> {
        const auto bias = Floats(b, 2), weights = half ? std::vector<float>() : Floats(b, 1);
        auto made = std::make_shared<DepthwiseWeights>(DepthwiseWeights{
            channels, taps, kernels.lanes,
            kRunsFloat16 && float16 ? kernels::PackDepthwiseF16(
                          shape, static_cast<const uint16_t*>(b.ConstantData(1)), bias.data())
            : half ? kernels::PackDepthwiseBf16(
                       shape, p.block, static_cast<const uint16_t*>(b.ConstantData(1)), bias.data())
                 : kernels::PackDepthwise(shape, kernels.lanes, weights.data(), bias.data())});
        if (!made->data.data()) return ResourceExhausted("no memory for packed weights");
        return std::shared_ptr<const DepthwiseWeights>(std::move(made));
      }));
  if (packed &&
      (packed->channels != channels || packed->taps != taps || packed->lanes != kernels.lanes)) {
    return Internal("the weights changed");
  }
  const int64_t units = kernels::DepthwiseUnits(shape, p), grain = Grain(shape, units);
  b.Run([=, run = kernels.run](const RunContext& c) {
    const kernels::DepthwiseCall call = {c.in<void>(0),
                                         reinterpret_cast<const float*>(packed->data.data()),
                                         residual ? c.in<void>(3) : nullptr, c.out<void>()};
    c.parallel.ParallelFor(units, grain,
                           [&](int64_t begin, int64_t end) { run(shape, p, call, begin, end); });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildQDepthwise(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_ASSIGN_OR_RETURN(const kernels::DepthwiseShape shape, ReadShape(b));
  if (!IsCode(b.in_type())) return Unsupported(std::string(DTypeName(b.in_type())) + " input");
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(1, DType::kInt8));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(2, DType::kFloat32));
  if (b.in_layout() != Layout::kChannelsLast || b.out_layout() != Layout::kChannelsLast)
    return Unsupported("a layout other than channels last");
  const int64_t channels = shape.channels, scales = b.in_dims(2).count();
  if (scales != 1 && scales != channels)
    return InvalidArgument("the multiplier must be one or one a channel");
  if (b.Has(3) && (b.in_type(3) != DType::kInt32 || b.in_dims(3).count() != channels))
    return InvalidArgument("the bias must be int32, one a channel");
  const auto* weights = static_cast<const int8_t*>(b.ConstantData(1));
  const auto* multipliers = static_cast<const float*>(b.ConstantData(2));
  const auto* bias = static_cast<const int32_t*>(b.ConstantData(3));
  if (b.out_dims().count() == 0) return OkStatus();
  if (!weights || !multipliers || (b.Has(3) && !bias))
    return Unsupported("weights, multipliers or a bias that are no constants");
  kernels::QDepthwiseParams p;
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to,
                           ops::MakeRequantizer(b.attributes(), b.out_type()));
  SLIPWAY_ASSIGN_OR_RETURN(p.x_zero,
                           ops::ReadZeroPoint(b.attributes(), "x_zero_point", b.in_type()));
  p.x_signed = b.in_type() == DType::kInt8;
  p.y = b.out_type() == DType::kFloat32 ? kernels::CodeType::kF32
        : b.out_type() == DType::kInt8  ? kernels::CodeType::kS8
                                        : kernels::CodeType::kU8;
  p.to = {to.zero_point, to.lo, to.hi};
  if (b.Has(4)) {
    if (!IsCode(b.in_type(4))) return Unsupported("a residual that is not 8 bit");
    SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(4));
    SLIPWAY_ASSIGN_OR_RETURN(p.z_zero,
                             ops::ReadZeroPoint(b.attributes(), "z_zero_point", b.in_type(4)));
    p.residual = true;
    p.z_signed = b.in_type(4) == DType::kInt8;
    p.z_multiplier = b.attributes().Float("z_multiplier", 0);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(b.attributes()));
  const auto fused = FusedActivation::Of(activation, b.isa());
  p.activation = fused.function;
  p.a = fused.a;
  p.b = fused.b;
  p.y_multiplier = b.attributes().Float("y_multiplier", 1);
  const UnaryCall unary = FromActivation(activation);
  p.rectifier = kernels::MakeRectifierTable(unary.kind, unary.a, p.y_multiplier);
  p.leaky = fused.IsLeaky();
  p.swish = unary.kind == kernels::UnaryKind::kSwish && unary.a == 1;
  const auto& kernels = kernels::GetQDepthwise(kernels::BestIntegerIsa());
  auto plan = std::make_shared<kernels::QDepthwisePlan>();
  if (!plan->Make(shape, p, weights, multipliers, scales > 1, bias, kernels))
    return Unsupported("a window of " + std::to_string(shape.kernel_h) + " x " +
                       std::to_string(shape.kernel_w));
  const int64_t units = plan->units(), grain = Grain(shape, units);
  b.Run([plan = std::move(plan), units, grain, run = kernels.run,
         residual = p.residual](const RunContext& c) {
    const kernels::QDepthwiseCall call = {c.in<uint8_t>(0), c.out<void>(),
                                          residual ? c.in<uint8_t>(4) : nullptr};
    c.parallel.ParallelFor(
        units, grain, [&](int64_t begin, int64_t end) { run(plan->view(), call, begin, end); });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
