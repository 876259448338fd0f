#pragma once
// ir::Graph -> ncnn's .param (text) and .bin (weights). Layer names and parameter numbers follow
// https://github.com/Tencent/ncnn/blob/master/docs/developer-guide/operators.md and
// param-and-model-file-structure.md beside it.

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::ncnn {

// Weights of a convolution (2-D) or matrix product as codes. ncnn rounds the layer's input to int8
// (half away from zero, [-127, 127]), multiplies integers and goes on in float.
struct Int8Weights {
  ir::Tensor codes;           // int8, in the shape of the float constant, [-127, 127]
  std::vector<float> scales;  // code * scale is the weight; one, or one for each output
  float input_scale = 0;
};

struct ExportOptions {
  std::map<std::string, Int8Weights> int8;  // by the name of the float constant
  // Weights of convolutions and matrix products as float16 (half the file; ncnn converts them when
  // loading). Biases, normalisations and constants stay float32.
  bool half_weights = false;
};

struct Exported {
  // What ncnn2int8 reads beside a float net: the int8 layers' scales, as factors (1 / scale).
  std::string table;
  int int8_layers = 0;
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

// The same into memory.
struct NcnnFiles {
  std::string param, bin;
  Exported done;
};
Result<NcnnFiles> ExportNcnnFiles(const ir::Graph& graph, const ExportOptions& options = {});

// Either half of a pair: "a/net.param" for "a/net.bin", "a/net" or itself.
std::string ParamPath(const std::string& path);

}  // namespace slipway::ncnn
