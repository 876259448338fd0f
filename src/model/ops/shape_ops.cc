// Operators that make tensors out of shapes and scalars, and ordered ones: Shape, Size,
// ConstantOfShape, Range, Trilu, CumSum, CumProd, TopK, OneHot.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

// Elements along one axis of a row-major tensor: element i of line l.
struct Lines {
  int64_t n, inner, count;
  Lines(const Dims& d, int axis)
      : n(d[static_cast<size_t>(axis)]),
        inner(d.count(axis + 1, d.rank())),
        count(d.count(0, axis) * d.count(axis + 1, d.rank())) {}
  int64_t Base(int64_t line) const { return line / inner * n * inner + line % inner; }
};

// The k best of a line, kept as a heap (the worst on top) in the output itself, then sorted there:
// no scratch memory.
template <typename T>
struct TopHeap {
  T* values;
  int64_t* indices;
  int64_t stride, k;
  bool largest;

  // a comes before b in the sorted result; equal values by index.
  bool Before(T a, int64_t ia, T b, int64_t ib) const {
    const Compute<T> x = static_cast<Compute<T>>(a), y = static_cast<Compute<T>>(b);
    if (x == y) return ia < ib;
    return largest ? x > y : x < y;
  }
  bool Before(int64_t i, int64_t j) const {
    return Before(values[i * stride], indices[i * stride], values[j * stride], indices[j * stride]);
  }
  void Swap(int64_t i, int64_t j) const {
    std::swap(values[i * stride], values[j * stride]);
    std::swap(indices[i * stride], indices[j * stride]);
  }
  void SiftDown(int64_t i, int64_t n) const {
    for (;;) {
      int64_t worst = i;
      for (int64_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; ++child) {
        if (Before(worst, child)) worst = child;
      }
      if (worst == i) return;
      Swap(i, worst);
      i = worst;
    }
  }
  void Run(const T* x, int64_t n) const {
    for (int64_t i = 0; i < k; ++i) {
      values[i * stride] = x[i * stride];
      indices[i * stride] = i;
    }
    for (int64_t i = k / 2; i-- > 0;) SiftDown(i, k);
    for (int64_t i = k; i < n; ++i) {
      if (!Before(x[i * stride], i, values[0], indices[0])) continue;
      values[0] = x[i * stride];
      indices[0] = i;
      SiftDown(0, k);
    }
    for (int64_t end = k - 1; end > 0; --end) {
      Swap(0, end);
      SiftDown(0, end);
    }
  }
};

}  // namespace

Status OnnxShape(const OpContext& c) {
  const Dims& d = c.inputs[0].dims;
  const int64_t rank = d.rank();
  auto clip = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  const int64_t start = clip(c.attributes->Int("start", 0));
  const int64_t end = clip(c.attributes->Int("end", rank));
  if (c.outputs[0].count() != std::max<int64_t>(end - start, 0))
    return Internal("the output has the wrong length");
  for (int64_t i = start; i < end; ++i)
    c.outputs[0].as<int64_t>()[i - start] = d[static_cast<size_t>(i)];
  return OkStatus();
}

Status OnnxSize(const OpContext& c) {
  *c.outputs[0].as<int64_t>() = c.inputs[0].count();
  return OkStatus();
}

Status OnnxConstantOfShape(const OpContext& c) {
  const TensorView& y = c.outputs[0];
  const double as_float = c.attributes->Float("value_float", 0);
  const int64_t as_int = c.attributes->Int("value_int", 0);
  auto run = [&]<typename T>() {
    T value;
    if constexpr (kIsFloat<T>) {
      value = static_cast<T>(as_float);
    } else {
      value = static_cast<T>(as_int);
    }
    std::fill_n(y.as<T>(), y.count(), value);
  };
  if (y.dtype == DType::kBool) {
    std::fill_n(y.as<uint8_t>(), y.count(), static_cast<uint8_t>(as_int != 0));
    return OkStatus();
  }
  if (const int bits = DTypeBits(y.dtype); bits > 0 && bits <= 8 && y.dtype != DType::kInt8 &&
                                           y.dtype != DType::kUInt8) {
    const auto code = IsFloating(y.dtype) ? EncodeFloat8(y.dtype, as_float)
                                          : static_cast<uint8_t>(static_cast<uint64_t>(as_int));
    for (int64_t i = 0, n = y.count(); i < n; ++i) WriteCode(y.as<uint8_t>(), bits, i, code);
    return OkStatus();
  }
  if (!DispatchNumber(y.dtype, run)) return NoKernel(y.dtype);
  return OkStatus();
}

Status OnnxRange(const OpContext& c) {
  const TensorView& y = c.outputs[0];
  for (const TensorView& in : c.inputs) {
    if (in.count() != 1 || in.dtype != y.dtype)
      return InvalidArgument("start, limit and delta must be scalars of one type");
  }
  auto run = [&]<typename T>() {
    using C = Compute<T>;
    const C start = static_cast<C>(*c.inputs[0].as<const T>()),
            delta = static_cast<C>(*c.inputs[2].as<const T>());
    for (int64_t i = 0, n = y.count(); i < n; ++i) {
      if constexpr (kIsFloat<T>) {
        y.as<T>()[i] = static_cast<T>(start + static_cast<C>(i) * delta);
      } else {
        y.as<T>()[i] = static_cast<T>(static_cast<uint64_t>(start) +
                                      static_cast<uint64_t>(i) * static_cast<uint64_t>(delta));
      }
    }
  };
  if (!DispatchNumber(y.dtype, run)) return NoKernel(y.dtype);
  return OkStatus();
}

Status OnnxTrilu(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int rank = x.dims.rank();
  if (rank < 2) return InvalidArgument("expects rank 2 or more, got " + x.dims.ToString());
  if (x.count() == 0) return OkStatus();
  int64_t k = 0;
  if (c.Has(1) && c.inputs[1].count() > 0) {
    SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[1], "k"));
    k = std::clamp<int64_t>(IndexAt(c.inputs[1], 0), -(int64_t{1} << 60), int64_t{1} << 60);
  }
  const bool upper = c.attributes->Int("upper", 1) != 0;
  const int64_t w = x.dims.back(), h = x.dims[static_cast<size_t>(rank - 2)];
  auto run = [&]<typename T>() {
    for (int64_t r = 0, rows = x.count() / w; r < rows; ++r) {
      const int64_t diagonal = r % h + k;
      for (int64_t j = 0; j < w; ++j) {
        const bool keep = upper ? j >= diagonal : j <= diagonal;
        y.as<T>()[r * w + j] = keep ? x.as<const T>()[r * w + j] : T{0};
      }
    }
  };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

namespace {

// Running totals along the axis of input 1: join(total, element) from `start`; integers wrap.
template <typename Join>
Status Accumulate(const OpContext& c, int start, Join join) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[1], "axis"));
  if (c.inputs[1].count() != 1) return InvalidArgument("axis must be one integer");
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(IndexAt(c.inputs[1], 0), x.dims.rank(), &axis));
  const bool exclusive = c.attributes->Int("exclusive", 0) != 0,
             reverse = c.attributes->Int("reverse", 0) != 0;
  if (x.count() == 0) return OkStatus();
  const Lines lines(x.dims, axis);
  auto run = [&]<typename T>() {
    using Total = std::conditional_t<kIsFloat<T>, double, uint64_t>;
    for (int64_t l = 0; l < lines.count; ++l) {
      const int64_t base = lines.Base(l);
      Total total = static_cast<Total>(start);
      for (int64_t i = 0; i < lines.n; ++i) {
        const int64_t at = base + (reverse ? lines.n - 1 - i : i) * lines.inner;
        const Total v = static_cast<Total>(static_cast<Compute<T>>(x.as<const T>()[at]));
        if (!exclusive) total = join(total, v);
        y.as<T>()[at] = static_cast<T>(total);
        if (exclusive) total = join(total, v);
      }
    }
  };
  const DType t = x.dtype;
  if (!DispatchFloat(t, run) && !Dispatch<int32_t, int64_t, uint32_t, uint64_t>(t, run))
    return NoKernel(t);
  return OkStatus();
}

}  // namespace

Status OnnxCumSum(const OpContext& c) {
  return Accumulate(c, 0, [](auto a, auto b) { return a + b; });
}

Status OnnxCumProd(const OpContext& c) {
  return Accumulate(c, 1, [](auto a, auto b) { return a * b; });
}

// Sorted whatever `sorted` says; equal values in the order of their indices.
Status OnnxTopK(const OpContext& c) {
  const TensorView &x = c.inputs[0], &values = c.outputs[0], &indices = c.outputs[1];
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), x.dims.rank(), &axis));
  const bool largest = c.attributes->Int("largest", 1) != 0;
  const int64_t k = values.dims[static_cast<size_t>(axis)];
  const Lines from(x.dims, axis), to(values.dims, axis);
  if (k > from.n) {
    return InvalidArgument("k = " + std::to_string(k) + " exceeds the " + std::to_string(from.n) +
                           " elements of axis " + std::to_string(axis));
  }
  if (values.count() == 0) return OkStatus();
  auto run = [&]<typename T>() {
    For(c, from.count, 16, [&](int64_t begin, int64_t end) {
      for (int64_t l = begin; l < end; ++l) {
        const TopHeap<T> heap{values.as<T>() + to.Base(l), indices.as<int64_t>() + to.Base(l),
                              to.inner, k, largest};
        heap.Run(x.as<const T>() + from.Base(l), from.n);
      }
    });
  };
  if (!DispatchNumber(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

// values = [off, on]; an index outside [-depth, depth) gives only off values.
Status OnnxOneHot(const OpContext& c) {
  const TensorView &indices = c.inputs[0], &values = c.inputs[2], &y = c.outputs[0];
  if (values.count() != 2 || values.dtype != y.dtype)
    return InvalidArgument("values must be [off_value, on_value]");
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), y.dims.rank(), &axis));
  const int64_t depth = y.dims[static_cast<size_t>(axis)],
                inner = y.dims.count(axis + 1, y.dims.rank());
  if (indices.count() * depth != y.count())
    return Internal("the output extent does not fit indices and depth");
  if (y.count() == 0) return OkStatus();
  bool known = false;
  auto run = [&]<typename T>() {
    const T off = values.as<const T>()[0], on = values.as<const T>()[1];
    std::fill_n(y.as<T>(), y.count(), off);
    known = DispatchNumber(indices.dtype, [&]<typename I>() {
      for (int64_t i = 0, n = indices.count(); i < n; ++i) {
        const double raw = static_cast<double>(static_cast<Compute<I>>(indices.as<const I>()[i]));
        if (!(raw >= -static_cast<double>(depth) && raw < static_cast<double>(depth))) continue;
        int64_t index = static_cast<int64_t>(raw);
        if (index < 0) index += depth;
        y.as<T>()[(i / inner * depth + index) * inner + i % inner] = on;
      }
    });
  };
  if (!DispatchSize(y.dtype, run)) return NoKernel(y.dtype);
  return known ? OkStatus() : NoKernel(indices.dtype);
}

}  // namespace slipway::ops
