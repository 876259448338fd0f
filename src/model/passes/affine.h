#pragma once
// Scaling and shifting by constants, as the passes that fold them into weights read it.

#include <optional>
#include <vector>

#include "model/passes/rewrite.h"

namespace slipway::passes {

// y = x * scale + shift, one of each for every index along an axis.
struct Affine {
  Value* x = nullptr;
  std::vector<double> scale, shift;
  bool scales = true;  // false: scale is all ones
  bool shifts = true;  // false: shift is all zeros
};

// The elements of a float32 constant that broadcasts along `axis` of a tensor of rank `rank` with
// `channels` there (a scalar too); nullopt when it is none.
std::optional<std::vector<double>> PerIndex(const Value* value, int rank, int axis,
                                            int64_t channels);

// BatchNormalization (axis 1 only), Mul, Div and Add with a constant of that kind and an output of
// x's shape. A negative axis counts from the end.
std::optional<Affine> AffineOf(const Node* node, int axis = 1);

}  // namespace slipway::passes
