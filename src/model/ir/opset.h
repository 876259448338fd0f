#pragma once
// The one opset whose semantics the IR keeps. Importers upgrade to it, exporters write other opsets back.

namespace slipway::ir {

inline constexpr int kOpset = 26;
inline constexpr int kOldestImportOpset = 1;
inline constexpr int kOldestExportOpset = 11;
inline constexpr char kSlipwayDomain[] = "slipway";

}  // namespace slipway::ir
