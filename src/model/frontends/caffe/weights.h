#pragma once
// The blobs of a .caffemodel (a binary NetParameter of V0, V1 or V2), by layer. Float data stays in
// the file's map; nothing else of the message is read.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "model/ir/tensor.h"

namespace slipway::caffe {

struct LayerBlobs {
  std::string type;               // as the file has it, upgraded to V2's name where known
  std::vector<ir::Tensor> blobs;  // float32
};

struct Weights {
  std::string net;
  std::unordered_map<std::string, LayerBlobs> layers;  // only layers with blobs
  std::vector<std::string> order;                      // their names in the file's order
};

struct WeightLimits {
  size_t layers = 100'000;
  size_t blobs_per_layer = 256;
  int64_t unpacked_elements = int64_t{1} << 28;  // element by element: memory of its own
};

// `owner` keeps `bytes` alive. Errors name the layer and blob: DataLoss (truncated),
// InvalidArgument (not a NetParameter, a shape that does not fit the data), Unsupported
// (half-precision blobs of NVIDIA's fork), ResourceExhausted (limits).
Result<Weights> ReadWeights(std::span<const uint8_t> bytes, std::shared_ptr<const void> owner,
                            const WeightLimits& limits = {});

}  // namespace slipway::caffe
