#pragma once
// Numerical agreement of two ways of running one model.

#include "base/status.h"
#include "deploy/evaluate.h"

namespace slipway::deploy {

struct Parity {
  double max_error = 0;  // largest absolute difference / range of the reference output, over all
                         // outputs and inputs tried
  double sqnr_db = 0;    // over everything
  std::string worst_output;
  int64_t runs = 0;
};

// Runs both on every input set. Outputs are matched by position; InvalidArgument when their number,
// type or extent differ.
Result<Parity> Compare(const RunFunction& reference, const RunFunction& other,
                       const std::vector<std::vector<ir::Tensor>>& inputs,
                       const std::vector<std::string>& output_names);

}  // namespace slipway::deploy
