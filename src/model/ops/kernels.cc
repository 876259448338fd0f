#include <algorithm>
#include <array>
#include <cstring>

#include "model/ops/custom.h"
#include "model/ops/kernel.h"

namespace slipway::ops {

#define SLIPWAY_OP(DOMAIN, NAME, INPUTS, OUTPUTS, INFER, ATTRIBUTES) \
  Status DOMAIN##NAME(const OpContext&);
#include "model/ops/operators.inc"
#undef SLIPWAY_OP

namespace {

// Names as in operators.inc to the domain's text.
constexpr const char kOnnx[] = "";
constexpr const char kSlipway[] = "slipway";

#define SLIPWAY_OP(DOMAIN, NAME, INPUTS, OUTPUTS, INFER, ATTRIBUTES) \
  {k##DOMAIN, #NAME, &DOMAIN##NAME},
constexpr KernelEntry kKernels[] = {
#include "model/ops/operators.inc"
};
#undef SLIPWAY_OP

bool Before(const KernelEntry& e, std::string_view domain, std::string_view name) {
  const int order = std::string_view(e.name).compare(name);
  return order != 0 ? order < 0 : std::string_view(e.domain) < domain;
}

// Sorted by name, for FindKernel.
const auto& Sorted() {
  static const auto table = [] {
    std::array<KernelEntry, std::size(kKernels)> t;
    std::copy(std::begin(kKernels), std::end(kKernels), t.begin());
    std::sort(t.begin(), t.end(), [](const KernelEntry& a, const KernelEntry& b) {
      return Before(a, b.domain, b.name);
    });
    return t;
  }();
  return table;
}

}  // namespace

std::span<const KernelEntry> Kernels() { return kKernels; }

Kernel FindKernel(std::string_view domain, std::string_view name) {
  const auto& table = Sorted();
  const auto it = std::lower_bound(
      table.begin(), table.end(), name,
      [&](const KernelEntry& e, std::string_view n) { return Before(e, domain, n); });
  if (it != table.end() && name == it->name && domain == it->domain) return it->kernel;
  const CustomOp* custom = FindCustomOp(domain, name);
  return custom ? Kernel([](const OpContext& c, const CustomOp& op) { return op.Run(c); }, *custom)
                : Kernel();
}

}  // namespace slipway::ops
