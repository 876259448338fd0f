#pragma once
// A graph of the IR executed with automatic differentiation, by libtorch. Nothing of torch shows in
// this header: the implementation is a shared library of its own (libslipway_learn.so) that is
// loaded when it is first asked for, because libtorch takes 0.7 s and 160 MB to start.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::learn {

struct ModuleOptions {
  // Arithmetic in double precision, for numerical checks of gradients.
  bool float64 = false;
  // On the first CUDA device; Unsupported where the loaded libtorch has none.
  bool cuda = false;
};

// One graph. Values of integer types (shapes, indices) are computed by the interpreter; Quantize
// and Dequantize are computed in floating point, with straight-through gradients (Bengio et al.,
// 2013) for values and those of LSQ (Esser et al., 2019) for scales. An operator without a
// derivative here runs as the interpreter has it, see Backward. Not for several threads at once.
class Module {
 public:
  virtual ~Module() = default;

  // One tensor for each graph input, in order, of the declared types; gives one for each output.
  // Errors name the node at fault.
  virtual Result<std::vector<ir::Tensor>> Forward(std::span<const ir::Tensor> inputs) = 0;

  struct Gradients {
    std::vector<ir::Tensor> outputs;  // as of Forward
    std::vector<ir::Tensor> values;   // like those asked for, float32 (float64 with that option)
  };
  // The gradients of sum over outputs of <output, output_gradient> with respect to `values`: names
  // of inputs, constants or results of nodes of a floating-point type. An absent output gradient is
  // zero. Zeros where a value has no influence. NotFound: no such value; Unsupported names an
  // operator on the way that has no derivative.
  virtual Result<Gradients> Backward(std::span<const ir::Tensor> inputs,
                                     std::span<const ir::Tensor> output_gradients,
                                     std::span<const std::string> values) = 0;
};

// ---- reconstruction ----
//
// A block is a graph whose weights go through Quantize and Dequantize nodes, as do activations: its
// outputs on the inputs that the quantized network gives it are brought to those of the float
// network. Learned are, for weights, whether each is rounded up or down (AdaRound: Nagel et al.,
// 2020; by blocks, BRECQ: Li et al., 2021), and for activations the scale (LSQ), perhaps with
// random elements left as they are (QDrop: Wei et al., 2022). Float weights are trained themselves:
// those that pruning has left.

struct ReconstructOptions {
  int64_t iterations = 2000, batch = 32;
  double rounding_rate = 1e-3;  // of Adam
  double scale_rate = 4e-5;     // of Adam, falling to 0 by a cosine
  // Weight of the sum over weights of 1 - |2 h - 1|^beta, which drives h to 0 or 1; off for the
  // first share `warm_up` of the iterations, then beta falls linearly.
  double regularisation = 0.01, warm_up = 0.2, beta_high = 20, beta_low = 2;
  // The probability that an element of an activation (and of a block input, where there are float
  // ones) is not quantized.
  double drop = 0;
  // Roundings: weights that are exactly 0 stay 0, those of a pruned network.
  bool keep_zeros = false;
  // Names of float32 constants of the block that are trained by Adam; of those with two dimensions
  // or more, elements that are exactly 0 stay 0. The rate is a share of a constant's root mean
  // square and falls to 0 by a cosine.
  std::vector<std::string> weights;
  double weight_rate = 5e-3;
  uint64_t seed = 1;
};

struct ReconstructData {
  int64_t samples = 0;             // the first extent of everything here; may lie in mapped files
  std::vector<ir::Tensor> inputs;  // of the block, behind the quantized network
  std::vector<ir::Tensor> float_inputs;  // behind the float network, or empty
  std::vector<ir::Tensor> targets;       // outputs of the float network
  // What the squared error of an element counts (the squared gradient of the task's loss, Fisher's
  // information), or empty.
  std::vector<ir::Tensor> importance;
};

struct ReconstructResult {
  // By the name of the Quantize node: the chosen codes of its weights, of the type that it gives.
  std::vector<std::pair<std::string, ir::Tensor>> codes;
  std::vector<std::pair<std::string, float>> scales;  // of activations
  // By the name of the constant; as given where training made the error no less.
  std::vector<std::pair<std::string, ir::Tensor>> weights;
  // Squared error, summed over channels, mean over the rest, over all samples: rounded to the
  // nearest with the given scales, and as returned.
  double loss_before = 0, loss_after = 0;
  double seconds = 0;  // of the iterations
};

class Engine {
 public:
  virtual ~Engine() = default;
  // The graph must outlive the module and stay as it is. Unsupported: types that cannot be
  // inferred.
  virtual Result<std::unique_ptr<Module>> MakeModule(const ir::Graph& graph,
                                                     const ModuleOptions& options = {}) = 0;
  // `rounding`: names of Quantize nodes of constant weights whose rounding is learned; `scales`: of
  // Quantize nodes of activations, one scale each, whose scale is. Each is followed by one
  // Dequantize and no other node. Deterministic for a seed and a number of threads. `progress` is
  // told of each iteration; false stops (Cancelled). InvalidArgument names a node or tensor that
  // does not fit.
  virtual Result<ReconstructResult> Reconstruct(
      const ir::Graph& block, std::span<const std::string> rounding,
      std::span<const std::string> scales, const ReconstructData& data,
      const ReconstructOptions& options,
      const std::function<bool(int64_t iteration)>& progress = {}) = 0;
  // Of all modules; 0: as many as CPUs.
  virtual void SetThreads(int threads) = 0;
  // "libtorch 1.13.1, CPU"
  virtual std::string Describe() const = 0;
  // Operators with a derivative, "Conv", "slipway.Linear", sorted.
  virtual std::vector<std::string> Operators() const = 0;
};

// The engine of this process: libslipway_learn.so of $SLIPWAY_LEARN_LIBRARY, or beside the program
// or in ../lib/slipway of it. Unsupported says why there is none and what to do.
Result<Engine*> GetEngine();

}  // namespace slipway::learn
