#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// An 8-bit affine pair member with unsigned codes around 128, for the whole tensor.
bool IsCenteredUnsigned(const Node* node, std::string_view op) {
  if (!node || !node->IsSlipway(op) || node->attributes.Int("signed", 1) != 0) return false;
  if (node->attributes.Int("bits", 8) != 8 || node->attributes.Int("narrow", 0) != 0) return false;
  if (node->attributes.String("kind", "affine") != "affine") return false;
  const Tensor* zero = node->constant_input(2);
  return zero && zero->dtype() == DType::kUInt8 && zero->count() == 1 &&
         IsScalar(node->input(2), 128);
}

bool Center(Graph& graph, Node* quantize) {
  if (!IsCenteredUnsigned(quantize, "Quantize")) return false;
  Value* codes = quantize->output();
  if (codes->is_output() || codes->uses().empty()) return false;
  std::vector<Node*> pair = {quantize};
  for (const Use& use : codes->uses()) {
    if (use.index != 0 || !IsCenteredUnsigned(use.node, "Dequantize")) return false;
    pair.push_back(use.node);
  }
  const Dims dims = quantize->constant_input(2)->dims();
  Value* zero = graph.AddConstant("zero_point", Tensor::Scalar<int8_t>(0).Reshaped(dims));
  for (Node* node : pair) {
    node->attributes.Set("signed", int64_t{1});
    graph.SetInput(node, 2, zero);
  }
  codes->set_type({DType::kInt8, codes->type().shape});
  return true;
}

}  // namespace

// The same 256 steps under other names: code - 128. Kernels then need no zero points.
Result<int> CenterCodes(Graph& graph, const PassOptions&) {
  return VisitNodes(graph, [&](Node* node) { return Center(graph, node); });
}

}  // namespace slipway::passes
