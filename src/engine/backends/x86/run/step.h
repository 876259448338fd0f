#pragma once
// What the operators of this backend are made of: a build function reads the step at concrete
// shapes, checks everything and leaves behind a function to run.

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/checked.h"
#include "base/dims.h"
#include "base/dtype.h"
#include "base/parallel.h"
#include "base/status.h"
#include "engine/format/layout.h"
#include "engine/format/op_desc.h"
#include "engine/kernels/simd/isa.h"
#include "slipway/backend.h"

namespace slipway::backends::x86 {

using format::Layout;

struct RunContext {
  const slipway_tensor* inputs;
  const slipway_tensor* outputs;
  Parallel& parallel;
  void* workspace;

  template <typename T>
  const T* in(size_t i) const {
    return static_cast<const T*>(inputs[i].data);
  }
  template <typename T>
  T* out(size_t i = 0) const {
    return static_cast<T*>(outputs[i].data);
  }
};
using RunFunction = std::function<Status(const RunContext&)>;

// What the sessions of a package share of one step: packed weights, made by the first of them.
struct SharedState {
  std::mutex mutex;
  std::shared_ptr<const void> value;
};

// Weights (input 1) as a kernel reads them.
struct PackedWeights {
  std::string form;
  const uint8_t* data = nullptr;  // 64-byte aligned; the package's, or `own`
  int64_t bytes = 0;
  AlignedBuffer own;

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data);
  }
};
using PackedWeightsPtr = std::shared_ptr<const PackedWeights>;

// How a step says that its package holds weights in packed form: attributes with their form, the
// instruction set they are for, and the shape and type of input 1, which is absent; the packed
// bytes are a constant input behind the others.
inline constexpr char kPackedForm[] = "packed_form", kPackedIsa[] = "packed_isa",
                      kPackedDims[] = "packed_dims", kPackedType[] = "packed_type";

// Whether steps of float16 run here; others are only tried, for 64-bit ARM. What they run is left out
// of the runtime of other processors.
#if defined(__aarch64__)
inline constexpr bool kRunsFloat16 = true;
#else
inline constexpr bool kRunsFloat16 = false;
#endif

class Builder {
 public:
  // Without `shared` the step is only tried.
  Builder(const format::OpDesc& op, const slipway_step& step, int threads,
          SharedState* shared = nullptr)
      : op_(op), step_(step), threads_(threads), shared_(shared) {}
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  // Finds the packed weights that the package holds, if any, and checks them as far as that can be
  // done without their kernel. First of all calls.
  Status Open();
  // DataLoss when the package holds packed weights that the step, once built, does not read.
  Status Close() const;
  // To pack for another CPU of x86-64.
  void SetIsa(kernels::Isa isa) { isa_ = isa; }
  // Whether a step that is only tried may be of float16.
  void SetFloat16(bool may) { float16_ = may; }

  const std::string& op() const { return op_.op; }
  bool IsSlipway() const { return op_.domain == "slipway"; }
  const ops::Attributes& attributes() const { return op_.attributes; }
  int threads() const { return threads_; }
  // The best of the CPU, or what the package's weights are packed for.
  kernels::Isa isa() const { return isa_; }

  size_t num_inputs() const { return step_.num_inputs; }
  size_t num_outputs() const { return step_.num_outputs; }
  bool Has(size_t i) const { return i < step_.num_inputs && step_.inputs[i].dtype != 0; }
  const slipway_tensor& input(size_t i) const { return step_.inputs[i]; }
  const slipway_tensor& output(size_t i = 0) const { return step_.outputs[i]; }
  Dims in_dims(size_t i = 0) const { return DimsOf(step_.inputs[i]); }
  Dims out_dims(size_t i = 0) const { return DimsOf(step_.outputs[i]); }
  DType in_type(size_t i = 0) const { return static_cast<DType>(step_.inputs[i].dtype); }
  DType out_type(size_t i = 0) const { return static_cast<DType>(step_.outputs[i].dtype); }
  Layout in_layout(size_t i = 0) const { return static_cast<Layout>(step_.inputs[i].layout); }
  Layout out_layout(size_t i = 0) const { return static_cast<Layout>(step_.outputs[i].layout); }
  static Dims DimsOf(const slipway_tensor& t) {
    return Dims(std::span(t.dims, static_cast<size_t>(t.rank)));
  }
  // Elements in memory, the padding of blocked layouts included.
  int64_t Physical(const slipway_tensor& t) const;

  // InvalidArgument when inputs [0, inputs) or outputs [0, outputs) are missing.
  Status Need(size_t inputs, size_t outputs = 1) const;
  // Unsupported unless input i (output 0) has this type.
  Status NeedType(size_t i, DType type) const;
  // Unsupported for float16 on other processors than 64-bit ARM, or as SetFloat16 says. Kernels may
  // then still be null, when a step for ARM is tried elsewhere.
  Status NeedHalf(DType type) const;
  // Unsupported unless every present tensor is plain.
  Status NeedPlain() const;
  // InvalidArgument unless input i has the shape and layout of the output.
  Status NeedLikeOutput(size_t i) const;
  // The elements of a constant int64 or int32 input. Unsupported when it is not constant.
  Result<std::vector<int64_t>> Ints(size_t i) const;
  // The constant float32 or float16 scalar at input i, or the fallback when absent. Unsupported when not
  // constant.
  Result<float> Scalar(size_t i, float fallback) const;
  // The constant data of input i, or null.
  const void* ConstantData(size_t i) const {
    return Has(i) && step_.inputs[i].is_constant ? step_.inputs[i].data : nullptr;
  }
  // axis in [-rank, rank) -> [0, rank).
  static Result<int> Axis(int64_t axis, int rank);

  // Whether the weights (input 1) are constant, packed or not: Packed can then be called.
  bool HasWeights() const { return stored_.data || ConstantData(1); }
  // The weights as a kernel reads them: from the package when it holds them so, else made once for
  // the step's sessions by `pack`, which fills `bytes` bytes (uninitialised) from input 1's data.
  // Their content may depend on constants, attributes, isa() and layouts only; `form` names the
  // kernel's way to lay them out and what else that depends on ("winograd4:16"), and is kept
  // forever, or answered with a conversion. Null in a probe.
  Result<PackedWeightsPtr> Packed(const std::string& form, int64_t bytes,
                                  const std::function<Status(const void* raw, uint8_t* to)>& pack);
  // What Packed made, if anything.
  const PackedWeightsPtr& made() const { return made_; }

  // The value that the step's sessions share; `make`, a function to Result<shared_ptr<const T>>,
  // makes it for the first. It may depend on constants and attributes only. Null in a probe.
  template <typename T, typename F>
  Result<std::shared_ptr<const T>> Shared(F&& make) {
    if (!shared_) return std::shared_ptr<const T>();
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->value) {
      Result<std::shared_ptr<const T>> made = make();
      if (!made.ok()) return made.status();
      shared_->value = std::move(*made);
    }
    return std::static_pointer_cast<const T>(shared_->value);
  }

  void Run(RunFunction f) { run_ = std::move(f); }
  void Workspace(uint64_t bytes) { workspace_ = bytes; }
  // Output 0 is input 0's bytes; run then only copies when they lie apart.
  void SetView() { view_ = true; }

  RunFunction TakeRun() { return std::move(run_); }
  uint64_t workspace() const { return workspace_; }
  bool view() const { return view_; }

 private:
  const format::OpDesc& op_;
  slipway_step step_;
  std::vector<slipway_tensor> inputs_;  // with input 1 as if it were there
  int threads_;
  kernels::Isa isa_ = kernels::BestIsa();
  slipway_tensor stored_{};  // the package's packed weights
  std::string stored_form_;
  PackedWeightsPtr made_;
  SharedState* shared_;
  RunFunction run_;
  uint64_t workspace_ = 0;
  bool view_ = false;
  bool float16_ = kRunsFloat16;
};

// The types whose numbers become float32 on their way through kernels.
inline bool IsHalf(DType type) { return type == DType::kBFloat16 || type == DType::kFloat16; }

using BuildFunction = Status (*)(Builder&);

// Null when there is no such operator.
BuildFunction FindBuild(const format::OpDesc& op);

Status BuildUnary(Builder&);
Status BuildBinary(Builder&);
Status BuildVariadic(Builder&);
Status BuildWhere(Builder&);
Status BuildCast(Builder&);
Status BuildQBinary(Builder&);
Status BuildMulQuantize(Builder&);
Status BuildSoftmax(Builder&);
Status BuildLayerNorm(Builder&);
Status BuildGroupNorm(Builder&);
Status BuildBatchNorm(Builder&);
Status BuildReduce(Builder&);
Status BuildGlobalPool(Builder&);
Status BuildPool(Builder&);
Status BuildSqueezeExcite(Builder&);
Status BuildResize(Builder&);
Status BuildTranspose(Builder&);
Status BuildConcat(Builder&);
Status BuildSplit(Builder&);
Status BuildSlice(Builder&);
Status BuildPad(Builder&);
Status BuildGather(Builder&);
Status BuildExpand(Builder&);
Status BuildTile(Builder&);
Status BuildDepthToSpace(Builder&);
Status BuildView(Builder&);
Status BuildQuantize(Builder&);
Status BuildDequantize(Builder&);
Status BuildQRescale(Builder&);
Status BuildQLookup(Builder&);
Status BuildQAveragePool(Builder&);
Status BuildQMaxPool(Builder&);
Status BuildQAffine(Builder&);
Status BuildQMatMul(Builder&);
Status BuildQAttention(Builder&);
Status BuildQLayerNorm(Builder&);
Status BuildQConv(Builder&);
Status BuildQLinear(Builder&);
Status BuildLinearNBits(Builder&);
Status BuildQConvBits(Builder&);
Status BuildQLinearBits(Builder&);
Status BuildLinear(Builder&);
Status BuildRecurrent(Builder&);
Status BuildAttention(Builder&);
Status BuildConv(Builder&);
Status BuildConvTranspose(Builder&);
Status BuildConvDepthwise(Builder&);
Status BuildGemm(Builder&);
Status BuildMatMul(Builder&);
Status BuildDepthwise(Builder&);
Status BuildQDepthwise(Builder&);

}  // namespace slipway::backends::x86
