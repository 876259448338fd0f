#pragma once
// A TensorFlow Lite file under construction: tensors, operators with their versions, the bytes.

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/frontends/tflite/tflite_generated.h"
#include "model/ir/tensor.h"

namespace slipway::quant {

namespace fb = tflite::fb;

struct TfliteQuant {
  std::vector<float> scales;  // empty: none
  std::vector<int64_t> zeros;
  int axis = 0;
  friend bool operator==(const TfliteQuant&, const TfliteQuant&) = default;
};

class TfliteFile {
 public:
  TfliteFile();
  // -1 in `shape`: dynamic. Gives the tensor's number.
  int Tensor(const std::string& name, const std::vector<int64_t>& shape, fb::TensorType type,
             const TfliteQuant& quant = {});
  int Constant(const std::string& name, const ir::Tensor& value, const TfliteQuant& quant = {});
  int Ints(const std::string& name, const std::vector<int64_t>& values);  // int32
  template <typename Options>
  void Op(fb::BuiltinOperator code, int version, std::vector<int> inputs, std::vector<int> outputs,
          Options options) {
    Op(code, version, std::move(inputs), std::move(outputs));
    graph().operators.back()->builtin_options.Set(std::move(options));
  }
  void Op(fb::BuiltinOperator code, int version, std::vector<int> inputs, std::vector<int> outputs);
  void Input(int tensor) { graph().inputs.push_back(tensor); }
  void Output(int tensor) { graph().outputs.push_back(tensor); }

  fb::TensorType TypeOf(int tensor) const { return At(tensor).type; }
  TfliteQuant QuantOf(int tensor) const;
  std::vector<int64_t> ShapeOf(int tensor) const;  // -1: dynamic
  const std::string& NameOf(int tensor) const { return At(tensor).name; }
  size_t operators() const { return model_.subgraphs[0]->operators.size(); }

  // ResourceExhausted above 2 GB, which a FlatBuffer does not hold.
  Result<std::string> Bytes() const;

 private:
  fb::SubGraphT& graph() { return *model_.subgraphs[0]; }
  const fb::TensorT& At(int tensor) const {
    return *model_.subgraphs[0]->tensors[static_cast<size_t>(tensor)];
  }
  fb::ModelT model_;
};

}  // namespace slipway::quant
