// slipway.QConv and slipway.QLinear of few levels, with weights packed by the compile side
// (compile/bits.cc) as slipway.QConvBits and slipway.QLinearBits: inputs as theirs without the
// weights (absent), and the packed bytes. Bit-exact with model/ops.

#include "engine/kernels/bits/bits.h"

#include <algorithm>
#include <limits>

#include "base/aligned.h"
#include "engine/backends/x86/run/step.h"
#include "model/ops/activation.h"
#include "model/ops/quantized.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

bool IsCode(DType t) { return t == DType::kUInt8 || t == DType::kInt8; }

// What the codes of the input are, and the number of outputs and groups.
Status ReadCodes(Builder& b, kernels::BitsConv& c) {
  const ops::Attributes& a = b.attributes();
  if (!IsCode(b.in_type())) return Unsupported(std::string(DTypeName(b.in_type())) + " input");
  const int64_t planes = a.Int("x_planes", 0), shift = a.Int("x_shift", 0), low = a.Int("x_low", 0);
  if (planes < 1 || planes > 2 || shift < 0 || shift > 1 || low < -128 || low > 255)
    return InvalidArgument("x_planes, x_shift or x_low that cannot be");
  c.a_planes = static_cast<int>(planes);
  c.a_shift = static_cast<int>(shift);
  c.a_low = static_cast<int32_t>(low);
  SLIPWAY_ASSIGN_OR_RETURN(c.a_zero, ops::ReadZeroPoint(a, "x_zero_point", b.in_type()));
  c.weights.groups = a.Int("group", 1);
  c.weights.outputs = a.Int("outputs", 0);
  c.weights.channels = a.Int("channels", 0);
  const int64_t w_planes = a.Int("w_planes", 0);
  c.weights.planes = w_planes == 1 || w_planes == 2 ? static_cast<int>(w_planes) : 0;
  return OkStatus();
}

Status ReadFinish(Builder& b, int64_t outputs, kernels::BitsFinish& f) {
  const ops::Attributes& a = b.attributes();
  if (!b.Has(2) || b.in_type(2) != DType::kFloat32)
    return InvalidArgument("a multiplier that is not float32");
  const int64_t count = b.in_dims(2).count();
  if (count != 1 && count != outputs)
    return InvalidArgument("the multiplier must have one element or one an output");
  f.per_output = count > 1;
  if (b.Has(3)) {
    SLIPWAY_RETURN_IF_ERROR(b.NeedType(3, DType::kInt32));
    if (b.in_dims(3).count() != outputs) return InvalidArgument("a bias of another extent");
  }
  if (b.Has(4)) {
    if (!IsCode(b.in_type(4))) return Unsupported("a residual that is not of 8 bits");
    if (b.in_dims(4) != b.out_dims() || b.in_layout(4) != b.out_layout())
      return InvalidArgument("the residual must have the shape and layout of the output");
    f.residual_signed = b.in_type(4) == DType::kInt8;
    SLIPWAY_ASSIGN_OR_RETURN(f.z_zero, ops::ReadZeroPoint(a, "z_zero_point", b.in_type(4)));
    f.z_multiplier = a.Float("z_multiplier", 0);
  }
  if (!IsCode(b.out_type()) && b.out_type() != DType::kFloat32)
    return Unsupported(std::string(DTypeName(b.out_type())) + " output");
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to, ops::MakeRequantizer(a, b.out_type()));
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(a));
  if (activation.kind != ops::ActivationKind::kNone) {
    const bool relu = activation.kind == ops::ActivationKind::kRelu;
    if (!relu && activation.kind != ops::ActivationKind::kClip)
      return Unsupported("an activation other than Relu and Clip");
    f.clamps = true;
    f.lowest = relu ? 0 : activation.a;
    f.highest = relu ? std::numeric_limits<float>::infinity() : activation.b;
    f.y_multiplier = a.Float("y_multiplier", 1);
  }
  f.to = b.out_type() == DType::kFloat32 ? 2 : b.out_type() == DType::kInt8 ? 1 : 0;
  f.zero_point = to.zero_point;
  f.low = to.lo;
  f.high = to.hi;
  return OkStatus();
}

// `images`: how many there are; x and y hold them one behind the other.
Status Finish(Builder& b, const kernels::BitsConv& c, int64_t images) {
  const kernels::BitsWeights& w = c.weights;
  if (!w.Valid()) return InvalidArgument("weights whose extents cannot be");
  if (!b.Has(5) || b.in_type(5) != DType::kUInt8 || b.in_dims(5).count() != w.bytes())
    return InvalidArgument("packed weights of another size");
  kernels::BitsFinish f;
  SLIPWAY_RETURN_IF_ERROR(ReadFinish(b, w.groups * w.outputs, f));
  const auto pixels = CheckedMul(c.height, c.width);
  const auto words = pixels ? CheckedMul(*pixels, w.groups * c.pixel_words()) : std::nullopt;
  if (!words || *words > (int64_t{1} << 40)) return ResourceExhausted("an image too large");
  if (images == 0 || b.out_dims().count() == 0) return OkStatus();
  const auto aligned = [](int64_t bytes) {
    return static_cast<int64_t>(RoundUp(bytes, int64_t{kAlignment}));
  };
  const int64_t sums_at = aligned(c.planes_bytes()), windows_at = sums_at + aligned(c.sums_bytes());
  b.Workspace(static_cast<uint64_t>(windows_at + aligned(c.windows_bytes())));
  const kernels::BitsKernels& kernels = kernels::GetBits(b.isa());
  const int64_t x_bytes = c.in_height * c.in_width * w.groups * w.channels,
                y_count = c.out_height * c.out_width * w.groups * w.outputs,
                y_bytes = y_count * (f.to == 2 ? 4 : 1);
  // A few microseconds of work at least for a thread.
  const auto grain = [](int64_t all, int64_t cost) {
    return std::clamp<int64_t>((int64_t{1} << 14) / std::max<int64_t>(cost, 1), 1,
                               std::max<int64_t>(all, 1));
  };
  const int64_t row_grain = grain(c.height, c.width * w.groups * c.pixel_words() * 4),
                window_grain = grain(c.out_height, c.out_width * w.groups * w.taps),
                pixel_grain = grain(c.out_height * c.out_width,
                                    w.groups * w.panels() * w.taps * c.pixel_words() * w.planes);
  const bool bias = b.Has(3), residual = b.Has(4);
  b.Run([=, pack = kernels.pack, windows = kernels.windows,
         convolve = kernels.convolve](const RunContext& r) {
    auto* space = static_cast<uint8_t*>(r.workspace);
    auto* planes = reinterpret_cast<uint64_t*>(space);
    auto* sums = reinterpret_cast<int32_t*>(space + sums_at);
    auto* terms = reinterpret_cast<uint32_t*>(space + windows_at);
    for (int64_t i = 0; i < images; ++i) {
      const uint8_t* x = r.in<uint8_t>(0) + i * x_bytes;
      kernels::BitsFinish to = f;
      to.multiplier = r.in<float>(2);
      to.bias = bias ? r.in<int32_t>(3) : nullptr;
      to.residual = residual ? r.in<uint8_t>(4) + i * y_count : nullptr;
      uint8_t* y = r.out<uint8_t>() + i * y_bytes;
      r.parallel.ParallelFor(c.height, row_grain, [&](int64_t begin, int64_t end) {
        pack(c, x, planes, sums, begin, end);
      });
      r.parallel.ParallelFor(c.out_height, window_grain, [&](int64_t begin, int64_t end) {
        windows(c, sums, terms, begin, end);
      });
      r.parallel.ParallelFor(c.out_height * c.out_width, pixel_grain,
                             [&](int64_t begin, int64_t end) {
                               convolve(c, planes, terms, r.in<uint8_t>(5), to, y, begin, end);
                             });
    }
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace

Status BuildQConvBits(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  kernels::BitsConv c;
  SLIPWAY_RETURN_IF_ERROR(ReadCodes(b, c));
  const Dims x = b.in_dims(), y = b.out_dims();
  const auto taps = b.attributes().Ints("kernel_shape");
  if (x.rank() < 3 || x.rank() > 4) return Unsupported("rank " + std::to_string(x.rank()));
  if (b.in_layout() != Layout::kChannelsLast || b.out_layout() != Layout::kChannelsLast)
    return Unsupported("a layout other than channels-last");
  if (y.rank() != x.rank() || static_cast<int>(taps.size()) != x.rank() - 2 || y[0] != x[0])
    return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() + " make no convolution");
  kernels::BitsWeights& w = c.weights;
  const auto in = CheckedMul(w.groups, w.channels), out = CheckedMul(w.groups, w.outputs);
  if (w.groups < 1 || !in || !out || *in != x[1] || *out != y[1])
    return InvalidArgument("channels that do not fit the weights");
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window window,
                           ops::ResolveWindow(b.attributes(), x, y, taps));
  for (int d = 3 - window.spatial; d < 3; ++d) {
    const int64_t span = (window.kernel[d] - 1) * window.dilation[d] + 1,
                  padded = window.in[d] + window.pad_begin[d] + window.pad_end[d];
    if (window.pad_begin[d] < 0 || window.pad_end[d] < 0) return Unsupported("negative padding");
    if (window.pad_begin[d] >= span || window.pad_end[d] >= span)
      return Unsupported("a window of nothing but padding");
    if (span > padded || (padded - span) / window.stride[d] + 1 != window.out[d])
      return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() +
                             " do not fit the window");
  }
  w.taps = window.KernelCount();
  c.in_height = window.in[1];
  c.in_width = window.in[2];
  c.out_height = window.out[1];
  c.out_width = window.out[2];
  c.kernel_height = window.kernel[1];
  c.kernel_width = window.kernel[2];
  c.stride_height = window.stride[1];
  c.stride_width = window.stride[2];
  c.dilation_height = window.dilation[1];
  c.dilation_width = window.dilation[2];
  c.pad_top = window.pad_begin[1];
  c.pad_left = window.pad_begin[2];
  const auto extent = [](int64_t outputs, int64_t stride, int64_t kernel, int64_t dilation,
                         int64_t pad, int64_t inputs) {
    return std::max((std::max<int64_t>(outputs, 1) - 1) * stride + (kernel - 1) * dilation + 1,
                    pad + inputs);
  };
  c.height = extent(c.out_height, c.stride_height, c.kernel_height, c.dilation_height, c.pad_top,
                    c.in_height);
  c.width =
      extent(c.out_width, c.stride_width, c.kernel_width, c.dilation_width, c.pad_left, c.in_width);
  return Finish(b, c, x[0]);
}

Status BuildQLinearBits(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  kernels::BitsConv c;
  SLIPWAY_RETURN_IF_ERROR(ReadCodes(b, c));
  const Dims x = b.in_dims(), y = b.out_dims();
  bool fits = c.weights.groups == 1 && x.rank() >= 1 && y.rank() == x.rank() &&
              x.back() == c.weights.channels && y.back() == c.weights.outputs;
  for (size_t i = 0; fits && i + 1 < x.size(); ++i) fits = x[i] == y[i];
  if (!fits)
    return InvalidArgument("an output " + y.ToString() + " that does not fit the input " +
                           x.ToString());
  c.in_width = c.out_width = c.width = x.count(0, x.rank() - 1);
  return Finish(b, c, c.in_width == 0 ? 0 : 1);
}

}  // namespace slipway::backends::x86
