// Recurrent weights that are codes in the model and in the package, and floats for the kernels.

#include "engine/compiler/compiled_test_util.h"

namespace slipway::compiler {
namespace {

using format::PackageTensor;

// A GRU of 16 units on 12 features, of which W or R may come otherwise.
std::string Model(const std::string& w, const std::string& r, const std::string& more = "") {
  return R"(graph "g" {
  input %x: float32[6, 2, 12]
  input %n: int32[2]
)" + more +
         w + r + R"(
  const %b: float32[1, 96] = random(7)
  %y, %h = GRU(%x, %w, %r, %b, %n) {hidden_size = 16, linear_before_reset = 1} "gru"
  output %y
  output %h
})";
}
const char kW8[] = R"(  const %wc: float32[1, 48, 12] = random(1)
  const %hundred: float32[] = [127]
  %wm = Mul(%wc, %hundred)
  %wq = Cast(%wm) {to = 3}
  const %ws_: float32[48] = random(48)
  %wsa = Abs(%ws_)
  const %wsk: float32[] = [0.004]
  %ws = Mul(%wsa, %wsk)
  %w = slipway.Dequantize(%wq, %ws) {axis = 1}
)";
// Codes of 4 bits.
const char kR4[] = R"(  const %rc: float32[1, 48, 16] = random(3)
  const %eight: float32[] = [7.5]
  %rm = Mul(%rc, %eight)
  %rq = Cast(%rm) {to = 3}
  const %rs_: float32[48] = random(48)
  %rsa = Abs(%rs_)
  const %rsk: float32[] = [0.004]
  %rs = Mul(%rsa, %rsk)
  %r = slipway.Dequantize(%rq, %rs) {axis = 1, bits = 4}
)";

std::vector<Tensor> Inputs(int32_t first, int32_t second) {
  auto x = Tensor::Allocate(DType::kFloat32, {6, 2, 12});
  for (int64_t i = 0; i < x->count(); ++i)
    reinterpret_cast<float*>(x->mutable_data())[i] = std::sin(static_cast<float>(i));
  return {*x, Tensor::Vector<int32_t>({first, second})};
}

std::vector<const PackageTensor*> Coded(const format::PackageData& package) {
  std::vector<const PackageTensor*> out;
  for (const PackageTensor& t : package.tensors) {
    if (t.code_bits != 0) out.push_back(&t);
  }
  return out;
}

std::unique_ptr<Compiled> MakeFor(const ir::Graph& graph, const Platform& platform) {
  auto compiled = Compiled::Make(graph, platform, true);
  EXPECT_TRUE(compiled.ok()) << compiled.status().ToString();
  return compiled.ok() ? std::move(*compiled) : nullptr;
}

void CheckAll(const ir::Graph& graph, const std::vector<std::vector<Tensor>>& sets) {
  for (const auto& inputs : sets) {
    const auto want = interp::Evaluate(graph, inputs);
    ASSERT_TRUE(want.ok()) << want.status().ToString();
  }
  Check(graph, sets);
}

TEST(CodedConstants, PackagesHoldTheCodes) {
  const auto graph = Parse(Model(kW8, kR4));
  for (const Platform& platform : Platforms()) {
    SCOPED_TRACE(platform.name);
    const auto compiled = MakeFor(*graph, platform);
    ASSERT_TRUE(compiled);
    const auto coded = Coded(compiled->result().package);
    ASSERT_EQ(coded.size(), 2u);
    EXPECT_EQ(coded[0]->code_bits, 8);
    EXPECT_EQ(coded[0]->coded.size(), 48u * (4 + 12));
    EXPECT_EQ(coded[1]->code_bits, 4);
    EXPECT_EQ(coded[1]->coded.size(), 48u * (4 + 8));
    for (const auto& step : compiled->result().package.steps)
      EXPECT_EQ(step.op.find("Dequantize"), std::string::npos);
    EXPECT_EQ(compiled->result().constant_bytes, 48u * (4 + 12) + 48u * (4 + 8) + 96 * 4);
  }
  CheckAll(*graph, {Inputs(6, 6), Inputs(4, 0)});
}

TEST(CodedConstants, OtherFormsAreCodesOrFloatsInThePackage) {
  // Zero points that leave a byte's range, a scale for each column, a Transpose: right all the
  // same.
  const std::pair<const char*, size_t> forms[] = {// with how many of W and R are codes
                                                  {R"(  const %wq: int8[1, 48, 12] = random(1)
  const %ws: float32[] = [0.004]
  const %wz: int8[] = [3]
  %w = slipway.Dequantize(%wq, %ws, %wz)
)",
                                                   2},
                                                  {R"(  const %wq: int8[1, 48, 12] = random(1)
  const %ws: float32[] = [0.004]
  const %wz: int8[] = [127]
  %w = slipway.Dequantize(%wq, %ws, %wz)
)",
                                                   1},
                                                  {R"(  const %wq: uint8[1, 48, 12] = random(1)
  const %ws_: float32[48] = random(48)
  %wsa = Abs(%ws_)
  const %wsk: float32[] = [0.004]
  %ws = Mul(%wsa, %wsk)
  %w = slipway.Dequantize(%wq, %ws) {axis = 1, signed = 0}
)",
                                                   2},
                                                  {R"(  const %wq: int8[1, 48, 12] = random(1)
  const %ws_: float32[12] = random(12)
  %wsa = Abs(%ws_)
  const %wsk: float32[] = [0.004]
  %ws = Mul(%wsa, %wsk)
  %w = slipway.Dequantize(%wq, %ws) {axis = 2}
)",
                                                   1},
                                                  {R"(  const %wq: int8[1, 12, 48] = random(1)
  const %ws_: float32[48] = random(48)
  %wsa = Abs(%ws_)
  const %wsk: float32[] = [0.004]
  %ws = Mul(%wsa, %wsk)
  %wt = slipway.Dequantize(%wq, %ws) {axis = 2}
  %w = Transpose(%wt) {perm = [0, 2, 1]}
)",
                                                   1}};
  for (const auto& [w, coded] : forms) {
    SCOPED_TRACE(w);
    const auto graph = Parse(Model(w, kR4));
    for (const Platform& platform : Platforms()) {
      const auto compiled = MakeFor(*graph, platform);
      ASSERT_TRUE(compiled);
      EXPECT_EQ(Coded(compiled->result().package).size(), coded);
    }
    CheckAll(*graph, {Inputs(6, 5)});
  }
}

TEST(CodedConstants, OneScaleForAllRowsAndReshapedRows) {
  const auto graph = Parse(Model(R"(  const %wq: int8[48, 12] = random(1)
  const %ws_: float32[48] = random(48)
  %wsa = Abs(%ws_)
  const %wsk: float32[] = [0.004]
  %ws = Mul(%wsa, %wsk)
  %wf = slipway.Dequantize(%wq, %ws) {axis = 0}
  const %shape: int64[3] = [1, 48, 12]
  %w = Reshape(%wf, %shape)
)",
                                 R"(  const %rq: int8[1, 48, 16] = random(3)
  const %rs: float32[] = [0.002]
  %r = slipway.Dequantize(%rq, %rs)
)"));
  for (const Platform& platform : Platforms()) {
    const auto compiled = MakeFor(*graph, platform);
    ASSERT_TRUE(compiled);
    const auto coded = Coded(compiled->result().package);
    ASSERT_EQ(coded.size(), 2u);
    EXPECT_EQ(coded[0]->code_rows, 48u);
    EXPECT_EQ(coded[1]->code_rows, 1u);
  }
  CheckAll(*graph, {Inputs(6, 5)});
}

TEST(CodedConstants, ComputedScalesAndOtherReadersAreRight) {
  // The scales come from outside; R is an output too.
  const auto graph = Parse(R"(graph "g" {
  input %x: float32[6, 2, 12]
  input %n: int32[2]
  input %ws: float32[16]
  const %wq: int8[1, 16, 12] = random(1)
  %w = slipway.Dequantize(%wq, %ws) {axis = 1}
  const %rq: int8[1, 16, 16] = random(3)
  const %rs: float32[] = [0.002]
  %r = slipway.Dequantize(%rq, %rs)
  %y = RNN(%x, %w, %r, _, %n) {hidden_size = 16} "rnn"
  output %y
  output %r
})");
  auto inputs = Inputs(6, 3);
  inputs.push_back(Floats(Dims{16}, 0.001f));
  CheckAll(*graph, {inputs});
}

TEST(CodedConstants, InBodies) {
  const auto graph = Parse(R"(graph "g" {
  input %x: float32[6, 2, 12]
  input %go: bool[]
  %y = If(%go, %x) "if" body "then_branch" graph "then" {
      input %x: float32[6, 2, 12]
      const %wq: int8[1, 16, 12] = random(1)
      const %ws_: float32[16] = random(16)
  %wsa = Abs(%ws_)
  const %wsk: float32[] = [0.004]
  %ws = Mul(%wsa, %wsk)
      %w = slipway.Dequantize(%wq, %ws) {axis = 1}
      const %rq: int8[1, 16, 16] = random(3)
      const %rs: float32[] = [0.002]
      %r = slipway.Dequantize(%rq, %rs)
      %a = RNN(%x, %w, %r) {hidden_size = 16} "rnn"
      output %a
    } body "else_branch" graph "else" {
      input %x: float32[6, 2, 12]
      const %zeros: float32[6, 1, 2, 16] = random(4)
      %b = Neg(%zeros)
      output %b
    }
  output %y
})");
  ASSERT_TRUE(graph);
  for (const Platform& platform : Platforms()) {
    SCOPED_TRACE(platform.name);
    const auto compiled = MakeFor(*graph, platform);
    ASSERT_TRUE(compiled);
    size_t coded = 0;
    for (const auto& program : compiled->result().package.programs) coded += Coded(program).size();
    EXPECT_EQ(coded, 2u);
  }
  const Tensor x = Inputs(6, 6)[0];
  CheckAll(*graph, {{x, Tensor::Scalar<bool>(true)}, {x, Tensor::Scalar<bool>(false)}});
}

}  // namespace
}  // namespace slipway::compiler
