#pragma once
// What an operator kernel sees of a tensor: type, extent and dense row-major memory that somebody else owns.

#include <cstdint>
#include <span>

#include "base/dims.h"
#include "base/dtype.h"

namespace slipway::ops {

struct TensorView {
  DType dtype = DType::kUndefined;  // kUndefined: an optional input or output that is absent
  Dims dims;
  void* data = nullptr;  // 64-byte aligned for planned tensors, element aligned at least; null when count() is 0

  bool present() const { return dtype != DType::kUndefined; }
  int64_t count() const { return dims.count(); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace slipway::ops
