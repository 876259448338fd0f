#pragma once
// Helpers that the generators of random one-node graphs share.

#include <string>
#include <vector>

#include "base/float16.h"
#include "engine/backends/cts/harness.h"

namespace slipway::cts {

using ir::Graph;
using ir::Value;

inline DType FloatType(Random& r) { return r.Chance(0.6) ? DType::kFloat32 : DType::kBFloat16; }
inline Dim BatchSymbol() { return Dim::Symbol("N"); }

// Builds the one node of a case.
class Maker {
 public:
  explicit Maker(Random& random) : random_(random) { case_.graph = std::make_unique<Graph>(); }

  Case& options() { return case_; }
  const Value& input(size_t i) const { return *inputs_[i]; }
  Random& random() { return random_; }

  Maker& Input(DType t, SymShape shape) {
    inputs_.push_back(
        case_.graph->AddInput("x" + std::to_string(inputs_.size()), {t, std::move(shape)}));
    return *this;
  }
  Maker& Absent() {
    inputs_.push_back(nullptr);
    return *this;
  }
  Maker& Constant(ir::Tensor tensor) {
    inputs_.push_back(
        case_.graph->AddConstant("c" + std::to_string(inputs_.size()), std::move(tensor)));
    return *this;
  }
  Maker& Floats(const Dims& dims, double low = -1, double high = 1) {
    return Constant(half_ ? Rounded(RandomFloats(dims, low, high)) : RandomFloats(dims, low, high));
  }
  // From now on Floats() are bfloat16.
  Maker& Half() {
    half_ = true;
    return *this;
  }
  Maker& Ints(const std::vector<int64_t>& values) { return Constant(ir::Tensor::Vector(values)); }
  Maker& Set(const std::string& name, ops::AttributeValue value) {
    attributes_.Set(name, std::move(value));
    return *this;
  }

  ir::Tensor RandomFloats(const Dims& dims, double low = -1, double high = 1) {
    auto t = *ir::Tensor::Allocate(DType::kFloat32, dims);
    for (int64_t i = 0; i < dims.count(); ++i)
      reinterpret_cast<float*>(t.mutable_data())[i] = static_cast<float>(random_.Real(low, high));
    return t;
  }
  static ir::Tensor Rounded(const ir::Tensor& floats) {
    auto t = *ir::Tensor::Allocate(DType::kBFloat16, floats.dims());
    for (int64_t i = 0; i < floats.count(); ++i) {
      reinterpret_cast<BFloat16*>(t.mutable_data())[i] =
          BFloat16(reinterpret_cast<const float*>(floats.bytes().data())[i]);
    }
    return t;
  }
  ir::Tensor RandomCodes(DType type, const Dims& dims) {
    auto t = *ir::Tensor::Allocate(type, dims);
    for (size_t i = 0; i < t.bytes().size(); ++i)
      t.mutable_data()[i] = static_cast<uint8_t>(random_.Next());
    return t;
  }

  Case Node(const std::string& op, const std::string& domain = "", size_t outputs = 1) {
    Graph::NodeSpec spec{
        .op = op, .inputs = inputs_, .attributes = attributes_, .domain = domain, .name = op};
    spec.outputs.assign(outputs, "");
    ir::Node* node = case_.graph->AddNode(std::move(spec));
    for (Value* v : node->outputs()) case_.graph->AddOutput(v);
    return std::move(case_);
  }

 private:
  Random& random_;
  Case case_;
  std::vector<Value*> inputs_;
  ops::Attributes attributes_;
  bool half_ = false;
};

// A random activation of the fused operators.
void SetActivation(Maker& m);
// Window attributes (kernel_shape, strides, pads, dilations) for `spatial` dimensions that fit
// extents of at least `smallest`.
struct RandomWindow {
  std::vector<int64_t> kernel, strides, pads, dilations;
};
RandomWindow MakeWindow(Random& random, int spatial, int64_t smallest, bool dilate);

// An extent to resize; then the other inputs and the attributes of a Resize of input 0, which is
// all that there is.
SymShape ResizeShape(Random& random);
void RandomResize(Maker& m, bool nearest);

std::span<const Family> LinearFamilies();
std::span<const Family> ElementwiseFamilies();
std::span<const Family> MovementFamilies();
std::span<const Family> IntegerFamilies();

}  // namespace slipway::cts
