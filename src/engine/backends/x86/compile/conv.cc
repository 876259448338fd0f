#include "engine/backends/x86/compile/conv.h"

#include <algorithm>

#include "base/cpu.h"
#include "engine/backends/describe.h"
#include "engine/backends/x86/run/backend.h"

namespace slipway::backends::x86 {
namespace {

bool AllOnes(const ops::Attributes& a, const char* name) {
  const auto v = a.Ints(name);
  return std::all_of(v.begin(), v.end(), [](int64_t i) { return i == 1; });
}

// A share of the machine's best rate of multiplications, counted as the convolution counts them.
// Measured on a Zen 4 core: products at that rate, transforms of a tile of 16 channels in 80 ns
// (4x4) and 25 ns (2x2); the weights, which grow by 4 and 1.8, come from beyond the cache.
double WinogradFigure(const ir::Node& node, int tile, const Target& target) {
  const auto& w = *node.input(1)->type().shape;
  const auto& y = *node.output()->type().shape;
  const auto at = [](const Dim& d) { return d.known() ? static_cast<double>(d.value()) : 1; };
  const double group = static_cast<double>(node.attributes.Int("group", 1));
  const double points = (tile + 2) * (tile + 2), products = at(w[0]) * at(w[1]);
  const auto across = [&](const Dim& d) {
    return static_cast<double>((d.value() + tile - 1) / tile);
  };
  const double tiles = at(y[0]) * across(y[2]) * across(y[3]);
  const double rate = target.float_gmacs * 1e9 * target.threads;
  const double multiply = tiles * points * products / rate;
  const double transform = tiles * (at(w[1]) * group + at(w[0])) / 16 *
                           (tile == 4 ? 80e-9 : 25e-9) * 57 / std::max(target.float_gmacs, 1.0) /
                           target.threads;
  const double memory = points * products * 4 / (target.memory_gbps * 2.3e9);
  const double macs = 9 * products * at(y[0]) * at(y[2]) * at(y[3]);
  // It takes more memory: not for a few percent.
  return 0.95 * macs / rate / (std::max(multiply, memory) + transform);
}

}  // namespace

bool IsConv(const ir::Node& node) { return node.Is("Conv") || node.IsSlipway("Conv"); }

Result<std::vector<Candidate>> ConvCandidates(const ir::Node& node, const Target& target) {
  std::vector<Candidate> candidates;
  if (!node.input(0) || !node.input(1) || !node.output() ||
      node.input(0)->dtype() != DType::kFloat32)
    return Unsupported("other types than float32");
  if (!node.constant_input(1)) return Unsupported("weights that are no constant");
  const auto &w = *node.input(1)->type().shape, &y = *node.output()->type().shape;
  if (w.size() != 4 || !w[2].Is(3) || !w[3].Is(3) || !AllOnes(node.attributes, "strides") ||
      !AllOnes(node.attributes, "dilations"))
    return Unsupported("a window other than 3x3, stride 1");
  if (target.exact) return Unsupported("Winograd, which exact forbids");
  if (y.size() != 4 || !y[2].known() || !y[3].known())
    return Unsupported("an image whose extents are not known");
  const bool avx512 = (target.features & static_cast<uint64_t>(CpuFeature::kAvx512)) != 0;
  const Layout block = avx512 ? Layout::kBlocked16 : Layout::kBlocked8;
  Status why = Unsupported("no kernel");
  for (int tile : {4, 2}) {
    Candidate c = PlainCandidate(node, node.op() + (avx512 ? ":nchw16c" : ":nchw8c") +
                                           (tile == 4 ? kWinograd4x4 : kWinograd2x2));
    c.inputs[0] = c.outputs[0] = block;
    if (c.inputs.size() > 3 && node.input(3)) c.inputs[3] = block;
    const auto description = Describe(node, c);
    if (!description) return Unsupported("shapes that cannot be tried");
    if (const auto probed = Probe(description->Step()); !probed.ok()) {
      why = Unsupported(probed.status().message());
      continue;
    }
    if (c.inputs.size() > 3 && node.input(3)) c.in_place = 3;
    c.compute_efficiency = WinogradFigure(node, tile, target);
    c.memory_efficiency = 1;
    c.overhead_us = 1.5;
    candidates.push_back(std::move(c));
  }
  if (candidates.empty()) return why;
  return candidates;
}

}  // namespace slipway::backends::x86
