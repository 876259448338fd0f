#include "model/passes/rewrite.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "model/ir/schema.h"

namespace slipway::passes {

std::optional<double> ScalarOf(const Value* value) {
  const Tensor* t = value ? value->constant() : nullptr;
  if (!t || t->count() != 1) return std::nullopt;
  std::vector<double> v = t->ToDoubles();
  if (v.size() != 1) return std::nullopt;
  return v[0];
}

bool IsScalarNear(const Value* value, double wanted, double relative) {
  auto v = ScalarOf(value);
  return v && std::abs(*v - wanted) <= relative * std::abs(wanted);
}

std::optional<std::vector<int64_t>> IntsOf(const Value* value) {
  const Tensor* t = value ? value->constant() : nullptr;
  if (!t || !IsInteger(t->dtype())) return std::nullopt;
  std::vector<int64_t> v = t->ToInts();
  if (static_cast<int64_t>(v.size()) != t->count()) return std::nullopt;
  return v;
}

std::optional<std::vector<float>> FloatsOf(const Value* value) {
  const Tensor* t = value ? value->constant() : nullptr;
  if (!t || t->dtype() != DType::kFloat32) return std::nullopt;
  Tensor aligned = t->Aligned();
  const float* p = aligned.data<float>();
  return std::vector<float>(p, p + aligned.count());
}

Node* ProducerOf(const Value* value, std::string_view op) {
  Node* node = value ? value->producer() : nullptr;
  return node && node->Is(op) ? node : nullptr;
}

Node* SlipwayProducerOf(const Value* value, std::string_view op) {
  Node* node = value ? value->producer() : nullptr;
  return node && node->IsSlipway(op) ? node : nullptr;
}

bool SameShape(const Value* a, const Value* b) {
  return a && b && a->type().shape && b->type().shape && *a->type().shape == *b->type().shape;
}

std::optional<int> RankOf(const Value* value) {
  if (!value || !value->type().shape) return std::nullopt;
  return static_cast<int>(value->type().shape->size());
}

std::optional<Dims> StaticDimsOf(const Value* value) {
  return value ? value->type().StaticDims() : std::nullopt;
}

std::optional<std::vector<int64_t>> PermOf(const Node* node) {
  if (!node || !node->Is("Transpose")) return std::nullopt;
  auto perm = node->attributes.Ints("perm");
  if (!perm.empty()) return std::vector<int64_t>(perm.begin(), perm.end());
  auto rank = RankOf(node->input(0));
  if (!rank) return std::nullopt;
  std::vector<int64_t> reversed;
  for (int i = *rank - 1; i >= 0; --i) reversed.push_back(i);
  return reversed;
}

SymShape Permuted(const SymShape& shape, const std::vector<int64_t>& perm) {
  SymShape out;
  for (int64_t p : perm) out.push_back(shape[static_cast<size_t>(p)]);
  return out;
}

std::vector<int64_t> InversePerm(const std::vector<int64_t>& perm) {
  std::vector<int64_t> inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i)
    inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return inverse;
}

std::optional<SymShape> BroadcastShape(std::span<const SymShape> shapes) {
  size_t rank = 0;
  for (const SymShape& s : shapes) rank = std::max(rank, s.size());
  SymShape out(rank, Dim(1));
  for (const SymShape& s : shapes) {
    for (size_t i = 0; i < s.size(); ++i) {
      Dim& d = out[rank - s.size() + i];
      if (s[i].Is(1) || s[i] == d) continue;
      if (!d.Is(1)) return std::nullopt;
      d = s[i];
    }
  }
  return out;
}

std::optional<std::map<int64_t, SliceRange>> SliceRangesOf(const Node* node) {
  if (!node || !node->Is("Slice")) return std::nullopt;
  const auto& shape = node->input(0)->type().shape;
  auto starts = IntsOf(node->input(1)), ends = IntsOf(node->input(2));
  if (!shape || !starts || !ends || starts->size() != ends->size()) return std::nullopt;
  std::vector<int64_t> axes(starts->size()), steps(starts->size(), 1);
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  if (node->input(3)) {
    auto given = IntsOf(node->input(3));
    if (!given || given->size() != axes.size()) return std::nullopt;
    axes = *given;
  }
  if (node->input(4)) {
    auto given = IntsOf(node->input(4));
    if (!given || given->size() != axes.size()) return std::nullopt;
    steps = *given;
  }
  std::map<int64_t, SliceRange> ranges;
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t axis = NormalAxis(axes[i], static_cast<int>(shape->size()));
    if (axis < 0 || axis >= static_cast<int64_t>(shape->size()) || steps[i] <= 0)
      return std::nullopt;
    SliceRange r{(*starts)[i], (*ends)[i], steps[i]};
    const Dim& d = (*shape)[static_cast<size_t>(axis)];
    if (d.known()) {
      auto clamp = [&](int64_t v) {
        return std::clamp<int64_t>(v < 0 ? std::max(v, -d.value()) + d.value() : v, 0, d.value());
      };
      r.start = clamp(r.start);
      r.end = std::max(r.start, clamp(r.end));
    }
    ranges[axis] = r;
  }
  return ranges;
}

std::optional<std::vector<int64_t>> SplitSizesOf(const Node* node, int64_t* axis) {
  if (!node || !node->Is("Split")) return std::nullopt;
  auto rank = RankOf(node->input(0));
  if (!rank) return std::nullopt;
  *axis = NormalAxis(node->attributes.Int("axis", 0), *rank);
  if (*axis < 0 || *axis >= *rank) return std::nullopt;
  std::vector<int64_t> sizes;
  if (node->input(1)) {
    auto given = IntsOf(node->input(1));
    if (!given || given->size() != node->outputs().size()) return std::nullopt;
    return given;
  }
  for (const Value* out : node->outputs()) {
    if (!out || RankOf(out) != rank) return std::nullopt;
    const Dim& d = (*out->type().shape)[static_cast<size_t>(*axis)];
    if (!d.known()) return std::nullopt;
    sizes.push_back(d.value());
  }
  return sizes;
}

ScalarOperand MatchScalarOperand(const Node* node, bool commutative) {
  if (node->inputs().size() != 2) return {};
  Value *a = node->input(0), *b = node->input(1);
  if (auto c = ScalarOf(b); c && a && !a->is_constant()) return {a, *c};
  if (!commutative) return {};
  if (auto c = ScalarOf(a); c && b && !b->is_constant()) return {b, *c};
  return {};
}

namespace {

void Flatten(Node* node, Product& product) {
  auto take = [&](Value* v) {
    if (auto c = ScalarOf(v)) {
      product.constant *= *c;
      return;
    }
    Node* inner = v->producer();
    bool opens = inner && inner->domain().empty() && v->OnlyUser() &&
                 (inner->op() == "Mul" || (inner->op() == "Div" && ScalarOf(inner->input(1))));
    if (opens) {
      Flatten(inner, product);
    } else {
      product.factors.push_back(v);
    }
  };
  take(node->input(0));
  if (node->op() == "Mul") {
    take(node->input(1));
  } else {
    product.constant /= *ScalarOf(node->input(1));
  }
  product.nodes.push_back(node);
}

}  // namespace

Product FlattenProduct(Node* root) {
  Product product;
  bool ok = root && (root->Is("Mul") || (root->Is("Div") && ScalarOf(root->input(1)))) &&
            IsFloating(root->output()->dtype());
  if (ok) Flatten(root, product);
  return product;
}

bool IsUnaryElementwise(const Node* node) {
  static const std::unordered_set<std::string_view> kUnary = {
      "Relu",     "LeakyRelu", "Clip",     "Sigmoid", "HardSigmoid", "HardSwish", "Swish",
      "Gelu",     "Tanh",      "Elu",      "Selu",    "Celu",        "Softplus",  "ThresholdedRelu",
      "Softsign", "Mish",      "Erf",      "Exp",     "Log",         "Sqrt",      "Reciprocal",
      "Neg",      "Abs",       "Floor",    "Ceil",    "Round",       "Sign",      "Sin",
      "Cos",      "Not",       "Identity", "Cast"};
  static const std::unordered_set<std::string_view> kBinary = {"Add", "Sub", "Mul", "Div",
                                                               "Pow", "Min", "Max"};
  if (!node->domain().empty() || node->inputs().empty() || !node->input(0)) return false;
  if (kUnary.count(node->op())) {
    for (size_t i = 1; i < node->inputs().size(); ++i) {
      if (node->input(i) && !ScalarOf(node->input(i))) return false;
    }
    return true;
  }
  if (!kBinary.count(node->op()) || node->inputs().size() != 2) return false;
  // The constant must not add dimensions.
  for (size_t i = 0; i < 2; ++i) {
    auto rank = RankOf(node->input(i)), other = RankOf(node->input(1 - i));
    if (ScalarOf(node->input(i)) && !node->input(1 - i)->is_constant() && rank && other &&
        *rank <= *other)
      return true;
  }
  return false;
}

bool LeadsToTranspose(const Value* value) {
  static const std::unordered_set<std::string_view> kMovable = {"Softmax", "LogSoftmax", "Pad",
                                                                "Slice"};
  for (int steps = 0; steps < 8; ++steps) {
    Node* user = value->OnlyUser();
    if (!user) return false;
    if (user->Is("Transpose")) return true;
    bool movable = user->domain().empty() && kMovable.count(user->op()) && user->input(0) == value;
    if (!movable && !IsUnaryElementwise(user)) return false;
    value = user->output();
  }
  return false;
}

bool ReplaceValue(Graph& graph, Value* from, Value* to) {
  if (from == to) return true;
  if (!from->is_output()) {
    graph.ReplaceAllUses(from, to);
    return true;
  }
  if (to->is_output() || to->is_input() || to->is_constant()) return false;
  std::string name = from->name();
  graph.ReplaceAllUses(from, to);
  graph.Rename(from, name + "_replaced");
  graph.Rename(to, name);
  return true;
}

bool BypassNode(Graph& graph, Node* node, Value* to) {
  if (!ReplaceValue(graph, node->output(), to)) return false;
  graph.RemoveNode(node);
  return true;
}

Node* Fuse(Graph& graph, Graph::NodeSpec spec, Node* main, const std::vector<Node*>& replaced) {
  Node* tail = replaced.back();
  Value* old = tail->output();
  std::string name = main->name(), value_name = old->name();
  Type type = old->type();
  // Enough for any report; a node made of a hundred thousand would cost as much each time it grows.
  constexpr size_t kMostSources = 128;
  std::vector<std::string> sources;
  for (const Node* node : replaced) {
    std::vector<std::string> own = node->sources;
    if (own.empty()) own.push_back(node->name());
    for (const std::string& s : own) {
      if (sources.size() >= kMostSources) break;
      if (std::find(sources.begin(), sources.end(), s) == sources.end()) sources.push_back(s);
    }
  }
  spec.name = name;
  spec.outputs = {value_name};
  Node* made = graph.AddNode(std::move(spec), tail);
  made->sources = std::move(sources);
  made->output()->set_type(std::move(type));
  graph.ReplaceAllUses(old, made->output());
  std::vector<Node*> left(replaced.rbegin(), replaced.rend());
  std::sort(left.begin(), left.end());
  left.erase(std::unique(left.begin(), left.end()), left.end());
  for (bool any = true; any;) {
    any = false;
    for (size_t i = 0; i < left.size(); ++i) {
      const auto& outputs = left[i]->outputs();
      if (std::any_of(outputs.begin(), outputs.end(),
                      [](const Value* v) { return v && v->IsUsed(); }))
        continue;
      graph.RemoveNode(left[i]);
      left.erase(left.begin() + static_cast<ptrdiff_t>(i));
      any = true;
      break;
    }
  }
  graph.Rename(made->output(), value_name);
  if (!graph.FindNode(name)) graph.Rename(made, name);
  return made;
}

Node* FuseIfSupported(Graph& graph, const Graph::NodeSpec& spec, Node* main,
                      const std::vector<Node*>& replaced,
                      const std::function<bool(const Node&)>& supported) {
  if (!supported) return nullptr;
  Node* trial = graph.AddNode(spec, replaced.back());
  trial->output()->set_type(replaced.back()->output()->type());
  const bool wanted = supported(*trial);
  graph.RemoveNode(trial);
  return wanted ? Fuse(graph, spec, main, replaced) : nullptr;
}

Value* AddBefore(Graph& graph, Graph::NodeSpec spec, Type type, Node* before, const Node* like) {
  Node* node = graph.AddNode(std::move(spec), before);
  node->sources = like->sources;
  if (node->sources.empty()) node->sources.push_back(like->name());
  node->output()->set_type(std::move(type));
  return node->output();
}

bool IsSelfContained(const std::vector<Node*>& nodes) {
  for (const Node* node : nodes) {
    if (node == nodes.back()) continue;
    for (const Value* out : node->outputs()) {
      if (!out) continue;
      if (out->is_output()) return false;
      for (const Use& use : out->uses()) {
        if (std::find(nodes.begin(), nodes.end(), use.node) == nodes.end()) return false;
      }
    }
  }
  return true;
}

Value* AddFloats(Graph& graph, std::string_view name, const Dims& dims,
                 const std::vector<float>& values) {
  return graph.AddConstant(name, Tensor::Of<float>(dims, values));
}

Value* AddInts(Graph& graph, std::string_view name, const std::vector<int64_t>& values) {
  return graph.AddConstant(name, Tensor::Vector<int64_t>(values));
}

std::optional<std::vector<int64_t>> ReshapeTarget(const std::optional<SymShape>& from,
                                                  const SymShape& to) {
  std::vector<int64_t> target;
  int unknown = 0;
  for (const Dim& d : to) {
    if (d.Is(0)) return std::nullopt;  // 0 means "copy" in a target
    unknown += d.known() ? 0 : 1;
  }
  bool rest_used = false;
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i].known()) {
      target.push_back(to[i].value());
    } else if (unknown > 1 && from && i < from->size() && (*from)[i] == to[i]) {
      target.push_back(0);
    } else if (!rest_used) {
      target.push_back(-1);
      rest_used = true;
    } else {
      return std::nullopt;
    }
  }
  return target;
}

Value* AddReshape(Graph& graph, Value* value, const SymShape& shape, Node* before,
                  std::string_view name) {
  auto target = ReshapeTarget(value->type().shape, shape);
  if (!target) return nullptr;
  Node* node = graph.AddNode(
      {.op = "Reshape", .inputs = {value, AddInts(graph, "", *target)}, .name = std::string(name)},
      before);
  node->output()->set_type({value->dtype(), shape});
  return node->output();
}

}  // namespace slipway::passes
