#pragma once
// A graph of the IR executed with automatic differentiation, by libtorch. Nothing of torch shows in
// this header: the implementation is a shared library of its own (libslipway_learn.so) that is
// loaded when it is first asked for, because libtorch takes 0.7 s and 160 MB to start.

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

class Engine {
 public:
  virtual ~Engine() = default;
  // The graph must outlive the module and stay as it is. Unsupported: types that cannot be
  // inferred.
  virtual Result<std::unique_ptr<Module>> MakeModule(const ir::Graph& graph,
                                                     const ModuleOptions& options = {}) = 0;
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
