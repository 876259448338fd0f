// MatMul, Gemm and the fused slipway.Linear. Integers wrap; 16-bit floats accumulate in float32.

#include "model/ops/activation.h"
#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"
#include "model/ops/tiled_gemm.h"

namespace slipway::ops {
namespace {

// Matrix element (i, j) lies at i * row + j * column.
struct Strides {
  int64_t row, column;
};

template <typename T, typename C>
void PackRow(const T* from, int64_t stride, int n, C* to) {
  if (stride == 1) {
    for (int r = 0; r < n; ++r) to[r] = static_cast<C>(from[r]);
  } else {
    for (int r = 0; r < n; ++r) to[r] = static_cast<C>(from[r * stride]);
  }
}

// B[k0 + r][j + c] -> to[r * kTile + c], read along B's memory order.
template <typename T, typename C>
void PackTile(const T* b, Strides s, int64_t j, int n, int64_t k, int kn, C* to) {
  const T* from = b + k * s.row + j * s.column;
  if (s.column == 1) {
    for (int r = 0; r < kn; ++r) PackRow(from + r * s.row, 1, n, to + r * kTile);
  } else {
    for (int col = 0; col < n; ++col) {
      const T* line = from + col * s.column;
      for (int r = 0; r < kn; ++r) to[r * kTile + col] = static_cast<C>(line[r * s.row]);
    }
  }
}

template <typename T>
struct MatMulTypes {
  using Acc = Compute<T>;
};
template <>
struct MatMulTypes<int32_t> {
  using Acc = uint32_t;  // wraps instead of overflowing
};
template <>
struct MatMulTypes<int64_t> {
  using Acc = uint64_t;
};

template <typename F>
bool DispatchMatMul(DType t, F&& f) {
  return DispatchFloat(t, f) || Dispatch<int32_t, int64_t, uint32_t, uint64_t>(t, f);
}

template <typename T>
void MatMul(const OpContext& c, const TensorView& a, const TensorView& b, const TensorView& y) {
  using Acc = typename MatMulTypes<T>::Acc;
  const int ra = a.dims.rank(), rb = b.dims.rank();
  const int64_t k = a.dims.back();
  const int64_t m = ra > 1 ? a.dims[static_cast<size_t>(ra - 2)] : 1;
  const int64_t n = rb > 1 ? b.dims.back() : 1;
  // Batch extents, broadcast; the output has the matrix dimensions only where the operand has them.
  Dims batch_a(std::span(a.dims).first(static_cast<size_t>(std::max(ra - 2, 0))));
  Dims batch_b(std::span(b.dims).first(static_cast<size_t>(std::max(rb - 2, 0))));
  const int matrix_dims = (ra > 1 ? 1 : 0) + (rb > 1 ? 1 : 0);
  Dims batch_y(std::span(y.dims).first(static_cast<size_t>(y.dims.rank() - matrix_dims)));
  int64_t batches = batch_y.count(), rows = m;
  const T* pa = a.as<const T>();
  const T* pb = b.as<const T>();
  T* py = y.as<T>();
  if (batch_b.count() == 1 &&
      batch_a.count() == batches) {  // one right side: all rows in one product
    rows = m * batches;
    batches = batches == 0 ? 0 : 1;
    batch_y = batch_a = batch_b = Dims{};
  }
  const Dims* const inputs[2] = {&batch_a, &batch_b};
  const auto plan = BroadcastPlan<2>::Make(batch_y, inputs);
  auto offset = [&](int which, int64_t batch) {
    int64_t at = 0;
    for (int d = 0; d < plan.rank; ++d) {
      at += batch % plan.dims[d] * plan.strides[which][d];
      batch /= plan.dims[d];
    }
    return at;
  };
  TiledGemm<Acc, Acc>(
      c, batches, rows, n, k,
      [&](int64_t batch, int64_t i, int64_t k0, int kn, Acc* to) {
        PackRow(pa + (offset(0, batch) * m + i) * k + k0, 1, kn, to);
      },
      [&](int64_t batch, int64_t j, int nn, int64_t k0, int kn, Acc* to) {
        PackTile(pb + offset(1, batch) * k * n, Strides{n, 1}, j, nn, k0, kn, to);
      },
      [&](int64_t batch, int64_t i, int64_t j, int nn, const Acc* row) {
        T* to = py + (batch * rows + i) * n + j;
        for (int r = 0; r < nn; ++r) to[r] = static_cast<T>(row[r]);
      });
}

template <typename T>
void Gemm(const OpContext& c, bool trans_a, bool trans_b, float alpha, float beta) {
  using Acc = typename MatMulTypes<T>::Acc;
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  const int64_t m = y.dims[0], n = y.dims[1], k = a.dims[trans_a ? 0 : 1];
  const Strides sa = trans_a ? Strides{1, m} : Strides{k, 1};
  const Strides sb = trans_b ? Strides{1, k} : Strides{n, 1};
  const T* pa = a.as<const T>();
  const T* pb = b.as<const T>();
  const T* pc = c.Has(2) ? c.inputs[2].as<const T>() : nullptr;
  int64_t c_row = 0, c_column = 0;
  if (pc) {
    const Dims& d = c.inputs[2].dims;
    const int64_t width = d.rank() >= 1 ? d.back() : 1;
    c_column = width > 1 ? 1 : 0;
    c_row = d.rank() >= 2 && d[static_cast<size_t>(d.rank() - 2)] > 1 ? width : 0;
  }
  T* py = y.as<T>();
  TiledGemm<Acc, Acc>(
      c, 1, m, n, k,
      [&](int64_t, int64_t i, int64_t k0, int kn, Acc* to) {
        PackRow(pa + i * sa.row + k0 * sa.column, sa.column, kn, to);
      },
      [&](int64_t, int64_t j, int nn, int64_t k0, int kn, Acc* to) {
        PackTile(pb, sb, j, nn, k0, kn, to);
      },
      [&](int64_t, int64_t i, int64_t j, int nn, const Acc* row) {
        T* to = py + i * n + j;
        for (int r = 0; r < nn; ++r) {
          Acc v = row[r];
          if (alpha != 1.0f) {
            if constexpr (kIsFloat<T>) {
              v *= static_cast<Acc>(alpha);
            } else {  // factors that are no integers still mean what they say
              v = static_cast<Acc>(
                  static_cast<int64_t>(static_cast<double>(static_cast<T>(v)) * alpha));
            }
          }
          if (pc) {
            const Acc bias = static_cast<Acc>(pc[i * c_row + (j + r) * c_column]);
            if constexpr (kIsFloat<T>) {
              v += static_cast<Acc>(beta) * bias;
            } else {
              v += beta == 1.0f ? bias
                                : static_cast<Acc>(static_cast<int64_t>(
                                      static_cast<double>(static_cast<T>(bias)) * beta));
            }
          }
          to[r] = static_cast<T>(v);
        }
      });
}

template <typename T>
void Linear(const OpContext& c, bool trans_w, const Activation& act) {
  using Acc = Compute<T>;
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  const int64_t k = x.dims.back(), n = y.dims.back(), m = n == 0 ? 0 : y.count() / n;
  const Strides sw = trans_w ? Strides{1, k} : Strides{n, 1};
  const T* px = x.as<const T>();
  const T* pw = w.as<const T>();
  const T* bias = c.Has(2) ? c.inputs[2].as<const T>() : nullptr;
  const T* residual = c.Has(3) ? c.inputs[3].as<const T>() : nullptr;
  T* py = y.as<T>();
  TiledGemm<Acc, Acc>(
      c, 1, m, n, k,
      [&](int64_t, int64_t i, int64_t k0, int kn, Acc* to) { PackRow(px + i * k + k0, 1, kn, to); },
      [&](int64_t, int64_t j, int nn, int64_t k0, int kn, Acc* to) {
        PackTile(pw, sw, j, nn, k0, kn, to);
      },
      [&](int64_t, int64_t i, int64_t j, int nn, const Acc* row) {
        for (int r = 0; r < nn; ++r) {
          const int64_t at = i * n + j + r;
          Acc v = row[r];
          if (bias) v += static_cast<Acc>(bias[j + r]);
          if (residual) v += static_cast<Acc>(residual[at]);
          if (act.kind != ActivationKind::kNone)
            v = static_cast<Acc>(act.Apply(static_cast<float>(v)));
          py[at] = static_cast<T>(v);
        }
      });
}

Status SameType(const TensorView& a, const TensorView& b) {
  if (a.dtype == b.dtype) return OkStatus();
  return InvalidArgument(std::string("operands have different element types: ") +
                         DTypeName(a.dtype) + " and " + DTypeName(b.dtype));
}

}  // namespace

Status OnnxMatMul(const OpContext& c) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(SameType(a, b));
  if (a.dims.rank() < 1 || b.dims.rank() < 1)
    return InvalidArgument("operands must have at least one dimension");
  if (!DispatchMatMul(a.dtype, [&]<typename T>() { MatMul<T>(c, a, b, y); }))
    return NoKernel(a.dtype);
  return OkStatus();
}

Status OnnxGemm(const OpContext& c) {
  if (c.outputs[0].count() == 0) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(SameType(c.inputs[0], c.inputs[1]));
  if (c.Has(2)) SLIPWAY_RETURN_IF_ERROR(SameType(c.inputs[0], c.inputs[2]));
  const Attributes& at = *c.attributes;
  const bool ta = at.Int("transA", 0) != 0, tb = at.Int("transB", 0) != 0;
  const float alpha = at.Float("alpha", 1), beta = at.Float("beta", 1);
  const DType t = c.inputs[0].dtype;
  if (!DispatchMatMul(t, [&]<typename T>() { Gemm<T>(c, ta, tb, alpha, beta); }))
    return NoKernel(t);
  return OkStatus();
}

Status SlipwayLinear(const OpContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const Activation act, ParseActivation(*c.attributes));
  if (c.outputs[0].count() == 0) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(SameType(c.inputs[0], c.inputs[1]));
  const bool trans = c.attributes->Int("transW", 0) != 0;
  const DType t = c.inputs[0].dtype;
  if (!DispatchFloat(t, [&]<typename T>() { Linear<T>(c, trans, act); })) return NoKernel(t);
  return OkStatus();
}

}  // namespace slipway::ops
