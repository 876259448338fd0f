#include <cmath>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// BatchNormalization of an image as a depthwise 1x1 convolution, which can take an activation and
// be quantized.
bool Convert(Graph& graph, Node* node) {
  if (!node->Is("BatchNormalization") || node->input(0)->dtype() != DType::kFloat32) return false;
  auto rank = RankOf(node->input(0));
  auto gamma = FloatsOf(node->input(1)), beta = FloatsOf(node->input(2)),
       mean = FloatsOf(node->input(3)), var = FloatsOf(node->input(4));
  if (!rank || *rank < 3 || *rank > 5 || !gamma || !beta || !mean || !var) return false;
  double epsilon = node->attributes.Float("epsilon", 1e-5f);
  size_t channels = gamma->size();
  std::vector<float> w(channels), b(channels);
  for (size_t c = 0; c < channels; ++c) {
    double scale = (*gamma)[c] / std::sqrt((*var)[c] + epsilon);
    w[c] = static_cast<float>(scale);
    b[c] = static_cast<float>((*beta)[c] - (*mean)[c] * scale);
  }
  Dims dims{static_cast<int64_t>(channels)};
  for (int i = 1; i < *rank; ++i) dims.push_back(1);
  Fuse(graph,
       {.op = "Conv",
        .inputs = {node->input(0), AddFloats(graph, node->name() + "_scale", dims, w),
                   AddFloats(graph, node->name() + "_shift", {static_cast<int64_t>(channels)}, b)},
        .attributes = {{"group", static_cast<int64_t>(channels)}}},
       node, {node});
  return true;
}

}  // namespace

Result<int> BatchNormToConv(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Convert(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
