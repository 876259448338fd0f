#include "engine/backends/x86/compile/depthwise.h"

#include "base/cpu.h"

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
  if (!node.IsSlipway("QConv")) return false;
  const ir::Value *x = node.input(0), *w = node.input(1);
  if (!x || !w || !x->type().shape || !w->type().shape) return false;
  const auto &xs = *x->type().shape, &ws = *w->type().shape;
  const int64_t group = node.attributes.Int("group", 1);
  return (xs.size() == 3 || xs.size() == 4) && ws.size() == xs.size() && xs[1].Is(group) &&
         ws[0].Is(group) && ws[1].Is(1);
}

std::vector<Candidate> DepthwiseCandidates(const ir::Node& node, const Target& target) {
  // Shares of the best rate, measured by cts/depthwise_bench.cc on a Zen 4 core, 1 thread.
  Candidate c = PlainCandidate(node, "depthwise:nhwc");
  c.inputs[0] = c.outputs[0] = Layout::kChannelsLast;
  if (node.input(4)) c.inputs[4] = Layout::kChannelsLast;
  const bool vnni = (target.features & static_cast<uint64_t>(CpuFeature::kAvx512Vnni)) != 0;
  c.compute_efficiency = (Taps(node) > 9 ? 0.38 : 0.32) * (HasStride(node) ? 0.7 : 1);
  if (!vnni) c.compute_efficiency *= 0.35;
  c.memory_efficiency = 1;
  c.overhead_us = 0.5;
  return {c};
}

}  // namespace slipway::backends::x86
