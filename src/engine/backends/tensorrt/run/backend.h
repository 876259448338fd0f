#pragma once
// TensorRT as a vendor's graph compiler: a sub-graph as ONNX bytes, built into an engine for the
// GPU that is here when the shapes are known.

#include <string_view>

#include "slipway/backend.h"

namespace slipway::backends {

inline constexpr std::string_view kTensorrtMark = "SLIPTR1\n";  // of its steps

const slipway_backend* TensorrtBackend();

}  // namespace slipway::backends
