#pragma once
// What poolings of floats (pool.cc) and of codes (qmaxpool.cc) have in common.

#include "engine/backends/x86/run/step.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {

// InvalidArgument unless input 0 and output 0 have 1 to 3 spatial dimensions, as many images and as
// many channels.
Status CheckPooled(const Builder& b);
// The window of such a step. InvalidArgument where the output has positions that no window reaches.
Result<ops::Window> ReadPooling(const Builder& b);

}  // namespace slipway::backends::x86
