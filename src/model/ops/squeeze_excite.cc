// slipway.SqueezeExcite: the channels of an image times factors that two small products make of
// their means.

#include "model/ops/activation.h"
#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

// y[i] = act(sum over k of w[i, k] * x[k] + b[i])
template <typename T>
void Product(const TensorView& w, const TensorView* bias, const Activation& act, const T* x,
             int64_t n, int64_t k, T* y) {
  const T* row = w.as<const T>();
  for (int64_t i = 0; i < n; ++i, row += k) {
    T sum = bias ? bias->as<const T>()[i] : T{0};
    for (int64_t j = 0; j < k; ++j) sum += row[j] * x[j];
    y[i] = static_cast<T>(act.Apply(static_cast<float>(sum)));
  }
}

template <typename T>
Status Run(const OpContext& c, const Activation& act, const Activation& gate) {
  const TensorView &x = c.inputs[0], &w1 = c.inputs[1], &w2 = c.inputs[2];
  const int64_t channels = x.dims[1], hidden = w1.dims[0], pixels = x.dims.count(2, x.dims.rank());
  std::unique_ptr<T[]> room;
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(channels + hidden, &room));
  T *means = room.get(), *inner = means + channels;
  for (int64_t n = 0; n < x.dims[0]; ++n) {
    const T* px = x.as<const T>() + n * channels * pixels;
    T* py = c.outputs[0].as<T>() + n * channels * pixels;
    for (int64_t i = 0; i < channels; ++i) {
      T sum = 0;
      for (int64_t p = 0; p < pixels; ++p) sum += px[i * pixels + p];
      means[i] = sum / static_cast<T>(pixels);
    }
    Product(w1, c.Has(3) ? &c.inputs[3] : nullptr, act, means, hidden, channels, inner);
    Product(w2, c.Has(4) ? &c.inputs[4] : nullptr, gate, inner, channels, hidden, means);
    for (int64_t i = 0; i < channels; ++i) {
      for (int64_t p = 0; p < pixels; ++p) py[i * pixels + p] = px[i * pixels + p] * means[i];
    }
  }
  return OkStatus();
}

Status RunFloats(const OpContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const Activation act, ParseActivation(*c.attributes));
  SLIPWAY_ASSIGN_OR_RETURN(const Activation gate,
                           ParseActivation(*c.attributes, "gate", "gate_params", "Sigmoid"));
  return c.inputs[0].dtype == DType::kFloat64 ? Run<double>(c, act, gate)
                                              : Run<float>(c, act, gate);
}

}  // namespace

Status SlipwaySqueezeExcite(const OpContext& c) {
  if (c.outputs[0].count() == 0) return OkStatus();
  return RunFloat(c, c.inputs[0].dtype, RunFloats);
}

}  // namespace slipway::ops
