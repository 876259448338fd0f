#pragma once
// An If, Loop or Scan of a session: the sessions of its bodies, and what goes from one iteration to
// the next. What the operators mean is written in model/interp/control.cc; this gives the same
// results. Internal to this folder.

#include <memory>
#include <span>
#include <vector>

#include "engine/format/control.h"
#include "engine/runtime/session.h"

namespace slipway::runtime {

class ControlRun {
 public:
  ControlRun(const Package& package, size_t step, const SessionOptions& options,
             std::shared_ptr<Session::Shared> shared);

  // Runs the bodies. With `known` the extents of the outputs are, and the results go there; else
  // they stay here until Deliver. The data of `inputs` are there. Errors name the body's step, or
  // the input, output or carried value that does not fit.
  Status Run(std::span<const slipway_tensor> inputs, std::span<const slipway_tensor> outputs,
             bool known);
  // The extents of the results of a Run that did not know them: the dims of every present output.
  // -1: it ran no iteration, so nothing tells.
  void Extents(std::span<slipway_tensor> outputs) const;
  Status Deliver(std::span<const slipway_tensor> inputs, std::span<const slipway_tensor> outputs);

  const std::vector<std::unique_ptr<Session>>& bodies() const { return bodies_; }
  uint64_t memory_bytes() const;

 private:
  struct Value {
    Block memory;
    Dims dims;
    ListPtr list;  // of a carried sequence or optional
  };

  Status RunIf(std::span<const slipway_tensor> inputs, std::span<const slipway_tensor> outputs,
               bool known);
  Status RunLoop(std::span<const slipway_tensor> inputs, std::span<const slipway_tensor> outputs,
                 bool known);
  Status RunScan(std::span<const slipway_tensor> inputs, std::span<const slipway_tensor> outputs,
                 bool known);
  static const ListPtr& ListOf(const Session::Io& io, const Session& body) {
    return body.lists_[static_cast<size_t>(io.tensor)];
  }
  Status CountIteration();
  // Binds input i of a body to memory that is 64-byte aligned and stays until the body has run.
  Status Feed(Session& body, size_t i, std::span<const int64_t> dims, void* data, uint64_t bytes);
  Status FeedTensor(Session& body, size_t i, const slipway_tensor& t) {
    return Feed(body, i, {t.dims, static_cast<size_t>(t.rank)}, t.data, t.bytes);
  }
  Status FeedSlice(size_t i, const slipway_tensor& t, int64_t at);
  // The carried and captured inputs, then one run of the body; takes what it made.
  Status Iterate(std::span<const slipway_tensor> inputs, std::span<const slipway_tensor> outputs,
                 bool known);
  Status Append(size_t i, const slipway_tensor& output, bool known);
  Status DeliverCarried(std::span<const slipway_tensor> inputs,
                        std::span<const slipway_tensor> outputs);
  size_t OutputAxis(size_t i) const {
    return control_.output_axes.empty() ? 0 : static_cast<size_t>(control_.output_axes[i]);
  }
  bool OutputBackward(size_t i) const {
    return !control_.output_backward.empty() && control_.output_backward[i] != 0;
  }

  const format::PackageStep& step_;
  const format::PackageControl& control_;
  const format::ControlForm form_;
  const SessionOptions options_;
  std::shared_ptr<Session::Shared> shared_;
  std::vector<std::unique_ptr<Session>> bodies_;
  std::vector<Value> carried_, stacks_, slices_;  // a stack's dims are those of one slice
  size_t taken_ = 0;                              // If: the branch
  int64_t iterations_ = 0, expected_ = -1;        // Scan knows how many there will be
  alignas(64) int64_t iteration_ = 0;
  alignas(64) bool true_ = true;
};

}  // namespace slipway::runtime
