#include "engine/compiler/cost.h"

#include <algorithm>

#include "model/ir/stats.h"

namespace slipway::compiler {
namespace {

double AtOne(const Dim& d) {
  if (d.known()) return static_cast<double>(d.value());
  auto value = d.Evaluate([](std::string_view) { return std::optional<int64_t>(1); });
  return value.ok() ? static_cast<double>(*value) : 1;
}

bool IsIntegerNode(const ir::Node& node) {
  const ir::Value* x = node.input(0);
  return x && DTypeBits(x->dtype()) == 8 && x->dtype() != DType::kBool;
}

}  // namespace

const char* SourceName(Source source) {
  switch (source) {
    case Source::kEstimated:
      return "estimated";
    case Source::kMeasured:
      return "measured";
    case Source::kScaled:
      return "measured, scaled";
    case Source::kInPlace:
      return "measured in place";
  }
  return "unknown";
}

double TypeBytes(const ir::Type& type) {
  if (!type.shape) return 0;
  double bytes = DTypeBits(type.dtype) / 8.0;
  for (const Dim& d : *type.shape) bytes *= AtOne(d);
  return bytes;
}

double ValueBytes(const ir::Value& value) { return TypeBytes(value.type()); }

Price CostModel::HandOver(const ir::Type& type, const std::string&, Crossing,
                          const backends::Target& target) const {
  return {2 * TypeBytes(type) / (target.cache_gbps * 1e9) * 1e3 + 2e-3, Source::kEstimated};
}

Price AnalyticCost::Step(const ir::Node& node, const std::string&,
                         const backends::Candidate& candidate,
                         const backends::Target& target) const {
  if (candidate.cost_us >= 0) return {candidate.cost_us * 1e-3, Source::kEstimated};
  // Products of 16 bits have twice the rate of float32 where the CPU has them.
  const bool half = node.input(0) && (node.input(0)->dtype() == DType::kBFloat16 ||
                                      node.input(0)->dtype() == DType::kFloat16);
  double rate = (IsIntegerNode(node) ? target.int8_gmacs : target.float_gmacs * (half ? 2 : 1)) *
                target.threads;
  double compute_ms =
      AtOne(ir::NodeMacs(node)) / (rate * 1e9 * std::max(candidate.compute_efficiency, 1e-4)) * 1e3;
  double bytes = 0;
  for (const ir::Value* v : node.inputs()) bytes += v ? ValueBytes(*v) : 0;
  for (const ir::Value* v : node.outputs()) bytes += v ? ValueBytes(*v) : 0;
  double memory_ms =
      candidate.view
          ? 0
          : bytes / (target.cache_gbps * 1e9 * std::max(candidate.memory_efficiency, 1e-4)) * 1e3;
  return {std::max(compute_ms, memory_ms) + candidate.overhead_us * 1e-3, Source::kEstimated};
}

Price AnalyticCost::Convert(const ir::Type& type, format::Layout from, format::Layout to,
                            const backends::Target& target) const {
  if (from == to) return {0, Source::kMeasured};
  // Measured: a tiled transpose runs at about 15 % of a copy.
  return {2 * TypeBytes(type) / (target.cache_gbps * 0.15 * 1e9) * 1e3 + 2e-3, Source::kEstimated};
}

std::string ConvertKernel(format::Layout from, format::Layout to) {
  return std::string(LayoutName(from)) + "->" + LayoutName(to);
}

std::string ConvertSignature(const ir::Type& type, format::Layout from, format::Layout to) {
  return "reference|" + ConvertKernel(from, to) + "|" + kConvertOp + "|" + type.ToString();
}

const char* HandOverKernel(Crossing crossing) {
  return crossing == Crossing::kEnters ? "in" : "out";
}

std::string HandOverSignature(const ir::Type& type, const std::string& backend, Crossing crossing) {
  return backend + "|" + HandOverKernel(crossing) + "|" + kHandOverOp + "|" + type.ToString();
}

std::string KernelSignature(const ir::Node& node, const std::string& backend,
                            const std::string& kernel) {
  std::string s = backend + "|" + kernel + "|" + node.FullOp();
  for (const auto& [name, value] : node.attributes.entries()) {
    s += "|" + name + "=";
    if (auto* i = std::get_if<int64_t>(&value)) s += std::to_string(*i);
    if (auto* t = std::get_if<std::string>(&value)) s += *t;
    if (auto* v = std::get_if<std::vector<int64_t>>(&value)) {
      for (int64_t i : *v) s += std::to_string(i) + ",";
    }
  }
  for (const ir::Value* v : node.inputs()) s += "|" + (v ? v->type().ToString() : "_");
  for (const ir::Value* v : node.outputs()) s += ">" + (v ? v->type().ToString() : "_");
  return s;
}

}  // namespace slipway::compiler
