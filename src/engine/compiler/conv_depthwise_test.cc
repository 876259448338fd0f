// Pairs of convolutions in one step compute what the two compute, bit for bit, with any number of
// threads.

#include "engine/compiler/compiled_test_util.h"

namespace slipway::compiler {
namespace {

std::string Pair(const std::string& x, int64_t in, int64_t channels, int64_t kernel,
                 const std::string& pads, const std::string& first, const std::string& second) {
  const std::string c = std::to_string(channels), k = std::to_string(kernel);
  return "graph \"g\" {\ninput %x: float32[" + x + "]\nconst %w: float32[" + c + ", " +
         std::to_string(in) + ", 1, 1] = random(1)\nconst %b: float32[" + c +
         "] = random(2)\nconst %v: float32[" + c + ", 1, " + k + ", " + k +
         "] = random(3)\nconst %a: float32[" + c +
         "] = random(4)\n%e = Relu(%x)\n%p = Conv(%e, %w, %b)\n%q = " + first +
         "(%p)\n%d = Conv(%q, %v, %a) {group = " + c + ", strides = [2, 2], pads = " + pads +
         "}\n%y = " + second + "(%d)\noutput %y\n}";
}

int Pairs(const Compiled& compiled) {
  int count = 0;
  for (const auto& s : compiled.result().package.steps) count += s.op.ends_with("ConvDepthwise");
  return count;
}

TEST(CompileConvDepthwise, AsTheTwoSteps) {
  const std::string models[] = {
      Pair("2, 16, 71, 121", 16, 96, 3, "[1, 1, 1, 1]", "Swish", "Swish"),
      Pair("1, 24, 80, 70", 24, 144, 5, "[1, 2, 2, 3]", "HardSwish", "Relu"),
      Pair("1, 40, 95, 41", 40, 208, 3, "[0, 0, 1, 1]", "Relu", "Tanh"),
      Pair("1, 18, 301, 11", 18, 240, 3, "[1, 1, 1, 1]", "Sigmoid", "Identity"),
  };
  for (const char* name : {"x86", "x86-bf16"}) {
    const bool half = std::string(name) == "x86-bf16";
    if (ThisCpu().arch != "x86_64" || (half && !HasFeature(CpuFeature::kAvx512Bf16))) continue;
    auto platform = LoadPlatform(std::string(SLIPWAY_SOURCE_DIR) + "/platforms/" + name + ".yaml");
    ASSERT_TRUE(platform.ok());
    platform->backends = {"x86"};  // others sum in another order
    for (const std::string& model : models) {
      SCOPED_TRACE(std::string(name) + model);
      auto graph = Parse(model);
      ASSERT_TRUE(graph);
      Dims dims;
      for (const Dim& d : *graph->inputs()[0]->type().shape) dims.push_back(d.value());
      Tensor x = *Tensor::Allocate(DType::kFloat32, dims);
      for (int64_t i = 0; i < dims.count(); ++i)
        reinterpret_cast<float*>(x.mutable_data())[i] =
            static_cast<float>(i * 7919 % 1009) / 500 - 0.5f;
      CompileOptions apart;
      apart.disabled_passes = {"fuse-conv-depthwise"};
      auto two = Compiled::Make(*graph, *platform, apart);
      ASSERT_TRUE(two.ok()) << two.status().ToString();
      EXPECT_EQ(Pairs(**two), 0);
      auto want = (*two)->Run({x});
      ASSERT_TRUE(want.ok()) << want.status().ToString();
      for (int threads : {1, 2, 5}) {
        auto one = Compiled::Make(*graph, *platform, CompileOptions{}, {}, threads);
        ASSERT_TRUE(one.ok()) << one.status().ToString();
        EXPECT_EQ(Pairs(**one), 1);
        for (int run = 0; run < 2; ++run) {
          auto got = (*one)->Run({x});
          ASSERT_TRUE(got.ok()) << got.status().ToString();
          ASSERT_EQ((*got)[0].bytes().size(), (*want)[0].bytes().size());
          EXPECT_EQ(std::memcmp((*got)[0].bytes().data(), (*want)[0].bytes().data(),
                                (*want)[0].bytes().size()),
                    0)
              << threads << " threads";
        }
      }
    }
  }
}

}  // namespace
}  // namespace slipway::compiler
