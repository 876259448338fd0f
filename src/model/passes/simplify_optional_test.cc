#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"simplify-optional"};

TEST(SimplifyOptional, WhatWasPutInComesOut) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3]
      %o = Optional(%x)
      %i = Identity(%o)
      %h = OptionalHasElement(%i)
      %e = OptionalGetElement(%i)
      %s = SequenceConstruct(%e, %x)
      %p = Optional(%s)
      %t = OptionalGetElement(%p)
      %y = ConcatFromSequence(%t) {axis = 1}
      output %y
      output %h
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 3]
      const %true: bool[] = [1]
      %h = Identity(%true)
      %s = SequenceConstruct(%x, %x)
      %y = ConcatFromSequence(%s) {axis = 1}
      output %y
      output %h
    })");
}

TEST(SimplifyOptional, WhatIsNoOptional) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N]
      %o = Optional() {type = "float32[?]"}
      %a = OptionalHasElement(%o)
      %b = OptionalHasElement(%x)
      %c = OptionalHasElement()
      %ab = And(%a, %b)
      %y = Or(%ab, %c)
      %e = OptionalGetElement(%x)
      %z = Relu(%e)
      output %y
      output %z
    })",
                kPass, R"(graph "g" {
      input %x: float32[N]
      const %f: bool[] = [0]
      const %t: bool[] = [1]
      %ab = And(%f, %t)
      %y = Or(%ab, %f)
      %z = Relu(%x)
      output %y
      output %z
    })");
}

TEST(SimplifyOptional, InputsStay) {
  auto graph = Parse(R"(graph "g" {
      input %o: optional(float32[2])
      %h = OptionalHasElement(%o)
      %e = OptionalGetElement(%o)
      output %h
      output %e
    })");
  auto reports = RunPasses(*graph, Only(kPass));
  ASSERT_TRUE(reports.ok()) << reports.status().message();
  EXPECT_EQ((*reports)[0].changes, 0);
}

}  // namespace
}  // namespace slipway::passes
