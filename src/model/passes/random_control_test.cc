// Random graphs with If, Loop, Scan, sequences and optionals: text form, passes and ONNX files must
// keep what they compute. Time-bounded; the seed is printed.

#include <chrono>

#include "model/frontends/onnx/export.h"
#include "model/frontends/onnx/import.h"
#include "model/frontends/onnx/test_case.h"
#include "model/passes/pass_test_util.h"
#include "model/passes/random_control_test_util.h"

namespace slipway::passes {
namespace {

Result<std::vector<Tensor>> Outputs(const Graph& graph, uint32_t seed) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<Tensor> inputs, ControlInputs(seed));
  return interp::Evaluate(graph, inputs);
}

void ExpectSame(const Graph& graph, const std::vector<std::vector<Tensor>>& want, uint32_t seed) {
  for (uint32_t i = 0; i < want.size(); ++i) {
    auto got = Outputs(graph, seed + i);
    ASSERT_TRUE(got.ok()) << got.status().message() << "\n" << ir::ToText(graph);
    ASSERT_EQ(got->size(), want[i].size());
    for (size_t k = 0; k < got->size(); ++k) {
      ASSERT_EQ(onnx::CompareTensors((*got)[k], want[i][k], 1e-4, 1e-5), "")
          << "output " << k << "\n"
          << ir::ToText(graph);
    }
  }
}

void CheckSeed(uint32_t seed) {
  const std::string text = ControlWriter(seed).Graph(8);
  auto parsed = ir::ParseText(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message() << "\n" << text;
  const Graph& graph = **parsed;
  const Status inferred = ir::InferShapes(**parsed);
  ASSERT_TRUE(inferred.ok()) << inferred.message() << "\n" << text;
  const Status verified = ir::Verify(graph);
  ASSERT_TRUE(verified.ok()) << verified.message() << "\n" << text;
  std::vector<std::vector<Tensor>> want;
  for (uint32_t i = 0; i < 3; ++i) {
    auto made = Outputs(graph, seed + i);
    // What a loop without iterations would have stacked can be beyond inference.
    if (made.status().code() == StatusCode::kUnsupported &&
        made.status().message().find("it ran no iteration") != std::string::npos)
      return;
    ASSERT_TRUE(made.ok()) << made.status().message() << "\n" << text;
    for (size_t k = 0; k < made->size(); ++k) {
      // Inference says what came.
      ASSERT_EQ(graph.outputs()[k]->type().container, (*made)[k].container()) << text;
      ASSERT_EQ(graph.outputs()[k]->dtype(), (*made)[k].dtype()) << text;
    }
    want.push_back(std::move(*made));
  }
  {
    SCOPED_TRACE("text form");
    auto again = ir::ParseText(ir::ToText(graph));
    ASSERT_TRUE(again.ok()) << again.status().message();
    ASSERT_EQ(ir::ToText(**again), ir::ToText(graph));
  }
  for (Level level : {Level::kOnnx, Level::kFused}) {
    SCOPED_TRACE(std::string("passes to ") + LevelName(level));
    auto optimised = graph.Clone();
    auto reports = RunPasses(*optimised, {.level = level, .verify_each = true});
    ASSERT_TRUE(reports.ok()) << reports.status().message() << "\n" << text;
    ExpectSame(*optimised, want, seed);
    if (testing::Test::HasFatalFailure()) {
      std::printf("before:\n%s\n", ir::ToText(graph).c_str());
      return;
    }
  }
  for (int opset : {17, 23}) {
    SCOPED_TRACE("as ONNX of opset " + std::to_string(opset));
    auto bytes = onnx::ExportOnnxBytes(graph, {.opset = opset});
    ASSERT_TRUE(bytes.ok()) << bytes.status().message() << "\n" << text;
    auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
    auto back = onnx::ImportOnnxBytes(*owner, owner);
    ASSERT_TRUE(back.ok()) << back.status().message() << "\n" << text;
    ExpectSame(**back, want, seed);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(RandomControl, TextPassesAndFilesKeepResults) {
  const char* fixed = std::getenv("SLIPWAY_SEED");
  uint32_t seed =
      fixed ? static_cast<uint32_t>(std::strtoul(fixed, nullptr, 10)) : std::random_device{}();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  int graphs = 0;
  do {
    SCOPED_TRACE("SLIPWAY_SEED=" + std::to_string(seed));
    CheckSeed(seed++);
    ++graphs;
  } while (!fixed && !testing::Test::HasFailure() && std::chrono::steady_clock::now() < end);
  std::printf("%d graphs\n", graphs);
}

}  // namespace
}  // namespace slipway::passes
