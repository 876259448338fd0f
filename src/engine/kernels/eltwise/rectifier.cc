#include "engine/kernels/eltwise/rectifier.h"

#include <bit>
#include <cmath>

namespace slipway::kernels {
namespace {

// h(t), t >= 0.
double Rest(UnaryKind kind, double a, double t) {
  switch (kind) {
    case UnaryKind::kSwish:
      return t / (1 + std::exp(a * t));
    case UnaryKind::kHardSwish:
      return t < 3 ? t / 2 - t * t / 6 : 0;
    case UnaryKind::kGelu:
      return t * std::erfc(t * M_SQRT1_2) / 2;
    case UnaryKind::kGeluTanh:
      return t / (1 + std::exp(2 * std::sqrt(M_2_PI) * (t + 0.044715 * t * t * t)));
    default:
      return 0;
  }
}

}  // namespace

RectifierTable MakeRectifierTable(UnaryKind kind, float a, float multiplier) {
  RectifierTable table;
  switch (kind) {
    case UnaryKind::kSwish:
      if (!(a > 1e-3f && a < 1e3f)) return table;
      table.limit = 12 / a;
      break;
    case UnaryKind::kHardSwish:
    case UnaryKind::kGelu:
    case UnaryKind::kGeluTanh:
      table.limit = 6;
      break;
    default:
      return table;
  }
  table.scale = 3 / table.limit;
  table.multiplier = multiplier;
  for (int segment = 0; segment < 16; ++segment) {
    // Of [0, limit) in units of the short ones: 8 of one and 8 of two.
    const double unit = table.limit / 24.0;
    const double begin = unit * (segment < 8 ? segment : 2 * segment - 8),
                 length = unit * (segment < 8 ? 1 : 2);
    // Through four Chebyshev nodes, by divided differences, then in powers of t.
    double t[4], d[4], c[4] = {};
    for (int i = 0; i < 4; ++i) {
      t[i] = begin + length / 2 * (1 - std::cos(M_PI * (2 * i + 1) / 8));
      d[i] = Rest(kind, a, t[i]) * multiplier;
    }
    for (int order = 1; order < 4; ++order) {
      for (int i = 3; i >= order; --i) d[i] = (d[i] - d[i - 1]) / (t[i] - t[i - order]);
    }
    for (int i = 3; i >= 0; --i) {  // c = c * (x - t[i]) + d[i]
      for (int power = 3; power > 0; --power) c[power] = c[power - 1] - c[power] * t[i];
      c[0] = d[i] - c[0] * t[i];
    }
    // Where the bits of the segment's numbers point.
    const float inside = 1 + static_cast<float>((begin + length / 2) * table.scale);
    const uint32_t at = std::bit_cast<uint32_t>(inside) >> 20 & 15;
    for (int power = 0; power < 4; ++power)
      table.coefficients[power][at] = static_cast<float>(c[power]);
  }
  return table;
}

}  // namespace slipway::kernels
