// Operators by hand: small models with numbers that can be checked on paper, run as imported and
// after all passes.

#include <gtest/gtest.h>

#include <cmath>

#include "model/frontends/tflite/check_test_util.h"

namespace slipway::tflite {
namespace {

constexpr auto kSame = fb::Padding::SAME, kValid = fb::Padding::VALID;

// One operator: inputs, constants, options in `make`, which returns the indices of its inputs.
template <typename F>
void CheckUnary(B code, const Shape& shape, const Doubles& x, const Shape& to, const Doubles& y,
                F&& configure, T type = T::FLOAT32, T out = T::FLOAT32) {
  SCOPED_TRACE(fb::EnumNameBuiltinOperator(code));
  Writer w;
  std::vector<int32_t> inputs = {w.Input("x", shape, type)};
  const int result = w.Output(w.Value("y", to, out));
  fb::OperatorT op;
  configure(w, inputs, op);
  fb::OperatorT& made = w.Op(code, inputs, {result});
  made.builtin_options = std::move(op.builtin_options);
  Check(w, {x}, {y});
}
const auto kPlain = [](Writer&, std::vector<int32_t>&, fb::OperatorT&) {};

// The first image of 3x3 pixels and two channels: pixel p has p and -p.
Doubles Image33() {
  Doubles v;
  for (int p = 1; p <= 9; ++p) v.insert(v.end(), {double(p), -double(p)});
  return v;
}

TEST(TfliteOps, Conv2DWithBothPaddings) {
  for (auto padding : {kSame, kValid}) {
    Writer w;
    const int x = w.Input("x", {1, 3, 3, 2});
    // One output channel: 2x2 window, sums channel 0 and takes channel 1 twice.
    const int k = w.Constant<float>("k", {1, 2, 2, 2}, {1, 2, 1, 2, 1, 2, 1, 2});
    const int b = w.Constant<float>("b", {1}, {100});
    const int n = padding == kSame ? 3 : 2;
    const int y = w.Output(w.Value("y", {1, n, n, 1}));
    w.Op(B::CONV_2D, {x, k, b}, {y}, ConvOptions(padding, 1));
    // A window sums to -(sum of its pixels) + 100; SAME pads behind.
    if (padding == kValid) {
      Check(w, {Image33()}, {{88, 84, 76, 72}});
    } else {
      Check(w, {Image33()}, {{88, 84, 91, 76, 72, 85, 85, 83, 91}});
    }
  }
}

TEST(TfliteOps, Conv2DStrideDilationAndGroups) {
  Writer w;
  const int x = w.Input("x", {1, 3, 3, 2});
  const int k = w.Constant<float>("k", {2, 2, 2, 1}, {1, 1, 1, 1, 1, 0, 0, 0});  // two groups
  const int y = w.Output(w.Value("y", {1, 1, 1, 2}));
  w.Op(B::CONV_2D, {x, k}, {y}, ConvOptions(kValid, 1, fb::Activation::NONE, 2));
  Check(w, {Image33()}, {{1 + 3 + 7 + 9, -1}});
}

TEST(TfliteOps, DepthwiseConvWithMultiplier) {
  Writer w;
  const int x = w.Input("x", {1, 3, 3, 2});
  // [1, 1, 1, 4]: channel 0 by 1 and 10, channel 1 by 100 and 1000.
  const int k = w.Constant<float>("k", {1, 1, 1, 4}, {1, 10, 100, 1000});
  const int b = w.Constant<float>("b", {4}, {0, 0, 0, 1});
  const int y = w.Output(w.Value("y", {1, 2, 2, 4}));
  w.Op(B::DEPTHWISE_CONV_2D, {x, k, b}, {y}, DepthwiseOptions(kSame, 2, 2));
  Check(w, {Image33()},
        {{1, 10, -100, -999, 3, 30, -300, -2999, 7, 70, -700, -6999, 9, 90, -900, -8999}});
}

TEST(TfliteOps, TransposeConv) {
  for (auto padding : {kSame, kValid}) {
    Writer w;
    const int n = padding == kSame ? 4 : 5;
    const int shape = w.Ints("shape", {1, n, n, 1});
    const int k = w.Constant<float>("k", {1, 3, 3, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
    const int x = w.Input("x", {1, 2, 2, 1});
    const int y = w.Output(w.Value("y", {1, n, n, 1}));
    fb::TransposeConvOptionsT o;
    o.padding = padding;
    o.stride_h = o.stride_w = 2;
    w.Op(B::TRANSPOSE_CONV, {shape, k, x}, {y}, o);
    // x = 1 at the first pixel, 10 at the last: the kernel at (0, 0) and ten times at (2, 2). SAME
    // cuts the last row and column of the five.
    Doubles full(25, 0);
    for (int i = 0; i < 9; ++i) full[static_cast<size_t>(i / 3 * 5 + i % 3)] += i + 1;
    for (int i = 0; i < 9; ++i)
      full[static_cast<size_t>((i / 3 + 2) * 5 + i % 3 + 2)] += 10 * (i + 1);
    Doubles want;
    for (int r = 0; r < n; ++r)
      for (int c = 0; c < n; ++c) want.push_back(full[static_cast<size_t>(r * 5 + c)]);
    Check(w, {{1, 0, 0, 10}}, {want});
  }
}

TEST(TfliteOps, FullyConnectedFlattensOrKeepsDimensions) {
  for (bool keep : {false, true}) {
    Writer w;
    const int x = w.Input("x", {1, 2, 3});
    const int k = w.Constant<float>("k", {2, 3}, {1, 0, 0, 1, 1, 1});
    const int b = w.Constant<float>("b", {2}, {0.5, -10});
    const int y = w.Output(w.Value("y", keep ? Shape{1, 2, 2} : Shape{2, 2}));
    fb::FullyConnectedOptionsT o;
    o.keep_num_dims = keep;
    o.activation = fb::Activation::RELU;
    w.Op(B::FULLY_CONNECTED, {x, k, b}, {y}, o);
    Check(w, {{1, 2, 3, 4, 5, 6}}, {{1.5, 0, 4.5, 5}});
  }
}

TEST(TfliteOps, Pooling) {
  const Doubles x = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  struct Row {
    B code;
    fb::Padding padding;
    Shape shape;
    Doubles y;
  };
  for (const Row& r :
       {Row{B::MAX_POOL_2D, kValid, {1, 2, 2, 1}, {5, 6, 8, 9}},
        Row{B::MAX_POOL_2D, kSame, {1, 3, 3, 1}, {5, 6, 6, 8, 9, 9, 8, 9, 9}},
        Row{B::AVERAGE_POOL_2D, kValid, {1, 2, 2, 1}, {3, 4, 6, 7}},
        // The padding does not count.
        Row{B::AVERAGE_POOL_2D, kSame, {1, 3, 3, 1}, {3, 4, 4.5, 6, 7, 7.5, 7.5, 8.5, 9}},
        Row{B::L2_POOL_2D,
            kValid,
            {1, 2, 2, 1},
            {std::sqrt(11.5), std::sqrt(18.5), std::sqrt(38.5), std::sqrt(51.5)}}}) {
    CheckUnary(r.code, {1, 3, 3, 1}, x, r.shape, r.y, [&](Writer&, auto&, fb::OperatorT& op) {
      op.builtin_options.Set(PoolOptions(r.padding, 1, 2));
    });
  }
}

TEST(TfliteOps, ElementwiseOfOneInput) {
  const Doubles x = {-2, -0.5, 0.5, 2.5};
  auto check = [&](B code, double (*f)(double)) {
    Doubles y;
    for (double v : x) y.push_back(f(v));
    CheckUnary(code, {4}, x, {4}, y, kPlain);
  };
  check(B::ABS, [](double v) { return std::fabs(v); });
  check(B::CEIL, [](double v) { return std::ceil(v); });
  check(B::COS, [](double v) { return std::cos(v); });
  check(B::SIN, [](double v) { return std::sin(v); });
  check(B::EXP, [](double v) { return std::exp(v); });
  check(B::FLOOR, [](double v) { return std::floor(v); });
  check(B::NEG, [](double v) { return -v; });
  check(B::RELU, [](double v) { return std::max(v, 0.0); });
  check(B::RELU6, [](double v) { return std::min(std::max(v, 0.0), 6.0); });
  check(B::RELU_N1_TO_1, [](double v) { return std::min(std::max(v, -1.0), 1.0); });
  check(B::RELU_0_TO_1, [](double v) { return std::min(std::max(v, 0.0), 1.0); });
  check(B::ROUND, [](double v) { return std::nearbyint(v); });
  check(B::SIGN, [](double v) { return v < 0 ? -1.0 : 1.0; });
  check(B::SQUARE, [](double v) { return v * v; });
  check(B::LOGISTIC, [](double v) { return 1 / (1 + std::exp(-v)); });
  check(B::TANH, [](double v) { return std::tanh(v); });
  check(B::ELU, [](double v) { return v > 0 ? v : std::expm1(v); });
  check(B::HARD_SWISH, [](double v) { return v * std::min(std::max(v + 3, 0.0), 6.0) / 6; });
  CheckUnary(B::SQRT, {2}, {4, 9}, {2}, {2, 3}, kPlain);
  CheckUnary(B::RSQRT, {2}, {4, 16}, {2}, {0.5, 0.25}, kPlain);
  CheckUnary(B::LOG, {2}, {1, std::exp(2)}, {2}, {0, 2}, kPlain);
  CheckUnary(B::LEAKY_RELU, {2}, {-2, 3}, {2}, {-0.5, 3}, [](Writer&, auto&, fb::OperatorT& op) {
    op.builtin_options.Set(With<fb::LeakyReluOptionsT>([](auto& o) { o.alpha = 0.25f; }));
  });
  for (bool tanh : {false, true}) {
    CheckUnary(
        B::GELU, {2}, {-1, 2}, {2},
        tanh ? Doubles{-0.158808, 1.954598} : Doubles{-0.158655, 1.954500},
        [&](Writer&, auto&, fb::OperatorT& op) {
          op.builtin_options.Set(With<fb::GeluOptionsT>([&](auto& o) { o.approximate = tanh; }));
        });
  }
}

TEST(TfliteOps, AlongTheLastAxis) {
  const double e = std::exp(1), e2 = std::exp(2);
  CheckUnary(B::SOFTMAX, {1, 2}, {0, 1}, {1, 2}, {1 / (1 + e2), e2 / (1 + e2)},
             [](Writer&, auto&, fb::OperatorT& op) {
               op.builtin_options.Set(With<fb::SoftmaxOptionsT>([](auto& o) { o.beta = 2; }));
             });
  CheckUnary(B::LOG_SOFTMAX, {1, 2}, {0, 1}, {1, 2}, {std::log(1 / (1 + e)), std::log(e / (1 + e))},
             kPlain);
  CheckUnary(B::L2_NORMALIZATION, {1, 2}, {3, 4}, {1, 2}, {0.6, 0.8}, kPlain);
  // Radius 1: each channel with its neighbours.
  CheckUnary(B::LOCAL_RESPONSE_NORMALIZATION, {1, 1, 1, 3}, {1, 2, 3}, {1, 1, 1, 3},
             {1 / (1 + 0.5 * 5), 2 / (1 + 0.5 * 14), 3 / (1 + 0.5 * 13)},
             [](Writer&, auto&, fb::OperatorT& op) {
               op.builtin_options.Set(With<fb::LocalResponseNormalizationOptionsT>(
                   [](auto& o) { o.radius = 1, o.bias = 1, o.alpha = 0.5f, o.beta = 1; }));
             });
}

void CheckBinary(B code, const Doubles& a, const Doubles& b, const Doubles& y, T type = T::FLOAT32,
                 T out = T::FLOAT32) {
  SCOPED_TRACE(fb::EnumNameBuiltinOperator(code));
  Writer w;
  const auto n = static_cast<int32_t>(a.size());
  const int p = w.Input("a", {n}, type), q = w.Input("b", {static_cast<int32_t>(b.size())}, type);
  w.Op(code, {p, q}, {w.Output(w.Value("y", {n}, out))});
  Check(w, {a, b}, {y});
}

TEST(TfliteOps, ElementwiseOfTwoInputs) {
  const Doubles a = {7, -7, 7, -7}, b = {2, 2, -2, -2};
  CheckBinary(B::ADD, a, b, {9, -5, 5, -9});
  CheckBinary(B::SUB, a, b, {5, -9, 9, -5});
  CheckBinary(B::MUL, a, {3}, {21, -21, 21, -21});
  CheckBinary(B::DIV, a, b, {3.5, -3.5, -3.5, 3.5});
  CheckBinary(B::DIV, a, b, {3, -3, -3, 3}, T::INT32, T::INT32);
  CheckBinary(B::FLOOR_DIV, a, b, {3, -4, -4, 3});
  CheckBinary(B::FLOOR_DIV, a, b, {3, -4, -4, 3}, T::INT32, T::INT32);
  CheckBinary(B::FLOOR_MOD, a, b, {1, 1, -1, -1});
  CheckBinary(B::FLOOR_MOD, a, b, {1, 1, -1, -1}, T::INT32, T::INT32);
  CheckBinary(B::MAXIMUM, a, b, {7, 2, 7, -2});
  CheckBinary(B::MINIMUM, a, b, {2, -7, -2, -7});
  CheckBinary(B::POW, {2, 3}, {3, 2}, {8, 9});
  CheckBinary(B::SQUARED_DIFFERENCE, a, b, {25, 81, 81, 25});
  CheckBinary(B::LESS, {1, 2, 3}, {2}, {1, 0, 0}, T::FLOAT32, T::BOOL);
  CheckBinary(B::LESS_EQUAL, {1, 2, 3}, {2}, {1, 1, 0}, T::FLOAT32, T::BOOL);
  CheckBinary(B::GREATER, {1, 2, 3}, {2}, {0, 0, 1}, T::FLOAT32, T::BOOL);
  CheckBinary(B::GREATER_EQUAL, {1, 2, 3}, {2}, {0, 1, 1}, T::FLOAT32, T::BOOL);
  CheckBinary(B::EQUAL, {1, 2, 3}, {2}, {0, 1, 0}, T::INT32, T::BOOL);
  CheckBinary(B::NOT_EQUAL, {1, 2, 3}, {2}, {1, 0, 1}, T::INT32, T::BOOL);
  CheckBinary(B::LOGICAL_AND, {0, 0, 1, 1}, {0, 1, 0, 1}, {0, 0, 0, 1}, T::BOOL, T::BOOL);
  CheckBinary(B::LOGICAL_OR, {0, 0, 1, 1}, {0, 1, 0, 1}, {0, 1, 1, 1}, T::BOOL, T::BOOL);
  CheckUnary(B::LOGICAL_NOT, {2}, {0, 1}, {2}, {1, 0}, kPlain, T::BOOL, T::BOOL);
  CheckBinary(B::ADD_N, a, b, {9, -5, 5, -9});
  CheckBinary(B::PRELU, {-4, 4}, {0.25, 0.5}, {-1, 4});
}

TEST(TfliteOps, FusedActivations) {
  using A = fb::Activation;
  const std::vector<std::pair<A, Doubles>> rows = {
      {A::NONE, {-4, 0.5, 8}},
      {A::RELU, {0, 0.5, 8}},
      {A::RELU6, {0, 0.5, 6}},
      {A::RELU_N1_TO_1, {-1, 0.5, 1}},
      {A::TANH, {std::tanh(-4), std::tanh(0.5), std::tanh(8)}},
      {A::SIGN_BIT, {1, 0, 0}}};
  for (const auto& [activation, y] : rows) {
    Writer w;
    const int p = w.Input("a", {3}), q = w.Input("b", {3});
    fb::AddOptionsT o;
    o.activation = activation;
    w.Op(B::ADD, {p, q}, {w.Output(w.Value("y", {3}))}, o);
    Check(w, {{-3, 0.25, 4}, {-1, 0.25, 4}}, {y});
  }
}

TEST(TfliteOps, SelectChoosesElementsAndRows) {
  for (auto code : {B::SELECT, B::SELECT_V2}) {
    const bool rows = code == B::SELECT;
    Writer w;
    const int c = w.Input("c", rows ? Shape{2} : Shape{2, 2}, T::BOOL), x = w.Input("x", {2, 2}),
              y = w.Input("y", {2, 2});
    w.Op(code, {c, x, y}, {w.Output(w.Value("z", {2, 2}))});
    if (rows) {
      Check(w, {{0, 1}, {1, 2, 3, 4}, {5, 6, 7, 8}}, {{5, 6, 3, 4}});
    } else {
      Check(w, {{0, 1, 1, 0}, {1, 2, 3, 4}, {5, 6, 7, 8}}, {{5, 2, 3, 8}});
    }
  }
}

TEST(TfliteOps, Shapes) {
  const Doubles x = {1, 2, 3, 4, 5, 6};
  CheckUnary(B::RESHAPE, {2, 3}, x, {3, 2}, x, [](Writer& w, auto& in, fb::OperatorT&) {
    in.push_back(w.Ints("s", {3, -1}));
  });
  CheckUnary(B::RESHAPE, {2, 3}, x, {6}, x, [](Writer&, auto&, fb::OperatorT& op) {
    op.builtin_options.Set(With<fb::ReshapeOptionsT>([](auto& o) { o.new_shape = {6}; }));
  });
  CheckUnary(
      B::SQUEEZE, {1, 3, 1}, {1, 2, 3}, {1, 3}, {1, 2, 3}, [](Writer&, auto&, fb::OperatorT& op) {
        op.builtin_options.Set(With<fb::SqueezeOptionsT>([](auto& o) { o.squeeze_dims = {2}; }));
      });
  CheckUnary(B::EXPAND_DIMS, {3}, {1, 2, 3}, {3, 1}, {1, 2, 3},
             [](Writer& w, auto& in, fb::OperatorT&) { in.push_back(w.Scalar("a", -1)); });
  CheckUnary(B::TRANSPOSE, {2, 3}, x, {3, 2}, {1, 4, 2, 5, 3, 6},
             [](Writer& w, auto& in, fb::OperatorT&) {
               in.push_back(w.Ints("p", {1, 0}));
             });
  CheckUnary(B::TILE, {1, 2}, {1, 2}, {2, 4}, {1, 2, 1, 2, 1, 2, 1, 2},
             [](Writer& w, auto& in, fb::OperatorT&) {
               in.push_back(w.Ints("m", {2, 2}));
             });
  CheckUnary(B::BROADCAST_TO, {1, 2}, {1, 2}, {2, 2}, {1, 2, 1, 2},
             [](Writer& w, auto& in, fb::OperatorT&) {
               in.push_back(w.Ints("m", {2, 2}));
             });
  CheckUnary(B::SHAPE, {2, 3}, x, {2}, {2, 3}, kPlain, T::FLOAT32, T::INT32);
  CheckUnary(B::RANK, {2, 3}, x, {}, {2}, kPlain, T::FLOAT32, T::INT32);
  CheckUnary(B::ZEROS_LIKE, {2, 3}, x, {2, 3}, {0, 0, 0, 0, 0, 0}, kPlain);
  CheckUnary(B::REVERSE_V2, {2, 3}, x, {2, 3}, {3, 2, 1, 6, 5, 4},
             [](Writer& w, auto& in, fb::OperatorT&) { in.push_back(w.Ints("a", {1})); });
  CheckUnary(B::CAST, {3}, {-1.75, 0, 2.5}, {3}, {-1, 0, 2}, kPlain, T::FLOAT32, T::INT32);
  CheckUnary(B::CUMSUM, {3}, {1, 2, 3}, {3}, {5, 3, 0}, [](Writer& w, auto& in, fb::OperatorT& op) {
    in.push_back(w.Scalar("a", 0));
    op.builtin_options.Set(
        With<fb::CumsumOptionsT>([](auto& o) { o.exclusive = o.reverse = true; }));
  });
}

TEST(TfliteOps, ConcatenatePackSplitAndUnpack) {
  Writer w;
  const int a = w.Input("a", {1, 2}), b = w.Input("b", {1, 2});
  fb::ConcatenationOptionsT c;
  c.axis = -1;
  w.Op(B::CONCATENATION, {a, b}, {w.Output(w.Value("c", {1, 4}))}, c);
  fb::PackOptionsT p;
  p.axis = 1;
  p.values_count = 2;
  const int packed = w.Value("p", {1, 2, 2});
  w.Op(B::PACK, {a, b}, {w.Output(packed)}, p);
  fb::UnpackOptionsT u;
  u.axis = 2;
  u.num = 2;
  w.Op(B::UNPACK, {packed}, {w.Output(w.Value("u0", {1, 2})), w.Output(w.Value("u1", {1, 2}))}, u);
  fb::SplitOptionsT s;
  s.num_splits = 2;
  w.Op(B::SPLIT, {w.Scalar("axis", 1), packed},
       {w.Output(w.Value("s0", {1, 1, 2})), w.Output(w.Value("s1", {1, 1, 2}))}, s);
  w.Op(B::SPLIT_V, {a, w.Ints("sizes", {1, -1}), w.Scalar("axis1", 1)},
       {w.Output(w.Value("v0", {1, 1})), w.Output(w.Value("v1", {1, 1}))}, fb::SplitVOptionsT());
  Check(w, {{1, 2}, {3, 4}},
        {{1, 2, 3, 4}, {1, 2, 3, 4}, {1, 3}, {2, 4}, {1, 2}, {3, 4}, {1}, {2}});
}

TEST(TfliteOps, SliceAndStridedSliceWithAllMasks) {
  Doubles x;
  for (int i = 0; i < 12; ++i) x.push_back(i);  // [3, 4]
  CheckUnary(B::SLICE, {3, 4}, x, {2, 2}, {5, 6, 9, 10}, [](Writer& w, auto& in, fb::OperatorT&) {
    in.push_back(w.Ints("b", {1, 1}));
    in.push_back(w.Ints("s", {-1, 2}));
  });
  struct Row {
    std::vector<int32_t> begin, end, strides;
    int begin_mask, end_mask, ellipsis, added, shrunk;
    Shape shape;
    Doubles y;
  };
  for (const Row& r : {Row{{0, 1}, {3, 4}, {2, 2}, 0, 0, 0, 0, 0, {2, 2}, {1, 3, 9, 11}},
                       Row{{5, 1}, {0, 3}, {1, 1}, 1, 1, 0, 0, 0, {3, 2}, {1, 2, 5, 6, 9, 10}},
                       Row{{0, 0}, {0, 0}, {-1, -2}, 3, 3, 0, 0, 0, {3, 2}, {11, 9, 7, 5, 3, 1}},
                       Row{{-1, 1}, {0, 3}, {1, 1}, 0, 0, 0, 0, 1, {2}, {9, 10}},
                       Row{{0, -2}, {0, 0}, {1, 1}, 0, 0, 1, 0, 2, {3}, {2, 6, 10}},
                       Row{{1, 0, 0}, {2, 0, 2}, {1, 1, 1}, 0, 0, 0, 2, 0, {1, 1, 2}, {4, 5}}}) {
    CheckUnary(
        B::STRIDED_SLICE, {3, 4}, x, r.shape, r.y, [&](Writer& w, auto& in, fb::OperatorT& op) {
          in.push_back(w.Ints("b", r.begin));
          in.push_back(w.Ints("e", r.end));
          in.push_back(w.Ints("s", r.strides));
          op.builtin_options.Set(With<fb::StridedSliceOptionsT>([&](auto& o) {
            o.begin_mask = r.begin_mask, o.end_mask = r.end_mask, o.ellipsis_mask = r.ellipsis,
            o.new_axis_mask = r.added, o.shrink_axis_mask = r.shrunk;
          }));
        });
  }
}

TEST(TfliteOps, StridedSliceByComputedBounds) {
  Writer w;
  const int x = w.Input("x", {3, 4}), b = w.Input("b", {2}, T::INT32),
            e = w.Input("e", {2}, T::INT32);
  fb::StridedSliceOptionsT o;
  o.end_mask = 2;
  o.shrink_axis_mask = 1;
  w.Op(B::STRIDED_SLICE, {x, b, e, w.Ints("s", {1, 1})}, {w.Output(w.Value("y", {-1}))}, o);
  Doubles v;
  for (int i = 0; i < 12; ++i) v.push_back(i);
  Check(w, {v, {-1, 2}, {0, 0}}, {{10, 11}});
}

TEST(TfliteOps, Padding) {
  const Doubles x = {1, 2, 3};
  const auto pads = [](Writer& w, std::vector<int32_t>& in, fb::OperatorT&) {
    in.push_back(w.Constant<int32_t>("p", {1, 2}, {1, 2}));
  };
  CheckUnary(B::PAD, {3}, x, {6}, {0, 1, 2, 3, 0, 0}, pads);
  CheckUnary(B::PADV2, {3}, x, {6}, {9, 1, 2, 3, 9, 9}, [](Writer& w, auto& in, fb::OperatorT&) {
    in.push_back(w.Constant<int32_t>("p", {1, 2}, {1, 2}));
    in.push_back(w.Constant<float>("v", {1}, {9}));
  });
  for (bool symmetric : {false, true}) {
    CheckUnary(B::MIRROR_PAD, {3}, x, {6},
               symmetric ? Doubles{1, 1, 2, 3, 3, 2} : Doubles{2, 1, 2, 3, 2, 1},
               [&](Writer& w, auto& in, fb::OperatorT& op) {
                 in.push_back(w.Constant<int32_t>("p", {1, 2}, {1, 2}));
                 op.builtin_options.Set(With<fb::MirrorPadOptionsT>([&](auto& o) {
                   o.mode = symmetric ? fb::MirrorPadMode::SYMMETRIC : fb::MirrorPadMode::REFLECT;
                 }));
               });
  }
}

TEST(TfliteOps, Resize) {
  const Doubles x = {1, 2, 3, 4};
  struct Row {
    B code;
    bool corners, half;
    Doubles y;
  };
  for (const Row& r :
       {Row{B::RESIZE_NEAREST_NEIGHBOR,
            false,
            false,
            {1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4}},
        Row{B::RESIZE_NEAREST_NEIGHBOR,
            true,
            false,
            {1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4}},
        Row{B::RESIZE_NEAREST_NEIGHBOR,
            false,
            true,
            {1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4}},
        Row{B::RESIZE_BILINEAR,
            false,
            false,
            {1, 1.5, 2, 2, 2, 2.5, 3, 3, 3, 3.5, 4, 4, 3, 3.5, 4, 4}},
        Row{B::RESIZE_BILINEAR,
            false,
            true,
            {1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3, 3.25, 3.75, 4}}}) {
    CheckUnary(
        r.code, {1, 2, 2, 1}, x, {1, 4, 4, 1}, r.y, [&](Writer& w, auto& in, fb::OperatorT& op) {
          in.push_back(w.Ints("size", {4, 4}));
          if (r.code == B::RESIZE_BILINEAR) {
            op.builtin_options.Set(With<fb::ResizeBilinearOptionsT>(
                [&](auto& o) { o.align_corners = r.corners, o.half_pixel_centers = r.half; }));
          } else {
            op.builtin_options.Set(With<fb::ResizeNearestNeighborOptionsT>(
                [&](auto& o) { o.align_corners = r.corners, o.half_pixel_centers = r.half; }));
          }
        });
  }
  CheckUnary(B::RESIZE_BILINEAR, {1, 1, 2, 1}, {0, 3}, {1, 1, 4, 1}, {0, 1, 2, 3},
             [&](Writer& w, auto& in, fb::OperatorT& op) {
               in.push_back(w.Ints("size", {1, 4}));
               op.builtin_options.Set(
                   With<fb::ResizeBilinearOptionsT>([&](auto& o) { o.align_corners = true; }));
             });
}

TEST(TfliteOps, BlocksOfSpaceDepthAndBatch) {
  const Doubles x = {1, 2, 3, 4};
  CheckUnary(
      B::SPACE_TO_DEPTH, {1, 2, 2, 1}, x, {1, 1, 1, 4}, x, [](Writer&, auto&, fb::OperatorT& op) {
        op.builtin_options.Set(With<fb::SpaceToDepthOptionsT>([](auto& o) { o.block_size = 2; }));
      });
  CheckUnary(
      B::DEPTH_TO_SPACE, {1, 1, 1, 8}, {1, 2, 3, 4, 5, 6, 7, 8}, {1, 2, 2, 2},
      {1, 2, 3, 4, 5, 6, 7, 8}, [](Writer&, auto&, fb::OperatorT& op) {
        op.builtin_options.Set(With<fb::DepthToSpaceOptionsT>([](auto& o) { o.block_size = 2; }));
      });
  CheckUnary(B::SPACE_TO_BATCH_ND, {1, 2, 2, 1}, x, {4, 1, 2, 1}, {0, 1, 0, 2, 0, 3, 0, 4},
             [](Writer& w, auto& in, fb::OperatorT&) {
               in.push_back(w.Ints("block", {2, 2}));
               in.push_back(w.Constant<int32_t>("pads", {2, 2}, {0, 0, 2, 0}));
             });
  CheckUnary(B::BATCH_TO_SPACE_ND, {4, 1, 1, 1}, x, {1, 2, 1, 1}, {2, 4},
             [](Writer& w, auto& in, fb::OperatorT&) {
               in.push_back(w.Ints("block", {2, 2}));
               in.push_back(w.Constant<int32_t>("crops", {2, 2}, {0, 0, 1, 0}));
             });
}

TEST(TfliteOps, GatherAndScatter) {
  const Doubles x = {1, 2, 3, 4, 5, 6};
  CheckUnary(B::GATHER, {2, 3}, x, {2, 2}, {3, 1, 6, 4},
             [](Writer& w, auto& in, fb::OperatorT& op) {
               in.push_back(w.Ints("i", {2, 0}));
               op.builtin_options.Set(With<fb::GatherOptionsT>([](auto& o) { o.axis = 1; }));
             });
  CheckUnary(B::GATHER, {2, 3}, x, {2, 1}, {3, 4}, [](Writer& w, auto& in, fb::OperatorT& op) {
    in.push_back(w.Constant<int32_t>("i", {2, 1}, {2, 0}));
    op.builtin_options.Set(With<fb::GatherOptionsT>([](auto& o) { o.axis = o.batch_dims = 1; }));
  });
  CheckUnary(B::GATHER_ND, {2, 3}, x, {2}, {3, 4}, [](Writer& w, auto& in, fb::OperatorT&) {
    in.push_back(w.Constant<int32_t>("i", {2, 2}, {0, 2, 1, 0}));
  });
  CheckUnary(
      B::EMBEDDING_LOOKUP, {2}, {1, 0}, {2, 2}, {3, 4, 1, 2},
      [](Writer& w, auto& in, fb::OperatorT&) {
        in.push_back(w.Constant<float>("t", {2, 2}, {1, 2, 3, 4}));
      },
      T::INT32);
  {
    Writer w;
    const int u = w.Input("u", {3});
    w.Op(B::SCATTER_ND, {w.Constant<int32_t>("i", {3, 1}, {1, 3, 1}), u, w.Ints("s", {4})},
         {w.Output(w.Value("y", {4}))});
    Check(w, {{1, 2, 4}}, {{0, 5, 0, 2}});
  }
  {
    Writer w;
    const int i = w.Input("i", {4}, T::INT32);
    fb::OneHotOptionsT o;
    o.axis = -1;
    w.Op(B::ONE_HOT,
         {i, w.Scalar("d", 2), w.Constant<float>("on", {}, {5}), w.Constant<float>("off", {}, {1})},
         {w.Output(w.Value("y", {4, 2}))}, o);
    Check(w, {{0, 1, 2, -1}}, {{5, 1, 1, 5, 1, 1, 1, 1}});
  }
  {
    Writer w;
    const int v = w.Input("v", {2});
    w.Op(B::SPARSE_TO_DENSE,
         {w.Ints("i", {2, 0}), w.Ints("s", {4}), v, w.Constant<float>("d", {}, {-1})},
         {w.Output(w.Value("y", {4}))});
    Check(w, {{7, 8}}, {{8, -1, 7, -1}});
  }
}

TEST(TfliteOps, SearchAndReduce) {
  const Doubles x = {3, 1, 2, 4, 6, 5};
  for (auto code : {B::ARG_MAX, B::ARG_MIN}) {
    CheckUnary(
        code, {2, 3}, x, {2}, code == B::ARG_MAX ? Doubles{0, 1} : Doubles{1, 0},
        [](Writer& w, auto& in, fb::OperatorT&) { in.push_back(w.Scalar("a", 1)); }, T::FLOAT32,
        T::INT32);
  }
  {
    Writer w;
    const int v = w.Input("x", {2, 3});
    w.Op(B::TOPK_V2, {v, w.Scalar("k", 2)},
         {w.Output(w.Value("v", {2, 2})), w.Output(w.Value("i", {2, 2}, T::INT32))});
    Check(w, {x}, {{3, 2, 6, 5}, {0, 2, 1, 2}});
  }
  struct Row {
    B code;
    bool keep;
    Doubles y;
  };
  for (const Row& r : {Row{B::MEAN, true, {2, 5}}, Row{B::SUM, false, {6, 15}},
                       Row{B::REDUCE_PROD, false, {6, 120}}, Row{B::REDUCE_MAX, true, {3, 6}},
                       Row{B::REDUCE_MIN, false, {1, 4}}}) {
    CheckUnary(
        r.code, {2, 3}, x, r.keep ? Shape{2, 1} : Shape{2}, r.y,
        [&](Writer& w, auto& in, fb::OperatorT& op) {
          in.push_back(w.Ints("a", {-1}));
          op.builtin_options.Set(With<fb::ReducerOptionsT>([&](auto& o) { o.keep_dims = r.keep; }));
        });
  }
  for (auto code : {B::REDUCE_ANY, B::REDUCE_ALL}) {
    CheckUnary(
        code, {3, 2}, {0, 0, 0, 1, 1, 1}, {3},
        code == B::REDUCE_ANY ? Doubles{0, 1, 1} : Doubles{0, 0, 1},
        [](Writer& w, auto& in, fb::OperatorT&) { in.push_back(w.Ints("a", {1})); }, T::BOOL,
        T::BOOL);
  }
}

TEST(TfliteOps, ReductionsOfImagesInBothOrders) {
  // Behind a 1x1 convolution that swaps the two channels, so that the image is NCHW inside.
  struct Row {
    std::vector<int32_t> axes;
    bool keep;
    Shape shape;
    Doubles y;
  };
  for (const Row& r :
       {Row{{1, 2}, false, {1, 2}, {-5, 5}}, Row{{1, 2}, true, {1, 1, 1, 2}, {-5, 5}},
        Row{{3}, false, {1, 3, 3}, Doubles(9, 0)},
        Row{{1}, false, {1, 3, 2}, {-4, 4, -5, 5, -6, 6}},
        Row{{2}, true, {1, 3, 1, 2}, {-2, 2, -5, 5, -8, 8}}}) {
    Writer w;
    const int x = w.Input("x", {1, 3, 3, 2}),
              k = w.Constant<float>("k", {2, 1, 1, 2}, {0, 1, 1, 0}),
              c = w.Value("c", {1, 3, 3, 2});
    w.Op(B::CONV_2D, {x, k}, {c}, ConvOptions(kSame, 1));
    w.Op(B::MEAN, {c, w.Ints("a", r.axes)}, {w.Output(w.Value("y", r.shape))},
         With<fb::ReducerOptionsT>([&](auto& o) { o.keep_dims = r.keep; }));
    Check(w, {Image33()}, {r.y});
  }
}

TEST(TfliteOps, Matrices) {
  Writer w;
  const int a = w.Input("a", {2, 2}), b = w.Input("b", {2, 2}), d = w.Input("d", {2});
  w.Op(B::BATCH_MATMUL, {a, b}, {w.Output(w.Value("y", {2, 2}))},
       With<fb::BatchMatMulOptionsT>([](auto& o) { o.adj_x = true; }));
  w.Op(B::BATCH_MATMUL, {a, b}, {w.Output(w.Value("z", {2, 2}))},
       With<fb::BatchMatMulOptionsT>([](auto& o) { o.adj_y = true; }));
  w.Op(B::MATRIX_DIAG, {d}, {w.Output(w.Value("m", {2, 2}))});
  w.Op(B::MATRIX_SET_DIAG, {a, d}, {w.Output(w.Value("s", {2, 2}))});
  Check(w, {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10}},
        {{26, 30, 38, 44}, {17, 23, 39, 53}, {9, 0, 0, 10}, {9, 2, 3, 10}});
}

TEST(TfliteOps, FillAndRange) {
  Writer w;
  const int v = w.Input("v", {});
  w.Op(B::FILL, {w.Ints("dims", {2}), v}, {w.Output(w.Value("f", {2}))});
  w.Op(B::RANGE, {w.Scalar("from", 1), w.Scalar("to", 7), w.Scalar("step", 2)},
       {w.Output(w.Value("r", {3}, T::INT32))});
  Check(w, {{7}}, {{7, 7}, {1, 3, 5}});
}

TEST(TfliteOps, SparseTensorsBecomeDense) {
  for (bool blocks : {false, true}) {
    for (bool densify : {false, true}) {
      Writer w;
      const int x = w.Input("x", {2, 4});
      int k = w.Constant<float>(
          "k", {2, 4}, blocks ? std::vector<float>{1, 2, 3, 4} : std::vector<float>{5, 6, 7});
      auto s = std::make_unique<fb::SparsityParametersT>();
      s->dim_metadata.push_back(w.DenseLevel(2));
      if (blocks) {  // two blocks of 1 x 2 a row
        s->traversal_order = {0, 1, 2};
        s->block_map = {1};
        s->dim_metadata.push_back(w.CompressedLevel({0, 1, 2}, {1, 0}));
        s->dim_metadata.push_back(w.DenseLevel(2));
      } else {
        s->traversal_order = {0, 1};
        s->dim_metadata.push_back(w.CompressedLevel({0, 1, 3}, {2, 0, 3}));
      }
      w.tensor(k).sparsity = std::move(s);
      if (densify) {
        const int dense = w.Value("dense", {2, 4});
        w.Op(B::DENSIFY, {k}, {dense});
        k = dense;
      }
      w.Op(B::ADD, {x, k}, {w.Output(w.Value("y", {2, 4}))}, fb::AddOptionsT());
      const Doubles want =
          blocks ? Doubles{0, 0, 1, 2, 3, 4, 0, 0} : Doubles{0, 0, 5, 0, 6, 0, 0, 7};
      Check(w, {Doubles(8, 0)}, {want});
    }
  }
}

}  // namespace
}  // namespace slipway::tflite
