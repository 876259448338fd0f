// If, Loop and Scan are no kernels: whoever runs a graph runs their bodies (model/interp/control.cc
// is the definition). These stand in the table so that the operators are declared like all others.

#include "model/ops/kernel.h"

namespace slipway::ops {
namespace {

Status RunsBodies() {
  return Unsupported("control flow runs as its bodies, not as a kernel; the caller must do that");
}

}  // namespace

Status OnnxIf(const OpContext&) { return RunsBodies(); }
Status OnnxLoop(const OpContext&) { return RunsBodies(); }
Status OnnxScan(const OpContext&) { return RunsBodies(); }

}  // namespace slipway::ops
