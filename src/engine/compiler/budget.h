#pragma once
// Choosing one alternative for each layer under a budget: mixed precision. It is the
// multiple-choice knapsack problem (Sinha and Zoltners, 1979), solved exactly; with costs of what
// lies between layers of different domains (floats here, codes there) by dynamic programming over
// the domains of the layers whose neighbours are still to come.

#include <cstddef>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::compiler {

struct LayerOption {
  std::string name;  // "int8", "W4A8", "float"
  double cost = 0;   // of what the budget is: milliseconds, bytes, bit operations; not negative
  double loss = 0;   // what the network loses by it; losses of layers add up
  int domain = 0;    // what kind of values it reads and makes; 0 to 255
};

struct LayerOptions {
  std::string node;
  std::vector<LayerOption> options;
};

// Costs that much when the options of both layers are of different domains: `up` when that of `to`
// is the greater. Neither is negative.
struct DomainSwitch {
  size_t from = 0, to = 0;  // layers, from < to
  double up = 0, down = 0;

  double Cost(int from_domain, int to_domain) const {
    return from_domain == to_domain ? 0 : from_domain < to_domain ? up : down;
  }
};

struct BudgetChoice {
  std::vector<size_t> picks;  // of each layer's options
  double cost = 0, loss = 0;
  bool exact = true;  // false: so many choices were left that costs were rounded to a 4000th
};

// The picks with the least loss whose costs add up to `budget` or less; of equal losses the
// cheapest. InvalidArgument: a layer without options, a figure that is negative or not finite,
// or a budget under what the cheapest picks cost (the message has that figure); a switch between
// layers that are not there or not in order.
Result<BudgetChoice> ChooseUnderBudget(const std::vector<LayerOptions>& layers, double budget,
                                       const std::vector<DomainSwitch>& switches = {});

// Picks that no other picks beat in both cost and loss, by rising cost, where a straight line
// through their neighbours leaves them (the convex front): what a budget between them buys.
// Switches are not counted.
Result<std::vector<BudgetChoice>> ConvexFront(const std::vector<LayerOptions>& layers);

}  // namespace slipway::compiler
