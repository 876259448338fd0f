#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "base/mapped_file.h"
#include "model/frontends/onnx/import.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"
#include "quant/exporters/exporter.h"
#include "quant/exporters/integer_form.h"
#include "quant/exporters/range_files.h"

namespace slipway::quant {
namespace {

// Weights of one channel that never reach the last code, and one of zeros: a tool that takes the
// scale from the largest magnitude would round them anew.
constexpr char kNet[] = R"(graph "net" {
  input %x: float32[2, 2, 3, 3]
  const %xs: float32[] = [0.02]
  const %xz: uint8[] = [100]
  const %w_q: int8[3, 2, 1, 1] = [3, -77, 127, -127, 0, 0]
  const %w_scale: float32[3] = [0.013, 0.0071, 1.5e-05]
  const %b_q: int32[3] = [1000, -20, 77777]
  const %b_scale: float32[3] = [0.00026, 0.000142, 3e-07]
  const %ys: float32[] = [0.03]
  const %yz: uint8[] = [128]
  %x_q = slipway.Quantize(%x, %xs, %xz) {signed = 0} "qx"
  %x_dq = slipway.Dequantize(%x_q, %xs, %xz) {signed = 0} "dx"
  %w_dq = slipway.Dequantize(%w_q, %w_scale) {axis = 0} "dw"
  %b_dq = slipway.Dequantize(%b_q, %b_scale) {axis = 0, bits = 32} "db"
  %c = Conv(%x_dq, %w_dq, %b_dq) "conv"
  %c_q = slipway.Quantize(%c, %ys, %yz) {signed = 0} "qc"
  %c_dq = slipway.Dequantize(%c_q, %ys, %yz) {signed = 0} "dc"
  output %c_dq
})";

std::unique_ptr<ir::Graph> Parse(const std::string& text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  if (!graph.ok()) return nullptr;
  EXPECT_TRUE(ir::InferShapes(**graph).ok()) << ir::InferShapes(**graph).ToString();
  return std::move(*graph);
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

ir::Tensor Ramp(const Dims& dims) {
  auto t = ir::Tensor::Allocate(DType::kFloat32, dims);
  for (int64_t i = 0; i < t->count(); ++i)
    reinterpret_cast<float*>(t->mutable_data())[i] = 2.5f * std::sin(static_cast<float>(7 * i));
  return std::move(*t);
}

std::string TempFolder(const char* name) {
  const std::string path = ::testing::TempDir() + "/slipway_exporters_" + name;
  std::filesystem::remove_all(path);
  return path;
}

TEST(ReadQuantized, FindsEveryTensorWithItsParametersAndRoundsBack) {
  auto graph = Parse(kNet);
  auto model = ReadQuantized(*graph);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  ASSERT_TRUE(ir::Verify(*model->real).ok()) << ir::Verify(*model->real).ToString();
  std::map<std::string, const QuantTensor*> by_name;
  for (const auto& t : model->tensors) by_name[t.name] = &t;
  // The output keeps its name: the value before the last pair takes it.
  ASSERT_EQ(by_name.size(), 4u);
  ASSERT_TRUE(by_name.contains("x") && by_name.contains("w") && by_name.contains("b") &&
              by_name.contains("c_dq"));
  EXPECT_EQ(model->real->outputs()[0]->name(), "c_dq");
  EXPECT_EQ(by_name["c_dq"]->node, "conv");
  EXPECT_EQ(by_name["x"]->zeros, std::vector<int64_t>{100});
  EXPECT_EQ(by_name["x"]->scales, std::vector<float>{0.02f});
  EXPECT_FALSE(by_name["x"]->symmetric());
  EXPECT_EQ(by_name["w"]->role, TensorRole::kWeight);
  EXPECT_EQ(by_name["w"]->axis, 0);
  EXPECT_EQ(by_name["b"]->role, TensorRole::kBias);
  EXPECT_EQ(by_name["b"]->index, 2u);
  for (const char* name : {"w", "b"}) {
    const ir::Tensor* real = model->real->FindValue(name)->constant();
    ASSERT_NE(real, nullptr);
    EXPECT_EQ(CodesOfValues(*by_name[name], *real), by_name[name]->codes.ToInts()) << name;
  }
  for (const auto& n : model->real->nodes()) EXPECT_TRUE(n->domain().empty()) << n->Describe();
}

// Every code of every width comes back from its float, whatever the scale.
TEST(ReadQuantized, EveryCodeSurvivesAsAFloat) {
  for (const float scale : {1e-30f, 3.3e-7f, 0.0123f, 1.0f / 3, 77.7f, 1e30f}) {
    for (const int bits : {8, 16}) {
      QuantTensor t;
      t.role = TensorRole::kWeight;
      t.params.bits = bits;
      t.scales = {scale};
      t.zeros = {0};
      std::vector<float> values;
      std::vector<int64_t> codes;
      for (int64_t c = t.lowest(); c <= t.highest(); ++c) {
        codes.push_back(c);
        values.push_back(static_cast<float>(c) * scale);
      }
      EXPECT_EQ(CodesOfValues(t, ir::Tensor::Vector(values)), codes) << scale << " " << bits;
    }
  }
}

TEST(ReadQuantized, CodesAtTheEndsAndMovedCodesBecomeFloats) {
  auto graph = Parse(R"(graph "net" {
  input %x: uint8[1, 2, 4, 4]
  const %s: float32[] = [0.5]
  const %z: uint8[] = [7]
  const %t: float32[] = [0.25]
  %r = MaxPool(%x) {kernel_shape = [2, 2], strides = [2, 2]} "pool"
  %x_dq = slipway.Dequantize(%r, %s, %z) {signed = 0} "dx"
  %y = Relu(%x_dq) "relu"
  %y_q = slipway.Quantize(%y, %t, %z) {signed = 0} "qy"
  output %y_q
})");
  auto model = ReadQuantized(*graph);
  // MaxPool of codes that are an input: the input's parameters are known only behind it.
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find("MaxPool node 'pool'"), std::string::npos)
      << model.status().ToString();

  graph = Parse(R"(graph "net" {
  input %x: uint8[1, 2, 4, 4]
  const %s: float32[] = [0.5]
  const %z: uint8[] = [7]
  const %t: float32[] = [0.25]
  %x_dq = slipway.Dequantize(%x, %s, %z) {signed = 0} "dx"
  %y = Relu(%x_dq) "relu"
  %y_q = slipway.Quantize(%y, %t, %z) {signed = 0} "qy"
  %m = MaxPool(%y_q) {kernel_shape = [2, 2], strides = [2, 2]} "pool"
  %m_dq = slipway.Dequantize(%m, %t, %z) {signed = 0} "dm"
  output %m
  output %m_dq
})");
  model = ReadQuantized(*graph);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const ir::Graph& real = *model->real;
  ASSERT_TRUE(ir::Verify(real).ok()) << ir::Verify(real).ToString();
  EXPECT_EQ(real.inputs()[0]->dtype(), DType::kFloat32);
  EXPECT_EQ(real.outputs()[0]->name(), "m");
  EXPECT_EQ(real.outputs()[1]->name(), "m_dq");
  EXPECT_EQ(real.outputs()[0]->dtype(), DType::kFloat32);
  auto out = interp::Evaluate(real, std::vector<ir::Tensor>{Ramp({1, 2, 4, 4})});
  ASSERT_TRUE(out.ok()) << out.status().ToString();
  std::map<std::string, float> scales;
  for (const auto& t : model->tensors) scales[t.name] = t.scales[0];
  EXPECT_EQ(scales, (std::map<std::string, float>{{"x", 0.5f}, {"y", 0.25f}, {"m", 0.25f}}));
}

TEST(ReadQuantized, RefusesArithmeticOnCodesAndFloatModels) {
  auto refused = [](const std::string& text, std::vector<std::string> words) {
    auto model = ReadQuantized(*Parse(text));
    ASSERT_FALSE(model.ok());
    for (const auto& w : words)
      EXPECT_NE(model.status().message().find(w), std::string::npos) << model.status().ToString();
  };
  refused(R"(graph "g" {
  input %x: float32[2]
  const %s: float32[] = [0.5]
  const %z: int8[] = [0]
  %q = slipway.Quantize(%x, %s, %z) "q"
  %a = Abs(%q) "abs"
  %y = slipway.Dequantize(%a, %s, %z) "d"
  output %y
})",
          {"Abs node 'abs'", "computes with codes"});
  refused(R"(graph "g" {
  input %x: float32[2]
  input %s: float32[]
  const %z: int8[] = [0]
  %q = slipway.Quantize(%x, %s, %z) "q"
  %y = slipway.Dequantize(%q, %s, %z) "d"
  output %y
})",
          {"node 'q'", "computed"});
  refused(R"(graph "g" {
  input %x: float32[2]
  %y = Relu(%x)
  output %y
})",
          {"float", "slipway quantize"});
}

TEST(ReadQuantized, RefusesPairsInsideOfBodies) {
  auto graph = Parse(R"(graph "g" {
  input %c: bool[]
  input %x: float32[2]
  const %s: float32[] = [0.5]
  const %z: int8[] = [0]
  %q = slipway.Quantize(%x, %s, %z) "q"
  %d = slipway.Dequantize(%q, %s, %z) "d"
  %y = If(%c, %d) "branch" body "then_branch" graph "t" {
    input %a: float32[2]
    const %s: float32[] = [0.5]
    const %z: int8[] = [0]
    %tq = slipway.Quantize(%a, %s, %z) "tq"
    %td = slipway.Dequantize(%tq, %s, %z) "td"
    output %td
  } body "else_branch" graph "e" {
    input %a: float32[2]
    %o = Relu(%a)
    output %o
  }
  output %y
})");
  ASSERT_NE(graph, nullptr);
  auto model = ReadQuantized(*graph);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find("'branch'"), std::string::npos);
  EXPECT_NE(model.status().message().find("body 'then_branch'"), std::string::npos)
      << model.status().ToString();
}

TEST(Limits, NameTheTensorTheReasonAndTheRemedy) {
  auto refused = [](const std::string& text, const char* format, std::vector<std::string> words) {
    const std::string folder = TempFolder("refused");
    auto files = ExportQuantized(*Parse(text), format, {.folder = folder, .stem = "m"});
    ASSERT_FALSE(files.ok()) << format;
    for (const auto& w : words)
      EXPECT_NE(files.status().message().find(w), std::string::npos) << files.status().ToString();
    EXPECT_FALSE(std::filesystem::exists(folder)) << format << " wrote before it refused";
  };
  refused(kNet, "tensorrt", {"'x'", "unsigned codes", "--platform tensorrt-int8"});
  refused(kNet, "vitis", {"'x'", "unsigned"});
  refused(kNet, "tengine", {"'w'", "each channel", "--platform tengine-int8"});
  refused(kNet, "no such", {"unknown", "tensorrt", "stpu"});
  // The same value with two grids: files that go by names cannot say so.
  const std::string twice =
      Replaced(Replaced(kNet, "  output %c_dq", R"(  const %s2: float32[] = [0.5]
  %c_q2 = slipway.Quantize(%c, %s2, %yz) {signed = 0} "qc2"
  %c_dq2 = slipway.Dequantize(%c_q2, %s2, %yz) {signed = 0} "dc2"
  %n = Neg(%c_dq2)
  output %n
  output %c_dq)"),
               "nothing", "");
  refused(twice, "snpe", {"'c_dq'", "two different ways"});
  const std::string folder = TempFolder("twice");
  auto files = ExportQuantized(*Parse(twice), "onnxruntime", {.folder = folder, .stem = "m"});
  EXPECT_TRUE(files.ok()) << files.status().ToString();
  // Infinite and zero scales.
  refused(Replaced(kNet, "[0.03]", "[0.0]"), "snpe", {"'c_dq'", "scale", "positive"});
  // Names in lines.
  std::string blank = Replaced(kNet, "[0.013, 0.0071, 1.5e-05]", "[0.01, 0.01, 0.01]");
  blank = Replaced(blank, "[0.00026, 0.000142, 3e-07]", "[0.0002, 0.0002, 0.0002]");
  blank = Replaced(Replaced(blank, "%x:", "%\"a b\":"), "(%x,", "(%\"a b\",");
  refused(blank, "tengine", {"a b", "blank"});
}

TEST(Exporters, TheGraphThatIsWrittenComputesTheSame) {
  auto graph = Parse(kNet);
  const std::string folder = TempFolder("same");
  auto files = ExportQuantized(*graph, "onnxruntime", {.folder = folder, .stem = "m"});
  ASSERT_TRUE(files.ok()) << files.status().ToString();
  ASSERT_EQ(files->size(), 3u);
  const std::vector<ir::Tensor> x = {Ramp({2, 2, 3, 3})};
  auto want = interp::Evaluate(*graph, x);
  ASSERT_TRUE(want.ok()) << want.status().ToString();
  for (const char* name : {"/m.onnx", "/m_integer.onnx"}) {
    auto back = onnx::ImportOnnx(folder + name);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    auto got = interp::Evaluate(**back, x);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    ASSERT_EQ((*got)[0].count(), (*want)[0].count());
    for (int64_t i = 0; i < (*got)[0].count(); ++i)
      EXPECT_FLOAT_EQ((*got)[0].data<float>()[i], (*want)[0].data<float>()[i]) << name << " " << i;
  }
}

TEST(IntegerForm, OneOperatorFromCodesToCodesElseTheIntegerProduct) {
  auto graph = Parse(kNet);
  auto form = ToIntegerOperators(graph.get());
  ASSERT_TRUE(form.ok()) << form.status().ToString();
  EXPECT_EQ(form->operators, (std::map<std::string, int>{{"QLinearConv", 1}}));
  // A ReLU clips the codes at the zero point.
  graph = Parse(Replaced(Replaced(kNet, "(%c, %ys, %yz)", "(%r, %ys, %yz)"),
                         "  %c_q =", "  %r = Relu(%c)\n  %c_q ="));
  form = ToIntegerOperators(graph.get());
  ASSERT_TRUE(form.ok());
  const ir::Node* clip = nullptr;
  for (const auto& n : graph->nodes()) clip = n->Is("Clip") ? n.get() : clip;
  ASSERT_NE(clip, nullptr) << ir::ToText(*graph);
  EXPECT_EQ(clip->constant_input(1)->ToInts(), std::vector<int64_t>{128});
  EXPECT_EQ(clip->constant_input(2)->ToInts(), std::vector<int64_t>{255});
  // A float consumer besides the Quantize: the sums leave as floats.
  graph = Parse(Replaced(kNet, "  output %c_dq", "  %n = Neg(%c)\n  output %n\n  output %c_dq"));
  form = ToIntegerOperators(graph.get());
  ASSERT_TRUE(form.ok());
  EXPECT_EQ(form->operators, (std::map<std::string, int>{{"ConvInteger", 1}}));
  // A bias that is not in steps of the product stays a float.
  graph = Parse(Replaced(kNet, "0.00026, ", "0.001, "));
  form = ToIntegerOperators(graph.get());
  ASSERT_TRUE(form.ok());
  EXPECT_EQ(form->operators, (std::map<std::string, int>{{"ConvInteger", 1}}));
}

TEST(RangeFiles, EveryFormatWritesEveryRoleOrSaysThatItDoesNot) {
  for (const RangeFile& file : RangeFiles()) {
    EXPECT_NE(FindQuantExporter(file.format), nullptr) << file.format;
    unsigned roles = file.omitted;
    for (const RangePart& part : file.parts) roles |= part.roles;
    EXPECT_EQ(roles, kAllTensors) << file.suffix;
  }
  // A part that is left out by mistake is an error that names the tensor.
  auto model = ReadQuantized(*Parse(kNet));
  ASSERT_TRUE(model.ok());
  RangeFile broken = RangeFiles()[2];
  broken.parts.pop_back();
  auto text = WriteRanges(*model, broken);
  ASSERT_FALSE(text.ok());
  EXPECT_NE(text.status().message().find("'w' is missing"), std::string::npos)
      << text.status().ToString();
}

}  // namespace
}  // namespace slipway::quant
