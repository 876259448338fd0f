#pragma once
// What the operators of this backend are made of: a Program (one step of a package, with its
// reordered weights) and a Bound (that step at concrete shapes: a few primitives and where their
// memories come from).

#include <array>
#include <list>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/dims.h"
#include "base/dtype.h"
#include "base/status.h"
#include "engine/format/layout.h"
#include "engine/format/op_desc.h"
#include "engine/kernels/eltwise/eltwise.h"
#include "model/ops/activation.h"
#include "slipway/backend.h"

namespace slipway::backends::onednn {

using MemoryDesc = dnnl::memory::desc;

const dnnl::engine& Engine();

class Builder;
using BuildFunction = Status (*)(Builder&);

// A weight tensor in the order a primitive wants, shared by the sessions of a package.
struct PackedWeight {
  size_t input;
  MemoryDesc from, to;
  AlignedBuffer bytes;
  dnnl::memory memory;  // over them
};

struct Program {
  std::string name;
  format::OpDesc op;
  BuildFunction build = nullptr;
  std::mutex mutex;
  std::list<PackedWeight> packed;  // guarded by mutex; entries stay
};

enum class From : uint8_t { kInput, kOutput, kWorkspace };

struct Binding {
  dnnl_memory_t memory;
  From from;
  uint32_t index;
  uint64_t offset;
};

struct Stage {
  dnnl::primitive primitive;
  std::vector<dnnl_exec_arg_t> args;
  std::vector<Binding> bindings;  // set before this stage runs
};

struct Bound {
  dnnl::stream stream{Engine()};
  std::vector<Stage> stages;
  std::vector<dnnl::memory> memories;  // keeps what args and bindings point at
  uint64_t workspace = 0;
  int threads = 1;
  uint32_t num_inputs = 0, num_outputs = 0;
  int accumulate = -1;  // input that must be in output 0 before the stages run (a sum post-op):
                        // copied when it lies elsewhere
  uint64_t accumulate_bytes = 0;
  kernels::UnaryFunction finish =
      nullptr;  // our own activation over output 0, where it beats a post-op
  float finish_a = 0;
  int64_t finish_count = 0;

  Status Run(const slipway_tensor* inputs, const slipway_tensor* outputs,
             const slipway_execution& execution);
};

// Where a primitive's argument lies.
struct Place {
  From from;
  uint32_t index = 0;
  uint64_t offset = 0;  // bytes
};
inline Place InputAt(size_t i, uint64_t offset = 0) {
  return {From::kInput, static_cast<uint32_t>(i), offset};
}
inline Place OutputAt(size_t i, uint64_t offset = 0) {
  return {From::kOutput, static_cast<uint32_t>(i), offset};
}
inline Place WorkspaceAt(uint64_t offset) { return {From::kWorkspace, 0, offset}; }

// Builds a Bound. Functions of operators read the step here and add primitives. dnnl::error may fly
// inside: the ABI layer catches it.
class Builder {
 public:
  // With `probe` nothing is generated, reordered or run: only the choice of implementations is
  // made.
  Builder(Program& program, const slipway_step& step, Bound& bound, bool probe = false)
      : program_(program), step_(step), bound_(bound), probe_(probe) {}

  const format::OpDesc& op() const { return program_.op; }
  const ops::Attributes& attributes() const { return program_.op.attributes; }

  size_t num_inputs() const { return step_.num_inputs; }
  bool Has(size_t i) const { return i < step_.num_inputs && step_.inputs[i].dtype != 0; }
  const slipway_tensor& input(size_t i) const { return step_.inputs[i]; }
  const slipway_tensor& output(size_t i = 0) const { return step_.outputs[i]; }
  Dims InputDims(size_t i) const { return ToDims(step_.inputs[i]); }
  Dims OutputDims(size_t i = 0) const { return ToDims(step_.outputs[i]); }
  static Dims ToDims(const slipway_tensor& t) {
    return Dims(std::span(t.dims, static_cast<size_t>(t.rank)));
  }

  // Errors: inputs missing, and everything the descriptors below refuse.
  Status Need(size_t inputs, size_t outputs) const;
  // The tensor's own dims, type and layout. Unsupported: a type or rank that oneDNN has no tensors
  // of.
  Result<MemoryDesc> Desc(const slipway_tensor& t) const;
  static Result<MemoryDesc> LayoutDesc(const slipway_tensor& t);
  // The constant bytes of input i; InvalidArgument when it is not constant.
  Result<const void*> Constant(size_t i) const;

  using Arg = std::pair<int, dnnl::memory>;
  dnnl::memory At(const MemoryDesc& desc, Place place);
  // Input i (whose bytes are described by `from`) as `to`: constants are reordered once per
  // program, others are bound when the descriptors are the same and reordered in every run when
  // not.
  Result<dnnl::memory> Weight(size_t i, const MemoryDesc& from, const MemoryDesc& to);
  // A memory that this bound owns, filled by the caller.
  dnnl::memory Own(const MemoryDesc& desc);
  template <typename Primitive>
  void Add(const typename Primitive::primitive_desc& pd, std::vector<Arg> args) {
    if (!implementations_.empty()) implementations_ += " ";
    implementations_ += pd.impl_info_str();
    if (!probe_) AddStage(Primitive(pd), pd, std::move(args));
  }
  // The names of oneDNN's implementations of all stages so far.
  const std::string& implementations() const { return implementations_; }
  // Reserves workspace that lives for the whole step; 64-byte aligned.
  uint64_t Reserve(uint64_t bytes);
  void Accumulate(size_t input) {
    bound_.accumulate = static_cast<int>(input);
    bound_.accumulate_bytes = step_.outputs[0].bytes;
  }
  // The activation of a fused operator: as post-ops, or in a pass of our own behind the stages.
  Status Activate(dnnl::post_ops& post_ops);
  // Finishes: the scratchpads of the stages share one region behind the reserved workspace.
  void Finish();

 private:
  struct Pending {  // bindings of memories made by At() that no stage has taken yet
    dnnl_memory_t memory;
    Place place;
  };
  void AddStage(dnnl::primitive primitive, const dnnl::primitive_desc_base& pd,
                std::vector<Arg> args);

  Program& program_;
  const slipway_step& step_;
  Bound& bound_;
  bool probe_;
  std::string implementations_;
  std::vector<Pending> places_;
  std::vector<std::pair<size_t, dnnl::memory>> scratch_;  // stage, memory
  uint64_t reserved_ = 0, scratch_bytes_ = 0;
};

// A primitive attribute with the scratchpad in our workspace.
dnnl::primitive_attr Attr();
// The post-ops of an activation. InvalidArgument as ParseActivation.
Status AppendActivation(const ops::Activation& activation, dnnl::post_ops& post_ops);
Result<dnnl::memory::data_type> ToDnnl(uint32_t dtype);
// Row-major.
MemoryDesc PlainDesc(const dnnl::memory::dims& dims, dnnl::memory::data_type type);
inline dnnl::memory::dims ToDnnlDims(const Dims& d) { return {d.begin(), d.end()}; }

// Output scales, residual, clamp and zero point of the integer contract; the output's channels are
// dimension 1. Unsupported: zero points of X and of the residual.
Status QuantizedAttr(Builder& b, int64_t channels, size_t residual, dnnl::primitive_attr& attr);

// Null for an operator that this backend does not have. `domain` and `op` as in OpDesc.
BuildFunction FindBuild(const format::OpDesc& op);

// One a family, in the .cc of that name.
Status BuildConv(Builder&);
Status BuildQConv(Builder&);
Status BuildLinear(Builder&);
Status BuildGemm(Builder&);
Status BuildMatMul(Builder&);
Status BuildQLinear(Builder&);
Status BuildAttention(Builder&);
Status BuildPool(Builder&);
Status BuildGlobalPool(Builder&);
Status BuildUnary(Builder&);
Status BuildBinary(Builder&);
Status BuildSoftmax(Builder&);
Status BuildLayerNorm(Builder&);
Status BuildBatchNorm(Builder&);
Status BuildConcat(Builder&);
Status BuildReorder(Builder&);

}  // namespace slipway::backends::onednn
