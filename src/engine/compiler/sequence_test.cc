// Models with sequences and optionals, compiled and run by a session, against the interpreter: by
// hand, and at random (the seed is printed, the time is bounded).

#include "engine/compiler/sequence.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>

#include "engine/compiler/compiled_test_util.h"
#include "model/ir/verify.h"
#include "model/passes/random_control_test_util.h"

namespace slipway::compiler {
namespace {

Tensor Sequence(DType dtype, std::vector<Tensor> items) {
  auto made = Tensor::Sequence(dtype, std::move(items));
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return *made;
}
Tensor At(int64_t i) { return Tensor::Scalar<int64_t>(i); }

// Boxes that a detector found in each image, as TorchVision's exports keep them: tensors of
// different extents in a list that the caller gives and gets.
TEST(CompileSequence, TensorsOfDifferentExtents) {
  auto graph = Parse(R"(graph "boxes" {
  input %boxes: seq(float32[B, 4])
  input %more: float32[M, 4]
  input %at: int64[]
  %all = SequenceInsert(%boxes, %more, %at)
  %n = SequenceLength(%all)
  %picked = SequenceAt(%all, %at)
  %sum = ReduceSum(%picked) {keepdims = 0}
  %rest = SequenceErase(%all, %at)
  %joined = ConcatFromSequence(%all) {axis = 0}
  %twice = Add(%joined, %joined)
  output %all
  output %n
  output %picked
  output %sum
  output %rest
  output %joined
  output %twice
})");
  ASSERT_TRUE(graph);
  const Tensor boxes =
      Sequence(DType::kFloat32, {Floats({2, 4}, 1), Floats({0, 4}, 0), Floats({5, 4}, -3)});
  Check(*graph, {{boxes, Floats({1, 4}, 7), At(1)},
                 {boxes, Floats({3, 4}, 7), At(-1)},
                 {Sequence(DType::kFloat32, {}), Floats({3, 4}, 2), At(0)},
                 {boxes, Floats({1, 4}, 7), At(3)},
                 {boxes, Floats({1, 4}, 7), At(4)},   // outside: an error in both
                 {boxes, Floats({1, 4}, 7), At(-4)},  // likewise
                 {Sequence(DType::kFloat32, {Floats({2, 4}, 1)}), Floats({3, 4}, 2), At(1)}});
}

TEST(CompileSequence, PiecesOfOneTensor) {
  auto graph = Parse(R"(graph "pieces" {
  input %x: float32[N, 6]
  input %sizes: int64[K]
  input %each: int32[]
  %a = SplitToSequence(%x, %sizes) {axis = 0}
  %b = SplitToSequence(%x, %each) {axis = -1}
  %c = SplitToSequence(%x) {axis = 1, keepdims = 0}
  %d = SplitToSequence(%x) {axis = 0, keepdims = 1}
  %ca = ConcatFromSequence(%a) {axis = 0}
  %cb = ConcatFromSequence(%b) {axis = 1}
  %cc = ConcatFromSequence(%c) {axis = -1, new_axis = 1}
  %cd = ConcatFromSequence(%d) {axis = 0, new_axis = 1}
  output %a
  output %b
  output %c
  output %d
  output %ca
  output %cb
  output %cc
  output %cd
})");
  ASSERT_TRUE(graph);
  const auto sizes = [](std::vector<int64_t> v) {
    return Tensor::Of<int64_t>({static_cast<int64_t>(v.size())}, v);
  };
  Check(*graph, {{Floats({5, 6}, 1), sizes({2, 0, 3}), Tensor::Scalar<int32_t>(4)},
                 {Floats({1, 6}, 1), sizes({1}), Tensor::Scalar<int32_t>(1)},
                 {Floats({5, 6}, 1), sizes({2, 2}), Tensor::Scalar<int32_t>(4)},   // too few
                 {Floats({5, 6}, 1), sizes({-1, 6}), Tensor::Scalar<int32_t>(4)},  // negative
                 {Floats({5, 6}, 1), sizes({5}), Tensor::Scalar<int32_t>(0)},
                 {Floats({3, 6}, 1), sizes({1, 1, 1}), Tensor::Scalar<int32_t>(9)}});
}

constexpr char kOptionals[] = R"text(graph "optionals" {
  input %o: optional(float32[N])
  input %l: optional(seq(float32[N]))
  input %x: float32[N]
  %has = OptionalHasElement(%o)
  %y, %p = If(%has, %o, %x) body "then_branch" graph "t" {
    input %o: optional(float32[N])
    input %x: float32[N]
    %e = OptionalGetElement(%o)
    %r = Add(%e, %x)
    %p = Optional(%r)
    output %r
    output %p
  } body "else_branch" graph "e" {
    input %o: optional(float32[N])
    input %x: float32[N]
    %r = Neg(%x)
    %p = Identity(%o)
    output %r
    output %p
  }
  %lhas = OptionalHasElement(%l)
  %s = If(%lhas, %l, %x) body "then_branch" graph "t" {
    input %l: optional(seq(float32[N]))
    input %x: float32[N]
    %e = OptionalGetElement(%l)
    %r = SequenceInsert(%e, %x)
    output %r
  } body "else_branch" graph "e" {
    input %l: optional(seq(float32[N]))
    input %x: float32[N]
    %r = SequenceConstruct(%x, %x)
    output %r
  }
  %sl = Optional(%s)
  %none = Optional() {type = "seq(float32[3])"}
  output %y
  output %p
  output %s
  output %sl
  output %none
  output %l
})text";

TEST(CompileSequence, Optionals) {
  auto graph = Parse(kOptionals);
  ASSERT_TRUE(graph);
  const Tensor none = Tensor::NoOptional(DType::kFloat32, ir::Container::kOptional),
               no_list = Tensor::NoOptional(DType::kFloat32, ir::Container::kOptionalSequence);
  const Tensor x = Floats({3}, 1);
  Check(*graph, {{Tensor::Optional(Floats({3}, 5)), no_list, x},
                 {none, Tensor::Optional(Sequence(DType::kFloat32, {})), x},
                 {none, Tensor::Optional(Sequence(DType::kFloat32, {x, Floats({3}, 8)})), x},
                 {none, no_list, x}});
}

// A list that a loop builds, of as many tensors as the data say, each longer than the last.
TEST(CompileSequence, LoopsThatBuildLists) {
  auto graph = Parse(R"(graph "build" {
  input %n: int64[]
  input %x: float32[N]
  input %first: seq(float32[M])
  %list, %last = Loop(%n, _, %first, %x) {carried = 2} body "body" graph "body" {
    input %i: int64[]
    input %go: bool[]
    input %s: seq(float32[M])
    input %t: float32[T]
    const %axes: int64[1] = [0]
    %f = Cast(%i) {to = 1}
    %one = Unsqueeze(%f, %axes)
    %longer = Concat(%t, %one) {axis = 0}
    %grown = SequenceInsert(%s, %longer)
    output %go
    output %grown
    output %longer
  }
  %length = SequenceLength(%list)
  %all = ConcatFromSequence(%list) {axis = 0}
  output %list
  output %last
  output %length
  output %all
})");
  ASSERT_TRUE(graph);
  const Tensor first = Sequence(DType::kFloat32, {Floats({2}, 9)});
  Check(*graph, {{At(3), Floats({1}, 1), first},
                 {At(0), Floats({2}, 1), first},
                 {At(40), Floats({1}, 1), Sequence(DType::kFloat32, {})},
                 {At(0), Floats({2}, 1), Sequence(DType::kFloat32, {})}});  // nothing to join
}

// The caller's memory and the session's are apart: what an output hands on may be written to, and
// what was given may be too.
TEST(CompileSequence, OutputsAreNobodyElses) {
  auto graph = Parse(R"(graph "g" {
  input %s: seq(float32[2])
  const %c: float32[2] = [5, 6]
  %t = SequenceInsert(%s, %c)
  output %s
  output %t
})");
  ASSERT_TRUE(graph);
  auto compiled = Compiled::Make(*graph, Platforms()[0], true);
  ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
  runtime::Session& session = (*compiled)->session();
  ASSERT_TRUE((*compiled)->Run({Sequence(DType::kFloat32, {Floats({2}, 1)})}).ok());
  const std::string same = session.package()
                               .data()
                               .tensors[static_cast<size_t>(session.package().data().outputs[0])]
                               .name;
  auto given = session.Item("s", 0), out = session.Item(same, 0), first = session.Item("t", 0),
       second = session.Item("t", 1);
  ASSERT_TRUE(given.ok() && out.ok() && first.ok() && second.ok());
  const int64_t two = 2;
  ASSERT_TRUE(session.SetItem("s", 0, {&two, 1}).ok());
  static_cast<float*>(out->data)[0] = 100;
  static_cast<float*>(second->data)[0] = 100;  // a constant of the package, were it shared
  EXPECT_EQ(static_cast<float*>(first->data)[0], 1);
  auto again = (*compiled)->Run({Sequence(DType::kFloat32, {Floats({2}, 3)})});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((*again)[1].items()[1].data<float>()[0], 5);
  EXPECT_EQ((*again)[0].items()[0].data<float>()[0], 3);
}

TEST(CompileSequence, WhatNoPackageHoldsIsRefusedByName) {
  const struct {
    const char *text, *expected;
  } cases[] = {{R"(graph "g" {
  input %s: seq(float32[?])
  input %at: int64[]
  %t = SequenceAt(%s, %at)
  output %t
})",
                "value 't' has a number of dimensions that only the data decide"},
               {R"(graph "g" {
  input %n: int64[]
  input %o: optional(float32[2])
  %y = Loop(%n, _, %o) {carried = 1} "unpack" body "body" graph "body" {
    input %i: int64[]
    input %go: bool[]
    input %o: optional(float32[2])
    %e = OptionalGetElement(%o)
    output %go
    output %e
  }
  output %y
})",
                "Loop node 'unpack': carried value 0 is an optional that comes back as a tensor"},
               {R"(graph "g" {
  input %x: int4[N, 4]
  %s = SplitToSequence(%x) "cut"
  output %s
})",
                "SplitToSequence node 'cut': pieces of int4"}};
  for (const auto& c : cases) {
    auto graph = Parse(c.text);
    ASSERT_TRUE(graph);
    auto compiled = Compiled::Make(*graph, Platforms()[0], true);
    ASSERT_FALSE(compiled.ok()) << c.text;
    EXPECT_EQ(compiled.status().code(), StatusCode::kUnsupported);
    EXPECT_NE(compiled.status().message().find(c.expected), std::string::npos)
        << compiled.status().ToString();
  }
}

TEST(CompileSequence, RandomModelsAgreeWithTheInterpreter) {
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  const auto base =
      fixed ? static_cast<uint32_t>(std::strtoul(fixed, nullptr, 10)) : std::random_device{}();
  const char* limit = std::getenv("SLIPWAY_TEST_SECONDS");
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(limit ? std::atof(limit) : 4);
  const std::vector<Platform> platforms = Platforms();
  int64_t models = 0, refused = 0, runs = 0, containers = 0;
  std::map<std::string, int64_t> why;
  for (uint32_t seed = base;
       std::chrono::steady_clock::now() < end || ((runs <= 20 || containers <= 5) && models < 300);
       ++seed) {
    SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed));
    const std::string text = passes::ControlWriter(seed).Graph(8);
    auto graph = Parse(text);
    ASSERT_TRUE(graph && ir::Verify(*graph).ok()) << text;
    std::mt19937 random(seed);
    const Platform& platform = platforms[random() % platforms.size()];
    const bool optimize = random() % 2 == 0;
    SCOPED_TRACE(platform.name + (optimize ? ", optimized" : ""));
    auto compiled = Compiled::Make(*graph, platform, optimize);
    if (!compiled.ok()) {
      ASSERT_EQ(compiled.status().code(), StatusCode::kUnsupported)
          << compiled.status().ToString() << "\n"
          << text;
      ++refused;
      ++why[compiled.status().message().substr(0, 300) + ", seed " + std::to_string(seed)];
      if (fixed) break;
      continue;
    }
    ++models;
    for (uint32_t run = 0; run < 3; ++run) {
      auto inputs = passes::ControlInputs(seed + run);
      ASSERT_TRUE(inputs.ok());
      auto want = interp::Evaluate(*graph, *inputs);
      if (!want.ok()) continue;  // of a stack of nothing whose extents nobody knows
      auto got = (*compiled)->Run(*inputs);
      ASSERT_TRUE(got.ok()) << got.status().ToString() << "\n" << text;
      ++runs;
      for (size_t k = 0; k < want->size(); ++k) {
        containers += (*want)[k].is_container();
        ASSERT_EQ(Different((*got)[k], (*want)[k], platform.name == "reference"), "")
            << "run " << run << ", output " << k << "\n"
            << text;
      }
    }
    if (fixed) break;
  }
  std::cout << "  seed " << base << ": " << models << " models, " << runs << " runs, " << containers
            << " sequences and optionals, " << refused << " refused\n";
  for (const auto& [reason, count] : why) {
    if (limit) std::cout << "  " << count << " x " << reason << "\n";
  }
  EXPECT_TRUE(fixed || (runs > 20 && containers > 5));
}

}  // namespace
}  // namespace slipway::compiler
