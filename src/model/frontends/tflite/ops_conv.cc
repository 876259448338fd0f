// Convolutions, fully connected layers and pooling. TFLite keeps images as NHWC and kernels as OHWI
// (depthwise: 1HWO).

#include <algorithm>
#include <limits>

#include "base/checked.h"
#include "model/frontends/tflite/builder.h"
#include "model/frontends/tflite/weights.h"

namespace slipway::tflite {
namespace {

struct Window {
  int64_t kernel[2], stride[2], dilation[2] = {1, 1};
  fb::Padding padding = fb::Padding::VALID;
};

// kernel_shape, strides, dilations and the padding of a window over the image `x` (NCHW).
Attributes WindowAttributes(Op& op, const Window& w, const Value* x) {
  for (int i : {0, 1}) {
    if (w.kernel[i] < 1 || w.stride[i] < 1 || w.dilation[i] < 1) {
      op.Invalid("kernel " + std::to_string(w.kernel[i]) + ", stride " +
                 std::to_string(w.stride[i]) + " and dilation " + std::to_string(w.dilation[i]) +
                 " must be positive");
      return {};
    }
  }
  Attributes a{{"kernel_shape", Ints{w.kernel[0], w.kernel[1]}},
               {"strides", Ints{w.stride[0], w.stride[1]}},
               {"dilations", Ints{w.dilation[0], w.dilation[1]}}};
  if (w.padding == fb::Padding::VALID) return a;
  if (w.padding != fb::Padding::SAME) {
    op.Invalid("the padding " + std::to_string(static_cast<int>(w.padding)) + " is unknown");
    return a;
  }
  const auto h = op.b.Extent(x, 2), width = op.b.Extent(x, 3);
  if (!h || !width) {
    a.Set("auto_pad", std::string("SAME_UPPER"));
    return a;
  }
  Ints pads(4);
  const int64_t in[2] = {*h, *width};
  for (size_t i : {0, 1}) {
    const int64_t reach = (w.kernel[i] - 1) * w.dilation[i] + 1;
    const int64_t total =
        std::max<int64_t>((CeilDiv(in[i], w.stride[i]) - 1) * w.stride[i] + reach - in[i], 0);
    pads[i] = total / 2;
    pads[i + 2] = total - total / 2;
  }
  a.Set("pads", pads);
  return a;
}

// The extents of a kernel tensor of four dimensions.
std::optional<Ints> KernelExtents(Op& op, size_t i) {
  const TensorInfo& t = op.in(i);
  if (t.has_shape && t.shape.rank() == 4 && t.signature.empty())
    return Ints(t.shape.begin(), t.shape.end());
  op.Invalid("the kernel '" + op.b.TensorName(op.in_index(i)) +
             "' must have four fixed dimensions");
  return std::nullopt;
}

bool IsImageInput(Op& op, const Value* x) {
  const int rank = op.b.Rank(x);
  if (rank == 4) return true;
  if (rank >= 0) op.Invalid("the input must have four dimensions, not " + std::to_string(rank));
  return false;
}

Value* ImageInput(Op& op, size_t i) {
  const TensorInfo& t = op.in(i);
  if (t.has_shape && t.shape.rank() != 4) {
    op.Invalid("the input '" + op.b.TensorName(op.in_index(i)) +
               "' must have four dimensions, not " + std::to_string(t.shape.rank()));
    return nullptr;
  }
  if (!op.b.IsImage(op.in_index(i)) && !IsImageInput(op, op.Real(i))) return nullptr;
  Value* x = op.Real(i, true);
  return op.b.failed() ? nullptr : x;
}

void Convolution(Op& op, Window w, const Ints& perm, bool depthwise, fb::Activation activation) {
  const auto kernel = KernelExtents(op, 1);
  Value* x = kernel ? ImageInput(op, 0) : nullptr;
  if (!x) return;
  w.kernel[0] = (*kernel)[1];
  w.kernel[1] = (*kernel)[2];
  Attributes a = WindowAttributes(op, w, x);
  int64_t group = 1;
  const auto channels = op.b.Extent(x, 1);
  if (depthwise) {
    if ((*kernel)[0] != 1)
      return op.Invalid("a depthwise kernel must have 1 in its first dimension");
    if (!channels) return op.Unsupported("the number of channels must be known");
    group = *channels;
  } else if (channels && (*kernel)[3] > 0 && *channels != (*kernel)[3]) {
    if (*channels % (*kernel)[3] != 0) {
      return op.Invalid("the input has " + std::to_string(*channels) +
                        " channels, the kernel takes " + std::to_string((*kernel)[3]));
    }
    group = *channels / (*kernel)[3];
  }
  a.Set("group", group);
  std::vector<Value*> inputs = {x, Weights(op, 1, perm)};
  if (op.has(2)) inputs.push_back(Bias(op, 2, 0, 1));
  if (op.b.failed()) return;
  Value* y = op.b.Emit("Conv", inputs, a);
  op.SetReal(op.Activate(y, activation), 0, true);
}

void Conv2D(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_Conv2DOptions());
  Window w{{},
           {o.stride_h(), o.stride_w()},
           {o.dilation_h_factor(), o.dilation_w_factor()},
           o.padding()};
  Convolution(op, w, {0, 3, 1, 2}, false, o.activation());
}

void DepthwiseConv2D(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_DepthwiseConv2DOptions());
  Window w{{},
           {o.stride_h(), o.stride_w()},
           {o.dilation_h_factor(), o.dilation_w_factor()},
           o.padding()};
  Convolution(op, w, {3, 0, 1, 2}, true, o.activation());
}

// Inputs: the shape of the output, kernel OHWI, x, bias?
void TransposeConv(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_TransposeConvOptions());
  const auto kernel = KernelExtents(op, 1);
  Value* x = kernel ? ImageInput(op, 2) : nullptr;
  if (!x) return;
  const Ints shape = op.ConstInts(0, "the output shape");
  if (op.b.failed()) return;
  if (shape.size() != 4) return op.Invalid("the output shape must have four elements");
  const int64_t stride[2] = {o.stride_h(), o.stride_w()};
  Ints pads(4), extra(2);
  for (size_t i : {0, 1}) {
    const auto in = op.b.Extent(x, i + 2);
    const int64_t k = (*kernel)[i + 1], out = shape[i + 1];
    if (!in)
      return op.Unsupported("the image size must be known; fix the input shape of the model");
    if (stride[i] < 1 || k < 1 || *in < 1)
      return op.Invalid("kernel, stride and image must be positive");
    if (out < 1 || out > int64_t{1} << 31 || *in > int64_t{1} << 31)
      return op.Invalid("the output shape is impossible");
    const int64_t expected = o.padding() == fb::Padding::SAME ? CeilDiv(out, stride[i])
                                                              : CeilDiv(out - k + 1, stride[i]);
    if (expected != *in) {
      return op.Invalid("an output of " + std::to_string(out) + " does not come from an image of " +
                        std::to_string(*in) + " with stride " + std::to_string(stride[i]));
    }
    const int64_t total = o.padding() == fb::Padding::SAME
                              ? std::max<int64_t>((*in - 1) * stride[i] + k - out, 0)
                              : 0;
    pads[i] = total / 2;
    pads[i + 2] = total - total / 2;
    extra[i] = std::max<int64_t>(out - ((*in - 1) * stride[i] + k - total), 0);
  }
  std::vector<Value*> inputs = {x, Weights(op, 1, {3, 0, 1, 2})};
  if (op.has(3)) inputs.push_back(Bias(op, 3, 2, 1));
  if (op.b.failed()) return;
  Value* y = op.b.Emit("ConvTranspose", inputs,
                       {{"kernel_shape", Ints{(*kernel)[1], (*kernel)[2]}},
                        {"strides", Ints{stride[0], stride[1]}},
                        {"pads", pads},
                        {"output_padding", extra}});
  op.SetReal(op.Activate(y, o.activation()), 0, true);
}

void FullyConnected(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_FullyConnectedOptions());
  if (o.weights_format() != fb::WeightsFormat::DEFAULT) {
    return op.Unsupported(
        "shuffled weights (SHUFFLED4x16INT8) are not supported; convert without them");
  }
  const TensorInfo& w = op.in(1);
  if (w.shape.rank() != 2 || !w.signature.empty())
    return op.Invalid("the weights must have two fixed dimensions");
  const int64_t units = w.shape[0], depth = w.shape[1];
  Value* x = op.Real(0);
  const int rank = op.b.Rank(x);
  if (rank < 0) return;
  const bool flat = rank == 2 && (!op.b.Extent(x, 1) || op.b.Extent(x, 1) == depth);
  Value* rows = flat ? x : op.b.Reshape(x, {-1, depth});
  std::vector<Value*> inputs = {rows, Weights(op, 1, {0, 1})};
  if (op.has(2)) inputs.push_back(Bias(op, 2, 0, 1));
  if (op.b.failed()) return;
  Value* y = op.Activate(op.b.Emit("Gemm", inputs, {{"transB", int64_t{1}}}), o.activation());
  if (o.keep_num_dims() && rank != 2 && rank > 0) {
    // All extents but the last are those of the input.
    const auto extents = op.b.Extents(x);
    if (extents) {
      Ints shape = *extents;
      shape.back() = units;
      y = op.b.Reshape(y, shape);
    } else {
      Value* shape = op.b.Emit("Shape", {x}, {{"end", int64_t{rank - 1}}});
      y = op.b.Emit("Reshape", {y, op.b.Emit("Concat", {shape, op.b.Int64s({units})},
                                             {{"axis", int64_t{0}}})});
    }
  }
  op.SetReal(y);
}

void Pool(Op& op, const char* name) {
  const auto& o = op.Options(op.info.options->builtin_options_as_Pool2DOptions());
  const bool max = std::string_view(name) == "MaxPool";
  Window w{
      {o.filter_height(), o.filter_width()}, {o.stride_h(), o.stride_w()}, {1, 1}, o.padding()};
  const bool codes = max && op.MovesCodes() && o.activation() == fb::Activation::NONE;
  if (!ImageInput(op, 0)) return;
  Value* x = op.Data(0, codes, true);
  Attributes a = WindowAttributes(op, w, x);
  if (op.b.failed()) return;
  Value* y = op.Activate(op.b.Emit(name, {x}, a), o.activation());
  op.SetData(y, codes, 0, true);
}

void L2Pool(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_Pool2DOptions());
  Window w{
      {o.filter_height(), o.filter_width()}, {o.stride_h(), o.stride_w()}, {1, 1}, o.padding()};
  Value* x = ImageInput(op, 0);
  if (!x) return;
  Attributes a = WindowAttributes(op, w, x);
  if (op.b.failed()) return;
  Value* mean = op.b.Emit("AveragePool", {op.b.Emit("Mul", {x, x})}, a);
  op.SetReal(op.Activate(op.b.Emit("Sqrt", {mean}), o.activation()), 0, true);
}

}  // namespace

Value* Weights(Op& op, size_t i, const Ints& perm) {
  const int32_t index = op.in_index(i);
  const TensorInfo& t = op.b.tensor(index);
  const Tensor* constant = op.b.ConstantOf(index);
  if (IsInteger(t.dtype) && !t.quantization.present()) {
    op.Invalid("the weights '" + op.b.TensorName(index) + "' are " + DTypeName(t.dtype) +
               " without a scale");
    return op.b.Float(0);
  }
  if (!constant) return op.b.Transpose(op.Real(i), perm);
  Tensor moved = Permuted(*constant, perm);
  if (op.b.failed()) return op.b.Float(0);
  const bool same =
      moved.bytes().data() == constant->bytes().data() && moved.dims() == constant->dims();
  Value* v = same ? op.Raw(i) : op.b.Constant(std::move(moved));
  if (!op.b.IsQuantized(index))
    return v->dtype() == DType::kFloat16 ? op.b.Cast(v, DType::kFloat32) : v;
  TensorInfo as = t;
  if (as.quantization.scale.size() > 1) {
    as.quantization.axis = static_cast<int32_t>(
        std::find(perm.begin(), perm.end(), int64_t{t.quantization.axis}) - perm.begin());
  }
  return op.b.Dequantize(v, as);
}

Value* Bias(Op& op, size_t i, size_t x, size_t w) {
  const int32_t index = op.in_index(i);
  const TensorInfo& t = op.b.tensor(index);
  if (IsFloating(t.dtype)) return op.Real(i);
  if (t.dtype != DType::kInt32 && t.dtype != DType::kInt64) {
    op.Unsupported("a bias of type " + std::string(DTypeName(t.dtype)) +
                   " is not supported; it must be float32, int32 or int64");
    return op.b.Float(0);
  }
  const Quantization &of_x = op.in(x).quantization, &of_w = op.in(w).quantization;
  if (of_x.scale.size() != 1 || of_w.scale.empty()) {
    op.Invalid("an integer bias needs the scales of the input and of the weights");
    return op.b.Float(0);
  }
  // TFLite ignores the scale that the bias itself may carry: its steps are those of the
  // accumulator.
  TensorInfo as = t;
  as.dtype = DType::kInt32;
  as.quantization = {};
  for (float s : of_w.scale) as.quantization.scale.push_back(of_x.scale[0] * s);
  if (of_w.scale.size() > 1 &&
      (t.shape.rank() != 1 || t.shape[0] != static_cast<int64_t>(of_w.scale.size()))) {
    op.Invalid("the bias has shape " + t.shape.ToString() + ", but the weights have " +
               std::to_string(of_w.scale.size()) + " channels");
    return op.b.Float(0);
  }
  if (t.dtype == DType::kInt32) return op.b.Dequantize(op.Raw(i), as);
  const Tensor* wide = op.b.ConstantOf(index);
  if (!wide) {
    op.Unsupported("a bias of type int64 must be constant");
    return op.b.Float(0);
  }
  const Ints codes = wide->ToInts();
  std::vector<int32_t> narrow;
  std::vector<float> real;
  for (size_t n = 0; n < codes.size(); ++n) {
    const float scale = as.quantization.scale[as.quantization.scale.size() == 1 ? 0 : n];
    real.push_back(static_cast<float>(static_cast<double>(codes[n]) * scale));
    if (codes[n] >= std::numeric_limits<int32_t>::min() &&
        codes[n] <= std::numeric_limits<int32_t>::max())
      narrow.push_back(static_cast<int32_t>(codes[n]));
  }
  if (narrow.size() == codes.size())
    return op.b.Dequantize(op.b.Constant(Tensor::Of<int32_t>(wide->dims(), narrow)), as);
  return op.b.Constant(Tensor::Of<float>(wide->dims(), real));
}

void AddConvolutions(HandlerTable* table) {
  using B = fb::BuiltinOperator;
  auto& t = *table;
  t[B::CONV_2D] = &Conv2D;
  t[B::DEPTHWISE_CONV_2D] = &DepthwiseConv2D;
  t[B::TRANSPOSE_CONV] = &TransposeConv;
  t[B::FULLY_CONNECTED] = &FullyConnected;
  t[B::AVERAGE_POOL_2D] = [](Op& op) { Pool(op, "AveragePool"); };
  t[B::MAX_POOL_2D] = [](Op& op) { Pool(op, "MaxPool"); };
  t[B::L2_POOL_2D] = &L2Pool;
}

}  // namespace slipway::tflite
