#pragma once
// Choosing one alternative for each layer under a budget: mixed precision. It is the
// multiple-choice knapsack problem (Sinha and Zoltners, 1979), solved exactly.

#include <cstddef>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::compiler {

struct LayerOption {
  std::string name;  // "int8", "W4A8", "float"
  double cost = 0;   // of what the budget is: milliseconds, bytes, bit operations; not negative
  double loss = 0;   // what the network loses by it; losses of layers add up
};

struct LayerOptions {
  std::string node;
  std::vector<LayerOption> options;
};

struct BudgetChoice {
  std::vector<size_t> picks;  // of each layer's options
  double cost = 0, loss = 0;
};

// The picks with the least loss whose costs add up to `budget` or less; of equal losses the
// cheapest. InvalidArgument: a layer without options, a figure that is negative or not finite,
// or a budget under what the cheapest picks cost (the message has that figure).
Result<BudgetChoice> ChooseUnderBudget(const std::vector<LayerOptions>& layers, double budget);

// Picks that no other picks beat in both cost and loss, by rising cost, where a straight line
// through their neighbours leaves them (the convex front): what a budget between them buys.
Result<std::vector<BudgetChoice>> ConvexFront(const std::vector<LayerOptions>& layers);

}  // namespace slipway::compiler
