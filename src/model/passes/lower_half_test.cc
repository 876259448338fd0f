#include "model/passes/lower_half.h"

#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

std::unique_ptr<Graph> Graphed(const std::string& text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  if (!graph.ok()) return nullptr;
  const Status status = ir::InferShapes(**graph);
  EXPECT_TRUE(status.ok()) << status.message();
  return std::move(*graph);
}

std::string Lowered(const std::string& text, const std::string& refused = "",
                    DType type = DType::kBFloat16) {
  auto graph = Graphed(text);
  if (!graph) return "";
  auto changed = LowerHalf(*graph, type, [&](const Node& n) { return n.op() != refused; });
  EXPECT_TRUE(changed.ok()) << changed.status().message();
  const Status verified = ir::Verify(*graph);
  EXPECT_TRUE(verified.ok()) << verified.message();
  std::string ops;
  for (const auto& n : graph->nodes()) {
    const bool half = n->output()->dtype() == type;
    ops += (ops.empty() ? "" : " ") + n->op() +
           (!half ? "" : type == DType::kFloat16 ? ":fp16" : ":bf16");
  }
  // Inputs and outputs keep their names and types.
  for (const Value* v : graph->outputs()) {
    EXPECT_EQ(v->dtype(), DType::kFloat32);
    EXPECT_EQ(v->name().find("_bf16"), std::string::npos);
    EXPECT_EQ(v->name().find("_fp16"), std::string::npos);
  }
  return ops;
}

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[1, 4, 6, 6]
  const %w: float32[8, 4, 3, 3] = random(1)
  const %b: float32[8] = random(2)
  const %s: float32[8] = random(3)
  %c = slipway.Conv(%x, %w, %b) {activation = "Relu"}
  %p = MaxPool(%c) {kernel_shape = [2, 2], strides = [2, 2]}
  %f = Flatten(%p)
  const %v: float32[32, 5] = random(4)
  %l = slipway.Linear(%f, %v)
  %e = Erf(%l)
  %a = Add(%e, %l)
  output %a
  output %p
})";

TEST(LowerHalf, FromTheFirstProductToWhatStays) {
  EXPECT_EQ(Lowered(kNet),
            "Cast:bf16 Conv:bf16 MaxPool:bf16 Cast Flatten:bf16 Linear:bf16 Cast Erf Cast:bf16 "
            "Add:bf16 Cast");
  // What nobody has in bfloat16, and what would only follow it.
  EXPECT_EQ(Lowered(kNet, "MaxPool"),
            "Cast:bf16 Conv:bf16 Cast MaxPool Flatten Cast:bf16 Linear:bf16 Cast Erf Cast:bf16 "
            "Add:bf16 Cast");
  EXPECT_EQ(Lowered(kNet, "Conv"),
            "Conv MaxPool Flatten Cast:bf16 Linear:bf16 Cast Erf Cast:bf16 Add:bf16 Cast");
}

// A transformer's block, but for its ends, is in bfloat16; the mask, which is added to float32
// scores, stays as it is.
constexpr char kBlock[] = R"(graph "g" {
  input %x: float32[1, 6, 8]
  const %w: float32[8, 8] = random(1)
  const %s: float32[8] = random(2)
  const %m: float32[6, 6] = random(3)
  %q = slipway.Linear(%x, %w)
  %n = LayerNormalization(%q, %s)
  %a = Attention(%n, %q, %q, %m) {q_num_heads = 2, kv_num_heads = 2}
  %y = RMSNormalization(%a, %s)
  output %y
})";

TEST(LowerHalf, NormsAndAttentionFollow) {
  EXPECT_EQ(Lowered(kBlock),
            "Cast:bf16 Linear:bf16 LayerNormalization:bf16 Attention:bf16 RMSNormalization:bf16 "
            "Cast");
  EXPECT_EQ(Lowered(kBlock, "LayerNormalization"),
            "Cast:bf16 Linear:bf16 Cast LayerNormalization Cast:bf16 Attention:bf16 "
            "RMSNormalization:bf16 Cast");
}

// An upsampling between two convolutions; its scales stay float32.
TEST(LowerHalf, ResizeFollows) {
  EXPECT_EQ(Lowered(R"(graph "g" {
  input %x: float32[1, 4, 6, 6]
  const %w: float32[4, 4, 3, 3] = random(1)
  const %up: float32[4] = [1, 1, 2, 2]
  %c = slipway.Conv(%x, %w)
  %r = Resize(%c, _, %up) {mode = "linear"}
  %y = slipway.Conv(%r, %w)
  output %y
})"),
            "Cast:bf16 Conv:bf16 Resize:bf16 Conv:bf16 Cast");
}

TEST(LowerHalf, NothingWithoutProducts) {
  EXPECT_EQ(Lowered(R"(graph "g" {
  input %x: float32[2, 3]
  %y = Relu(%x)
  %z = Add(%y, %x)
  output %z
})"),
            "Relu Add");
}

TEST(LowerHalf, QuantizedModelsKeepTheirRounding) {
  EXPECT_EQ(Lowered(R"(graph "g" {
  input %x: float32[2, 3]
  const %s: float32[] = [0.1]
  const %w: float32[3, 4] = random(1)
  %q = slipway.Quantize(%x, %s)
  %d = slipway.Dequantize(%q, %s)
  %y = MatMul(%d, %w)
  output %y
})"),
            "Quantize Dequantize MatMul");
}

TEST(LowerHalf, Float16) {
  EXPECT_EQ(Lowered(kNet, "", DType::kFloat16),
            "Cast:fp16 Conv:fp16 MaxPool:fp16 Cast Flatten:fp16 Linear:fp16 Cast Erf Cast:fp16 "
            "Add:fp16 Cast");
}

// What float16 has no numbers for stays; a bound of Clip, beyond which there is nothing, does not
// matter. In bfloat16 all of it is there.
TEST(LowerHalf, ConstantsBeyondFloat16) {
  constexpr char kText[] = R"(graph "g" {
  input %x: float32[2, 3]
  const %w: float32[3, 4] = random(1)
  const %m: float32[4] = [0, -1e9, 0, 65504]
  const %low: float32[] = [0]
  const %high: float32[] = [3.4e38]
  %y = MatMul(%x, %w)
  %c = Clip(%y, %low, %high)
  %s = Add(%c, %m)
  output %s
})";
  EXPECT_EQ(Lowered(kText, "", DType::kFloat16), "Cast:fp16 MatMul:fp16 Clip:fp16 Cast Add");
  EXPECT_EQ(Lowered(kText), "Cast:bf16 MatMul:bf16 Clip:bf16 Add:bf16 Cast");
}

void StaysNear(const char* text, const Dims& dims, DType type, float share) {
  auto graph = Graphed(text);
  ASSERT_TRUE(graph);
  auto x = Tensor::Allocate(DType::kFloat32, dims);
  for (int64_t i = 0; i < x->count(); ++i)
    reinterpret_cast<float*>(x->mutable_data())[i] = 0.01f * static_cast<float>(i % 97) - 0.4f;
  const std::vector<Tensor> inputs{*x};
  auto want = interp::Evaluate(*graph, inputs);
  ASSERT_TRUE(want.ok());
  ASSERT_TRUE(LowerHalf(*graph, type, [](const Node&) { return true; }).ok());
  auto got = interp::Evaluate(*graph, inputs);
  ASSERT_TRUE(got.ok()) << got.status().message();
  for (size_t k = 0; k < want->size(); ++k) {
    float range = 0, off = 0;
    for (int64_t i = 0; i < (*want)[k].count(); ++i) {
      range = std::max(range, std::fabs((*want)[k].data<float>()[i]));
      off = std::max(off, std::fabs((*want)[k].data<float>()[i] - (*got)[k].data<float>()[i]));
    }
    EXPECT_GT(off, 0);  // it is rounded
    EXPECT_LT(off, share * range);
  }
}
TEST(LowerHalf, ResultsStayNear) {
  StaysNear(kNet, {1, 4, 6, 6}, DType::kBFloat16, 0.02f);
  StaysNear(kBlock, {1, 6, 8}, DType::kBFloat16, 0.02f);
  StaysNear(kNet, {1, 4, 6, 6}, DType::kFloat16, 0.003f);
  StaysNear(kBlock, {1, 6, 8}, DType::kFloat16, 0.003f);
}

}  // namespace
}  // namespace slipway::passes
