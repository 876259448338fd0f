#include "engine/backends/tensorrt/compile/compiler.h"

#include <gtest/gtest.h>

#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::backends {
namespace {

// "" when the node of `line` is taken, else why not.
std::string Refused(const std::string& input, const std::string& line) {
  auto graph =
      ir::ParseText("graph \"g\" {\n  input %x: " + input + "\n  " + line + "\n  output %y\n}");
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  if (!graph.ok()) return "no graph";
  EXPECT_TRUE(ir::InferShapes(**graph).ok());
  Target target;
  target.arch = "x86_64";
  for (const auto& node : (*graph)->nodes())
    return MakeTensorrtCompiler()->Supports(*node, target).message();
  return "no node";
}

TEST(TensorrtCompiler, DeclinesWhatItsParserDoesNotTake) {
  EXPECT_EQ(Refused("float32[N, 2, 9, 9]", "%y = MaxPool(%x) {kernel_shape = [3, 3]}"), "");
  EXPECT_EQ(Refused("float32[N, 2, 9, 9, 9]", "%y = AveragePool(%x) {kernel_shape = [3, 3, 3]}"),
            "");
  EXPECT_EQ(Refused("float32[N, 2, 9, 9]",
                    "%y = MaxPool(%x) {kernel_shape = [3, 3], dilations = [1, 1]}"),
            "");
  EXPECT_EQ(Refused("float32[N, 2, 9]", "%y = MaxPool(%x) {kernel_shape = [3]}"),
            "pooling other than in 2 or 3 dimensions");
  EXPECT_EQ(Refused("float32[N, 2, 9, 9]",
                    "%y = MaxPool(%x) {kernel_shape = [3, 3], dilations = [1, 2]}"),
            "dilated pooling");
  EXPECT_EQ(Refused("float32[1, 2, 1, 2, 1, 2, 1, 2]", "%y = Relu(%x)"), "");
  EXPECT_EQ(Refused("float32[1, 2, 1, 2, 1, 2, 1, 2, 1]", "%y = Relu(%x)"),
            "more than 8 dimensions");
}

TEST(TensorrtCompiler, TakesFloat32Only) {
  EXPECT_EQ(Refused("float32[N, 2]", "%y = Relu(%x)"), "");
  EXPECT_NE(Refused("int8[N, 2]", "%y = Relu(%x)"), "");
  EXPECT_NE(Refused("float16[N, 2]", "%y = Relu(%x)"), "");
  EXPECT_NE(Refused("bfloat16[N, 2]", "%y = Relu(%x)"), "");
}

}  // namespace
}  // namespace slipway::backends
