#include "model/frontends/caffe/export.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include "model/frontends/caffe/text_format.h"
#include "model/frontends/wire.h"

namespace slipway::caffe {
namespace {

using wire::WireWriter;

std::string Number(double v) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.9g", v);
  return text;
}

class Exporter {
 public:
  explicit Exporter(const ir::Graph& graph) : graph_(graph) {}

  Result<CaffeFiles> Run() {
    net_.Add("name", graph_.name, true);
    model_.Text(1, graph_.name);
    for (const ir::Value* v : graph_.inputs()) {
      auto dims = v->type().StaticDims();
      if (!dims) {
        return Unsupported("input '" + v->name() + "' is " + v->type().ToString() +
                           "; Caffe needs known extents: fix them with --shape or by optimize");
      }
      net_.Add("input", v->name(), true);
      Message& shape = net_.AddMessage("input_shape");
      for (const int64_t d : *dims) shape.Add("dim", std::to_string(d));
    }
    for (const auto& node : graph_.nodes()) {
      node_ = node.get();
      SLIPWAY_RETURN_IF_ERROR(Node().With(node_->Describe()));
    }
    if (model_.size() > size_t{INT32_MAX})
      return ResourceExhausted("the weights exceed 2 GiB, which a caffemodel does not hold");
    return CaffeFiles{PrintText(net_), model_.Finish()};
  }

 private:
  const ops::Attributes& A() const { return node_->attributes; }
  Status No(const std::string& why) const { return Unsupported(why); }
  Dims Shape(const ir::Value* v) const { return v->type().StaticDims().value_or(Dims()); }
  std::string Name(const ir::Value* v) const { return v->name(); }

  // A layer with the node's bottoms that are no constants.
  Message& Layer(const std::string& type, const std::vector<const ir::Value*>& bottoms,
                 const std::string& top) {
    Message& layer = net_.AddMessage("layer");
    layer.Add("name", top, true);
    layer.Add("type", type, true);
    for (const ir::Value* b : bottoms) layer.Add("bottom", b->name(), true);
    layer.Add("top", top, true);
    return layer;
  }
  Message& Layer(const std::string& type) {
    return Layer(type, {node_->input(0)}, node_->output()->name());
  }
  // The blobs of the layer `name`.
  void Blobs(const std::string& name, const std::string& type,
             const std::vector<std::pair<Dims, std::span<const uint8_t>>>& blobs) {
    WireWriter layer;
    layer.Text(1, name);
    layer.Text(2, type);
    for (const auto& [dims, bytes] : blobs) {
      WireWriter blob, shape;
      shape.PackedInts(1, std::vector<int64_t>(dims.begin(), dims.end()));
      blob.Message(7, shape);
      blob.Blob(5, bytes);
      layer.Message(7, blob);
    }
    model_.Message(100, layer);
  }

  Result<const ir::Tensor*> Weight(size_t i, const char* what) const {
    const ir::Tensor* t = node_->constant_input(i);
    if (!t || t->dtype() != DType::kFloat32)
      return Unsupported(std::string(what) + " is no float32 constant, which a Caffe layer needs");
    return t;
  }

  // The one number of a constant operand.
  static std::optional<float> Scalar(const ir::Tensor* t) {
    if (!t || t->dtype() != DType::kFloat32 || t->count() != 1) return std::nullopt;
    return t->Aligned().data<float>()[0];
  }

  // Kernel, strides, pads and dilations of convolution and pooling.
  Status Window(Message* p, std::span<const int64_t> kernel, bool pooling) {
    const size_t n = kernel.size();
    if (!A().String("auto_pad", "NOTSET").starts_with("NOTSET"))
      return No("auto_pad is not resolved; run optimize first");
    const auto strides = A().Ints("strides"), pads = A().Ints("pads"),
               dilations = A().Ints("dilations");
    for (size_t i = 0; i < n && !pads.empty(); ++i) {
      if (pads[i] != pads[i + n])
        return No("it pads " + std::to_string(pads[i]) + " before and " +
                  std::to_string(pads[i + n]) +
                  " behind; Caffe pads both sides alike: change the padding in the model");
    }
    if (pooling && n != 2) return No("Caffe pools over two dimensions");
    auto put = [&](const char* name, const char* stem, std::span<const int64_t> v, int64_t none) {
      if (v.empty() || std::all_of(v.begin(), v.end(), [&](int64_t x) { return x == none; }))
        return;
      if (std::all_of(v.begin(), v.end(), [&](int64_t x) { return x == v[0]; })) {
        p->Add(name, std::to_string(v[0]));
      } else if (n == 2) {
        p->Add(std::string(stem) + "_h", std::to_string(v[0]));
        p->Add(std::string(stem) + "_w", std::to_string(v[1]));
      } else {
        for (const int64_t x : v) p->Add(name, std::to_string(x));
      }
    };
    put("kernel_size", "kernel", kernel, -1);
    put("stride", "stride", strides, 1);
    put("pad", "pad", pads.empty() ? pads : pads.first(n), 0);
    if (std::any_of(dilations.begin(), dilations.end(), [](int64_t d) { return d != 1; })) {
      if (pooling) return No("Caffe has no dilated pooling");
      for (const int64_t d : dilations) p->Add("dilation", std::to_string(d));
    }
    return OkStatus();
  }

  Status Convolution(bool transposed) {
    SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* w, Weight(1, "the weight"));
    const int64_t group = A().Int("group", 1);
    const bool bias = node_->input(2) != nullptr;
    const std::string type = transposed ? "Deconvolution" : "Convolution";
    if (transposed &&
        (!A().Ints("output_shape").empty() ||
         std::any_of(A().Ints("output_padding").begin(), A().Ints("output_padding").end(),
                     [](int64_t v) { return v != 0; })))
      return No("output_padding and output_shape have no form in Caffe");
    Message& p = Layer(type).AddMessage("convolution_param");
    p.Add("num_output", std::to_string(transposed ? w->dims()[1] * group : w->dims()[0]));
    p.Add("bias_term", bias ? "true" : "false");
    if (group != 1) p.Add("group", std::to_string(group));
    const std::vector<int64_t> kernel(w->dims().begin() + 2, w->dims().end());
    SLIPWAY_RETURN_IF_ERROR(Window(&p, kernel, false));
    std::vector<std::pair<Dims, std::span<const uint8_t>>> blobs{{w->dims(), w->bytes()}};
    if (bias) {
      SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* b, Weight(2, "the bias"));
      blobs.emplace_back(b->dims(), b->bytes());
    }
    Blobs(node_->output()->name(), type, blobs);
    return OkStatus();
  }

  Status Pool(bool max) {
    if (node_->output(1)) return No("the indices of a pooling have no form in Caffe");
    const auto kernel = A().Ints("kernel_shape"), strides = A().Ints("strides"),
               pads = A().Ints("pads");
    Message& p = Layer("Pooling").AddMessage("pooling_param");
    p.Add("pool", max ? "MAX" : "AVE");
    SLIPWAY_RETURN_IF_ERROR(Window(&p, kernel, true));
    const Dims x = Shape(node_->input(0)), y = Shape(node_->output());
    bool padded = false, floor = false;
    for (size_t i = 0; i < 2; ++i) padded |= !pads.empty() && pads[i] > 0;
    for (size_t i = 0; i < 2; ++i) {
      const int64_t s = strides.empty() ? 1 : strides[i], pad = pads.empty() ? 0 : pads[i];
      int64_t out = (x[i + 2] + 2 * pad - kernel[i] + s - 1) / s + 1;
      if (padded && (out - 1) * s >= x[i + 2] + pad) --out;
      floor |= out != y[i + 2];
    }
    if (floor) p.Add("ceil_mode", "false");
    if (!max && padded && A().Int("count_include_pad", 0) == 0)
      return No("Caffe's average counts the padding; set count_include_pad or pad before it");
    return OkStatus();
  }

  Status Global(bool max) {
    if (Shape(node_->input(0)).rank() != 4) return No("Caffe pools over two dimensions");
    Message& p = Layer("Pooling").AddMessage("pooling_param");
    p.Add("pool", max ? "MAX" : "AVE");
    p.Add("global_pooling", "true");
    return OkStatus();
  }

  Status Gemm() {
    SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* w, Weight(1, "the weight"));
    if (A().Float("alpha", 1) != 1 || A().Float("beta", 1) != 1 || A().Int("transA", 0) != 0)
      return No("alpha, beta and transA have no form in Caffe; run optimize first");
    const bool trans = A().Int("transB", 0) != 0, bias = node_->input(2) != nullptr;
    const int64_t n = w->dims()[trans ? 0 : 1];
    Message& p = Layer("InnerProduct").AddMessage("inner_product_param");
    p.Add("num_output", std::to_string(n));
    p.Add("bias_term", bias ? "true" : "false");
    if (!trans) p.Add("transpose", "true");
    std::vector<std::pair<Dims, std::span<const uint8_t>>> blobs{{w->dims(), w->bytes()}};
    if (bias) {
      SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* b, Weight(2, "the bias"));
      if (b->count() != n) return No("the bias must have one number for each output");
      blobs.emplace_back(Dims{n}, b->bytes());
    }
    Blobs(node_->output()->name(), "InnerProduct", blobs);
    return OkStatus();
  }

  Status BatchNorm() {
    const std::string top = node_->output()->name(), inner = top + "_norm";
    const ir::Tensor* t[4];
    for (size_t i = 0; i < 4; ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(t[i], Weight(i + 1, "a parameter"));
    }
    static constexpr float kOne[1] = {1};
    Message& bn = Layer("BatchNorm", {node_->input(0)}, inner).AddMessage("batch_norm_param");
    bn.Add("use_global_stats", "true");
    bn.Add("eps", Number(A().Float("epsilon", 1e-5f)));
    Blobs(inner, "BatchNorm",
          {{t[2]->dims(), t[2]->bytes()},
           {t[3]->dims(), t[3]->bytes()},
           {Dims{1}, {reinterpret_cast<const uint8_t*>(kOne), 4}}});
    Message& scale = net_.AddMessage("layer");
    scale.Add("name", top, true);
    scale.Add("type", "Scale", true);
    scale.Add("bottom", inner, true);
    scale.Add("top", top, true);
    scale.AddMessage("scale_param").Add("bias_term", "true");
    Blobs(top, "Scale", {{t[0]->dims(), t[0]->bytes()}, {t[1]->dims(), t[1]->bytes()}});
    return OkStatus();
  }

  // Add, Sub, Mul, Max of two values of one shape, or of a value and a number.
  Status Binary() {
    const std::string& op = node_->op();
    const ir::Value *a = node_->input(0), *b = node_->input(1);
    const auto sa = Scalar(a->constant()), sb = Scalar(b->constant());
    if (op != "Max" && (sa || sb) && !(sa && op == "Sub") && !(sa && op == "Div")) {
      Message& p = Layer("Power", {sb ? a : b}, node_->output()->name()).AddMessage("power_param");
      const float v = sb ? *sb : *sa;
      if (op == "Add" || op == "Sub") p.Add("shift", Number(op == "Sub" ? -v : v));
      if (op == "Mul" || op == "Div") p.Add("scale", Number(op == "Div" ? 1 / v : v));
      return OkStatus();
    }
    if (a->is_constant() || b->is_constant() || Shape(a) != Shape(b) || op == "Div")
      return No("Caffe combines two values of one shape, or a value and a number; got " +
                Shape(a).ToString() + " and " + Shape(b).ToString());
    Message& p = Layer("Eltwise", {a, b}, node_->output()->name()).AddMessage("eltwise_param");
    p.Add("operation", op == "Mul" ? "PROD" : op == "Max" ? "MAX" : "SUM");
    if (op == "Sub") {
      p.Add("coeff", "1");
      p.Add("coeff", "-1");
    }
    return OkStatus();
  }

  Status Reshape() {
    Message& shape = Layer("Reshape").AddMessage("reshape_param").AddMessage("shape");
    for (const int64_t d : Shape(node_->output())) shape.Add("dim", std::to_string(d));
    return OkStatus();
  }

  Status Clip() {
    const auto low = Scalar(node_->constant_input(1)), high = Scalar(node_->constant_input(2));
    if (low == 0.0f && high == 6.0f) {
      Layer("ReLU6");
      return OkStatus();
    }
    if (low == 0.0f && !node_->input(2)) {
      Layer("ReLU");
      return OkStatus();
    }
    return No("Caffe's only clip is ReLU6, from 0 to 6");
  }

  Status PRelu() {
    SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* slope, Weight(1, "the slope"));
    const Dims x = Shape(node_->input(0));
    if (slope->count() != 1 && (x.rank() < 2 || slope->count() != x[1] ||
                                slope->dims().rank() != x.rank() - 1 || slope->dims()[0] != x[1]))
      return No("the slope must be one number for each channel");
    Message& layer = Layer("PReLU");
    if (slope->count() == 1) layer.AddMessage("prelu_param").Add("channel_shared", "true");
    Blobs(node_->output()->name(), "PReLU", {{Dims{slope->count()}, slope->bytes()}});
    return OkStatus();
  }

  Status Node() {
    if (!node_->domain().empty()) return No("operators of this domain have no form in Caffe");
    for (const ir::Value* v : node_->outputs()) {
      if (v && v->dtype() != DType::kFloat32)
        return No("its output is " + v->type().ToString() + "; Caffe computes in float32");
      if (v && !v->type().IsStatic()) return No("the extent of its output is not known");
    }
    const std::string& op = node_->op();
    static const std::map<std::string, const char*> kPlain = {
        {"Relu", "ReLU"},      {"Sigmoid", "Sigmoid"}, {"Tanh", "TanH"},
        {"Abs", "AbsVal"},     {"Softplus", "BNLL"},   {"Exp", "Exp"},
        {"Identity", "Split"}, {"Mish", "Mish"},       {"Dropout", "Split"}};
    const std::string top = node_->output()->name();
    if (auto it = kPlain.find(op); it != kPlain.end()) {
      Layer(it->second);
      return OkStatus();
    }
    if (op == "Conv") return Convolution(false);
    if (op == "ConvTranspose") return Convolution(true);
    if (op == "MaxPool") return Pool(true);
    if (op == "AveragePool") return Pool(false);
    if (op == "GlobalAveragePool") return Global(false);
    if (op == "GlobalMaxPool") return Global(true);
    if (op == "Gemm") return Gemm();
    if (op == "BatchNormalization") return BatchNorm();
    if (op == "Add" || op == "Sub" || op == "Mul" || op == "Max" || op == "Div") {
      if (node_->inputs().size() != 2) return No("Caffe's form takes two inputs here");
      return Binary();
    }
    if (op == "Reshape" || op == "Flatten" || op == "Squeeze" || op == "Unsqueeze")
      return Reshape();
    if (op == "Clip") return Clip();
    if (op == "PRelu") return PRelu();
    if (op == "LeakyRelu") {
      Layer("ReLU")
          .AddMessage("relu_param")
          .Add("negative_slope", Number(A().Float("alpha", 0.01f)));
      return OkStatus();
    }
    if (op == "Elu") {
      Layer("ELU").AddMessage("elu_param").Add("alpha", Number(A().Float("alpha", 1)));
      return OkStatus();
    }
    const int rank = Shape(node_->input(0)).rank();
    auto axis = [&](int64_t fallback) {
      const int64_t a = A().Int("axis", fallback);
      return std::to_string(a < 0 ? a + rank : a);
    };
    if (op == "Softmax") {
      Layer("Softmax").AddMessage("softmax_param").Add("axis", axis(-1));
      return OkStatus();
    }
    if (op == "Concat") {
      std::vector<const ir::Value*> bottoms(node_->inputs().begin(), node_->inputs().end());
      for (const ir::Value* b : bottoms) {
        if (b->is_constant()) return No("it joins a constant, which Caffe's layers do not hold");
      }
      Layer("Concat", bottoms, top).AddMessage("concat_param").Add("axis", axis(0));
      return OkStatus();
    }
    if (op == "Transpose") {
      Message& p = Layer("Permute").AddMessage("permute_param");
      const auto perm = A().Ints("perm");
      for (int i = 0; i < rank; ++i)
        p.Add("order", std::to_string(perm.empty() ? rank - 1 - i : perm[static_cast<size_t>(i)]));
      return OkStatus();
    }
    if (op == "LRN") {
      Message& p = Layer("LRN").AddMessage("lrn_param");
      p.Add("local_size", std::to_string(A().Int("size", 5)));
      p.Add("alpha", Number(A().Float("alpha", 1e-4f)));
      p.Add("beta", Number(A().Float("beta", 0.75f)));
      p.Add("k", Number(A().Float("bias", 1)));
      return OkStatus();
    }
    return No("Caffe has no layer for it; export to ONNX, or replace it in the model");
  }

  const ir::Graph& graph_;
  const ir::Node* node_ = nullptr;
  Message net_;
  WireWriter model_;
};

}  // namespace

Result<CaffeFiles> ExportCaffe(const ir::Graph& graph) { return Exporter(graph).Run(); }

}  // namespace slipway::caffe
