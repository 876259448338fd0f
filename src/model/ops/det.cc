// Det: determinants by elimination with partial pivoting, in float64.

#include <cmath>
#include <utility>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

double Determinant(double* a, int64_t n) {
  double det = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i) {
      if (std::fabs(a[i * n + k]) > std::fabs(a[pivot * n + k])) pivot = i;
    }
    const double p = a[pivot * n + k];
    if (p == 0) return 0;
    if (pivot != k) {
      for (int64_t j = k; j < n; ++j) std::swap(a[pivot * n + j], a[k * n + j]);
      det = -det;
    }
    det *= p;
    for (int64_t i = k + 1; i < n; ++i) {
      const double f = a[i * n + k] / p;
      for (int64_t j = k + 1; j < n; ++j) a[i * n + j] -= f * a[k * n + j];
    }
  }
  return det;
}

}  // namespace

Status OnnxDet(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (x.dims.rank() < 2 || x.dims[x.dims.size() - 2] != x.dims.back())
    return InvalidArgument("expects square matrices, got " + x.dims.ToString());
  const int64_t n = x.dims.back(), count = y.count();
  if (count != x.dims.count(0, x.dims.rank() - 2)) return Internal("the output's extent is wrong");
  std::unique_ptr<double[]> matrix;
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(n * n, &matrix));
  auto run = [&]<typename T>() {
    for (int64_t b = 0; b < count; ++b) {
      for (int64_t i = 0; i < n * n; ++i)
        matrix[i] = static_cast<double>(static_cast<Compute<T>>(x.as<const T>()[b * n * n + i]));
      y.as<T>()[b] = static_cast<T>(Determinant(matrix.get(), n));
    }
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
