#pragma once
// What libslipway_learn.so and its users agree on. C++ objects pass between the two, so they must
// be of one build: the same version, compiler and layout of what passes.

#include <string>

#include "learn/learn.h"

namespace slipway::learn {

inline constexpr const char kLibraryName[] = "libslipway_learn.so";
inline constexpr const char kAbiSymbol[] = "slipway_learn_abi";
inline constexpr const char kCreateSymbol[] = "slipway_learn_create";

inline std::string Abi() {
  std::string abi = "1 " SLIPWAY_VERSION " " __VERSION__;
  for (const size_t size : {sizeof(ir::Graph), sizeof(ir::Node), sizeof(ir::Value),
                            sizeof(ir::Tensor), sizeof(ModuleOptions), sizeof(ReconstructOptions),
                            sizeof(ReconstructResult), sizeof(Status)})
    abi += " " + std::to_string(size);
  return abi;
}

}  // namespace slipway::learn
