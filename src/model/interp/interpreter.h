#pragma once
// Runs a graph node by node with the plain-loop kernels of model/ops: the oracle that every backend
// is compared with, and the engine of calibration, constant folding and debugging.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/ir/graph.h"
#include "model/ops/kernel.h"

namespace slipway::interp {

struct RunOptions {
  Parallel* pool = nullptr;  // null: on the calling thread
  // Called on the calling thread with every graph input and every node output as soon as it is
  // there, in the order of execution (constants, sequences, optionals and what is inside of bodies
  // are not shown). A value may be unnamed to the user but always has a name. The tensor may be
  // kept.
  std::function<void(const ir::Value&, const ir::Tensor&)> observer;
  // Values alive at the same time may not exceed this many bytes (constants and inputs not
  // counted): a wrong shape in a model from outside then is an error and not the end of the
  // process.
  int64_t max_bytes = int64_t{16} << 30;
  // Loops and scans may run this many iterations together, nested ones counted each time.
  int64_t max_iterations = 10'000'000;
};

class Interpreter {
 public:
  // The graph must outlive the interpreter and must not change while it is in use. Types need not
  // be inferred before. Errors: a node whose operator has no kernel (Unsupported; all such
  // operators are named), a value used before it is made.
  static Result<Interpreter> Create(const ir::Graph& graph);

  // One tensor for each graph input, in order; gives one for each graph output. Safe to call from
  // several threads. InvalidArgument: an input of another type or extent than declared (symbols
  // must agree over all inputs); other errors name the node at fault.
  Result<std::vector<ir::Tensor>> Run(std::span<const ir::Tensor> inputs,
                                      const RunOptions& options = {}) const;

  const ir::Graph& graph() const { return *graph_; }

 private:
  // A value's place in the array of live tensors; -1 for an absent optional.
  struct Step {
    const ir::Node* node;
    ops::Kernel kernel;
    std::vector<int> inputs, outputs;
    std::vector<int> dead;  // slots whose last reader this node is
    // Of If, Loop and Scan, in the order of ir::BodyNames.
    std::vector<std::shared_ptr<const Interpreter>> bodies;
    bool sequence = false;  // RunSequence, not a kernel; Identity when it gets one
  };
  // What the whole run shares, bodies included.
  struct Budget {
    int64_t iterations;
    int64_t bytes;  // still free
  };
  friend class ControlRun;
  friend class SequenceRun;

  // Inputs are as declared; those of bodies need no check.
  Result<std::vector<ir::Tensor>> RunBody(std::span<const ir::Tensor> inputs,
                                          const RunOptions& options, Budget& budget) const;
  // One of the operators on sequences and optionals, or Identity of one.
  static Result<ir::Tensor> RunSequence(const Step& step, std::span<const ir::Tensor> inputs,
                                        const RunOptions& options, Budget& budget);
  static Result<std::vector<ir::Tensor>> RunControl(const Step& step,
                                                    std::span<const ir::Tensor> inputs,
                                                    const RunOptions& options, Budget& budget);

  const ir::Graph* graph_ = nullptr;
  std::vector<Step> steps_;
  std::vector<int> input_slots_, output_slots_;
  std::vector<ir::Tensor> initial_;  // aligned constants in their slots; other slots empty
};

// Checks that tensors fit the declared inputs: count, element types, extents, symbols bound alike
// everywhere and inside their declared ranges. The error names the input, the type it expects and
// the one given.
Status CheckInputs(const ir::Graph& graph, std::span<const ir::Tensor> inputs);

// Create and Run in one go, for constant folding and tests.
Result<std::vector<ir::Tensor>> Evaluate(const ir::Graph& graph, std::span<const ir::Tensor> inputs,
                                         const RunOptions& options = {});

}  // namespace slipway::interp
