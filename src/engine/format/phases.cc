#include "engine/format/phases.h"

#include <algorithm>
#include <map>
#include <set>

#include "engine/format/plan.h"
#include "engine/format/validate.h"

namespace slipway::format {
namespace {

bool Known(const SymShape& shape, const std::set<std::string>& bound) {
  return std::all_of(shape.begin(), shape.end(), [&](const Dim& d) {
    if (d.known()) return true;
    const auto symbols = d.Symbols();
    return std::all_of(symbols.begin(), symbols.end(), [&](const std::string& s) { return bound.count(s) != 0; });
  });
}

}  // namespace

const std::string* PlainSymbol(const Dim& dim, std::string& text) {
  if (dim.known()) return nullptr;
  const std::vector<std::string> symbols = dim.Symbols();
  text = dim.ToString();
  return symbols.size() == 1 && symbols[0] == text ? &text : nullptr;
}

Result<Phases> ComputePhases(const PackageData& p) {
  Phases out;
  out.begin = {0};
  out.tensor.assign(p.tensors.size(), 0);
  if (std::none_of(p.steps.begin(), p.steps.end(), [](const PackageStep& s) { return s.data_dims; })) return out;
  std::set<std::string> bound;
  std::string text;
  for (int t : p.inputs) {
    for (const Dim& d : p.tensors[static_cast<size_t>(t)].shape) {
      if (const std::string* symbol = PlainSymbol(d, text)) bound.insert(*symbol);
    }
  }
  // Tensors that are not known yet: how many symbols each lacks, and who lacks which.
  std::vector<int> missing(p.tensors.size(), 0);
  std::map<std::string, std::vector<size_t>> waiting;
  for (size_t i = 0; i < p.tensors.size(); ++i) {
    std::set<std::string> lacks;
    for (const Dim& d : p.tensors[i].shape) {
      for (std::string& symbol : d.Symbols()) {
        if (!bound.count(symbol)) lacks.insert(std::move(symbol));
      }
    }
    for (const std::string& symbol : lacks) waiting[symbol].push_back(i);
    missing[i] = static_cast<int>(lacks.size());
    out.tensor[i] = missing[i] == 0 ? 0 : -1;
  }
  const Liveness live = ComputeLiveness(p);
  for (size_t s = 0; s < p.steps.size(); ++s) {
    const PackageStep& step = p.steps[s];
    auto check = [&](const std::vector<int>& list, const char* field) -> Status {
      for (size_t k = 0; k < list.size(); ++k) {
        if (list[k] < 0) continue;
        const auto t = static_cast<size_t>(list[k]), owner = static_cast<size_t>(live.owner[t]);
        if (out.tensor[t] >= 0 && out.tensor[owner] >= 0) continue;
        return DataLoss(DescribeStep(p, s) + "." + field + "[" + std::to_string(k) + "] (" + DescribeTensor(p, out.tensor[t] < 0 ? t : owner) +
                        "): its extent is not known at this step");
      }
      return OkStatus();
    };
    SLIPWAY_RETURN_IF_ERROR(check(step.inputs, "inputs"));
    if (step.data_dims) {
      const int phase = static_cast<int>(out.begin.size());
      out.begin.push_back(static_cast<int>(s));
      for (size_t k = 0; k < step.outputs.size(); ++k) {
        if (step.outputs[k] < 0) continue;
        const PackageTensor& t = p.tensors[static_cast<size_t>(step.outputs[k])];
        for (size_t d = 0; d < t.shape.size(); ++d) {
          if (Known({t.shape[d]}, bound)) continue;
          const std::string* symbol = PlainSymbol(t.shape[d], text);
          if (!symbol) {
            return DataLoss(DescribeStep(p, s) + ".outputs[" + std::to_string(k) + "], dimension " + std::to_string(d) + ": " +
                            t.shape[d].ToString() + " is not one new symbol and not known");
          }
          bound.insert(*symbol);
          for (size_t i : waiting[*symbol]) {
            if (--missing[i] == 0) out.tensor[i] = phase;
          }
        }
      }
    }
    SLIPWAY_RETURN_IF_ERROR(check(step.outputs, "outputs"));
  }
  for (size_t i = 0; i < p.tensors.size(); ++i) {
    if (out.tensor[i] < 0) return DataLoss(DescribeTensor(p, i) + ".dims: no input and no step says " + ToString(p.tensors[i].shape));
  }
  return out;
}

}  // namespace slipway::format
