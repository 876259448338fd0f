#include "deploy/inspect.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"
#include "model/ir/stats.h"

namespace slipway::deploy {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

bool Steers(const Value& v) {
  constexpr int64_t kMost = 1024;
  return (v.dtype() == DType::kInt64 || v.dtype() == DType::kBool) &&
         v.constant()->count() <= kMost;
}

int64_t Add(int64_t a, int64_t b) { return CheckedAdd(a, b).value_or(INT64_MAX); }

class Inspector {
 public:
  Inspector(Inspection* out, const std::map<std::string, int64_t>& sizes)
      : out_(*out), sizes_(sizes) {}

  void Symbols(const Graph& graph) {
    std::map<std::string, std::set<std::string>> used;
    for (const Value* v : graph.inputs()) {
      if (!v->type().shape) continue;
      for (const Dim& d : *v->type().shape) {
        for (const std::string& s : d.Symbols()) used[s].insert(v->name());
      }
    }
    for (const auto& [name, inputs] : used) {
      InspectedSymbol s;
      s.name = name;
      s.inputs.assign(inputs.begin(), inputs.end());
      if (auto it = graph.symbol_ranges.find(name); it != graph.symbol_ranges.end()) {
        s.least = it->second.first;
        s.most = it->second.second;
        s.bounded = true;
      }
      auto given = sizes_.find(name);
      s.here = given != sizes_.end() ? given->second : std::max<int64_t>(s.least, 1);
      here_[name] = s.here;
      out_.symbols.push_back(std::move(s));
    }
  }

  int64_t At(const Dim& d) const {
    auto value = d.Evaluate([&](std::string_view symbol) -> std::optional<int64_t> {
      auto it = here_.find(std::string(symbol));
      return it == here_.end() ? 1 : it->second;
    });
    return value.ok() ? std::max<int64_t>(*value, 0) : 0;
  }

  int64_t BytesOf(const Value* v) const {
    if (!v || !v->type().shape || !IsKnown(v->dtype())) return 0;
    int64_t count = 1;
    for (const Dim& d : *v->type().shape) {
      const auto product = CheckedMul(count, At(d));
      if (!product) return INT64_MAX;
      count = *product;
    }
    const auto bits = CheckedMul(count, DTypeBits(v->dtype()));
    return bits ? *bits / 8 + (*bits % 8 != 0) : INT64_MAX;
  }

  void Walk(const Graph& graph, const std::string& prefix, int depth, int64_t outer_live) {
    constexpr int kDeepest = 64;
    if (depth > kDeepest) return;
    // Liveness: a value lives from its producer to its last reader.
    std::unordered_map<const Value*, int> left;
    int64_t live = outer_live;
    for (const Value* v : graph.inputs()) {
      left[v] = static_cast<int>(v->uses().size()) + v->is_output();
      if (depth == 0) live = Add(live, BytesOf(v));
    }
    for (const auto& v : graph.values()) {
      if (v->is_constant() && !v->uses().empty()) Weight(*v);
    }
    std::unordered_set<const Value*> counted;
    for (const auto& n : graph.nodes()) {
      InspectedLayer layer;
      layer.node = n.get();
      layer.name = prefix + n->name();
      layer.op = n->FullOp();
      layer.depth = depth;
      if (n->output()) layer.output = n->output()->type().ToString();
      for (const Value* in : n->inputs()) {
        if (!in || !in->is_constant() || Steers(*in) || !counted.insert(in).second) continue;
        layer.parameters += in->constant()->count();
        layer.parameter_bytes += static_cast<int64_t>(in->constant()->bytes().size());
      }
      layer.macs = ir::NodeMacs(*n);
      layer.macs_here = At(layer.macs);
      for (const Value* v : n->outputs()) {
        if (!v) continue;
        layer.output_bytes = Add(layer.output_bytes, BytesOf(v));
        left[v] = static_cast<int>(v->uses().size()) + v->is_output();
      }
      live = Add(live, layer.output_bytes);
      layer.live_bytes = live;
      if (live > out_.peak_live_bytes) {
        out_.peak_live_bytes = live;
        out_.peak_layer = layer.name;
      }
      for (const auto* values : {&n->inputs(), &n->outputs()}) {
        for (const Value* v : *values) {
          if (!v || v->is_constant()) continue;
          auto it = left.find(v);
          if (it == left.end()) continue;
          if (values == &n->inputs()) --it->second;
          if (it->second <= 0) {
            if (depth == 0 || !v->is_input()) live -= std::min(live, BytesOf(v));
            left.erase(it);
          }
        }
      }
      InspectedOperator& op = out_.operators[layer.op];
      ++op.count;
      op.macs = Add(op.macs, layer.macs_here);
      op.parameters += layer.parameters;
      op.output_bytes = Add(op.output_bytes, layer.output_bytes);
      out_.macs = out_.macs + layer.macs;
      out_.macs_here = Add(out_.macs_here, layer.macs_here);
      out_.activation_bytes = Add(out_.activation_bytes, layer.output_bytes);
      Quantization(*n);
      const std::string inner = layer.name;
      out_.layers.push_back(std::move(layer));
      for (const auto& [name, body] : n->subgraphs) {
        if (!body) continue;
        ++out_.bodies;
        Walk(*body, inner + "/" + name + "/", depth + 1, live);
      }
    }
  }

 private:
  void Weight(const Value& v) {
    InspectedWeights& w = out_.weights[DTypeName(v.dtype())];
    ++w.tensors;
    w.elements += v.constant()->count();
    w.bytes += static_cast<int64_t>(v.constant()->bytes().size());
    if (Steers(v)) return;
    out_.parameters += v.constant()->count();
    out_.parameter_bytes += static_cast<int64_t>(v.constant()->bytes().size());
  }

  void Quantization(const Node& n) {
    const bool quantize = n.IsSlipway("Quantize"), back = n.IsSlipway("Dequantize");
    if (!quantize && !back) return;
    const auto& a = n.attributes;
    std::string kind =
        (a.Int("signed", 1) != 0 ? "int" : "uint") + std::to_string(a.Int("bits", 8));
    kind += " " + std::string(a.String("kind", "affine"));
    const Value* scale = n.input(1);
    const bool scalar = scale && scale->type().shape && scale->type().shape->empty();
    kind += a.Int("group", 0) > 0 ? " in groups of " + std::to_string(a.Int("group", 0))
            : scalar              ? " per tensor"
                                  : " per channel";
    InspectedQuantization& row = out_.quantization[kind];
    if (quantize) ++row.quantize;
    if (!back) return;
    ++row.dequantize;
    if (const ir::Tensor* t = n.constant_input(0)) {
      ++row.weights;
      row.weight_elements += t->count();
    }
  }

  Inspection& out_;
  const std::map<std::string, int64_t>& sizes_;
  std::map<std::string, int64_t> here_;
};

constexpr size_t kShownElements = 16, kShownText = 80;

struct AttributeVisitor {
  std::string operator()(int64_t v) const { return std::to_string(v); }
  std::string operator()(float v) const {
    char text[40];
    std::snprintf(text, sizeof text, "%g", static_cast<double>(v));
    return text;
  }
  std::string operator()(const std::string& v) const {
    return v.size() > kShownText ? v.substr(0, kShownText) + "…" : v;
  }
  template <typename T>
  std::string operator()(const std::vector<T>& v) const {
    std::string s = "[";
    for (size_t i = 0; i < v.size() && i < kShownElements; ++i)
      s += (i ? ", " : "") + (*this)(v[i]);
    return s + (v.size() > kShownElements ? ", … " + std::to_string(v.size()) + "]" : "]");
  }
};

}  // namespace

Inspection Inspect(const Graph& graph, const std::map<std::string, int64_t>& sizes) {
  Inspection out;
  out.macs = Dim(0);
  Inspector inspector(&out, sizes);
  inspector.Symbols(graph);
  inspector.Walk(graph, "", 0, 0);
  return out;
}

std::string AttributeText(const ir::Attributes& attributes) {
  std::string out;
  for (const auto& [name, value] : attributes.entries())
    out += (out.empty() ? "" : ", ") + name + " " + std::visit(AttributeVisitor{}, value);
  return out;
}

}  // namespace slipway::deploy
