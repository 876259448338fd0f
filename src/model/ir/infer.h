#pragma once
// Shape and type inference, symbolic and with the values of small integer tensors followed through
// shape arithmetic (Shape -> Gather -> Concat -> Reshape), so that most "dynamic" exports become
// static or cleanly symbolic.

#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/ir/graph.h"
#include "model/ir/schema.h"

namespace slipway::ir {

// What one operator's inference function reads and writes.
class InferContext {
 public:
  virtual ~InferContext() = default;
  // The operator: one inference function may serve several.
  virtual std::string_view domain() const = 0;
  virtual std::string_view op() const = 0;
  virtual const Attributes& attributes() const = 0;
  virtual size_t num_inputs() const = 0;
  virtual size_t num_outputs() const = 0;
  virtual bool has_input(size_t i) const = 0;
  virtual const Type& input(size_t i) const = 0;
  // The constant at input i, or null.
  virtual const Tensor* constant(size_t i) const = 0;
  // The elements of input i when it is an integer tensor whose elements are known at least as
  // expressions, in row-major order.
  virtual std::optional<std::vector<Dim>> elements(size_t i) const = 0;
  // How many tensors the sequence at input i holds, when that is known before it is made.
  virtual std::optional<Dim> length(size_t i) const = 0;
  virtual void set_output(size_t i, DType dtype, std::optional<SymShape> shape) = 0;
  // The same for sequences and optionals.
  virtual void set_output(size_t i, Type type) = 0;
  virtual void set_length(size_t i, Dim length) = 0;
  // Declares the elements of integer output i.
  virtual void set_elements(size_t i, std::vector<Dim> elements) = 0;
  // A symbol that nobody else has, for a size that only the data decides.
  virtual Dim fresh_symbol() = 0;
  // A contraction or concatenation pairs two dimensions of which one is symbolic and that must
  // agree: recorded, not an error. A data-dependent symbol alone on one side becomes the other side
  // from here on.
  virtual void assume_equal(const Dim& a, const Dim& b) = 0;
  // Every symbol of `d` is one of the graph inputs' (or there is none): its value is known before
  // the graph runs.
  virtual bool bound(const Dim& d) const = 0;
};

struct InferOptions {
  // Known values per symbol: symbols in input shapes become these before inference (batch, image
  // size). A symbol that no input has, a negative value, or one outside the symbol's declared range
  // is an InvalidArgument.
  std::unordered_map<std::string, int64_t> symbols;
  // Replace declared types of intermediate values also where inference knows less than the file
  // said.
  bool forget_declared = false;
};

// Infers every value's type in the graph's order and checks declared types against the inferred
// ones (a contradiction is an InvalidArgument that names the node; the declared shape of a graph
// output yields to the inferred one). Of a declared and an inferred dimension the more specific one
// wins: a number, then an expression over the inputs' symbols, then a data-dependent symbol; except
// that a declared number yields to an expression over the inputs' symbols (files keep stale numbers
// when somebody makes their batch dynamic). Nodes of operators outside the table keep their
// declared types.
Status InferShapes(Graph& graph, const InferOptions& options = {});

// Whether the operator takes or gives sequences and optionals. All others are refused one by
// inference, so that their own functions see tensors only.
bool TakesContainers(const Node& node);

// One node with concrete inputs: the interpreter's and the tests' way in. `inputs` give type and
// extent of each present input, `constants` the data where known (null otherwise). Data-dependent
// outputs come back without shape.
Result<std::vector<Type>> InferNode(const Node& node, std::span<const Type> inputs,
                                    std::span<const Tensor* const> constants);

}  // namespace slipway::ir
