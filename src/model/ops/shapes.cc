// The table of shape functions.

#include "model/ops/kernel.h"

namespace slipway::ops {

#define SLIPWAY_SHAPE(DOMAIN, NAME, FUNCTION, DATA) \
  Status Shape##FUNCTION(const OpContext&, std::span<Dims>);
#include "model/ops/shapes.inc"
#undef SLIPWAY_SHAPE

namespace {

constexpr const char kOnnx[] = "", kSlipway[] = "slipway";

#define SLIPWAY_SHAPE(DOMAIN, NAME, FUNCTION, DATA) {k##DOMAIN, #NAME, &Shape##FUNCTION, DATA},
constexpr ShapeEntry kEntries[] = {
#include "model/ops/shapes.inc"
};
#undef SLIPWAY_SHAPE

}  // namespace

std::span<const ShapeEntry> ShapeFunctions() { return kEntries; }

const ShapeEntry* FindShapeFunction(std::string_view domain, std::string_view name) {
  for (const ShapeEntry& e : kEntries) {
    if (name == e.name && domain == e.domain) return &e;
  }
  return nullptr;
}

}  // namespace slipway::ops
