// Reductions, ArgMax and ArgMin. Floats are accumulated in float64, integers modulo 2^64.

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

// The input as alternating runs of kept and reduced dimensions, outermost first.
struct Layout {
  int kept = 0, reduced = 0;
  int64_t kept_dims[kMaxRank], kept_strides[kMaxRank];
  int64_t reduced_dims[kMaxRank], reduced_strides[kMaxRank];
  int64_t outputs = 1, elements = 1;  // per output

  Layout(const Dims& dims, const bool (&reduce)[kMaxRank]) {
    int64_t stride = 1;
    int last = -1;  // which list the previous (inner) dimension went to
    for (int i = dims.rank() - 1; i >= 0; --i) {
      const int64_t n = dims[static_cast<size_t>(i)];
      const bool r = reduce[i];
      (r ? elements : outputs) *= n;
      if (n != 1) {
        int& count = r ? reduced : kept;
        int64_t* list = r ? reduced_dims : kept_dims;
        if (last == static_cast<int>(r)) {
          list[count - 1] *= n;
        } else {
          list[count] = n;
          (r ? reduced_strides : kept_strides)[count] = stride;
          ++count;
        }
        last = r;
      }
      stride *= n;
    }
  }

  int64_t Base(int64_t output) const {
    int64_t at = 0;
    for (int d = 0; d < kept; ++d) {
      at += output % kept_dims[d] * kept_strides[d];
      output /= kept_dims[d];
    }
    return at;
  }

  // Calls run(context, at, n, step) for the rows of reduced elements of the output that starts at
  // `at`, in memory order. No template, for code size.
  void ForRuns(int64_t at, void (*run)(void*, int64_t at, int64_t n, int64_t step),
               void* context) const {
    if (elements == 0) return;
    const int64_t inner = reduced > 0 ? reduced_dims[0] : 1;
    const int64_t step = reduced > 0 ? reduced_strides[0] : 1;
    int64_t index[kMaxRank] = {};
    for (;;) {
      run(context, at, inner, step);
      int d = 1;
      for (; d < reduced; ++d) {
        at += reduced_strides[d];
        if (++index[d] < reduced_dims[d]) break;
        at -= reduced_dims[d] * reduced_strides[d];
        index[d] = 0;
      }
      if (d >= reduced) return;
    }
  }
};

// f(x) for every reduced element of one output.
template <typename T, typename F>
void ForElements(const Layout& layout, const T* x, int64_t base, F&& f) {
  struct Context {
    const T* x;
    std::remove_reference_t<F>* f;
  } context{x, &f};
  layout.ForRuns(
      base,
      [](void* p, int64_t at, int64_t n, int64_t step) {
        const Context& c = *static_cast<Context*>(p);
        for (int64_t i = 0; i < n; ++i) (*c.f)(c.x[at + i * step]);
      },
      &context);
}

template <typename T>
using Sum = std::conditional_t<kIsFloat<T>, double, uint64_t>;

template <typename T>
Sum<T> Magnitude(Compute<T> x) {
  if constexpr (kIsFloat<T>) {
    return std::fabs(static_cast<double>(x));
  } else {
    return x < 0 ? uint64_t{0} - static_cast<uint64_t>(x) : static_cast<uint64_t>(x);
  }
}

// Each reduction: the start value, how an element enters, how n elements end.
struct SumRule {
  template <typename T>
  static Sum<T> Init() {
    return 0;
  }
  template <typename T>
  static void Step(Sum<T>& a, Compute<T> x) {
    a += static_cast<Sum<T>>(x);
  }
  template <typename T>
  static T End(Sum<T> a, int64_t) {
    return static_cast<T>(a);
  }
};
struct MeanRule : SumRule {
  template <typename T>
  static T End(Sum<T> a, int64_t n) {
    if constexpr (kIsFloat<T>) {
      return static_cast<T>(a / static_cast<double>(n));
    } else if (n == 0) {
      return 0;
    } else if constexpr (std::is_signed_v<T>) {
      return static_cast<T>(static_cast<int64_t>(a) / n);
    } else {
      return static_cast<T>(a / static_cast<uint64_t>(n));
    }
  }
};
struct ProdRule : SumRule {
  template <typename T>
  static Sum<T> Init() {
    return 1;
  }
  template <typename T>
  static void Step(Sum<T>& a, Compute<T> x) {
    a *= static_cast<Sum<T>>(x);
  }
};
struct L1Rule : SumRule {
  template <typename T>
  static void Step(Sum<T>& a, Compute<T> x) {
    a += Magnitude<T>(x);
  }
};
struct SumSquareRule : SumRule {
  template <typename T>
  static void Step(Sum<T>& a, Compute<T> x) {
    a += static_cast<Sum<T>>(x) * static_cast<Sum<T>>(x);
  }
};
struct L2Rule : SumSquareRule {
  template <typename T>
  static T End(Sum<T> a, int64_t) {
    return static_cast<T>(std::sqrt(static_cast<double>(a)));
  }
};

template <typename T>
Compute<T> Extreme(bool highest) {
  using L = std::numeric_limits<Compute<T>>;
  if constexpr (kIsFloat<T>) return highest ? L::infinity() : -L::infinity();
  return highest ? L::max() : L::lowest();
}

// Without axes all are reduced, or with noop_with_empty_axes none: then every element is reduced
// alone, so that ReduceSumSquare squares.
Status ReadAxes(const OpContext& c, bool (&reduce)[kMaxRank]) {
  const int rank = c.inputs[0].dims.rank();
  const bool given = c.Has(1) && c.inputs[1].count() > 0;
  std::fill(reduce, reduce + kMaxRank,
            !given && c.attributes->Int("noop_with_empty_axes", 0) == 0);
  if (!given) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[1], "axes"));
  for (int64_t i = 0; i < c.inputs[1].count(); ++i) {
    int axis;
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(IndexAt(c.inputs[1], i), rank, &axis));
    reduce[axis] = true;
  }
  return OkStatus();
}

// body(x, offset of an output's first element) -> T
template <typename T, typename Body>
void ForOutputs(const OpContext& c, const Layout& layout, Body body) {
  const T* x = c.inputs[0].as<const T>();
  T* y = c.outputs[0].as<T>();
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, layout.elements));
  For(c, layout.outputs, grain, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) y[o] = body(x, layout.Base(o));
  });
}

Status CheckExtent(const OpContext& c, const Layout& layout) {
  if (c.outputs[0].count() == layout.outputs) return OkStatus();
  return Internal("the output extent " + c.outputs[0].dims.ToString() + " does not match the axes");
}

template <typename Rule>
Status Reduce(const OpContext& c) {
  bool reduce[kMaxRank];
  SLIPWAY_RETURN_IF_ERROR(ReadAxes(c, reduce));
  const Layout layout(c.inputs[0].dims, reduce);
  SLIPWAY_RETURN_IF_ERROR(CheckExtent(c, layout));
  auto run = [&]<typename T>() {
    ForOutputs<T>(c, layout, [&](const T* x, int64_t base) {
      Sum<T> acc = Rule::template Init<T>();
      ForElements(layout, x, base,
                  [&](T v) { Rule::template Step<T>(acc, static_cast<Compute<T>>(v)); });
      return Rule::template End<T>(acc, layout.elements);
    });
  };
  const DType t = c.inputs[0].dtype;
  if (!DispatchFloat(t, run) && !Dispatch<int32_t, int64_t, uint32_t, uint64_t>(t, run))
    return NoKernel(t);
  return OkStatus();
}

Status ReduceExtreme(const OpContext& c, bool max) {
  bool reduce[kMaxRank];
  SLIPWAY_RETURN_IF_ERROR(ReadAxes(c, reduce));
  const Layout layout(c.inputs[0].dims, reduce);
  SLIPWAY_RETURN_IF_ERROR(CheckExtent(c, layout));
  auto run = [&]<typename T>() {
    ForOutputs<T>(c, layout, [&](const T* x, int64_t base) {
      Compute<T> best = Extreme<T>(!max);
      ForElements(layout, x, base, [&](T raw) {
        const Compute<T> v = static_cast<Compute<T>>(raw);
        if ((max ? v > best : v < best) || v != v) best = v;
      });
      return static_cast<T>(best);
    });
  };
  const DType t = c.inputs[0].dtype;
  if (t == DType::kBool) {  // any and all
    ForOutputs<uint8_t>(c, layout, [&](const uint8_t* x, int64_t base) {
      uint8_t best = max ? 0 : 1;
      ForElements(layout, x, base,
                  [&](uint8_t v) { best = max ? best | (v != 0) : best & (v != 0); });
      return best;
    });
    return OkStatus();
  }
  if (!DispatchNumber(t, run)) return NoKernel(t);
  return OkStatus();
}

Status ArgReduce(const OpContext& c, bool max) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), x.dims.rank(), &axis));
  const bool last = c.attributes->Int("select_last_index", 0) != 0;
  const int64_t n = x.dims[static_cast<size_t>(axis)],
                inner = x.dims.count(axis + 1, x.dims.rank());
  if (y.count() > 0 && n == 0)
    return InvalidArgument("cannot take ArgMax or ArgMin of an empty axis");
  auto run = [&]<typename T>() {
    using C = Compute<T>;
    int64_t* to = y.as<int64_t>();
    For(c, y.count(), std::max<int64_t>(1, 4096 / n), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const T* p = x.as<const T>() + o / inner * n * inner + o % inner;
        C best = static_cast<C>(p[0]);
        int64_t where = 0;
        for (int64_t i = 1; i < n; ++i) {
          const C v = static_cast<C>(p[i * inner]);
          const bool better = max ? v > best : v < best;
          if (better || (last && v == best)) {
            best = v;
            where = i;
          }
        }
        to[o] = where;
      }
    });
  };
  if (y.count() == 0) return OkStatus();
  if (!DispatchNumber(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace

Status OnnxReduceSum(const OpContext& c) { return Reduce<SumRule>(c); }
Status OnnxReduceMean(const OpContext& c) { return Reduce<MeanRule>(c); }
Status OnnxReduceProd(const OpContext& c) { return Reduce<ProdRule>(c); }
Status OnnxReduceL1(const OpContext& c) { return Reduce<L1Rule>(c); }
Status OnnxReduceL2(const OpContext& c) { return Reduce<L2Rule>(c); }
Status OnnxReduceSumSquare(const OpContext& c) { return Reduce<SumSquareRule>(c); }
Status OnnxReduceMax(const OpContext& c) { return ReduceExtreme(c, true); }
Status OnnxReduceMin(const OpContext& c) { return ReduceExtreme(c, false); }
Status OnnxArgMax(const OpContext& c) { return ArgReduce(c, true); }
Status OnnxArgMin(const OpContext& c) { return ArgReduce(c, false); }

}  // namespace slipway::ops
