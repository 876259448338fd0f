#pragma once
// OpenCV's dnn module as a vendor's graph compiler: a sub-graph as ONNX bytes, handed to cv::dnn
// when the shapes are known.

#include <string_view>

#include "slipway/backend.h"

namespace slipway::backends {

inline constexpr std::string_view kOpencvMark = "SLIPCV1\n";  // of its steps

const slipway_backend* OpencvBackend();

}  // namespace slipway::backends
