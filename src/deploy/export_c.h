#pragma once
// A graph as one C99 file and its header.

#include <string>
#include <vector>

#include "base/status.h"
#include "engine/backends/csource/source.h"
#include "model/ir/graph.h"

namespace slipway::deploy {

// A symbolic first dimension of inputs becomes 1. Unsupported: other symbols, and what
// engine/backends/csource has no form for, with the node and the remedy.
Result<backends::csource::Source> GenerateC(const ir::Graph& graph, const std::string& stem);

// Writes folder/NAME.h and folder/NAME.c, NAME being `stem` as a C identifier, and returns their
// paths.
Result<std::vector<std::string>> ExportC(const ir::Graph& graph, const std::string& folder,
                                         const std::string& stem);

}  // namespace slipway::deploy
