// Elementwise operators between 8-bit codes to tables. A region begins with one tensor of codes and
// ends with codes; between them values may fan out, join again and be rounded to codes on the way,
// as in x * (1 + erf(x / sqrt 2)) / 2. All that is added or multiplied beside is constant: the same
// everywhere, or a vector along one dimension, the channels, which then have a table each. The
// tables come from the very operators, so that no code changes.

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "model/ir/schema.h"
#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/qdq.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

bool IsCode(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }

// Constant, or a constant that is still behind its Dequantize.
bool IsParameter(const Value* v) {
  if (v->is_constant()) return true;
  const Node* node = SlipwayProducerOf(v, "Dequantize");
  return node && std::all_of(node->inputs().begin(), node->inputs().end(),
                             [](const Value* i) { return !i || i->is_constant(); });
}

// Of float values, elementwise in its inputs.
bool IsElementwise(const Node* node) {
  static const std::unordered_set<std::string_view> kBinary = {"Add", "Sub", "Mul", "Div",
                                                               "Pow", "Min", "Max"};
  if (node->outputs().size() != 1 || node->output()->dtype() != DType::kFloat32) return false;
  if (node->IsSlipway("QAdd") || node->IsSlipway("QMul") || node->IsSlipway("Add")) return true;
  if (ir::IsCustom(*node, SLIPWAY_QUANTIZE_ELEMENTWISE)) return true;
  if (!node->domain().empty() || !node->input(0)) return false;
  if (kBinary.count(node->op()) && node->inputs().size() == 2) return true;
  return !node->Is("Not") && IsUnaryElementwise(node);
}

// The same from codes to codes.
bool IsCodewise(const Node* node) {
  if (node->IsSlipway("QLookup"))
    return RankOf(node->input(1)) == 1 && node->input(1)->is_constant();
  return node->IsSlipway("QRescale") || node->IsSlipway("QAdd") || node->IsSlipway("QMul") ||
         (node->IsSlipway("Quantize") && PerTensorParams(node));
}

struct Region {
  std::set<Node*> nodes;
  std::set<Value*> roots;  // codes from which it begins

  bool Add(Value* v) {
    if (IsParameter(v)) return true;
    if (IsCode(v->dtype())) return roots.insert(v), true;
    Node* node = v->producer();
    if (!node || nodes.size() > 64) return false;
    if (nodes.count(node)) return true;
    const bool begins = node->IsSlipway("Dequantize") && PerTensorParams(node);
    if (!begins && !IsElementwise(node)) return false;
    nodes.insert(node);
    if (begins) return Add(node->input(0));
    return AddInputs(node);
  }
  bool AddInputs(Node* node) {
    for (Value* v : node->inputs()) {
      if (v && !Add(v)) return false;
    }
    return true;
  }
};

// Where the channels are: -1 while all parameters are scalars; nullopt when one is neither a scalar
// nor a vector along the dimension that others have.
std::optional<int> ChannelAxis(const Region& region, const SymShape& shape) {
  const int rank = static_cast<int>(shape.size());
  int axis = -1;
  for (const Node* node : region.nodes) {
    if (node->IsSlipway("Quantize") || node->IsSlipway("Dequantize") || node->IsSlipway("QLookup"))
      continue;
    for (const Value* v : node->inputs()) {
      if (!v || !IsParameter(v)) continue;
      const auto dims = StaticDimsOf(v);
      if (!dims || dims->rank() > rank) return std::nullopt;
      if (dims->count() == 1) continue;
      for (int i = 0; i < dims->rank(); ++i) {
        const int64_t extent = (*dims)[static_cast<size_t>(i)];
        const int at = rank - dims->rank() + i;
        if (extent == 1) continue;
        if ((axis >= 0 && axis != at) || !shape[static_cast<size_t>(at)].Is(extent))
          return std::nullopt;
        axis = at;
      }
    }
  }
  return axis;
}

class Tables {
 public:
  Tables(Graph& graph, const PassOptions& options) : graph_(graph), options_(options) {
    for (const auto& node : graph.nodes()) place_[node.get()] = place_.size();
  }

  bool Lower(Node* last) {
    if (!last->output() || !IsCode(last->output()->dtype()) || !last->output()->IsUsed())
      return false;
    if (!IsCodewise(last)) return false;
    if (!last->IsSlipway("Quantize") && !last->IsSlipway("QLookup")) return false;
    Region region;
    region.nodes.insert(last);
    if (!region.AddInputs(last)) return false;
    std::optional<Region> best;
    for (int steps = 0; steps < 64; ++steps) {
      if (region.roots.size() == 1 && Fits(region, last)) best = region;
      if (!Grow(region)) break;
    }
    return best && Replace(*best, last);
  }

 private:
  // Takes in the node that makes the last of the roots that can be taken in.
  bool Grow(Region& region) {
    std::vector<Value*> roots;
    for (Value* v : region.roots) {
      if (v->producer() && IsCodewise(v->producer())) roots.push_back(v);
    }
    std::sort(roots.begin(), roots.end(), [&](const Value* a, const Value* b) {
      return place_[a->producer()] > place_[b->producer()];
    });
    for (Value* v : roots) {
      Region larger = region;
      larger.roots.erase(v);
      larger.nodes.insert(v->producer());
      if (!larger.AddInputs(v->producer()) || larger.nodes.size() > 64) continue;
      // What is made inside begins nothing.
      std::erase_if(larger.roots, [&](const Value* r) {
        return r->producer() && larger.nodes.count(r->producer());
      });
      region = std::move(larger);
      return true;
    }
    return false;
  }

  bool Fits(const Region& region, const Node* last) const {
    const Value* x = *region.roots.begin();
    if (x->is_constant() || !x->type().shape) return false;
    int64_t operators = 0;
    for (const Node* node : region.nodes) {
      if (!SameShape(node->output(), x)) return false;
      operators += !node->IsSlipway("Dequantize") && !node->IsSlipway("Quantize");
    }
    if (region.nodes.size() < 2 || operators == 0) return false;
    const auto axis = ChannelAxis(region, *x->type().shape);
    if (!axis) return false;
    if (*axis < 0) return true;
    // A table a channel must pay: several operators go, and as many codes are looked up.
    const Dim& channels = (*x->type().shape)[static_cast<size_t>(*axis)];
    int64_t count = 1;
    for (const Dim& d : *x->type().shape)
      count *= d.known() ? std::min<int64_t>(d.value(), 4096) : 1;
    if (!channels.known() || channels.value() > (1 << 14) || count < 32 * channels.value())
      return false;
    if (operators < 2 || !options_.supported) return false;
    return std::all_of(region.nodes.begin(), region.nodes.end(), [&](const Node* node) {
      const Value* v = node->output();
      if (node == last) return true;
      return !v->is_output() && std::all_of(v->uses().begin(), v->uses().end(), [&](const Use& u) {
        return region.nodes.count(u.node) > 0;
      });
    });
  }

  // All 256 codes, of each channel, through the operators: position i of a row of the table holds
  // the code whose bits are i.
  static std::optional<Tensor> TableOf(const std::vector<Node*>& nodes, const Value* x,
                                       int64_t channels) {
    const bool each = channels > 0;
    const Dims dims = each ? Dims{256, channels} : Dims{256};
    auto codes = Tensor::Allocate(x->dtype(), dims);
    if (!codes.ok()) return std::nullopt;
    const int64_t width = each ? channels : 1;
    for (int64_t i = 0; i < 256; ++i)
      std::fill_n(codes->mutable_data() + i * width, width, static_cast<uint8_t>(i));
    std::unordered_map<const Value*, Tensor> made{{x, std::move(*codes)}};
    for (const Node* node : nodes) {
      std::vector<Tensor> inputs;
      const bool own = node->IsSlipway("Quantize") || node->IsSlipway("Dequantize") ||
                       node->IsSlipway("QLookup");
      for (size_t i = 0; i < node->inputs().size(); ++i) {
        const Value* v = node->input(i);
        auto known = made.find(v);
        if (!v) {
          inputs.emplace_back();
        } else if (known != made.end()) {
          inputs.push_back(known->second);
        } else if (own && v->is_constant()) {
          inputs.push_back(*v->constant());
        } else {
          Tensor t;
          if (v->is_constant()) {
            t = *v->constant();
          } else {
            std::vector<Tensor> parts;
            for (const Value* p : v->producer()->inputs())
              parts.push_back(p ? *p->constant() : Tensor());
            auto values = EvaluateNode(*v->producer(), parts);
            if (!values.ok()) return std::nullopt;
            t = std::move((*values)[0]);
          }
          inputs.push_back(t.Reshaped(t.count() == 1 ? Dims{} : Dims{t.count()}));
        }
      }
      auto result = EvaluateNode(*node, inputs);
      if (!result.ok() || (*result)[0].dims() != dims) return std::nullopt;
      made[node->output()] = std::move((*result)[0]);
    }
    const Tensor& last = made[nodes.back()->output()];
    if (!each) return last;
    auto table = Tensor::Allocate(last.dtype(), {channels, 256});
    if (!table.ok()) return std::nullopt;
    const uint8_t* from = last.bytes().data();
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t i = 0; i < 256; ++i) table->mutable_data()[c * 256 + i] = from[i * channels + c];
    }
    return std::move(*table);
  }

  bool Replace(const Region& region, Node* last) {
    Value* x = *region.roots.begin();
    const int axis = *ChannelAxis(region, *x->type().shape);
    const int64_t channels = axis < 0 ? 0 : (*x->type().shape)[static_cast<size_t>(axis)].value();
    std::vector<Node*> nodes(region.nodes.begin(), region.nodes.end());
    std::sort(nodes.begin(), nodes.end(),
              [&](const Node* a, const Node* b) { return place_[a] < place_[b]; });
    auto table = TableOf(nodes, x, channels);
    if (!table) return false;
    Node* main = *std::find_if(nodes.begin(), nodes.end(),
                               [](const Node* n) { return !n->IsSlipway("Dequantize"); });
    Graph::NodeSpec spec{.op = "QLookup",
                         .inputs = {x, graph_.AddConstant(main->name() + "_table", *table)},
                         .domain = ir::kSlipwayDomain};
    if (axis >= 0) spec.attributes.Set("axis", int64_t{axis});
    const size_t place = place_[last];
    Node* made = axis < 0 ? Fuse(graph_, std::move(spec), main, nodes)
                          : FuseIfSupported(graph_, spec, main, nodes, options_.supported);
    if (!made) return false;
    place_[made] = place;
    return true;
  }

  Graph& graph_;
  const PassOptions& options_;
  std::unordered_map<const Node*, size_t> place_;
};

}  // namespace

Result<int> LowerLookup(ir::Graph& graph, const PassOptions& options) {
  Tables tables(graph, options);
  const int changes = VisitNodes(
      graph, [&](Node* node) { return tables.Lower(node); }, true);
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
