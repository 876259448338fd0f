#pragma once
// A graph as the program that its C file makes on this machine, to compare it with what it should
// compute.

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/backends/csource/source.h"
#include "model/ir/graph.h"

namespace slipway::deploy {

class CProgram {
 public:
  // Exports and compiles with `cc`, all warnings as errors and the address and undefined-behaviour
  // sanitizers. Unsupported: as ExportC. Unavailable: no compiler. Internal: it refuses the file.
  static Result<CProgram> Build(const ir::Graph& graph);
  // Inputs in the graph's order; outputs likewise. Unavailable: the program fails (a sanitizer's
  // report is in the message). timeout_seconds: 0 = none.
  Result<std::vector<ir::Tensor>> Run(const std::vector<ir::Tensor>& inputs,
                                      double timeout_seconds = 0) const;

 private:
  struct Folder;
  std::shared_ptr<const Folder> folder_;
  std::vector<backends::csource::Port> inputs_, outputs_;
};

}  // namespace slipway::deploy
