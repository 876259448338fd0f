// Operators that only move elements, by element size. Of those that move single elements only
// Transpose and Pad take types below eight bits, as in ONNX.

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

Status CopyAll(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (x.count() != y.count()) {
    return Internal("the extents " + x.dims.ToString() + " and " + y.dims.ToString() +
                    " have different counts");
  }
  const size_t bytes = DTypeBytes(x.dtype, x.count());
  if (bytes > 0 && x.data != y.data) std::memmove(y.data, x.data, bytes);
  return OkStatus();
}

Status CheckByteSized(DType t) { return DTypeBits(t) >= 8 ? OkStatus() : NoKernel(t); }

// y[o...] = x[base + sum of o_d * stride_d] for any (also negative or zero) strides; dims of y.
template <typename T>
void StridedCopy(const OpContext& c, const T* x, const Dims& dims, const int64_t* strides, T* y) {
  const int rank = dims.rank();
  const int64_t inner = rank > 0 ? dims.back() : 1, step = rank > 0 ? strides[rank - 1] : 0;
  const int64_t rows = inner == 0 ? 0 : dims.count() / inner;
  For(c, rows, std::max<int64_t>(1, kElementGrain / std::max<int64_t>(inner, 1)),
      [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          int64_t rest = r, at = 0;
          for (int d = rank - 2; d >= 0; --d) {
            at += rest % dims[static_cast<size_t>(d)] * strides[d];
            rest /= dims[static_cast<size_t>(d)];
          }
          const T* from = x + at;
          T* to = y + r * inner;
          if (step == 1) {
            std::memcpy(to, from, sizeof(T) * static_cast<size_t>(inner));
          } else {
            for (int64_t i = 0; i < inner; ++i) to[i] = from[i * step];
          }
        }
      });
}

void StridesOf(const Dims& d, int64_t* strides) {
  int64_t s = 1;
  for (int i = d.rank() - 1; i >= 0; --i) {
    strides[i] = s;
    s *= d[static_cast<size_t>(i)];
  }
}

}  // namespace

Status OnnxReshape(const OpContext& c) { return CopyAll(c); }
Status OnnxFlatten(const OpContext& c) { return CopyAll(c); }
Status OnnxSqueeze(const OpContext& c) { return CopyAll(c); }
Status OnnxUnsqueeze(const OpContext& c) { return CopyAll(c); }

Status OnnxConcat(const OpContext& c) {
  const TensorView& y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckByteSized(y.dtype));
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), y.dims.rank(), &axis));
  const int64_t outer = y.dims.count(0, axis);
  const size_t size = DTypeBytes(y.dtype, 1);
  const int64_t row = y.dims.count(axis, y.dims.rank());
  int64_t at = 0;
  for (const TensorView& x : c.inputs) {
    if (x.dims.rank() != y.dims.rank() || x.dtype != y.dtype) {
      return InvalidArgument("inputs differ in rank or element type");
    }
    const int64_t part = x.dims.count(axis, x.dims.rank());
    if (at + part > row || x.dims.count(0, axis) != outer)
      return Internal("input extents do not add up to the output");
    if (part == 0) continue;
    for (int64_t o = 0; o < outer; ++o) {
      std::memcpy(y.as<uint8_t>() + static_cast<size_t>(o * row + at) * size,
                  x.as<const uint8_t>() + static_cast<size_t>(o * part) * size,
                  static_cast<size_t>(part) * size);
    }
    at += part;
  }
  return OkStatus();
}

Status OnnxSplit(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckByteSized(x.dtype));
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), x.dims.rank(), &axis));
  const int64_t outer = x.dims.count(0, axis), row = x.dims.count(axis, x.dims.rank());
  const size_t size = DTypeBytes(x.dtype, 1);
  int64_t at = 0;
  for (const TensorView& y : c.outputs) {
    const int64_t part = y.dims.count(axis, y.dims.rank());
    if (at + part > row)
      return InvalidArgument("the split sizes exceed axis " + std::to_string(axis) + " of " +
                             x.dims.ToString());
    if (part == 0) continue;
    for (int64_t o = 0; o < outer; ++o) {
      std::memcpy(y.as<uint8_t>() + static_cast<size_t>(o * part) * size,
                  x.as<const uint8_t>() + static_cast<size_t>(o * row + at) * size,
                  static_cast<size_t>(part) * size);
    }
    at += part;
  }
  return OkStatus();
}

Status OnnxTranspose(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int rank = x.dims.rank();
  const auto perm = c.attributes->Ints("perm");
  if (!perm.empty() && perm.size() != x.dims.size()) {
    return InvalidArgument("perm has " + std::to_string(perm.size()) + " entries for rank " +
                           std::to_string(rank));
  }
  int64_t in_strides[kMaxRank], strides[kMaxRank];
  StridesOf(x.dims, in_strides);
  bool seen[kMaxRank] = {};
  for (int i = 0; i < rank; ++i) {
    const int64_t from = perm.empty() ? rank - 1 - i : perm[static_cast<size_t>(i)];
    if (from < 0 || from >= rank || seen[from])
      return InvalidArgument("perm is not a permutation of the axes");
    seen[from] = true;
    strides[i] = in_strides[from];
  }
  if (const int bits = DTypeBits(x.dtype); bits > 0 && bits < 8) {
    for (int64_t o = 0, n = y.count(); o < n; ++o) {
      int64_t rest = o, at = 0;
      for (int d = rank - 1; d >= 0; --d) {
        at += rest % y.dims[static_cast<size_t>(d)] * strides[d];
        rest /= y.dims[static_cast<size_t>(d)];
      }
      WriteCode(y.as<uint8_t>(), bits, o, ReadCode(x.as<const uint8_t>(), bits, at));
    }
    return OkStatus();
  }
  auto run = [&]<typename T>() { StridedCopy(c, x.as<const T>(), y.dims, strides, y.as<T>()); };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxSlice(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int rank = x.dims.rank();
  int64_t strides[kMaxRank], base = 0;
  bool sliced[kMaxRank] = {};
  StridesOf(x.dims, strides);
  const TensorView& starts = c.inputs[1];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(starts, "starts"));
  for (size_t i = 3; i < 5; ++i) {
    if (!c.Has(i)) continue;
    SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[i], i == 3 ? "axes" : "steps"));
    if (c.inputs[i].count() != starts.count())
      return InvalidArgument("starts, axes and steps have different lengths");
  }
  if (!c.Has(3) && starts.count() > rank) return InvalidArgument("more starts than dimensions");
  if (y.count() == 0) return OkStatus();
  for (int64_t i = 0; i < starts.count(); ++i) {
    int axis;
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.Has(3) ? IndexAt(c.inputs[3], i) : i, rank, &axis));
    if (sliced[axis]) return InvalidArgument("axis " + std::to_string(axis) + " is listed twice");
    sliced[axis] = true;
    const int64_t step = c.Has(4) ? IndexAt(c.inputs[4], i) : 1;
    if (step == 0) return InvalidArgument("a step of 0 for axis " + std::to_string(axis));
    const int64_t n = x.dims[static_cast<size_t>(axis)], out = y.dims[static_cast<size_t>(axis)];
    int64_t start = IndexAt(starts, i);
    if (start < 0) start = start < -n ? 0 : start + n;
    start = std::min(start, step < 0 ? n - 1 : n);
    // A single element makes the step irrelevant; otherwise the last index must lie inside.
    const auto reach = CheckedMul(out - 1, step);
    if (out > 1 && (!reach || start + *reach < 0 || start + *reach >= n)) {
      return Internal("the output extent " + y.dims.ToString() + " does not fit starts and steps");
    }
    if (start >= n)
      return Internal("start " + std::to_string(start) + " lies outside axis " +
                      std::to_string(axis));
    base += start * strides[axis];
    strides[axis] = out > 1 ? strides[axis] * step : 0;
  }
  auto run = [&]<typename T>() {
    StridedCopy(c, x.as<const T>() + base, y.dims, strides, y.as<T>());
  };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxExpand(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  int64_t in_strides[kMaxRank], strides[kMaxRank] = {};
  StridesOf(x.dims, in_strides);
  const int shift = y.dims.rank() - x.dims.rank();
  if (shift < 0) return Internal("the output has fewer dimensions than the input");
  for (int i = 0; i < x.dims.rank(); ++i) {
    if (x.dims[static_cast<size_t>(i)] != 1) strides[i + shift] = in_strides[i];
  }
  auto run = [&]<typename T>() { StridedCopy(c, x.as<const T>(), y.dims, strides, y.as<T>()); };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxTile(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  int64_t in_strides[kMaxRank];
  StridesOf(x.dims, in_strides);
  const int rank = x.dims.rank();
  auto run = [&]<typename T>() {
    const int64_t inner = rank > 0 ? y.dims.back() : 1, n = rank > 0 ? x.dims.back() : 1;
    For(c, y.count() / inner, std::max<int64_t>(1, kElementGrain / inner),
        [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            int64_t rest = r, at = 0;
            for (int d = rank - 2; d >= 0; --d) {
              const size_t i = static_cast<size_t>(d);
              at += rest % y.dims[i] % x.dims[i] * in_strides[d];
              rest /= y.dims[i];
            }
            T* to = y.as<T>() + r * inner;
            for (int64_t i = 0; i < inner; i += n) std::copy_n(x.as<const T>() + at, n, to + i);
          }
        });
  };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

// Modes constant, edge, reflect and wrap; negative pads crop.
Status OnnxPad(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int rank = x.dims.rank();
  const auto mode = c.attributes->String("mode", "constant");
  enum { kConstant, kEdge, kReflect, kWrap } how = kConstant;
  if (mode == "edge") {
    how = kEdge;
  } else if (mode == "reflect") {
    how = kReflect;
  } else if (mode == "wrap") {
    how = kWrap;
  } else if (mode != "constant") {
    return InvalidArgument("unknown mode '" + std::string(mode) +
                           "'; expected constant, edge, reflect or wrap");
  }
  const TensorView& pads = c.inputs[1];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(pads, "pads"));
  const bool has_axes = c.Has(3);
  if (has_axes) SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[3], "axes"));
  const int64_t axes = has_axes ? c.inputs[3].count() : rank;
  if (pads.count() != 2 * axes) {
    return InvalidArgument("pads has " + std::to_string(pads.count()) + " values for " +
                           std::to_string(axes) + " axes");
  }
  if (c.Has(2) && (c.inputs[2].dtype != x.dtype || c.inputs[2].count() != 1)) {
    return InvalidArgument("constant_value must be one element of the data's type");
  }
  if (y.count() == 0) return OkStatus();
  int64_t begin_pad[kMaxRank] = {}, strides[kMaxRank];
  StridesOf(x.dims, strides);
  for (int64_t i = 0; i < axes; ++i) {
    int axis;
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(has_axes ? IndexAt(c.inputs[3], i) : i, rank, &axis));
    begin_pad[axis] = IndexAt(pads, i);
    // The shape is right, so that begin alone decides; a huge begin would need a huge output.
    if (begin_pad[axis] > y.dims[static_cast<size_t>(axis)] ||
        begin_pad[axis] < -x.dims[static_cast<size_t>(axis)]) {
      if (how != kConstant || begin_pad[axis] < -x.dims[static_cast<size_t>(axis)] -
                                                    y.dims[static_cast<size_t>(axis)]) {
        return InvalidArgument("pad " + std::to_string(begin_pad[axis]) + " of axis " +
                               std::to_string(axis) + " is out of range");
      }
    }
    if (how != kConstant && x.dims[static_cast<size_t>(axis)] == 0) {
      return InvalidArgument("cannot pad the empty axis " + std::to_string(axis) + " by mode " +
                             std::string(mode));
    }
  }
  // The input index of output index o along axis d, or -1 for the constant.
  auto source = [&](int d, int64_t o) {
    const int64_t n = x.dims[static_cast<size_t>(d)];
    int64_t i = o - begin_pad[d];
    if (i >= 0 && i < n) return i;
    switch (how) {
      case kConstant:
        return int64_t{-1};
      case kEdge:
        return i < 0 ? int64_t{0} : n - 1;
      case kWrap:
        return (i % n + n) % n;
      case kReflect:
        break;
    }
    if (n == 1) return int64_t{0};
    const int64_t period = 2 * (n - 1);
    i = (i % period + period) % period;
    return i < n ? i : period - i;
  };
  if (const int bits = DTypeBits(x.dtype); bits > 0 && bits < 8) {
    const uint8_t fill = c.Has(2) ? ReadCode(c.inputs[2].as<const uint8_t>(), bits, 0) : 0;
    for (int64_t o = 0, n = y.count(); o < n; ++o) {
      int64_t rest = o, at = 0;
      bool outside = false;
      for (int d = rank - 1; d >= 0; --d) {
        const int64_t i = source(d, rest % y.dims[static_cast<size_t>(d)]);
        rest /= y.dims[static_cast<size_t>(d)];
        outside |= i < 0;
        at += i * strides[d];
      }
      WriteCode(y.as<uint8_t>(), bits, o,
                outside ? fill : ReadCode(x.as<const uint8_t>(), bits, at));
    }
    return OkStatus();
  }
  auto run = [&]<typename T>() {
    const T fill = c.Has(2) ? *c.inputs[2].as<const T>() : T{0};
    const int64_t inner = rank > 0 ? y.dims.back() : 1;
    For(c, y.count() / inner, std::max<int64_t>(1, kElementGrain / inner),
        [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            int64_t rest = r, at = 0;
            bool outside = false;
            for (int d = rank - 2; d >= 0; --d) {
              const int64_t i = source(d, rest % y.dims[static_cast<size_t>(d)]);
              rest /= y.dims[static_cast<size_t>(d)];
              outside |= i < 0;
              at += i * strides[d];
            }
            T* to = y.as<T>() + r * inner;
            if (outside) {
              std::fill(to, to + inner, fill);
              continue;
            }
            for (int64_t o = 0; o < inner; ++o) {
              const int64_t i = rank > 0 ? source(rank - 1, o) : 0;
              to[o] = i < 0 ? fill : x.as<const T>()[at + i];
            }
          }
        });
  };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxDepthToSpace(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int64_t b = c.attributes->Int("blocksize", 0);
  if (x.dims.rank() != 4 || b < 1 || b > (1 << 15) || x.dims[1] % (b * b) != 0) {
    return InvalidArgument("blocksize " + std::to_string(b) + " does not fit X " +
                           x.dims.ToString());
  }
  const auto mode = c.attributes->String("mode", "DCR");
  if (mode != "DCR" && mode != "CRD")
    return InvalidArgument("unknown mode '" + std::string(mode) + "'; expected DCR or CRD");
  const int64_t h = x.dims[2], w = x.dims[3], plane = h * w, out_c = x.dims[1] / (b * b);
  // As a transposition of [N, C', H, b, W, b] (output order) from X's channel layout.
  const int64_t block = mode == "DCR" ? out_c * plane : plane,
                channel = mode == "DCR" ? plane : b * b * plane;
  const Dims dims{x.dims[0], out_c, h, b, w, b};
  const int64_t strides[6] = {x.dims[1] * plane, channel, w, b * block, 1, block};
  auto run = [&]<typename T>() { StridedCopy(c, x.as<const T>(), dims, strides, y.as<T>()); };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxSpaceToDepth(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int64_t b = c.attributes->Int("blocksize", 0);
  if (x.dims.rank() != 4 || b < 1 || x.dims[2] % b != 0 || x.dims[3] % b != 0) {
    return InvalidArgument("blocksize " + std::to_string(b) + " does not fit X " +
                           x.dims.ToString());
  }
  const int64_t ch = x.dims[1], h = x.dims[2], w = x.dims[3];
  const Dims dims{x.dims[0], b, b, ch, h / b, w / b};
  const int64_t strides[6] = {ch * h * w, w, 1, h * w, b * w, b};
  auto run = [&]<typename T>() { StridedCopy(c, x.as<const T>(), dims, strides, y.as<T>()); };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
