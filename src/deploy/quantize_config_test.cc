#include "deploy/quantize_config.h"

#include <gtest/gtest.h>

namespace slipway::deploy {
namespace {

constexpr char kGood[] = R"(platform: academic
bits: W2A4
calibration: data/train.npz
evaluation: /abs/test.npz
samples: 512
observers: {weights: mse, activations: minmax}
algorithm: qdrop
iterations: 500
adjust: [equalize]
max_drop: 1.5
layers:
  conv1: float
  fc: 8
  conv2: W4A8
  conv3: dense
sparsity: 2:4
sparsity_method: magnitude
sparsity_iterations: 0
)";

TEST(QuantizeConfig, ReadsEveryKey) {
  auto c = ParseQuantizeConfig(kGood, "folder/q.yaml");
  ASSERT_TRUE(c.ok()) << c.status().ToString();
  EXPECT_EQ(c->platform, "academic");
  EXPECT_EQ(c->bits, "W2A4");
  EXPECT_EQ(c->calibration, "folder/data/train.npz");
  EXPECT_EQ(c->evaluation, "/abs/test.npz");
  EXPECT_EQ(c->samples, 512);
  EXPECT_EQ(c->iterations, 500);
  EXPECT_EQ(c->seed, -1);
  EXPECT_EQ(c->max_drop, 1.5);
  EXPECT_EQ(c->adjust, std::vector<std::string>{"equalize"});
  EXPECT_EQ(c->activation_observer, "minmax");
  EXPECT_EQ(c->keep_float, std::set<std::string>{"conv1"});
  EXPECT_EQ(c->layer_bits.at("fc").weights, 8);
  EXPECT_EQ(c->layer_bits.at("conv2").weights, 4);
  EXPECT_EQ(c->layer_bits.at("conv2").activations, 8);
  EXPECT_EQ(c->keep_dense, std::set<std::string>{"conv3"});
  EXPECT_EQ(c->sparsity, "2:4");
  EXPECT_EQ(c->sparsity_method, "magnitude");
  EXPECT_EQ(c->sparsity_iterations, 0);
}

TEST(QuantizeConfig, MistakesHaveTheirLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"platform: x\nbit: W4A4\n", "q.yaml:2: quantization has an unknown key 'bit'"},
      {"samples: -3\n", "q.yaml:1: key 'samples' must be at least 0"},
      {"samples: many\n", "must be a number"},
      {"iterations: 0\n", "at least 1"},
      {"max_drop: -1\n", "at least 0"},
      {"layers: {a: 99}\n", "layer 'a' is '99'"},
      {"layers: [a]\n", "must map names"},
      {"observers: mse\n", "observers must be a mapping"},
      {"observers: {weight: mse}\n", "unknown key 'weight'"},
      {"bits: W4A4\nsparsity: 5:4\n", "q.yaml:2: key 'sparsity': sparsity '5:4' leaves all"},
      {"sparsity_method: best\n", "it may be magnitude, obs"},
      {"sparsity_iterations: -1\n", "at least 0"},
      {"- a\n", "must be a mapping"},
      {"platform: [\n", "q.yaml:"},
  };
  for (const auto& [text, expected] : cases) {
    auto c = ParseQuantizeConfig(text, "q.yaml");
    ASSERT_FALSE(c.ok()) << text;
    EXPECT_EQ(c.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(c.status().message().find(expected), std::string::npos) << c.status().message();
  }
}

}  // namespace
}  // namespace slipway::deploy
