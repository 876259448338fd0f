// Element types through import, export and the interpreter: packed integers, FP8 and FP4 codes,
// output_dtype and precision of QuantizeLinear and DequantizeLinear.

#include <gtest/gtest.h>

#include "base/float16.h"
#include "model/frontends/onnx/export.h"
#include "model/frontends/onnx/test_model.h"
#include "model/interp/interpreter.h"

namespace slipway::onnx {
namespace {

using ir::Tensor;

Tensor Bytes(DType dtype, const Dims& dims, const std::vector<uint8_t>& bytes) {
  auto t = Tensor::Allocate(dtype, dims);
  EXPECT_TRUE(t.ok() && t->bytes().size() == bytes.size());
  std::copy(bytes.begin(), bytes.end(), t->mutable_data());
  return std::move(*t);
}

// The first output of the model, and of what the exporter makes of it at `opset`.
void Expect(const TestModel& model, const std::vector<Tensor>& inputs, DType type,
            const std::vector<double>& want, int opset = 25) {
  auto graph = model.Import();
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  auto bytes = ExportOnnxBytes(**graph, {.opset = opset});
  ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
  auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
  auto again = ImportOnnxBytes(*owner, owner, {});
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  for (const ir::Graph* g : {graph->get(), again->get()}) {
    auto out = interp::Evaluate(*g, inputs);
    ASSERT_TRUE(out.ok()) << out.status().ToString();
    EXPECT_EQ((*out)[0].dtype(), type);
    EXPECT_EQ((*out)[0].ToDoubles(), want);
  }
}

Tensor Floats(const std::vector<float>& v) { return Tensor::Vector<float>(v); }

TEST(Types, Int4CodesAsTheModelsOutputAndInput) {
  TestModel q(21);
  q.Input("x", {"5"}).Floats("s", {}, {2}).Input("z", {}, DType::kInt4);
  q.Output("y", {"5"}, DType::kInt4).Node("QuantizeLinear", {"x", "s", "z"}, {"y"});
  Expect(q, {Floats({0, 3, 7, 100, -100}), Bytes(DType::kInt4, {}, {1})}, DType::kInt4,
         {1, 3, 5, 7, -8}, 21);
  TestModel d(21);
  d.Input("x", {"3"}, DType::kUInt4).Floats("s", {}, {0.5f}).Output("y");
  d.Init("z", Bytes(DType::kUInt4, {}, {4})).Node("DequantizeLinear", {"x", "s", "z"}, {"y"});
  Expect(d, {Bytes(DType::kUInt4, {3}, {0xf0, 0x04})}, DType::kFloat32, {-2, 5.5, 0}, 21);
}

TEST(Types, Int4BetweenQuantizeAndDequantizeNeedsNoCast) {
  TestModel m(21);
  m.Input("x", {"4"}).Floats("s", {}, {2}).Init("z", Bytes(DType::kInt4, {}, {0})).Output("y");
  m.Node("QuantizeLinear", {"x", "s", "z"}, {"q"}).Node("DequantizeLinear", {"q", "s", "z"}, {"y"});
  auto graph = m.Import();
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_EQ((*graph)->nodes().size(), 2u);
  Expect(m, {Floats({1, 3, 100, -100})}, DType::kFloat32, {0, 4, 14, -16}, 21);
  TestModel moved(21);  // through operators that only move elements
  moved.Input("x", {"2", "2"}).Floats("s", {}, {2}).Init("z", Bytes(DType::kInt4, {}, {0}));
  moved.Output("y").Node("QuantizeLinear", {"x", "s", "z"}, {"q"}).Node("Transpose", {"q"}, {"t"});
  moved.Node("DequantizeLinear", {"t", "s", "z"}, {"y"});
  Expect(moved, {Tensor::Of<float>({2, 2}, std::vector<float>{2, 4, 6, -8})}, DType::kFloat32,
         {2, 6, 4, -8}, 21);
}

TEST(Types, Float8AndFloat4Codes) {
  TestModel m(23);
  m.Input("x", {"4"}).Floats("s", {}, {2}).Output("y", {"4"}, DType::kFloat8E4M3FN);
  m.Init("z", Bytes(DType::kFloat8E4M3FN, {}, {0}));
  m.Node("QuantizeLinear", {"x", "s", "z"}, {"y"});
  Expect(m, {Floats({1, 2, -100, 2000})}, DType::kFloat8E4M3FN, {0.5, 1, -48, 448});
  TestModel d(23);
  d.Input("x", {"2"}, DType::kFloat4E2M1).Floats("s", {}, {2}).Output("y");
  d.Node("DequantizeLinear", {"x", "s"}, {"y"});
  Expect(d, {Bytes(DType::kFloat4E2M1, {2}, {0xf2})}, DType::kFloat32, {2, -12});
  TestModel both(23);  // and the type by output_dtype alone
  both.Input("x", {"2"}).Floats("s", {}, {1}).Output("y");
  both.Node("QuantizeLinear", {"x", "s"}, {"q"},
            {TestModel::Int("output_dtype", static_cast<int64_t>(DType::kFloat8E5M2))});
  both.Node("DequantizeLinear", {"q", "s"}, {"y"});
  Expect(both, {Floats({1.1f, 1e9f})}, DType::kFloat32, {1, 57344});
  TestModel bad(23);
  bad.Input("x", {"4"}).Floats("s", {}, {2}).Output("y");
  bad.Init("z", Bytes(DType::kFloat8E4M3FN, {}, {0x38}));
  bad.Node("QuantizeLinear", {"x", "s", "z"}, {"y"});
  auto graph = bad.Import();
  ASSERT_FALSE(graph.ok());
  EXPECT_NE(graph.status().message().find("zero point"), std::string::npos);
}

TEST(Types, OutputTypeAndPrecision) {
  TestModel d(23);
  d.Input("x", {"2"}, DType::kInt8).Floats("s", {}, {0.5f}).Output("y");
  d.Node("DequantizeLinear", {"x", "s"}, {"y"},
         {TestModel::Int("output_dtype", static_cast<int64_t>(DType::kFloat16))});
  Expect(d, {Bytes(DType::kInt8, {2}, {3, 0xfe})}, DType::kFloat16, {1.5, -1});
  TestModel p(23);
  p.Input("x", {"1"}).Floats("s", {}, {1}).Output("y");
  p.Init("z", Bytes(DType::kInt16, {}, {0, 0}));
  p.Node("QuantizeLinear", {"x", "s", "z"}, {"y"},
         {TestModel::Int("precision", static_cast<int64_t>(DType::kFloat16))});
  Expect(p, {Floats({2051})}, DType::kInt16, {2052});
  TestModel e(24);  // a scale that is a power of two by its type
  e.Input("x", {"2"}, DType::kInt8).Init("s", Bytes(DType::kFloat8E8M0, {}, {126})).Output("y");
  e.Node("DequantizeLinear", {"x", "s"}, {"y"},
         {TestModel::Int("output_dtype", static_cast<int64_t>(DType::kFloat32))});
  Expect(e, {Bytes(DType::kInt8, {2}, {3, 0xfe})}, DType::kFloat32, {1.5, -1});
  TestModel i(13);  // int32 input
  i.Input("x", {"2"}, DType::kInt32).Floats("s", {}, {4}).Output("y");
  i.Node("QuantizeLinear", {"x", "s"}, {"y"});
  Expect(i, {Tensor::Vector<int32_t>({6, 700})}, DType::kUInt8, {2, 175}, 13);
}

// CastLike takes its type from what the other operand will be.
TEST(Types, CastLikeOfOperatorsWithATypeOfTheirOwn) {
  TestModel m(19);
  m.Input("x", {"3"}).Output("y");
  m.Node("NonZero", {"x"}, {"where"}).Node("CastLike", {"x", "where"}, {"y"});
  auto graph = m.Import();
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  const std::vector<Tensor> inputs{Floats({1.5f, 0, -2})};
  auto out = interp::Evaluate(**graph, inputs);
  ASSERT_TRUE(out.ok()) << out.status().ToString();
  EXPECT_EQ((*out)[0].dtype(), DType::kInt64);
  EXPECT_EQ((*out)[0].ToInts(), (std::vector<int64_t>{1, 0, -2}));
}

TEST(Types, SmallTypesAsNumbers) {
  EXPECT_EQ(Bytes(DType::kInt4, {3}, {0x8f, 0x07}).ToInts(), (std::vector<int64_t>{-1, -8, 7}));
  EXPECT_EQ(Bytes(DType::kUInt2, {4}, {0b11100100}).ToInts(), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(Bytes(DType::kFloat16, {1}, {0x00, 0x3e}).ToDoubles(), std::vector<double>{1.5});
  EXPECT_EQ(Bytes(DType::kBFloat16, {1}, {0xc0, 0x3f}).ToDoubles(), std::vector<double>{1.5});
}

}  // namespace
}  // namespace slipway::onnx
