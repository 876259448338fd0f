// Gather, GatherElements, GatherND and ScatterND. Every index is checked against its axis before
// memory is touched.

#include <algorithm>
#include <cstring>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

Status OutOfRange(int64_t index, int64_t n) {
  return InvalidArgument("index " + std::to_string(index) + " is outside [-" + std::to_string(n) +
                         ", " + std::to_string(n) + ")");
}

// index in [-n, n) made non-negative; -1 when outside.
int64_t Wrapped(int64_t index, int64_t n) {
  if (index < -n || index >= n) return -1;
  return index < 0 ? index + n : index;
}

// The offset into data that the index tuple at `at` addresses over axes [first, first + n); -1 when
// outside.
int64_t TupleOffset(const Dims& data, const TensorView& indices, int64_t at, int first, int64_t n) {
  int64_t offset = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t extent = data[static_cast<size_t>(first + i)];
    const int64_t index = Wrapped(IndexAt(indices, at + i), extent);
    if (index < 0) return -1;
    offset = offset * extent + index;
  }
  return offset;
}

Status TupleOutOfRange(const Dims& data) {
  return InvalidArgument("indices hold a value outside the data's extent " + data.ToString());
}

}  // namespace

Status OnnxGather(const OpContext& c) {
  const TensorView &x = c.inputs[0], &indices = c.inputs[1], &y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(indices, "indices"));
  if (DTypeBits(x.dtype) < 8) return NoKernel(x.dtype);
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), x.dims.rank(), &axis));
  const int64_t n = x.dims[static_cast<size_t>(axis)], count = indices.count();
  const int64_t outer = x.dims.count(0, axis);
  const size_t inner = DTypeBytes(x.dtype, x.dims.count(axis + 1, x.dims.rank()));
  for (int64_t i = 0; i < count; ++i) {
    if (Wrapped(IndexAt(indices, i), n) < 0) {
      return OutOfRange(IndexAt(indices, i), n).With("axis " + std::to_string(axis));
    }
  }
  if (y.count() == 0) return OkStatus();
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t from = o * n + Wrapped(IndexAt(indices, i), n);
      std::memcpy(y.as<uint8_t>() + static_cast<size_t>(o * count + i) * inner,
                  x.as<const uint8_t>() + static_cast<size_t>(from) * inner, inner);
    }
  }
  return OkStatus();
}

Status OnnxGatherElements(const OpContext& c) {
  const TensorView &x = c.inputs[0], &indices = c.inputs[1], &y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(indices, "indices"));
  const int rank = x.dims.rank();
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), rank, &axis));
  if (indices.dims.rank() != rank) return InvalidArgument("indices and data have different ranks");
  for (int d = 0; d < rank; ++d) {
    const size_t i = static_cast<size_t>(d);
    if (d != axis && indices.dims[i] > x.dims[i]) {
      return InvalidArgument("indices " + indices.dims.ToString() + " reach beyond data " +
                             x.dims.ToString());
    }
  }
  Status status;
  auto run = [&]<typename T>() {
    for (int64_t o = 0, count = indices.count(); o < count; ++o) {
      int64_t rest = o, at = 0, stride = 1;
      for (int d = rank - 1; d >= 0; --d) {
        const size_t i = static_cast<size_t>(d);
        int64_t index = rest % indices.dims[i];
        rest /= indices.dims[i];
        if (d == axis) {
          index = Wrapped(IndexAt(indices, o), x.dims[i]);
          if (index < 0) {
            status = OutOfRange(IndexAt(indices, o), x.dims[i]);
            return;
          }
        }
        at += index * stride;
        stride *= x.dims[i];
      }
      y.as<T>()[o] = x.as<const T>()[at];
    }
  };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return status;
}

Status OnnxGatherND(const OpContext& c) {
  const TensorView &x = c.inputs[0], &indices = c.inputs[1], &y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(indices, "indices"));
  if (DTypeBits(x.dtype) < 8) return NoKernel(x.dtype);
  const int64_t batch_dims = c.attributes->Int("batch_dims", 0);
  const int rank = x.dims.rank();
  if (indices.dims.rank() < 1 || batch_dims < 0 ||
      batch_dims >= std::min(rank, indices.dims.rank())) {
    return InvalidArgument("batch_dims " + std::to_string(batch_dims) + " does not fit the ranks");
  }
  const int first = static_cast<int>(batch_dims);
  const int64_t depth = indices.dims.back();
  if (depth < 0 || first + depth > rank) {
    return InvalidArgument("index tuples of " + std::to_string(depth) + " for data " +
                           x.dims.ToString());
  }
  const int end = first + static_cast<int>(depth);
  const int64_t batches = indices.dims.count(0, first);
  if (batches != x.dims.count(0, first))
    return InvalidArgument("batch dimensions of data and indices differ");
  const int64_t tuples = indices.dims.count(first, indices.dims.rank() - 1);
  const int64_t slab = x.dims.count(first, rank);
  const size_t size = DTypeBytes(x.dtype, 1),
               inner = size * static_cast<size_t>(x.dims.count(end, rank));
  for (int64_t t = 0; t < batches * tuples; ++t) {
    const int64_t offset = TupleOffset(x.dims, indices, t * depth, first, depth);
    if (offset < 0) return TupleOutOfRange(x.dims);
    if (inner == 0) continue;
    std::memcpy(y.as<uint8_t>() + static_cast<size_t>(t) * inner,
                x.as<const uint8_t>() + static_cast<size_t>(t / tuples * slab) * size +
                    static_cast<size_t>(offset) * inner,
                inner);
  }
  return OkStatus();
}

Status OnnxScatterND(const OpContext& c) {
  const TensorView &x = c.inputs[0], &indices = c.inputs[1], &updates = c.inputs[2],
                   &y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(indices, "indices"));
  if (updates.dtype != x.dtype)
    return InvalidArgument("updates and data have different element types");
  const auto mode = c.attributes->String("reduction", "none");
  enum { kNone, kAdd, kMul, kMax, kMin } how = kNone;
  if (mode == "add") {
    how = kAdd;
  } else if (mode == "mul") {
    how = kMul;
  } else if (mode == "max") {
    how = kMax;
  } else if (mode == "min") {
    how = kMin;
  } else if (mode != "none") {
    return InvalidArgument("unknown reduction '" + std::string(mode) +
                           "'; expected none, add, mul, max or min");
  }
  const int64_t depth = indices.dims.rank() < 1 ? 0 : indices.dims.back();
  if (indices.dims.rank() < 1 || depth > x.dims.rank()) {
    return InvalidArgument("indices " + indices.dims.ToString() + " do not address data " +
                           x.dims.ToString());
  }
  const int64_t tuples = indices.dims.count(0, indices.dims.rank() - 1);
  const int64_t inner = x.dims.count(static_cast<int>(depth), x.dims.rank());
  if (updates.count() != tuples * inner) {
    return InvalidArgument("updates " + updates.dims.ToString() + " do not match indices " +
                           indices.dims.ToString() + " and data " + x.dims.ToString());
  }
  for (int64_t t = 0; t < tuples; ++t) {
    if (TupleOffset(x.dims, indices, t * depth, 0, depth) < 0) return TupleOutOfRange(x.dims);
  }
  const size_t bytes = DTypeBytes(x.dtype, x.count());
  if (bytes > 0 && x.data != y.data) std::memmove(y.data, x.data, bytes);
  auto move = [&]<typename T>() {
    for (int64_t t = 0; t < tuples; ++t) {
      const int64_t at = TupleOffset(x.dims, indices, t * depth, 0, depth) * inner;
      std::copy_n(updates.as<const T>() + t * inner, inner, y.as<T>() + at);
    }
  };
  auto combine = [&]<typename T>() {
    using C = Compute<T>;
    for (int64_t t = 0; t < tuples; ++t) {
      T* to = y.as<T>() + TupleOffset(x.dims, indices, t * depth, 0, depth) * inner;
      for (int64_t i = 0; i < inner; ++i) {
        const C a = static_cast<C>(to[i]), b = static_cast<C>(updates.as<const T>()[t * inner + i]);
        if (how == kMax || how == kMin) {
          to[i] = static_cast<T>(how == kMax ? std::max(a, b) : std::min(a, b));
        } else if constexpr (kIsFloat<T>) {
          to[i] = static_cast<T>(how == kAdd ? a + b : a * b);
        } else {
          const uint64_t u = static_cast<uint64_t>(a), v = static_cast<uint64_t>(b);  // wraps
          to[i] = static_cast<T>(how == kAdd ? u + v : u * v);
        }
      }
    }
  };
  if (how == kNone ? !DispatchSize(x.dtype, move) : !DispatchNumber(x.dtype, combine))
    return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
