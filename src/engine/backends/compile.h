#pragma once
// The compile side of a backend, one interface for its three levels: code (our kernels), operator
// (a vendor's primitives) and network (a vendor's graph compiler). The compiler asks every backend
// of a platform what it can do with each node and at which price, chooses, and hands each backend
// the nodes it won.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/format/layout.h"
#include "engine/format/op_desc.h"
#include "model/ir/graph.h"

namespace slipway::backends {

using format::Layout;

enum class Level : uint8_t { kCode = 1, kOperator = 2, kNetwork = 3 };

// Which weights a package holds as the kernels read them, instead of as the model has them: none
// (each process packs them when it makes its first session), those that take about as much memory
// so, or all, also Winograd's transformed ones, which take 1.8 or 4 times as much.
enum class Prepack : uint8_t { kNone = 0, kSame = 1, kAll = 2 };

// What the package will run on.
struct Target {
  std::string arch = "x86_64";  // "any" for portable backends only
  uint64_t features = 0;        // base/cpu.h bits that may be used
  int threads = 1;              // what costs are estimated for
  bool exact = false;  // no algorithm that rounds more than the sums it stands for (Winograd)
  Prepack prepack = Prepack::kNone;
  // Rough machine model for analytic costs, per thread: see compiler/cost.h for where it comes
  // from.
  double float_gmacs = 50;  // float32 GMAC/s at best
  double int8_gmacs = 200;
  double memory_gbps = 10;  // beyond the caches
  double cache_gbps = 60;
};

// One way to run a node.
struct Candidate {
  std::string kernel;  // for people and for the cost table: "conv:nchw16c", "add"
  // The physical layout it wants for each input (constants: ignored) and produces for each output.
  std::vector<Layout> inputs, outputs;
  // For analytic costs: the share of the machine's best rate in the node's arithmetic type (0, 1],
  // and of its cache bandwidth.
  double compute_efficiency = 0.5;
  double memory_efficiency = 0.5;
  double overhead_us = 1;
  // The whole price, of a backend that knows it; negative: the shares above say.
  double cost_us = -1;
  // Output 0 may share input i's memory (same bytes and layout): elementwise in place (>= 0), else
  // -1.
  int in_place = -1;
  // Output 0 is input 0's bytes under another shape: no step is emitted when the plan can alias
  // them.
  bool view = false;
};

// One step of the program, described by the backend that will run it.
struct StepSpec {
  const ir::Node* node = nullptr;  // for the name and the sources
  std::vector<const ir::Node*> others;  // of a network-level step: the nodes that it stands for too
  std::string kernel;
  std::vector<uint8_t> blob;
  std::vector<const ir::Value*> inputs;  // null = absent; constants included
  std::vector<const ir::Value*> outputs;
  std::vector<ir::Tensor>
      packed;              // further constant inputs, appended behind `inputs` (prepacked weights)
  uint64_t features = 0;   // of base/cpu.h that the step needs, beyond required_features
  uint32_t needs = 1;      // the format version whose readers know what the blob says
  int in_place = -1;       // as in Candidate
  uint64_t workspace = 0;  // a bound; the run side's prepare has the last word
};

// The nodes of one partition in execution order with the candidate chosen for each.
struct PartitionNode {
  const ir::Node* node;
  const Candidate* candidate;
};

class CompileBackend {
 public:
  virtual ~CompileBackend() = default;
  virtual std::string name() const = 0;  // the run side's slipway_backend.name
  virtual std::string version() const = 0;
  virtual Level level() const = 0;
  // The file that it came from, or empty: it is part of this build.
  virtual std::string plugin() const { return {}; }
  // An answer of a plugin that cannot be: the compiler stops with it.
  virtual Status Fault() const { return OkStatus(); }
  // Instructions that its run side needs beyond the target's baseline at all (0 when it dispatches
  // by itself).
  virtual uint64_t required_features(const Target&) const { return 0; }

  // Ok, or Unsupported with the reason in a few words ("dilation 3", "uint8 input"). Shapes may be
  // symbolic.
  virtual Status Supports(const ir::Node& node, const Target& target) const = 0;
  // Whether its run side answers output_dims for this node (slipway/backend.h): it then takes nodes
  // whose outputs' extents depend on their inputs' data. Asked for such nodes only.
  virtual bool GivesDataDims(const ir::Node&) const { return false; }
  // At least one candidate for a supported node.
  virtual std::vector<Candidate> Candidates(const ir::Node& node, const Target& target) const = 0;
  // Compiles nodes it won. Network-level backends answer with one step for all; the others with one
  // a node, in order.
  virtual Result<std::vector<StepSpec>> Compile(std::span<const PartitionNode> nodes,
                                                const Target& target) const = 0;
};

// A backend that compiles node by node into OpDesc blobs: override what differs.
class OpBackend : public CompileBackend {
 public:
  Result<std::vector<StepSpec>> Compile(std::span<const PartitionNode> nodes,
                                        const Target& target) const override;

 protected:
  // Default: the node's operator and attributes, plus "kernel" = candidate.kernel as a string
  // attribute.
  virtual Result<StepSpec> CompileNode(const ir::Node& node, const Candidate& candidate,
                                       const Target& target) const;
};

// Every operator has plain layouts by default.
Candidate PlainCandidate(const ir::Node& node, std::string kernel);
// True when all channels-carrying 4-D inputs and outputs of the node have a static channel count
// that is a multiple of `block`.
bool ChannelsMultipleOf(const ir::Node& node, int block);

}  // namespace slipway::backends
