#pragma once
// Caffe (prototxt + caffemodel) -> ir::Graph at ir::kOpset. Layers of all three forms (V0, V1, V2),
// the phase TEST, in-place layers, Caffe's rounding of pooling windows. Weights stay in the mapped
// file. Nothing in either file can crash, hang or exhaust memory out of proportion to its size.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::caffe {

struct ImportOptions {
  // Replaces the declared shape of an input by its name. Symbols go as far as each layer allows;
  // the first one that needs a number is named.
  std::map<std::string, SymShape> input_shapes;
  std::vector<std::string> stages;  // the net state's stages, for phase rules
  // Without a caffemodel: weights drawn from each layer's name, for shapes and speed only.
  bool random_weights = false;
};

// The graph's inputs are the net's inputs, its outputs the blobs that no layer reads, under their
// Caffe names. Metadata: producer "caffe", and transform.LAYER for each data layer's
// transform_param.
//
// Errors name the layer and the remedy: NotFound (no such file), InvalidArgument (syntax, a bottom
// that no layer makes, shapes that do not fit, weights of another net), DataLoss (truncated),
// Unsupported (layer types, all listed; fields without a known meaning), ResourceExhausted
// (limits).
Result<std::unique_ptr<ir::Graph>> ImportCaffe(const std::string& prototxt,
                                               const std::string& caffemodel,
                                               const ImportOptions& options = {});

// The same from memory: constants share `weights`, which must live while `owner` does. Empty
// weights are allowed for nets without learned layers or with options.random_weights.
Result<std::unique_ptr<ir::Graph>> ImportCaffeBytes(std::string_view prototxt,
                                                    std::span<const uint8_t> weights,
                                                    std::shared_ptr<const void> owner,
                                                    const ImportOptions& options = {});

}  // namespace slipway::caffe
