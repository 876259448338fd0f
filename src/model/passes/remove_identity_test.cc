#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(RemoveIdentity, RemovesWhatReturnsItsInput) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3, 4]
      const %one: float32[1] = [1]
      const %zero: float32[3, 1] = zeros
      const %shape: int64[3] = [2, 3, 4]
      const %pads: int64[6] = zeros
      const %starts: int64[1] = [0]
      const %ends: int64[1] = [99]
      const %repeats: int64[3] = [1, 1, 1]
      %a = Identity(%x)
      %b, _ = Dropout(%a)
      %c = Cast(%b) {to = 1}
      %d = Reshape(%c, %shape)
      %e = Transpose(%d) {perm = [0, 1, 2]}
      %f = Slice(%e, %starts, %ends)
      %g = Pad(%f, %pads)
      %h = Concat(%g) {axis = 1}
      %i = Expand(%h, %repeats)
      %j = Tile(%i, %repeats)
      %k = Mul(%j, %one)
      %l = Add(%zero, %k)
      %m = Neg(%l)
      %n = Neg(%m)
      %o = Relu(%n)
      %p = Relu(%o)
      %q = Sum(%p)
      output %q
    })",
                {"remove-identity"}, R"(graph "g" {
      input %x: float32[2, 3, 4]
      %o = Relu(%x)
      output %o
    })");
}

TEST(RemoveIdentity, KeepsWhatChangesSomething) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      const %one: float32[2, 2, 3] = fill(1)
      const %starts: int64[1] = [-1]
      const %ends: int64[1] = [-9]
      const %axes: int64[1] = [0]
      const %steps: int64[1] = [-1]
      %a = Mul(%x, %one)
      %b = Slice(%x, %starts, %ends, %axes, %steps)
      output %a
      output %b
    })",
                  {"remove-identity"});
}

TEST(RemoveIdentity, KeepsTheNamesOfOutputs) {
  auto made = ExpectBecomes(R"(graph "g" {
      input %x: float32[2]
      %a = Relu(%x)
      %y = Identity(%a)
      output %y
    })",
                            {"remove-identity"}, R"(graph "g" {
      input %x: float32[2]
      %y = Relu(%x)
      output %y
    })");
  EXPECT_EQ(made->outputs()[0]->name(), "y");
  // An input cannot be called like the output: the Identity stays.
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2]
      %y = Identity(%x)
      output %y
    })",
                  {"remove-identity"});
}

}  // namespace
}  // namespace slipway::passes
