#pragma once
// Work in child processes: whatever happens in one, the next one runs.

#include <cstddef>
#include <functional>
#include <string>

#include "base/status.h"

namespace slipway::conformance {

struct ForkedResult {
  std::string text;   // what the work wrote, as far as it came
  std::string ended;  // how it ended where that was no good: "crashed: Segmentation fault"
};

// Calls work(i, write) for every i below `count`, each in a process of its own, `jobs` at the same
// time (0 = one per CPU) and each for at most `timeout` seconds. What it writes comes back at once,
// so that what was before a crash is known. `done` is called here, in the order of their ends.
// Unavailable: no process can be made.
using Write = std::function<void(const std::string&)>;
Status RunForked(size_t count, int jobs, int timeout,
                 const std::function<void(size_t, const Write&)>& work,
                 const std::function<void(size_t, const ForkedResult&)>& done);

}  // namespace slipway::conformance
