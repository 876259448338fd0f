#include "model/ir/infer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "model/ir/text.h"

namespace slipway::ir {
namespace {

std::unique_ptr<Graph> Parse(const std::string& body) {
  auto g = ParseText("graph \"t\" {\n" + body + "\n}");
  EXPECT_TRUE(g.ok()) << g.status().message() << "\n" << body;
  return g.ok() ? std::move(*g) : nullptr;
}

// The type of %y after inference, or the error.
std::string Infer(const std::string& body, const InferOptions& options = {}) {
  auto g = Parse(body);
  if (!g) return "no graph";
  Status s = InferShapes(*g, options);
  if (!s.ok()) return "error: " + s.message();
  const Value* y = g->FindValue("y");
  return y ? y->type().ToString() : "no y";
}

void ExpectError(const std::string& body, const std::string& part) {
  const std::string got = Infer(body);
  EXPECT_EQ(got.substr(0, 7), "error: ") << got << "\n" << body;
  EXPECT_NE(got.find(part), std::string::npos) << got << "\nshould hold: " << part;
}

const std::string kImage = "input %x: float32[N, 3, 224, 224]\n";

std::string Weight(const std::string& shape) { return "const %w: float32" + shape + " = zeros\n"; }

TEST(Infer, Conv) {
  const std::string w = Weight("[64, 3, 7, 7]");
  EXPECT_EQ(Infer(kImage + w + "%y = Conv(%x, %w) {strides = [2, 2], pads = [3, 3, 3, 3]}"),
            "float32[N, 64, 112, 112]");
  EXPECT_EQ(Infer(kImage + w + "%y = Conv(%x, %w) {auto_pad = \"SAME_UPPER\", strides = [2, 2]}"),
            "float32[N, 64, 112, 112]");
  EXPECT_EQ(Infer(kImage + w + "%y = Conv(%x, %w) {auto_pad = \"VALID\"}"),
            "float32[N, 64, 218, 218]");
  EXPECT_EQ(Infer(kImage + w + "%y = Conv(%x, %w) {dilations = [2, 3]}"),
            "float32[N, 64, 212, 206]");
  EXPECT_EQ(Infer("input %x: float32[1, 8, H, W]\n" + Weight("[8, 1, 3, 3]") +
                  "%y = Conv(%x, %w) {group = 8, strides = [2, 2], pads = [1, 1, 1, 1]}"),
            "float32[1, 8, floordiv(H + 1, 2), floordiv(W + 1, 2)]");
  EXPECT_EQ(Infer("input %x: float32[1, 4, 10]\n" + Weight("[2, 4, 3]") + "%y = Conv(%x, %w)"),
            "float32[1, 2, 8]");
  EXPECT_EQ(Infer("input %x: float32[?]\n" + Weight("[2, 4, 3]") + "%y = Conv(%x, %w)"),
            "float32[?]");
}

TEST(Infer, ExtentsFromData) {
  EXPECT_EQ(Infer("input %x: float32[N, 3]\n%y = NonZero(%x)"), "int64[2, _u0]");
  EXPECT_EQ(Infer("const %x: float32[4] = [0, 1, 0, 2]\n%y = NonZero(%x)"), "int64[1, 2]");
  const std::string x = "input %x: float32[N, 3]\n";
  EXPECT_EQ(Infer(x + "input %c: bool[M]\n%y = Compress(%x, %c)"), "float32[_u0]");
  EXPECT_EQ(Infer(x + "input %c: bool[M]\n%y = Compress(%x, %c) {axis = -1}"),
            "float32[N, _u0]");
  EXPECT_EQ(Infer("input %x: float32[2, 3]\nconst %c: bool[3] = [1, 0, 1]\n"
                  "%y = Compress(%x, %c) {axis = 1}"),
            "float32[2, 2]");
  ExpectError(x + "input %c: float32[3]\n%y = Compress(%x, %c)", "must be bool");
  ExpectError(x + "input %c: bool[3, 1]\n%y = Compress(%x, %c)", "must have 1 dimension");
  ExpectError(x + "input %c: bool[3]\n%y = Compress(%x, %c) {axis = 2}", "axis 2");
  ExpectError("input %x: float32[2, 3]\nconst %c: bool[4] = [1, 0, 1, 1]\n"
              "%y = Compress(%x, %c) {axis = 1}",
              "condition selects element 3 of 3");
}

TEST(Infer, ConvErrors) {
  const std::string w = Weight("[64, 3, 7, 7]");
  ExpectError(kImage + Weight("[64, 4, 7, 7]") + "%y = Conv(%x, %w) \"stem\"",
              "Conv node 'stem': the input has 3 channels");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {group = 0}", "group = 0");
  ExpectError(kImage + Weight("[64, 1, 7, 7]") + "%y = Conv(%x, %w) {group = 3}",
              "does not divide the 64 output channels");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {strides = [0, 1]}", "strides holds 0");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {strides = [1]}",
              "strides has 1 numbers but needs 2");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {dilations = [-1, 1]}", "dilations holds -1");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {pads = [1, 1]}", "pads has 2 numbers but needs 4");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {pads = [1, 1, 1, 9223372036854775807]}",
              "pads holds");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {kernel_shape = [7, 5]}",
              "kernel_shape does not match");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {auto_pad = \"MAYBE\"}", "auto_pad 'MAYBE'");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {dilations = [100, 100]}", "the window spans 601");
  ExpectError(kImage + w + "const %b: float32[3] = zeros\n%y = Conv(%x, %w, %b)",
              "bias (input 2) has 3 elements but 64");
  ExpectError("input %x: float32[1, 3]\n" + w + "%y = Conv(%x, %w)", "at least 3 dimensions");
  ExpectError("input %x: float16[1, 3, 9, 9]\n" + w + "%y = Conv(%x, %w)",
              "types float16 and float32");
  ExpectError(kImage + "const %w: float32[0, 3, 0, 0] = zeros\n%y = Conv(%x, %w)",
              "kernel extent 0");
  ExpectError(kImage + w + "%y = Conv(%x, %w) {dilations = [1073741824, 1073741824]}",
              "window spans");
  ExpectError(kImage + "%y = Conv(%x)", "has 1 inputs but takes 2 to 3");
  ExpectError(kImage + "%y = Conv(%x, _)", "required input 1 is absent");
}

TEST(Infer, FusedConv) {
  const std::string head =
      "input %x: float32[1, 8, 14, 14]\ninput %r: float32[1, 8, 14, 14]\nconst %w: float32[8, 8, "
      "1, 1] = zeros\n";
  EXPECT_EQ(Infer(head + "%y = slipway.Conv(%x, %w, _, %r) {activation = \"Relu\"}"),
            "float32[1, 8, 14, 14]");
  EXPECT_EQ(
      Infer(head +
            "%y = slipway.Conv(%x, %w) {activation = \"Clip\", activation_params = [0.0, 6.0]}"),
      "float32[1, 8, 14, 14]");
  ExpectError(head + "%y = slipway.Conv(%x, %w) {activation = \"Clip\"}",
              "activation Clip needs 2");
  ExpectError(head + "%y = slipway.Conv(%x, %w) {activation = \"Softmax\"}",
              "unknown activation 'Softmax'");
  ExpectError(head + "%y = slipway.Conv(%x, %w, _, %r) {strides = [2, 2]}",
              "the residual has shape");
}

TEST(Infer, ConvTranspose) {
  const std::string head = "input %x: float32[1, 6, 3, 3]\n" + Weight("[6, 2, 3, 3]");
  EXPECT_EQ(Infer(head + "%y = ConvTranspose(%x, %w)"), "float32[1, 2, 5, 5]");
  EXPECT_EQ(Infer(head + "%y = ConvTranspose(%x, %w) {strides = [3, 2], output_padding = [1, 1]}"),
            "float32[1, 2, 10, 8]");
  EXPECT_EQ(Infer(head + "%y = ConvTranspose(%x, %w) {strides = [3, 2], output_shape = [10, 8]}"),
            "float32[1, 2, 10, 8]");
  EXPECT_EQ(
      Infer(head + "%y = ConvTranspose(%x, %w) {strides = [2, 2], auto_pad = \"SAME_UPPER\"}"),
      "float32[1, 2, 6, 6]");
  EXPECT_EQ(Infer(head + "%y = ConvTranspose(%x, %w) {strides = [3, 2], pads = [1, 2, 1, 2]}"),
            "float32[1, 2, 7, 3]");
  EXPECT_EQ(Infer(head + "%y = ConvTranspose(%x, %w) {group = 3}"), "float32[1, 6, 5, 5]");
  ExpectError(head + "%y = ConvTranspose(%x, %w) {group = 4}", "group = 4 does not divide");
  ExpectError(head + "%y = ConvTranspose(%x, %w) {pads = [9, 9, 9, 9]}",
              "the pads 9 + 9 are too large");
  ExpectError(head + "%y = ConvTranspose(%x, %w) {output_shape = [10]}", "output_shape has 1");
}

TEST(Infer, Pool) {
  const std::string x = "input %x: float32[1, 3, 32, 32]\n";
  EXPECT_EQ(Infer(x + "%y = MaxPool(%x) {kernel_shape = [2, 2]}"), "float32[1, 3, 31, 31]");
  EXPECT_EQ(Infer(x + "%y = MaxPool(%x) {kernel_shape = [5, 5], strides = [3, 3]}"),
            "float32[1, 3, 10, 10]");
  EXPECT_EQ(Infer(x + "%y = AveragePool(%x) {kernel_shape = [3, 3], pads = [2, 2, 2, 2]}"),
            "float32[1, 3, 34, 34]");
  EXPECT_EQ(Infer(x + "%i, %y = MaxPool(%x) {kernel_shape = [2, 2]}"), "int64[1, 3, 31, 31]");
  // ONNX backend test maxpool_2d_ceil, and the rule that the last window starts inside (pooling 3x3
  // stride 2 of 4x4: 2; of 2x2 kernel 1 stride 2: one window;
  // maxpool_2d_ceil_output_size_reduce_by_one).
  EXPECT_EQ(Infer("input %x: float32[1, 1, 4, 4]\n%y = MaxPool(%x) {kernel_shape = [3, 3], strides "
                  "= [2, 2], ceil_mode = 1}"),
            "float32[1, 1, 2, 2]");
  EXPECT_EQ(Infer("input %x: float32[1, 1, 2, 2]\n%y = MaxPool(%x) {kernel_shape = [1, 1], strides "
                  "= [2, 2], ceil_mode = 1}"),
            "float32[1, 1, 1, 1]");
  EXPECT_EQ(Infer("input %x: float32[1, 1, 5, 5]\n%y = AveragePool(%x) {kernel_shape = [3, 3], "
                  "strides = [4, 4], pads = [1, 1, 1, 1], ceil_mode = 1}"),
            "float32[1, 1, 2, 2]");
  EXPECT_EQ(Infer("input %x: float32[1, 1, H, H]\n%y = MaxPool(%x) {kernel_shape = [3, 3], strides "
                  "= [2, 2], ceil_mode = 1}"),
            "float32[1, 1, floordiv(H, 2), floordiv(H, 2)]");
  ExpectError(x + "%y = MaxPool(%x) {kernel_shape = [-2, 2]}", "kernel extent -2");
  ExpectError(x + "%y = MaxPool(%x) {kernel_shape = []}", "kernel_shape is missing");
  ExpectError(x + "%y = MaxPool(%x) {kernel_shape = [2]}", "kernel_shape has 1 numbers");
  ExpectError(x + "%y = MaxPool(%x) {kernel_shape = [2, 2], pads = [2, 2, 2, 2]}",
              "must be smaller than the window's span 2");
  ExpectError(x + "%y = MaxPool(%x) {kernel_shape = [40, 40]}", "the window spans 40");
  EXPECT_EQ(Infer(x + "%y = GlobalAveragePool(%x)"), "float32[1, 3, 1, 1]");
}

// The symbolic ceil_mode expression agrees with the concrete rule for all small sizes.
TEST(Infer, SymbolicPoolingAgreesWithConcrete) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  for (int i = 0; i < 300; ++i) {
    const int kernel = static_cast<int>(rng() % 5) + 1, stride = static_cast<int>(rng() % 5) + 1,
              dilation = static_cast<int>(rng() % 2) + 1;
    const int span = dilation * (kernel - 1) + 1;
    const int before = static_cast<int>(rng() % static_cast<uint64_t>(span)),
              after = static_cast<int>(rng() % static_cast<uint64_t>(span));
    const int size = static_cast<int>(rng() % 20) + span;
    const std::string attributes =
        "{kernel_shape = [" + std::to_string(kernel) + "], strides = [" + std::to_string(stride) +
        "], dilations = [" + std::to_string(dilation) + "], pads = [" + std::to_string(before) +
        ", " + std::to_string(after) + "], ceil_mode = " + std::to_string(rng() % 2) + "}";
    auto g = Parse("input %x: float32[1, 1, H]\n%y = MaxPool(%x) " + attributes);
    ASSERT_TRUE(InferShapes(*g).ok());
    const Dim symbolic = (*g->FindValue("y")->type().shape)[2];
    const std::string concrete = Infer("input %x: float32[1, 1, " + std::to_string(size) +
                                       "]\n%y = MaxPool(%x) " + attributes);
    const int64_t value = *symbolic.Evaluate([&](auto) { return size; });
    ASSERT_EQ(concrete, "float32[1, 1, " + std::to_string(value) + "]")
        << attributes << " " << symbolic.ToString();
  }
}

TEST(Infer, Linear) {
  const std::string ab = "input %a: float32[M, 4]\nconst %b: float32[4, 5] = zeros\n";
  EXPECT_EQ(Infer(ab + "%y = Gemm(%a, %b)"), "float32[M, 5]");
  EXPECT_EQ(Infer(ab + "const %c: float32[5] = zeros\n%y = Gemm(%a, %b, %c)"), "float32[M, 5]");
  ExpectError(ab + "%y = Gemm(%a, %b) {transB = 1}", "do not multiply: 4 and 5 differ");
  ExpectError(ab + "const %c: float32[4] = zeros\n%y = Gemm(%a, %b, %c)", "C has shape [4]");
  EXPECT_EQ(Infer("input %a: float32[N, 12, 49, 32]\ninput %b: float32[N, 12, 32, 49]\n%y = "
                  "MatMul(%a, %b)"),
            "float32[N, 12, 49, 49]");
  EXPECT_EQ(Infer("input %a: float32[3]\ninput %b: float32[7, 3, 2]\n%y = MatMul(%a, %b)"),
            "float32[7, 2]");
  EXPECT_EQ(Infer("input %a: float32[3]\ninput %b: float32[3]\n%y = MatMul(%a, %b)"), "float32[]");
  ExpectError("input %a: float32[2, 3]\ninput %b: float32[4, 5]\n%y = MatMul(%a, %b)",
              "3 columns meet 4 rows");
  ExpectError("input %a: float32[5, 2, 3]\ninput %b: float32[4, 3, 5]\n%y = MatMul(%a, %b)",
              "do not broadcast");
  ExpectError("input %a: float32\ninput %b: float32[4, 5]\n%y = MatMul(%a, %b)",
              "at least 1 dimension");
  EXPECT_EQ(Infer("input %a: float32[N, 7, 4]\nconst %b: float32[9, 4] = zeros\n%y = "
                  "slipway.Linear(%a, %b) {transW = 1, activation = \"Gelu\"}"),
            "float32[N, 7, 9]");
  EXPECT_EQ(Infer("input %q: float32[N, 4, 49, 32]\ninput %k: float32[N, 2, 50, 32]\ninput %v: "
                  "float32[N, 2, 50, 16]\n%y = Attention(%q, %k, %v)"),
            "float32[N, 4, 49, 16]");
  EXPECT_EQ(Infer("input %q: float32[N, 49, 96]\n%y = Attention(%q, %q, %q) {q_num_heads = 3, "
                  "kv_num_heads = 3}"),
            "float32[N, 49, 96]");
  ExpectError("input %q: float32[N, 49, 96]\n%y = Attention(%q, %q, %q)",
              "must be positive for 3-D");
  ExpectError(
      "input %q: float32[N, 49, 96]\n%y = Attention(%q, %q, %q) {q_num_heads = 5, kv_num_heads = "
      "5}",
      "5 heads do not divide 96");
}

TEST(Infer, Elementwise) {
  EXPECT_EQ(Infer("input %a: float32[N, 1, 4]\ninput %b: float32[3, 1]\n%y = Add(%a, %b)"),
            "float32[N, 3, 4]");
  EXPECT_EQ(Infer("input %a: float32[N]\ninput %b: float32[5]\n%y = Add(%a, %b)"), "float32[5]");
  EXPECT_EQ(Infer("input %a: float32[2, 3]\ninput %b: float32[2, 3]\n%y = Less(%a, %b)"),
            "bool[2, 3]");
  EXPECT_EQ(Infer("input %a: float32[2, 3]\nconst %e: int32 = [2]\n%y = Pow(%a, %e)"),
            "float32[2, 3]");
  EXPECT_EQ(Infer("input %a: bool[2, 3]\ninput %b: float32[3]\ninput %c: float32[4, 1, 1]\n%y = "
                  "Where(%a, %b, %c)"),
            "float32[4, 2, 3]");
  EXPECT_EQ(Infer("input %a: int32[2]\n%y = Cast(%a) {to = 10}"), "float16[2]");
  ExpectError("input %a: float32[2]\ninput %b: float32[3]\n%y = Add(%a, %b)", "do not broadcast");
  ExpectError("input %a: float32[2]\ninput %b: int32[2]\n%y = Add(%a, %b)",
              "types float32 and int32");
  ExpectError("input %a: float32[2]\n%y = Not(%a)", "must be bool");
  ExpectError("input %a: float32[2]\n%y = Cast(%a) {to = 99}", "to = 99");
  ExpectError("input %a: float32[2]\n%y = Cast(%a) {to = 8}", "strings are not supported");
  ExpectError("input %a: float32[2]\n%y = Softmax(%a) {axis = 1}", "axis 1 is out of range");
  ExpectError("input %a: float32[2, 3]\nconst %s: float32[2] = zeros\n%y = PRelu(%a, %s)",
              "slope has shape [2]");
  ExpectError(
      "input %a: float32[1, 6, 2]\nconst %s: float32[6] = zeros\n%y = GroupNormalization(%a, %s, "
      "%s) {num_groups = 4}",
      "does not divide");
  ExpectError(
      "input %a: float32[1, 6, 2]\nconst %s: float32[5] = zeros\n%y = InstanceNormalization(%a, "
      "%s, %s)",
      "scale (input 1) has 5");
  ExpectError("input %a: float32[2]\nconst %m: float32[2] = zeros\n%y = Clip(%a, %m)",
              "must be one element");
  EXPECT_EQ(Infer("input %a: float32[2]\n%z, %y = Dropout(%a)"), "bool[2]");
}

TEST(Infer, ReduceAndNormalise) {
  const std::string x = "input %x: float32[N, 3, H, W]\n";
  const std::string axes = "const %a: int64[2] = [2, -1]\n";
  EXPECT_EQ(Infer(x + axes + "%y = ReduceMean(%x, %a)"), "float32[N, 3, 1, 1]");
  EXPECT_EQ(Infer(x + axes + "%y = ReduceMean(%x, %a) {keepdims = 0}"), "float32[N, 3]");
  EXPECT_EQ(Infer(x + "%y = ReduceMean(%x)"), "float32[1, 1, 1, 1]");
  EXPECT_EQ(Infer(x + "%y = ReduceMean(%x) {noop_with_empty_axes = 1}"), "float32[N, 3, H, W]");
  EXPECT_EQ(Infer(x + "input %a: int64[2]\n%y = ReduceMean(%x, %a) {keepdims = 0}"),
            "float32[_u0, _u1]");
  ExpectError(x + "const %a: int64[2] = [1, -3]\n%y = ReduceMean(%x, %a)",
              "name dimension 1 twice");
  ExpectError(x + "const %a: int64[1] = [4]\n%y = ReduceMean(%x, %a)", "axes 4 is out of range");
  EXPECT_EQ(Infer(x + "%y = ArgMax(%x) {axis = 1, keepdims = 0}"), "int64[N, H, W]");
  EXPECT_EQ(Infer(x + "const %k: int64[1] = [2]\n%v, %y = TopK(%x, %k) {axis = 1}"),
            "int64[N, 2, H, W]");
  ExpectError(x + "const %k: int64[1] = [4]\n%v, %y = TopK(%x, %k) {axis = 1}",
              "K = 4 exceeds the 3");
  const std::string ln = "input %x: float32[N, 49, 96]\nconst %s: float32[96] = zeros\n";
  EXPECT_EQ(Infer(ln + "%z, %y = LayerNormalization(%x, %s, %s)"), "float32[N, 49, 1]");
  ExpectError(
      "input %x: float32[N, 49, 96]\nconst %s: float32[95] = zeros\n%y = LayerNormalization(%x, "
      "%s)",
      "scale has shape [95]");
  const std::string bn = "const %p: float32[3] = zeros\n";
  EXPECT_EQ(Infer(x + bn + "%y = BatchNormalization(%x, %p, %p, %p, %p)"), "float32[N, 3, H, W]");
  ExpectError("input %x: float32[N, 4, H]\n" + bn + "%y = BatchNormalization(%x, %p, %p, %p, %p)",
              "scale (input 1) has 3 elements but 4");
}

TEST(Infer, ConcatAndSplit) {
  EXPECT_EQ(
      Infer(
          "input %a: float32[N, 2, H]\ninput %b: float32[N, 3, H]\n%y = Concat(%a, %b) {axis = 1}"),
      "float32[N, 5, H]");
  EXPECT_EQ(Infer("input %a: float32[N]\ninput %b: float32[M]\n%y = Concat(%a, %b) {axis = -1}"),
            "float32[M + N]");
  ExpectError("input %a: float32[2, 2]\ninput %b: float32[3, 3]\n%y = Concat(%a, %b) {axis = 1}",
              "dimension 0 of input 1: 2 and 3 differ");
  ExpectError("input %a: float32\n%y = Concat(%a, %a) {axis = 0}", "scalar");
  const std::string x = "input %x: float32[2, 7]\n";
  EXPECT_EQ(Infer(x + "%a, %b, %y = Split(%x) {axis = 1, num_outputs = 3}"), "float32[2, 1]");
  EXPECT_EQ(Infer(x + "const %s: int64[2] = [3, 4]\n%a, %y = Split(%x, %s) {axis = 1}"),
            "float32[2, 4]");
  EXPECT_EQ(Infer("input %x: float32[N, 6, H]\n%y, %a, %b = Split(%x) {axis = 1}"),
            "float32[N, 2, H]");
  ExpectError(x + "const %s: int64[2] = [3, 5]\n%a, %y = Split(%x, %s) {axis = 1}",
              "adds up to 8 but dimension 1 of [2, 7] is 7");
  ExpectError(x + "const %s: int64[3] = [3, 4, 0]\n%a, %y = Split(%x, %s) {axis = 1}",
              "has 3 elements but the node has 2");
  ExpectError(x + "%a, %b, %c, %d, %y = Split(%x) {axis = 1}", "cannot be split into 5");
  ExpectError(x + "const %s: int64[2] = [9223372036854775807, 9223372036854775807]\n%a, %y = "
                  "Split(%x, %s) {axis = 1}",
              "overflows");
}

std::string SliceOf(const std::string& shape, const std::string& start, const std::string& end,
                    const std::string& axis, const std::string& step) {
  return Infer("input %x: float32" + shape + "\nconst %s: int64[1] = [" + start +
               "]\nconst %e: int64[1] = [" + end + "]\nconst %a: int64[1] = [" + axis +
               "]\nconst %t: int64[1] = [" + step + "]\n%y = Slice(%x, %s, %e, %a, %t)");
}

TEST(Infer, Slice) {
  EXPECT_EQ(SliceOf("[20, 10]", "0", "1000", "1", "2"), "float32[20, 5]");
  EXPECT_EQ(SliceOf("[20, 10]", "-3", "9223372036854775807", "-1", "1"), "float32[20, 3]");
  EXPECT_EQ(SliceOf("[20, 10]", "-1", "-9223372036854775808", "0", "-1"), "float32[20, 10]");
  EXPECT_EQ(SliceOf("[20, 10]", "19", "2", "0", "-3"), "float32[6, 10]");
  EXPECT_EQ(SliceOf("[20, 10]", "5", "5", "0", "1"), "float32[0, 10]");
  EXPECT_EQ(SliceOf("[20, 10]", "7", "2", "0", "1"), "float32[0, 10]");
  EXPECT_EQ(
      SliceOf("[20, 10]", "9223372036854775807", "9223372036854775807", "0", "9223372036854775807"),
      "float32[0, 10]");
  EXPECT_EQ(SliceOf("[20, 10]", "0", "20", "0", "-9223372036854775808"), "float32[0, 10]");
  EXPECT_EQ(SliceOf("[N, 10]", "0", "9223372036854775807", "0", "1"), "float32[N, 10]");
  EXPECT_EQ(SliceOf("[N, 10]", "1", "2147483647", "0", "1"), "float32[N - 1, 10]");
  EXPECT_EQ(SliceOf("[N, 10]", "0", "-1", "0", "1"), "float32[N - 1, 10]");
  EXPECT_EQ(SliceOf("[H, 10]", "0", "9223372036854775807", "0", "2"),
            "float32[floordiv(H + 1, 2), 10]");
  EXPECT_EQ(SliceOf("[N, 10]", "-1", "-9223372036854775808", "0", "-1"), "float32[N, 10]");
  EXPECT_EQ(SliceOf("[N, 10]", "0", "5", "0", "1"), "float32[min(5, N), 10]");
  EXPECT_NE(SliceOf("[20, 10]", "0", "5", "0", "0").find("steps holds 0"), std::string::npos);
  EXPECT_NE(SliceOf("[20, 10]", "0", "5", "2", "1").find("out of range"), std::string::npos);
  ExpectError(
      "input %x: float32[4]\nconst %s: int64[2] = [0, 0]\nconst %e: int64[1] = [1]\n%y = Slice(%x, "
      "%s, %e)",
      "different lengths");
  ExpectError("input %x: float32[4]\nconst %s: int64[2] = [0, 0]\n%y = Slice(%x, %s, %s)",
              "starts has 2 elements but the input has 1");
  EXPECT_EQ(Infer("input %x: float32[4, 5]\ninput %s: int64[1]\ninput %e: int64[1]\nconst %a: "
                  "int64[1] = [1]\n%y = Slice(%x, %s, %e, %a)"),
            "float32[4, _u0]");
}

// The symbolic slice length agrees with the concrete one.
TEST(Infer, SymbolicSliceAgreesWithConcrete) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  const auto pick = [&]() -> std::string {
    const uint64_t k = rng() % 10;
    if (k == 0) return "9223372036854775807";
    if (k == 1) return "-9223372036854775807";
    if (k == 2) return "2147483647";
    return std::to_string(static_cast<int>(rng() % 15) - 7);
  };
  for (int i = 0; i < 500; ++i) {
    const std::string start = pick(), end = pick();
    int step = static_cast<int>(rng() % 7) - 3;
    if (step == 0) step = 1;
    const int size = static_cast<int>(rng() % 12) + 1;
    const std::string symbolic = SliceOf("[N]", start, end, "0", std::to_string(step));
    const std::string concrete =
        SliceOf("[" + std::to_string(size) + "]", start, end, "0", std::to_string(step));
    auto d = Dim::Parse(symbolic.substr(8, symbolic.size() - 9));
    ASSERT_TRUE(d.ok()) << symbolic;
    auto v = d->Evaluate([&](auto) { return size; });
    ASSERT_TRUE(v.ok()) << symbolic;
    ASSERT_EQ("float32[" + std::to_string(*v) + "]", concrete)
        << symbolic << " " << start << ":" << end << ":" << step << " of " << size;
  }
}

TEST(Infer, Reshape) {
  const auto reshape = [](const std::string& from, const std::string& to,
                          const std::string& attributes = "") {
    const auto n = std::count(to.begin(), to.end(), ',') + 1;
    return Infer("input %x: float32" + from + "\nconst %s: int64[" + std::to_string(n) + "] = [" +
                 to + "]\n%y = Reshape(%x, %s)" + attributes);
  };
  EXPECT_EQ(reshape("[N, 512, 7, 7]", "0, -1"), "float32[N, 25088]");
  EXPECT_EQ(reshape("[N, 512, 7, 7]", "-1, 25088"), "float32[N, 25088]");
  EXPECT_EQ(reshape("[N, H, W, 64]", "0, -1, 64"), "float32[N, H*W, 64]");
  EXPECT_EQ(reshape("[N, 16, H]", "-1, 8"), "float32[2*H*N, 8]");
  EXPECT_EQ(reshape("[2, 3, 4]", "4, 0, 2"), "float32[4, 3, 2]");
  EXPECT_EQ(reshape("[0, 3]", "3, 0", " {allowzero = 1}"), "float32[3, 0]");
  EXPECT_NE(reshape("[2, 3]", "-1, -1").find("-1 twice"), std::string::npos);
  EXPECT_NE(reshape("[2, 3]", "4, -1").find("do not divide"), std::string::npos);
  EXPECT_NE(reshape("[2, 3]", "7").find("cannot take shape [7]"), std::string::npos);
  EXPECT_NE(reshape("[2, 3]", "6, 1, 0").find("copies dimension 2"), std::string::npos);
  EXPECT_NE(reshape("[2, 3]", "-2, 3").find("holds -2"), std::string::npos);
  EXPECT_NE(reshape("[0, 3]", "0, -1").find("empty"), std::string::npos);
  EXPECT_NE(reshape("[2, 3]", "9223372036854775807, 9223372036854775807").find("overflows"),
            std::string::npos);
  EXPECT_EQ(Infer("input %x: float32[N, 4]\ninput %s: int64[3]\n%y = Reshape(%x, %s)"),
            "float32[_u0, _u1, _u2]");
  EXPECT_EQ(Infer("input %x: float32[N, 4]\ninput %s: int64[K]\n%y = Reshape(%x, %s)"),
            "float32[?]");
  EXPECT_EQ(Infer("input %x: float32[N, 4, H]\n%y = Flatten(%x) {axis = -1}"), "float32[4*N, H]");
  EXPECT_EQ(Infer("input %x: float32[N, 4, H]\n%y = Flatten(%x) {axis = 0}"), "float32[1, 4*H*N]");
  ExpectError("input %x: float32[N, 4, H]\n%y = Flatten(%x) {axis = 4}", "axis 4 is out of range");
}

TEST(Infer, ShapeMakers) {
  EXPECT_EQ(Infer("input %x: float32[N, 1, 4, 1]\nconst %a: int64[1] = [-1]\n%y = Squeeze(%x, %a)"),
            "float32[N, 1, 4]");
  EXPECT_EQ(Infer("input %x: float32[N, 1, 4, 1]\n%y = Squeeze(%x)"), "float32[N, 4]");
  ExpectError("input %x: float32[N, 1, 4]\nconst %a: int64[1] = [2]\n%y = Squeeze(%x, %a)",
              "cannot be squeezed");
  EXPECT_EQ(Infer("input %x: float32[N, 4]\nconst %a: int64[2] = [0, -1]\n%y = Unsqueeze(%x, %a)"),
            "float32[1, N, 4, 1]");
  ExpectError("input %x: float32[N, 4]\nconst %a: int64[2] = [0, -4]\n%y = Unsqueeze(%x, %a)",
              "twice");
  ExpectError("input %x: float32[4]\nconst %a: int64[200] = iota\n%y = Unsqueeze(%x, %a)",
              "at most 12");
  EXPECT_EQ(Infer("input %x: float32[3, 1]\nconst %a: int64[3] = [2, 1, 6]\n%y = Expand(%x, %a)"),
            "float32[2, 3, 6]");
  ExpectError("input %x: float32[3, 1]\nconst %a: int64[1] = [-2]\n%y = Expand(%x, %a)",
              "holds -2");
  EXPECT_EQ(Infer("input %x: float32[3, N]\nconst %a: int64[2] = [2, 4]\n%y = Tile(%x, %a)"),
            "float32[6, 4*N]");
  ExpectError("input %x: float32[3, N]\nconst %a: int64[1] = [2]\n%y = Tile(%x, %a)",
              "repeats has 1");
  ExpectError("input %x: float32[3]\nconst %a: int64[1] = [4611686018427387904]\n%y = Tile(%x, %a)",
              "overflows");
  EXPECT_EQ(Infer("input %x: float32[3, 4, 5]\n%y = Transpose(%x)"), "float32[5, 4, 3]");
  EXPECT_EQ(Infer("input %x: float32[3, N, 5]\n%y = Transpose(%x) {perm = [1, 0, 2]}"),
            "float32[N, 3, 5]");
  ExpectError("input %x: float32[3, N, 5]\n%y = Transpose(%x) {perm = [1, 1, 2]}",
              "perm name dimension 1 twice");
  EXPECT_EQ(Infer("input %x: float32[2, 12, H, W]\n%y = DepthToSpace(%x) {blocksize = 2}"),
            "float32[2, 3, 2*H, 2*W]");
  ExpectError("input %x: float32[2, 12, 2, 2]\n%y = DepthToSpace(%x) {blocksize = 0}",
              "blocksize = 0");
  ExpectError("input %x: float32[2, 10, 2, 2]\n%y = DepthToSpace(%x) {blocksize = 2}",
              "does not divide");
  EXPECT_EQ(Infer("input %x: float32[2, 3, 4, 6]\n%y = SpaceToDepth(%x) {blocksize = 2}"),
            "float32[2, 12, 2, 3]");
  EXPECT_EQ(Infer("const %s: int64[2] = [2, 3]\n%y = ConstantOfShape(%s) {dtype = 7}"),
            "int64[2, 3]");
  ExpectError("const %s: int64[2] = [2, -3]\n%y = ConstantOfShape(%s)", "holds -3");
  ExpectError("const %s: int64[2] = [4611686018427387904, 4]\n%y = ConstantOfShape(%s)",
              "does not fit");
  EXPECT_EQ(Infer("const %a: int64 = [10]\nconst %b: int64 = [3]\nconst %c: int64 = [-2]\n%y = "
                  "Range(%a, %b, %c)"),
            "int64[4]");
  EXPECT_EQ(Infer("const %a: float32 = [0]\nconst %b: float32 = [1]\nconst %c: float32 = [0.3]\n%y "
                  "= Range(%a, %b, %c)"),
            "float32[4]");
  ExpectError("const %a: int64 = [10]\nconst %c: int64 = [0]\n%y = Range(%a, %a, %c)",
              "delta is 0");
  ExpectError("const %a: float32 = [0]\nconst %b: float32 = [nan]\n%y = Range(%a, %b, %b)",
              "finite");
}

TEST(Infer, Pad) {
  const std::string x = "input %x: float32[1, N, 4, 5]\n";
  EXPECT_EQ(Infer(x + "const %p: int64[8] = [0, 0, 1, 2, 0, 0, 3, 4]\n%y = Pad(%x, %p)"),
            "float32[1, N, 8, 11]");
  EXPECT_EQ(
      Infer(x + "const %p: int64[2] = [1, -2]\nconst %a: int64[1] = [-1]\n%y = Pad(%x, %p, _, %a)"),
      "float32[1, N, 4, 4]");
  ExpectError(
      x + "const %p: int64[2] = [-3, -3]\nconst %a: int64[1] = [-1]\n%y = Pad(%x, %p, _, %a)",
      "remove more");
  ExpectError(x + "const %p: int64[4] = zeros\n%y = Pad(%x, %p)",
              "pads has 4 elements but needs 8");
  ExpectError(x + "const %p: int64[2] = [4, 0]\nconst %a: int64[1] = [2]\n%y = Pad(%x, %p, _, %a) "
                  "{mode = \"reflect\"}",
              "mode reflect cannot pad");
  ExpectError(x + "const %p: int64[8] = zeros\n%y = Pad(%x, %p) {mode = \"mirror\"}",
              "mode 'mirror'");
}

TEST(Infer, Gather) {
  const std::string x = "input %x: float32[3, N, 5]\n";
  EXPECT_EQ(Infer(x + "input %i: int64[2, 2]\n%y = Gather(%x, %i) {axis = 1}"),
            "float32[3, 2, 2, 5]");
  EXPECT_EQ(Infer(x + "const %i: int64 = [-1]\n%y = Gather(%x, %i) {axis = 2}"), "float32[3, N]");
  ExpectError(x + "const %i: int64 = [5]\n%y = Gather(%x, %i) {axis = 2}",
              "index 5 is out of range for dimension 2");
  ExpectError(x + "const %i: float32 = [5]\n%y = Gather(%x, %i)", "indices have type float32");
  EXPECT_EQ(Infer("input %x: float32[3, 4]\ninput %i: int64[2, 4]\n%y = GatherElements(%x, %i)"),
            "float32[2, 4]");
  ExpectError("input %x: float32[3, 4]\ninput %i: int64[2, 5]\n%y = GatherElements(%x, %i)",
              "exceeds");
  EXPECT_EQ(Infer("input %x: float32[2, 3, 4]\ninput %i: int64[2, 1]\n%y = GatherND(%x, %i) "
                  "{batch_dims = 1}"),
            "float32[2, 4]");
  ExpectError("input %x: float32[2, 3, 4]\ninput %i: int64[2, 4]\n%y = GatherND(%x, %i)",
              "must lie in [1, 3]");
  EXPECT_EQ(Infer("input %i: int64[N, 4]\nconst %d: int64 = [10]\nconst %v: float32[2] = [0, "
                  "1]\n%y = OneHot(%i, %d, %v) {axis = 1}"),
            "float32[N, 10, 4]");
  ExpectError(
      "input %x: float32[4, 4]\ninput %i: int64[2, 1]\ninput %u: float32[2, 5]\n%y = ScatterND(%x, "
      "%i, %u)",
      "updates have shape [2, 5] but must have [2, 4]");
}

TEST(Infer, Resize) {
  const std::string x = "input %x: float32[1, 3, H, 10]\n";
  EXPECT_EQ(Infer(x + "const %s: float32[4] = [1, 1, 2, 0.55]\n%y = Resize(%x, _, %s)"),
            "float32[1, 3, 2*H, 5]");
  EXPECT_EQ(Infer(x + "const %s: float32[2] = [1.5, 2]\n%y = Resize(%x, _, %s) {axes = [2, 3]}"),
            "float32[1, 3, H + floordiv(H, 2), 20]");
  EXPECT_EQ(Infer(x + "const %z: int64[4] = [1, 3, 7, 8]\n%y = Resize(%x, _, _, %z)"),
            "float32[1, 3, 7, 8]");
  EXPECT_EQ(Infer("input %x: float32[1, 1, 4, 8]\nconst %z: int64[2] = [8, 8]\n%y = Resize(%x, _, "
                  "_, %z) {axes = [2, 3], keep_aspect_ratio_policy = \"not_larger\"}"),
            "float32[1, 1, 4, 8]");
  ExpectError(x + "%y = Resize(%x)", "exactly one of scales");
  ExpectError(x + "const %s: float32[4] = [1, 1, 0, 1]\n%y = Resize(%x, _, %s)",
              "must be positive");
  ExpectError(x + "const %s: float32[3] = [1, 1, 1]\n%y = Resize(%x, _, %s)",
              "scales has 3 elements but needs 4");
  ExpectError(x + "const %s: float32[4] = fill(1)\n%y = Resize(%x, _, %s) {mode = \"magic\"}",
              "mode 'magic'");
}

TEST(Infer, Quantized) {
  const std::string x = "input %x: float32[N, 8, 6, 6]\nconst %s: float32 = [0.1]\n";
  EXPECT_EQ(Infer(x + "%y = slipway.Quantize(%x, %s)"), "int8[N, 8, 6, 6]");
  EXPECT_EQ(Infer(x + "%y = slipway.Quantize(%x, %s) {bits = 12, signed = 0}"),
            "uint16[N, 8, 6, 6]");
  EXPECT_EQ(Infer(x + "const %c: float32[8] = fill(1)\n%q = slipway.Quantize(%x, %c)\n%y = "
                      "slipway.Dequantize(%q, %c)"),
            "float32[N, 8, 6, 6]");
  ExpectError(x + "const %c: float32[7] = fill(1)\n%y = slipway.Quantize(%x, %c)",
              "scale (input 1) has 7 elements but 8");
  ExpectError(x + "%y = slipway.Quantize(%x, %s) {bits = 17}", "bits = 17");
  ExpectError(x + "%y = slipway.Dequantize(%x, %s)", "bits = 8 and signed = 1 mean int8");
  ExpectError(x + "const %z: uint8 = [1]\n%y = slipway.Quantize(%x, %s, %z)",
              "the zero point has type uint8 but the codes are int8");
  EXPECT_EQ(Infer("input %x: float32[6, 10]\nconst %s: float32[6, 3] = fill(1)\n%y = "
                  "slipway.Quantize(%x, %s) {axis = 1, group = 4, bits = 4}"),
            "int8[6, 10]");
  ExpectError(
      "input %x: float32[6, 10]\nconst %s: float32[6, 2] = fill(1)\n%y = slipway.Quantize(%x, %s) "
      "{axis = 1, group = 4}",
      "need [6, 3]");
  const std::string q =
      "input %x: uint8[N, 8, 6, 6]\nconst %w: int8[4, 8, 3, 3] = zeros\nconst %m: float32[4] = "
      "fill(1)\n";
  EXPECT_EQ(
      Infer(q +
            "%y = slipway.QConv(%x, %w, %m) {pads = [1, 1, 1, 1], to = 2, q_min = 0, q_max = 255}"),
      "uint8[N, 4, 6, 6]");
  EXPECT_EQ(Infer(q + "%y = slipway.QConv(%x, %w, %m) {to = 1}"), "float32[N, 4, 4, 4]");
  ExpectError(q + "%y = slipway.QConv(%x, %w, %m) {to = 2}", "q_min = -128");
  ExpectError(q + "%y = slipway.QConv(%x, %w, %m) {x_zero_point = 256}", "x_zero_point = 256");
  ExpectError(
      "input %x: uint8[1, 8]\nconst %w: uint8[8, 4] = zeros\nconst %m: float32[4] = fill(1)\n%y = "
      "slipway.QLinear(%x, %w, %m)",
      "the weight (input 1) has type uint8");
  EXPECT_EQ(Infer("input %x: uint8[1, 8]\nconst %w: int8[4, 8] = zeros\nconst %m: float32[1] = "
                  "fill(1)\n%y = slipway.QLinear(%x, %w, %m) {transW = 1}"),
            "int8[1, 4]");
  EXPECT_EQ(Infer(q + "%y = slipway.QAveragePool(%x) {global = 1, multiplier = 1}"),
            "int8[N, 8, 1, 1]");
  EXPECT_EQ(Infer(q + "%y = slipway.QAdd(%x, %x) {a_multiplier = 1, b_multiplier = 1}"),
            "int8[N, 8, 6, 6]");
  EXPECT_EQ(Infer(q + "%y = slipway.QRescale(%x) {multiplier = 1}"), "int8[N, 8, 6, 6]");
  EXPECT_EQ(Infer(q + "const %t: int8[256] = zeros\n%y = slipway.QLookup(%x, %t)"),
            "int8[N, 8, 6, 6]");
  EXPECT_EQ(
      Infer(q + "const %t: uint8[8, 256] = zeros\n%y = slipway.QLookup(%x, %t) {axis = 1}"),
      "uint8[N, 8, 6, 6]");
  ExpectError(q + "const %t: int8[8, 256] = zeros\n%y = slipway.QLookup(%x, %t)", "channels");
  ExpectError(q + "const %t: int8[8, 25] = zeros\n%y = slipway.QLookup(%x, %t) {axis = 1}", "25");
  ExpectError(q + "const %t: int8[255] = zeros\n%y = slipway.QLookup(%x, %t)",
              "table (input 1) has 255");
}

TEST(Infer, QAttention) {
  const std::string operands = R"(
    input %q: int8[N, 5, 3, 8]
    input %k: uint8[N, 3, 7, 8]
    input %v: int8[N, 3, 7, 4]
    input %b: float32[3, 1, 7]
    %y = slipway.QAttention(%q, %k, %v, %b) {multiplier = 0.1, p_scale = 0.01, s_multiplier = 0.1, )";
  EXPECT_EQ(
      Infer(operands + "q_perm = [0, 2, 1, 3], k_perm = [0, 1, 3, 2], y_perm = [2, 0, 1, 3]}"),
      "int8[5, N, 3, 4]");
  ExpectError(operands + "k_perm = [0, 1, 3, 2]}", "batches");
  ExpectError(operands + "q_perm = [0, 2, 1, 3]}", "the size of a head");
  ExpectError(operands + "q_perm = [0, 2, 2, 3]}", "no permutation");
  ExpectError(operands + "q_perm = [0, 2]}", "2 dimensions for rank 4");
}

// The chains exporters write around reshapes become clean expressions.
TEST(Infer, FollowsShapeArithmetic) {
  EXPECT_EQ(Infer(R"(
    input %x: float32[N, 512, 7, 7]
    %s = Shape(%x)
    const %i: int64 = [0]
    %n = Gather(%s, %i)
    const %ax: int64[1] = [0]
    %u = Unsqueeze(%n, %ax)
    const %m: int64[1] = [-1]
    %c = Concat(%u, %m) {axis = 0}
    %y = Reshape(%x, %c))"),
            "float32[N, 25088]");
  EXPECT_EQ(Infer(R"(
    input %x: float32[N, C, H, W]
    %s = Shape(%x) {start = 2}
    const %two: int64[1] = [2]
    %h = Div(%s, %two)
    %h2 = Mul(%h, %two)
    %t = Cast(%h2) {to = 7}
    %p = Shape(%x) {end = 2}
    %z = Concat(%p, %t) {axis = 0}
    %y = Resize(%x, _, _, %z))"),
            "float32[N, C, 2*floordiv(H, 2), 2*floordiv(W, 2)]");
  // Expand with torch's Equal / Where guard against -1.
  EXPECT_EQ(Infer(R"(
    input %x: float32[1, 1, 768]
    input %img: float32[N, 3, 224, 224]
    %s = Shape(%img) {end = 1}
    const %rest: int64[2] = [-1, -1]
    %shape = Concat(%s, %rest) {axis = 0}
    const %three: int64[1] = [3]
    %ones = ConstantOfShape(%three) {dtype = 7, value_int = 1}
    const %minus: int64 = [-1]
    %neg = Mul(%ones, %minus)
    %is = Equal(%shape, %neg)
    %w = Where(%is, %ones, %shape)
    %y = Expand(%x, %w))"),
            "float32[N, 1, 768]");
  // Pads as torch writes them: reshape, reverse, transpose.
  EXPECT_EQ(Infer(R"(
    input %x: float32[1, 3, 10, 10]
    const %p: int64[4] = [1, 2, 3, 4]
    const %four: int64[1] = [4]
    %zeros = ConstantOfShape(%four) {dtype = 7}
    %all = Concat(%p, %zeros) {axis = 0}
    const %shape: int64[2] = [-1, 2]
    %pairs = Reshape(%all, %shape)
    const %s: int64[1] = [-1]
    const %e: int64[1] = [-9223372036854775807]
    const %a: int64[1] = [0]
    const %t: int64[1] = [-1]
    %back = Slice(%pairs, %s, %e, %a, %t)
    %turned = Transpose(%back) {perm = [1, 0]}
    const %flat: int64[1] = [-1]
    %pads = Reshape(%turned, %flat)
    %y = Pad(%x, %pads))"),
            "float32[1, 3, 17, 13]");
  // An unknown size keeps the others known.
  EXPECT_EQ(Infer(R"(
    input %x: float32[N, 8]
    input %k: int64[1]
    %s = Shape(%x) {end = 1}
    const %two: int64[1] = [2]
    %c = Concat(%s, %k, %two) {axis = 0}
    %y = Reshape(%x, %c))"),
            "float32[N, _u0, 2]");
  EXPECT_EQ(Infer(R"(
    input %x: float32[N, 8]
    %s = Size(%x)
    const %zero: int64 = [0]
    const %one: int64 = [1]
    %y = Range(%zero, %s, %one))"),
            "int64[8*N]");
  EXPECT_EQ(Infer(R"(
    input %x: float32[6, 8]
    %s = Shape(%x)
    %a, %b = Split(%s) {num_outputs = 2}
    %p = ReduceProd(%s) {keepdims = 1}
    %m = Min(%a, %b)
    %c = Concat(%m, %p) {axis = 0}
    %r = ConstantOfShape(%c)
    %y = Identity(%r))"),
            "float32[6, 48]");
}

TEST(Infer, BindsSymbols) {
  InferOptions options;
  options.symbols["N"] = 4;
  EXPECT_EQ(Infer(kImage + "%y = Relu(%x)", options), "float32[4, 3, 224, 224]");
  options.symbols["Q"] = 4;
  EXPECT_EQ(Infer(kImage + "%y = Relu(%x)", options),
            "error: no input has a dimension named 'Q'; there are: N");
  options.symbols = {{"N", -1}};
  EXPECT_EQ(Infer(kImage + "%y = Relu(%x)", options), "error: dimension 'N' cannot be -1");
  options.symbols = {{"N", 9}};
  EXPECT_EQ(Infer("range N = [1, 8]\n" + kImage + "%y = Relu(%x)", options),
            "error: dimension 'N' = 9 is outside its range [1, 8]");
}

TEST(Infer, DeclaredTypes) {
  // A contradiction names the node; a graph output's declaration yields; stale and vague
  // declarations yield.
  ExpectError(kImage + "%y: float32[N, 3, 224, 225] = Relu(%x) \"r\"",
              "Relu node 'r': output 'y' is declared with shape");
  ExpectError(kImage + "%y: float32[N, 3] = Relu(%x) \"r\"", "is declared with shape");
  ExpectError(kImage + "%y: int64[N, 3, 224, 224] = Relu(%x) \"r\"",
              "is declared as int64 but the operator gives float32");
  EXPECT_EQ(Infer(kImage + "%y: float32[1, 3, 5, 5] = Relu(%x)\noutput %y"),
            "float32[N, 3, 224, 224]");
  EXPECT_EQ(Infer(kImage + "%y: float32[1, 3, a, b] = Relu(%x)"), "float32[N, 3, 224, 224]");
  InferOptions forget;
  forget.forget_declared = true;
  EXPECT_EQ(Infer(kImage + "%y: float32[N, 3, 224, 225] = Relu(%x)", forget),
            "float32[N, 3, 224, 224]");
  // A number beats a data-dependent symbol, and a second run changes nothing.
  const std::string dynamic = "input %x: float32[N, 4]\ninput %s: int64[2]\n";
  EXPECT_EQ(Infer(dynamic + "%y: float32[8, q] = Reshape(%x, %s)"), "float32[8, q]");
  auto g = Parse(dynamic + "%a = Reshape(%x, %s)\n%b = Reshape(%x, %s)\n%y = Relu(%b)");
  ASSERT_TRUE(InferShapes(*g).ok());
  const std::string once = ToText(*g);
  ASSERT_TRUE(InferShapes(*g).ok());
  EXPECT_EQ(ToText(*g), once);
  EXPECT_EQ(g->FindValue("y")->type().ToString(), "float32[_u2, _u3]");
  // A contraction settles a data-dependent symbol, also backwards.
  auto h = Parse(dynamic +
                 "%a = Reshape(%x, %s)\nconst %w: float32[16, 5] = zeros\n%y = MatMul(%a, %w)");
  ASSERT_TRUE(InferShapes(*h).ok());
  EXPECT_EQ(h->FindValue("a")->type().ToString(), "float32[_u0, 16]");
  EXPECT_EQ(h->FindValue("y")->type().ToString(), "float32[_u0, 5]");
}

TEST(Infer, InvalidInputs) {
  ExpectError("input %x: float32[-1, 3]\n%y = Relu(%x)", "input 'x' has the invalid shape");
  ExpectError("input %x: float32[4611686018427387904, 3]\n%y = Relu(%x)", "does not fit");
  ExpectError("input %x: string[3]\n%y = Identity(%x)", "tensor of strings");
  EXPECT_EQ(Infer("input %x: float32[3]\n%y: float32[3] = vendor.Magic(%x)"), "float32[3]");
}

TEST(Infer, OneNode) {
  auto g = Parse("input %x: float32[1, 2]\ninput %s: int64[2]\n%y = Reshape(%x, %s) \"r\"");
  const Node& node = *g->FindNode("r");
  const Tensor shape = Tensor::Vector<int64_t>({3, -1});
  const Type x{DType::kFloat32, SymShape{Dim(6), Dim(2)}}, s{DType::kInt64, SymShape{Dim(2)}};
  const Type inputs[] = {x, s};
  const Tensor* known[] = {nullptr, &shape};
  auto types = InferNode(node, inputs, known);
  ASSERT_TRUE(types.ok());
  EXPECT_EQ((*types)[0].ToString(), "float32[3, 4]");
  types = InferNode(node, inputs, {});
  ASSERT_TRUE(types.ok());
  EXPECT_EQ((*types)[0].ToString(), "float32[?]");
  const Tensor bad = Tensor::Vector<int64_t>({5, -1});
  const Tensor* wrong[] = {nullptr, &bad};
  EXPECT_NE(InferNode(node, inputs, wrong).status().message().find("Reshape node 'r'"),
            std::string::npos);
}

}  // namespace
}  // namespace slipway::ir
