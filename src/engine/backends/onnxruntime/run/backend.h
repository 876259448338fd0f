#pragma once
// ONNX Runtime as a vendor's graph compiler: a sub-graph as ONNX bytes, handed to a session of its
// CPU provider when the shapes are known.

#include <string_view>

#include "slipway/backend.h"

namespace slipway::backends {

inline constexpr std::string_view kOnnxruntimeMark = "SLIPORT\n";  // of its steps

const slipway_backend* OnnxruntimeBackend();

}  // namespace slipway::backends
