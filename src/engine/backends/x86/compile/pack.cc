#include "engine/backends/x86/compile/pack.h"

#include <cstring>
#include <memory>
#include <vector>

#include "base/cpu.h"
#include "engine/backends/describe.h"
#include "engine/backends/x86/run/backend.h"
#include "engine/backends/x86/run/step.h"

namespace slipway::backends::x86 {
namespace {

constexpr size_t kWeights = 1;

bool Has(const Target& target, CpuFeature feature) {
  return (target.features & static_cast<uint64_t>(feature)) != 0;
}

}  // namespace

Status PackWeights(const ir::Node& node, const Candidate& candidate, const Target& target,
                   StepSpec& step) {
  // Two matrices, each in several orders: made when the step is prepared.
  if (node.Is("RNN") || node.Is("GRU") || node.Is("LSTM")) return OkStatus();
  const ir::Tensor* weights = node.constant_input(kWeights);
  if (!weights || weights->bytes().empty()) return OkStatus();
  auto description = Describe(node, candidate);
  if (!description) return OkStatus();
  const ir::Tensor aligned = weights->Aligned();
  description->inputs[kWeights].data = const_cast<uint8_t*>(aligned.bytes().data());
  const kernels::Isa isa = Has(target, CpuFeature::kAvx512) ? kernels::Isa::kAvx512
                           : Has(target, CpuFeature::kAvx2) ? kernels::Isa::kAvx2
                                                            : kernels::Isa::kBaseline;
  if (isa > kernels::BestIsa()) return OkStatus();  // this machine cannot
  SLIPWAY_ASSIGN_OR_RETURN(const PackedWeightsPtr packed, Pack(description->Step(), isa));
  if (!packed) return OkStatus();
  const auto raw = static_cast<int64_t>(weights->bytes().size());
  if (target.prepack != Prepack::kAll && packed->bytes > raw + raw / 4 + 4096) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor tensor, ir::Tensor::Allocate(DType::kUInt8, {packed->bytes}));
  std::memcpy(tensor.mutable_data(), packed->data, static_cast<size_t>(packed->bytes));
  SLIPWAY_ASSIGN_OR_RETURN(format::OpDesc op, format::DecodeOp(step.blob));
  op.attributes.Set(kPackedForm, packed->form);
  op.attributes.Set(kPackedIsa, static_cast<int64_t>(isa));
  op.attributes.Set(kPackedType, static_cast<int64_t>(weights->dtype()));
  const Dims& dims = weights->dims();
  op.attributes.Set(kPackedDims, std::vector<int64_t>(dims.begin(), dims.end()));
  step.blob = format::EncodeOp(op);
  step.inputs[kWeights] = nullptr;
  step.packed.push_back(std::move(tensor));
  step.needs = 5;
  if (isa != kernels::Isa::kBaseline) step.features |= static_cast<uint64_t>(CpuFeature::kAvx2);
  if (isa == kernels::Isa::kAvx512) step.features |= static_cast<uint64_t>(CpuFeature::kAvx512);
  return OkStatus();
}

}  // namespace slipway::backends::x86
