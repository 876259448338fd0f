#pragma once
// A model made ready for ncnn and written.

#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::deploy {

// Sets an open batch to 1, runs the passes of level kFused on a copy and writes PATH.param and
// PATH.bin. Errors: what ncnn cannot hold, by node (model/frontends/ncnn/export.h).
Result<std::vector<std::string>> ExportNcnnModel(const ir::Graph& graph, const std::string& path,
                                                 bool half_weights);

}  // namespace slipway::deploy
