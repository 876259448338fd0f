#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

const Attributes kRelu = {{"activations", std::vector<std::string>{"Relu"}}};

// h = relu(x + h) counts up.
TEST(Recurrent, SumsForwardAndBackward) {
  const std::vector<T> inputs = {F({3, 1, 1}, {1, 2, 4}), F({1, 1, 1}, {1}), F({1, 1, 1}, {1})};
  std::vector<T> out{T(DType::kFloat32, {3, 1, 1, 1}), T(DType::kFloat32, {1, 1, 1})};
  ASSERT_TRUE(Call("RNN", inputs, out, kRelu).ok());
  ExpectNear(out[0], {1, 3, 7});
  ExpectNear(out[1], {7});
  Attributes reverse = kRelu;
  reverse.Set("direction", std::string("reverse"));
  ASSERT_TRUE(Call("RNN", inputs, out, reverse).ok());
  ExpectNear(out[0], {7, 6, 4});
  ExpectNear(out[1], {7});
}

// Beyond a sequence's length Y is 0 and Y_h the last state; backwards starts at the length.
TEST(Recurrent, SequenceLengths) {
  const std::vector<T> inputs = {F({3, 2, 1}, {1, 10, 2, 20, 4, 40}), F({2, 1, 1}, {1, 1}),
                                 F({2, 1, 1}, {1, 1}), T(), I32({2}, {2, 3})};
  std::vector<T> out{T(DType::kFloat32, {3, 2, 2, 1}), T(DType::kFloat32, {2, 2, 1})};
  const Attributes a = {{"activations", std::vector<std::string>{"relu", "Relu"}},
                        {"direction", std::string("bidirectional")}};
  ASSERT_TRUE(Call("RNN", inputs, out, a).ok());
  ExpectNear(out[0], {1, 10, 3, 70, 3, 30, 2, 60, 0, 70, 0, 40});
  ExpectNear(out[1], {3, 70, 3, 70});
}

TEST(Recurrent, BatchFirstLayout) {
  const std::vector<T> inputs = {
      F({2, 2, 1}, {1, 2, 10, 20}), F({1, 1, 1}, {1}), F({1, 1, 1}, {1}), T(), T(),
      F({2, 1, 1}, {100, 200})};
  std::vector<T> out{T(DType::kFloat32, {2, 2, 1, 1}), T(DType::kFloat32, {2, 1, 1})};
  Attributes a = kRelu;
  a.Set("layout", int64_t{1});
  ASSERT_TRUE(Call("RNN", inputs, out, a).ok());
  ExpectNear(out[0], {101, 103, 210, 230});
  ExpectNear(out[1], {103, 230});
}

// All gates linear (Affine with alpha 1, beta 0), so that the formulas can be done by hand.
TEST(Recurrent, GruBeforeAndAfterReset) {
  const std::vector<T> inputs = {F({1, 1, 1}, {1}),
                                 F({1, 3, 1}, {0.5f, 2, 1}),
                                 F({1, 3, 1}, {0, 0, 3}),
                                 F({1, 6}, {0, 0, 0, 0, 0, 1}),
                                 T(),
                                 F({1, 1, 1}, {4})};
  Attributes a = {{"activations", std::vector<std::string>{"Affine", "Affine"}}};
  std::vector<T> out{T(DType::kFloat32, {1, 1, 1, 1})};
  ASSERT_TRUE(Call("GRU", inputs, out, a).ok());
  // z = 0.5, r = 2: candidate 1 + 3 * (r * h) + 1 = 26, y = 0.5 * 26 + 0.5 * 4.
  ExpectNear(out[0], {15});
  a.Set("linear_before_reset", int64_t{1});
  ASSERT_TRUE(Call("GRU", inputs, out, a).ok());
  // candidate 1 + r * (3 h + 1) = 27.
  ExpectNear(out[0], {15.5f});
}

TEST(Recurrent, LstmPeepholesAndCoupledGates) {
  // Gates i o f c = 0.5, 2, 3, 4 from the input alone; cell 10; peepholes i o f = 0.1, 0.01, 0.2.
  const std::vector<T> inputs = {
      F({1, 1, 1}, {1}),  F({1, 4, 1}, {0.5f, 2, 3, 4}), F({1, 4, 1}, {0, 0, 0, 0}), T(), T(), T(),
      F({1, 1, 1}, {10}), F({1, 3}, {0.1f, 0.01f, 0.2f})};
  Attributes a = {{"activations", std::vector<std::string>{"Affine", "Affine", "Affine"}}};
  std::vector<T> out{T(DType::kFloat32, {1, 1, 1, 1}), T(), T(DType::kFloat32, {1, 1, 1})};
  ASSERT_TRUE(Call("LSTM", inputs, out, a).ok());
  // i = 1.5, f = 5, c = 5 * 10 + 1.5 * 4 = 56, o = 2 + 0.56, h = o * c.
  ExpectNear(out[2], {56});
  ExpectNear(out[0], {143.36f});
  a.Set("input_forget", int64_t{1});
  ASSERT_TRUE(Call("LSTM", inputs, out, a).ok());
  ExpectNear(out[2], {-0.5f * 10 + 1.5f * 4});
}

TEST(Recurrent, ShortFloatsAndErrors) {
  std::vector<Float16> x(3, Float16(0.5f)), one(1, Float16(1.0f));
  std::vector<T> out{T(DType::kFloat16, {3, 1, 1, 1})};
  ASSERT_TRUE(Call("RNN",
                   {Make<Float16>({3, 1, 1}, x), Make<Float16>({1, 1, 1}, one),
                    Make<Float16>({1, 1, 1}, one)},
                   out, kRelu)
                  .ok());
  EXPECT_EQ(static_cast<float>(out[0].As<Float16>()[2]), 1.5f);
  const std::vector<T> inputs = {F({2, 1, 1}, {1, 2}), F({1, 1, 1}, {1}), F({1, 1, 1}, {1})};
  auto error = [&](std::vector<T> in, const Attributes& a) {
    std::vector<T> y{T(DType::kFloat32, {2, 1, 1, 1})};
    return Call("RNN", std::move(in), y, a).message();
  };
  EXPECT_NE(error(inputs, {{"activations", std::vector<std::string>{"Swish"}}}).find("Swish"),
            std::string::npos);
  auto long_sequence = inputs;
  long_sequence.resize(5);
  long_sequence[4] = I32({1}, {3});
  EXPECT_NE(error(long_sequence, {}).find("sequence_lens[0]"), std::string::npos);
  auto wide = inputs;
  wide[1] = F({1, 2, 1}, {1, 1});
  EXPECT_NE(error(wide, {}).find("input 1"), std::string::npos);
}

}  // namespace
}  // namespace slipway::ops
