// Inference of recurrent layers, sampling, signals, losses and single operators.

#include <gtest/gtest.h>

#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::ir {
namespace {

// The type of %y after inference, or the error.
std::string Infer(const std::string& body) {
  auto g = ParseText("graph \"t\" {\n" + body + "\n}");
  if (!g.ok()) return "no graph: " + g.status().message();
  Status s = InferShapes(**g);
  if (!s.ok()) return "error: " + s.message();
  const Value* y = (*g)->FindValue("y");
  return y ? y->type().ToString() : "no y";
}

void ExpectError(const std::string& body, const std::string& part) {
  const std::string got = Infer(body);
  EXPECT_EQ(got.substr(0, 7), "error: ") << got << "\n" << body;
  EXPECT_NE(got.find(part), std::string::npos) << got << "\nshould hold: " << part;
}

TEST(Infer, Recurrent) {
  const std::string x = "input %x: float32[T, B, 8]\n";
  auto weights = [](const char* w, const char* r) {
    return std::string("const %w: float32") + w + " = zeros\nconst %r: float32" + r + " = zeros\n";
  };
  EXPECT_EQ(Infer(x + weights("[1, 20, 8]", "[1, 20, 5]") +
                  "%y, %h, %c = LSTM(%x, %w, %r) {hidden_size = 5}"),
            "float32[T, 1, B, 5]");
  EXPECT_EQ(Infer(x + weights("[2, 15, 8]", "[2, 15, 5]") +
                  "%a, %y = GRU(%x, %w, %r) {direction = \"bidirectional\"}"),
            "float32[2, B, 5]");
  EXPECT_EQ(Infer("input %x: float32[B, T, 8]\n" + weights("[1, 5, 8]", "[1, 5, 5]") +
                  "%y = RNN(%x, %w, %r) {layout = 1}"),
            "float32[B, T, 1, 5]");
  const std::string good = weights("[1, 5, 8]", "[1, 5, 5]");
  ExpectError(x + weights("[1, 5, 7]", "[1, 5, 5]") + "%y = RNN(%x, %w, %r)", "W (input 1)");
  ExpectError(x + weights("[1, 6, 8]", "[1, 5, 5]") + "%y = RNN(%x, %w, %r)", "W (input 1)");
  ExpectError(x + good + "%y = RNN(%x, %w, %r) {hidden_size = 4}", "hidden_size");
  ExpectError(x + good + "%y = RNN(%x, %w, %r) {direction = \"sideways\"}", "sideways");
  ExpectError(x + good + "%y = RNN(%x, %w, %r) {activations = [\"Tanh\", \"Tanh\"]}",
              "activations");
  ExpectError(x + good + "%y = RNN(%x, %w, %r) {activations = [\"Swish\"]}", "Swish");
}

TEST(Infer, Einsum) {
  const std::string ab = "input %a: float32[N, 3, 4]\ninput %b: float32[N, 4, K]\n";
  EXPECT_EQ(Infer(ab + "%y = Einsum(%a, %b) {equation = \"bij,bjk->bik\"}"), "float32[N, 3, K]");
  EXPECT_EQ(Infer(ab + "%y = Einsum(%a, %b) {equation = \"...ij,...jk\"}"), "float32[N, 3, K]");
  ExpectError(ab + "%y = Einsum(%a, %b) {equation = \"bij,bik->bjk\"}", "one letter");
  ExpectError(ab + "%y = Einsum(%a, %b) {equation = \"bij,bjk->bq\"}", "no input");
}

TEST(Infer, Sampling) {
  const std::string x = "input %x: float32[N, 3, H, W]\n";
  EXPECT_EQ(Infer(x + "input %g: float32[N, 5, 6, 2]\n%y = GridSample(%x, %g)"),
            "float32[N, 3, 5, 6]");
  ExpectError(x + "input %g: float32[N, 5, 6, 3]\n%y = GridSample(%x, %g)", "grid");
  ExpectError(x + "input %g: float32[N, 5, 6, 2]\n%y = GridSample(%x, %g) {mode = \"area\"}",
              "area");
  EXPECT_EQ(Infer("input %t: float32[N, 2, 3]\nconst %s: int64[4] = [1, 3, 5, 6]\n"
                  "%y = AffineGrid(%t, %s)"),
            "float32[1, 5, 6, 2]");
  EXPECT_EQ(Infer(x + "input %r: float32[R, 4]\ninput %b: int64[R]\n"
                      "%y = RoiAlign(%x, %r, %b) {output_height = 7, output_width = 6}"),
            "float32[R, 3, 7, 6]");
  EXPECT_EQ(Infer("input %x: float32[N, 3, 9, 9]\nconst %w: float32[4, 3, 3, 3] = zeros\n"
                  "input %o: float32[N, 18, 7, 7]\n%y = DeformConv(%x, %w, %o)"),
            "float32[N, 4, 7, 7]");
  ExpectError(
      "input %x: float32[N, 3, 9, 9]\nconst %w: float32[4, 3, 3, 3] = zeros\n"
      "input %o: float32[N, 9, 7, 7]\n%y = DeformConv(%x, %w, %o)",
      "offset");
  EXPECT_EQ(Infer("input %x: float32[N, 3, 2, 2]\ninput %i: int64[N, 3, 2, 2]\n"
                  "%y = MaxUnpool(%x, %i) {kernel_shape = [2, 2], strides = [2, 2]}"),
            "float32[N, 3, 4, 4]");
  EXPECT_EQ(Infer("input %x: float32[N, 12, 20]\nconst %i: int64[2] = [5, 6]\n"
                  "const %b: int64[2] = [2, 2]\n%y = Col2Im(%x, %i, %b)"),
            "float32[N, 3, 5, 6]");
  EXPECT_EQ(Infer(x + "const %s: int64[2] = [8, 9]\n%y = CenterCropPad(%x, %s) {axes = [2, 3]}"),
            "float32[N, 3, 8, 9]");
}

TEST(Infer, Signals) {
  const std::string x = "input %x: float32[N, 10, 1]\nconst %n: int64 = [16]\n";
  EXPECT_EQ(Infer(x + "%y = DFT(%x)"), "float32[N, 10, 2]");
  EXPECT_EQ(Infer(x + "%y = DFT(%x, %n) {onesided = 1}"), "float32[N, 9, 2]");
  EXPECT_EQ(Infer("input %x: float32[N, 6, 2]\n%y = DFT(%x) {onesided = 1, inverse = 1}"),
            "float32[N, 10, 1]");
  ExpectError("input %x: float32[N, 6, 2]\n%y = DFT(%x) {onesided = 1}", "real");
  EXPECT_EQ(Infer("input %x: float32[N, 100, 1]\nconst %s: int64 = [10]\nconst %n: int64 = [16]\n"
                  "%y = STFT(%x, %s, _, %n)"),
            "float32[N, 9, 9, 2]");
  EXPECT_EQ(Infer("const %n: int64 = [16]\n%y = HannWindow(%n) {output_datatype = 11}"),
            "float64[16]");
  EXPECT_EQ(Infer("%y = RandomNormal() {shape = [2, 3], dtype = 10}"), "float16[2, 3]");
  ExpectError("%y = RandomNormal() {shape = [2, -3]}", "-3");
  EXPECT_EQ(Infer("input %x: float32[N, 3]\n%y = Bernoulli(%x) {dtype = 9}"), "bool[N, 3]");
}

TEST(Infer, LossesAndSingles) {
  const std::string x = "input %x: float32[N, 5, D]\ninput %t: int64[N, D]\n";
  EXPECT_EQ(Infer(x + "%y = NegativeLogLikelihoodLoss(%x, %t)"), "float32[]");
  EXPECT_EQ(Infer(x + "%y = NegativeLogLikelihoodLoss(%x, %t) {reduction = \"none\"}"),
            "float32[N, D]");
  EXPECT_EQ(Infer(x + "%l, %y = SoftmaxCrossEntropyLoss(%x, %t)"), "float32[N, 5, D]");
  ExpectError(x + "%y = NegativeLogLikelihoodLoss(%x, %x)", "shape");
  EXPECT_EQ(Infer("input %x: float32[N, 3, 3]\n%y = Det(%x)"), "float32[N]");
  EXPECT_EQ(Infer("input %x: float32[N, 3]\n%y = BitCast(%x) {to = 6}"), "int32[N, 3]");
  ExpectError("input %x: float32[N, 3]\n%y = BitCast(%x) {to = 7}", "size");
  EXPECT_EQ(Infer("input %x: float32[N, 3]\n%y = IsInf(%x)"), "bool[N, 3]");
  EXPECT_EQ(Infer("input %x: int32[N, 3]\n%y = EyeLike(%x) {dtype = 1}"), "float32[N, 3]");
  EXPECT_EQ(Infer("input %x: int32[N, 9]\n%y = TfIdfVectorizer(%x) {mode = \"TF\", "
                  "max_gram_length = 1, min_gram_length = 1, max_skip_count = 0, "
                  "ngram_counts = [0], ngram_indexes = [0, 3], pool_int64s = [7, 8]}"),
            "float32[N, 4]");
}

TEST(Infer, AttentionWithACache) {
  const std::string q =
      "input %q: float32[B, 4, S, 8]\ninput %k: float32[B, 2, L, 8]\n"
      "input %v: float32[B, 2, L, 6]\n";
  const std::string past = "input %p: float32[B, 2, P, 8]\ninput %o: float32[B, 2, P, 6]\n";
  EXPECT_EQ(Infer(q + past + "%a, %y = Attention(%q, %k, %v, _, %p, %o)"),
            "float32[B, 2, L + P, 8]");
  EXPECT_EQ(Infer(q + past + "%a, %b, %c, %y = Attention(%q, %k, %v, _, %p, %o)"),
            "float32[B, 4, S, L + P]");
  ExpectError(q + past + "%y = Attention(%q, %k, %v, _, %p)", "together");
  ExpectError(q + "%y = Attention(%q, %k, %v) {qk_matmul_output_mode = 4}",
              "qk_matmul_output_mode");
}

}  // namespace
}  // namespace slipway::ir
