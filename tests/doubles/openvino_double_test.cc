// The double of OpenVINO's C interface is strict: what would be undefined behaviour with the real
// library ends the process, so that the tests that run the backend on it cannot pass by chance.

#include <gtest/gtest.h>

#include "engine/backends/openvino/run/api.h"
#include "model/frontends/onnx/export.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::openvino {
namespace {

class OpenvinoDouble : public testing::Test {
 protected:
  void SetUp() override {
    auto api = Api::Get();
    ASSERT_TRUE(api.ok()) << api.status().message();
    api_ = *api;
    auto graph = ir::ParseText(R"(graph "g" {
  input %i0: float32[N, 2]
  %o0 = Relu(%i0)
  output %o0
})");
    ASSERT_TRUE(graph.ok()) << graph.status().ToString();
    ASSERT_TRUE(ir::InferShapes(**graph).ok());
    auto bytes = onnx::ExportOnnxBytes(**graph);
    ASSERT_TRUE(bytes.ok()) << bytes.status().message();
    onnx_ = *bytes;
  }
  Model* Read() {
    Model* model = nullptr;
    EXPECT_EQ(api_->ov_core_read_model_from_memory_buffer(
                  api_->core(), reinterpret_cast<const char*>(onnx_.data()), onnx_.size(), nullptr,
                  &model),
              0);
    return model;
  }
  Code Reshape(const Model* model, const char* name, int64_t rows, int64_t columns) {
    Dimension dims[] = {{rows, rows}, {columns, columns}};
    const PartialShape shape{{2, 2}, dims};
    return api_->ov_model_reshape(model, &name, &shape, 1);
  }
  CompiledModel* Compile(const Model* model) {
    CompiledModel* compiled = nullptr;
    EXPECT_EQ(api_->ov_core_compile_model(api_->core(), model, "CPU", 0, &compiled), 0);
    return compiled;
  }
  Tensor* Over(float* data, int64_t rows, ElementType type) {
    int64_t dims[] = {rows, 2};
    Tensor* tensor = nullptr;
    EXPECT_EQ(api_->ov_tensor_create_from_host_ptr(type, {2, dims}, data, &tensor), 0);
    return tensor;
  }

  const Api* api_ = nullptr;
  std::vector<uint8_t> onnx_;
};

TEST_F(OpenvinoDouble, RunsANetwork) {
  Model* model = Read();
  ASSERT_EQ(Reshape(model, "i0", 3, 2), 0);
  CompiledModel* compiled = Compile(model);
  api_->ov_model_free(model);
  Port* port = nullptr;
  ElementType type = 0;
  ASSERT_EQ(api_->ov_compiled_model_input_by_index(compiled, 0, &port), 0);
  ASSERT_EQ(api_->ov_port_get_element_type(port, &type), 0);
  api_->ov_output_const_port_free(port);
  InferRequest* request = nullptr;
  ASSERT_EQ(api_->ov_compiled_model_create_infer_request(compiled, &request), 0);
  float x[] = {-1, 2, -3, 4, -5, 6};
  Tensor* in = Over(x, 3, type);
  ASSERT_EQ(api_->ov_infer_request_set_input_tensor_by_index(request, 0, in), 0);
  api_->ov_tensor_free(in);
  ASSERT_EQ(api_->ov_infer_request_infer(request), 0);
  Tensor* out = nullptr;
  void* data = nullptr;
  ASSERT_EQ(api_->ov_infer_request_get_output_tensor_by_index(request, 0, &out), 0);
  ASSERT_EQ(api_->ov_tensor_data(out, &data), 0);
  const float* y = static_cast<const float*>(data);
  EXPECT_EQ(std::vector<float>(y, y + 6), (std::vector<float>{0, 2, 0, 4, 0, 6}));
  api_->ov_tensor_free(out);
  api_->ov_infer_request_free(request);
  api_->ov_compiled_model_free(compiled);
}

TEST_F(OpenvinoDouble, WrongShapesAreErrors) {
  Model* model = Read();
  EXPECT_NE(Reshape(model, "nothing", 3, 2), 0);
  EXPECT_NE(Reshape(model, "i0", -1, 2), 0);
  CompiledModel* none = nullptr;
  EXPECT_NE(api_->ov_core_compile_model(api_->core(), model, "CPU", 0, &none), 0);  // still N
  EXPECT_NE(api_->ov_core_compile_model(api_->core(), model, "CPU", 2, &none, "NO_SUCH", "1"), 0);
  ASSERT_EQ(Reshape(model, "i0", 3, 2), 0);
  CompiledModel* compiled = Compile(model);
  InferRequest* request = nullptr;
  ASSERT_EQ(api_->ov_compiled_model_create_infer_request(compiled, &request), 0);
  float x[8] = {};
  Tensor* in = Over(x, 4, 5);
  EXPECT_NE(api_->ov_infer_request_set_input_tensor_by_index(request, 0, in), 0);
  EXPECT_NE(api_->ov_infer_request_set_input_tensor_by_index(request, 1, in), 0);
  api_->ov_tensor_free(in);
  api_->ov_infer_request_free(request);
  api_->ov_compiled_model_free(compiled);
  api_->ov_model_free(model);
}

TEST_F(OpenvinoDouble, MisuseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Model* model = Read();
  ASSERT_EQ(Reshape(model, "i0", 1, 2), 0);
  CompiledModel* compiled = Compile(model);
  InferRequest* request = nullptr;
  ASSERT_EQ(api_->ov_compiled_model_create_infer_request(compiled, &request), 0);
  Tensor* out = nullptr;
  EXPECT_DEATH(api_->ov_infer_request_infer(request), "before every input was set");
  EXPECT_DEATH(api_->ov_infer_request_get_output_tensor_by_index(request, 0, &out),
               "before ov_infer_request_infer");
  EXPECT_DEATH(api_->ov_model_free(reinterpret_cast<Model*>(request)), "gets no live model");
  EXPECT_DEATH(
      {
        api_->ov_model_free(model);
        api_->ov_model_free(model);
      },
      "ov_model_free gets no live model");
  EXPECT_DEATH(
      {
        api_->ov_model_free(model);
        Compile(model);
      },
      "ov_core_compile_model gets no live model");
  EXPECT_DEATH(
      {
        api_->ov_infer_request_free(request);
        api_->ov_infer_request_infer(request);
      },
      "gets no live request");
  api_->ov_infer_request_free(request);
  api_->ov_compiled_model_free(compiled);
  api_->ov_model_free(model);
}

}  // namespace
}  // namespace slipway::openvino
