#include "model/passes/epilogue.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace slipway::passes {

void Activation::WriteTo(ir::Attributes& attributes) const {
  attributes.Erase("activation");
  attributes.Erase("activation_params");
  if (none()) return;
  attributes.Set("activation", name);
  if (!params.empty()) attributes.Set("activation_params", params);
}

Activation Activation::Read(const ir::Attributes& attributes) {
  auto p = attributes.Floats("activation_params");
  return {std::string(attributes.String("activation", "none")), {p.begin(), p.end()}};
}

std::optional<Activation> ActivationOf(const Node* node) {
  if (!node->domain().empty() || node->inputs().empty() || !node->input(0) ||
      node->input(0)->dtype() != DType::kFloat32) {
    return std::nullopt;
  }
  const std::string& op = node->op();
  const ir::Attributes& a = node->attributes;
  if (op == "Relu" || op == "Sigmoid" || op == "Tanh" || op == "HardSwish")
    return Activation{op, {}};
  if (op == "LeakyRelu") return Activation{op, {a.Float("alpha", 0.01f)}};
  if (op == "HardSigmoid") return Activation{op, {a.Float("alpha", 0.2f), a.Float("beta", 0.5f)}};
  if (op == "Swish") return Activation{op, {a.Float("alpha", 1.0f)}};
  if (op == "Elu") return Activation{op, {a.Float("alpha", 1.0f)}};
  if (op == "Gelu")
    return Activation{a.String("approximate", "none") == "tanh" ? "GeluTanh" : "Gelu", {}};
  if (op == "Clip") {
    float bounds[2] = {-std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::infinity()};
    for (size_t i = 0; i < 2; ++i) {
      if (!node->input(i + 1)) continue;
      auto c = ScalarOf(node->input(i + 1));
      if (!c || std::isnan(*c)) return std::nullopt;
      bounds[i] = static_cast<float>(*c);
    }
    if (bounds[0] > bounds[1]) return std::nullopt;
    return Activation{op, {bounds[0], bounds[1]}};
  }
  return std::nullopt;
}

Node* AddActivation(Graph& graph, const Activation& activation, Value* x, Node* before,
                    std::string_view name) {
  Graph::NodeSpec spec{.op = activation.name, .inputs = {x}, .name = std::string(name)};
  auto param = [&](size_t i) { return activation.params.at(i); };
  if (activation.name == "Gelu" || activation.name == "GeluTanh") {
    spec.op = "Gelu";
    if (activation.name == "GeluTanh") spec.attributes.Set("approximate", std::string("tanh"));
  } else if (activation.name == "Clip") {
    for (size_t i = 0; i < 2; ++i)
      spec.inputs.push_back(graph.AddConstant("", Tensor::Scalar<float>(param(i))));
  } else if (!activation.params.empty()) {
    spec.attributes.Set("alpha", param(0));
    if (activation.params.size() > 1) spec.attributes.Set("beta", param(1));
  }
  Node* node = graph.AddNode(std::move(spec), before);
  node->output()->set_type(x->type());
  return node;
}

namespace {

bool MayTakeResidual(const Node* node) {
  if (!node) return false;
  if (node->Is("Conv") || node->Is("Gemm")) return true;
  if (node->Is("MatMul")) return RankOf(node->input(1)) == 2;
  if (!node->IsSlipway("Conv") && !node->IsSlipway("Linear")) return false;
  return !node->input(3) && node->attributes.String("activation", "none") == "none";
}

bool All(const ir::Attributes& a, const char* name, int64_t wanted) {
  const auto v = a.Ints(name);
  return std::all_of(v.begin(), v.end(), [&](int64_t i) { return i == wanted; });
}

// Whether node a stands behind b in the graph's order.
bool Later(const Graph& graph, const Node* a, const Node* b) {
  for (const auto& n : graph.nodes()) {
    if (n.get() == a) return false;
    if (n.get() == b) return true;
  }
  return false;
}

}  // namespace

Epilogue FindEpilogue(const Graph& graph, Value* value, bool has_residual, bool has_activation) {
  Epilogue e;
  if (has_activation || value->dtype() != DType::kFloat32) return e;
  const Node* main = value->producer();
  Node* user = value->OnlyUser();
  if (user && user->Is("Add") && !has_residual) {
    Value* other = user->input(0) == value ? user->input(1) : user->input(0);
    bool fits = other != value && SameShape(other, value) && SameShape(value, user->output());
    if (fits && other->OnlyUser() && MayTakeResidual(other->producer()) &&
        Later(graph, other->producer(), main)) {
      return e;
    }
    if (!fits) return e;
    e.residual = other;
    e.nodes.push_back(user);
    value = user->output();
    user = value->OnlyUser();
  }
  if (user && user->input(0) == value) {
    if (auto activation = ActivationOf(user)) {
      e.activation = *activation;
      e.nodes.push_back(user);
    }
  }
  return e;
}

Node* PointwiseOf(const Value* value) {
  Node* conv = SlipwayProducerOf(value, "Conv");
  if (!conv) conv = ProducerOf(value, "Conv");
  if (!conv || conv->input(3) || !value->OnlyUser()) return nullptr;
  const ir::Attributes& a = conv->attributes;
  if (a.Int("group", 1) != 1 || !All(a, "strides", 1) || !All(a, "pads", 0) ||
      a.String("auto_pad", "NOTSET") != "NOTSET")
    return nullptr;
  const Value *w = conv->input(1), *b = conv->input(2);
  if (!w->is_constant() || (b && !b->is_constant())) return nullptr;
  const Dims& dims = w->constant()->dims();
  return dims.count() == dims[0] * dims[1] ? conv : nullptr;
}

}  // namespace slipway::passes
