// Conv, slipway.Conv and slipway.QConv.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/cpu.h"
#include "engine/backends/onednn/run/backend.h"
#include "engine/backends/onednn/run/step.h"
#include "model/ops/window.h"

namespace slipway::backends::onednn {
namespace {

using dt = dnnl::memory::data_type;

struct ConvShape {
  dnnl::memory::dims strides, dilations, pads, pads_end;
  MemoryDesc x, y, w_plain, w_any;
  int64_t group = 1;
};

Result<ConvShape> ReadShape(Builder& b) {
  ConvShape s;
  const Dims x = b.InputDims(0), w = b.InputDims(1), y = b.OutputDims(0);
  s.group = b.attributes().Int("group", 1);
  if (x.rank() < 3 || x.rank() > 5 || w.rank() != x.rank() || y.rank() != x.rank() || s.group < 1 ||
      w[0] % s.group != 0 || w[1] < 1 || w[1] * s.group != x[1] || y[1] != w[0] || y[0] != x[0]) {
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " with group " + std::to_string(s.group) + " make no convolution");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window window,
                           ops::ResolveWindow(b.attributes(), x, y, std::span(w).subspan(2)));
  for (int d = 3 - window.spatial; d < 3; ++d) {
    const int64_t dilation = window.kernel[d] == 1 ? 1 : window.dilation[d];
    const int64_t span = (window.kernel[d] - 1) * dilation + 1,
                  padded = window.in[d] + window.pad_begin[d] + window.pad_end[d];
    // oneDNN 2.6 checks little of this and its generated code runs astray.
    if (window.pad_begin[d] < 0 || window.pad_end[d] < 0) return Unsupported("negative padding");
    if (span > padded || (padded - span) / window.stride[d] + 1 != window.out[d]) {
      return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() +
                             " do not fit the window");
    }
    if (window.pad_begin[d] >= span || window.pad_end[d] >= span)
      return Unsupported("a window of nothing but padding");
    s.strides.push_back(window.stride[d]);
    s.dilations.push_back(dilation - 1);
    s.pads.push_back(window.pad_begin[d]);
    s.pads_end.push_back(window.pad_end[d]);
  }
  SLIPWAY_ASSIGN_OR_RETURN(s.x, b.Desc(b.input(0)));
  SLIPWAY_ASSIGN_OR_RETURN(s.y, b.Desc(b.output(0)));
  SLIPWAY_ASSIGN_OR_RETURN(const dt type, ToDnnl(b.input(1).dtype));
  dnnl::memory::dims dims = ToDnnlDims(w);
  if (s.group > 1) {
    dims[0] /= s.group;
    dims.insert(dims.begin(), s.group);
  }
  s.w_plain = PlainDesc(dims, type);
  s.w_any = MemoryDesc(dims, type, dnnl::memory::format_tag::any);
  return s;
}

dnnl::convolution_forward::primitive_desc MakeConv(const ConvShape& s, const MemoryDesc& bias,
                                                   const dnnl::primitive_attr& attr,
                                                   bool winograd = false) {
  auto make = [&](dnnl::algorithm algorithm) -> dnnl::convolution_forward::primitive_desc {
    dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference, algorithm, s.x,
                                         s.w_any, bias, s.y, s.strides, s.dilations, s.pads,
                                         s.pads_end);
    return {desc, attr, Engine()};
  };
  if (winograd) {
    try {
      return make(dnnl::algorithm::convolution_winograd);
    } catch (const dnnl::error& e) {  // not for these shapes, or not on this CPU
      if (e.status != dnnl_unimplemented) throw;
    }
  }
  return make(dnnl::algorithm::convolution_direct);
}

Status AddConv(Builder& b, const ConvShape& s, const dnnl::convolution_forward::primitive_desc& pd,
               size_t bias_input, const MemoryDesc& bias) {
  // Its SSE4.1 epilogue of a matrix product reads rows with instructions that fault on unaligned
  // addresses (2.6.3).
  if (!HasFeature(CpuFeature::kAvx2) &&
      std::string_view(pd.impl_info_str()).starts_with("gemm")) {
    return Unsupported("a convolution by matrix product on a CPU without AVX2");
  }
  SLIPWAY_ASSIGN_OR_RETURN(dnnl::memory weights, b.Weight(1, s.w_plain, pd.weights_desc()));
  std::vector<Builder::Arg> args = {{DNNL_ARG_SRC, b.At(s.x, InputAt(0))},
                                    {DNNL_ARG_WEIGHTS, weights},
                                    {DNNL_ARG_DST, b.At(s.y, OutputAt(0))}};
  if (b.Has(bias_input)) args.push_back({DNNL_ARG_BIAS, b.At(bias, InputAt(bias_input))});
  b.Add<dnnl::convolution_forward>(pd, std::move(args));
  return OkStatus();
}

Result<MemoryDesc> BiasDesc(Builder& b, size_t i, uint32_t dtype, int64_t channels) {
  if (!b.Has(i)) return MemoryDesc();
  if (b.InputDims(i) != Dims{channels} || b.input(i).dtype != dtype)
    return InvalidArgument("the bias does not fit the output channels");
  SLIPWAY_ASSIGN_OR_RETURN(const dt type, ToDnnl(dtype));
  return MemoryDesc({channels}, type, dnnl::memory::format_tag::a);
}

Status CheckResidual(Builder& b, size_t i) {
  const slipway_tensor &z = b.input(i), &y = b.output(0);
  if (b.InputDims(i) != b.OutputDims(0) || z.layout != y.layout || z.bytes != y.bytes) {
    return InvalidArgument("the residual must have the shape and layout of the output");
  }
  return OkStatus();
}

}  // namespace

Status BuildConv(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2, 1));
  SLIPWAY_ASSIGN_OR_RETURN(const ConvShape s, ReadShape(b));
  if (b.OutputDims(0).count() == 0) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc bias,
                           BiasDesc(b, 2, b.input(0).dtype, b.OutputDims(0)[1]));
  dnnl::primitive_attr attr = Attr();
  dnnl::post_ops post_ops;
  if (b.Has(3)) {
    SLIPWAY_RETURN_IF_ERROR(CheckResidual(b, 3));
    if (b.input(3).dtype != b.output(0).dtype)
      return InvalidArgument("the residual has another element type than the output");
    post_ops.append_sum(1.0f);
    b.Accumulate(3);
  }
  if (b.op().domain == "slipway") SLIPWAY_RETURN_IF_ERROR(b.Activate(post_ops));
  attr.set_post_ops(post_ops);
  const auto pd = MakeConv(s, bias, attr, b.attributes().String("kernel", "").ends_with(kWinograd));
  return AddConv(b, s, pd, 2, bias);
}

Status BuildQConv(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3, 1));
  SLIPWAY_ASSIGN_OR_RETURN(const ConvShape s, ReadShape(b));
  if (b.OutputDims(0).count() == 0) return OkStatus();
  const int64_t channels = b.OutputDims(0)[1];
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc bias,
                           BiasDesc(b, 3, static_cast<uint32_t>(DType::kInt32), channels));
  dnnl::primitive_attr attr = Attr();
  SLIPWAY_RETURN_IF_ERROR(QuantizedAttr(b, channels, 4, attr));
  const auto pd = MakeConv(s, bias, attr);
  return AddConv(b, s, pd, 3, bias);
}

Status QuantizedAttr(Builder& b, int64_t channels, size_t residual, dnnl::primitive_attr& attr) {
  const ops::Attributes& a = b.attributes();
  const slipway_tensor& y = b.output(0);
  const bool to_float = y.dtype == static_cast<uint32_t>(DType::kFloat32);
  const bool is_unsigned = y.dtype == static_cast<uint32_t>(DType::kUInt8);
  if (!to_float && !is_unsigned && y.dtype != static_cast<uint32_t>(DType::kInt8))
    return Unsupported("an output type other than 8 bit and float32");
  if (!HasFeature(CpuFeature::kAvx512Vnni) && !HasFeature(CpuFeature::kAvxVnni)) {
    return Unsupported(
        "8-bit products on a CPU without VNNI (oneDNN would saturate); compile for this CPU");
  }
  const int64_t x_zero = a.Int("x_zero_point", 0), y_zero = a.Int("y_zero_point", 0),
                z_zero = a.Int("z_zero_point", 0);
  if (x_zero != 0) return Unsupported("an input zero point");
  // Multipliers: one or one a channel.
  SLIPWAY_ASSIGN_OR_RETURN(const void* data, b.Constant(2));
  const int64_t count = b.InputDims(2).count();
  if (b.input(2).dtype != static_cast<uint32_t>(DType::kFloat32) ||
      (count != 1 && count != channels)) {
    return InvalidArgument("the multiplier must be float32, one or one an output channel");
  }
  const float* m = static_cast<const float*>(data);
  attr.set_output_scales(count == 1 ? 0 : 1 << 1, std::vector<float>(m, m + count));
  dnnl::post_ops post_ops;
  if (b.Has(residual)) {
    const slipway_tensor& z = b.input(residual);
    SLIPWAY_RETURN_IF_ERROR(CheckResidual(b, residual));
    SLIPWAY_ASSIGN_OR_RETURN(const dt type, ToDnnl(z.dtype));
    if (type != dt::u8 && type != dt::s8) return Unsupported("a residual that is not 8 bit");
    if (z_zero != 0) return Unsupported("a residual zero point");
    post_ops.append_sum(a.Float("z_multiplier", 0), 0, z.dtype == y.dtype ? dt::undef : type);
    b.Accumulate(residual);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(a));
  // oneDNN 2.6 takes the parameters of two eltwise post-ops of one kind for the same: linear parts
  // and clamps are put together.
  constexpr float kMost = std::numeric_limits<float>::max();
  float low = -kMost, high = kMost;
  const bool active = activation.kind != ops::ActivationKind::kNone;
  if (active) {
    const float m = a.Float("y_multiplier", 1);
    if (!(m > 0 && m < kMost)) return Unsupported("a y_multiplier that is not positive");
    float shift = 0, slope = m;
    if (activation.kind == ops::ActivationKind::kHardSigmoid) {
      slope = activation.a * m;
      shift = activation.b * m;
      low = 0;
      high = m;
    } else if (activation.kind == ops::ActivationKind::kClip) {
      high = std::min(activation.b * m, kMost);
      low = std::min(std::max(activation.a * m, -kMost), high);
    } else {
      SLIPWAY_RETURN_IF_ERROR(AppendActivation(activation, post_ops));
    }
    post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_linear, slope, shift);
  }
  bool relu = false;
  if (!to_float) {
    const int64_t lo = a.Int("q_min", -128), hi = a.Int("q_max", 127);
    const int64_t type_lo = is_unsigned ? 0 : -128, type_hi = is_unsigned ? 255 : 127;
    if (y_zero < type_lo || y_zero > type_hi)
      return InvalidArgument("y_zero_point outside the output type");
    if (lo > type_lo || hi < type_hi) {
      relu = !active && hi >= type_hi && lo == y_zero;
      const float least = static_cast<float>(std::max(lo, type_lo) - y_zero),
                  most = static_cast<float>(std::min(hi, type_hi) - y_zero);
      low = std::clamp(low, least, most);
      high = std::clamp(high, least, most);
    }
    if (y_zero != 0) attr.set_zero_points(DNNL_ARG_DST, 0, {static_cast<int32_t>(y_zero)});
  }
  if (relu) {
    post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0, 0);
  } else if (low > -kMost || high < kMost) {
    post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_clip, low, high);
  }
  attr.set_post_ops(post_ops);
  return OkStatus();
}

}  // namespace slipway::backends::onednn
