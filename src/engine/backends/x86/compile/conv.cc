#include "engine/backends/x86/compile/conv.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/cpu.h"
#include "engine/backends/describe.h"
#include "engine/backends/x86/run/backend.h"
#include "engine/kernels/conv/conv.h"

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

// Of the direct convolution: 1 is one vector of products a cycle, measured on layers of ResNet-50,
// MobileNetV2, RegNet, DenseNet and SqueezeNet (Zen 4, 1 thread). Products go lost with output
// channels that do not fill vectors and to the ends of rows; a tile costs `tile_cycles` beside its
// products; what lies outside of the image is counted but not multiplied.
double DirectFigure(const ir::Node& node, int lanes, int pair, double tile_cycles) {
  const auto &x = *node.input(0)->type().shape, &w = *node.input(1)->type().shape,
             &y = *node.output()->type().shape;
  const auto at = [](const Dim& d) { return d.known() ? static_cast<double>(d.value()) : 1; };
  const double group = static_cast<double>(node.attributes.Int("group", 1));
  const double outs = at(w[0]) / group, vectors = std::ceil(outs / lanes);
  double taps = 1;
  for (size_t d = 2; d < w.size(); ++d) taps *= at(w[d]);
  const bool pointwise = taps == 1 && AllOnes(node.attributes, "strides");
  double row = at(y.back());
  if (pointwise) {
    row = 1;
    for (size_t d = 2; d < y.size(); ++d) row *= at(y[d]);
  }
  const double most = lanes == 16 ? 14 : lanes == 8 ? 6 : 4;
  const double tiles = std::ceil(row / most);
  const double words = std::max(1.0, at(w[1]) * taps / pair);
  // Rows of odd lengths end in small tiles, which load more than they multiply.
  const double rest = row - std::floor(row / most) * most;
  const double lost = rest == 0 || rest == most / 2 ? 0 : 0.6;
  const double columns = vectors == 1 ? (pair == 2 ? 1.3 : 1) : 2;
  const double cycles = words * (row + lost) * columns + tiles * tile_cycles;
  double inside = 1;  // of the taps
  const auto strides = node.attributes.Ints("strides");
  for (size_t d = 2; d < w.size(); ++d) {
    const double stride = strides.size() > d - 2 ? static_cast<double>(strides[d - 2]) : 1;
    const double padding = (at(y[d]) - 1) * stride + at(w[d]) - at(x[d]);
    inside *= 1 - std::clamp(padding / (at(y[d]) * at(w[d])), 0.0, 0.25);
  }
  const double useful = words * row * (vectors == 1 ? 1 : 2) * outs / (vectors * lanes);
  // oneDNN's figures are those of its large layers, for small ones too, and cost its threads'
  // start.
  return 1.1 * useful / cycles / inside;
}

}  // namespace

bool IsConv(const ir::Node& node) {
  return node.Is("Conv") || node.IsSlipway("Conv") || node.Is("ConvTranspose");
}

Result<std::vector<Candidate>> ConvCandidates(const ir::Node& node, const Target& target) {
  if (!node.input(0) || !node.input(1) || !node.output())
    return Unsupported("inputs or outputs that are missing");
  const DType type = node.input(0)->dtype();
  const auto has = [&](CpuFeature f) { return (target.features & static_cast<uint64_t>(f)) != 0; };
  const bool half = type == DType::kBFloat16;
  if (half && !has(CpuFeature::kAvx512Bf16))
    return Unsupported("bfloat16 on a CPU without AVX512-BF16");
  const bool float16 = type == DType::kFloat16;
  if (float16 && !has(CpuFeature::kArmFp16))
    return Unsupported("float16 on a platform that does not compute in it");
  if (!half && !float16 && type != DType::kFloat32)
    return Unsupported("other types than float32, bfloat16 and float16");
  if (!node.constant_input(1)) return Unsupported("weights that are no constant");
  const auto &x = *node.input(0)->type().shape, &w = *node.input(1)->type().shape,
             &y = *node.output()->type().shape;
  if (w.size() < 3 || w.size() > 4 || x.size() != w.size() || y.size() != w.size())
    return Unsupported("other than one or two spatial dimensions");
  const bool avx512 = has(CpuFeature::kAvx512);
  const Layout block = avx512 ? Layout::kBlocked16 : Layout::kBlocked8;
  const std::string name = node.op() + ":" + LayoutName(block);
  std::vector<Candidate> candidates;
  Status why = Unsupported("no kernel");
  const auto try_it = [&](std::string kernel, Layout in, Layout out, double figure,
                          double overhead) {
    Candidate c = PlainCandidate(node, std::move(kernel));
    c.inputs[0] = in;
    c.outputs[0] = out;
    const bool residual = c.inputs.size() > 3 && node.input(3);
    if (residual) c.inputs[3] = out;
    const auto description = Describe(node, c);
    if (!description) {
      why = Unsupported("shapes that cannot be tried");
      return;
    }
    if (const auto probed = Probe(description->Step(), float16); !probed.ok()) {
      why = Unsupported(probed.status().message());
      return;
    }
    if (residual) c.in_place = 3;
    c.compute_efficiency = figure;
    c.memory_efficiency = 1;
    c.overhead_us = overhead;
    candidates.push_back(std::move(c));
  };

  if (float16) {
    // By llvm-mca on a Cortex-A55 (docs/arm.md), of twice the rate of float32; a panel is 8 or 16.
    const double outs = w[0].known() ? static_cast<double>(w[0].value()) /
                                           static_cast<double>(node.attributes.Int("group", 1))
                                     : 1;
    if (!node.Is("ConvTranspose"))
      try_it(node.op() + ":nhwc" + kDirect, Layout::kChannelsLast, Layout::kChannelsLast,
             0.8 * outs / (std::ceil(outs / 8) * 8), 0.5);
    if (candidates.empty()) return why;
    return candidates;
  }
  if (node.Is("ConvTranspose")) {  // outputs apart from each other: an epilogue of their own
    try_it(name + kDirect, block, block, 0.8, 0.5);
    try_it(node.op() + ":nhwc" + kDirect, Layout::kChannelsLast, Layout::kChannelsLast, 0.75, 0.5);
    if (candidates.empty()) return why;
    return candidates;
  }
  const int lanes = avx512 ? 16 : has(CpuFeature::kAvx2) ? 8 : 4;
  // Where channels lie last, a tile writes to more pages, and registers without masks go by way of
  // memory where channels do not fill them.
  const double direct = DirectFigure(node, lanes, half ? 2 : 1, 40),
               to_last = DirectFigure(node, lanes, half ? 2 : 1, avx512 ? 50 : 60);
  const Layout last = Layout::kChannelsLast;
  try_it(name + kDirect, block, block, direct, 0.5);
  try_it(node.op() + ":nhwc" + kDirect, last, last, to_last, 0.5);
  if (x[1].known() && x[1].value() <= kernels::kConvFewChannels) {
    const std::string plain = node.op() + ":plain-";
    try_it(plain + LayoutName(block) + kDirect, Layout::kPlain, block, direct, 0.5);
    try_it(plain + LayoutName(last) + kDirect, Layout::kPlain, last, to_last, 0.5);
  }

  // Where Winograd's algorithm is not to be had, the direct convolution is.
  if (!half && !target.exact && w.size() == 4 && w[2].Is(3) && w[3].Is(3) &&
      AllOnes(node.attributes, "strides") && AllOnes(node.attributes, "dilations") &&
      y[2].known() && y[3].known()) {
    for (int tile : {4, 2}) {
      try_it(name + (tile == 4 ? kWinograd4x4 : kWinograd2x2), block, block,
             WinogradFigure(node, tile, target), 1.5);
    }
  }
  if (candidates.empty()) return why;
  return candidates;
}

}  // namespace slipway::backends::x86
