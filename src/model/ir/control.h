#pragma once
// If, Loop and Scan: how the inputs and outputs of the node meet those of its bodies.
// https://onnx.ai/onnx/operators/onnx__If.html, onnx__Loop.html, onnx__Scan.html
//
//   If    (condition, captured...)
//         then_branch, else_branch: (captured...) -> (outputs...)
//   Loop  (trip_count?, condition?, carried..., captured...) -> (carried..., stacked...)
//         body: (iteration, condition, carried..., captured...) -> (condition, carried..., stacked...)
//   Scan  (carried..., scanned..., captured...) -> (carried..., stacked...)
//         body: the same -> (carried..., stacked...)
//
// `carried` is an attribute of Loop and Scan that ONNX does not have: bodies are closed here
// (graph.h), so that counting inputs no longer tells carried values from captured ones.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::ir {

// Bodies in bodies in bodies: deeper files are refused.
inline constexpr int kMaxBodyDepth = 16;

bool IsControlFlow(const Node& node);
// The names of its bodies; empty for any other operator.
std::span<const std::string_view> BodyNames(std::string_view domain, std::string_view op);

struct ControlForm {
  size_t formal = 0;    // inputs of the node before the captured ones
  size_t unseen = 0;    // leading inputs that the bodies do not get: node input i is body input i - unseen
  size_t carried = 0;   // values that go from one iteration to the next
  size_t scanned = 0;   // Scan: inputs that are cut into slices
  size_t first_result = 0;  // body output that is the node's output 0
};

// Checks the bodies (which are there, numbers of inputs and outputs) and the lists of axes.
// InvalidArgument names the node and what is wrong.
Result<ControlForm> FormOf(const Node& node);

// The axis of scanned input or stacked output i (attribute `name`, default 0), not normalised.
int64_t ScanAxis(const Node& node, std::string_view name, size_t i);

// The body's condition stays true once it is (it returns true or what it was given), so that the
// trip count alone decides. For a well-formed Loop.
bool RunsToTripCount(const Node& loop);

// Makes `value` (of the node's graph) a captured one; returns the input that each body has for it,
// in the order of BodyNames. The new inputs have the value's type.
std::vector<Value*> AddCapture(Node* node, Value* value);
// Removes input `index` of the node, a captured one, and the bodies' inputs for it, which nobody may
// use any more.
void RemoveCapture(Node* node, size_t index);

}  // namespace slipway::ir
