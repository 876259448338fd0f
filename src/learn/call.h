#pragma once
// What the operators of learn/ops_*.cc share. Includes torch: for this folder's *.cc only.

#include <ATen/ATen.h>

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "model/ops/quantize.h"

namespace slipway::learn {

// A value while the graph runs: numbers on the device, or what the interpreter works on.
struct Cell {
  at::Tensor array;
  ir::Tensor host;
  bool present() const { return array.defined() || host.present(); }
};

struct Call {
  const ir::Node& node;
  std::span<const Cell> in;   // as many as the node has inputs
  at::TensorOptions options;  // of floating-point arrays

  bool Has(size_t i) const { return i < in.size() && in[i].present(); }
  // A floating-point input (or an integer one, converted).
  at::Tensor Array(size_t i) const;
  // int64 of an integer input, on the device.
  at::Tensor Indices(size_t i) const;
  // The numbers of an integer input.
  std::vector<int64_t> Ints(size_t i) const;
  int64_t Int(std::string_view name, int64_t fallback) const {
    return node.attributes.Int(name, fallback);
  }
  double Float(std::string_view name, float fallback) const {
    return static_cast<double>(node.attributes.Float(name, fallback));
  }
  std::vector<int64_t> IntList(std::string_view name) const {
    const auto list = node.attributes.Ints(name);
    return {list.begin(), list.end()};
  }
};

// Outputs as arrays; an empty list: this node is none that the function has (an attribute, a
// further output), and the interpreter shall run it. Throws c10::Error as torch does.
using Outputs = std::vector<at::Tensor>;
using Function = Outputs (*)(const Call&);

struct Operator {
  const char* domain;
  const char* name;
  Function function;
};
std::span<const Operator> ElementwiseOperators();
std::span<const Operator> TensorOperators();
std::span<const Operator> NetworkOperators();

// The activation of a fused operator (activation, activation_params), applied to y.
at::Tensor Activate(const Call& call, at::Tensor y);
// `rank` and an axis that may count from the end.
inline int64_t AxisOf(int64_t axis, int64_t rank) { return axis < 0 ? axis + rank : axis; }

// A scale or zero point of a quantization, scalar, [n] along its axis or blocked, as something that
// x can be divided by.
at::Tensor Spread(const at::Tensor& v, const at::Tensor& x, const ops::QuantParams& params);

// A host tensor of any type as an array of these options, and back as the given type.
at::Tensor ToArray(const ir::Tensor& tensor, const at::TensorOptions& options);
Result<ir::Tensor> ToHost(const at::Tensor& array, DType dtype);

}  // namespace slipway::learn
