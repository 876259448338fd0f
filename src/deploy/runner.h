#pragma once
// A model or package made ready to run here, and how it is timed.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "deploy/device_plugins.h"
#include "deploy/model_io.h"
#include "deploy/session.h"
#include "deploy/toolchain.h"
#include "device/measure.h"
#include "engine/kernels/ceiling/ceiling.h"
#include "model/ir/graph.h"

namespace slipway::deploy {

struct CompiledModel {
  compiler::Platform platform;
  compiler::CompileResult result;
  std::vector<uint8_t> bytes;  // the package
};

// `cost` "analytic" or "measured" (what the performance database knows about single steps where the
// platform runs).
Result<std::shared_ptr<const compiler::CostModel>> CostModelFor(const std::string& cost,
                                                                const compiler::Platform& platform,
                                                                int threads);

// Compiles for `platform`, with the model's file recorded in the package's provenance.
Result<CompiledModel> CompileModel(const ir::Graph& graph, const compiler::Platform& platform,
                                   const compiler::CompileOptions& options,
                                   const std::string& model_path = {},
                                   const std::string& weights_path = {});

// "x86" on an x86-64 machine, else "reference".
std::string HostPlatform();
// What computes on this machine what `platform` means: itself where its code runs here, else this
// machine's kernels with its scheme. Integers are then the same, times are not.
compiler::Platform RunnableHere(const compiler::Platform& platform);
// Whether a time taken on this machine is the platform's.
bool TimedHere(const compiler::Platform& platform);

// The platform of a package: `name` where it is given (a name or a file; it must be the one that
// the package was compiled for), else what the package says, or one that has nothing but that name.
Result<compiler::Platform> PlatformFor(const format::PackageData& package, const std::string& name);

// Something that runs on this machine: the interpreter ("interpreter"), a compiled model, or a
// package file.
class Runner {
 public:
  static Result<Runner> ForGraph(std::shared_ptr<const ir::Graph> graph,
                                 const std::string& platform, const SessionOptions& options);
  // `platform` as it is: its code must run here.
  static Result<Runner> ForGraph(std::shared_ptr<const ir::Graph> graph,
                                 const compiler::Platform& platform, const SessionOptions& options);
  static Result<Runner> ForPackage(const std::string& path, const SessionOptions& options);
  // As ForGraph and ForPackage, but on the platform's device where that is not this machine, which
  // stays open as long as the Runner and its copies. A package without a `platform` runs here.
  static Result<Runner> OnDevice(std::shared_ptr<const ir::Graph> graph,
                                 const std::string& platform, const SessionOptions& options);
  static Result<Runner> OnDevice(const std::string& package, const std::string& platform,
                                 const SessionOptions& options);

  using Port = deploy::Port;
  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  Result<std::vector<ir::Tensor>> Run(const std::vector<ir::Tensor>& inputs) {
    return run_(inputs);
  }
  Session* session() { return session_.get(); }  // null for the interpreter
  const std::string& platform() const { return platform_; }

 private:
  Status FromSession(Session session);
  Status FromDevice(std::vector<uint8_t> package, const compiler::Platform& platform);
  std::vector<Port> inputs_, outputs_;
  std::string platform_;
  std::shared_ptr<Session> session_;
  std::function<Result<std::vector<ir::Tensor>>(const std::vector<ir::Tensor>&)> run_;
};

// One tensor an input: from `given` by name, else (when `fill`) uniform random values in [-1, 1)
// (floats) or small non-negative integers, the same for one seed everywhere; dynamic dimensions
// become 1 or what `shapes` says. Sequences are given as NAME.0, NAME.1, ..., optionals by what
// they hold. Errors name the missing or surplus input.
Result<std::vector<ir::Tensor>> MakeInputs(
    const std::vector<Runner::Port>& ports, const std::map<std::string, ir::Tensor>& given,
    const std::map<std::string, std::vector<int64_t>>& shapes, bool fill, uint64_t seed = 1);
// A failure of a run on such inputs. Where dimensions behind the first became 1, which few networks
// bear, it says so, and how to give them.
Status WithAssumedSizes(const Status& status, const std::vector<Runner::Port>& ports,
                        const std::map<std::string, ir::Tensor>& given,
                        const std::map<std::string, std::vector<int64_t>>& shapes);

struct NodeTime {
  std::string name, op, backend, kernel;
  double ms = 0;        // of one call, mean of the profiled runs
  double least_ms = 0;  // of one call: what no neighbour disturbed
  int64_t macs = 0;     // at static shapes
  std::string
      signature;  // compiler::KernelSignature; empty for conversions and packages of unknown origin
  double calls = 1;  // in one run of the model: the body of a loop has more
  double total_ms() const { return ms * calls; }
  uint64_t bytes = 0;  // read and written by one call
  // Its multiplications a second, and its bytes a second, as shares of what the machine does at
  // best on so many threads (kernels/ceiling). 0: it has none. Caches make the second pass 1.
  double compute_share = 0, memory_share = 0;
};

struct BenchResult {
  device::Measurement measurement;
  uint64_t peak_bytes = 0;
  std::vector<NodeTime>
      nodes;  // from a separate profiled pass: timing every step costs a little itself
  bool emulated = false;
  std::vector<PluginUse> plugins;  // that the package needed
  // Where they were asked for: 10^9 multiplications with addition a second and thread, and bytes.
  double ceiling_gmacs[kernels::kCeilingKinds] = {};
  double ceiling_read_gbps = 0;
};

struct BenchOptions {
  device::MeasureOptions measure;
  SessionOptions session;
  bool profile = true;
  bool ceilings =
      false;  // with profile: also measure what the machine can do (a third of a second)
  std::function<void(double)> progress;
};

// Gives the nodes of a measurement the signatures of the nodes they were compiled from.
void Sign(std::vector<NodeTime>& nodes, const std::vector<compiler::PlacementRow>& placement);

// Compiles for a platform of this machine and times it on made-up inputs (dynamic dimensions of 1).
Result<BenchResult> BenchGraph(const ir::Graph& graph, const compiler::Platform& platform,
                               const BenchOptions& options);
Result<BenchResult> BenchSession(const Session& session, const std::vector<ir::Tensor>& inputs,
                                 const BenchOptions& options);

}  // namespace slipway::deploy
