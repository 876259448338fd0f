#pragma once
// The options of quantization, the same for `quantize` and `deploy`.

#include <memory>
#include <string>

#include "cli/cli.h"
#include "data/dataset.h"
#include "deploy/quantize_job.h"

namespace slipway::cli {

struct QuantizeFlags {
  deploy::QuantizeRequest request;
  std::string config, platforms, calib, eval, preprocess;

  // All of them but the platform's. `samples` is what that option is called.
  void Declare(CLI::App& app, const char* samples = "--samples");
  // Takes from --config what the command line leaves open; `platform_option` is what the verb calls
  // its platforms. Then checks what can be checked before any work.
  Status Complete(const CLI::App& app, const char* platform_option);
  // How --calib and --eval are read.
  Result<data::DatasetOptions> DataOptions() const;
};

}  // namespace slipway::cli
