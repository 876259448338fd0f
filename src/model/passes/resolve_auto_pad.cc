#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

int64_t At(std::span<const int64_t> values, size_t i, int64_t fallback) {
  return i < values.size() ? values[i] : fallback;
}

// pads of SAME_UPPER / SAME_LOWER as ONNX defines them: output extent ceil(in / stride).
std::optional<std::vector<int64_t>> SamePads(const Node* node, bool upper) {
  const auto& shape = node->input(0)->type().shape;
  if (!shape || shape->size() < 3) return std::nullopt;
  size_t spatial = shape->size() - 2;
  std::span<const int64_t> kernel = node->attributes.Ints("kernel_shape");
  std::vector<int64_t> from_weights;
  if (kernel.empty()) {
    auto dims = StaticDimsOf(node->input(1));
    if (!dims || dims->size() != shape->size()) return std::nullopt;
    from_weights.assign(dims->begin() + 2, dims->end());
    kernel = from_weights;
  }
  if (kernel.size() != spatial) return std::nullopt;
  auto strides = node->attributes.Ints("strides"), dilations = node->attributes.Ints("dilations");
  std::vector<int64_t> pads(2 * spatial);
  for (size_t i = 0; i < spatial; ++i) {
    const Dim& in = (*shape)[i + 2];
    int64_t stride = At(strides, i, 1), window = (kernel[i] - 1) * At(dilations, i, 1) + 1;
    int64_t total;
    if (stride == 1) {
      total = window - 1;  // whatever the extent
    } else if (in.known()) {
      int64_t out = (in.value() + stride - 1) / stride;
      total = std::max<int64_t>(0, (out - 1) * stride + window - in.value());
    } else {
      return std::nullopt;
    }
    pads[i] = upper ? total / 2 : total - total / 2;
    pads[i + spatial] = total - pads[i];
  }
  return pads;
}

}  // namespace

Result<int> ResolveAutoPad(ir::Graph& graph, const PassOptions&) {
  int changes = 0;
  for (Node* node : graph.NodeList()) {
    bool conv = node->Is("Conv");
    if (!conv && !node->Is("MaxPool") && !node->Is("AveragePool")) continue;
    std::string mode(node->attributes.String("auto_pad", "NOTSET"));
    if (mode == "NOTSET") {
      if (node->attributes.Has("auto_pad")) node->attributes.Erase("auto_pad");
      continue;
    }
    // With ceil_mode the extent of the output is decided otherwise.
    if (node->attributes.Int("ceil_mode", 0) != 0) continue;
    if (mode == "VALID") {
      node->attributes.Erase("pads");
    } else {
      auto pads = SamePads(node, mode == "SAME_UPPER");
      if (!pads) continue;
      node->attributes.Set("pads", *pads);
    }
    node->attributes.Erase("auto_pad");
    ++changes;
  }
  return changes;
}

}  // namespace slipway::passes
