// Operators that pick elements by their values, and the extents that follow from that: NonZero,
// Compress.

#include <algorithm>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

// Calls f(the position) for every element that is not zero, in row-major order, until it returns
// false. False when the element type has no kernel.
template <typename F>
bool ForEachNonZero(const TensorView& x, F&& f) {
  const int64_t n = x.count();
  auto run = [&]<typename T>() {
    const T* p = x.as<const T>();
    for (int64_t i = 0; i < n; ++i) {
      if (static_cast<Compute<T>>(p[i]) != Compute<T>{0} && !f(i)) return;
    }
  };
  if (x.dtype == DType::kBool) {
    run.template operator()<uint8_t>();
    return true;
  }
  return DispatchNumber(x.dtype, run);
}

// What Compress works along: all elements, or one axis.
Status CompressAxis(const OpContext& c, int* axis, int64_t* extent) {
  const Dims& x = c.inputs[0].dims;
  *axis = -1;
  *extent = x.count();
  if (!c.attributes->Has("axis")) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), x.rank(), axis));
  *extent = x[static_cast<size_t>(*axis)];
  return OkStatus();
}

Status CountSelected(const TensorView& condition, int64_t extent, int64_t* count) {
  if (condition.dtype != DType::kBool || condition.dims.rank() != 1)
    return InvalidArgument("condition must be a vector of bool");
  *count = 0;
  for (int64_t i = 0, n = condition.count(); i < n; ++i) {
    if (condition.as<const uint8_t>()[i] == 0) continue;
    if (i >= extent) {
      return InvalidArgument("condition selects element " + std::to_string(i) + " of " +
                             std::to_string(extent));
    }
    ++*count;
  }
  return OkStatus();
}

}  // namespace

Status ShapeNonZero(const OpContext& c, std::span<Dims> outputs) {
  int64_t count = 0;
  if (!ForEachNonZero(c.inputs[0], [&](int64_t) { return ++count, true; }))
    return NoKernel(c.inputs[0].dtype);
  outputs[0] = {c.inputs[0].dims.rank(), count};
  return OkStatus();
}

Status OnnxNonZero(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int rank = x.dims.rank();
  const int64_t room = y.dims.back();
  int64_t found = 0;
  const bool known = ForEachNonZero(x, [&](int64_t at) {
    if (found < room) {
      for (int d = rank - 1; d >= 0; --d) {
        const int64_t n = x.dims[static_cast<size_t>(d)];
        y.as<int64_t>()[d * room + found] = at % n;
        at /= n;
      }
    }
    return ++found <= room;
  });
  if (!known) return NoKernel(x.dtype);
  if (found != room) {
    return Internal("the output has room for " + std::to_string(room) +
                    " positions, which is not the number of elements that differ from 0");
  }
  return OkStatus();
}

Status ShapeCompress(const OpContext& c, std::span<Dims> outputs) {
  int axis;
  int64_t extent, count;
  SLIPWAY_RETURN_IF_ERROR(CompressAxis(c, &axis, &extent));
  SLIPWAY_RETURN_IF_ERROR(CountSelected(c.inputs[1], extent, &count));
  if (axis < 0) {
    outputs[0] = {count};
  } else {
    outputs[0] = c.inputs[0].dims;
    outputs[0][static_cast<size_t>(axis)] = count;
  }
  return OkStatus();
}

Status OnnxCompress(const OpContext& c) {
  const TensorView &x = c.inputs[0], &condition = c.inputs[1], &y = c.outputs[0];
  int axis;
  int64_t extent, count;
  SLIPWAY_RETURN_IF_ERROR(CompressAxis(c, &axis, &extent));
  SLIPWAY_RETURN_IF_ERROR(CountSelected(condition, extent, &count));
  const int64_t outer = axis < 0 ? 1 : x.dims.count(0, axis);
  const int64_t inner = axis < 0 ? 1 : x.dims.count(axis + 1, x.dims.rank());
  if (y.count() != outer * count * inner) {
    return Internal("the output " + y.dims.ToString() + " does not fit the " +
                    std::to_string(count) + " selected elements");
  }
  auto run = [&]<typename T>() {
    T* to = y.as<T>();
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < std::min(condition.count(), extent); ++i) {
        if (condition.as<const uint8_t>()[i] == 0) continue;
        to = std::copy_n(x.as<const T>() + (o * extent + i) * inner, inner, to);
      }
    }
  };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
