#pragma once
// Sections about quantization that the pages of `quantize` and `deploy` share.

#include <string>

#include "deploy/auto_quantize.h"
#include "deploy/mixed.h"
#include "report/html.h"

namespace slipway::report {

// "1.2 MB", "3.1 G", "2.5 ms": a cost of this budget.
std::string CostText(double cost, deploy::BudgetKind kind);

// Every rung with its accuracy and costs, which was kept and why the others were not: a chart of
// accuracy over time spent, and a table.
void LadderPart(const deploy::LadderOutcome& ladder, HtmlPage* page);
// One line: "brecq, rung 5 of 5: drop of 0.42 points".
std::string LadderLine(const deploy::LadderOutcome& ladder);

// What a budget bought: the front with the uniform networks and the choice, and the precision of
// each layer.
void BudgetPart(const deploy::MixedChoice& mixed, HtmlPage* page);
// "3 layers W8A8, 9 layers W4A8: 103 kB of 110 kB".
std::string BudgetLine(const deploy::MixedChoice& mixed);

}  // namespace slipway::report
