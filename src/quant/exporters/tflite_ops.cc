// The operators of a TensorFlow Lite file.

#include <algorithm>
#include <cmath>
#include <map>

#include "quant/exporters/tflite.h"

namespace slipway::quant {
namespace {

using ir::Node;
using ir::Tensor;
using ir::Value;
using Code = fb::BuiltinOperator;

int64_t Rank(const Value* v) { return static_cast<int64_t>(v->type().shape->size()); }

std::vector<int64_t> ToVector(std::span<const int64_t> s) { return {s.begin(), s.end()}; }

// The element order of an image does not depend on the layout.
bool SameOrder(const std::vector<int64_t>& nhwc) {
  return nhwc.size() != 4 || nhwc[3] == 1 || (nhwc[1] == 1 && nhwc[2] == 1);
}

}  // namespace

TfliteWriter::Emit TfliteWriter::EmitterOf(const Node& n) {
  if (!n.domain().empty()) return nullptr;
  static const std::map<std::string, Emit> kTable = {
      {"Conv", &TfliteWriter::Conv},
      {"Gemm", &TfliteWriter::Dense},
      {"MatMul", &TfliteWriter::Dense},
      {"MaxPool", &TfliteWriter::Pool},
      {"AveragePool", &TfliteWriter::Pool},
      {"GlobalAveragePool", &TfliteWriter::GlobalPool},
      {"Add", &TfliteWriter::Binary},
      {"Mul", &TfliteWriter::Binary},
      {"Sub", &TfliteWriter::Binary},
      {"Relu", &TfliteWriter::Unary},
      {"Clip", &TfliteWriter::Unary},
      {"Sigmoid", &TfliteWriter::Unary},
      {"Tanh", &TfliteWriter::Unary},
      {"HardSwish", &TfliteWriter::Unary},
      {"LeakyRelu", &TfliteWriter::Unary},
      {"Elu", &TfliteWriter::Unary},
      {"Gelu", &TfliteWriter::Unary},
      {"Exp", &TfliteWriter::Unary},
      {"Softmax", &TfliteWriter::SoftmaxOp},
      {"Concat", &TfliteWriter::Concat},
      {"Reshape", &TfliteWriter::Reshape},
      {"Flatten", &TfliteWriter::Reshape},
      {"Squeeze", &TfliteWriter::Reshape},
      {"Unsqueeze", &TfliteWriter::Reshape},
      {"Identity", &TfliteWriter::Reshape},
      {"Transpose", &TfliteWriter::Transpose},
      {"Pad", &TfliteWriter::Pad},
      {"Slice", &TfliteWriter::Slice},
      {"Resize", &TfliteWriter::Resize},
      {"DepthToSpace", &TfliteWriter::DepthToSpace},
      {"Split", &TfliteWriter::Split},
      {"LayerNormalization", &TfliteWriter::LayerNorm},
      {"Gather", &TfliteWriter::Gather},
      {"ReduceMean", &TfliteWriter::Mean},
      {"ReduceSum", &TfliteWriter::Mean},
      {"Div", &TfliteWriter::Binary},
      {"Max", &TfliteWriter::Binary},
      {"Min", &TfliteWriter::Binary},
      {"Abs", &TfliteWriter::Unary},
      {"Sqrt", &TfliteWriter::Unary},
      {"Log", &TfliteWriter::Unary},
      {"Neg", &TfliteWriter::Unary},
      {"Sin", &TfliteWriter::Unary},
      {"Cos", &TfliteWriter::Unary},
      {"Floor", &TfliteWriter::Unary},
      {"Ceil", &TfliteWriter::Unary},
      {"HardSigmoid", &TfliteWriter::HardSigmoid},
      {"BatchNormalization", &TfliteWriter::BatchNorm},
  };
  const auto it = kTable.find(n.op());
  return it == kTable.end() ? nullptr : it->second;
}

Result<int> TfliteWriter::Padded(const Site& s, int x, const std::vector<int64_t>& kernel,
                                 bool lowest, fb::Padding* padding) {
  const Node& n = *s.node;
  const auto mode = n.attributes.String("auto_pad", "NOTSET");
  if (mode == "VALID" || mode == "SAME_UPPER") {
    *padding = mode == "VALID" ? fb::Padding::VALID : fb::Padding::SAME;
    return x;
  }
  if (mode != "NOTSET") return Refuse(n, "auto_pad " + std::string(mode) + " has no form there");
  std::vector<int64_t> pads = ToVector(n.attributes.Ints("pads"));
  if (pads.empty()) pads = {0, 0, 0, 0};
  const auto strides = n.attributes.Ints("strides"), dilations = n.attributes.Ints("dilations");
  const std::vector<int64_t> in = file_.ShapeOf(x);
  if (pads.size() != 4 || in.size() != 4)
    return Refuse(n, "TensorFlow Lite has windows over images of two dimensions only");
  if (n.attributes.Int("ceil_mode", 0) != 0) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto result, Shape(n.output()));
    bool beyond = false;  // the last window reaches beyond the padding
    for (size_t i = 0; i < 2; ++i) {
      const int64_t stride = i < strides.size() ? strides[i] : 1;
      const int64_t more =
          (result[i + 1] - 1) * stride + kernel[i] - in[i + 1] - pads[i] - pads[i + 2];
      beyond = beyond || more > 0;
      pads[i + 2] += std::max<int64_t>(0, more);
    }
    if (beyond && n.attributes.Int("count_include_pad", 0) != 0)
      return Refuse(
          n, "TensorFlow Lite has no average that counts padding, but not that of ceil_mode");
  }
  *padding = fb::Padding::VALID;
  if (std::all_of(pads.begin(), pads.end(), [](int64_t p) { return p == 0; })) return x;
  bool same = true;
  for (size_t i = 0; i < 2; ++i) {
    const int64_t stride = i < strides.size() ? strides[i] : 1;
    const int64_t reach = (kernel[i] - 1) * (i < dilations.size() ? dilations[i] : 1) + 1;
    const int64_t out = (in[i + 1] + stride - 1) / stride;
    const int64_t total = std::max<int64_t>((out - 1) * stride + reach - in[i + 1], 0);
    same = same && pads[i] == total / 2 && pads[i + 2] == total - total / 2;
  }
  if (same) {
    *padding = fb::Padding::SAME;
    return x;
  }
  if (std::any_of(pads.begin(), pads.end(), [](int64_t p) { return p < 0; }))
    return Refuse(n, "TensorFlow Lite has no negative padding");
  if (n.Is("AveragePool") && n.attributes.Int("count_include_pad", 0) == 0)
    return Refuse(n, "TensorFlow Lite averages over padding other than SAME with the padded zeros");
  const std::string name = n.name() + "/pad";
  const int amounts = file_.Constant(
      name + "/paddings",
      Tensor::Vector(
          std::vector<int32_t>{0, 0, static_cast<int32_t>(pads[0]), static_cast<int32_t>(pads[2]),
                               static_cast<int32_t>(pads[1]), static_cast<int32_t>(pads[3]), 0, 0})
          .Reshaped({4, 2}));
  const int out =
      Like(name, {in[0], in[1] + pads[0] + pads[2], in[2] + pads[1] + pads[3], in[3]}, x);
  if (!lowest) {
    file_.Op(Code::PAD, s.coded ? 2 : 1, {x, amounts}, {out});
    return out;
  }
  const int value =
      s.coded ? file_.Constant(name + "/value", Tensor::Scalar<int8_t>(-128), file_.QuantOf(x))
              : file_.Constant(name + "/value", Tensor::Scalar<float>(-INFINITY));
  file_.Op(Code::PADV2, s.coded ? 2 : 1, {x, amounts, value}, {out});
  return out;
}

Status TfliteWriter::Weighted(const Site& s, int x, const std::vector<int>& perm, int64_t outputs,
                              std::vector<int>* inputs, bool* per_channel) {
  const Node& n = *s.node;
  const Value* bias = s.bias ? s.bias->input(s.bias->input(0) == n.output() ? 1 : 0) : n.input(2);
  *inputs = {x};
  *per_channel = false;
  if (!s.coded) {
    for (const Value* v : {static_cast<const Value*>(n.input(1)), bias}) {
      if (!v) continue;
      if (!v->constant() || v->dtype() != DType::kFloat32)
        return Refuse(n, "its operand '" + v->name() + "' is no float constant");
      Tensor value = *v->constant();
      if (v == n.input(1)) {
        SLIPWAY_ASSIGN_OR_RETURN(value, PermutedConstant(value, perm));
      }
      inputs->push_back(file_.Constant(v->name(), value));
    }
    return OkStatus();
  }
  const Node& dq = *n.input(1)->producer();
  SLIPWAY_ASSIGN_OR_RETURN(TfliteQuant q, QuantFor(dq));
  const Tensor& codes = *dq.constant_input(0);
  if (codes.dtype() != DType::kInt8 ||
      std::any_of(q.zeros.begin(), q.zeros.end(), [](int64_t z) { return z != 0; }))
    return Refuse(n, "its weights are no symmetric int8 codes");
  if (q.scales.size() > 1) {
    int64_t axis = dq.attributes.Int("axis", 1);
    if (axis < 0) axis += codes.dims().rank();
    q.axis = static_cast<int>(std::find(perm.begin(), perm.end(), axis) - perm.begin());
    if (static_cast<int64_t>(q.scales.size()) != outputs)
      return Refuse(n, "its weights have scales for another axis than the outputs");
    *per_channel = true;
  }
  SLIPWAY_ASSIGN_OR_RETURN(Tensor moved, PermutedConstant(codes, perm));
  if (*per_channel && perm.size() == 2)  // see Dense
    moved = moved.Reshaped({moved.dims()[0], 1, 1, moved.dims()[1]});
  const int w = file_.Constant(n.input(1)->name(), moved, q);
  tensors_[n.input(1)] = w;
  inputs->push_back(w);

  TfliteQuant steps;
  const double sx = file_.QuantOf(x).scales[0];
  for (float sw : q.scales) steps.scales.push_back(static_cast<float>(sx * double{sw}));
  steps.zeros.assign(steps.scales.size(), 0);
  if (!bias) {
    const std::vector<int32_t> zeros(static_cast<size_t>(outputs));
    inputs->push_back(file_.Constant(n.name() + "/bias", Tensor::Vector(zeros), steps));
    return OkStatus();
  }
  const Node* of_bias = bias->producer();
  if (!of_bias || !of_bias->IsSlipway("Dequantize") || !of_bias->constant_input(0) ||
      of_bias->constant_input(0)->dtype() != DType::kInt32)
    return Refuse(n, "its bias '" + bias->name() + "' is not in int32");
  SLIPWAY_ASSIGN_OR_RETURN(const TfliteQuant have, QuantFor(*of_bias));
  for (size_t c = 0; c < std::max(have.scales.size(), steps.scales.size()); ++c) {
    const double a = have.scales[have.scales.size() == 1 ? 0 : c];
    const double b = steps.scales[steps.scales.size() == 1 ? 0 : c];
    if (std::fabs(a - b) > 1e-6 * b)
      return Refuse(n, "its bias is not on the scale of the products, s_x * s_w");
  }
  const Tensor& b = *of_bias->constant_input(0);
  if (b.count() != outputs) return Refuse(n, "its bias has not one element for each output");
  const int at = file_.Constant(bias->name(), b.Reshaped({outputs}), steps);
  tensors_[bias] = at;
  inputs->push_back(at);
  return OkStatus();
}

Status TfliteWriter::Conv(const Site& s) {
  const Node& n = *s.node;
  const Value* w = n.input(1);
  const Tensor* weights = w->constant()   ? w->constant()
                          : w->producer() ? w->producer()->constant_input(0)
                                          : nullptr;
  if (!weights || weights->dims().rank() != 4)
    return Refuse(n, "only convolutions of images with constant weights are written");
  const Dims& k = weights->dims();
  SLIPWAY_ASSIGN_OR_RETURN(int x, In(s, 0));
  const int64_t group = n.attributes.Int("group", 1);
  const bool depthwise = group > 1 && k[1] == 1 && file_.ShapeOf(x)[3] == group;
  fb::Padding padding;
  SLIPWAY_ASSIGN_OR_RETURN(x, Padded(s, x, {k[2], k[3]}, false, &padding));
  std::vector<int> inputs;
  bool per_channel;
  SLIPWAY_RETURN_IF_ERROR(
      Weighted(s, x, depthwise ? std::vector<int>{1, 2, 3, 0} : std::vector<int>{0, 2, 3, 1}, k[0],
               &inputs, &per_channel));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  const auto strides = n.attributes.Ints("strides"), dilations = n.attributes.Ints("dilations");
  const auto at = [](std::span<const int64_t> v, size_t i) {
    return static_cast<int32_t>(i < v.size() ? v[i] : 1);
  };
  const auto fill = [&](auto options) {
    options.padding = padding;
    options.stride_h = at(strides, 0);
    options.stride_w = at(strides, 1);
    options.dilation_h_factor = at(dilations, 0);
    options.dilation_w_factor = at(dilations, 1);
    options.activation = s.fused;
    return options;
  };
  if (depthwise) {
    auto options = fill(fb::DepthwiseConv2DOptionsT());
    options.depth_multiplier = static_cast<int32_t>(k[0] / group);
    file_.Op(Code::DEPTHWISE_CONV_2D, s.coded ? 3 : 2, inputs, {out}, options);
  } else {
    file_.Op(Code::CONV_2D,
             s.coded     ? 3
             : group > 1 ? 6
                         : 2,
             inputs, {out}, fill(fb::Conv2DOptionsT()));
  }
  return OkStatus();
}

Status TfliteWriter::Dense(const Site& s) {
  const Node& n = *s.node;
  const Value* w = n.input(1);
  const Tensor* weights = w->constant()   ? w->constant()
                          : w->producer() ? w->producer()->constant_input(0)
                                          : nullptr;
  const int64_t rank = Rank(n.input(0));
  if (n.Is("MatMul") && !weights) return BatchMatMul(s);
  if (!weights || weights->dims().rank() != 2 || rank > 4 || rank < 2 || IsImage(n.input(0)))
    return Refuse(n, "only products with constant matrices are written");
  if (n.Is("Gemm") && (n.attributes.Float("alpha", 1) != 1 || n.attributes.Float("beta", 1) != 1 ||
                       n.attributes.Int("transA", 0) != 0))
    return Refuse(n, "it has alpha, beta or transA");
  const bool rows = n.Is("Gemm") && n.attributes.Int("transB", 0) != 0;
  SLIPWAY_ASSIGN_OR_RETURN(int x, In(s, 0));
  const int64_t outputs = weights->dims()[rows ? 0 : 1];
  std::vector<int> inputs;
  bool per_channel;
  SLIPWAY_RETURN_IF_ERROR(Weighted(s, x, rows ? std::vector<int>{0, 1} : std::vector<int>{1, 0},
                                   outputs, &inputs, &per_channel));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  if (!per_channel) {
    fb::FullyConnectedOptionsT options;
    options.activation = s.fused;
    options.keep_num_dims = rank > 2;
    file_.Op(Code::FULLY_CONNECTED, rank > 2 ? 5 : s.coded ? 4 : 1, inputs, {out}, options);
    return OkStatus();
  }
  // Scales per channel came to FULLY_CONNECTED late (version 12); CONV_2D has them everywhere.
  const auto reshape = [&](const std::string& name, int from, std::vector<int64_t> shape, int to) {
    if (to < 0) to = Like(name, shape, from);
    fb::ReshapeOptionsT options;
    options.new_shape.assign(shape.begin(), shape.end());
    file_.Op(Code::RESHAPE, 1, {from, file_.Ints(name + "/shape", shape)}, {to}, options);
    return to;
  };
  const std::vector<int64_t> in = file_.ShapeOf(x), result = file_.ShapeOf(out);
  if (rank == 4) {  // as it lies
    fb::Conv2DOptionsT options;
    options.padding = fb::Padding::VALID;
    options.stride_h = options.stride_w = 1;
    options.activation = s.fused;
    file_.Op(Code::CONV_2D, 3, inputs, {out}, options);
    return OkStatus();
  }
  const int64_t middle = rank == 3 ? in[1] : 1;
  inputs[0] = reshape(n.name() + "/image", x, {in[0], middle, 1, in.back()}, -1);
  const int y = Like(n.name() + "/product", {in[0], middle, 1, outputs}, out);
  fb::Conv2DOptionsT options;
  options.padding = fb::Padding::VALID;
  options.stride_h = options.stride_w = 1;
  options.activation = s.fused;
  file_.Op(Code::CONV_2D, 3, inputs, {y}, options);
  reshape(n.name() + "/rows", y, result, out);
  return OkStatus();
}

Status TfliteWriter::Pool(const Site& s) {
  const Node& n = *s.node;
  const bool max = n.Is("MaxPool");
  const auto kernel = n.attributes.Ints("kernel_shape");
  const auto strides = n.attributes.Ints("strides"), dilations = n.attributes.Ints("dilations");
  if (kernel.size() != 2 || n.output(1) ||
      std::any_of(dilations.begin(), dilations.end(), [](int64_t d) { return d != 1; }))
    return Refuse(n, "TensorFlow Lite pools images, without dilation and indices");
  SLIPWAY_ASSIGN_OR_RETURN(int x, In(s, 0));
  fb::Padding padding;
  SLIPWAY_ASSIGN_OR_RETURN(x, Padded(s, x, ToVector(kernel), max, &padding));
  if (padding == fb::Padding::SAME && !max && n.attributes.Int("count_include_pad", 0) != 0)
    return Refuse(n, "TensorFlow Lite's SAME does not count padded zeros");
  if (s.coded && !max) {
    SLIPWAY_ASSIGN_OR_RETURN(const TfliteQuant q, QuantFor(*s.quantize));
    if (!(q == file_.QuantOf(x)))
      return Refuse(n,
                    "its input and output have different scales, and TensorFlow Lite's average "
                    "pooling has one");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
  fb::Pool2DOptionsT options;
  options.padding = padding;
  options.stride_h = static_cast<int32_t>(strides.empty() ? 1 : strides[0]);
  options.stride_w = static_cast<int32_t>(strides.size() < 2 ? 1 : strides[1]);
  options.filter_height = static_cast<int32_t>(kernel[0]);
  options.filter_width = static_cast<int32_t>(kernel[1]);
  options.activation = s.fused;
  file_.Op(max ? Code::MAX_POOL_2D : Code::AVERAGE_POOL_2D, s.coded ? 2 : 1, {x}, {out}, options);
  return FinishMove(s, out);
}

Status TfliteWriter::GlobalPool(const Site& s) {
  if (Rank(s.node->input(0)) != 4) return Refuse(*s.node, "only images are pooled");
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  const int axes = file_.Ints(s.node->name() + "/axes", {1, 2});
  fb::ReducerOptionsT options;
  options.keep_dims = true;
  file_.Op(Code::MEAN, s.coded ? 2 : 1, {x, axes}, {out}, options);
  return OkStatus();
}

Status TfliteWriter::Binary(const Site& given) {
  const Node& n = *given.node;
  const bool real = n.Is("Div") || n.Is("Max") || n.Is("Min");  // in float
  if (n.inputs().size() != 2) return Refuse(n, "it has not two operands");
  if (real && given.coded) floats_.push_back(n.name());
  const Site s = real ? Site{&n} : given;
  std::vector<int> inputs;
  const bool image = IsImage(n.output());
  for (size_t i = 0; i < 2; ++i) {
    const Value* v = n.input(i);
    if (image && Rank(v) != 4 && v->constant() && v->constant()->count() > 1) {
      // Broadcasting counts from the last axis, which is another one in the file.
      Dims dims;
      for (int64_t d = Rank(v); d < 4; ++d) dims.push_back(1);
      for (int64_t d : v->constant()->dims()) dims.push_back(d);
      SLIPWAY_ASSIGN_OR_RETURN(const Tensor moved,
                               PermutedConstant(v->constant()->Reshaped(dims), {0, 2, 3, 1}));
      inputs.push_back(file_.Constant(v->name(), moved));
      continue;
    }
    if (image && Rank(v) != 4 && !(v->constant() && v->constant()->count() == 1))
      return Refuse(n, "it broadcasts '" + v->name() + "' of another rank over an image");
    SLIPWAY_ASSIGN_OR_RETURN(const int in, In(s, i));
    inputs.push_back(in);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  const int version = s.coded ? 2 : 1;
  const auto fill = [&](auto options) {
    options.activation = s.fused;
    return options;
  };
  if (n.Is("Add")) {
    file_.Op(Code::ADD, version, inputs, {out}, fill(fb::AddOptionsT()));
  } else if (n.Is("Mul")) {
    file_.Op(Code::MUL, version, inputs, {out}, fill(fb::MulOptionsT()));
  } else if (n.Is("Div")) {
    file_.Op(Code::DIV, 1, inputs, {out}, fb::DivOptionsT());
  } else if (real) {
    file_.Op(n.Is("Max") ? Code::MAXIMUM : Code::MINIMUM, 1, inputs, {out});
  } else {
    file_.Op(Code::SUB, version, inputs, {out}, fill(fb::SubOptionsT()));
  }
  return OkStatus();
}

Status TfliteWriter::Unary(const Site& s) {
  const Node& n = *s.node;
  struct Row {
    const char* op;
    Code code;
    bool codes;  // has an int8 form
  };
  static constexpr Row kRows[] = {{"Relu", Code::RELU, true},
                                  {"Sigmoid", Code::LOGISTIC, true},
                                  {"Tanh", Code::TANH, true},
                                  {"HardSwish", Code::HARD_SWISH, true},
                                  {"LeakyRelu", Code::LEAKY_RELU, true},
                                  {"Elu", Code::ELU, false},
                                  {"Gelu", Code::GELU, false},
                                  {"Exp", Code::EXP, false},
                                  {"Abs", Code::ABS, false},
                                  {"Sqrt", Code::SQRT, false},
                                  {"Log", Code::LOG, false},
                                  {"Neg", Code::NEG, false},
                                  {"Sin", Code::SIN, false},
                                  {"Cos", Code::COS, false},
                                  {"Floor", Code::FLOOR, false},
                                  {"Ceil", Code::CEIL, false}};
  Code code = Code::RELU6;
  Site site = s;
  for (const Row& row : kRows) {
    if (n.op() != row.op) continue;
    code = row.code;
    if (!row.codes) site = Site{&n};
  }
  if (n.Is("Clip")) {
    const Tensor *lo = n.constant_input(1), *hi = n.constant_input(2);
    if (!lo || lo->ToDoubles()[0] != 0 || (n.input(2) && !hi))
      return Refuse(n, "TensorFlow Lite clips to [0, 6] or at 0 only");
    if (hi && hi->ToDoubles()[0] != 6) return Refuse(n, "TensorFlow Lite clips to [0, 6] only");
    code = hi ? Code::RELU6 : Code::RELU;
  }
  if (s.coded && !site.coded) floats_.push_back(n.name());
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(site, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(site));
  const int version = site.coded && code != Code::HARD_SWISH ? 2 : 1;
  if (code == Code::LEAKY_RELU) {
    fb::LeakyReluOptionsT options;
    options.alpha = n.attributes.Float("alpha", 0.01f);
    file_.Op(code, version, {x}, {out}, options);
  } else if (code == Code::GELU) {
    fb::GeluOptionsT options;
    options.approximate = n.attributes.String("approximate", "none") == "tanh";
    file_.Op(code, version, {x}, {out}, options);
  } else {
    if (n.Is("Elu") && n.attributes.Float("alpha", 1) != 1)
      return Refuse(n, "TensorFlow Lite's ELU has alpha 1");
    file_.Op(code, version, {x}, {out});
  }
  return OkStatus();
}

Status TfliteWriter::SoftmaxOp(const Site& s) {
  const int64_t rank = Rank(s.node->output());
  if (FileAxis(s.node->attributes.Int("axis", -1), s.node->output()) != rank - 1)
    return Refuse(*s.node, "TensorFlow Lite's SOFTMAX is over the last axis of the file");
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  fb::SoftmaxOptionsT options;
  options.beta = 1;
  file_.Op(Code::SOFTMAX, s.coded ? 2 : 1, {x}, {out}, options);
  return OkStatus();
}

Status TfliteWriter::Concat(const Site& s) {
  const Node& n = *s.node;
  std::vector<int> inputs;
  TfliteQuant q;
  if (s.coded) {
    SLIPWAY_ASSIGN_OR_RETURN(q, QuantFor(*s.quantize));
  }
  for (size_t i = 0; i < n.inputs().size(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(int in, In(s, i));
    if (s.coded && !(file_.QuantOf(in) == q)) {
      // All pieces have the scale of the whole.
      const int same =
          file_.Tensor(file_.NameOf(in) + "_requantized", file_.ShapeOf(in), file_.TypeOf(in), q);
      file_.Op(Code::QUANTIZE, 2, {in}, {same});
      in = same;
    }
    inputs.push_back(in);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  fb::ConcatenationOptionsT options;
  options.axis = static_cast<int32_t>(FileAxis(n.attributes.Int("axis", 1), n.output()));
  file_.Op(Code::CONCATENATION, s.coded ? 2 : 1, inputs, {out}, options);
  return OkStatus();
}

Status TfliteWriter::Reshape(const Site& s) {
  SLIPWAY_ASSIGN_OR_RETURN(int x, In(s, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const auto shape, Shape(s.value()));
  if (IsImage(s.node->input(0)) && !SameOrder(file_.ShapeOf(x))) x = Transposed(x, {0, 3, 1, 2});
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
  const std::string name = s.node->name() + "/shape";
  const auto options = [](const std::vector<int64_t>& to) {
    fb::ReshapeOptionsT o;
    o.new_shape.assign(to.begin(), to.end());
    return o;
  };
  if (!IsImage(s.value()) || SameOrder(shape)) {
    file_.Op(Code::RESHAPE, 1, {x, file_.Ints(name, shape)}, {out}, options(shape));
    return FinishMove(s, out);
  }
  const std::vector<int64_t> nchw = {shape[0], shape[3], shape[1], shape[2]};
  const int turned = Like(s.node->name() + "/nchw", nchw, x);
  file_.Op(Code::RESHAPE, 1, {x, file_.Ints(name, nchw)}, {turned}, options(nchw));
  file_.Op(Code::TRANSPOSE, s.coded ? 2 : 1, {turned, file_.Ints(name + "/perm", {0, 2, 3, 1})},
           {out});
  return FinishMove(s, out);
}

Status TfliteWriter::Transpose(const Site& s) {
  const int64_t rank = Rank(s.node->output());
  std::vector<int64_t> perm = ToVector(s.node->attributes.Ints("perm"));
  for (int64_t i = rank; perm.empty() && i-- > 0;) perm.push_back(i);
  if (static_cast<int64_t>(perm.size()) != rank) return Refuse(*s.node, "its axes do not fit");
  // Axis i of the file's output is axis kFile[i] of an image.
  constexpr int64_t kFile[] = {0, 2, 3, 1};
  std::vector<int64_t> file;
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t axis = IsImage(s.node->output()) ? kFile[i] : i;
    file.push_back(FileAxis(perm[static_cast<size_t>(axis)], s.node->input(0)));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
  file_.Op(Code::TRANSPOSE,
           rank > 4  ? 4
           : s.coded ? 2
                     : 1,
           {x, file_.Ints(s.node->name() + "/perm", file)}, {out});
  return FinishMove(s, out);
}

Status TfliteWriter::Pad(const Site& s) {
  const Node& n = *s.node;
  const Tensor *amounts = n.constant_input(1), *value = n.constant_input(2);
  const int64_t rank = Rank(n.output());
  if (!amounts || n.input(3) || n.attributes.String("mode", "constant") != "constant" ||
      (n.input(2) && (!value || value->ToDoubles()[0] != 0)))
    return Refuse(n, "only padding with constant amounts of zeros, of all axes, is written");
  const std::vector<int64_t> pads = amounts->ToInts();
  if (static_cast<int64_t>(pads.size()) != 2 * rank ||
      std::any_of(pads.begin(), pads.end(), [](int64_t p) { return p < 0; }))
    return Refuse(n, "its amounts do not fit");
  std::vector<int32_t> file(static_cast<size_t>(2 * rank));
  for (int64_t i = 0; i < rank; ++i) {
    const auto at = static_cast<size_t>(2 * FileAxis(i, n.output()));
    file[at] = static_cast<int32_t>(pads[static_cast<size_t>(i)]);
    file[at + 1] = static_cast<int32_t>(pads[static_cast<size_t>(i + rank)]);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
  const int paddings =
      file_.Constant(n.name() + "/paddings", Tensor::Vector(file).Reshaped({rank, 2}));
  file_.Op(Code::PAD, s.coded ? 2 : 1, {x, paddings}, {out});
  return FinishMove(s, out);
}

Status TfliteWriter::Slice(const Site& s) {
  const Node& n = *s.node;
  const int64_t rank = Rank(n.output());
  std::vector<int64_t> lists[4];  // starts, ends, axes, steps
  for (size_t i = 0; i < 4; ++i) {
    const Tensor* t = n.constant_input(i + 1);
    if (n.input(i + 1) && !t) return Refuse(n, "only constant slices are written");
    if (t) lists[i] = t->ToInts();
  }
  const size_t count = lists[0].size();
  std::vector<int64_t> begin(static_cast<size_t>(rank)), end(begin), step(begin);
  std::fill(step.begin(), step.end(), 1);
  fb::StridedSliceOptionsT options;
  options.begin_mask = options.end_mask = (1 << rank) - 1;
  for (size_t i = 0; i < count; ++i) {
    const int64_t axis =
        FileAxis(i < lists[2].size() ? lists[2][i] : static_cast<int64_t>(i), n.output());
    if (axis < 0 || axis >= rank || i >= lists[1].size()) return Refuse(n, "its axes do not fit");
    const auto at = static_cast<size_t>(axis);
    step[at] = i < lists[3].size() ? lists[3][i] : 1;
    if (step[at] < 1) return Refuse(n, "TensorFlow Lite's slices are written forwards only");
    begin[at] = lists[0][i];
    if (begin[at] != 0) options.begin_mask &= ~(1 << axis);
    if (lists[1][i] < (int64_t{1} << 30)) {
      end[at] = lists[1][i];
      options.end_mask &= ~(1 << axis);
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
  file_.Op(Code::STRIDED_SLICE, s.coded ? 2 : 1,
           {x, file_.Ints(n.name() + "/begin", begin), file_.Ints(n.name() + "/end", end),
            file_.Ints(n.name() + "/strides", step)},
           {out}, options);
  return FinishMove(s, out);
}

Status TfliteWriter::Resize(const Site& s) {
  const Node& n = *s.node;
  const auto mode = n.attributes.String("mode", "nearest");
  const auto where = n.attributes.String("coordinate_transformation_mode", "half_pixel");
  const bool linear = mode == "linear";
  const bool known =
      where == "asymmetric" || (linear && (where == "half_pixel" || where == "pytorch_half_pixel" ||
                                           where == "align_corners"));
  SLIPWAY_ASSIGN_OR_RETURN(const auto shape, Shape(s.value()));
  if (!(linear || mode == "nearest") || !known || shape.size() != 4 ||
      (!linear && n.attributes.String("nearest_mode", "round_prefer_floor") != "floor"))
    return Refuse(n, "TensorFlow Lite resizes images, nearest (asymmetric, floor) or linear");
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
  const int size = file_.Ints(n.name() + "/size", {shape[1], shape[2]});
  const auto fill = [&](auto options) {
    options.align_corners = where == "align_corners";
    options.half_pixel_centers = where == "half_pixel" || where == "pytorch_half_pixel";
    return options;
  };
  if (linear) {
    file_.Op(Code::RESIZE_BILINEAR, 3, {x, size}, {out}, fill(fb::ResizeBilinearOptionsT()));
  } else {
    file_.Op(Code::RESIZE_NEAREST_NEIGHBOR, s.coded ? 2 : 1, {x, size}, {out},
             fill(fb::ResizeNearestNeighborOptionsT()));
  }
  return FinishMove(s, out);
}

Status TfliteWriter::DepthToSpace(const Site& s) {
  SLIPWAY_ASSIGN_OR_RETURN(int x, In(s, 0));
  const int64_t block = s.node->attributes.Int("blocksize", 1);
  if (s.node->attributes.String("mode", "DCR") != "DCR") {
    // The channels of one place in a block lie apart there, and together here.
    const std::vector<int64_t> shape = file_.ShapeOf(x);
    const int64_t places = block * block, depth = shape[3] / places;
    std::vector<int64_t> order;
    for (int64_t i = 0; i < shape[3]; ++i) order.push_back(i % depth * places + i / depth);
    const std::string name = s.node->name() + "/order";
    const int turned = Like(name, shape, x);
    fb::GatherOptionsT gather;
    gather.axis = 3;
    file_.Op(Code::GATHER, s.coded ? 2 : 1, {x, file_.Ints(name + "/channels", order)}, {turned},
             gather);
    x = turned;
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
  fb::DepthToSpaceOptionsT options;
  options.block_size = static_cast<int32_t>(block);
  file_.Op(Code::DEPTH_TO_SPACE, s.coded ? 2 : 1, {x}, {out}, options);
  return FinishMove(s, out);
}

Status TfliteWriter::Gather(const Site& s) {
  const Node& n = *s.node;
  const Tensor* indices = n.constant_input(1);
  const int64_t axis = n.attributes.Int("axis", 0), rank = Rank(n.input(0));
  const Value* at_run = n.input(1);
  if (!at_run->producer() && !indices && !IsImage(n.input(0)) && !IsImage(n.output()) &&
      tensors_.contains(at_run)) {  // rows of an embedding: indices count from 0 there
    SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
    SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
    fb::GatherOptionsT options;
    options.axis = static_cast<int32_t>(axis < 0 ? axis + rank : axis);
    file_.Op(Code::GATHER, s.coded ? 2 : 1, {x, tensors_[at_run]}, {out}, options);
    return FinishMove(s, out);
  }
  if (!indices || indices->dims().rank() > 1 ||
      (indices->dims().rank() == 0 && (IsImage(n.input(0)) || IsImage(n.output()))))
    return Refuse(
        n,
        "only a Gather with a list of constant indices, or with an input of the model, is written");
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
  const int64_t file_axis = FileAxis(axis, n.input(0));
  const int64_t extent = file_.ShapeOf(x)[static_cast<size_t>(file_axis)];
  std::vector<int32_t> list;
  for (int64_t i : indices->ToInts()) {
    if (i < 0 && extent < 0) return Refuse(n, "an index counts from the end of an open dimension");
    list.push_back(static_cast<int32_t>(i < 0 ? i + extent : i));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Moved(s, x));
  Tensor at = Tensor::Vector(list);
  if (indices->dims().rank() == 0) at = at.Reshaped({});
  fb::GatherOptionsT options;
  options.axis = static_cast<int32_t>(file_axis);
  file_.Op(Code::GATHER,
           rank > 4  ? 4
           : s.coded ? 2
                     : 1,
           {x, file_.Constant(n.name() + "/indices", at)}, {out}, options);
  return FinishMove(s, out);
}

Status TfliteWriter::Mean(const Site& s) {
  const Node& n = *s.node;
  const Tensor* given = n.constant_input(1);
  const int64_t rank = Rank(n.input(0));
  const bool keep = n.attributes.Int("keepdims", 1) != 0;
  if (n.input(1) && !given) return Refuse(n, "its axes are no constants");
  std::vector<int64_t> axes = given ? given->ToInts() : std::vector<int64_t>();
  if (axes.empty()) {
    if (n.attributes.Int("noop_with_empty_axes", 0) != 0)
      return Refuse(n, "it has no axes and noop_with_empty_axes: it does nothing, leave it out");
    for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  }
  bool spatial = true;
  for (int64_t& a : axes) {
    if (a < 0) a += rank;
    spatial = spatial && a >= 2;
    a = FileAxis(a, n.input(0));
  }
  const bool all = static_cast<int64_t>(axes.size()) == rank;  // no axis is left in any order
  if ((IsImage(n.input(0)) && !keep && !all && (!spatial || axes.size() != 2)) ||
      (IsImage(n.output()) && !IsImage(n.input(0))))
    return Refuse(n, "what is left of an image has another order of axes in the file");
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(s, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  fb::ReducerOptionsT options;
  options.keep_dims = keep;
  file_.Op(n.Is("ReduceSum") ? Code::SUM : Code::MEAN, s.coded ? 2 : 1,
           {x, file_.Ints(n.name() + "/axes", axes)}, {out}, options);
  return OkStatus();
}

// min(max(alpha x + beta, 0), 1), in its pieces.
Status TfliteWriter::HardSigmoid(const Site& s) {
  const Node& n = *s.node;
  const Site real{&n};
  if (s.coded) floats_.push_back(n.name());
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(real, 0));
  const std::vector<int64_t> shape = file_.ShapeOf(x);
  const auto number = [&](const char* what, float v) {
    return file_.Constant(n.name() + what, Tensor::Scalar(v));
  };
  const int scaled = Like(n.name() + "/scaled", shape, x),
            moved = Like(n.name() + "/moved", shape, x);
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(real));
  fb::AddOptionsT rectified;
  rectified.activation = fb::Activation::RELU;
  file_.Op(Code::MUL, 1, {x, number("/alpha", n.attributes.Float("alpha", 0.2f))}, {scaled},
           fb::MulOptionsT());
  file_.Op(Code::ADD, 1, {scaled, number("/beta", n.attributes.Float("beta", 0.5f))}, {moved},
           rectified);
  file_.Op(Code::MINIMUM, 1, {moved, number("/one", 1)}, {out});
  return OkStatus();
}

// A product and a sum for each channel.
Status TfliteWriter::BatchNorm(const Site& s) {
  const Node& n = *s.node;
  const int64_t rank = Rank(n.input(0));
  std::vector<std::vector<double>> of;
  for (size_t i = 1; i <= 4; ++i) {
    const Tensor* t = n.constant_input(i);
    if (!t || n.output(1)) return Refuse(n, "its statistics are no constants");
    of.push_back(t->ToDoubles());
  }
  std::vector<float> factor, offset;
  for (size_t c = 0; c < of[0].size(); ++c) {
    const double f = of[0][c] / std::sqrt(of[3][c] + double{n.attributes.Float("epsilon", 1e-5f)});
    factor.push_back(static_cast<float>(f));
    offset.push_back(static_cast<float>(of[1][c] - of[2][c] * f));
  }
  const Site real{&n};
  if (s.coded) floats_.push_back(n.name());
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(real, 0));
  Dims shape;  // channels are last in images and rows
  shape.push_back(static_cast<int64_t>(factor.size()));
  for (int64_t i = 2; i < rank && !IsImage(n.input(0)); ++i) shape.push_back(1);
  const auto constant = [&](const char* what, const std::vector<float>& v) {
    return file_.Constant(n.name() + what, Tensor::Vector(v).Reshaped(shape));
  };
  const int scaled = Like(n.name() + "/scaled", file_.ShapeOf(x), x);
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(real));
  file_.Op(Code::MUL, 1, {x, constant("/factor", factor)}, {scaled}, fb::MulOptionsT());
  file_.Op(Code::ADD, 1, {scaled, constant("/offset", offset)}, {out}, fb::AddOptionsT());
  return OkStatus();
}

}  // namespace slipway::quant
