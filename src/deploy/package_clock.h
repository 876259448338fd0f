#pragma once
// How packages are timed to choose by: in this process, or on the platform's device by slipway-run.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "deploy/runner.h"
#include "perfdb/records.h"

namespace slipway::deploy {

class PackageClock {
 public:
  virtual ~PackageClock() = default;
  // Milliseconds of one call of each step, by its name: of one pass of runs that take `seconds`
  // together, the steps' medians with `each_run`, else their means. A pass on a device is one call
  // of slipway-run, however long it takes.
  virtual Result<std::map<std::string, double>> Steps(double seconds, bool each_run) = 0;
  // Mean milliseconds of whole runs that take `seconds` together.
  virtual Result<double> Whole(double seconds) = 0;
};

// `ports` are the package's inputs, which get made-up values, extents of 1 where they are dynamic.
Result<std::unique_ptr<PackageClock>> MakeClock(const std::vector<uint8_t>& package,
                                                const std::vector<Port>& ports,
                                                const compiler::Platform& platform, int threads);

// Ok where packages of the platform can be timed: here, on a board, or emulated. Unsupported: its
// chip is not here.
Status CanTime(const compiler::Platform& platform);

// Under which key single steps are kept that the platform's packages consist of. What is emulated
// is kept apart from what is not, and boards from this machine.
perfdb::PlatformKey StepKey(const compiler::Platform& platform, int threads);

}  // namespace slipway::deploy
