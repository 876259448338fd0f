#include "deploy/parity.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace slipway::deploy {

Result<Parity> Compare(const RunFunction& reference, const RunFunction& other,
                       const std::vector<std::vector<ir::Tensor>>& inputs,
                       const std::vector<std::string>& output_names) {
  Parity parity;
  double signal = 0, noise = 0;
  for (const auto& input : inputs) {
    SLIPWAY_ASSIGN_OR_RETURN(auto a, reference(input));
    SLIPWAY_ASSIGN_OR_RETURN(auto b, other(input));
    if (a.size() != b.size()) {
      return InvalidArgument("one gives " + std::to_string(a.size()) + " outputs, the other " +
                             std::to_string(b.size()) + "; they are not the same model");
    }
    for (size_t i = 0; i < a.size(); ++i) {
      std::string name = i < output_names.size() ? output_names[i] : std::to_string(i);
      if (a[i].dtype() != b[i].dtype() || !(a[i].dims() == b[i].dims())) {
        return InvalidArgument("output '" + name + "' is " + DTypeName(a[i].dtype()) +
                               a[i].dims().ToString() + " here and " + DTypeName(b[i].dtype()) +
                               b[i].dims().ToString() + " there; they are not the same model");
      }
      auto x = a[i].ToDoubles(), y = b[i].ToDoubles();
      double lo = std::numeric_limits<double>::infinity(), hi = -lo, worst = 0;
      for (size_t k = 0; k < x.size(); ++k) {
        if (std::isfinite(x[k])) {
          lo = std::min(lo, x[k]);
          hi = std::max(hi, x[k]);
        }
        bool same = x[k] == y[k] || (std::isnan(x[k]) && std::isnan(y[k]));
        double d = same ? 0 : std::fabs(x[k] - y[k]);
        worst = std::max(worst, std::isfinite(d) ? d : std::numeric_limits<double>::infinity());
        signal += x[k] * x[k];
        noise += d * d;
      }
      double range = hi > lo ? hi - lo : std::max(std::fabs(hi), 1e-6);
      double error = worst == 0 ? 0 : worst / range;
      if (error >= parity.max_error) {
        parity.max_error = error;
        parity.worst_output = name;
      }
    }
    ++parity.runs;
  }
  parity.sqnr_db =
      noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  return parity;
}

}  // namespace slipway::deploy
