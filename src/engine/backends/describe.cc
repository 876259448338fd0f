#include "engine/backends/describe.h"

#include <algorithm>

namespace slipway::backends {
namespace {

// False when the shape is unknown or unusable.
bool DescribeValue(const ir::Value* value, Layout layout, const ir::Graph* graph, int64_t symbols,
                   slipway_tensor& t, std::vector<ir::Tensor>& keep) {
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
        if (it != graph->symbol_ranges.end())
          return std::clamp(symbols, std::max<int64_t>(1, it->second.first),
                            std::max<int64_t>(1, it->second.second));
      }
      return symbols;
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

slipway_step StepDescription::Step() const {
  slipway_step step{};
  step.struct_size = sizeof step;
  step.name = name.c_str();
  step.blob = blob.data();
  step.blob_size = blob.size();
  step.num_inputs = static_cast<uint32_t>(inputs.size());
  step.num_outputs = static_cast<uint32_t>(outputs.size());
  step.inputs = inputs.data();
  step.outputs = outputs.data();
  return step;
}

namespace {

std::optional<StepDescription> DescribeAt(const ir::Node& node, const Candidate& candidate,
                                          int64_t symbols) {
  StepDescription d;
  d.name = node.name();
  d.inputs.resize(node.inputs().size());
  d.outputs.resize(node.outputs().size());
  for (size_t i = 0; i < d.inputs.size(); ++i) {
    const Layout layout = i < candidate.inputs.size() ? candidate.inputs[i] : Layout::kPlain;
    if (!DescribeValue(node.input(i), layout, node.graph(), symbols, d.inputs[i], d.keep))
      return std::nullopt;
  }
  for (size_t i = 0; i < d.outputs.size(); ++i) {
    const Layout layout = i < candidate.outputs.size() ? candidate.outputs[i] : Layout::kPlain;
    if (!DescribeValue(node.output(i), layout, node.graph(), symbols, d.outputs[i], d.keep))
      return std::nullopt;
  }
  format::OpDesc op{node.domain(), node.op(), node.attributes};
  if (!candidate.kernel.empty())
    op.attributes.Set("kernel", candidate.kernel);  // as OpBackend::CompileNode does
  d.blob = format::EncodeOp(op);
  return d;
}

}  // namespace

std::optional<StepDescription> Describe(const ir::Node& node, const Candidate& candidate) {
  // 1 would hide what happens with several images; some networks shrink small images to nothing.
  for (int64_t symbols : {2, 64, 224, 1}) {
    auto d = DescribeAt(node, candidate, symbols);
    if (d) return d;
  }
  return std::nullopt;
}

}  // namespace slipway::backends
