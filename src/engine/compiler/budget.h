#pragma once
// Choosing one alternative for each layer under a budget: mixed precision. It is the
// multiple-choice knapsack problem (Sinha and Zoltners, 1979), solved exactly.

#include <cstddef>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::compiler {

struct Alternative {
  std::string name;  // "int8", "W4A8", "float"
  double cost = 0;   // of what the budget is: milliseconds, bytes, bit operations; not negative
  double loss = 0;   // what the network loses by it; losses of layers add up
};

struct Layer {
  std::string node;
  std::vector<Alternative> alternatives;
};

struct Choice {
  std::vector<size_t> picks;  // of each layer's alternatives
  double cost = 0, loss = 0;
};

// The picks with the least loss whose costs add up to `budget` or less; of equal losses the
// cheapest. InvalidArgument: a layer without alternatives, a figure that is negative or not finite,
// or a budget under what the cheapest picks cost (the message has that figure).
Result<Choice> ChooseUnderBudget(const std::vector<Layer>& layers, double budget);

// Picks that no other picks beat in both cost and loss, by rising cost, where a straight line
// through their neighbours leaves them (the convex front): what a budget between them buys.
Result<std::vector<Choice>> ConvexFront(const std::vector<Layer>& layers);

}  // namespace slipway::compiler
