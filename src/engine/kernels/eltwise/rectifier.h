#pragma once
// Activations that are a rectifier but for a rest that is even and soon vanishes,
//
//   f(x) = max(x, 0) - h(|x|):   Swish h(t) = t / (1 + e^(a t)),   GELU h(t) = t erfc(t / sqrt 2) /
//   2,
//
// with h as cubic polynomials in 16 segments of [0, limit), chosen by the upper bits of
// |x| * scale + 1: eight short ones in the first third, eight of twice their length behind. Where
// results become 8-bit codes this saves the exponential and the quotient; h is off by 1.5e-5 of
// the segments' unit (`kRectifierError`), and what lies beyond the limit by less.

#include "engine/kernels/eltwise/eltwise.h"

namespace slipway::kernels {

struct RectifierTable {
  float limit = 0;                 // 0: no table
  float scale = 0;                 // 3 / limit
  float multiplier = 1;            // of f, and in the coefficients
  float coefficients[4][16] = {};  // of 1, t, t^2, t^3; the segment's number: bits 20 to 23 of
                                   // t * scale + 1
};

// |f by table - f|, for a multiplier of 1; Swish: divided by a.
inline constexpr float kRectifierError = 8e-5f;

// multiplier * f; without a table where the activation is not of this kind (Swish with a > 0,
// HardSwish, Gelu and GeluTanh are).
RectifierTable MakeRectifierTable(UnaryKind kind, float a, float multiplier);

}  // namespace slipway::kernels
