// Concatenations whose pieces are written in place.

#include "engine/compiler/concat.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>

#include "engine/compiler/compiled_test_util.h"

namespace slipway::compiler {
namespace {

int Concats(const Compiled& compiled) {
  int count = 0;
  for (const auto& s : compiled.result().package.steps) count += s.op == "Concat";
  return count;
}

class CompileConcat : public testing::Test {
 protected:
  // Steps left on each platform; outputs as the interpreter has them.
  void Expect(const std::string& text, const std::vector<Tensor>& inputs, int concats) {
    auto graph = Parse(text);
    ASSERT_TRUE(graph);
    auto want = interp::Evaluate(*graph, inputs);
    ASSERT_TRUE(want.ok()) << want.status().ToString();
    for (const Platform& platform : Platforms()) {
      SCOPED_TRACE(platform.name);
      auto compiled = Compiled::Make(*graph, platform, true);
      ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
      // oneDNN's convolutions may have chosen channels last, whose pieces are no stretches.
      if (platform.name != "x86-onednn") {
        EXPECT_EQ(Concats(**compiled), concats);
      }
      for (int run = 0; run < 2; ++run) {
        auto got = (*compiled)->Run(inputs);
        ASSERT_TRUE(got.ok()) << got.status().ToString();
        for (size_t k = 0; k < want->size(); ++k)
          EXPECT_EQ(Different((*got)[k], (*want)[k], platform.name == "reference"), "") << k;
      }
    }
  }
};

TEST_F(CompileConcat, NestedAsInDenseNet) {
  Expect(R"(graph "g" {
input %x: float32[1, 16, 8, 8]
%a = Relu(%x)
const %w: float32[16, 16, 3, 3] = random(1)
%b = Conv(%a, %w) {pads = [1, 1, 1, 1]}
%ab = Concat(%a, %b) {axis = 1}
const %v: float32[16, 32, 1, 1] = random(2)
%c = Conv(%ab, %v)
%abc = Concat(%a, %b, %c) {axis = 1}
const %u: float32[32, 48, 1, 1] = random(3)
%d = Conv(%abc, %u)
%all = Concat(%abc, %d) {axis = 1}
%y = GlobalAveragePool(%all)
output %y
})",
         {Floats(Dims{1, 16, 8, 8}, -100)}, 0);
}

TEST_F(CompileConcat, WhatStaysACopy) {
  struct Case {
    const char *what, *rows, *body;
  };
  const Case cases[] = {
      {"a package input", "4", "%a = Relu(%x)\n%y = Concat(%x, %a) {axis = 0}\n%z = Neg(%y)"},
      {"a piece twice", "4", "%a = Sin(%x)\n%y = Concat(%a, %a) {axis = 0}\n%z = Neg(%y)"},
      {"an output", "4", "%a = Sin(%x)\n%b = Cos(%x)\n%z = Concat(%a, %b) {axis = 0}"},
      {"no stretch of memory", "4",
       "%a = Sin(%x)\n%b = Cos(%x)\n%y = Concat(%a, %b) {axis = 1}\n%z = Neg(%y)"},
      {"two orders, of which one is a copy", "4",
       "%a = Sin(%x)\n%b = Cos(%x)\n%y = Concat(%a, %b) {axis = 0}\n"
       "%w = Concat(%b, %a) {axis = 0}\n%z = Sub(%y, %w)"},
      {"an extent that only the session knows", "N",
       "%a = Sin(%x)\n%b = Cos(%x)\n%y = Concat(%a, %b) {axis = 0}\n%z = Neg(%y)"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Expect(std::string("graph \"g\" {\ninput %x: float32[") + c.rows + ", 16]\n" + c.body +
               "\noutput %z\n}",
           {Floats(Dims{4, 16}, -3)}, 1);
  }
}

// Random graphs of pieces in pieces, with values that are read again long after: the seed is
// printed, the time is bounded.
TEST_F(CompileConcat, RandomGraphs) {
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  const uint64_t base = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  int64_t models = 0, concats = 0, left = 0;
  for (uint64_t seed = base; std::chrono::steady_clock::now() < end; ++seed) {
    SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto below = [&](uint64_t n) { return static_cast<size_t>(random() % n); };
    const bool image = below(2) == 0;  // else plain matrices
    const size_t unit = image ? 16 : 1 + below(3), width = below(4) == 0 ? 5 : 16;
    std::vector<size_t> rows = {unit};
    const std::string tail = image ? ", 2, 2" : ", " + std::to_string(width);
    std::string text = "graph \"g\" {\ninput %v0: float32[" + std::string(image ? "1, " : "") +
                       std::to_string(unit) + tail + "]\n";
    for (size_t n = 6 + below(14), k = 1; k < n; ++k) {
      const std::string name = "%v" + std::to_string(rows.size());
      const size_t a = below(rows.size());
      const auto v = [](size_t i) { return "%v" + std::to_string(i); };
      size_t b = below(rows.size());
      while (rows[b] != rows[a]) b = below(rows.size());
      switch (below(5)) {
        case 0:
          text += name + " = Relu(" + v(a) + ")\n";
          rows.push_back(rows[a]);
          break;
        case 1:
          text += name + " = Neg(" + v(a) + ")\n";
          rows.push_back(rows[a]);
          break;
        case 2:
          text += name + " = Add(" + v(a) + ", " + v(b) + ")\n";
          rows.push_back(rows[a]);
          break;
        default: {
          std::string list = v(a);
          size_t sum = rows[a];
          for (size_t more = 1 + below(3); more > 0; --more) {
            const size_t c = below(rows.size());
            if (sum + rows[c] > 16 * unit) continue;
            list += ", " + v(c);
            sum += rows[c];
          }
          text += name + " = Concat(" + list + ") {axis = " + (image ? "1" : "0") + "}\n";
          rows.push_back(sum);
        }
      }
    }
    std::string outputs;
    for (size_t k = 0; k < 1 + below(3); ++k)
      outputs += "output %v" + std::to_string(rows.size() - 1 - k) + "\n";
    auto graph = Parse(text + outputs + "}\n");
    ASSERT_TRUE(graph) << text;
    const Dims dims =
        image ? Dims{1, 16, 2, 2} : Dims{static_cast<int64_t>(unit), static_cast<int64_t>(width)};
    const std::vector<Tensor> inputs = {Floats(dims, -1.5f)};
    auto want = interp::Evaluate(*graph, inputs);
    ASSERT_TRUE(want.ok()) << want.status().ToString() << text;
    for (const Platform& platform : Platforms()) {
      SCOPED_TRACE(platform.name);
      auto compiled = Compiled::Make(*graph, platform, below(2) == 0);
      ASSERT_TRUE(compiled.ok()) << compiled.status().ToString() << text;
      for (const PlacementRow& row : (*compiled)->result().placement) concats += row.op == "Concat";
      left += Concats(**compiled);
      for (int run = 0; run < 2; ++run) {
        auto got = (*compiled)->Run(inputs);
        ASSERT_TRUE(got.ok()) << got.status().ToString() << text;
        for (size_t k = 0; k < want->size(); ++k)
          ASSERT_EQ(Different((*got)[k], (*want)[k], false), "") << text << outputs;
      }
    }
    ++models;
    if (fixed) break;
  }
  std::cout << "  seed " << base << ": " << models << " models, " << concats << " concatenations, "
            << left << " of them copied\n";
  EXPECT_TRUE(fixed || left < concats);
}

}  // namespace
}  // namespace slipway::compiler
