#pragma once
// A node as the run side will see it, for compile sides that ask their run side whether it would
// accept a step.

#include <optional>
#include <string>
#include <vector>

#include "engine/backends/compile.h"
#include "slipway/backend.h"

namespace slipway::backends {

struct StepDescription {
  std::string name;
  std::vector<uint8_t> blob;
  std::vector<slipway_tensor> inputs, outputs;
  std::vector<ir::Tensor> keep;  // what `data` of constants points into

  // Valid while this object lives and stays where it is.
  slipway_step Step() const;
};

// The node with the candidate's layouts; symbols stand for some small number that makes all extents
// positive. nullopt when a shape is unknown or there is no such number. Constants carry data; small
// ones (64 KiB) are aligned.
std::optional<StepDescription> Describe(const ir::Node& node, const Candidate& candidate);

}  // namespace slipway::backends
