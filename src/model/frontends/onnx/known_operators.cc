#include "model/frontends/onnx/known_operators.h"

#include <map>

#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/onnx/upgrade.h"
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

bool KnowsOperator(const NodeProto& node) {
  if (node.domain.empty() || node.domain == "ai.onnx") return Upgrader::Knows(node.op_type);
  return Upgrader::KnowsContrib(node.domain, node.op_type) ||
         ops::FindCustomOp(node.domain, node.op_type) != nullptr;
}

Status CheckKnownOperators(const ModelProto& model, const GraphProto& graph, int opset,
                           const std::function<std::string(size_t)>& node_name) {
  constexpr size_t kMost = 30;
  std::map<std::string, std::string> unknown;  // operator -> first node
  std::string foreign;                         // the first domain that is not ONNX's
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const NodeProto& n = graph.nodes[i];
    const bool onnx = n.domain.empty() || n.domain == "ai.onnx";
    if (KnowsOperator(n) || unknown.size() >= kMost) continue;
    int64_t version = onnx ? opset : 0;
    for (const auto& [domain, v] : model.opsets) {
      if (domain == n.domain) version = v;
    }
    if (!onnx && foreign.empty()) foreign = std::string(n.domain);
    unknown.try_emplace(Quote(n.op_type) + " (domain " + (onnx ? "ai.onnx" : Quote(n.domain)) +
                            ", opset " + std::to_string(version),
                        node_name(i));
  }
  if (unknown.empty()) return OkStatus();
  std::string list;
  for (const auto& [op, node] : unknown)
    list += (list.empty() ? "" : ", ") + op + "; node " + Quote(node) + ")";
  return Unsupported("the model uses " + std::to_string(unknown.size()) +
                     (unknown.size() == 1 ? " operator" : " operators") +
                     " that Slipway does not know: " + list +
                     ". Export with standard ONNX operators (an optimiser such as ONNX Runtime's "
                     "adds others), or cut the model before them" +
                     (foreign.empty() ? ""
                                      : "; if a plugin brings the domain " + Quote(foreign) +
                                            ", load it: --plugin FILE, or --platform with one that "
                                            "names it"));
}

}  // namespace slipway::onnx
