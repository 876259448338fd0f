// A sub-graph as ONNX bytes for cv::dnn of OpenCV 4.6. What it gets wrong or does not read is
// declined by operator and attribute: the limits below were found by the conformance suite
// (engine/backends/cts) and by ONNX's own cases (`slipway conformance --platform x86-opencv`).

#include "engine/backends/opencv/compile/compiler.h"

#include <algorithm>

#include "engine/backends/opencv/run/backend.h"
#include "engine/backends/subgraph.h"
#include "engine/kernels/vendor/network_blob.h"
#include "model/frontends/onnx/export.h"
#include "model/ir/infer.h"
#include "model/ops/activation.h"

namespace slipway::backends {
namespace {

enum class Family : uint8_t {
  kConv,
  kLinear,
  kPool,
  kGlobalPool,
  kUnary,
  kBinary,
  kConcat,
  kSoftmax,
  kFlatten
};

struct Row {
  const char* domain;
  const char* op;
  Family family;
  double compute;  // share of the machine's rate; see docs/opencv.md
};
constexpr Row kRows[] = {
    {"", "Conv", Family::kConv, 0.33},
    {"slipway", "Conv", Family::kConv, 0.33},
    {"slipway", "Linear", Family::kLinear, 0.3},
    {"", "Gemm", Family::kLinear, 0.3},
    {"", "MaxPool", Family::kPool, 0.2},
    {"", "AveragePool", Family::kPool, 0.2},
    {"", "GlobalAveragePool", Family::kGlobalPool, 0.2},
    {"", "Relu", Family::kUnary, 0.3},
    {"", "LeakyRelu", Family::kUnary, 0.3},
    {"", "Clip", Family::kUnary, 0.3},
    {"", "Sigmoid", Family::kUnary, 0.1},
    {"", "Tanh", Family::kUnary, 0.1},
    {"", "Add", Family::kBinary, 0.3},
    {"slipway", "Add", Family::kBinary, 0.3},
    {"", "Mul", Family::kBinary, 0.3},
    {"", "Concat", Family::kConcat, 0.3},
    {"", "Softmax", Family::kSoftmax, 0.1},
    {"", "Flatten", Family::kFlatten, 1},
    {"", "Reshape", Family::kFlatten, 1},
};

const Row* FindRow(const ir::Node& node) {
  for (const Row& row : kRows) {
    if (node.Is(row.op, row.domain)) return &row;
  }
  return nullptr;
}

// All but the batch known, nothing empty.
bool IsFixed(const ir::Value& v) {
  if (!v.type().shape || v.type().shape->empty()) return false;
  const SymShape& shape = *v.type().shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0 && !shape[i].known()) return false;
    if (shape[i].known() && shape[i].value() < 1) return false;
  }
  return true;
}

int Rank(const ir::Value* v) { return static_cast<int>(v->type().shape->size()); }

bool Same(const ir::Value* a, const ir::Value* b) { return *a->type().shape == *b->type().shape; }

Status CheckActivation(const ir::Node& node) {
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation a, ops::ParseActivation(node.attributes));
  switch (a.kind) {
    case ops::ActivationKind::kNone:
    case ops::ActivationKind::kRelu:
    case ops::ActivationKind::kClip:
    case ops::ActivationKind::kLeakyRelu:
    case ops::ActivationKind::kSigmoid:
    case ops::ActivationKind::kTanh:
      return OkStatus();
    default:
      return Unsupported(std::string("activation ") + ops::ActivationName(a.kind));
  }
}

Status CheckWindow(const ir::Node& node, std::span<const int64_t> kernel) {
  if (node.attributes.String("auto_pad", "NOTSET") != "NOTSET") return Unsupported("auto_pad");
  const auto pads = node.attributes.Ints("pads");
  for (size_t i = 0; i < pads.size(); ++i) {
    if (pads[i] < 0) return Unsupported("negative padding");
    if (i < 2 && pads.size() == 4 && pads[i] != pads[i + 2])
      return Unsupported("padding that differs from side to side");
    if (kernel.size() == 2 && pads[i] >= kernel[i % 2])
      return Unsupported("padding as wide as the window");
  }
  return OkStatus();
}

Status CheckConv(const ir::Node& node) {
  if (Rank(node.input(0)) != 4) return Unsupported("rank " + std::to_string(Rank(node.input(0))));
  const ir::Tensor* w = node.constant_input(1);
  if (!w || (node.input(2) && !node.constant_input(2)))
    return Unsupported("weights that are no constant");
  SLIPWAY_RETURN_IF_ERROR(CheckWindow(node, {}));
  if (node.domain().empty()) return OkStatus();
  if (node.input(3) && (node.input(3)->is_constant() || !Same(node.input(3), node.output())))
    return Unsupported("a residual that broadcasts");
  return CheckActivation(node);
}

Status CheckLinear(const ir::Node& node) {
  if (Rank(node.input(0)) != 2) return Unsupported("rank " + std::to_string(Rank(node.input(0))));
  if (!node.constant_input(1)) return Unsupported("weights that are no constant");
  if (node.input(2)) {
    const ir::Tensor* bias = node.constant_input(2);
    const Dim& outputs = node.output()->type().shape->back();
    if (!bias || bias->dims().rank() != 1 || !outputs.Is(bias->count()))
      return Unsupported("a bias that is no row");
  }
  const ops::Attributes& a = node.attributes;
  if (node.Is("Gemm")) {
    if (a.Float("alpha", 1) != 1 || a.Float("beta", 1) != 1 || a.Int("transA", 0) != 0)
      return Unsupported("alpha, beta or transA");
    return OkStatus();
  }
  if (node.input(3)) return Unsupported("a residual");
  return CheckActivation(node);
}

Status CheckPool(const ir::Node& node) {
  if (Rank(node.input(0)) != 4) return Unsupported("rank " + std::to_string(Rank(node.input(0))));
  const ops::Attributes& a = node.attributes;
  if (a.Int("ceil_mode", 0) != 0) return Unsupported("ceil_mode");
  if (node.output(1)) return Unsupported("indices");
  for (int64_t d : a.Ints("dilations")) {
    if (d != 1) return Unsupported("dilation " + std::to_string(d));
  }
  if (node.Is("AveragePool") && a.Int("count_include_pad", 0) != 0) {
    for (int64_t p : a.Ints("pads")) {
      if (p != 0) return Unsupported("padding that counts in the average");
    }
  }
  return CheckWindow(node, a.Ints("kernel_shape"));
}

ir::Node* AddClip(ir::Graph& graph, ir::Value* x, double low, double high,
                  const std::string& name) {
  ops::Attributes attributes;  // of opset 6: what the reader of OpenCV 4.6 knows
  attributes.Set("min", static_cast<float>(low));
  attributes.Set("max", static_cast<float>(high));
  return graph.AddNode({"Clip", {x}, attributes, "", name});
}

// The node, or the activation behind it.
ir::Node* Activated(ir::Graph& graph, ir::Node* node, const ir::Node& fused) {
  const auto parsed = ops::ParseActivation(fused.attributes);
  if (fused.domain().empty() || !parsed.ok()) return node;
  const std::string name = fused.name() + "/activation";
  ops::Attributes attributes;
  switch (parsed->kind) {
    case ops::ActivationKind::kRelu:
      return graph.AddNode({"Relu", {node->output()}, attributes, "", name});
    case ops::ActivationKind::kClip:
      return AddClip(graph, node->output(), double{parsed->a}, double{parsed->b}, name);
    case ops::ActivationKind::kLeakyRelu:
      attributes.Set("alpha", parsed->a);
      return graph.AddNode({"LeakyRelu", {node->output()}, attributes, "", name});
    case ops::ActivationKind::kSigmoid:
      return graph.AddNode({"Sigmoid", {node->output()}, attributes, "", name});
    case ops::ActivationKind::kTanh:
      return graph.AddNode({"Tanh", {node->output()}, attributes, "", name});
    default:  // none; Supports lets no other through
      return node;
  }
}

// Rows [outputs, inputs].
ir::Tensor Rows(const ir::Tensor& w, bool transposed) {
  if (transposed) return w;
  const int64_t k = w.dims()[0], n = w.dims()[1];
  std::vector<float> rows(static_cast<size_t>(n * k));
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t o = 0; o < n; ++o)
      rows[static_cast<size_t>(o * k + i)] = w.data<float>()[i * n + o];
  }
  return ir::Tensor::Vector(rows).Reshaped({n, k});
}

// Operators in the forms that OpenCV 4.6 reads rightly.
ir::Node* AsOpencvReads(ir::Graph& graph, const ir::Node& node,
                        const std::vector<ir::Value*>& inputs) {
  ops::Attributes attributes;
  switch (FindRow(node)->family) {
    case Family::kConv: {
      const Dims& w = node.constant_input(1)->dims();
      for (const char* key : {"dilations", "strides", "pads"}) {
        const auto v = node.attributes.Ints(key);
        if (!v.empty()) attributes.Set(key, std::vector<int64_t>(v.begin(), v.end()));
      }
      attributes.Set("group", node.attributes.Int("group", 1));
      attributes.Set("kernel_shape",
                     std::vector<int64_t>{w[2], w[3]});  // it does not ask the weights
      std::vector<ir::Value*> of = {inputs[0], inputs[1]};
      if (inputs.size() > 2 && inputs[2]) of.push_back(inputs[2]);
      ir::Node* last = graph.AddNode({"Conv", of, attributes, "", node.name()});
      if (inputs.size() > 3 && inputs[3])
        last = graph.AddNode({"Add", {last->output(), inputs[3]}, {}, "", node.name() + "/add"});
      return Activated(graph, last, node);
    }
    case Family::kLinear: {
      const bool rows = node.attributes.Int(node.Is("Gemm") ? "transB" : "transW", 0) != 0;
      const ir::Tensor w = Rows(*node.constant_input(1), rows);
      const int64_t n = w.dims()[0];
      ir::Value* bias = inputs.size() > 2 ? inputs[2] : nullptr;
      if (!bias)
        bias = graph.AddConstant("zeros_" + node.name(),
                                 ir::Tensor::Vector(std::vector<float>(static_cast<size_t>(n))));
      attributes.Set("transB", int64_t{1});
      ir::Node* last =
          graph.AddNode({"Gemm",
                         {inputs[0], graph.AddConstant("rows_" + node.name(), w), bias},
                         attributes,
                         "",
                         node.name()});
      return Activated(graph, last, node);
    }
    case Family::kBinary:
      if (node.domain().empty()) return nullptr;
      return Activated(graph, graph.AddNode({"Add", {inputs[0], inputs[1]}, {}, "", node.name()}),
                       node);
    case Family::kUnary:
      if (!node.Is("Clip")) return nullptr;
      return AddClip(graph, inputs[0], node.constant_input(1)->ToDoubles()[0],
                     node.constant_input(2)->ToDoubles()[0], node.name());
    case Family::kFlatten:
      attributes.Set("axis", int64_t{1});
      return graph.AddNode({"Flatten", {inputs[0]}, attributes, "", node.name()});
    default:
      return nullptr;
  }
}

class OpencvCompiler final : public CompileBackend {
 public:
  std::string name() const override { return "opencv"; }
  std::string version() const override { return OpencvBackend()->version; }
  Level level() const override { return Level::kNetwork; }

  Status Supports(const ir::Node& node, const Target& target) const override {
    const Row* row = FindRow(node);
    if (!row) return Unsupported("no " + node.FullOp());
    if (target.exact) return Unsupported("OpenCV may use Winograd's convolutions");
    if (!node.input(0) || node.input(0)->is_constant() || !node.output())
      return Unsupported("an input that is a constant");
    for (const auto* values : {&node.inputs(), &node.outputs()}) {
      for (const ir::Value* v : *values) {
        if (!v ||
            (v->is_constant() && v->dtype() != DType::kFloat32 && row->family == Family::kFlatten))
          continue;
        if (v->dtype() != DType::kFloat32)
          return Unsupported(std::string(DTypeName(v->dtype())) + " values");
        if (!v->is_constant() && !IsFixed(*v))
          return Unsupported("a shape that is open beyond the batch, or empty");
      }
    }
    const ops::Attributes& a = node.attributes;
    const int rank = Rank(node.input(0));
    switch (row->family) {
      case Family::kConv:
        return CheckConv(node);
      case Family::kLinear:
        return CheckLinear(node);
      case Family::kPool:
        return CheckPool(node);
      case Family::kGlobalPool:
        return rank == 4 ? OkStatus() : Unsupported("rank " + std::to_string(rank));
      case Family::kUnary:
        if (rank < 2 || rank > 4) return Unsupported("rank " + std::to_string(rank));
        if (!node.Is("Clip")) return OkStatus();
        for (size_t i = 1; i <= 2; ++i) {
          const ir::Tensor* bound = node.constant_input(i);
          if (!bound || bound->count() != 1) return Unsupported("a bound that is no constant");
        }
        if (!(node.constant_input(1)->ToDoubles()[0] <= node.constant_input(2)->ToDoubles()[0]))
          return Unsupported("bounds that cross");
        return OkStatus();
      case Family::kBinary:
        if (rank < 2 || rank > 4) return Unsupported("rank " + std::to_string(rank));
        if (!node.input(1) || node.input(1)->is_constant() || node.input(1) == node.input(0) ||
            !Same(node.input(0), node.input(1)))
          return Unsupported("broadcasting, constants or one input twice");
        return node.domain().empty() ? OkStatus() : CheckActivation(node);
      case Family::kConcat: {
        const int64_t axis = a.Int("axis", 0);
        if (rank < 2 || rank > 4 || (axis < 0 ? axis + rank : axis) != 1)
          return Unsupported("an axis other than the channels");
        for (size_t i = 0; i < node.inputs().size(); ++i) {
          if (!node.input(i) || node.input(i)->is_constant() ||
              std::count(node.inputs().begin(), node.inputs().end(), node.input(i)) > 1)
            return Unsupported("constants or one input twice");
        }
        return node.inputs().size() > 1 ? OkStatus() : Unsupported("one input");
      }
      case Family::kSoftmax: {
        const int64_t axis = a.Int("axis", -1);
        if (rank != 2 || (axis < 0 ? axis + rank : axis) != 1)
          return Unsupported("Softmax over anything but rows");
        return OkStatus();
      }
      case Family::kFlatten: {
        // To rows, one a sample: that holds for every batch.
        if (rank < 3 || rank > 4 || Rank(node.output()) != 2 ||
            !(node.input(0)->type().shape->front() == node.output()->type().shape->front()))
          return Unsupported("a Reshape to other than rows");
        return OkStatus();
      }
    }
    return OkStatus();
  }

  std::vector<Candidate> Candidates(const ir::Node& node, const Target&) const override {
    const Row& row = *FindRow(node);
    Candidate c = PlainCandidate(node, "dnn");
    c.compute_efficiency = row.compute;
    if (row.family == Family::kConv && node.attributes.Int("group", 1) > 1)
      c.compute_efficiency = 0.05;
    c.memory_efficiency = 0.3;
    c.overhead_us = 4;
    return {std::move(c)};
  }

  Result<std::vector<StepSpec>> Compile(std::span<const PartitionNode> nodes,
                                        const Target&) const override {
    SLIPWAY_ASSIGN_OR_RETURN(const Subgraph part, CutOut(nodes, AsOpencvReads));
    // An open batch is written as 1, and every input that is set brings its own. Its reader makes
    // of an open one 1 for images and 0 for rows, which then do not fit each other.
    ir::InferOptions one;
    for (const ir::Value* v : part.graph->inputs()) {
      for (const std::string& s : v->type().shape->front().Symbols()) one.symbols[s] = 1;
    }
    if (!one.symbols.empty()) SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*part.graph, one));
    onnx::ExportOptions options;
    options.opset = 11;
    options.value_info = false;
    SLIPWAY_ASSIGN_OR_RETURN(const std::vector<uint8_t> onnx,
                             onnx::ExportOnnxBytes(*part.graph, options));
    return std::vector<StepSpec>{
        StepOf(nodes, part, "dnn",
               kernels::EncodeNetwork(kOpencvMark, static_cast<uint32_t>(part.inputs.size()),
                                      static_cast<uint32_t>(part.outputs.size()), onnx))};
  }
};

}  // namespace

std::unique_ptr<CompileBackend> MakeOpencvCompiler() { return std::make_unique<OpencvCompiler>(); }

}  // namespace slipway::backends
