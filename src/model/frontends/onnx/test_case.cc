#include "model/frontends/onnx/test_case.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "model/frontends/onnx/import.h"
#include "model/frontends/onnx/value_proto.h"

namespace slipway::onnx {
namespace {

namespace fs = std::filesystem;
using ir::Tensor;

// The tensors PREFIX0.pb, PREFIX1.pb, ... of a data set, for these values.
Result<std::vector<Tensor>> ReadTensors(const fs::path& folder, const std::string& prefix,
                                        const std::vector<ir::Value*>& values) {
  std::vector<Tensor> out;
  for (size_t i = 0; i < values.size(); ++i) {
    const fs::path file = folder / (prefix + std::to_string(i) + ".pb");
    std::error_code error;
    if (!fs::exists(file, error))
      return NotFound("'" + file.string() + "' is missing, the data of " + values[i]->name());
    SLIPWAY_ASSIGN_OR_RETURN(Tensor t, ReadValueProtoFile(file.string(), values[i]->type()));
    // numpy has no bfloat16: the cases store its bits as uint16.
    if (!t.is_container() && t.dtype() == DType::kUInt16 && values[i]->dtype() == DType::kBFloat16) {
      auto owner = std::make_shared<Tensor>(t);
      SLIPWAY_ASSIGN_OR_RETURN(
          t, Tensor::Wrap(DType::kBFloat16, owner->dims(), owner->bytes(), owner));
    }
    out.push_back(std::move(t));
  }
  return out;
}

}  // namespace

Result<TestCase> LoadTestCase(const std::string& folder) {
  ImportOptions options;
  options.check_finite = false;
  TestCase c;
  c.name = fs::path(folder).filename().string();
  SLIPWAY_ASSIGN_OR_RETURN(c.graph,
                           ImportOnnx((fs::path(folder) / "model.onnx").string(), options));
  for (int i = 0;; ++i) {
    const fs::path set = fs::path(folder) / ("test_data_set_" + std::to_string(i));
    std::error_code error;
    if (!fs::is_directory(set, error)) break;
    TestCase::DataSet& data = c.data.emplace_back();
    SLIPWAY_ASSIGN_OR_RETURN(data.inputs, ReadTensors(set, "input_", c.graph->inputs()));
    SLIPWAY_ASSIGN_OR_RETURN(data.outputs, ReadTensors(set, "output_", c.graph->outputs()));
  }
  if (c.data.empty()) return NotFound("'" + folder + "' has no test_data_set_0 folder");
  return c;
}

std::vector<std::string> FindTestCases(const std::string& root) {
  std::vector<std::string> out;
  std::error_code error;
  if (fs::exists(fs::path(root) / "model.onnx", error)) out.push_back(root);
  for (fs::recursive_directory_iterator
           i(root, fs::directory_options::skip_permission_denied, error),
       end;
       !error && i != end; i.increment(error)) {
    std::error_code inner;
    if (i->is_directory(inner) && fs::exists(i->path() / "model.onnx", inner))
      out.push_back(i->path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string CompareTensors(const Tensor& got, const Tensor& want, double relative,
                           double absolute) {
  if (got.container() != want.container() || got.items().size() != want.items().size())
    return got.Describe() + ", not " + want.Describe();
  for (size_t i = 0; i < got.items().size(); ++i) {
    const std::string d = CompareTensors(got.items()[i], want.items()[i], relative, absolute);
    if (!d.empty()) return "element " + std::to_string(i) + ": " + d;
  }
  if (got.dtype() != want.dtype())
    return std::string("type ") + DTypeName(got.dtype()) + ", not " + DTypeName(want.dtype());
  if (!(got.dims() == want.dims()))
    return "shape " + got.dims().ToString() + ", not " + want.dims().ToString();
  if (!IsFloating(got.dtype())) {
    const auto a = got.bytes(), b = want.bytes();
    const auto at = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
    return at == static_cast<ptrdiff_t>(a.size())
               ? ""
               : "elements differ from byte " + std::to_string(at);
  }
  const auto a = got.ToDoubles(), b = want.ToDoubles();
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    if (!(std::fabs(a[i] - b[i]) <= absolute + relative * std::fabs(b[i]))) {
      return "element " + std::to_string(i) + " is " + std::to_string(a[i]) + ", not " +
             std::to_string(b[i]);
    }
  }
  return "";
}

}  // namespace slipway::onnx
