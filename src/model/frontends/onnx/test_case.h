#pragma once
// The layout of the ONNX backend tests (onnx/backend/test/README.md): a folder with model.onnx and
// test_data_set_*/{input,output}_*.pb.

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "model/ir/tensor.h"

namespace slipway::onnx {

struct TestCase {
  std::string name;  // of the folder
  std::unique_ptr<ir::Graph> graph;
  struct DataSet {
    std::vector<ir::Tensor> inputs, outputs;  // in the graph's order, of the graph's types
  };
  std::vector<DataSet> data;
};

// Errors as ImportOnnx (weights are not checked for NaN here) and ReadValueProtoFile; Unsupported
// means that the case is outside of what Slipway does.
Result<TestCase> LoadTestCase(const std::string& folder);

// Every folder under `root`, itself included, that holds a model.onnx, sorted.
std::vector<std::string> FindTestCases(const std::string& root);

// "" when `got` has the type and extent of `want` and its elements agree within ONNX's tolerances,
// else the first difference. Sequences and optionals agree when what they hold does.
std::string CompareTensors(const ir::Tensor& got, const ir::Tensor& want, double relative = 1e-3,
                           double absolute = 1e-7);

}  // namespace slipway::onnx
