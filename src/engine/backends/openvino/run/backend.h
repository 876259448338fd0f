#pragma once
// OpenVINO as a vendor's graph compiler: a sub-graph as ONNX bytes, compiled for one of its devices
// when the shapes are known.

#include <string_view>

#include "slipway/backend.h"

namespace slipway::backends {

inline constexpr std::string_view kOpenvinoMark = "SLIPOV1\n";  // of its steps

const slipway_backend* OpenvinoBackend();

}  // namespace slipway::backends
