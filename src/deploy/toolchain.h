#pragma once
// What this build can target: its compile-side backends and the platform files it finds.

#include <memory>
#include <string>
#include <vector>

#include "engine/compiler/compile.h"

namespace slipway::deploy {

// Every compile-side backend of this build; made once.
const compiler::BackendSet& Backends();

Result<compiler::Platform> GetPlatform(const std::string& name);
Result<std::vector<compiler::Platform>> GetPlatforms();

// "a,b,c" -> {"a", "b", "c"}; empty parts are dropped.
std::vector<std::string> SplitList(const std::string& text);

}  // namespace slipway::deploy
