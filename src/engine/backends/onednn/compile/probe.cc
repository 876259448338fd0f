#include "engine/backends/onednn/compile/probe.h"

#include <algorithm>
#include <vector>

#include "base/cpu.h"
#include "engine/backends/onednn/run/backend.h"

namespace slipway::backends::onednn {
namespace {

// False when the shape is unknown or unusable.
bool Describe(const ir::Value* value, Layout layout, const ir::Graph* graph, slipway_tensor& t, std::vector<ir::Tensor>& keep) {
  t = {};
  if (!value) return true;
  if (!value->type().known() || value->type().shape->size() > SLIPWAY_MAX_RANK) return false;
  t.dtype = static_cast<uint32_t>(value->dtype());
  t.layout = static_cast<uint32_t>(value->is_constant() ? Layout::kPlain : layout);
  Dims dims;
  for (const Dim& d : *value->type().shape) {
    auto size = d.Evaluate([&](std::string_view symbol) -> std::optional<int64_t> {
      if (graph) {
        auto it = graph->symbol_ranges.find(std::string(symbol));
        if (it != graph->symbol_ranges.end()) return std::max<int64_t>(1, it->second.first);
      }
      return 1;
    });
    if (!size.ok() || *size < 1) return false;
    t.dims[t.rank++] = *size;
    dims.push_back(*size);
  }
  const auto bytes = format::LayoutBytes(value->dtype(), dims, static_cast<Layout>(t.layout));
  if (!bytes) return false;
  t.bytes = static_cast<uint64_t>(*bytes);
  if (value->is_constant()) {
    t.is_constant = 1;
    keep.push_back(t.bytes <= 1 << 16 ? value->constant()->Aligned() : *value->constant());
    t.data = const_cast<uint8_t*>(keep.back().bytes().data());
  }
  return true;
}

}  // namespace

std::optional<Result<std::string>> Probe(const ir::Node& node, const Candidate& candidate, const Target& target) {
  if (target.arch != ThisCpu().arch) return std::nullopt;
  std::vector<ir::Tensor> keep;
  std::vector<slipway_tensor> inputs(node.inputs().size()), outputs(node.outputs().size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Layout layout = i < candidate.inputs.size() ? candidate.inputs[i] : Layout::kPlain;
    if (!Describe(node.input(i), layout, node.graph(), inputs[i], keep)) return std::nullopt;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Layout layout = i < candidate.outputs.size() ? candidate.outputs[i] : Layout::kPlain;
    if (!Describe(node.output(i), layout, node.graph(), outputs[i], keep)) return std::nullopt;
  }
  const std::vector<uint8_t> blob = format::EncodeOp({node.domain(), node.op(), node.attributes});
  slipway_step step{};
  step.struct_size = sizeof step;
  step.name = node.name().c_str();
  step.blob = blob.data();
  step.blob_size = blob.size();
  step.num_inputs = static_cast<uint32_t>(inputs.size());
  step.num_outputs = static_cast<uint32_t>(outputs.size());
  step.inputs = inputs.data();
  step.outputs = outputs.data();
  return ProbeImplementation(step);
}

}  // namespace slipway::backends::onednn
