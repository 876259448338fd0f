// Comparisons, logic and Where, with broadcasting.

#include <limits>

#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

struct LessOp {
  template <typename T>
  bool operator()(T a, T b) const {
    return a < b;
  }
};
struct LessOrEqualOp {
  template <typename T>
  bool operator()(T a, T b) const {
    return a <= b;
  }
};

Status CheckTypes(const OpContext& c) {
  if (c.inputs[0].dtype == c.inputs[1].dtype) return OkStatus();
  return InvalidArgument(std::string("inputs have different element types: ") +
                         DTypeName(c.inputs[0].dtype) + " and " + DTypeName(c.inputs[1].dtype) +
                         "; insert a Cast");
}

// f(a, b); `swap` exchanges the inputs, so that a > b is b < a.
template <typename F>
Status Compare(const OpContext& c, F f, bool swap = false) {
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(c));
  const DType t = c.inputs[0].dtype;
  const TensorView &left = c.inputs[swap ? 1 : 0], &right = c.inputs[swap ? 0 : 1];
  auto run = [&]<typename T>() {
    BroadcastBinary<T, T, uint8_t>(c, left, right, c.outputs[0], [f](T a, T b) {
      return static_cast<uint8_t>(f(static_cast<Compute<T>>(a), static_cast<Compute<T>>(b)));
    });
  };
  if (!DispatchNumber(t, run)) return NoKernel(t);
  return OkStatus();
}

template <typename F>
Status Logic(const OpContext& c, F f) {
  for (const TensorView& in : c.inputs) {
    if (in.dtype != DType::kBool)
      return InvalidArgument(std::string("inputs must be bool, not ") + DTypeName(in.dtype));
  }
  BroadcastBinary<uint8_t, uint8_t, uint8_t>(
      c, c.inputs[0], c.inputs[1], c.outputs[0],
      [f](uint8_t a, uint8_t b) { return static_cast<uint8_t>(f(a != 0, b != 0)); });
  return OkStatus();
}

}  // namespace

Status OnnxAnd(const OpContext& c) {
  return Logic(c, [](bool a, bool b) { return a && b; });
}
Status OnnxOr(const OpContext& c) {
  return Logic(c, [](bool a, bool b) { return a || b; });
}
Status OnnxXor(const OpContext& c) {
  return Logic(c, [](bool a, bool b) { return a != b; });
}
Status OnnxEqual(const OpContext& c) {
  if (c.inputs[0].dtype == DType::kBool && c.inputs[1].dtype == DType::kBool) {
    return Logic(c, [](bool a, bool b) { return a == b; });
  }
  return Compare(c, [](auto a, auto b) { return a == b; });
}
Status OnnxLess(const OpContext& c) { return Compare(c, LessOp{}); }
Status OnnxLessOrEqual(const OpContext& c) { return Compare(c, LessOrEqualOp{}); }
Status OnnxGreater(const OpContext& c) { return Compare(c, LessOp{}, true); }
Status OnnxGreaterOrEqual(const OpContext& c) { return Compare(c, LessOrEqualOp{}, true); }

namespace {

template <typename F>
Status Predicate(const OpContext& c, F f) {
  const TensorView& x = c.inputs[0];
  auto run = [&]<typename T>() {
    uint8_t* y = c.outputs[0].as<uint8_t>();
    For(c, x.count(), kElementGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = f(static_cast<Compute<T>>(x.as<const T>()[i]));
    });
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace

Status OnnxIsNaN(const OpContext& c) {
  return Predicate(c, [](auto x) { return x != x; });
}
Status OnnxIsInf(const OpContext& c) {
  const bool negative = c.attributes->Int("detect_negative", 1) != 0,
             positive = c.attributes->Int("detect_positive", 1) != 0;
  return Predicate(c, [=](auto x) {
    constexpr auto inf = std::numeric_limits<decltype(x)>::infinity();
    return (positive && x == inf) || (negative && x == -inf);
  });
}

Status OnnxWhere(const OpContext& c) {
  const TensorView &cond = c.inputs[0], &a = c.inputs[1], &b = c.inputs[2], &y = c.outputs[0];
  if (cond.dtype != DType::kBool) return InvalidArgument("the condition must be bool");
  if (a.dtype != b.dtype) return InvalidArgument("X and Y have different element types");
  if (y.count() == 0) return OkStatus();
  auto run = [&]<typename T>() {
    const Dims* const inputs[3] = {&cond.dims, &a.dims, &b.dims};
    const auto plan = BroadcastPlan<3>::Make(y.dims, inputs);
    const int64_t s0 = plan.strides[0][0], s1 = plan.strides[1][0], s2 = plan.strides[2][0];
    For(c, y.count(), kElementGrain, [&](int64_t begin, int64_t end) {
      plan.Rows(begin, end, [&](int64_t at, int64_t n, const int64_t* offsets) {
        const uint8_t* pc = cond.as<const uint8_t>() + offsets[0];
        const T* pa = a.as<const T>() + offsets[1];
        const T* pb = b.as<const T>() + offsets[2];
        T* py = y.as<T>() + at;
        for (int64_t i = 0; i < n; ++i) py[i] = pc[i * s0] ? pa[i * s1] : pb[i * s2];
      });
    });
  };
  if (!DispatchSize(a.dtype, run)) return NoKernel(a.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
