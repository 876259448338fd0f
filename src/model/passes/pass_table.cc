#include <algorithm>
#include <array>

#include "model/passes/pass.h"

namespace slipway::passes {

#define SLIPWAY_PASS(FUNCTION, NAME, LEVEL, DESCRIPTION) \
  Result<int> FUNCTION(ir::Graph& graph, const PassOptions& options);
#include "model/passes/passes.inc"
#undef SLIPWAY_PASS

namespace {

constexpr PassInfo kPasses[] = {
#define SLIPWAY_PASS(FUNCTION, NAME, LEVEL, DESCRIPTION) \
  {NAME, DESCRIPTION, Level::LEVEL, &FUNCTION},
#include "model/passes/passes.inc"
#undef SLIPWAY_PASS
};

}  // namespace

std::span<const PassInfo> AllPasses() { return kPasses; }

const PassInfo* FindPass(std::string_view name) {
  auto found = std::find_if(std::begin(kPasses), std::end(kPasses),
                            [&](const PassInfo& p) { return p.name == name; });
  return found == std::end(kPasses) ? nullptr : found;
}

const char* LevelName(Level level) {
  switch (level) {
    case Level::kOnnx:
      return "onnx";
    case Level::kFused:
      return "fused";
    case Level::kInteger:
      return "integer";
    case Level::kPlatform:
      return "platform";
  }
  return "unknown";
}

Result<Level> LevelFromName(std::string_view name) {
  for (Level level : {Level::kOnnx, Level::kFused, Level::kInteger}) {
    if (name == LevelName(level)) return level;
  }
  return InvalidArgument("there is no pass level '" + std::string(name) +
                         "'; choose onnx, fused or integer");
}

}  // namespace slipway::passes
