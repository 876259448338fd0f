#pragma once
// Latency of a model or package, here or on an emulated device, stored in the performance database.

#include <map>
#include <string>
#include <vector>

#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "perfdb/store.h"

namespace slipway::deploy {

struct BenchRequest {
  std::string path;      // a .slip package or a model file
  // For a model file; for a package: the platform that it was compiled for, where its file lies
  // nowhere that platforms are looked for ("" else).
  std::string platform;
  std::map<std::string, std::vector<int64_t>> shapes;
  ModelOptions read;  // how to read a model file
  int64_t batch = 0;  // extent of a dynamic first dimension; 0 = 1
  bool record = true;
  std::string costs = "analytic";  // see CostModelFor
  BenchOptions options;
};

struct BenchOutcome {
  BenchResult result;
  std::string platform;
  int64_t batch = 1;
  std::string record;  // "row 12 of .../perf.db"; empty when not recorded
};

Result<BenchOutcome> Bench(const BenchRequest& request);

// The same for a package already compiled from `graph` for `platform`: runs on the platform's
// device (this machine or qemu-user). `structure_graph` gives the hashes under which it is stored;
// `store` may be null.
Result<BenchResult> MeasurePackage(const std::string& package_path,
                                   const compiler::Platform& platform,
                                   const std::vector<ir::Tensor>& inputs,
                                   const std::vector<std::string>& input_names,
                                   const BenchOptions& options);
Result<std::string> RecordMeasurement(perfdb::Store& store, const ir::Graph& graph,
                                      const compiler::Platform& platform, int64_t batch,
                                      int threads, const BenchResult& result);

// How packages are run on another instruction set: the runtime's own command, built by
// `scripts/build runtime-aarch64`. With plugins one that is linked dynamically,
// slipway-run-dynamic. NotFound says how to build it.
Result<std::string> DeviceRunner(const std::string& arch, bool with_plugins = false);

}  // namespace slipway::deploy
