#include "engine/backends/x86/compile/depthwise.h"

#include "base/cpu.h"
#include "engine/backends/x86/run/backend.h"

namespace slipway::backends::x86 {
namespace {

bool HasStride(const ir::Node& node) {
  for (const int64_t s : node.attributes.Ints("strides")) {
    if (s > 1) return true;
  }
  return false;
}

// Taps of the window; 1 where unknown.
int64_t Taps(const ir::Node& node) {
  int64_t taps = 1;
  const auto& w = *node.input(1)->type().shape;
  for (size_t i = 2; i < w.size(); ++i) taps *= w[i].known() ? w[i].value() : 1;
  return taps;
}

}  // namespace

bool IsDepthwise(const ir::Node& node) {
  const bool conv = node.Is("Conv") || node.IsSlipway("Conv");
  if (!conv && !node.IsSlipway("QConv")) return false;
  const ir::Value *x = node.input(0), *w = node.input(1);
  if (!x || !w || !x->type().shape || !w->type().shape) return false;
  const auto &xs = *x->type().shape, &ws = *w->type().shape;
  if (conv && x->dtype() != DType::kFloat32 && x->dtype() != DType::kBFloat16 &&
      x->dtype() != DType::kFloat16)
    return false;
  const int64_t group = node.attributes.Int("group", 1);
  return (xs.size() == 3 || xs.size() == 4) && ws.size() == xs.size() && xs[1].Is(group) &&
         ws[0].Is(group) && ws[1].Is(1);
}

std::vector<Candidate> DepthwiseCandidates(const ir::Node& node, const Target& target) {
  const auto has = [&](CpuFeature f) { return (target.features & static_cast<uint64_t>(f)) != 0; };
  const bool integer = node.IsSlipway("QConv"), small = Taps(node) <= 9, stride = HasStride(node);
  const auto candidate = [&](Layout layout, double figure) {
    Candidate c = PlainCandidate(node, node.op() + ":" + LayoutName(layout) + kDepthwise);
    c.inputs[0] = c.outputs[0] = layout;
    const size_t residual = integer ? 4 : 3;
    if (residual < c.inputs.size() && node.input(residual)) c.inputs[residual] = layout;
    c.compute_efficiency = figure;
    c.memory_efficiency = 1;
    c.overhead_us = 0.5;
    return c;
  };
  // Shares of the best rate, measured by cts/depthwise_bench.cc on a Zen 4 core, 1 thread.
  if (integer) {
    const double figure = (small ? 0.32 : 0.38) * (stride ? 0.7 : 1);
    return {
        candidate(Layout::kChannelsLast, has(CpuFeature::kAvx512Vnni) ? figure : figure * 0.35)};
  }
  if (node.input(0)->dtype() == DType::kFloat16) return {candidate(Layout::kChannelsLast, 0.4)};
  if (node.input(0)->dtype() == DType::kBFloat16) {  // of twice the rate
    const double figure = small ? (stride ? 0.25 : 0.36) : stride ? 0.37 : 0.43;
    return {candidate(Layout::kChannelsLast, figure), candidate(Layout::kBlocked16, figure * 0.85)};
  }
  const double figure = small ? (stride ? 0.5 : 0.78) : stride ? 0.8 : 1.0;
  const Layout block = has(CpuFeature::kAvx512) ? Layout::kBlocked16 : Layout::kBlocked8;
  return {candidate(block, figure), candidate(Layout::kChannelsLast, figure * 0.95)};
}

bool IsConvDepthwise(const ir::Node& node) { return node.IsSlipway("ConvDepthwise"); }

std::vector<Candidate> ConvDepthwiseCandidates(const ir::Node& node, const Target& target) {
  const bool avx512 = (target.features & static_cast<uint64_t>(CpuFeature::kAvx512)) != 0;
  std::vector<Candidate> all;
  for (const Layout layout :
       {avx512 ? Layout::kBlocked16 : Layout::kBlocked8, Layout::kChannelsLast}) {
    Candidate c = PlainCandidate(node, node.op() + ":" + LayoutName(layout));
    c.inputs[0] = c.outputs[0] = layout;
    c.compute_efficiency = layout == Layout::kChannelsLast ? 0.57 : 0.6;
    c.memory_efficiency = 1;
    c.overhead_us = 1;
    all.push_back(std::move(c));
  }
  return all;
}

}  // namespace slipway::backends::x86
