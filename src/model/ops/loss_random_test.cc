#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

TEST(Loss, NegativeLogLikelihood) {
  const T x = F({2, 3}, {1, 2, 3, 4, 5, 6}), target = I({2}, {2, 0});
  const T weight = F({3}, {1, 10, 3});
  auto reduce = [](const char* how) { return Attributes{{"reduction", std::string(how)}}; };
  ExpectNear(Run1("NegativeLogLikelihoodLoss", {x, target}, {2}, reduce("none")), {-3, -4});
  ExpectNear(Run1("NegativeLogLikelihoodLoss", {x, target, weight}, {}, reduce("sum")), {-13});
  ExpectNear(Run1("NegativeLogLikelihoodLoss", {x, target, weight}, {}), {-13.0f / 4});
  Attributes ignore = reduce("mean");
  ignore.Set("ignore_index", int64_t{-5});
  ExpectNear(Run1("NegativeLogLikelihoodLoss", {x, I({2}, {-5, 1})}, {}, ignore), {-5});
  EXPECT_NE(RunError("NegativeLogLikelihoodLoss", {x, I({2}, {3, 0})}, {}).find("target 3"),
            std::string::npos);
}

TEST(Loss, SoftmaxCrossEntropy) {
  const T x = F({1, 2, 2}, {0, 1000, 0, 1000});  // equal scores at both positions
  std::vector<T> out{T(DType::kFloat32, {}), T(DType::kFloat32, {1, 2, 2})};
  ASSERT_TRUE(Call("SoftmaxCrossEntropyLoss", {x, I({1, 2}, {0, 1})}, out).ok());
  const float half = std::log(2.0f);
  ExpectNear(out[0], {half});
  ExpectNear(out[1], {-half, -half, -half, -half}, 1e-4f);
}

TEST(Random, SeededNumbersRepeatAndFitTheirDistribution) {
  const int64_t n = 20000;
  auto draw = [&](const char* op, Attributes a, std::vector<T> in = {}) {
    a.Set("shape", Ints{n});
    std::vector<T> out{T(DType::kFloat32, {n})};
    EXPECT_TRUE(Call(op, in, out, a).ok());
    return out[0].As<float>();
  };
  const auto normal = draw("RandomNormal", {{"seed", 3.0f}, {"mean", 2.0f}, {"scale", 0.5f}});
  EXPECT_EQ(normal, draw("RandomNormal", {{"seed", 3.0f}, {"mean", 2.0f}, {"scale", 0.5f}}));
  EXPECT_NE(normal, draw("RandomNormal", {{"seed", 4.0f}, {"mean", 2.0f}, {"scale", 0.5f}}));
  EXPECT_NE(draw("RandomUniform", {}), draw("RandomUniform", {}));
  double sum = 0, squares = 0;
  for (float v : normal) {
    sum += v;
    squares += (v - 2.0) * (v - 2.0);
  }
  EXPECT_NEAR(sum / n, 2, 0.02);
  EXPECT_NEAR(squares / n, 0.25, 0.01);
  double low = 9, high = -9, mean = 0;
  for (float v : draw("RandomUniform", {{"seed", 1.0f}, {"low", -1.0f}, {"high", 3.0f}})) {
    low = std::min<double>(low, v);
    high = std::max<double>(high, v);
    mean += v / n;
  }
  EXPECT_GE(low, -1);
  EXPECT_LT(high, 3.0001);
  EXPECT_NEAR(mean, 1, 0.05);
  double ones = 0;
  for (float v : draw("Bernoulli", {{"seed", 1.0f}}, {F({n}, std::vector<float>(n, 0.3f))})) {
    EXPECT_TRUE(v == 0 || v == 1);
    ones += v;
  }
  EXPECT_NEAR(ones / n, 0.3, 0.02);
  std::vector<T> classes{T(DType::kInt32, {1, n})};
  ASSERT_TRUE(Call("Multinomial", {F({1, 3}, {0, std::log(2.0f), std::log(5.0f)})}, classes,
                   {{"seed", 1.0f}})
                  .ok());
  double counts[3] = {};
  for (int32_t k : classes[0].As<int32_t>()) counts[k] += 1.0 / n;
  EXPECT_NEAR(counts[0], 0.125, 0.015);
  EXPECT_NEAR(counts[2], 0.625, 0.02);
}

TEST(Tokens, TfIdfVectorizer) {
  const T x = I({1, 6}, {1, 1, 3, 3, 3, 7});
  auto run = [&](const char* mode, int64_t skips, int64_t least) {
    return Run1("TfIdfVectorizer", {x}, {1, 3},
                {{"mode", std::string(mode)},
                 {"max_skip_count", skips},
                 {"min_gram_length", least},
                 {"max_gram_length", int64_t{2}},
                 {"ngram_counts", Ints{0, 1}},
                 {"ngram_indexes", Ints{0, 2, 1}},
                 {"pool_int64s", Ints{3, 1, 3, 3, 7}},
                 {"weights", std::vector<float>{0.5f, 2, 3}}},
                DType::kFloat32);
  };
  ExpectNear(run("TF", 0, 1), {3, 1, 1});
  ExpectNear(run("TF", 1, 1), {3, 2, 3});  // 1..3 and 3..7 also one place apart
  ExpectNear(run("TF", 0, 2), {0, 1, 1});
  ExpectNear(run("IDF", 0, 1), {0.5f, 2, 3});
  ExpectNear(run("TFIDF", 0, 1), {1.5f, 2, 3});
}

TEST(Attention, CachesLengthsAndScores) {
  // One head of size 1; scores are products, values pick keys.
  const T q = F({1, 1, 1, 1}, {1}), k = F({1, 1, 1, 1}, {0}), v = F({1, 1, 1, 1}, {30});
  const T past_k = F({1, 1, 2, 1}, {0, 0}), past_v = F({1, 1, 2, 1}, {0, 60});
  std::vector<T> out{T(DType::kFloat32, {1, 1, 1, 1}), T(DType::kFloat32, {1, 1, 3, 1}),
                     T(DType::kFloat32, {1, 1, 3, 1}), T(DType::kFloat32, {1, 1, 1, 3})};
  Attributes a = {{"qk_matmul_output_mode", int64_t{3}}, {"is_causal", int64_t{1}}};
  ASSERT_TRUE(Call("Attention", {q, k, v, T(), past_k, past_v}, out, a).ok());
  ExpectNear(out[0], {30});
  ExpectNear(out[2], {0, 60, 30});
  ExpectNear(out[3], {1.0f / 3, 1.0f / 3, 1.0f / 3});
  // Only the first two of three keys count.
  std::vector<T> one{T(DType::kFloat32, {1, 1, 1, 1})};
  ASSERT_TRUE(Call("Attention",
                   {q, F({1, 1, 3, 1}, {0, 0, 0}), F({1, 1, 3, 1}, {0, 60, 99}), T(), T(), T(),
                    I({1}, {2})},
                   one, {})
                  .ok());
  ExpectNear(one[0], {30});
  // Product 2 capped to tanh(2), then masked.
  std::vector<T> scores{T(DType::kFloat32, {1, 1, 1, 1}), T(), T(),
                        T(DType::kFloat32, {1, 1, 1, 2})};
  const std::vector<T> in = {F({1, 1, 1, 1}, {2}), F({1, 1, 2, 1}, {1, 1}), F({1, 1, 2, 1}, {1, 2}),
                             F({1, 2}, {5, 0})};
  const float capped = std::tanh(2.0f);
  const std::vector<std::vector<float>> want = {{2, 2}, {capped, capped}, {capped + 5, capped}};
  for (int64_t mode = 0; mode < 3; ++mode) {
    ASSERT_TRUE(
        Call("Attention", in, scores, {{"softcap", 1.0f}, {"qk_matmul_output_mode", mode}}).ok());
    ExpectNear(scores[3], want[static_cast<size_t>(mode)]);
  }
}

TEST(Attention, RotaryEmbedding) {
  const T x = F({1, 1, 1, 4}, {1, 2, 3, 4}), cosines = F({1, 1, 2}, {0, 1}),
          sines = F({1, 1, 2}, {1, 0});
  // Pairs (1, 3) and (2, 4): the first turned by a right angle.
  ExpectNear(Run1("RotaryEmbedding", {x, cosines, sines}, {1, 1, 1, 4}), {-3, 2, 1, 4});
  ExpectNear(
      Run1("RotaryEmbedding", {x, cosines, sines}, {1, 1, 1, 4}, {{"interleaved", int64_t{1}}}),
      {-2, 1, 3, 4});
  ExpectNear(Run1("RotaryEmbedding", {x, F({2, 1}, {1, 0}), F({2, 1}, {0, 1}), I({1, 1}, {1})},
                  {1, 1, 1, 4}, {{"rotary_embedding_dim", int64_t{2}}}),
             {-2, 1, 3, 4});
  EXPECT_NE(
      RunError("RotaryEmbedding",
               {x, F({2, 2}, {1, 0, 1, 0}), F({2, 2}, {0, 1, 0, 1}), I({1, 1}, {2})}, {1, 1, 1, 4})
          .find("position 2"),
      std::string::npos);
}

}  // namespace
}  // namespace slipway::ops
