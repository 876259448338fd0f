#include "model/frontends/onnx/plugin_operators.h"

#include "model/frontends/onnx/tensor_proto.h"
#include "model/ops/custom.h"

namespace slipway::onnx {

Status CheckPluginVersions(const ModelProto& model, const GraphProto& graph) {
  for (const NodeProto& node : graph.nodes) {
    const ops::CustomOp* op = ops::FindCustomOp(node.domain, node.op_type);
    if (!op) continue;
    for (const auto& [domain, version] : model.opsets) {
      if (domain != op->domain() || version <= op->version()) continue;
      return Unsupported(op->domain() + "." + op->name() + " node " + Quote(node.name) +
                         " is of version " + std::to_string(version) + " of the domain " +
                         Quote(domain) + ", plugin '" + op->plugin() + "' has version " +
                         std::to_string(op->version()) + "; get a newer plugin");
    }
  }
  return OkStatus();
}

std::string PluginRemedy(const std::string& domain) {
  if (domain.empty()) return "";
  return "; if a plugin brings the domain " + Quote(domain) +
         ", load it: --plugin FILE, or --platform with one that names it";
}

}  // namespace slipway::onnx
