#pragma once
// Measures the kernels that a model may run on, so that its plan rests on times and not on
// estimates.

#include <functional>

#include "deploy/runner.h"
#include "perfdb/store.h"

namespace slipway::deploy {

struct TuneReport {
  int kernels = 0;   // different ones that the platform's backends offer for the model's nodes
  int known = 0;     // measured before on this machine
  int measured = 0;  // now
  int skipped = 0;   // cannot be timed alone: extents that data decide, or what only its neighbours allow
};

// Times each kernel by itself, on random inputs of the node's extents (1 for dynamic ones), and keeps the medians in
// `store` under this machine's key (perfdb::KernelKey), where `--costs measured` finds them. A kernel
// that is known is not timed again. `progress` gets (done, all). Errors: those of compiling;
// Unsupported when the platform is not this machine's.
Result<TuneReport> Tune(const ir::Graph& graph, const compiler::Platform& platform,
                        const compiler::CompileOptions& options, perfdb::Store& store,
                        const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace slipway::deploy
