#pragma once
// What the importer says of operators that plugins bring (slipway/operator.h).

#include <string>

#include "base/status.h"
#include "model/frontends/onnx/proto.h"

namespace slipway::onnx {

// A model of a newer version of a plugin's domain than the plugin means is Unsupported.
Status CheckPluginVersions(const ModelProto& model, const GraphProto& graph);
// The end of a message about operators that nobody knows: "" when all are ONNX's own.
std::string PluginRemedy(const std::string& domain);

}  // namespace slipway::onnx
