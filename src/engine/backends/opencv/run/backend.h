#pragma once
// OpenCV's dnn module as a vendor's graph compiler: a sub-graph as ONNX bytes, handed to cv::dnn
// when the shapes are known.

#include "slipway/backend.h"

namespace slipway::backends {

const slipway_backend* OpencvBackend();

}  // namespace slipway::backends
