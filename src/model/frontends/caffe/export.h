#pragma once
// ir::Graph -> Caffe (prototxt + caffemodel, layers of the newest form).

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::caffe {

struct CaffeFiles {
  std::string prototxt;
  std::vector<uint8_t> caffemodel;
};

// All extents must be known and all data float32. Layers are called as their tops, tops as the
// graph's values. Errors: Unsupported names the node that Caffe's layers cannot hold and the
// remedy; ResourceExhausted for weights above 2 GiB, which protobuf does not hold.
Result<CaffeFiles> ExportCaffe(const ir::Graph& graph);

}  // namespace slipway::caffe
