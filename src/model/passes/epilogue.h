#pragma once
// What a fused operator does behind its main work: residual addition and activation. Shared by the
// fuse-* passes and the lowering.

#include <string>
#include <vector>

#include "model/passes/rewrite.h"

namespace slipway::passes {

// An activation as attributes of the fused operators say it (operators.inc).
struct Activation {
  std::string name = "none";
  std::vector<float> params;

  void WriteTo(ir::Attributes& attributes) const;
  static Activation Read(const ir::Attributes& attributes);
  bool none() const { return name == "none"; }
};

// The activation that an ONNX node computes, when a fused operator can do it; nullopt otherwise.
std::optional<Activation> ActivationOf(const Node* node);
// The ONNX node that computes it from `x`, before `before`.
Node* AddActivation(Graph& graph, const Activation& activation, Value* x, Node* before,
                    std::string_view name);

// The work behind a main node (Conv, MatMul, ...) that can be taken into it, in the order
// bias-free: residual, then activation.
struct Epilogue {
  std::vector<Node*> nodes;  // in order; empty when there is nothing to take
  Value* residual = nullptr;
  Activation activation;
};

// Follows the only users of `value`, which `main` makes. `has_residual`, `has_activation`: what
// main has already. A residual is any other operand of an Add with exactly the shape of `value`;
// when that operand could take this addition itself and comes later in the graph's order, it shall.
Epilogue FindEpilogue(const Graph& graph, Value* value, bool has_residual, bool has_activation);

// The 1x1 convolution, perhaps with activation, that makes `value` for one user, with constant
// weights and no residual; else null.
Node* PointwiseOf(const Value* value);

}  // namespace slipway::passes
