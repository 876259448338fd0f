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

class CustomOp;

// What computes a node. Errors: Unsupported (an element type or attribute value without a kernel: named), InvalidArgument
// (data that the operator forbids, for example an index out of range). Shapes have been checked by inference before.
class Kernel {
 public:
  using Function = Status (*)(const OpContext&);
  using OfPlugin = Status (*)(const OpContext&, const CustomOp&);
  constexpr Kernel(Function function = nullptr) : function_(function) {}                   // NOLINT
  constexpr Kernel(OfPlugin function, const CustomOp& op) : plugin_(function), op_(&op) {}

  explicit operator bool() const { return function_ || plugin_; }
  Status operator()(const OpContext& c) const { return op_ ? plugin_(c, *op_) : function_(c); }
 private:
  Function function_ = nullptr;
  OfPlugin plugin_ = nullptr;  // an operator that a plugin has brought (custom.h)
  const CustomOp* op_ = nullptr;
};

// The extents of an operator's outputs as a function of its inputs: for operators whose extents depend on the DATA of an
// input (NonZero, Reshape by a computed shape, ...). `c.inputs` give type and extent of every present input, and the data
// of those that the table names (shapes.inc); `c.outputs` give how many outputs the node has and which are present, nothing
// else. Writes one Dims for each. Allocates nothing. Errors: InvalidArgument says what is wrong with the values.
// The runtime calls it in the middle of a run, inference (model/ir) when the inputs are known: it trusts nothing.
using ShapeFunction = Status (*)(const OpContext&, std::span<Dims> outputs);

struct ShapeEntry {
  const char* domain;
  const char* name;
  ShapeFunction function;
  uint32_t data;  // bit i: the data of input i is read (when it is present)

  bool ReadsData(size_t i) const { return i < 32 && (data >> i & 1) != 0; }
};

// Every operator of shapes.inc.
std::span<const ShapeEntry> ShapeFunctions();
// Null when the extents of the operator's outputs never depend on data, or when it has no shape function.
const ShapeEntry* FindShapeFunction(std::string_view domain, std::string_view name);

struct KernelEntry {
  const char* domain;  // "" = ai.onnx, "slipway" = ours
  const char* name;
  Kernel::Function kernel;
};

// Every operator of operators.inc.
std::span<const KernelEntry> Kernels();
// Empty when there is no such operator, in the table or from a plugin.
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
