#include "engine/compiler/observer_spec.h"

#include <charconv>
#include <iterator>

namespace slipway::compiler {
namespace {

struct Entry {
  const char* name;
  ObserverKind kind;
  double parameter;    // the default; 0: takes none
  double least, most;  // of the parameter
  const char* means;
};

constexpr Entry kObservers[] = {
    {"minmax", ObserverKind::kMinMax, 0, 0, 0, ""},
    {"ema", ObserverKind::kEma, 0.9, 0, 0.9999, "weight of the past batches, from 0 to 0.9999"},
    {"percentile", ObserverKind::kPercentile, 0.9999, 0.5, 1,
     "share of the values kept, from 0.5 to 1"},
    {"histogram", ObserverKind::kHistogram, 0, 0, 0, ""},
    {"mse", ObserverKind::kMse, 2, 0.5, 8, "exponent of the error, from 0.5 to 8"},
    {"octav", ObserverKind::kOctav, 0, 0, 0, ""},
    {"kl", ObserverKind::kKl, 0, 0, 0, ""},
    {"aciq", ObserverKind::kAciq, 0, 0, 0, "gauss or laplace"},
    {"lsq", ObserverKind::kLsq, 0, 0, 0, ""},
    {"lsq+", ObserverKind::kLsqPlus, 0, 0, 0, ""},
    {"pot", ObserverKind::kPowerOfTwo, 0, 0, 0, ""},
    {"pot-mse", ObserverKind::kPowerOfTwoMse, 0, 0, 0, ""},
};

}  // namespace

std::string ObserverNames() {
  std::string names;
  for (const Entry& e : kObservers) {
    if (!names.empty()) names += ", ";
    names += e.name;
    if (e.parameter != 0) {
      char text[32];
      const auto end = std::to_chars(text, std::end(text), e.parameter);
      names += "[:" + std::string(text, end.ptr) + "]";
    } else if (e.kind == ObserverKind::kAciq) {
      names += "[:gauss|:laplace]";
    }
  }
  return names;
}

Result<ObserverSpec> ParseObserver(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const Entry& e : kObservers) {
    if (name != e.name && !(name == "entropy" && e.kind == ObserverKind::kKl)) continue;
    ObserverSpec spec{e.kind, e.parameter, {}};
    if (colon == std::string_view::npos) return spec;
    const std::string_view value = text.substr(colon + 1);
    const auto refuse = [&] {
      return InvalidArgument("observer '" + std::string(text) + "': " +
                             (*e.means ? "the part after the colon is the " + std::string(e.means)
                                       : "'" + std::string(e.name) + "' takes no parameter"));
    };
    if (e.kind == ObserverKind::kAciq) {
      if (value != "gauss" && value != "laplace") return refuse();
      spec.distribution = value;
      return spec;
    }
    if (e.parameter == 0) return refuse();
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), spec.parameter);
    if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size() ||
        !(spec.parameter >= e.least && spec.parameter <= e.most))
      return refuse();
    return spec;
  }
  return InvalidArgument("there is no observer '" + std::string(text) + "'; choose one of " +
                         ObserverNames());
}

}  // namespace slipway::compiler
