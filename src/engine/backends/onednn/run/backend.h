#pragma once
// The run side of the "onednn" backend (operator level): convolution, linear algebra, pooling,
// attention and elementwise steps through the primitives of oneDNN 2.6, float32 and 8 bit. Layouts
// are the tensors' own; weights are reordered once per package into what the primitive likes best.
//
// Threads: oneDNN of Debian runs on OpenMP. Every call sets the OpenMP team of the calling thread
// to the session's thread count and restores it afterwards; openmp.h says what is done about the
// spinning of its workers.
//
// Allocations in run: none of ours. oneDNN allocates inside dnnl_primitive_execute (its execution
// context: a hash map of the arguments), a few dozen to hundred bytes a primitive, and GNU OpenMP
// when a team grows.

#include <string>

#include "base/status.h"
#include "slipway/backend.h"

namespace slipway::backends {

const slipway_backend* OnednnBackend();

namespace onednn {
// A step whose kernel (the blob's attribute of that name) ends so convolves by Winograd's algorithm
// where oneDNN has it, else directly.
inline constexpr char kWinograd[] = "-winograd";

// Which of oneDNN's implementations this CPU would use for a step ("jit_1x1:avx512_core",
// space-separated when several; "ref..." are plain loops), without making anything. The step is as
// for prepare; data of constants that only hold weights may be null. Errors as prepare.
Result<std::string> ProbeImplementation(const slipway_step& step);
}  // namespace onednn

}  // namespace slipway::backends
