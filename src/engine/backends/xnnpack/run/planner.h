#pragma once
// Inside of plan.h: what the functions of the operators write with.

#include <span>
#include <string>

#include "base/dims.h"
#include "engine/backends/xnnpack/run/plan.h"
#include "engine/format/layout.h"
#include "model/ops/activation.h"

namespace slipway::xnnpack {

class Planner {
 public:
  Planner(const format::OpDesc& op, const slipway_step& step) : op_(op), step_(step) {}

  const format::OpDesc& op() const { return op_; }
  const ops::Attributes& attributes() const { return op_.attributes; }
  size_t num_inputs() const { return step_.num_inputs; }
  size_t num_outputs() const { return step_.num_outputs; }
  bool Has(size_t i) const { return i < step_.num_inputs && step_.inputs[i].dtype != 0; }
  const slipway_tensor& input(size_t i) const { return step_.inputs[i]; }
  const slipway_tensor& output(size_t i = 0) const { return step_.outputs[i]; }
  DType Type(size_t i) const { return static_cast<DType>(step_.inputs[i].dtype); }
  DType OutputType(size_t i = 0) const { return static_cast<DType>(step_.outputs[i].dtype); }
  bool Last(const slipway_tensor& t) const {
    return t.layout == static_cast<uint32_t>(format::Layout::kChannelsLast);
  }

  static Dims Logical(const slipway_tensor& t) {
    return Dims(std::span(t.dims, static_cast<size_t>(t.rank)));
  }
  Dims In(size_t i) const { return Logical(input(i)); }
  Dims Out(size_t i = 0) const { return Logical(output(i)); }
  // In the order of memory.
  static Dims Physical(const slipway_tensor& t);
  // Where a logical axis lies in memory. Negative axes count from the end; -1 when out of range.
  static int PhysicalAxis(const slipway_tensor& t, int64_t axis);

  // Every tensor: dense, plain or channels last, with room for its elements.
  Status Check() const;
  // Inputs 0 to inputs - 1 and as many outputs are there.
  Status Need(size_t inputs, size_t outputs) const;
  Status NeedType(size_t i, DType type) const;
  Status NeedFloats(size_t inputs) const;  // those that are there
  // Constant with `count` float32 (or given type's) elements; InvalidArgument or Unsupported else.
  Status NeedConstant(size_t i, DType type, int64_t count) const;
  std::span<const float> Floats(size_t i) const {
    return {static_cast<const float*>(input(i).data), static_cast<size_t>(In(i).count())};
  }
  // Elements of a constant of int64 or int32.
  Result<std::vector<int64_t>> Ints(size_t i) const;

  static Place InputAt(size_t i, uint64_t offset = 0) {
    return {Place::kInput, static_cast<uint32_t>(i), offset};
  }
  static Place OutputAt(size_t i = 0) { return {Place::kOutput, static_cast<uint32_t>(i), 0}; }
  Place Workspace(uint64_t bytes);
  Place Own(std::vector<float> values);

  Stage& Add(Kind kind, DType type, Place a, Place y);
  // An elementwise function of floats.
  void AddUnary(Unary unary, Place a, Place y, int64_t count, float low = 0, float high = 0,
                float alpha = 0);
  void AddBinary(Binary binary, Place a, const Dims& a_dims, Place b, const Dims& b_dims, Place y,
                 float low, float high);
  void AddFlip(Place a, Place y, int64_t count);

  // What lies behind the sums: a clamp that the operator itself may do, then functions.
  struct Tail {
    float low, high;
    ops::Activation function;  // kNone: the clamp says all
  };
  // Unsupported: a function that XNNPACK does not have.
  static Result<Tail> Split(const ops::Activation& activation);
  Status AddTail(const Tail& tail, Place at, int64_t count);

  // The window of a node over X and Y (or the two exchanged), in the stage. `floor`: extents fit.
  Status SetWindow(Stage& stage, const ops::Window& window, bool pool);

  // Codes as int8 with their zero point; flips what is uint8 into the workspace.
  struct Codes {
    Place at;
    int32_t zero;
  };
  Result<Codes> Signed(size_t i, const char* zero_point);
  // Sets the output's clamp and zero point in the stage, as for int8. Returns whether it must be
  // flipped afterwards. Unsupported: float32 outputs.
  Result<bool> SetCodes(Stage& stage);

  // Finishes the last stage with a function that may add more (stages move then).
  Status FinishLast(Status (*finish)(Planner&, Stage&, size_t residual), size_t residual) {
    const size_t last = plan_.stages.size() - 1;
    Stage main = plan_.stages[last];
    SLIPWAY_RETURN_IF_ERROR(finish(*this, main, residual));
    plan_.stages[last] = std::move(main);
    return OkStatus();
  }

  Plan Take() { return std::move(plan_); }

 private:
  const format::OpDesc& op_;
  const slipway_step& step_;
  Plan plan_;
};

bool IsNormal(float f);  // positive and normal

// Two operands in memory order that broadcast to y, in as few dimensions as say so.
struct Operands {
  Dims a, b;
};
Result<Operands> Broadcast(const Dims& a, const Dims& b, const Dims& y);

Status PlanConv(Planner&);
Status PlanDeconv(Planner&);
Status PlanConvDepthwise(Planner&);
Status PlanSqueezeExcite(Planner&);
Status PlanLinear(Planner&);
Status PlanAttention(Planner&);
Status PlanPool(Planner&);
Status PlanGlobalPool(Planner&);
Status PlanQConv(Planner&);
Status PlanQLinear(Planner&);
Status PlanQAveragePool(Planner&);
Status PlanQBinary(Planner&);
Status PlanUnary(Planner&);
Status PlanBinary(Planner&);
Status PlanPRelu(Planner&);
Status PlanSoftmax(Planner&);
Status PlanConcat(Planner&);
Status PlanSplit(Planner&);
Status PlanSlice(Planner&);
Status PlanPad(Planner&);
Status PlanResize(Planner&);
Status PlanGather(Planner&);
Status PlanDepthToSpace(Planner&);
Status PlanView(Planner&);
Status PlanQuantize(Planner&);

}  // namespace slipway::xnnpack
