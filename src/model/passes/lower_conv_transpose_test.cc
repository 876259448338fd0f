#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(LowerConvTranspose, StrideTwoBecomesOneConvolution) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[1, 1, 2, 2]
      const %w: float32[1, 1, 2, 2] = [1, 2, 3, 4]
      const %b: float32[1] = [5]
      %t = ConvTranspose(%x, %w, %b) {strides = [2, 2]}
      %y = Relu(%t)
      output %y
    })",
                {"lower-conv-transpose", "fuse-conv"}, R"(graph "g" {
      input %x: float32[1, 1, 2, 2]
      const %w: float32[4, 1, 1, 1] = [1, 2, 3, 4]
      const %b: float32[4] = [5, 5, 5, 5]
      %c = slipway.Conv(%x, %w, %b) {group = 1, pads = [0, 0, 0, 0], activation = "Relu"}
      %y = DepthToSpace(%c) {blocksize = 2, mode = "CRD"}
      output %y
    })");
}

TEST(LowerConvTranspose, StrideOneTurnsTheWindow) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[1, 1, N]
      const %w: float32[1, 1, 3] = [1, 2, 3]
      %y = ConvTranspose(%x, %w) {pads = [1, 0]}
      output %y
    })",
                {"lower-conv-transpose"}, R"(graph "g" {
      input %x: float32[1, 1, N]
      const %w: float32[1, 1, 3] = [3, 2, 1]
      %y = Conv(%x, %w) {group = 1, pads = [1, 2]}
      output %y
    })");
}

TEST(LowerConvTranspose, LeavesWhatItCannotDo) {
  for (const char* attributes :
       {"strides = [2, 1]", "strides = [2, 2], dilations = [2, 2]", "strides = [2, 2], group = 4",
        "pads = [3, 3, 0, 0]", "strides = [2, 2], output_shape = [9, 9]"}) {
    SCOPED_TRACE(attributes);
    ExpectUnchanged(std::string(R"(graph "g" {
      input %x: float32[1, 4, 5, 5]
      const %w: float32[4, 2, 3, 3] = random(1)
      %y = ConvTranspose(%x, %w) {)") +
                        attributes + "}\noutput %y\n}",
                    {"lower-conv-transpose"});
  }
}

TEST(LowerConvTranspose, LeavesWhatABackendHas) {
  auto graph = Parse(R"(graph "g" {
      input %x: float32[1, 1, 2, 2]
      const %w: float32[1, 1, 2, 2] = [1, 2, 3, 4]
      %y = ConvTranspose(%x, %w) {strides = [2, 2]}
      output %y
    })");
  PassOptions options = Only({"lower-conv-transpose"});
  options.supported = [](const ir::Node& node) { return node.Is("ConvTranspose"); };
  auto after = RunAndCheck(*graph, options);
  EXPECT_EQ(CountOps(*after).count("ConvTranspose"), 1u);
  options.supported = [](const ir::Node&) { return false; };
  after = RunAndCheck(*graph, options);
  EXPECT_EQ(CountOps(*after).count("ConvTranspose"), 0u);
}

// Every window, stride, padding and group that is taken gives what the operator gives.
TEST(LowerConvTranspose, RandomShapesKeepTheirResults) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  int lowered = 0;
  for (int i = 0; i < 150; ++i) {
    const int rank = below(4) == 0 ? 1 + below(3) : 2, s = rank == 2 ? 1 + below(4) : 1;
    const int group = below(3) == 0 ? 2 : 1, in = (group > 1 ? 8 : 1) + below(3),
              out = 1 + below(4);
    std::string x = "[" + std::to_string(1 + below(2)) + ", " + std::to_string(in * group),
                w = "[" + std::to_string(in * group) + ", " + std::to_string(out), begin, end,
                extra, strides, dilations;
    const auto add = [](std::string& list, int v) {
      list += (list.empty() ? "" : ", ") + std::to_string(v);
    };
    for (int d = 0; d < rank; ++d) {
      const int k = 1 + below(5), dilation = s == 1 && k > 1 ? 1 + below(2) : 1;
      x += ", " + (below(4) == 0 ? std::string("N") : std::to_string(3 + below(5)));
      w += ", " + std::to_string(k);
      add(begin, below((k + 1) / 2));
      add(end, below((k + 1) / 2));
      add(extra, s > 1 ? below(s) : 0);
      add(strides, s);
      add(dilations, dilation);
    }
    const std::string text =
        "graph \"g\" {\ninput %x: float32" + x + "]\nconst %w: float32" + w + "] = random(" +
        std::to_string(i) + ")\nconst %b: float32[" + std::to_string(out * group) +
        "] = random(7)\n%t = ConvTranspose(%x, %w" + (below(2) ? ", %b" : "") +
        ") {group = " + std::to_string(group) + ", pads = [" + begin + ", " + end +
        "], strides = [" + strides + "], dilations = [" + dilations + "], output_padding = [" +
        extra + "]}\n%y = " + (below(2) ? "Relu" : "LeakyRelu") + "(%t)\noutput %y\n}";
    SCOPED_TRACE(text);
    auto graph = Parse(text);
    auto after = RunAndCheck(*graph, Only({"lower-conv-transpose"}));
    lowered += CountOps(*after).count("Conv") != 0;
    if (HasFailure()) break;
  }
  EXPECT_GT(lowered, 50);
}

}  // namespace
}  // namespace slipway::passes
