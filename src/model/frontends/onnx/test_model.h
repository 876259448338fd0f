#pragma once
// Builds ONNX files in memory for tests, field by field, so that wrong ones can be made too.

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "model/frontends/onnx/import.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/wire.h"
#include "model/ir/graph.h"

namespace slipway::onnx {

class TestModel {
 public:
  explicit TestModel(int opset = 17) : opset_(opset) {}

  // A dimension is a number, a symbol, or "?".
  static WireWriter ValueInfo(const std::string& name, DType dtype,
                              const std::vector<std::string>& dims) {
    WireWriter shape, tensor, type, info;
    for (const std::string& d : dims) {
      WireWriter dim;
      if (d != "?" && (d[0] == '-' || (d[0] >= '0' && d[0] <= '9')))
        dim.Int(1, std::stoll(d));
      else if (d != "?")
        dim.Text(2, d);
      shape.Message(1, dim);
    }
    tensor.Int(1, static_cast<int64_t>(dtype));
    tensor.Message(2, shape);
    type.Message(1, tensor);
    info.Text(1, name);
    info.Message(2, type);
    return info;
  }
  TestModel& Input(const std::string& name, const std::vector<std::string>& dims,
                   DType dtype = DType::kFloat32) {
    graph.Message(11, ValueInfo(name, dtype, dims));
    return *this;
  }
  TestModel& Output(const std::string& name, const std::vector<std::string>& dims = {},
                    DType dtype = DType::kUndefined) {
    if (dtype == DType::kUndefined) {
      WireWriter info;
      info.Text(1, name);
      graph.Message(12, info);
    } else {
      graph.Message(12, ValueInfo(name, dtype, dims));
    }
    return *this;
  }
  TestModel& Init(const std::string& name, ir::Tensor tensor) {
    tensors_.push_back(std::move(tensor));
    graph.Message(5, WriteTensorProto(name, tensors_.back()));
    return *this;
  }
  TestModel& Floats(const std::string& name, const Dims& dims, const std::vector<float>& values) {
    return Init(name, ir::Tensor::Of<float>(dims, values));
  }
  TestModel& Ints(const std::string& name, const std::vector<int64_t>& values) {
    return Init(name, ir::Tensor::Vector<int64_t>(values));
  }
  static WireWriter Int(const std::string& name, int64_t v) {
    WireWriter w;
    w.Text(1, name);
    w.Int(3, v);
    w.Int(20, 2);
    return w;
  }
  static WireWriter Float(const std::string& name, float v) {
    WireWriter w;
    w.Text(1, name);
    w.Float(2, v);
    w.Int(20, 1);
    return w;
  }
  static WireWriter Text(const std::string& name, const std::string& v) {
    WireWriter w;
    w.Text(1, name);
    w.Text(4, v);
    w.Int(20, 3);
    return w;
  }
  static WireWriter IntList(const std::string& name, const std::vector<int64_t>& v) {
    WireWriter w;
    w.Text(1, name);
    for (int64_t i : v) w.Int(8, i);  // not packed, as protobuf 2 writers do
    w.Int(20, 7);
    return w;
  }
  static WireWriter FloatList(const std::string& name, const std::vector<float>& v) {
    WireWriter w;
    w.Text(1, name);
    w.PackedFloats(7, v);
    w.Int(20, 6);
    return w;
  }
  WireWriter TensorAttribute(const std::string& name, ir::Tensor tensor) {
    tensors_.push_back(std::move(tensor));
    WireWriter w;
    w.Text(1, name);
    w.Message(5, WriteTensorProto("", tensors_.back()));
    w.Int(20, 4);
    return w;
  }
  // A NodeProto, also for bodies and functions.
  static WireWriter MakeNode(const std::string& op, const std::vector<std::string>& inputs,
                             const std::vector<std::string>& outputs,
                             const std::vector<WireWriter>& attributes = {},
                             const std::string& name = "", const std::string& domain = "") {
    WireWriter n;
    for (const auto& i : inputs) n.Text(1, i);
    for (const auto& o : outputs) n.Text(2, o);
    n.Text(3, name);
    n.Text(4, op);
    for (const auto& a : attributes) n.Message(5, a);
    if (!domain.empty()) n.Text(7, domain);
    return n;
  }
  TestModel& Node(const std::string& op, const std::vector<std::string>& inputs,
                  const std::vector<std::string>& outputs,
                  const std::vector<WireWriter>& attributes = {}, const std::string& name = "",
                  const std::string& domain = "") {
    graph.Message(1, MakeNode(op, inputs, outputs, attributes, name, domain));
    return *this;
  }
  std::vector<uint8_t> Bytes() const {
    WireWriter model, opset;
    model.Int(1, 8);
    model.Text(2, "test");
    model.Message(7, graph);
    opset.Text(1, "");
    opset.Int(2, opset_);
    model.Message(8, opset);
    return model.Finish();
  }
  Result<std::unique_ptr<ir::Graph>> Import(const ImportOptions& options = {}) const {
    auto bytes = std::make_shared<std::vector<uint8_t>>(Bytes());
    return ImportOnnxBytes(*bytes, bytes, options);
  }

  WireWriter graph;  // for what the methods above do not do

 private:
  int opset_;
  std::deque<ir::Tensor> tensors_;
};

}  // namespace slipway::onnx
