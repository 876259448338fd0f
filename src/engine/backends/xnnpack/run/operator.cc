#include "engine/backends/xnnpack/run/operator.h"

#include <string>
#include <vector>

namespace slipway::xnnpack {
namespace {

size_t Size(int64_t n) { return static_cast<size_t>(n); }
uint32_t U32(int64_t n) { return static_cast<uint32_t>(n); }
int8_t S8(int32_t n) { return static_cast<int8_t>(n); }
uint8_t U8(int32_t n) { return static_cast<uint8_t>(n); }

Status FromXnn(xnn_status status, const char* what) {
  const std::string name = what;
  switch (status) {
    case xnn_status_success:
      return OkStatus();
    case xnn_status_out_of_memory:
      return ResourceExhausted("no memory for " + name);
    case xnn_status_invalid_parameter:
    case xnn_status_unsupported_parameter:
    case xnn_status_unsupported_hardware:
      return Unsupported("XNNPACK refuses " + name + " (status " +
                         std::to_string(static_cast<int>(status)) +
                         "); compile for another platform");
    default:
      return Internal("XNNPACK fails at " + name + " (status " +
                      std::to_string(static_cast<int>(status)) + ")");
  }
}

const char* Name(const Stage& s) {
  constexpr const char* kNames[] = {"a convolution",
                                    "a transposed convolution",
                                    "a linear layer",
                                    "a product of two matrices",
                                    "a maximum pool",
                                    "an average pool",
                                    "a global average",
                                    "a function",
                                    "a function of two operands",
                                    "PRelu",
                                    "Softmax",
                                    "a copy",
                                    "padding",
                                    "resizing",
                                    "shuffled channels",
                                    "depth to space",
                                    "quantization",
                                    "dequantization",
                                    "our function",
                                    "flipped bits"};
  return kNames[static_cast<size_t>(s.kind)];
}

// The weights in XNNPACK's order: output, window, input of the group. `out` keeps what is copied.
template <typename T>
const T* Ordered(const Stage& s, const slipway_step& step, std::vector<T>& out) {
  const slipway_tensor& t = step.inputs[s.weights];
  const T* w = static_cast<const T*>(t.data);
  const int64_t window = s.kernel[0] * s.kernel[1], inputs = s.channels / s.group,
                outputs = s.outputs / s.group;
  if (s.order == Weights::kAsIs || (s.order == Weights::kConv && window == 1)) return w;
  out.resize(Size(s.outputs * inputs * window));
  if (s.order == Weights::kConv) {
    for (int64_t o = 0; o < s.outputs; ++o) {
      for (int64_t i = 0; i < inputs; ++i) {
        for (int64_t k = 0; k < window; ++k)
          out[Size((o * window + k) * inputs + i)] = w[(o * inputs + i) * window + k];
      }
    }
  } else if (s.order == Weights::kDeconv) {
    for (int64_t g = 0; g < s.group; ++g) {
      for (int64_t i = 0; i < inputs; ++i) {
        for (int64_t o = 0; o < outputs; ++o) {
          for (int64_t k = 0; k < window; ++k)
            out[Size(((g * outputs + o) * window + k) * inputs + i)] =
                w[((g * inputs + i) * outputs + o) * window + k];
        }
      }
    }
  } else {
    for (int64_t i = 0; i < inputs; ++i) {
      for (int64_t o = 0; o < s.outputs; ++o) out[Size(o * inputs + i)] = w[i * s.outputs + o];
    }
  }
  return out.data();
}

template <typename T>
const T* Constant(const slipway_step& step, int i) {
  return i < 0 ? nullptr : static_cast<const T*>(step.inputs[i].data);
}

}  // namespace

Result<Operator> Operator::Make(const Stage& stage, const slipway_step& step) {
  Operator op(stage);
  SLIPWAY_RETURN_IF_ERROR(op.Create(step));
  return op;
}

Operator::~Operator() {
  if (handle_) xnn_delete_operator(handle_);
}

Status Operator::Create(const slipway_step& step) {
  const Stage& s = *stage_;
  const bool f32 = s.type == DType::kFloat32, s8 = s.type == DType::kInt8;
  const size_t c = Size(s.channels), o = Size(s.outputs);
  xnn_status status = xnn_status_unsupported_parameter;
  xnn_operator_t* h = &handle_;
  switch (s.kind) {
    case Kind::kConv:
    case Kind::kDeconv: {
      const size_t gi = Size(s.channels / s.group), go = Size(s.outputs / s.group);
      const uint32_t top = U32(s.pad_begin[0]), left = U32(s.pad_begin[1]),
                     bottom = U32(s.pad_end[0]), right = U32(s.pad_end[1]), kh = U32(s.kernel[0]),
                     kw = U32(s.kernel[1]), sh = U32(s.stride[0]), sw = U32(s.stride[1]),
                     dh = U32(s.dilation[0]), dw = U32(s.dilation[1]), g = U32(s.group);
      if (f32) {
        std::vector<float> room;
        const float* w = Ordered<float>(s, step, room);
        const auto create = s.kind == Kind::kConv ? xnn_create_convolution2d_nhwc_f32
                                                  : xnn_create_deconvolution2d_nhwc_f32;
        status = create(top, right, bottom, left, kh, kw, sh, sw, dh, dw, g, gi, go, c, o, w,
                        Constant<float>(step, s.bias), s.low, s.high, 0, h);
      } else {
        std::vector<int8_t> room;
        const int8_t* w = Ordered<int8_t>(s, step, room);
        const slipway_tensor& m = step.inputs[s.scales];
        const auto* scales = static_cast<const float*>(m.data);
        // A scale of 1 before and behind: what is multiplied with is the multiplier itself.
        std::vector<float> each(o);
        const bool one = m.bytes < sizeof(float) * o || m.rank == 0 || m.dims[0] == 1;
        for (size_t i = 0; i < o; ++i) each[i] = scales[one ? 0 : i];
        status = xnn_create_convolution2d_nhwc_qc8(top, right, bottom, left, kh, kw, sh, sw, dh, dw,
                                                   g, gi, go, c, o, S8(s.a_zero), 1.0f, each.data(),
                                                   w, Constant<int32_t>(step, s.bias), S8(s.y_zero),
                                                   1.0f, S8(s.q_low), S8(s.q_high), 0, h);
      }
      break;
    }
    case Kind::kLinear:
      status = xnn_create_fully_connected_nc_f32(
          c, o, c, o, Constant<float>(step, s.weights), Constant<float>(step, s.bias), s.low,
          s.high, s.order == Weights::kTransposed ? XNN_FLAG_TRANSPOSE_WEIGHTS : 0, h);
      break;
    case Kind::kMaxPool: {
      const uint32_t top = U32(s.pad_begin[0]), left = U32(s.pad_begin[1]),
                     bottom = U32(s.pad_end[0]), right = U32(s.pad_end[1]), kh = U32(s.kernel[0]),
                     kw = U32(s.kernel[1]), sh = U32(s.stride[0]), sw = U32(s.stride[1]),
                     dh = U32(s.dilation[0]), dw = U32(s.dilation[1]);
      if (f32)
        status = xnn_create_max_pooling2d_nhwc_f32(top, right, bottom, left, kh, kw, sh, sw, dh, dw,
                                                   c, c, c, s.low, s.high, 0, h);
      else if (s8)
        status = xnn_create_max_pooling2d_nhwc_s8(top, right, bottom, left, kh, kw, sh, sw, dh, dw,
                                                  c, c, c, S8(s.q_low), S8(s.q_high), 0, h);
      else
        status = xnn_create_max_pooling2d_nhwc_u8(top, right, bottom, left, kh, kw, sh, sw, dh, dw,
                                                  c, c, c, U8(s.q_low), U8(s.q_high), 0, h);
      break;
    }
    case Kind::kAveragePool:
      status = xnn_create_average_pooling2d_nhwc_f32(
          U32(s.pad_begin[0]), U32(s.pad_end[1]), U32(s.pad_end[0]), U32(s.pad_begin[1]),
          U32(s.kernel[0]), U32(s.kernel[1]), U32(s.stride[0]), U32(s.stride[1]), c, c, c, s.low,
          s.high, 0, h);
      break;
    case Kind::kGlobalAveragePool:
      status = f32 ? xnn_create_global_average_pooling_nwc_f32(c, c, c, s.low, s.high, 0, h)
                   : xnn_create_global_average_pooling_nwc_qs8(c, c, c, S8(s.a_zero), s.a_scale,
                                                               S8(s.y_zero), 1.0f, S8(s.q_low),
                                                               S8(s.q_high), 0, h);
      break;
    case Kind::kUnary:
      switch (s.unary) {
        case Unary::kClamp:
          status = xnn_create_clamp_nc_f32(c, c, c, s.low, s.high, 0, h);
          break;
        case Unary::kSigmoid:
          status = xnn_create_sigmoid_nc_f32(c, c, c, 0, h);
          break;
        case Unary::kHardSwish:
          status = xnn_create_hardswish_nc_f32(c, c, c, 0, h);
          break;
        case Unary::kElu:
          status = xnn_create_elu_nc_f32(c, c, c, s.alpha, 0, h);
          break;
        case Unary::kLeakyRelu:
          status = xnn_create_leaky_relu_nc_f32(c, c, c, s.alpha, 0, h);
          break;
        case Unary::kAbs:
          status = xnn_create_abs_nc_f32(c, c, c, 0, h);
          break;
        case Unary::kNegate:
          status = xnn_create_negate_nc_f32(c, c, c, 0, h);
          break;
        case Unary::kCeil:
          status = xnn_create_ceiling_nc_f32(c, c, c, 0, h);
          break;
        case Unary::kFloor:
          status = xnn_create_floor_nc_f32(c, c, c, 0, h);
          break;
        case Unary::kRound:
          status = xnn_create_bankers_rounding_nc_f32(c, c, c, 0, h);
          break;
        case Unary::kSqrt:
          status = xnn_create_square_root_nc_f32(c, c, c, 0, h);
          break;
      }
      break;
    case Kind::kBinary:
      if (!f32) {
        const auto create =
            s.binary == Binary::kAdd ? xnn_create_add_nd_qs8 : xnn_create_multiply_nd_qs8;
        status = create(S8(s.a_zero), s.a_scale, S8(s.b_zero), s.b_scale, S8(s.y_zero), 1.0f,
                        S8(s.q_low), S8(s.q_high), 0, h);
        break;
      }
      switch (s.binary) {
        case Binary::kAdd:
          status = xnn_create_add_nd_f32(s.low, s.high, 0, h);
          break;
        case Binary::kSub:
          status = xnn_create_subtract_nd_f32(s.low, s.high, 0, h);
          break;
        case Binary::kMul:
          status = xnn_create_multiply_nd_f32(s.low, s.high, 0, h);
          break;
        case Binary::kDiv:
          status = xnn_create_divide_nd_f32(s.low, s.high, 0, h);
          break;
        case Binary::kMax:
          status = xnn_create_maximum_nd_f32(0, h);
          break;
        case Binary::kMin:
          status = xnn_create_minimum_nd_f32(0, h);
          break;
      }
      break;
    case Kind::kPRelu:
      return OkStatus();  // CreatePRelu: its slopes are the plan's
    case Kind::kSoftmax:
      status = xnn_create_softmax_nc_f32(c, c, c, 0, h);
      break;
    case Kind::kCopy: {
      const auto create = s.size == 4 ? xnn_create_copy_nc_x32 : xnn_create_copy_nc_x8;
      status = create(c, Size(s.a_step), Size(s.y_step), 0, h);
      break;
    }
    case Kind::kPad: {
      const auto create =
          s.size == 4 ? xnn_create_constant_pad_nd_x32 : xnn_create_constant_pad_nd_x8;
      status = create(&s.pad_value, 0, h);
      break;
    }
    case Kind::kResize:
      status = xnn_create_resize_bilinear2d_nhwc_f32(
          c, c, c,
          s.flags & kAlignCorners ? XNN_FLAG_ALIGN_CORNERS
          : s.flags & kLegacy     ? XNN_FLAG_TENSORFLOW_LEGACY_MODE
                                  : 0,
          h);
      break;
    case Kind::kShuffle: {
      const auto create =
          s.size == 4 ? xnn_create_channel_shuffle_nc_x32 : xnn_create_channel_shuffle_nc_x8;
      const size_t all = Size(s.group) * c;
      status = create(Size(s.group), c, all, all, 0, h);
      break;
    }
    case Kind::kDepthToSpace:
      status = xnn_create_depth_to_space_nhwc_x32(o, c, o, U32(s.size), 0, h);
      break;
    case Kind::kQuantize:
      status = s8 ? xnn_create_convert_nc_f32_qs8(c, c, c, s.a_scale, S8(s.a_zero), S8(s.q_low),
                                                  S8(s.q_high), 0, h)
                  : xnn_create_convert_nc_f32_qu8(c, c, c, s.a_scale, U8(s.a_zero), U8(s.q_low),
                                                  U8(s.q_high), 0, h);
      break;
    case Kind::kDequantize:
      status = s8 ? xnn_create_convert_nc_qs8_f32(c, c, c, s.a_scale, S8(s.a_zero), 0, h)
                  : xnn_create_convert_nc_qu8_f32(c, c, c, s.a_scale, U8(s.a_zero), 0, h);
      break;
    case Kind::kMatMul:  // made in every run
    case Kind::kFunction:
    case Kind::kFlip:
      return OkStatus();
  }
  return FromXnn(status, Name(s));
}

xnn_status Operator::Setup(const void* a, const void* b, void* y, pthreadpool_t pool) {
  const Stage& s = *stage_;
  const bool f32 = s.type == DType::kFloat32, s8 = s.type == DType::kInt8;
  const size_t n = Size(s.batch), ih = Size(s.in[0]), iw = Size(s.in[1]);
  const auto* fa = static_cast<const float*>(a);
  const auto* fb = static_cast<const float*>(b);
  auto* fy = static_cast<float*>(y);
  const auto* qa = static_cast<const int8_t*>(a);
  const auto* qb = static_cast<const int8_t*>(b);
  auto* qy = static_cast<int8_t*>(y);
  const auto* ua = static_cast<const uint8_t*>(a);
  auto* uy = static_cast<uint8_t*>(y);
  switch (s.kind) {
    case Kind::kConv:
      return f32 ? xnn_setup_convolution2d_nhwc_f32(handle_, n, ih, iw, fa, fy, pool)
                 : xnn_setup_convolution2d_nhwc_qc8(handle_, n, ih, iw, qa, qy, pool);
    case Kind::kDeconv:
      return xnn_setup_deconvolution2d_nhwc_f32(handle_, n, ih, iw, U32(s.adjust[0]),
                                                U32(s.adjust[1]), fa, fy, pool);
    case Kind::kLinear:
      return xnn_setup_fully_connected_nc_f32(handle_, n, fa, fy, pool);
    case Kind::kMaxPool:
      return f32  ? xnn_setup_max_pooling2d_nhwc_f32(handle_, n, ih, iw, fa, fy, pool)
             : s8 ? xnn_setup_max_pooling2d_nhwc_s8(handle_, n, ih, iw, qa, qy, pool)
                  : xnn_setup_max_pooling2d_nhwc_u8(handle_, n, ih, iw, ua, uy, pool);
    case Kind::kAveragePool:
      return xnn_setup_average_pooling2d_nhwc_f32(handle_, n, ih, iw, fa, fy, pool);
    case Kind::kGlobalAveragePool:
      return f32 ? xnn_setup_global_average_pooling_nwc_f32(handle_, n, iw, fa, fy, pool)
                 : xnn_setup_global_average_pooling_nwc_qs8(handle_, n, iw, qa, qy, pool);
    case Kind::kUnary:
      switch (s.unary) {
        case Unary::kClamp:
          return xnn_setup_clamp_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kSigmoid:
          return xnn_setup_sigmoid_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kHardSwish:
          return xnn_setup_hardswish_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kElu:
          return xnn_setup_elu_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kLeakyRelu:
          return xnn_setup_leaky_relu_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kAbs:
          return xnn_setup_abs_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kNegate:
          return xnn_setup_negate_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kCeil:
          return xnn_setup_ceiling_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kFloor:
          return xnn_setup_floor_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kRound:
          return xnn_setup_bankers_rounding_nc_f32(handle_, 1, fa, fy, pool);
        case Unary::kSqrt:
          return xnn_setup_square_root_nc_f32(handle_, 1, fa, fy, pool);
      }
      return xnn_status_invalid_parameter;
    case Kind::kBinary: {
      const size_t an = s.a_dims.size(), bn = s.b_dims.size();
      const size_t *ad = s.a_dims.data(), *bd = s.b_dims.data();
      if (!f32) {
        const auto setup =
            s.binary == Binary::kAdd ? xnn_setup_add_nd_qs8 : xnn_setup_multiply_nd_qs8;
        return setup(handle_, an, ad, bn, bd, qa, qb, qy, pool);
      }
      switch (s.binary) {
        case Binary::kAdd:
          return xnn_setup_add_nd_f32(handle_, an, ad, bn, bd, fa, fb, fy, pool);
        case Binary::kSub:
          return xnn_setup_subtract_nd_f32(handle_, an, ad, bn, bd, fa, fb, fy, pool);
        case Binary::kMul:
          return xnn_setup_multiply_nd_f32(handle_, an, ad, bn, bd, fa, fb, fy, pool);
        case Binary::kDiv:
          return xnn_setup_divide_nd_f32(handle_, an, ad, bn, bd, fa, fb, fy, pool);
        case Binary::kMax:
          return xnn_setup_maximum_nd_f32(handle_, an, ad, bn, bd, fa, fb, fy, pool);
        case Binary::kMin:
          return xnn_setup_minimum_nd_f32(handle_, an, ad, bn, bd, fa, fb, fy, pool);
      }
      return xnn_status_invalid_parameter;
    }
    case Kind::kPRelu:
      return xnn_setup_prelu_nc_f32(handle_, n, fa, fy, pool);
    case Kind::kSoftmax:
      return xnn_setup_softmax_nc_f32(handle_, n, fa, fy, pool);
    case Kind::kCopy:
      return s.size == 4 ? xnn_setup_copy_nc_x32(handle_, n, a, y, pool)
                         : xnn_setup_copy_nc_x8(handle_, n, a, y, pool);
    case Kind::kPad: {
      const auto setup = s.size == 4 ? xnn_setup_constant_pad_nd_x32 : xnn_setup_constant_pad_nd_x8;
      return setup(handle_, s.a_dims.size(), s.a_dims.data(), s.before.data(), s.after.data(), a, y,
                   pool);
    }
    case Kind::kResize:
      return xnn_setup_resize_bilinear2d_nhwc_f32(handle_, n, ih, iw, Size(s.out[0]),
                                                  Size(s.out[1]), fa, fy, pool);
    case Kind::kShuffle:
      return s.size == 4 ? xnn_setup_channel_shuffle_nc_x32(handle_, n, a, y, pool)
                         : xnn_setup_channel_shuffle_nc_x8(handle_, n, a, y, pool);
    case Kind::kDepthToSpace:
      return xnn_setup_depth_to_space_nhwc_x32(handle_, n, ih, iw, a, y, pool);
    case Kind::kQuantize:
      return s8 ? xnn_setup_convert_nc_f32_qs8(handle_, 1, fa, qy, pool)
                : xnn_setup_convert_nc_f32_qu8(handle_, 1, fa, uy, pool);
    case Kind::kDequantize:
      return s8 ? xnn_setup_convert_nc_qs8_f32(handle_, 1, qa, fy, pool)
                : xnn_setup_convert_nc_qu8_f32(handle_, 1, ua, fy, pool);
    case Kind::kMatMul:
    case Kind::kFunction:
    case Kind::kFlip:
      break;
  }
  return xnn_status_invalid_parameter;
}

Status Operator::Multiply(pthreadpool_t pool) {
  const Stage& s = *stage_;
  const size_t k = Size(s.channels), n = Size(s.outputs), rows = Size(s.batch);
  const uint32_t flags = s.order == Weights::kTransposed ? XNN_FLAG_TRANSPOSE_WEIGHTS : 0;
  const auto* a = static_cast<const float*>(a_);
  const auto* b = static_cast<const float*>(b_);
  auto* y = static_cast<float*>(const_cast<void*>(y_));
  for (int64_t i = 0; i < s.matrices; ++i) {
    const size_t at = Size(i);
    if (i % s.group == 0) {
      if (handle_) xnn_delete_operator(std::exchange(handle_, nullptr));
      SLIPWAY_RETURN_IF_ERROR(
          FromXnn(xnn_create_fully_connected_nc_f32(k, n, k, n, b + Size(i / s.group) * k * n,
                                                    nullptr, s.low, s.high, flags, &handle_),
                  Name(s)));
    }
    SLIPWAY_RETURN_IF_ERROR(FromXnn(
        xnn_setup_fully_connected_nc_f32(handle_, rows, a + at * rows * k, y + at * rows * n, pool),
        Name(s)));
    SLIPWAY_RETURN_IF_ERROR(FromXnn(xnn_run_operator(handle_, pool), Name(s)));
  }
  return OkStatus();
}

Status Operator::Bind(const void* a, const void* b, void* y, pthreadpool_t pool) {
  if (stage_->kind == Kind::kFlip || stage_->kind == Kind::kFunction) return OkStatus();
  if (stage_->kind == Kind::kPRelu && !handle_) {
    const size_t c = Size(stage_->channels);
    SLIPWAY_RETURN_IF_ERROR(FromXnn(
        xnn_create_prelu_nc_f32(c, c, c, static_cast<const float*>(b), 0, &handle_), "PRelu"));
  }
  if (a == a_ && b == b_ && y == y_) return OkStatus();
  if (stage_->kind == Kind::kMatMul) {
    a_ = a;
    b_ = b;
    y_ = y;
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(FromXnn(Setup(a, b, y, pool), Name(*stage_)));
  a_ = a;
  b_ = b;
  y_ = y;
  return OkStatus();
}

Status Operator::Run(pthreadpool_t pool) {
  if (stage_->kind == Kind::kMatMul) return Multiply(pool);
  return FromXnn(xnn_run_operator(handle_, pool), Name(*stage_));
}

}  // namespace slipway::xnnpack
