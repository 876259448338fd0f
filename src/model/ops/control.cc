// If, Loop and Scan are no kernels: whoever runs a graph runs their bodies (model/interp/control.cc
// is the definition). Nor are the operators on sequences and optionals, which a TensorView cannot
// hold (model/interp/sequence.cc). These stand in the table so that all are declared alike.

#include "model/ops/kernel.h"

namespace slipway::ops {
namespace {

Status RunsBodies() {
  return Unsupported("control flow runs as its bodies, not as a kernel; the caller must do that");
}
Status HoldsTensors() {
  return Unsupported(
      "sequences and optionals are values of whoever runs the graph, not of a kernel");
}

}  // namespace

Status OnnxIf(const OpContext&) { return RunsBodies(); }
Status OnnxLoop(const OpContext&) { return RunsBodies(); }
Status OnnxScan(const OpContext&) { return RunsBodies(); }

Status OnnxSequenceEmpty(const OpContext&) { return HoldsTensors(); }
Status OnnxSequenceConstruct(const OpContext&) { return HoldsTensors(); }
Status OnnxSequenceInsert(const OpContext&) { return HoldsTensors(); }
Status OnnxSequenceErase(const OpContext&) { return HoldsTensors(); }
Status OnnxSequenceAt(const OpContext&) { return HoldsTensors(); }
Status OnnxSequenceLength(const OpContext&) { return HoldsTensors(); }
Status OnnxSplitToSequence(const OpContext&) { return HoldsTensors(); }
Status OnnxConcatFromSequence(const OpContext&) { return HoldsTensors(); }
Status OnnxOptional(const OpContext&) { return HoldsTensors(); }
Status OnnxOptionalHasElement(const OpContext&) { return HoldsTensors(); }
Status OnnxOptionalGetElement(const OpContext&) { return HoldsTensors(); }

}  // namespace slipway::ops
