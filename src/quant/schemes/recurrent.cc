#include "quant/schemes/recurrent.h"

#include <algorithm>
#include <map>
#include <utility>

#include "quant/schemes/weights.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

// W and R.
constexpr size_t kWeights[] = {1, 2};
constexpr const char* kNames[] = {"", "W", "R"};

int BitsOf(const Node& node, const Scheme& scheme, const QuantizeOptions& options) {
  if (const auto own = options.weight_bits.find(node.name()); own != options.weight_bits.end())
    return std::clamp(own->second, 2, 8);
  return scheme.weights.bits < 4 ? 8 : std::min(scheme.weights.bits, 8);
}

std::string WhyFloat(const Node& node) {
  for (const size_t i : kWeights) {
    const std::string which = std::string("its weights ") + kNames[i];
    const Value* v = node.input(i);
    if (!v) return which + " are absent";
    const Tensor* w = node.constant_input(i);
    if (!w) return which + " ('" + v->name() + "') are no constant";
    if (w->dtype() != DType::kFloat32) return which + " are " + DTypeName(w->dtype());
    if (w->dims().rank() != 3 || w->count() == 0)
      return which + " " + w->dims().ToString() + " have no rows";
  }
  return "";
}

// The value that stands for the constant `v`.
Result<Value*> InsertDequantize(Graph& graph, const Node& node, Value* v, int bits,
                                const Scheme& scheme, Node* before) {
  const Tensor& w = *v->constant();
  const Dims dims = w.dims();
  const int64_t directions = dims[0], rows = dims[1];
  TensorScheme ts;
  ts.bits = bits;
  ts.narrow = true;
  ts.per = compiler::Granularity::kChannel;
  ts.observer = scheme.weights.observer;
  auto made = CodesForWeights(w.Reshaped({directions * rows, dims[2]}), ts, scheme.rounding, 0, -1);
  if (!made.ok()) return InvalidArgument(node.Describe() + " has " + made.status().message());
  const std::string name = v->name();
  const bool one = directions == 1;
  if (one) {
    made->codes = made->codes.Reshaped(dims);
    made->attributes.Set("axis", int64_t{1});
  }
  Node* dq = graph.AddNode({"Dequantize",
                            {graph.AddConstant(name + "_q", made->codes),
                             graph.AddConstant(name + "_scale", made->scales)},
                            made->attributes,
                            ir::kSlipwayDomain,
                            name + "/dequantize",
                            {one ? name + "_dq" : name + "_rows"}},
                           before);
  if (one) return dq->output();
  const std::vector<int64_t> shape(dims.begin(), dims.end());
  Node* reshape = graph.AddNode(
      {"Reshape",
       {dq->output(), graph.AddConstant(name + "_shape", Tensor::Vector<int64_t>(shape))},
       {},
       "",
       name + "/reshape",
       {name + "_dq"}},
      before);
  return reshape->output();
}

}  // namespace

std::vector<RecurrentLayer> RecurrentLayers(const Graph& graph, const Scheme& scheme,
                                            const QuantizeOptions& options) {
  std::vector<RecurrentLayer> out;
  for (const auto& node : graph.nodes()) {
    if (!IsRecurrent(*node) || options.keep_float.count(node->name()) ||
        std::find(scheme.operators.begin(), scheme.operators.end(), node->op()) ==
            scheme.operators.end())
      continue;
    out.push_back({node.get(), BitsOf(*node, scheme, options), WhyFloat(*node)});
  }
  return out;
}

Status QuantizeRecurrent(Graph& graph, const Scheme& scheme, const QuantizeOptions& options) {
  std::map<std::pair<const Value*, int>, Value*> done;
  for (const RecurrentLayer& layer : RecurrentLayers(graph, scheme, options)) {
    if (!layer.kept.empty()) continue;
    Node* node = const_cast<Node*>(layer.node);
    for (const size_t i : kWeights) {
      Value* v = node->input(i);
      Value*& made = done[{v, layer.bits}];
      if (!made) {
        SLIPWAY_ASSIGN_OR_RETURN(made, InsertDequantize(graph, *node, v, layer.bits, scheme, node));
      }
      graph.SetInput(node, i, made);
    }
  }
  return OkStatus();
}

}  // namespace slipway::quant
