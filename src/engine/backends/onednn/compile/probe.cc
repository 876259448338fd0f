#include "engine/backends/onednn/compile/probe.h"

#include "base/cpu.h"
#include "engine/backends/describe.h"
#include "engine/backends/onednn/run/backend.h"

namespace slipway::backends::onednn {

std::optional<Result<std::string>> Probe(const ir::Node& node, const Candidate& candidate,
                                         const Target& target) {
  if (target.arch != ThisCpu().arch) return std::nullopt;
  const auto description = Describe(node, candidate);
  if (!description) return std::nullopt;
  return ProbeImplementation(description->Step());
}

}  // namespace slipway::backends::onednn
