#pragma once
// Depthwise convolutions: what the compiler asks about them.

#include "engine/backends/compile.h"

namespace slipway::backends::x86 {

// A convolution whose groups are its channels.
bool IsDepthwise(const ir::Node& node);
// The ways to run one that are worth trying, best first; the run side has the last word.
std::vector<Candidate> DepthwiseCandidates(const ir::Node& node, const Target& target);

// slipway.ConvDepthwise: the pair of a 1x1 convolution and a depthwise one.
bool IsConvDepthwise(const ir::Node& node);
std::vector<Candidate> ConvDepthwiseCandidates(const ir::Node& node, const Target& target);

}  // namespace slipway::backends::x86
