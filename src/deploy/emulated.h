#pragma once
// Packages on a device that is not this process: pushed there and run by slipway-run, the runtime's
// own command.

#include <string>
#include <vector>

#include "deploy/bench.h"
#include "deploy/device_session.h"

namespace slipway::deploy {

// Puts on the device what runs of several processes share: the runner, and where `backends` of
// plugins are named, that for plugins and their libraries. Errors say what is missing.
Status PrepareDevice(DeviceSession& session, const compiler::Platform& platform,
                     const std::vector<std::string>& backends);

// Latency by `slipway-run --bench`: fewer and shorter samples than here, since emulation is slow
// and its times mean little.
Result<BenchResult> BenchOnDevice(const std::string& package_path,
                                  const compiler::Platform& platform,
                                  const std::vector<ir::Tensor>& inputs,
                                  const std::vector<std::string>& input_names,
                                  const BenchOptions& options);

// Runs inputs (by their names) whose first dimension holds any number of rows through the package's
// own batch; gives output 0 of all rows.
Result<ir::Tensor> RunRowsOnDevice(const std::string& package_path,
                                   const compiler::Platform& platform,
                                   const std::vector<std::string>& names,
                                   const std::vector<ir::Tensor>& rows, double timeout_seconds);

// One run of a package; inputs and outputs in the package's order. Unsupported: an output of a type
// below 8 bits whose extent the package does not know.
Result<std::vector<ir::Tensor>> RunOnDevice(const std::vector<uint8_t>& package,
                                            const compiler::Platform& platform,
                                            const std::vector<ir::Tensor>& inputs,
                                            double timeout_seconds);

}  // namespace slipway::deploy
