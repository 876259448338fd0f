#include "model/passes/lower_half.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/float16.h"
#include "model/ir/infer.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// What gains by it; the operators below only go on where a value is of that type already.
constexpr std::string_view kStarts[] = {"Conv", "Gemm", "MatMul"};
constexpr std::string_view kFollows[] = {"Relu",
                                         "LeakyRelu",
                                         "Clip",
                                         "HardSwish",
                                         "HardSigmoid",
                                         "Sigmoid",
                                         "Swish",
                                         "Gelu",
                                         "Tanh",
                                         "Elu",
                                         "Add",
                                         "Mul",
                                         "Sub",
                                         "MaxPool",
                                         "AveragePool",
                                         "GlobalAveragePool",
                                         "Softmax",
                                         "Concat",
                                         "Reshape",
                                         "Flatten",
                                         "Transpose",
                                         "Squeeze",
                                         "Unsqueeze",
                                         "Slice",
                                         "Split",
                                         "Identity",
                                         "Pad",
                                         "DepthToSpace",
                                         "SpaceToDepth",
                                         "Gather",
                                         "Attention",
                                         "LayerNormalization",
                                         "RMSNormalization",
                                         "Resize"};
constexpr std::string_view kFusedStarts[] = {"Conv", "Linear", "ConvDepthwise"};
constexpr std::string_view kFusedFollows[] = {"Add", "SqueezeExcite"};

template <size_t N>
bool In(const std::string_view (&list)[N], std::string_view op) {
  return std::find(std::begin(list), std::end(list), op) != std::end(list);
}
bool Starts(const Node& n) {
  return n.domain().empty() ? In(kStarts, n.op())
                            : n.domain() == ir::kSlipwayDomain && In(kFusedStarts, n.op());
}
bool Follows(const Node& n) {
  return n.domain().empty() ? In(kFollows, n.op())
                            : n.domain() == ir::kSlipwayDomain && In(kFusedFollows, n.op());
}

bool Is(const Value* v, DType type) { return v && v->dtype() == type; }

Result<Tensor> Rounded(const Tensor& t, DType type) {
  SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(type, t.dims()));
  const Tensor aligned = t.Aligned();
  const float* from = aligned.data<float>();
  auto* to = reinterpret_cast<uint16_t*>(out.mutable_data());
  for (int64_t i = 0; i < t.count(); ++i)
    to[i] = type == DType::kFloat16 ? Float16(from[i]).bits : BFloat16(from[i]).bits;
  return out;
}

// Whether a finite number of the constant becomes infinite in float16.
bool Overflows(const Tensor& t) {
  const Tensor aligned = t.Aligned();
  const float* from = aligned.data<float>();
  return std::any_of(from, from + t.count(), [](float v) {
    return std::isfinite(v) && !std::isfinite(static_cast<float>(Float16(v)));
  });
}

class Lowering {
 public:
  // `refused`: positions of nodes that stay.
  Lowering(Graph& graph, DType type, const std::set<size_t>& refused)
      : graph_(graph),
        type_(type),
        suffix_(type == DType::kFloat16 ? "_fp16" : "_bf16"),
        refused_(refused) {}

  // The nodes that changed, by position.
  Result<std::map<size_t, Node*>> Run() {
    const std::vector<Node*> nodes = graph_.NodeList();
    std::map<size_t, Node*> changed;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (refused_.count(i) || !Wanted(*nodes[i])) continue;
      SLIPWAY_RETURN_IF_ERROR(Lower(nodes[i]));
      lowered_.insert(nodes[i]);
      changed[i] = nodes[i];
    }
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!lowered_.count(nodes[i])) continue;
      for (Value* v : nodes[i]->outputs()) Widen(v, i + 1 < nodes.size() ? nodes[i + 1] : nullptr);
    }
    return changed;
  }

 private:
  bool Wanted(const Node& n) const {
    if (!n.output() || !Is(n.output(), DType::kFloat32)) return false;
    for (size_t i = 1; i < n.outputs().size(); ++i) {
      const Value* v = n.output(i);
      if (v && v->IsUsed() && !Is(v, DType::kFloat32)) return false;
    }
    const auto narrow = [this](const Value* v) { return Is(v, type_); };
    if (type_ == DType::kFloat16 && n.op() != "Clip") {
      for (size_t i = 0; i < n.inputs().size(); ++i) {
        const Value* v = n.input(i);
        if (Is(v, DType::kFloat32) && v->is_constant() && Overflows(*v->constant())) return false;
      }
    }
    // A quantized model says itself how it rounds.
    const auto codes = [](const Value* v) { return v && SlipwayProducerOf(v, "Dequantize"); };
    if (Starts(n))
      return (Is(n.input(0), DType::kFloat32) || narrow(n.input(0))) &&
             std::none_of(n.inputs().begin(), n.inputs().end(), codes);
    return Follows(n) && std::any_of(n.inputs().begin(), n.inputs().end(), narrow);
  }

  Status Lower(Node* node) {
    for (size_t i = 0; i < node->inputs().size(); ++i) {
      Value* v = node->input(i);
      if (!Is(v, DType::kFloat32)) continue;
      if (node->op() == "Attention" && i == 3) continue;  // a mask may have another type
      if (node->op() == "Resize" && i > 0) continue;      // scales are float32
      Value*& narrow = narrow_[v];
      if (!narrow && v->is_constant()) {
        SLIPWAY_ASSIGN_OR_RETURN(Tensor rounded, Rounded(*v->constant(), type_));
        narrow = graph_.AddConstant(v->name() + suffix_, std::move(rounded));
      } else if (!narrow) {
        narrow = Cast(v, type_, v->name() + suffix_, node);
      }
      graph_.SetInput(node, i, narrow);
    }
    for (Value* v : node->outputs()) {
      if (Is(v, DType::kFloat32)) v->set_type({type_, v->type().shape});
    }
    return OkStatus();
  }

  Value* Cast(Value* v, DType to, const std::string& name, Node* before) {
    Node* cast = graph_.AddNode({.op = "Cast",
                                 .inputs = {v},
                                 .attributes = {{"to", static_cast<int64_t>(to)}},
                                 .name = name + "/Cast",
                                 .outputs = {name}},
                                before);
    cast->output()->set_type({to, v->type().shape});
    return cast->output();
  }

  // Float32 for everybody who is not lowered, under the value's old name.
  void Widen(Value* v, Node* before) {
    if (!Is(v, type_)) return;
    std::vector<Use> uses;
    for (const Use& u : v->uses()) {
      if (!lowered_.count(u.node)) uses.push_back(u);
    }
    if (uses.empty() && !v->is_output()) return;
    const std::string name = v->name();
    graph_.Rename(v, name + suffix_);
    Value* wide = Cast(v, DType::kFloat32, name, before);
    for (const Use& u : uses) graph_.SetInput(u.node, static_cast<size_t>(u.index), wide);
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      if (graph_.outputs()[i] == v) graph_.SetOutput(i, wide);
    }
  }

  Graph& graph_;
  const DType type_;
  const std::string suffix_;
  const std::set<size_t>& refused_;
  std::set<const Node*> lowered_;
  std::map<const Value*, Value*> narrow_;  // of a float32 value
};

}  // namespace

Result<int> LowerHalf(Graph& graph, DType type, const std::function<bool(const Node&)>& supported) {
  SLIPWAY_RETURN_IF_ERROR(graph.SortTopologically());
  // What follows a node that stays may stay too: until nobody is refused.
  std::set<size_t> refused;
  for (bool settled = false; !settled;) {
    std::unique_ptr<Graph> trial = graph.Clone();
    SLIPWAY_ASSIGN_OR_RETURN(const auto changed, Lowering(*trial, type, refused).Run());
    settled = true;
    for (const auto& [position, node] : changed) {
      if (supported(*node)) continue;
      refused.insert(position);
      settled = false;
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(const auto changed, Lowering(graph, type, refused).Run());
  if (changed.empty()) return 0;
  graph.RemoveUnused();
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(graph));
  return static_cast<int>(changed.size());
}

}  // namespace slipway::passes
