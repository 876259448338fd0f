#pragma once
// Control steps (If, Loop, Scan; package.fbs): how a step's inputs and outputs meet those of its
// bodies.

#include "base/status.h"
#include "engine/format/package.h"

namespace slipway::format {

struct ControlForm {
  size_t formal = 0;  // inputs of the step before the captured ones
  size_t unseen = 0;  // leading inputs that bodies do not get: input i of the step is input i -
                      // unseen of a body
  size_t first_carried = 0;  // input of the step
  size_t carried = 0, scanned = 0, stacked = 0;
  size_t first_result = 0;  // output of the body that is output 0 of the step
};

// For any numbers: saturates where the step has less than its kind needs, which CheckControl
// refuses.
ControlForm FormOf(const PackageStep& step);

// "Loop"
const char* ControlName(ControlKind kind);

// Everything about the control steps that running depends on: the numbers of inputs and outputs,
// element types, ranks, axes, layouts, memory; and that each program is the body of one step. The
// bodies are valid programs, and indices of tensors are in range. DataLoss names the step.
Status CheckControls(const PackageData& package);

}  // namespace slipway::format
