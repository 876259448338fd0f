#pragma once
// Which operators of a file the importer knows: ONNX's, those of other tools' domains, and those
// that plugins bring (slipway/operator.h).

#include <functional>
#include <string>

#include "base/status.h"
#include "model/frontends/onnx/proto.h"

namespace slipway::onnx {

bool KnowsOperator(const NodeProto& node);
// Unsupported names each operator that nobody knows (the first 30) with a node of it and the
// remedy. `opset`: ONNX's, of the model; `node_name` gives what messages call a node.
Status CheckKnownOperators(const ModelProto& model, const GraphProto& graph, int opset,
                           const std::function<std::string(size_t)>& node_name);
// A model of a newer version of a plugin's domain than the plugin means is Unsupported.
Status CheckPluginVersions(const ModelProto& model, const GraphProto& graph);

}  // namespace slipway::onnx
