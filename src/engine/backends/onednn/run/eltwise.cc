// Elementwise operators with one or two inputs, softmax, normalisation, concatenation, layout
// conversion.

#include <algorithm>
#include <limits>

#include "engine/backends/onednn/run/step.h"

namespace slipway::backends::onednn {
namespace {

using dt = dnnl::memory::data_type;
using tag = dnnl::memory::format_tag;

Status SameLayout(Builder& b, size_t i) {
  if (b.input(i).layout == b.output(0).layout && b.input(i).bytes == b.output(0).bytes &&
      b.input(i).dtype == b.output(0).dtype) {
    return OkStatus();
  }
  return InvalidArgument(b.op().op + " needs an output like its input");
}

struct UnaryRow {
  const char* op;
  dnnl::algorithm algorithm;
  float alpha, beta;
};
constexpr UnaryRow kUnary[] = {
    {"Relu", dnnl::algorithm::eltwise_relu, 0, 0},
    {"Sigmoid", dnnl::algorithm::eltwise_logistic, 0, 0},
    {"HardSwish", dnnl::algorithm::eltwise_hardswish, 0, 0},
    {"Tanh", dnnl::algorithm::eltwise_tanh, 0, 0},
    {"Abs", dnnl::algorithm::eltwise_abs, 0, 0},
    {"Sqrt", dnnl::algorithm::eltwise_sqrt, 0, 0},
    {"Exp", dnnl::algorithm::eltwise_exp, 0, 0},
    {"Mish", dnnl::algorithm::eltwise_mish, 0, 0},
    {"Softplus", dnnl::algorithm::eltwise_soft_relu, 0, 0},
};

Result<float> ScalarOr(Builder& b, size_t i, float fallback) {
  if (!b.Has(i)) return fallback;
  SLIPWAY_ASSIGN_OR_RETURN(const void* data, b.Constant(i));
  if (b.input(i).dtype != static_cast<uint32_t>(DType::kFloat32) || b.InputDims(i).count() != 1) {
    return InvalidArgument("the bounds of Clip must be float32 scalars");
  }
  return *static_cast<const float*>(data);
}

// The activation a one-input operator stands for, as post-ops of an identity.
Result<ops::Activation> AsActivation(Builder& b) {
  using ops::ActivationKind;
  const ops::Attributes& a = b.attributes();
  const std::string& op = b.op().op;
  if (op == "LeakyRelu")
    return ops::Activation{ActivationKind::kLeakyRelu, a.Float("alpha", 0.01f), 0};
  if (op == "Swish") return ops::Activation{ActivationKind::kSwish, a.Float("alpha", 1), 0};
  if (op == "Elu") return ops::Activation{ActivationKind::kElu, a.Float("alpha", 1), 0};
  if (op == "Gelu") {
    return ops::Activation{a.String("approximate", "none") == "tanh" ? ActivationKind::kGeluTanh
                                                                     : ActivationKind::kGelu,
                           0, 0};
  }
  if (op == "Clip") {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    SLIPWAY_ASSIGN_OR_RETURN(const float lo, ScalarOr(b, 1, -kInf));
    SLIPWAY_ASSIGN_OR_RETURN(const float hi, ScalarOr(b, 2, kInf));
    return ops::Activation{ActivationKind::kClip, lo, hi};
  }
  return Unsupported("onednn has no " + op);
}

Status AddEltwise(Builder& b, const MemoryDesc& desc, dnnl::algorithm algorithm, float alpha,
                  float beta) {
  const dnnl::eltwise_forward::primitive_desc pd(
      {dnnl::prop_kind::forward_inference, algorithm, desc, alpha, beta}, Attr(), Engine());
  b.Add<dnnl::eltwise_forward>(
      pd, {{DNNL_ARG_SRC, b.At(desc, InputAt(0))}, {DNNL_ARG_DST, b.At(desc, OutputAt(0))}});
  return OkStatus();
}

}  // namespace

Status BuildUnary(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1, 1));
  SLIPWAY_RETURN_IF_ERROR(SameLayout(b, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const dt type, ToDnnl(b.input(0).dtype));
  const int64_t count = static_cast<int64_t>(b.output(0).bytes /
                                             (DTypeBits(static_cast<DType>(b.input(0).dtype)) / 8));
  if (count == 0) return OkStatus();
  // All of these keep zero at zero or work on plain tensors, so the padding of blocked layouts may
  // be treated like data (Candidates sees to it).
  const MemoryDesc flat({count}, type, tag::a);
  for (const UnaryRow& row : kUnary) {
    if (b.op().op == row.op) return AddEltwise(b, flat, row.algorithm, row.alpha, row.beta);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, AsActivation(b));
  dnnl::post_ops post_ops;
  SLIPWAY_RETURN_IF_ERROR(AppendActivation(activation, post_ops));
  if (post_ops.len() != 1) return Unsupported("onednn has no single primitive for " + b.op().op);
  float scale, alpha, beta;
  dnnl::algorithm algorithm;
  post_ops.get_params_eltwise(0, scale, algorithm, alpha, beta);
  return AddEltwise(b, flat, algorithm, alpha, beta);
}

Status BuildBinary(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2, 1));
  const std::string& op = b.op().op;
  const dnnl::algorithm algorithm = op == "Add"   ? dnnl::algorithm::binary_add
                                    : op == "Sub" ? dnnl::algorithm::binary_sub
                                    : op == "Mul" ? dnnl::algorithm::binary_mul
                                    : op == "Div" ? dnnl::algorithm::binary_div
                                    : op == "Max" ? dnnl::algorithm::binary_max
                                                  : dnnl::algorithm::binary_min;
  if (b.num_inputs() != 2) return Unsupported(op + " of more than two inputs");
  const Dims y = b.OutputDims(0);
  if (y.count() == 0) return OkStatus();
  const bool commutes = op != "Sub" && op != "Div";
  size_t first = 0, second = 1;
  if (b.InputDims(0) != y && commutes) std::swap(first, second);
  if (b.InputDims(first) != y) return Unsupported("broadcasting the first operand of " + op);
  SLIPWAY_RETURN_IF_ERROR(SameLayout(b, first));
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc dy, b.Desc(b.output(0)));
  SLIPWAY_ASSIGN_OR_RETURN(MemoryDesc d1, b.Desc(b.input(second)));
  const Dims other = b.InputDims(second);
  if (other.rank() > y.rank())
    return InvalidArgument("the operands of " + op + " do not broadcast");
  if (other.rank() != y.rank()) {
    if (b.input(second).layout != 0)
      return Unsupported("broadcasting an operand of lower rank in this layout");
    dnnl::memory::dims dims(y.size() - other.size(), 1);
    dims.insert(dims.end(), other.begin(), other.end());
    if (dims.empty()) dims = {1};
    d1 = PlainDesc(dims, d1.data_type());
  }
  dnnl::primitive_attr attr = Attr();
  if (b.op().domain == "slipway") {
    dnnl::post_ops post_ops;
    SLIPWAY_RETURN_IF_ERROR(b.Activate(post_ops));
    attr.set_post_ops(post_ops);
  }
  const dnnl::binary::primitive_desc pd({algorithm, dy, d1, dy}, attr, Engine());
  b.Add<dnnl::binary>(pd, {{DNNL_ARG_SRC_0, b.At(dy, InputAt(first))},
                           {DNNL_ARG_SRC_1, b.At(d1, InputAt(second))},
                           {DNNL_ARG_DST, b.At(dy, OutputAt(0))}});
  return OkStatus();
}

Status BuildSoftmax(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1, 1));
  SLIPWAY_RETURN_IF_ERROR(SameLayout(b, 0));
  const Dims x = b.InputDims(0);
  int64_t axis = b.attributes().Int("axis", -1);
  if (axis < 0) axis += x.rank();
  if (x.rank() < 1 || axis < 0 || axis >= x.rank())
    return InvalidArgument("the axis of Softmax is outside the rank");
  if (x.count() == 0) return OkStatus();
  if (b.input(0).layout != 0) return Unsupported("Softmax in a layout other than plain");
  const int a = static_cast<int>(axis);
  const MemoryDesc desc({x.count(0, a), x[static_cast<size_t>(a)], x.count(a + 1, x.rank())},
                        dt::f32, tag::abc);
  if (desc.get_size() > b.input(0).bytes)
    return InvalidArgument("X of Softmax is smaller than its shape says");
  const dnnl::softmax_v2_forward::primitive_desc pd(
      {dnnl::prop_kind::forward_inference, dnnl::algorithm::softmax_accurate, desc, desc, 1},
      Attr(), Engine());
  b.Add<dnnl::softmax_v2_forward>(
      pd, {{DNNL_ARG_SRC, b.At(desc, InputAt(0))}, {DNNL_ARG_DST, b.At(desc, OutputAt(0))}});
  return OkStatus();
}

Status BuildLayerNorm(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2, 1));
  SLIPWAY_RETURN_IF_ERROR(SameLayout(b, 0));
  const Dims x = b.InputDims(0);
  int64_t axis = b.attributes().Int("axis", -1);
  if (axis < 0) axis += x.rank();
  if (axis < 0 || axis >= x.rank())
    return InvalidArgument("the axis of LayerNormalization is outside the rank");
  if (x.count() == 0) return OkStatus();
  const int64_t rows = x.count(0, static_cast<int>(axis)),
                columns = x.count(static_cast<int>(axis), x.rank());
  if (b.input(0).layout != 0) return Unsupported("LayerNormalization in a layout other than plain");
  for (size_t i = 1; i < b.num_inputs(); ++i) {
    if (b.Has(i) && (b.InputDims(i).count() != columns || b.input(i).dtype != b.input(0).dtype)) {
      return Unsupported("a scale or bias of LayerNormalization that broadcasts");
    }
  }
  const MemoryDesc desc({rows, columns}, dt::f32, tag::ab), vector({columns}, dt::f32, tag::a);
  if (desc.get_size() > b.input(0).bytes)
    return InvalidArgument("X of LayerNormalization is smaller than its shape says");
  auto flags = dnnl::normalization_flags::use_scale;
  if (b.Has(2)) flags |= dnnl::normalization_flags::use_shift;
  const dnnl::layer_normalization_forward::primitive_desc pd(
      {dnnl::prop_kind::forward_inference, desc, b.attributes().Float("epsilon", 1e-5f), flags},
      Attr(), Engine());
  std::vector<Builder::Arg> args = {{DNNL_ARG_SRC, b.At(desc, InputAt(0))},
                                    {DNNL_ARG_SCALE, b.At(vector, InputAt(1))},
                                    {DNNL_ARG_DST, b.At(desc, OutputAt(0))}};
  if (b.Has(2)) args.push_back({DNNL_ARG_SHIFT, b.At(vector, InputAt(2))});
  b.Add<dnnl::layer_normalization_forward>(pd, std::move(args));
  return OkStatus();
}

Status BuildBatchNorm(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(5, 1));
  SLIPWAY_RETURN_IF_ERROR(SameLayout(b, 0));
  const Dims x = b.InputDims(0);
  if (x.rank() < 2) return InvalidArgument("BatchNormalization needs rank 2 or more");
  if (x.count() == 0) return OkStatus();
  for (size_t i = 1; i < 5; ++i) {
    if (b.InputDims(i) != Dims{x[1]} || b.input(i).dtype != b.input(0).dtype)
      return InvalidArgument("the vectors of BatchNormalization do not fit the channels");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc desc, b.Desc(b.input(0)));
  const MemoryDesc vector({x[1]}, dt::f32, tag::a);
  using flag = dnnl::normalization_flags;
  const dnnl::batch_normalization_forward::primitive_desc pd(
      {dnnl::prop_kind::forward_inference, desc, b.attributes().Float("epsilon", 1e-5f),
       flag::use_global_stats | flag::use_scale | flag::use_shift},
      Attr(), Engine());
  b.Add<dnnl::batch_normalization_forward>(pd, {{DNNL_ARG_SRC, b.At(desc, InputAt(0))},
                                                {DNNL_ARG_SCALE, b.At(vector, InputAt(1))},
                                                {DNNL_ARG_SHIFT, b.At(vector, InputAt(2))},
                                                {DNNL_ARG_MEAN, b.At(vector, InputAt(3))},
                                                {DNNL_ARG_VARIANCE, b.At(vector, InputAt(4))},
                                                {DNNL_ARG_DST, b.At(desc, OutputAt(0))}});
  return OkStatus();
}

Status BuildConcat(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1, 1));
  const Dims y = b.OutputDims(0);
  int64_t axis = b.attributes().Int("axis", 0);
  if (axis < 0) axis += y.rank();
  if (axis < 0 || axis >= y.rank())
    return InvalidArgument("the axis of Concat is outside the rank");
  if (y.count() == 0) return OkStatus();
  std::vector<MemoryDesc> descs;
  std::vector<size_t> from;
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    if (!b.Has(i)) return InvalidArgument("Concat with an absent input");
    if (b.InputDims(i).count() == 0) continue;
    SLIPWAY_ASSIGN_OR_RETURN(MemoryDesc desc, b.Desc(b.input(i)));
    descs.push_back(desc);
    from.push_back(i);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc dy, b.Desc(b.output(0)));
  const dnnl::concat::primitive_desc pd(dy, static_cast<int>(axis), descs, Engine(), Attr());
  std::vector<Builder::Arg> args = {{DNNL_ARG_DST, b.At(dy, OutputAt(0))}};
  for (size_t i = 0; i < from.size(); ++i) {
    args.push_back({DNNL_ARG_MULTIPLE_SRC + static_cast<int>(i), b.At(descs[i], InputAt(from[i]))});
  }
  b.Add<dnnl::concat>(pd, std::move(args));
  return OkStatus();
}

Status BuildReorder(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1, 1));
  if (b.InputDims(0) != b.OutputDims(0) || b.input(0).dtype != b.output(0).dtype) {
    return InvalidArgument("Reorder needs an output of the input's shape and type");
  }
  if (b.OutputDims(0).count() == 0) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc x, b.Desc(b.input(0)));
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc y, b.Desc(b.output(0)));
  const dnnl::reorder::primitive_desc pd(Engine(), x, Engine(), y, Attr());
  b.Add<dnnl::reorder>(pd,
                       {{DNNL_ARG_FROM, b.At(x, InputAt(0))}, {DNNL_ARG_TO, b.At(y, OutputAt(0))}});
  return OkStatus();
}

}  // namespace slipway::backends::onednn
