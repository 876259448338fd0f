#pragma once
// A model as one self-contained page: numbers, the graph to walk through, every layer in a table.

#include <string>
#include <vector>

#include "deploy/inspect.h"

namespace slipway::report {

// What a platform does with the model.
struct PlatformSupport {
  std::string name;
  bool supported = false;
  std::string reason;  // why not
  double own_nodes = 0, own_macs = 0;
  uint64_t peak_bytes = 0;
  struct Fallback {
    std::string node, op, backend, reason;
  };
  std::vector<Fallback> fallbacks;
};

std::string InspectPage(const std::string& file, const ir::Graph& graph,
                        const deploy::Inspection& inspection,
                        const std::vector<PlatformSupport>& platforms);

// "1.23 G", "45.6 k", "789".
std::string ShortCount(double n);

}  // namespace slipway::report
