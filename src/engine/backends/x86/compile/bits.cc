#include "engine/backends/x86/compile/bits.h"

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "engine/kernels/bits/bits.h"
#include "model/ops/activation.h"
#include "model/ops/quantize.h"

namespace slipway::backends::x86 {
namespace {

constexpr char kPrefix[] = "bits:";

// What the node that makes the codes says of them.
std::optional<Codes> CodesFrom(const ir::Value* v, int depth = 0) {
  const ir::Node* node = v->producer();
  if (!node || depth > 32) return std::nullopt;
  if (node->IsSlipway("Quantize")) {
    auto q = ops::ParseQuant(node->attributes);
    if (!q.ok()) return std::nullopt;
    if (q->kind == ops::QuantKind::kBipolar) return Codes{-1, 1, 2};
    if (q->kind != ops::QuantKind::kAffine && q->kind != ops::QuantKind::kPowerOfTwo)
      return std::nullopt;
    return Codes{static_cast<int>(q->range.lo), static_cast<int>(q->range.hi)};
  }
  if (node->IsSlipway("QLookup")) {
    const ir::Tensor* table = node->constant_input(1);
    if (!table || table->count() == 0) return std::nullopt;
    const auto values = table->ToInts();
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return Codes{static_cast<int>(*low), static_cast<int>(*high)};
  }
  for (const char* op : {"QConv", "QLinear", "QAdd", "QMul", "QRescale", "QAveragePool"}) {
    if (!node->IsSlipway(op)) continue;
    return Codes{static_cast<int>(node->attributes.Int("q_min", -128)),
                 static_cast<int>(node->attributes.Int("q_max", 127))};
  }
  for (const char* op : {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze",
                         "Identity", "Slice"}) {
    if (node->Is(op) && node->output(0) == v) return CodesFrom(node->input(0), depth + 1);
  }
  return std::nullopt;
}

struct Plan {
  kernels::BitsConv conv;     // levels, groups and the weights' shape
  std::vector<int8_t> codes;  // of the weights [outputs, channels, taps]
};

std::optional<Plan> PlanOf(const ir::Node& node) {
  const bool conv = node.IsSlipway("QConv");
  const ir::Tensor* w = node.constant_input(1);
  for (const ir::Value* v : {node.input(0), node.input(4), node.output()}) {
    if (v && DTypeBits(v->dtype()) == 16) return std::nullopt;
  }
  if ((!conv && !node.IsSlipway("QLinear")) || !w || w->dtype() != DType::kInt8 ||
      w->count() == 0 || !node.constant_input(2) || (node.input(3) && !node.constant_input(3)))
    return std::nullopt;
  const auto activation = ops::ParseActivation(node.attributes);
  if (!activation.ok() || (activation->kind != ops::ActivationKind::kNone &&
                           activation->kind != ops::ActivationKind::kRelu &&
                           activation->kind != ops::ActivationKind::kClip))
    return std::nullopt;
  const auto x = CodesOf(node.input(0));
  if (!x || x->levels() > 4) return std::nullopt;
  Plan p;
  p.conv.a_planes = x->levels() > 2 ? 2 : 1;
  p.conv.a_shift = x->step == 2 ? 1 : 0;
  p.conv.a_low = x->low;
  kernels::BitsWeights& s = p.conv.weights;
  const Dims& dims = w->dims();
  const auto* from = w->data<int8_t>();
  p.codes.assign(from, from + w->count());
  if (conv) {
    if (dims.rank() < 3 || dims.rank() > 4) return std::nullopt;
    s.groups = node.attributes.Int("group", 1);
    if (s.groups < 1 || dims[0] % s.groups != 0) return std::nullopt;
    s.outputs = dims[0] / s.groups;
    s.channels = dims[1];
    s.taps = dims.count(2, dims.rank());
  } else {
    if (dims.rank() != 2) return std::nullopt;
    const bool transposed = node.attributes.Int("transW", 0) != 0;
    s.outputs = dims[transposed ? 0 : 1];
    s.channels = dims[transposed ? 1 : 0];
    for (int64_t n = 0; !transposed && n < s.outputs; ++n) {
      for (int64_t k = 0; k < s.channels; ++k)
        p.codes[static_cast<size_t>(n * s.channels + k)] = from[k * s.outputs + n];
    }
  }
  const auto planes =
      kernels::BitsPlanes(p.codes.data(), s.groups * s.outputs, s.channels * s.taps);
  if (!planes) return std::nullopt;
  s.planes = *planes;
  if (!s.Valid()) return std::nullopt;
  return p;
}

}  // namespace

std::optional<Codes> CodesOf(const ir::Value* v) { return CodesFrom(v); }

bool IsBits(const Candidate& candidate) { return candidate.kernel.rfind(kPrefix, 0) == 0; }

std::optional<Candidate> BitsCandidate(const ir::Node& node, const Target& target) {
  const auto plan = PlanOf(node);
  if (!plan) return std::nullopt;
  const kernels::BitsConv& c = plan->conv;
  Candidate candidate =
      PlainCandidate(node, kPrefix + std::string("w") + std::to_string(c.weights.planes) + "a" +
                               std::to_string(c.a_planes));
  if (node.IsSlipway("QConv")) {
    candidate.inputs[0] = candidate.outputs[0] = Layout::kChannelsLast;
    if (node.input(4)) candidate.inputs[4] = Layout::kChannelsLast;
  }
  // Shares of the best rate of 8-bit products, of layers of a ResNet-18 on a Zen 4 core, 1 thread
  // (bench/peers/make_bits.py). A pixel costs as much as some hundred products: short sums suffer.
  const bool popcount =
      (target.features & static_cast<uint64_t>(CpuFeature::kAvx512Vpopcntdq)) != 0;
  double fastest = (popcount ? 5.0 : 0.6) / (c.a_planes * c.weights.planes);
  // By llvm-mca on a Cortex-A55 (docs/arm.md): 6.4 times as fast a plane as products of 8 bits.
  if (target.arch == "aarch64") {
    const bool dot = (target.features & static_cast<uint64_t>(CpuFeature::kArmDotprod)) != 0;
    fastest = (dot ? 2.4 : 6.4) / (c.a_planes * c.weights.planes);
  }
  const auto depth = static_cast<double>(c.weights.words() * 64 * c.weights.taps);
  candidate.compute_efficiency = fastest * depth / (depth + 560);
  candidate.overhead_us = 1.5;
  candidate.memory_efficiency = 1;
  return candidate;
}

Result<StepSpec> CompileBits(const ir::Node& node, const Candidate& candidate) {
  const auto plan = PlanOf(node);
  if (!plan) return Internal(node.Describe() + ": has more levels than before");
  const kernels::BitsConv& c = plan->conv;
  const std::vector<uint8_t> packed = kernels::PackBits(c.weights, plan->codes.data());
  SLIPWAY_ASSIGN_OR_RETURN(
      ir::Tensor tensor,
      ir::Tensor::Allocate(DType::kUInt8, {static_cast<int64_t>(packed.size())}));
  std::memcpy(tensor.mutable_data(), packed.data(), packed.size());
  StepSpec step;
  step.node = &node;
  step.kernel = candidate.kernel;
  format::OpDesc op{node.domain(), node.op() + "Bits", node.attributes};
  op.attributes.Set("outputs", c.weights.outputs);
  op.attributes.Set("channels", c.weights.channels);
  op.attributes.Set("w_planes", int64_t{c.weights.planes});
  op.attributes.Set("x_planes", int64_t{c.a_planes});
  op.attributes.Set("x_shift", int64_t{c.a_shift});
  op.attributes.Set("x_low", int64_t{c.a_low});
  op.attributes.Set("kernel", candidate.kernel);
  if (node.IsSlipway("QConv")) {
    const Dims& w = node.constant_input(1)->dims();
    op.attributes.Set("kernel_shape", std::vector<int64_t>(w.begin() + 2, w.end()));
  }
  step.blob = format::EncodeOp(op);
  // In the places of the node, whose layouts the candidate gives.
  step.inputs = {node.input(0), nullptr, node.input(2), node.input(3), node.input(4)};
  step.outputs = {node.output()};
  step.packed.push_back(std::move(tensor));
  return step;
}

}  // namespace slipway::backends::x86
