// Convolutions, matrix products and pooling.

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "model/frontends/ncnn/convert.h"

namespace slipway::ncnn {
namespace {

using ir::Node;
using ir::Value;

struct Window {
  int64_t kernel[3], stride[3], dilation[3], before[3], behind[3];  // [depth,] height, width
  int rank = 2;
};

// auto_pad was resolved by a pass.
Status ReadWindow(const Node& n, int rank, std::span<const int64_t> kernel, Window* w) {
  const auto& a = n.attributes;
  const auto mode = a.String("auto_pad", "NOTSET");
  if (rank < 1 || rank > 3)
    return Converter::Refuse(n, "ncnn has windows of one to three dimensions");
  if (mode != "NOTSET" && mode != "VALID")
    return Converter::Refuse(n, "its auto_pad must be written as pads (pass resolve-auto-pad)");
  const auto size = static_cast<size_t>(rank);
  const auto strides = a.Ints("strides"), dilations = a.Ints("dilations"), pads = a.Ints("pads");
  if (kernel.size() != size) return Converter::Refuse(n, "its kernel does not fit its input");
  w->rank = rank;
  for (size_t i = 0; i < size; ++i) {
    w->kernel[i] = kernel[i];
    w->stride[i] = i < strides.size() ? strides[i] : 1;
    w->dilation[i] = i < dilations.size() ? dilations[i] : 1;
    w->before[i] = mode != "VALID" && i < pads.size() ? pads[i] : 0;
    w->behind[i] = mode != "VALID" && i + size < pads.size() ? pads[i + size] : 0;
    if (w->before[i] < 0 || w->behind[i] < 0)
      return Converter::Refuse(n, "ncnn has no negative padding here");
  }
  return OkStatus();
}

// Width has the low numbers; depth came last.
void WriteWindow(const Window& w, bool dilated, bool pooling, Layer* l) {
  const auto x = static_cast<size_t>(w.rank - 1);
  l->params.push_back({1, w.kernel[x]});
  if (dilated) l->params.push_back({2, w.dilation[x]});
  l->params.push_back({pooling ? 2 : 3, w.stride[x]});
  l->params.push_back({pooling ? 3 : 4, w.before[x]});
  l->params.push_back({pooling ? 14 : 15, w.behind[x]});
  if (w.rank < 2) return;
  const size_t y = x - 1;
  l->params.push_back({11, w.kernel[y]});
  if (dilated) l->params.push_back({12, w.dilation[y]});
  l->params.push_back({pooling ? 12 : 13, w.stride[y]});
  l->params.push_back({pooling ? 13 : 14, w.before[y]});
  l->params.push_back({pooling ? 15 : 16, w.behind[y]});
  if (w.rank < 3) return;
  l->params.push_back({21, w.kernel[0]});
  if (dilated) l->params.push_back({22, w.dilation[0]});
  l->params.push_back({pooling ? 22 : 23, w.stride[0]});
  l->params.push_back({pooling ? 23 : 24, w.before[0]});
  l->params.push_back({pooling ? 16 : 17, w.behind[0]});
}

std::string Suffix(int rank) { return rank == 2 ? "" : rank == 1 ? "1D" : "3D"; }

// The residual and an activation that the layer could not hold.
Status Finish(Converter& c, const Node& n, Blob y, bool activated) {
  if (!n.IsSlipway("Conv") && !n.IsSlipway("Linear")) {
    c.Set(n.output(), y);
    return OkStatus();
  }
  if (n.input(3)) {
    SLIPWAY_ASSIGN_OR_RETURN(Blob residual, c.Get(n.input(3), y.dims));
    Blob sum;
    c.Add("BinaryOp", n, {y, residual}, y.dims, &sum)->params = {{0, int64_t{0}}};
    y = sum;
    activated = false;
  }
  if (!activated) {
    SLIPWAY_ASSIGN_OR_RETURN(
        y, c.Activate(n, y, std::string(n.attributes.String("activation", "none")),
                      n.attributes.Floats("activation_params")));
  }
  c.Set(n.output(), y);
  return OkStatus();
}

Status Conv(Converter& c, const Node& n) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor weight, Converter::Constant(n, 1, "weights"));
  const Extents x = Converter::Dimensions(n.input(0)), y = Converter::Dimensions(n.output());
  if (x.size() < 3 || x[0] != 1)
    return Converter::Refuse(n, "ncnn convolves one sample at a time: its batch must be 1");
  const int rank = static_cast<int>(x.size()) - 2;
  std::vector<int64_t> kernel(weight.dims().begin() + 2, weight.dims().end());
  Window w;
  SLIPWAY_RETURN_IF_ERROR(ReadWindow(n, rank, kernel, &w));
  std::optional<ir::Tensor> bias;
  if (n.input(2)) {
    SLIPWAY_ASSIGN_OR_RETURN(bias, Converter::Constant(n, 2, "bias"));
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob in, c.Get(n.input(0), {x.begin() + 1, x.end()}));
  const int64_t group = n.attributes.Int("group", 1);
  Blob out;
  Layer* l = c.Add((group == 1 ? "Convolution" : "ConvolutionDepthWise") + Suffix(rank), n, {in},
                   {y.begin() + 1, y.end()}, &out);
  l->params = {{0, y[1]}, {5, int64_t{bias.has_value()}}, {6, weight.count()}};
  if (group != 1) l->params.push_back({7, group});
  WriteWindow(w, true, false, l);
  const Int8Weights* codes = c.Int8Of(n);
  l->weights.push_back({codes ? codes->codes : weight, true});
  if (bias) l->weights.push_back({*bias, false});
  if (codes) {
    if (rank != 2) return Converter::Refuse(n, "ncnn has int8 for convolutions of images only");
    SLIPWAY_RETURN_IF_ERROR(
        c.AddScales(n, *codes, y[1], group == 1 ? y[1] : group, group == 1 ? 2 : 1, l));
  }
  const bool activated = !n.input(3) && Converter::SetActivation(n, l);
  return Finish(c, n, out, activated);
}

Status ConvTranspose(Converter& c, const Node& n) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor weight, Converter::Constant(n, 1, "weights"));
  const Extents x = Converter::Dimensions(n.input(0)), y = Converter::Dimensions(n.output());
  if (x.size() < 3 || x[0] != 1)
    return Converter::Refuse(n, "ncnn convolves one sample at a time: its batch must be 1");
  if (n.attributes.Has("output_shape"))
    return Converter::Refuse(n, "its output_shape must be written as pads");
  const int rank = static_cast<int>(x.size()) - 2;
  std::vector<int64_t> kernel(weight.dims().begin() + 2, weight.dims().end());
  Window w;
  SLIPWAY_RETURN_IF_ERROR(ReadWindow(n, rank, kernel, &w));
  std::optional<ir::Tensor> bias;
  if (n.input(2)) {
    SLIPWAY_ASSIGN_OR_RETURN(bias, Converter::Constant(n, 2, "bias"));
  }
  // [in, out / group, ...] becomes [group][out / group][in / group][...].
  const int64_t group = n.attributes.Int("group", 1);
  const int64_t inputs = weight.dims()[0], outputs = weight.dims()[1], area = Elements(kernel);
  if (group < 1 || inputs % group != 0) return Converter::Refuse(n, "its groups do not fit");
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor turned, ir::Tensor::Allocate(DType::kFloat32, weight.dims()));
  const auto* from = weight.data<float>();
  auto* to = reinterpret_cast<float*>(turned.mutable_data());
  const int64_t each = inputs / group;
  for (int64_t g = 0; g < group; ++g) {
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t i = 0; i < each; ++i, to += area)
        std::memcpy(to, from + ((g * each + i) * outputs + o) * area,
                    static_cast<size_t>(area) * sizeof(float));
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob in, c.Get(n.input(0), {x.begin() + 1, x.end()}));
  Blob out;
  Layer* l = c.Add((group == 1 ? "Deconvolution" : "DeconvolutionDepthWise") + Suffix(rank), n,
                   {in}, {y.begin() + 1, y.end()}, &out);
  l->params = {{0, y[1]}, {5, int64_t{bias.has_value()}}, {6, weight.count()}};
  if (group != 1) l->params.push_back({7, group});
  WriteWindow(w, true, false, l);
  const auto more = n.attributes.Ints("output_padding");
  for (size_t i = 0; i < more.size(); ++i)
    l->params.push_back({18 + static_cast<int>(i), more[more.size() - 1 - i]});
  l->weights.push_back({turned, true});
  if (bias) l->weights.push_back({*bias, false});
  c.Set(n.output(), out);
  return OkStatus();
}

// Weights as [N, K] whatever their place in the file.
Result<ir::Tensor> Rows(const ir::Tensor& w, bool transposed, float scale) {
  if (transposed && scale == 1) return w;
  const int64_t rows = transposed ? w.dims()[0] : w.dims()[1];
  const int64_t columns = transposed ? w.dims()[1] : w.dims()[0];
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out,
                           ir::Tensor::Allocate(DType::kFloat32, Dims{rows, columns}));
  const auto* from = w.data<float>();
  auto* to = reinterpret_cast<float*>(out.mutable_data());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < columns; ++k)
      *to++ = scale * (transposed ? from[r * columns + k] : from[k * rows + r]);
  }
  return out;
}

Result<ir::Tensor> CodeRows(const ir::Tensor& w, bool transposed) {
  if (transposed) return w;
  const int64_t rows = w.dims()[1], columns = w.dims()[0];
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out,
                           ir::Tensor::Allocate(DType::kInt8, Dims{rows, columns}));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < columns; ++k)
      out.mutable_data()[r * columns + k] = w.data<uint8_t>()[k * rows + r];
  }
  return out;
}

Status InnerProduct(Converter& c, const Node& n, const ir::Tensor& weight, bool transposed,
                    float alpha, const std::vector<float>* bias) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor rows, Rows(weight, transposed, alpha));
  const int64_t outputs = rows.dims()[0], inputs = rows.dims()[1];
  const int64_t count = Elements(Converter::Dimensions(n.input(0)));
  if (inputs == 0 || count % inputs != 0 || (bias && static_cast<int64_t>(bias->size()) != outputs))
    return Converter::Refuse(n, "its operands do not fit");
  const int64_t batch = count / inputs;
  SLIPWAY_ASSIGN_OR_RETURN(
      Blob in, c.Get(n.input(0), batch == 1 ? Extents{inputs} : Extents{batch, inputs}));
  Blob out;
  Layer* l =
      c.Add("InnerProduct", n, {in}, batch == 1 ? Extents{outputs} : Extents{batch, outputs}, &out);
  l->params = {{0, outputs}, {1, int64_t{bias != nullptr}}, {2, rows.count()}};
  const Int8Weights* codes = c.Int8Of(n);
  if (codes) {
    if (alpha != 1) return Converter::Refuse(n, "its codes have another scale than its product");
    SLIPWAY_ASSIGN_OR_RETURN(rows, CodeRows(codes->codes, transposed));
  }
  l->weights.push_back({rows, true});
  if (bias) l->weights.push_back({FloatVector(*bias), false});
  if (codes) SLIPWAY_RETURN_IF_ERROR(c.AddScales(n, *codes, outputs, outputs, 2, l));
  const bool activated = n.IsSlipway("Linear") && !n.input(3) && Converter::SetActivation(n, l);
  return Finish(c, n, out, activated);
}

Result<std::vector<float>> BiasVector(const Node& n, int64_t outputs, float beta) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, Converter::Constant(n, 2, "bias"));
  if (t.count() != 1 && t.count() != outputs)
    return Converter::Refuse(n, "its bias must have one element for each output");
  std::vector<float> bias(static_cast<size_t>(outputs));
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = beta * t.data<float>()[t.count() == 1 ? 0 : i];
  return bias;
}

Status Gemm(Converter& c, const Node& n) {
  const auto& a = n.attributes;
  if (a.Int("transA", 0) != 0 && Converter::Dimensions(n.input(0))[1] != 1)
    return Converter::Refuse(n, "ncnn's InnerProduct does not transpose its input");
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor weight, Converter::Constant(n, 1, "weights"));
  const bool transposed = a.Int("transB", 0) != 0;
  std::vector<float> bias;
  if (n.input(2)) {
    SLIPWAY_ASSIGN_OR_RETURN(bias,
                             BiasVector(n, weight.dims()[transposed ? 0 : 1], a.Float("beta", 1)));
  }
  return InnerProduct(c, n, weight, transposed, a.Float("alpha", 1), n.input(2) ? &bias : nullptr);
}

Status Linear(Converter& c, const Node& n) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor weight, Converter::Constant(n, 1, "weights"));
  const bool transposed = n.attributes.Int("transW", 0) != 0;
  std::vector<float> bias;
  if (n.input(2)) {
    SLIPWAY_ASSIGN_OR_RETURN(bias, BiasVector(n, weight.dims()[transposed ? 0 : 1], 1));
  }
  return InnerProduct(c, n, weight, transposed, 1, n.input(2) ? &bias : nullptr);
}

Status MatMul(Converter& c, const Node& n) {
  const ir::Tensor* weight = n.constant_input(1);
  if (weight && weight->dims().rank() == 2 && weight->dtype() == DType::kFloat32)
    return InnerProduct(c, n, weight->Aligned(), false, 1, nullptr);
  const Extents a = Converter::Dimensions(n.input(0)), b = Converter::Dimensions(n.input(1)),
                y = Converter::Dimensions(n.output());
  if (a.size() < 2 || b.size() < 2)
    return Converter::Refuse(n, "ncnn multiplies matrices only: unsqueeze its vectors");
  const int64_t batch = Elements({y.begin(), y.end() - 2});
  auto as_batch = [&](const Extents& d) -> std::optional<Extents> {
    const int64_t own = Elements({d.begin(), d.end() - 2});
    if (own != batch && own != 1) return std::nullopt;
    if (batch == 1) return Extents{d[d.size() - 2], d.back()};
    return Extents{own, d[d.size() - 2], d.back()};
  };
  const auto left = as_batch(a), right = as_batch(b);
  if (!left || !right)
    return Converter::Refuse(n, "ncnn does not broadcast several batch dimensions of a product");
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0), *left));
  SLIPWAY_ASSIGN_OR_RETURN(Blob w, c.Get(n.input(1), *right));
  Extents dims = batch == 1 ? Extents{} : Extents{batch};
  dims.insert(dims.end(), y.end() - 2, y.end());
  Blob out;
  c.Add("MatMul", n, {x, w}, dims, &out)->params = {{0, int64_t{0}}};
  c.Set(n.output(), out);
  return OkStatus();
}

Status Pool(Converter& c, const Node& n) {
  const auto& a = n.attributes;
  const Extents x = Converter::Dimensions(n.input(0)), y = Converter::Dimensions(n.output());
  if (x.size() < 3 || x[0] != 1)
    return Converter::Refuse(n, "ncnn pools one sample at a time: its batch must be 1");
  if (n.output(1) && n.output(1)->IsUsed())
    return Converter::Refuse(n, "ncnn's pooling gives no indices here");
  const int rank = static_cast<int>(x.size()) - 2;
  Window w;
  SLIPWAY_RETURN_IF_ERROR(ReadWindow(n, rank, a.Ints("kernel_shape"), &w));
  const bool ceil = a.Int("ceil_mode", 0) != 0;
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i) {
    if (w.dilation[i] != 1) return Converter::Refuse(n, "ncnn's pooling has no dilation");
    const int64_t room = x[i + 2] + w.before[i] + w.behind[i] - w.kernel[i];
    const int64_t extent = (ceil ? CeilDiv(room, w.stride[i]) : room / w.stride[i]) + 1;
    if (room < 0 || extent != y[i + 2])
      return Converter::Refuse(n, "ncnn's pooling would give another extent");
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob in, c.Get(n.input(0), {x.begin() + 1, x.end()}));
  Blob out;
  Layer* l = c.Add("Pooling" + Suffix(rank), n, {in}, {y.begin() + 1, y.end()}, &out);
  l->params = {{0, int64_t{n.Is("AveragePool")}}, {5, int64_t{!ceil}}};
  if (n.Is("AveragePool")) l->params.push_back({6, a.Int("count_include_pad", 0)});
  WriteWindow(w, false, true, l);
  c.Set(n.output(), out);
  return OkStatus();
}

Status GlobalPool(Converter& c, const Node& n) {
  const Extents x = Converter::Dimensions(n.input(0));
  if (x.size() < 3 || x[0] != 1)
    return Converter::Refuse(n, "ncnn pools one sample at a time: its batch must be 1");
  const Extents plane = x.size() == 4 ? Extents{x[1], x[2], x[3]}
                                      : Extents{x[1], 1, Elements({x.begin() + 2, x.end()})};
  SLIPWAY_ASSIGN_OR_RETURN(Blob in, c.Get(n.input(0), plane));
  Blob out;
  c.Add("Pooling", n, {in}, {x[1]}, &out)->params = {{0, int64_t{n.Is("GlobalAveragePool")}},
                                                     {4, int64_t{1}}};
  c.Set(n.output(), out);
  return OkStatus();
}

}  // namespace

Writer FindConvolution(const Node& n) {
  if (n.Is("Conv") || n.IsSlipway("Conv")) return Conv;
  if (n.Is("ConvTranspose")) return ConvTranspose;
  if (n.Is("Gemm")) return Gemm;
  if (n.IsSlipway("Linear")) return Linear;
  if (n.Is("MatMul")) return MatMul;
  if (n.Is("MaxPool") || n.Is("AveragePool")) return Pool;
  if (n.Is("GlobalAveragePool") || n.Is("GlobalMaxPool")) return GlobalPool;
  return nullptr;
}

}  // namespace slipway::ncnn
