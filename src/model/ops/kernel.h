#pragma once
// The plain-loop kernel of every operator: the one definition of what an operator means. Kernels read their inputs, write
// outputs whose extent the caller has already inferred and allocated, and allocate nothing themselves.

#include <span>
#include <string_view>

#include "base/status.h"
#include "base/parallel.h"
#include "model/ops/attributes.h"
#include "model/ops/tensor_view.h"

namespace slipway::ops {

struct OpContext {
  std::span<const TensorView> inputs;   // as many as the node has; absent optional ones have present() == false
  std::span<const TensorView> outputs;  // likewise; `dims` hold the inferred extent
  const Attributes* attributes = nullptr;
  Parallel* pool = nullptr;  // may be null: run on the calling thread

  bool Has(size_t i) const { return i < inputs.size() && inputs[i].present(); }
};

// Errors: Unsupported (an element type or attribute value without a kernel: named), InvalidArgument (data that the operator
// forbids, for example an index out of range). Shapes have been checked by inference before.
using Kernel = Status (*)(const OpContext&);

struct KernelEntry {
  const char* domain;  // "" = ai.onnx, "slipway" = ours
  const char* name;
  Kernel kernel;
};

// Every operator of operators.inc.
std::span<const KernelEntry> Kernels();
// Null when there is no such operator.
Kernel FindKernel(std::string_view domain, std::string_view name);

// Runs body(begin, end) over [0, count) on the pool, or on this thread when there is none.
template <typename F>
void For(const OpContext& c, int64_t count, int64_t grain, F&& body) {
  if (c.pool) {
    c.pool->ParallelFor(count, grain, body);
  } else if (count > 0) {
    body(int64_t{0}, count);
  }
}

}  // namespace slipway::ops
