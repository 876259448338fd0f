#pragma once
// What the tests of this folder share: nets and caffemodels by hand, and what they compute.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "model/frontends/caffe/import.h"
#include "model/frontends/wire.h"
#include "model/interp/interpreter.h"

namespace slipway::caffe {

using Floats = std::vector<float>;

struct Blob {
  std::vector<int64_t> dims;
  Floats values;
};

// A caffemodel of V2 layers, by hand.
inline std::vector<uint8_t> Model(
    const std::vector<std::pair<std::string, std::vector<Blob>>>& layers) {
  wire::WireWriter net;
  for (const auto& [name, blobs] : layers) {
    wire::WireWriter layer;
    layer.Text(1, name);
    for (const Blob& b : blobs) {
      wire::WireWriter blob, shape;
      shape.PackedInts(1, b.dims);
      blob.Message(7, shape);
      blob.PackedFloats(5, b.values);
      layer.Message(7, blob);
    }
    net.Message(100, layer);
  }
  return net.Finish();
}

inline Result<std::unique_ptr<ir::Graph>> Import(const std::string& text,
                                                 const std::vector<uint8_t>& weights = {},
                                                 const ImportOptions& options = {}) {
  auto owner = std::make_shared<std::vector<uint8_t>>(weights);
  return ImportCaffeBytes(text, *owner, owner, options);
}

inline Result<std::vector<ir::Tensor>> Interpret(const ir::Graph& graph,
                                                 const std::vector<ir::Tensor>& inputs) {
  SLIPWAY_ASSIGN_OR_RETURN(auto interpreter, interp::Interpreter::Create(graph));
  return interpreter.Run(inputs);
}

// The first output for these inputs, in the order of the graph's inputs.
inline Floats Eval(const std::string& text, const std::vector<Floats>& inputs,
                   const std::vector<uint8_t>& weights = {}) {
  auto graph = Import(text, weights);
  if (!graph.ok()) {
    ADD_FAILURE() << graph.status().ToString();
    return {};
  }
  std::vector<ir::Tensor> tensors;
  for (size_t i = 0; i < inputs.size(); ++i)
    tensors.push_back(
        ir::Tensor::Of<float>(*(*graph)->inputs()[i]->type().StaticDims(), inputs[i]));
  auto out = Interpret(**graph, tensors);
  if (!out.ok()) {
    ADD_FAILURE() << out.status().ToString();
    return {};
  }
  const auto* p = (*out)[0].data<float>();
  return {p, p + (*out)[0].count()};
}

inline std::string Net(const std::string& dims, const std::string& layers) {
  std::string text = "input: \"x\"\ninput_shape {";
  for (size_t at = 0; at < dims.size();) {
    const size_t comma = std::min(dims.find(',', at), dims.size());
    text += " dim: " + dims.substr(at, comma - at);
    at = comma + 1;
  }
  return text + " }\n" + layers;
}
inline std::string Layer(const std::string& type, const std::string& params = "") {
  return "layer { name: \"l\" type: \"" + type + "\" bottom: \"x\" top: \"y\" " + params + " }";
}

inline void Near(const Floats& got, const Floats& want, float tolerance = 1e-5f) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], want[i], tolerance * std::max(1.0f, std::abs(want[i]))) << "element " << i;
}

inline void ExpectError(const Result<std::unique_ptr<ir::Graph>>& r, const std::string& part) {
  ASSERT_FALSE(r.ok()) << "no error; expected " << part;
  EXPECT_NE(r.status().message().find(part), std::string::npos) << r.status().ToString();
}

}  // namespace slipway::caffe
