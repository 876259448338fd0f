#pragma once
// The runtime's C interface as C++: a package and one session of it, with tensors in and out.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/tensor.h"
#include "slipway.h"

namespace slipway::deploy {

struct SessionOptions {
  int threads = 1;
  bool pin = false;
  bool profile = false;
  int spin = -1, yield = -1;  // of idle workers, as in slipway_session_options
};

class Session {
 public:
  static Result<Session> Load(const std::string& path, const SessionOptions& options = {});
  // `bytes` (a serialized package) is copied to aligned memory that the session owns.
  static Result<Session> FromBytes(std::span<const uint8_t> bytes,
                                   const SessionOptions& options = {});
  // Another session of the same package.
  Result<Session> Another(const SessionOptions& options) const;

  std::vector<slipway_tensor_info> inputs() const;
  std::vector<slipway_tensor_info> outputs() const;
  ir::Container input_container(size_t index) const;
  ir::Container output_container(size_t index) const;
  std::string Provenance(const std::string& key) const;

  // Sets shapes where they changed, copies the inputs in (in the package's order), runs, copies the
  // outputs out.
  Result<std::vector<ir::Tensor>> Run(const std::vector<ir::Tensor>& inputs);
  // The two halves of Run, for timing the runtime alone.
  Status SetInputs(const std::vector<ir::Tensor>& inputs);
  Status RunOnly();

  // Output `index` of the last run: a copy, or the session's own memory, valid until the next run.
  Result<ir::Tensor> Output(size_t index) const;
  Result<ir::Tensor> View(size_t index) const;

  std::vector<slipway_step_profile> Profile() const;
  slipway_step_cost StepCost(size_t index) const;  // of Profile()[index]
  void ResetProfile();
  uint64_t memory() const { return slipway_session_memory(session_.get()); }

 private:
  struct FreePackage {
    void operator()(slipway_package* p) const { slipway_package_free(p); }
  };
  struct FreeSession {
    void operator()(slipway_session* s) const { slipway_session_free(s); }
  };
  Session() = default;
  Status Create(const SessionOptions& options);
  Status SetContainer(const slipway_tensor_info& info, ir::Container container,
                      const ir::Tensor& value);
  Result<ir::Tensor> GetContainer(const slipway_tensor_info& info, ir::Container container) const;

  std::shared_ptr<void> bytes_;
  std::shared_ptr<slipway_package> package_;
  std::unique_ptr<slipway_session, FreeSession> session_;
  std::map<std::string, Dims> shapes_;
};

// The file behind a C error.
Status FromError(const slipway_error& error);

}  // namespace slipway::deploy
