#pragma once
// The whole road: one model, several platforms; for each a package, its size, latency, accuracy and
// a verdict; one report.

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "deploy/bench.h"
#include "deploy/model_io.h"
#include "deploy/place.h"
#include "deploy/quantize_job.h"
#include "quant/sensitivity/sensitivity.h"

namespace slipway::deploy {

struct DeployOptions {
  std::string model;
  std::vector<std::string> platforms;
  std::string calibration, evaluation;  // DATA; evaluation may be empty (no accuracy then),
                                        // calibration only when nothing is quantized
  data::DatasetOptions data;            // how both are read
  // How platforms with integers get them, its gate and the batch of evaluation; algorithms for
  // weights alone quantize for all platforms. `work` is the deployment's own.
  QuantizeRequest quantize;
  std::string folder;
  int64_t evaluation_samples = 0;  // 0 = all
  double slow_seconds = 45;  // evaluation on a platform stops after this long; its drop is then
                             // taken on the same samples
  int threads = 1;           // of the measured latency, which is at batch 1
  std::string costs = "analytic";  // see CostModelFor
  bool tune = false;               // plans by measurement (deploy/place.h), where platforms run here
  bool record = true;              // into the performance database
  std::map<std::string, std::vector<int64_t>> shapes;
  ModelOptions read;  // how to read the model file; its shapes and float_io are set from the above
  // "x86-int8", "calibrating", done, total (0 = unknown)
  std::function<void(const std::string& platform, const std::string& stage, int64_t done,
                     int64_t total)>
      progress;
};

struct PlatformOutcome {
  std::string platform, precision, package;  // the .slip's path
  std::vector<std::string> exported;         // paths of the files for the vendor's tool
  std::string choices;                       // how it was quantized, in one line
  std::optional<LadderOutcome> ladder;       // of --algorithm auto
  std::optional<MixedChoice> mixed;          // of --budget
  std::vector<std::string> notes;
  Status status;  // why this platform failed, if it did; the others go on
  bool emulated = false;
  bool simulated = false;  // its integers were computed exactly; it is not here to be measured
  uint64_t size = 0, peak_bytes = 0;
  BenchResult bench;
  double own_node_share = 1, own_mac_share = 1;
  double parity_error = 0, parity_db = 0;  // against the float model in the interpreter
  bool has_accuracy = false;
  double top1 = 0, drop = 0;           // drop in points against the float model on the same samples
  double drop_low = 0, drop_high = 0;  // paired 95 % interval, points
  int64_t evaluated = 0;
  bool gate_ok = true;
  std::vector<quant::LayerError> layers;  // for integer platforms, in execution order
  std::vector<compiler::PlacementRow> placement;
  std::vector<PlanRow> plans;  // that were timed to choose the placement
  std::vector<std::string> resumed;  // stages whose stored result was used
};

struct DeployOutcome {
  std::string model, model_sha256;
  int64_t parameters = 0, macs = 0;  // macs at dynamic dimensions of 1
  double float_top1 = 0, max_drop = -1;
  int64_t evaluated = 0, calibration_samples = 0;
  int threads = 1;
  std::vector<PlatformOutcome> platforms;
  // GateFailed when a gate failed (names the layer that hurts most), else the first platform's
  // error, else ok.
  Status status;
};

// Writes DIR/PLATFORM.slip, what is quantized as DIR/PLATFORM.qdq.onnx, and the files of a vendor's
// tool into DIR/PLATFORM/ where the platform has an exporter (report/deployment.h makes the
// report). Finished stages (quantization, accuracy) are kept in DIR/.stages under a hash of
// everything they depend on, blocks of a reconstruction one by one, so that a second call goes on
// where the first stopped. An error is returned only when nothing can be deployed at all (the
// model, the data or the request is unusable, the folder unwritable, a platform unknown).
Result<DeployOutcome> Deploy(const DeployOptions& options);

}  // namespace slipway::deploy
