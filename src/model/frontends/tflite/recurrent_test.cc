// Operators with state by hand: small cells computed step by step.

#include <gtest/gtest.h>

#include <cmath>

#include "model/frontends/tflite/check_test_util.h"

namespace slipway::tflite {
namespace {

TEST(TfliteRecurrent, SvdfCarriesItsState) {
  Writer w;
  const int x = w.Input("x", {1, 2});
  // Two filters of rank 2 make one unit; memory of three steps.
  const int f = w.Constant<float>("f", {2, 2}, {1, 0, 0, 1}),
            t = w.Constant<float>("t", {2, 3}, {1, 2, 3, 10, 20, 30}),
            b = w.Constant<float>("b", {1}, {0.5});
  const int s = w.Value("state", {1, 6});
  w.tensor(s).is_variable = true;
  w.Op(B::SVDF, {x, f, t, b, s}, {w.Output(w.Value("y", {1, 1}))},
       With<fb::SVDFOptionsT>([](auto& o) { o.rank = 2; }));
  // State: filter 0 remembers 5 6 7, filter 1 8 9 10; the new activations are 1 and 2.
  Check(w, {{1, 2}, {5, 6, 7, 8, 9, 10}},
        {{6 * 1 + 7 * 2 + 1 * 3 + 9 * 10 + 10 * 20 + 2 * 30 + 0.5}, {6, 7, 1, 9, 10, 2}});
  auto g = Must(w);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->inputs()[1]->name(), "state");
  EXPECT_EQ(g->outputs()[1]->name(), "state_next");
  ImportOptions zero;
  zero.states = States::kZero;
  g = Must(w, zero);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->inputs().size(), 1u);
  Expect(RunGraph(*g, {{1, 2}})[0], {3 + 60 + 0.5}, 1e-5, "from zero");
}

double Sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

TEST(TfliteRecurrent, LstmOfOneUnit) {
  for (bool sequence : {false, true}) {
    for (bool coupled : {false, true}) {
      Writer w;
      const int steps = sequence ? 3 : 1;
      const int x = w.Input("x", sequence ? Shape{1, steps, 1} : Shape{1, 1});
      std::vector<int32_t> in = {x};
      const double wx[4] = {0.5, -0.25, 1, 0.75}, wh[4] = {0.1, 0.2, -0.3, 0.4},
                   bias[4] = {0.05, 1, -0.1, 0.2};
      auto weight = [&](const std::string& name, double v, Shape shape) {
        return w.Constant<float>(name, shape, {static_cast<float>(v)});
      };
      for (int g = 0; g < 4; ++g)
        in.push_back(coupled && g == 0 ? -1 : weight("x" + std::to_string(g), wx[g], {1, 1}));
      for (int g = 0; g < 4; ++g)
        in.push_back(coupled && g == 0 ? -1 : weight("h" + std::to_string(g), wh[g], {1, 1}));
      for (int g = 0; g < 3; ++g)
        in.push_back(coupled && g == 0 ? -1 : weight("p" + std::to_string(g), 0.3, {1}));
      for (int g = 0; g < 4; ++g)
        in.push_back(coupled && g == 0 ? -1 : weight("b" + std::to_string(g), bias[g], {1}));
      in.push_back(-1);
      in.push_back(-1);
      for (const char* name : {"h", "c"}) {
        in.push_back(w.Value(name, {1, 1}));
        w.tensor(in.back()).is_variable = true;
      }
      const int y = w.Output(w.Value("y", sequence ? Shape{1, steps, 1} : Shape{1, 1}));
      if (sequence) {
        w.Op(B::UNIDIRECTIONAL_SEQUENCE_LSTM, in, {y},
             With<fb::UnidirectionalSequenceLSTMOptionsT>(
                 [](auto& o) { o.activation = fb::Activation::TANH; }));
      } else {
        w.Op(B::LSTM, in, {y},
             With<fb::LSTMOptionsT>([](auto& o) { o.activation = fb::Activation::TANH; }));
      }
      double h = sequence ? 0 : 0.5, c = sequence ? 0 : -0.25;
      const Doubles xs = {1, -2, 0.5};
      Doubles want;
      for (int t = 0; t < steps; ++t) {
        auto gate = [&](int g, double peek) {
          return wx[g] * xs[static_cast<size_t>(t)] + wh[g] * h + bias[g] + peek;
        };
        const double f = Sigmoid(gate(1, 0.3 * c)), i = coupled ? 1 - f : Sigmoid(gate(0, 0.3 * c));
        c = f * c + i * std::tanh(gate(2, 0));
        h = Sigmoid(gate(3, 0.3 * c)) * std::tanh(c);
        want.push_back(h);
      }
      if (sequence) {
        Check(w, {xs}, {want});
      } else {
        Check(w, {{1}, {0.5}, {-0.25}}, {want, {h}, {c}});
      }
    }
  }
}

// int8 activations, int16 cell: the meaning of the codes, with states rounded at every step.
TEST(TfliteRecurrent, LstmOfIntegers) {
  Writer w;
  constexpr int kSteps = 4;
  const double sx = 1 / 64.0, sw = 1 / 128.0, sh = 1 / 128.0, sc = 1 / 2048.0;
  const int x = w.Input("x", {1, kSteps, 1}, T::INT8, {{static_cast<float>(sx)}, {-5}});
  const int wx[4] = {64, -32, 127, 96}, wh[4] = {12, 25, -38, 51},
            bias[4] = {400, 8000, -800, 1600};
  std::vector<int32_t> in = {x};
  for (int g = 0; g < 4; ++g) {
    in.push_back(w.Constant<int8_t>("x" + std::to_string(g), {1, 1}, {static_cast<int8_t>(wx[g])},
                                    {{static_cast<float>(sw)}, {0}}));
  }
  for (int g = 0; g < 4; ++g) {
    in.push_back(w.Constant<int8_t>("h" + std::to_string(g), {1, 1}, {static_cast<int8_t>(wh[g])},
                                    {{static_cast<float>(sw)}, {0}}));
  }
  in.insert(in.end(), 3, -1);
  for (int g = 0; g < 4; ++g)
    in.push_back(w.Constant<int32_t>("b" + std::to_string(g), {1}, {bias[g]}));
  in.insert(in.end(), 2, -1);
  in.push_back(w.Value("h", {1, 1}, T::INT8, {{static_cast<float>(sh)}, {3}}));
  w.tensor(in.back()).is_variable = true;
  in.push_back(w.Value("c", {1, 1}, T::INT16, {{static_cast<float>(sc)}, {0}}));
  w.tensor(in.back()).is_variable = true;
  const int y = w.Output(w.Value("y", {1, kSteps, 1}, T::INT8, {{static_cast<float>(sh)}, {3}}));
  w.Op(B::UNIDIRECTIONAL_SEQUENCE_LSTM, in, {y},
       With<fb::UnidirectionalSequenceLSTMOptionsT>(
           [](auto& o) { o.activation = fb::Activation::TANH; }));
  const Doubles codes = {59, -128, 27, 100};
  double h = 0, c = 0;
  Doubles want;
  for (double code : codes) {
    auto gate = [&](int g) {
      return (code + 5) * sx * wx[g] * sw + h * wh[g] * sw + bias[g] * sx * sw;
    };
    c = Sigmoid(gate(1)) * c + Sigmoid(gate(0)) * std::tanh(gate(2));
    c = std::nearbyint(c / sc) * sc;
    h = std::nearbyint(Sigmoid(gate(3)) * std::tanh(c) / sh) * sh;
    want.push_back(h / sh + 3);
  }
  Check(w, {codes}, {want});
}

TEST(TfliteRecurrent, RnnOverASequence) {
  Writer w;
  const int x = w.Input("x", {2, 1, 1});
  const int state = w.Value("h", {1, 1});
  w.tensor(state).is_variable = true;
  w.Op(B::UNIDIRECTIONAL_SEQUENCE_RNN,
       {x, w.Constant<float>("w", {1, 1}, {2}), w.Constant<float>("r", {1, 1}, {0.5}),
        w.Constant<float>("b", {1}, {1}), state},
       {w.Output(w.Value("y", {2, 1, 1}))}, With<fb::SequenceRNNOptionsT>([](auto& o) {
         o.time_major = true, o.activation = fb::Activation::RELU;
       }));
  Check(w, {{1, 2}}, {{3, 6.5}});
}

}  // namespace
}  // namespace slipway::tflite
