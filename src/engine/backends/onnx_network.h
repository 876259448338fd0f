#pragma once
// The compile side of backends that hand whole sub-graphs as ONNX bytes (opset 17) to a vendor's
// library: ONNX Runtime, OpenVINO, TensorRT.

#include <string>
#include <string_view>

#include "engine/backends/compile.h"
#include "slipway/backend.h"

namespace slipway::backends {

// float32 operators by name, plain layout, shapes may be open; the list is at the head of
// onnx_network.cc. What one library refuses beyond that is for Declines.
class OnnxNetworkCompiler : public CompileBackend {
 public:
  // `run` is its run side, `mark` that of its steps (engine/kernels/vendor/network_blob.h).
  OnnxNetworkCompiler(const slipway_backend* run, std::string_view mark) : run_(run), mark_(mark) {}

  std::string name() const override { return run_->name; }
  std::string version() const override { return run_->version; }
  Level level() const override { return Level::kNetwork; }
  Status Supports(const ir::Node& node, const Target& target) const override;
  std::vector<Candidate> Candidates(const ir::Node& node, const Target& target) const override;
  Result<std::vector<StepSpec>> Compile(std::span<const PartitionNode> nodes,
                                        const Target& target) const override;

 protected:
  // Of a node that the list has: Ok, or Unsupported with the reason.
  virtual Status Declines(const ir::Node&) const { return OkStatus(); }

 private:
  const slipway_backend* run_;
  std::string_view mark_;
};

}  // namespace slipway::backends
