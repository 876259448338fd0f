// Replays what fuzzing has found, and a few hand-made bad files (fuzz/regressions): whatever they
// are, nothing crashes and nothing is an internal error.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/mapped_file.h"
#include "model/frontends/onnx/export.h"
#include "model/frontends/onnx/import.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"

namespace slipway::onnx {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Files(const char* target) {
  const char* root = std::getenv("SLIPWAY_SOURCE_DIR");
  const fs::path folder =
      fs::path(root ? root : SLIPWAY_SOURCE_DIR) / "fuzz" / "regressions" / target;
  std::vector<std::string> out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.is_regular_file()) out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

TEST(FuzzRegressions, OnnxImport) {
  const auto files = Files("onnx_import");
  EXPECT_FALSE(files.empty());
  for (const std::string& file : files) {
    SCOPED_TRACE(file);
    auto graph = ImportOnnx(file);
    EXPECT_NE(graph.status().code(), StatusCode::kInternal) << graph.status().ToString();
    if (!graph.ok()) continue;
    for (int opset : {11, 13, 17, 21, 25}) {
      auto bytes = ExportOnnxBytes(**graph, {.opset = opset});
      EXPECT_NE(bytes.status().code(), StatusCode::kInternal) << bytes.status().ToString();
    }
  }
}

TEST(FuzzRegressions, IrText) {
  for (const std::string& file : Files("ir_text")) {
    SCOPED_TRACE(file);
    auto text = ReadFile(file);
    ASSERT_TRUE(text.ok());
    auto graph = ir::ParseText(*text);
    if (!graph.ok()) continue;
    const std::string printed = ir::ToText(**graph);
    auto again = ir::ParseText(printed);
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_EQ(ir::ToText(**again), printed);
    if (ir::Verify(**graph).ok()) (void)ir::InferShapes(**graph).ok();
  }
}

}  // namespace
}  // namespace slipway::onnx
