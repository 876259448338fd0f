#pragma once
// What the few kernels need that cannot work inside their outputs alone: memory of their own, and a
// way to run 16-bit floats through float32 code; and what shape functions read sizes with.

#include <cstddef>
#include <memory>
#include <new>
#include <string>

#include "model/ops/kernel.h"

namespace slipway::ops {

// n uninitialised elements; ResourceExhausted when there is no memory for them.
template <typename T>
Status AllocateScratch(int64_t n, std::unique_ptr<T[]>* out) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (n >= 0 && n < kMost / static_cast<int64_t>(sizeof(T))) {
    out->reset(new (std::nothrow) T[static_cast<size_t>(n > 0 ? n : 1)]);
  }
  if (*out) return OkStatus();
  return Status(StatusCode::kResourceExhausted,
                "no memory for " + std::to_string(n) + " elements of scratch space");
}

// A size that an input holds: element i, which must be int64 or int32 and lie in [least, 2^40].
Status SizeAt(const TensorView& t, int64_t i, int64_t least, const char* what, int64_t* out);

// Runs `kernel` on float32 copies of the float16 and bfloat16 operands and rounds its results back;
// operands of other types are passed through.
Status RunAsFloat32(const OpContext& c, Kernel kernel);

// `kernel` for float32 and float64 data in `type`, through RunAsFloat32 for the 16-bit floats;
// Unsupported for everything else.
Status RunFloat(const OpContext& c, DType type, Kernel kernel);

}  // namespace slipway::ops
