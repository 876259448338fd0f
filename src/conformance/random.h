#pragma once
// The random-shape tests of the conformance suite (engine/backends/cts) on the backends of plugins.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/backends/cts/harness.h"

namespace slipway::conformance {

struct RandomOptions {
  uint64_t seed = 1;
  double ms = 150;          // for each family of operators
  bool off_by_one = false;  // 8-bit codes may differ by one step
  bool malformed = true;    // damaged programs and tensors that do not fit, too
  std::string filter;       // only families with this in their name
  int jobs = 0, timeout = 60;
  bool in_process = false;  // for a debugger: a crash ends everything
};

// What one family of operators gave on one backend.
struct FamilyOutcome {
  std::string backend, family;
  int64_t cases = 0, declined = 0, wrong = 0, runs = 0;
  int64_t codes = 0, codes_off = 0;
  std::map<std::string, int64_t> kernels;  // how many cases each ran
  std::vector<std::string> reasons;        // why cases were declined, the first few
  std::string first_wrong;                 // with the seed that repeats it
  bool taken() const { return cases > declined; }
};

// The backends with both sides of the plugins that are loaded, to be tested in this process. Each
// family runs in a process of its own: a crash is one wrong case. `progress` gets done and total.
std::vector<cts::Backend> PluginBackends(bool off_by_one);
Result<std::vector<FamilyOutcome>> RunRandom(const std::vector<cts::Backend>& backends,
                                             const RandomOptions& options,
                                             const std::function<void(int64_t, int64_t)>& progress);

}  // namespace slipway::conformance
