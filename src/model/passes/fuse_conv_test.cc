#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(FuseConv, TakesResidualAndActivation) {
  auto made = ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4, 5, 5]
      const %w: float32[4, 4, 3, 3] = random(1)
      const %b: float32[4] = random(2)
      const %six: float32[] = fill(6)
      const %zero: float32[] = fill(0)
      %c = Conv(%x, %w) {pads = [1, 1, 1, 1]} "first"
      %r = Clip(%c, %zero, %six) "clip"
      %d = Conv(%r, %w, %b) {pads = [1, 1, 1, 1]} "second"
      %s = Add(%x, %d) "sum"
      %y = HardSwish(%s) "swish"
      output %y
    })",
                            {"fuse-conv"}, R"(graph "g" {
      input %x: float32[N, 4, 5, 5]
      const %w: float32[4, 4, 3, 3] = random(1)
      const %b: float32[4] = random(2)
      %r = slipway.Conv(%x, %w) {pads = [1, 1, 1, 1], activation = "Clip", activation_params = [0.0, 6.0]}
      %y = slipway.Conv(%r, %w, %b, %x) {pads = [1, 1, 1, 1], activation = "HardSwish"}
      output %y
    })");
  Node* second = made->FindNode("second");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->sources, (std::vector<std::string>{"second", "sum", "swish"}));
}

TEST(FuseConv, TheLaterOfTwoTakesTheAddition) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[1, 4, 5, 5]
      const %w: float32[4, 4, 1, 1] = random(1)
      %a = Conv(%x, %w)
      %r = Relu(%x)
      %b = Conv(%r, %w)
      %s = Add(%a, %b)
      %y = Relu(%s)
      output %y
    })",
                {"fuse-conv"}, R"(graph "g" {
      input %x: float32[1, 4, 5, 5]
      const %w: float32[4, 4, 1, 1] = random(1)
      %a = slipway.Conv(%x, %w)
      %r = Relu(%x)
      %y = slipway.Conv(%r, %w, _, %a) {activation = "Relu"}
      output %y
    })");
}

TEST(FuseConv, LeavesSharedResultsAndBroadcasts) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[1, 4, 5, 5]
      input %z: float32[1, 4, 1, 1]
      const %w: float32[4, 4, 1, 1] = random(1)
      %a = Conv(%x, %w)
      %b = Add(%a, %z)
      %c = Conv(%x, %w)
      %d = Relu(%c)
      output %b
      output %c
      output %d
    })",
                {"fuse-conv"}, R"(graph "g" {
      input %x: float32[1, 4, 5, 5]
      input %z: float32[1, 4, 1, 1]
      const %w: float32[4, 4, 1, 1] = random(1)
      %a = slipway.Conv(%x, %w)
      %b = Add(%a, %z)
      %c = slipway.Conv(%x, %w)
      %d = Relu(%c)
      output %b
      output %c
      output %d
    })");
}

TEST(FuseConv, EveryActivation) {
  for (const char* op :
       {"Relu(%c)", "LeakyRelu(%c) {alpha = 0.2}", "Sigmoid(%c)", "HardSigmoid(%c) {alpha = 0.3}",
        "HardSwish(%c)", "Swish(%c)", "Swish(%c) {alpha = 1.5}", "Gelu(%c)",
        "Gelu(%c) {approximate = \"tanh\"}", "Tanh(%c)", "Elu(%c) {alpha = 0.7}", "Clip(%c, %lo)",
        "Clip(%c, _, %lo)"}) {
    auto made = RunAndCheck(*Parse(std::string(R"(graph "g" {
      input %x: float32[1, 4, 5, 5]
      const %w: float32[4, 4, 1, 1] = random(1)
      const %lo: float32[] = fill(-0.1)
      %c = Conv(%x, %w)
      %y = )") + op + "\n output %y\n}"),
                            Only({"fuse-conv"}));
    EXPECT_EQ(made->nodes().size(), 1u) << op;
  }
}

}  // namespace
}  // namespace slipway::passes
