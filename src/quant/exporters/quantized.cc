#include "quant/exporters/quantized.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "model/frontends/onnx/export.h"
#include "model/frontends/onnx/import.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

// Gives another place to codes and no other value.
bool MovesCodes(const Node& node) {
  static const std::set<std::string> kOps = {
      "Reshape",      "Transpose",    "Flatten", "Squeeze",  "Unsqueeze",
      "MaxPool",      "Slice",        "Split",   "Identity", "Gather",
      "DepthToSpace", "SpaceToDepth", "Expand",  "Concat",   "Tile"};
  return node.domain().empty() && kOps.contains(node.op());
}

// The name of a constant before it was quantized, as `slipway quantize` and the quantizer of ONNX
// Runtime call what they make of it.
std::string PlainName(const Value& codes, const Value& real) {
  for (const char* suffix : {"_dq", "_DequantizeLinear_Output", "_DequantizeLinear"}) {
    const std::string& name = real.name();
    if (name.ends_with(suffix)) return name.substr(0, name.size() - std::string(suffix).size());
  }
  for (const char* suffix : {"_q", "_quantized"}) {
    const std::string& name = codes.name();
    if (name.ends_with(suffix)) return name.substr(0, name.size() - std::string(suffix).size());
  }
  return real.name();
}

// What the node (a Quantize or a Dequantize of a constant) gives.
Result<Tensor> EvaluateOne(const Node& node) {
  Graph g;
  std::vector<Value*> inputs;
  for (const Value* v : node.inputs())
    inputs.push_back(v ? g.AddConstant(v->name(), *v->constant()) : nullptr);
  Node* copy = g.AddNode({.op = node.op(),
                          .inputs = inputs,
                          .attributes = node.attributes,
                          .domain = node.domain(),
                          .name = node.name()});
  g.AddOutput(copy->output());
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(g));
  SLIPWAY_ASSIGN_OR_RETURN(auto out, interp::Evaluate(g, {}));
  return out[0];
}

bool HasPairs(const Graph& graph) {
  return std::any_of(graph.nodes().begin(), graph.nodes().end(), [](const auto& n) {
    return n->IsSlipway("Quantize") || n->IsSlipway("Dequantize") ||
           std::any_of(n->subgraphs.begin(), n->subgraphs.end(),
                       [](const auto& body) { return HasPairs(*body.second); });
  });
}

bool SameParameters(const QuantTensor& a, const QuantTensor& b) {
  return a.params.bits == b.params.bits && a.params.is_signed == b.params.is_signed &&
         a.params.kind == b.params.kind && a.params.code_type == b.params.code_type &&
         a.axis == b.axis && a.scales == b.scales && a.zeros == b.zeros;
}

class Remover {
 public:
  Remover(Graph* graph, const RealValue& real) : graph_(*graph), real_value_(real) {}

  Result<std::vector<QuantTensor>> Run() {
    graph_.RemoveUnused();
    std::vector<std::string> outputs;
    for (const Value* v : graph_.outputs()) outputs.push_back(v->name());
    for (Node* n : graph_.NodeList()) {
      if (n->IsSlipway("Quantize")) {
        SLIPWAY_RETURN_IF_ERROR(Quantize(n));
      } else if (n->IsSlipway("Dequantize")) {
        SLIPWAY_RETURN_IF_ERROR(Dequantize(n));
      } else {
        SLIPWAY_RETURN_IF_ERROR(Move(n));
      }
    }
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      if (auto it = real_.find(graph_.outputs()[i]); it != real_.end() && it->second)
        graph_.SetOutput(i, it->second);
    }
    for (Node* n : graph_.NodeList()) {
      if (!n->IsSlipway("Quantize") && !n->IsSlipway("Dequantize")) continue;
      if (!n->output() || !n->output()->IsUsed()) doomed_.push_back(n);
    }
    // Readers first.
    for (auto it = doomed_.rbegin(); it != doomed_.rend(); ++it) graph_.RemoveNode(*it);
    SLIPWAY_RETURN_IF_ERROR(NameOutputs(outputs));
    graph_.RemoveUnused();
    SLIPWAY_RETURN_IF_ERROR(graph_.SortTopologically());
    std::vector<QuantTensor> tensors;
    for (auto& [value, t] : found_) {
      t.name = value->name();
      if (!t.constant() && value->producer()) {
        t.node = value->producer()->name();
        t.index = static_cast<size_t>(value->producer_index());
      }
      tensors.push_back(std::move(t));
    }
    return tensors;
  }

 private:
  Status Refuse(const Node& n, const std::string& why) {
    return Unsupported(n.Describe() + " " + why +
                       "; quantize the float model with `slipway quantize`");
  }

  Result<QuantTensor> Parameters(const Node& n) {
    QuantTensor t;
    auto params = ops::ParseQuant(n.attributes, 32);
    if (!params.ok()) return std::move(params).status().With(n.Describe());
    t.params = *params;
    if (t.params.bits > 16)
      t.params.range = {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
    const Tensor *scale = n.constant_input(1), *zero = n.constant_input(2);
    if (!scale || (n.input(2) && !zero))
      return Refuse(n, "has a scale that is computed in the run");
    for (double s : scale->ToDoubles()) t.scales.push_back(static_cast<float>(s));
    if (t.scales.empty()) return Refuse(n, "has no scale");
    t.zeros.assign(t.scales.size(), 0);
    if (zero) {
      const std::vector<int64_t> zeros = zero->ToInts();
      if (zeros.size() != 1 && zeros.size() != t.scales.size())
        return Refuse(n, "has another number of zero points than of scales");
      for (size_t i = 0; i < t.zeros.size(); ++i) t.zeros[i] = zeros[zeros.size() == 1 ? 0 : i];
    }
    const auto same = [](const auto& v) {
      return std::all_of(v.begin(), v.end(), [&](auto x) { return x == v[0]; });
    };
    if (same(t.scales) && same(t.zeros)) {
      t.scales.resize(1);
      t.zeros.resize(1);
    }
    if (t.scales.size() > 1) {
      const int64_t rank =
          n.input(0)->type().shape ? static_cast<int64_t>(n.input(0)->type().shape->size()) : 0;
      t.axis = static_cast<int>(t.params.axis < 0 ? t.params.axis + rank : t.params.axis);
      if (t.axis < 0 || t.axis >= rank) return Refuse(n, "has an axis outside of its input");
    }
    return t;
  }

  void Found(const Value* value, const QuantTensor& t) {
    for (const auto& [other, known] : found_) {
      if (other == value && SameParameters(known, t)) return;
    }
    found_.emplace_back(value, t);
  }

  Status Quantize(Node* n) {
    if (!n->output()) return OkStatus();
    SLIPWAY_ASSIGN_OR_RETURN(QuantTensor t, Parameters(*n));
    if (n->constant_input(0)) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor codes, EvaluateOne(*n));
      Value* made = graph_.AddConstant(n->input(0)->name() + "_q", std::move(codes));
      graph_.ReplaceAllUses(n->output(), made);
      return OkStatus();
    }
    real_[n->output()] = n->input(0);
    Found(n->input(0), t);
    return OkStatus();
  }

  Status Dequantize(Node* n) {
    if (!n->output()) return OkStatus();
    SLIPWAY_ASSIGN_OR_RETURN(QuantTensor t, Parameters(*n));
    Value* codes = n->input(0);
    Value* real = nullptr;
    if (codes->is_constant()) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor values, EvaluateOne(*n));
      t.role = TensorRole::kWeight;
      t.codes = *codes->constant();
      if (!n->output()->uses().empty()) {
        ir::Use use = n->output()->uses()[0];
        t.node = use.node->name();
        t.index = static_cast<size_t>(use.index);
        const bool layer = use.node->op() == "Conv" || use.node->op() == "Gemm" ||
                           use.node->op() == "ConvTranspose" || use.node->op() == "Linear";
        if (t.params.bits > 16 || (layer && use.index == 2)) t.role = TensorRole::kBias;
      }
      real = graph_.AddConstant(PlainName(*codes, *n->output()), std::move(values));
    } else if (auto it = real_.find(codes); it != real_.end()) {
      real = it->second;
    } else if (codes->is_input()) {
      codes->set_type({DType::kFloat32, codes->type().shape});
      real_[codes] = real = codes;
    } else {
      return Refuse(*n, "reads codes that " +
                            (codes->producer() ? codes->producer()->Describe() : "nobody") +
                            " computes");
    }
    Found(real, t);
    if (real_value_) {
      t.name = real->name();
      SLIPWAY_ASSIGN_OR_RETURN(real, real_value_(graph_, real, t, n));
    }
    graph_.ReplaceAllUses(n->output(), real);
    return OkStatus();
  }

  Status Move(Node* n) {
    for (const auto& [key, body] : n->subgraphs) {
      if (HasPairs(*body)) return Refuse(*n, "has quantized tensors in its body '" + key + "'");
    }
    bool coded = false;
    for (size_t i = 0; i < n->inputs().size(); ++i) {
      Value* v = n->input(i);
      auto it = v ? real_.find(v) : real_.end();
      if (it == real_.end() || it->second == v) continue;
      if (!MovesCodes(*n) || !n->subgraphs.empty()) return Refuse(*n, "computes with codes");
      graph_.SetInput(n, i, it->second);
      coded = true;
    }
    // What follows an input that became real is real too.
    if (!coded && !n->inputs().empty() && n->input(0)) {
      auto it = real_.find(n->input(0));
      coded = it != real_.end() && it->second == n->input(0) && MovesCodes(*n) && n->output() &&
              n->output()->dtype() != DType::kFloat32;
    }
    if (!coded) return OkStatus();
    for (Value* out : n->outputs()) {
      if (!out) continue;
      out->set_type({DType::kFloat32, out->type().shape});
      real_[out] = out;
    }
    return OkStatus();
  }

  Status NameOutputs(const std::vector<std::string>& wanted) {
    std::set<const Value*> named;
    for (size_t i = 0; i < wanted.size(); ++i) {
      Value* v = graph_.outputs()[i];
      if (v->name() == wanted[i]) {
        named.insert(v);
        continue;
      }
      if (v->producer() && named.insert(v).second) {
        graph_.Rename(v, wanted[i]);
        continue;
      }
      Node* copy = graph_.AddNode(
          {.op = "Identity", .inputs = {v}, .name = wanted[i] + "/copy", .outputs = {wanted[i]}});
      copy->output()->set_type(v->type());
      graph_.SetOutput(i, copy->output());
    }
    return OkStatus();
  }

  Graph& graph_;
  const RealValue& real_value_;
  std::map<const Value*, Value*> real_;  // of codes
  std::vector<std::pair<const Value*, QuantTensor>> found_;
  std::vector<Node*> doomed_;
};

bool HasFused(const Graph& graph) {
  return std::any_of(graph.nodes().begin(), graph.nodes().end(), [](const auto& n) {
    return n->domain() == ir::kSlipwayDomain && n->op() != "Quantize" && n->op() != "Dequantize";
  });
}

}  // namespace

int64_t QuantTensor::lowest() const {
  return params.is_signed ? -(int64_t{1} << (params.bits - 1)) : 0;
}

int64_t QuantTensor::highest() const {
  return (int64_t{1} << (params.is_signed ? params.bits - 1 : params.bits)) - 1;
}

bool QuantTensor::symmetric() const {
  return params.is_signed &&
         std::all_of(zeros.begin(), zeros.end(), [](int64_t z) { return z == 0; });
}

const char* QuantTensor::RoleName() const {
  switch (role) {
    case TensorRole::kWeight:
      return "weights";
    case TensorRole::kBias:
      return "bias";
    default:
      return "activation";
  }
}

Result<std::vector<QuantTensor>> RemovePairs(Graph* graph, const RealValue& real) {
  return Remover(graph, real).Run();
}

namespace {

// Weights that are turned behind their Dequantize (a linear layer over sequences, in ONNX) lie
// turned.
Status TurnWeights(ir::Graph& graph) {
  for (Node* turn : graph.NodeList()) {
    if (!turn->Is("Transpose") || !turn->output() || !turn->input(0) ||
        !turn->input(0)->producer() || !turn->input(0)->producer()->IsSlipway("Dequantize") ||
        !turn->input(0)->producer()->constant_input(0))
      continue;
    const Node& dq = *turn->input(0)->producer();
    const Tensor& codes = *dq.constant_input(0);
    const auto perm = turn->attributes.Ints("perm");
    std::vector<int> order(perm.begin(), perm.end());
    for (int i = codes.dims().rank(); perm.empty() && i-- > 0;) order.push_back(i);
    if (dq.attributes.Int("group", 0) > 0) continue;
    SLIPWAY_ASSIGN_OR_RETURN(const Tensor turned, PermutedConstant(codes, order));
    ops::Attributes attributes = dq.attributes;
    if (dq.constant_input(1) && dq.constant_input(1)->count() > 1) {
      int64_t axis = attributes.Int("axis", 1);
      if (axis < 0) axis += codes.dims().rank();
      attributes.Set("axis", static_cast<int64_t>(std::find(order.begin(), order.end(), axis) -
                                                  order.begin()));
    }
    std::vector<Value*> inputs = {graph.AddConstant("", turned), dq.input(1)};
    if (dq.input(2)) inputs.push_back(dq.input(2));
    Node* made =
        graph.AddNode({"Dequantize", inputs, attributes, ir::kSlipwayDomain, turn->name()}, turn);
    made->output()->set_type(turn->output()->type());
    graph.ReplaceAllUses(turn->output(), made->output());
  }
  graph.RemoveUnused();
  return OkStatus();
}

}  // namespace

Result<ir::Tensor> PermutedConstant(const ir::Tensor& tensor, const std::vector<int>& perm) {
  const ir::Tensor t = tensor.Aligned();
  const auto rank = static_cast<size_t>(t.dims().rank());
  if (rank != perm.size()) return Internal("a constant of another rank than its order");
  Dims dims;
  std::vector<int64_t> stride(rank);
  for (size_t i = 0; i < rank; ++i) {
    dims.push_back(t.dims()[static_cast<size_t>(perm[i])]);
    stride[i] = t.dims().count(perm[i] + 1, static_cast<int>(rank));
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out, ir::Tensor::Allocate(t.dtype(), dims));
  const size_t size = t.count() ? t.bytes().size() / static_cast<size_t>(t.count()) : 1;
  std::vector<int64_t> at(rank);
  for (int64_t i = 0; i < t.count(); ++i) {
    int64_t from = 0;
    for (size_t d = 0; d < rank; ++d) from += at[d] * stride[d];
    std::memcpy(out.mutable_data() + static_cast<size_t>(i) * size,
                t.bytes().data() + static_cast<size_t>(from) * size, size);
    for (size_t d = rank; d-- > 0;) {
      if (++at[d] < dims[d]) break;
      at[d] = 0;
    }
  }
  return out;
}

Result<QuantizedModel> ReadQuantized(const Graph& graph, const std::string& platform) {
  QuantizedModel m;
  if (HasFused(graph)) {
    SLIPWAY_ASSIGN_OR_RETURN(std::vector<uint8_t> bytes,
                             onnx::ExportOnnxBytes(graph, {.opset = ir::kOpset}));
    auto owner = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
    SLIPWAY_ASSIGN_OR_RETURN(m.quantized, onnx::ImportOnnxBytes(*owner, owner));
  } else {
    m.quantized = graph.Clone();
  }
  m.quantized->RemoveUnused();
  SLIPWAY_RETURN_IF_ERROR(TurnWeights(*m.quantized));
  m.real = m.quantized->Clone();
  SLIPWAY_ASSIGN_OR_RETURN(m.tensors, RemovePairs(m.real.get()));
  if (m.tensors.empty()) {
    return InvalidArgument(
        "the model has no quantized tensor: it is float; quantize it first with "
        "`slipway quantize MODEL --platform " +
        (platform.empty() ? "P" : platform) + " --calib DATA -o QUANTIZED.onnx`");
  }
  return m;
}

std::vector<int64_t> CodesOfValues(const QuantTensor& t, const Tensor& values) {
  const std::vector<double> v = values.ToDoubles();
  std::vector<int64_t> codes(v.size());
  const Dims& dims = values.dims();
  const int64_t inner = t.per_channel() ? dims.count(t.axis + 1, dims.rank()) : 1;
  for (size_t i = 0; i < v.size(); ++i) {
    const size_t c = t.per_channel()
                         ? static_cast<size_t>(static_cast<int64_t>(i) / inner) % t.scales.size()
                         : 0;
    // In float32, as the tools do.
    const float q = std::nearbyint(static_cast<float>(v[i]) / t.scales[c]);
    codes[i] = std::clamp(static_cast<int64_t>(q) + t.zeros[c], t.lowest(), t.highest());
  }
  return codes;
}

}  // namespace slipway::quant
