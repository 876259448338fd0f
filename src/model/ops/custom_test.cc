#include "model/ops/custom.h"

#include <gtest/gtest.h>

#include <cstring>

namespace slipway::ops {
namespace {

// [N, C, ...] and a small constant to [C, N]; adds `bias` to every element of input 0.
int Infer(void*, const slipway_operator_call* call, slipway_tensor* outputs, slipway_error*) {
  outputs[0].dtype = call->inputs[0].dtype;
  outputs[0].rank = 2;
  outputs[0].dims[0] = call->inputs[0].dims[1];
  outputs[0].dims[1] = call->inputs[0].dims[0];
  return SLIPWAY_OK;
}
int InferUnknown(void* c, const slipway_operator_call* call, slipway_tensor* outputs,
                 slipway_error* e) {
  Infer(c, call, outputs, e);
  outputs[0].dims[1] = SLIPWAY_DIM_UNKNOWN;
  return SLIPWAY_OK;
}
int Run(void*, const slipway_operator_call* call, const slipway_execution* execution,
        slipway_error*) {
  struct Job {
    const slipway_operator_call* call;
    float bias;
  } job{call, 0};
  for (uint32_t i = 0; i < call->num_attributes; ++i) {
    if (std::strcmp(call->attributes[i].name, "bias") == 0)
      job.bias = static_cast<float>(call->attributes[i].f);
  }
  execution->parallel_for(
      execution->pool, call->inputs[0].dims[0], 1,
      [](void* context, int64_t begin, int64_t end) {
        const Job& j = *static_cast<Job*>(context);
        const slipway_tensor& x = j.call->inputs[0];
        for (int64_t n = begin; n < end; ++n) {
          for (int64_t c = 0; c < x.dims[1]; ++c)
            static_cast<float*>(j.call->outputs[0].data)[c * x.dims[0] + n] =
                static_cast<const float*>(x.data)[n * x.dims[1] + c] + j.bias;
        }
      },
      &job);
  return SLIPWAY_OK;
}
int RunTooFar(void* c, const slipway_operator_call* call, const slipway_execution* e,
              slipway_error* error) {
  Run(c, call, e, error);
  static_cast<uint8_t*>(call->outputs[0].data)[call->outputs[0].bytes + 63] = 1;
  return SLIPWAY_OK;
}

const slipway_attribute_schema kAttributes[] = {
    {"bias", SLIPWAY_ATTRIBUTE_FLOAT, 0, 1, 0, 0.5, nullptr},
    {"names", SLIPWAY_ATTRIBUTE_STRINGS, 0, 0, 0, 0, nullptr},
};

slipway_operator Operator(const char* name) {
  slipway_operator op{};
  op.struct_size = sizeof op;
  op.domain = "test.turn";
  op.name = name;
  op.version = 3;
  op.min_inputs = 1;
  op.max_inputs = 2;
  op.min_outputs = op.max_outputs = 1;
  op.num_attributes = 2;
  op.attributes = kAttributes;
  op.infer = Infer;
  op.run = Run;
  return op;
}

Status Register(std::vector<const slipway_operator*> ops) {
  slipway_operator_set set{};
  set.struct_size = sizeof set;
  set.abi_version = SLIPWAY_OPERATOR_ABI_VERSION;
  set.name = "turn";
  set.version = "1";
  set.num_operators = static_cast<uint32_t>(ops.size());
  set.operators = ops.data();
  return RegisterOperators(&set, "libturn.so");
}

slipway_tensor Tensor(std::initializer_list<int64_t> dims) {
  slipway_tensor t{};
  t.dtype = 1;
  for (int64_t d : dims) t.dims[t.rank++] = d;
  return t;
}

TEST(CustomOp, RunsAsAKernel) {
  const slipway_operator op = Operator("Turn");
  ASSERT_TRUE(Register({&op}).ok());
  const CustomOp* found = FindCustomOp("test.turn", "Turn");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->version(), 3);
  EXPECT_FALSE(FindCustomOp("test", "Turn"));
  EXPECT_FALSE(FindCustomOp("test.turn", "turn"));
  const Kernel kernel = FindKernel("test.turn", "Turn");
  ASSERT_TRUE(kernel);
  EXPECT_FALSE(FindKernel("test.turn", "Other"));
  alignas(64) float x[6] = {1, 2, 3, 4, 5, 6}, y[6] = {};
  const TensorView in[] = {{DType::kFloat32, {2, 3}, x}}, out[] = {{DType::kFloat32, {3, 2}, y}};
  const Attributes none, given{{"bias", 10.0f}};
  ASSERT_TRUE(kernel({in, out, &none, nullptr}).ok());
  EXPECT_EQ(std::vector<float>(y, y + 6), (std::vector<float>{1.5, 4.5, 2.5, 5.5, 3.5, 6.5}));
  ASSERT_TRUE(found->RunGuarded({in, out, &given, nullptr}).ok());
  EXPECT_EQ(std::vector<float>(y, y + 6), (std::vector<float>{11, 14, 12, 15, 13, 16}));
  EXPECT_TRUE(found->CheckOperands(none, in, out).ok());
  const TensorView wrong[] = {{DType::kFloat32, {2, 3}, y}}, other[] = {{DType::kInt8, {3, 2}, y}};
  EXPECT_EQ(found->CheckOperands(none, in, wrong).code(), StatusCode::kDataLoss);
  EXPECT_EQ(found->CheckOperands(none, in, other).code(), StatusCode::kDataLoss);
  EXPECT_EQ(found->CheckOperands(none, {}, out).code(), StatusCode::kDataLoss);
  const TensorView many[] = {in[0], in[0], in[0]};
  EXPECT_EQ(found->CheckOperands(none, many, out).code(), StatusCode::kDataLoss);
  const Attributes of_another_type{{"bias", int64_t{3}}};
  EXPECT_FALSE(kernel({in, out, &of_another_type, nullptr}).ok());
  const Attributes many_strings{{"names", std::vector<std::string>(1000, "a")}};
  EXPECT_FALSE(kernel({in, out, &many_strings, nullptr}).ok());
}

TEST(CustomOp, UnknownExtentsComeBack) {
  slipway_operator op = Operator("TurnUnknown");
  op.infer = InferUnknown;
  const slipway_operator good = Operator("TurnAgain");
  ASSERT_TRUE(Register({&op, &good}).ok());
  const CustomOp* turn = FindCustomOp("test.turn", "TurnAgain");
  slipway_tensor y[1];
  const slipway_tensor x[] = {Tensor({-2, -3, 4})};
  ASSERT_TRUE(turn->Infer(x, {}, y, false).ok());
  EXPECT_EQ(y[0].dims[0], -3);
  EXPECT_EQ(y[0].dims[1], -2);
  EXPECT_FALSE(turn->Infer(x, {}, y, true).ok());  // everything was known
  const slipway_tensor empty[] = {Tensor({0, 3})};
  ASSERT_TRUE(turn->Infer(empty, {}, y, true).ok());
  EXPECT_EQ(y[0].bytes, 0u);
  const slipway_tensor huge[] = {Tensor({int64_t{1} << 40, int64_t{1} << 40})};
  EXPECT_EQ(turn->Infer(huge, {}, y, true).code(), StatusCode::kDataLoss);
  const CustomOp* unknown = FindCustomOp("test.turn", "TurnUnknown");
  EXPECT_TRUE(unknown->Infer(x, {}, y, false).ok());
  EXPECT_FALSE(unknown->Infer(x, {}, y, true).ok());
}

TEST(CustomOp, WritesAreWatched) {
  slipway_operator op = Operator("TurnTooFar");
  op.run = RunTooFar;
  ASSERT_TRUE(Register({&op}).ok());
  const CustomOp* turn = FindCustomOp("test.turn", "TurnTooFar");
  alignas(64) float x[6] = {1, 2, 3, 4, 5, 6}, y[6] = {};
  const TensorView in[] = {{DType::kFloat32, {2, 3}, x}}, out[] = {{DType::kFloat32, {3, 2}, y}};
  const Attributes none;
  const Status s = turn->RunGuarded({in, out, &none, nullptr});
  EXPECT_EQ(s.code(), StatusCode::kDataLoss);
  for (const char* word : {"libturn.so", "test.turn.TurnTooFar", "outside of output 0"})
    EXPECT_NE(s.message().find(word), std::string::npos) << s.message();
}

TEST(CustomOp, AllOrNothing) {
  const slipway_operator first = Operator("First");
  slipway_operator wrong = Operator("Wrong");
  wrong.infer = nullptr;
  EXPECT_FALSE(Register({&first, &wrong}).ok());
  EXPECT_FALSE(FindCustomOp("test.turn", "First"));
  ASSERT_TRUE(Register({&first}).ok());
  EXPECT_FALSE(Register({&first}).ok());  // is there already
  EXPECT_FALSE(Register({nullptr}).ok());
  EXPECT_EQ(RegisterOperators(nullptr, "x").code(), StatusCode::kUnsupported);
  for (const char* domain : {"ai.onnx.ml", "slipway", "engine", "com.microsoft", "", "a b"}) {
    slipway_operator op = Operator("Named");
    op.domain = domain;
    EXPECT_FALSE(Register({&op}).ok()) << domain;
  }
}

}  // namespace
}  // namespace slipway::ops
