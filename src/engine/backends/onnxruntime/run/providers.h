#pragma once
// Execution providers of ONNX Runtime other than its CPU's, by name.

#include <string>
#include <utility>
#include <vector>

#include "engine/backends/onnxruntime/run/api.h"

namespace slipway::ort {

struct Provider {
  std::string name;  // "CUDA", "TensorRT", "OpenVINO", ...
  std::vector<std::pair<std::string, std::string>> options;
};

// NAME[:KEY=VALUE[;KEY=VALUE ...]][,NAME ...], the first preferred. InvalidArgument: what is wrong.
Result<std::vector<Provider>> ParseProviders(const std::string& list);

// Adds those of $SLIPWAY_ONNXRUNTIME_PROVIDERS to the options of a session; none when it is not
// set. Unsupported names the provider, what ONNX Runtime says of it, and which it has.
Status AppendProviders(const Api& api, OrtSessionOptions* options);

}  // namespace slipway::ort
