#pragma once
// Measures what a model's plan may consist of, so that it rests on times and not on estimates: the
// kernels that its nodes may run on, the conversions between layouts that may stand between them,
// and what tensors cost that enter and leave the steps of network-level backends.

#include <functional>
#include <string>
#include <vector>

#include "deploy/runner.h"
#include "perfdb/store.h"

namespace slipway::deploy {

struct TuneCounts {
  int all = 0;       // different ones that may be part of a plan
  int known = 0;     // measured before on this machine
  int measured = 0;  // now
  int skipped =
      0;  // cannot be timed alone: extents that data decide, or what only its neighbours allow
};

struct TuneReport {
  TuneCounts kernels;
  TuneCounts conversions;            // of a type from one layout to another
  TuneCounts hand_overs;             // of a type into or out of a backend's steps
  std::vector<std::string> skipped;  // what cannot be timed alone, and why
};

// The platform with this backend of its own alone, the others for what it does not take.
compiler::Platform AlonePlatform(const compiler::Platform& platform, const std::string& backend);

// Times each of them by itself, on random inputs of the extents in the model (1 for dynamic ones),
// where the platform runs, and keeps the medians in `store` under StepKey (package_clock.h), where
// `--costs measured` finds them. What is known is not timed again. The platform's backends alone
// (AlonePlatform) are counted in: passes may prepare other nodes for them. `progress` gets (done,
// all). Errors: those of compiling; Unsupported when the platform is neither this machine's nor
// that of a device (CanTime).
Result<TuneReport> Tune(const ir::Graph& graph, const compiler::Platform& platform,
                        const compiler::CompileOptions& options, perfdb::Store& store,
                        const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace slipway::deploy
