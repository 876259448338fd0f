// ScatterElements and TensorScatter. Every index is checked before memory is written.

#include <algorithm>
#include <cstring>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

enum class How { kSet, kAdd, kMul, kMax, kMin };

Status ReadReduction(const Attributes& a, How* how) {
  const auto mode = a.String("reduction", "none");
  if (mode == "none") {
    *how = How::kSet;
  } else if (mode == "add") {
    *how = How::kAdd;
  } else if (mode == "mul") {
    *how = How::kMul;
  } else if (mode == "max") {
    *how = How::kMax;
  } else if (mode == "min") {
    *how = How::kMin;
  } else {
    return InvalidArgument("unknown reduction '" + std::string(mode) +
                           "'; expected none, add, mul, max or min");
  }
  return OkStatus();
}

template <typename T>
T Combine(How how, T old, T update) {
  using C = Compute<T>;
  const C a = static_cast<C>(old), b = static_cast<C>(update);
  if (how == How::kMax || how == How::kMin) {
    return static_cast<T>(how == How::kMax ? std::max(a, b) : std::min(a, b));
  }
  if constexpr (kIsFloat<T>) {
    return static_cast<T>(how == How::kAdd ? a + b : a * b);
  } else {
    const uint64_t u = static_cast<uint64_t>(a), v = static_cast<uint64_t>(b);  // wraps
    return static_cast<T>(how == How::kAdd ? u + v : u * v);
  }
}

void CopyInput(const TensorView& x, const TensorView& y) {
  const size_t bytes = DTypeBytes(x.dtype, x.count());
  if (bytes > 0 && x.data != y.data) std::memmove(y.data, x.data, bytes);
}

}  // namespace

Status OnnxScatterElements(const OpContext& c) {
  const TensorView &x = c.inputs[0], &indices = c.inputs[1], &updates = c.inputs[2],
                   &y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(indices, "indices"));
  How how;
  SLIPWAY_RETURN_IF_ERROR(ReadReduction(*c.attributes, &how));
  const int rank = x.dims.rank();
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), rank, &axis));
  if (updates.dtype != x.dtype)
    return InvalidArgument("updates and data have different element types");
  if (indices.dims.rank() != rank || !(updates.dims == indices.dims)) {
    return InvalidArgument("indices " + indices.dims.ToString() + " and updates " +
                           updates.dims.ToString() + " must have one extent of data's rank");
  }
  for (int d = 0; d < rank; ++d) {
    const size_t i = static_cast<size_t>(d);
    if (d != axis && indices.dims[i] > x.dims[i]) {
      return InvalidArgument("indices " + indices.dims.ToString() + " reach beyond data " +
                             x.dims.ToString());
    }
  }
  const int64_t n = x.dims[static_cast<size_t>(axis)], count = indices.count();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = IndexAt(indices, i);
    if (index < -n || index >= n) {
      return InvalidArgument("index " + std::to_string(index) + " is outside [-" +
                             std::to_string(n) + ", " + std::to_string(n) + ")");
    }
  }
  CopyInput(x, y);
  auto each = [&](auto&& put) {
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i, at = 0, stride = 1;
      for (int d = rank - 1; d >= 0; --d) {
        const size_t k = static_cast<size_t>(d);
        int64_t index = rest % indices.dims[k];
        rest /= indices.dims[k];
        if (d == axis) {
          index = IndexAt(indices, i);
          if (index < 0) index += n;
        }
        at += index * stride;
        stride *= x.dims[k];
      }
      put(i, at);
    }
  };
  auto set = [&]<typename T>() {
    each([&](int64_t i, int64_t at) { y.as<T>()[at] = updates.as<const T>()[i]; });
  };
  auto combine = [&]<typename T>() {
    each([&](int64_t i, int64_t at) {
      y.as<T>()[at] = Combine<T>(how, y.as<T>()[at], updates.as<const T>()[i]);
    });
  };
  if (how == How::kSet ? !DispatchSize(x.dtype, set) : !DispatchNumber(x.dtype, combine))
    return NoKernel(x.dtype);
  return OkStatus();
}

// Writes `update` into a copy of the cache along `axis`, from write_indices[batch] on; circular
// mode wraps around, linear mode must fit.
Status OnnxTensorScatter(const OpContext& c) {
  const TensorView &past = c.inputs[0], &update = c.inputs[1], &y = c.outputs[0];
  if (DTypeBits(past.dtype) < 8) return NoKernel(past.dtype);
  if (update.dtype != past.dtype)
    return InvalidArgument("update and past_cache have different element types");
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -2), past.dims.rank(), &axis));
  const auto mode = c.attributes->String("mode", "linear");
  if (mode != "linear" && mode != "circular") {
    return InvalidArgument("unknown mode '" + std::string(mode) + "'; expected linear or circular");
  }
  if (axis == 0) return InvalidArgument("axis must not be the batch dimension");
  if (update.dims.rank() != past.dims.rank())
    return InvalidArgument("update and past_cache have different ranks");
  const int64_t length = past.dims[static_cast<size_t>(axis)],
                count = update.dims[static_cast<size_t>(axis)];
  const int64_t outer = past.dims.count(0, axis), batches = past.dims[0];
  const size_t inner = DTypeBytes(past.dtype, past.dims.count(axis + 1, past.dims.rank()));
  if (update.dims.count(0, axis) != outer || count > length ||
      update.dims.count(axis + 1, update.dims.rank()) !=
          past.dims.count(axis + 1, past.dims.rank())) {
    return InvalidArgument("update " + update.dims.ToString() + " does not fit past_cache " +
                           past.dims.ToString());
  }
  if (c.Has(2)) {
    SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[2], "write_indices"));
    if (c.inputs[2].count() != batches)
      return InvalidArgument("write_indices must have one element per batch");
    for (int64_t b = 0; b < batches; ++b) {
      const int64_t first = IndexAt(c.inputs[2], b);
      if (first < 0 || first >= std::max<int64_t>(length, 1) ||
          (mode == "linear" && first + count > length)) {
        return InvalidArgument("write_indices[" + std::to_string(b) +
                               "] = " + std::to_string(first) + " and " + std::to_string(count) +
                               " new entries do not fit the cache's " + std::to_string(length));
      }
    }
  }
  CopyInput(past, y);
  if (inner == 0 || outer == 0) return OkStatus();
  for (int64_t o = 0; o < outer; ++o) {
    const int64_t b = o / (outer / batches);
    const int64_t first = c.Has(2) ? IndexAt(c.inputs[2], b) : 0;
    for (int64_t s = 0; s < count; ++s) {
      const int64_t at = (first + s) % length;
      std::memcpy(y.as<uint8_t>() + static_cast<size_t>(o * length + at) * inner,
                  update.as<const uint8_t>() + static_cast<size_t>(o * count + s) * inner, inner);
    }
  }
  return OkStatus();
}

}  // namespace slipway::ops
