#pragma once
// slipway-run as a function: parses arguments, runs a package through include/slipway.h, writes arrays and reports.

#include <string>
#include <vector>

namespace slipway::run_tool {

// Arguments without the program's name. Returns the exit code: 0 ok, 2 user error, 3 infrastructure. What is asked for goes to `out`, errors (one
// line) to `err`.
int Main(const std::vector<std::string>& arguments, std::string& out, std::string& err);

}  // namespace slipway::run_tool
