#pragma once
// ir::Graph -> ncnn's .param (text) and .bin (weights). Layer names and parameter numbers follow
// https://github.com/Tencent/ncnn/blob/master/docs/developer-guide/operators.md and
// param-and-model-file-structure.md beside it.

#include <string>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::ncnn {

struct ExportOptions {
  // Weights of convolutions and matrix products as float16 (half the file; ncnn converts them when
  // loading). Biases, normalisations and constants stay float32.
  bool half_weights = false;
};

struct Exported {
  int layers = 0, blobs = 0;
  int64_t weight_bytes = 0;
};

// Writes `path` (ends with .param) and the same name with .bin. ncnn blobs have no batch and at
// most four dimensions: every shape must be known, a batch must be 1. Names of inputs and outputs
// are kept, blanks in them become '_'. Run the passes of level kFused before: fused activations are
// written into the layers.
//
// Errors: Unsupported names the node that ncnn cannot hold, why, and the remedy; Unavailable and
// the other errors of WriteFile.
Result<Exported> ExportNcnn(const ir::Graph& graph, const std::string& path,
                            const ExportOptions& options = {});

// Either half of a pair: "a/net.param" for "a/net.bin", "a/net" or itself.
std::string ParamPath(const std::string& path);

}  // namespace slipway::ncnn
