#pragma once
// One stage of a plan as an operator of XNNPACK.

#include <pthreadpool.h>
#include <xnnpack.h>

#include <utility>

#include "engine/backends/xnnpack/run/plan.h"

namespace slipway::xnnpack {

// For one thread at a time.
class Operator {
 public:
  // Packs the stage's weights, from the constants of `step`; those may go afterwards. Unsupported:
  // what this XNNPACK does not take.
  static Result<Operator> Make(const Stage& stage, const slipway_step& step);
  Operator(Operator&& other) noexcept
      : stage_(other.stage_), handle_(std::exchange(other.handle_, nullptr)) {}
  Operator& operator=(Operator&&) = delete;
  ~Operator();

  // Where its operands lie from now on. Allocates the first time only.
  Status Bind(const void* a, const void* b, void* y, pthreadpool_t pool);
  Status Run(pthreadpool_t pool);

 private:
  explicit Operator(const Stage& stage) : stage_(&stage) {}
  Status Create(const slipway_step& step);
  Status Multiply(pthreadpool_t pool);
  xnn_status Setup(const void* a, const void* b, void* y, pthreadpool_t pool);

  const Stage* stage_;  // the plan's, which outlives it
  xnn_operator_t handle_ = nullptr;
  const void *a_ = nullptr, *b_ = nullptr, *y_ = nullptr;
};

}  // namespace slipway::xnnpack
