#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "base/mapped_file.h"
#include "model/frontends/ncnn/export.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/passes/pass.h"

namespace slipway::ncnn {
namespace {

namespace fs = std::filesystem;

class Ncnn : public ::testing::Test {
 protected:
  Ncnn() {
    std::string name = (fs::temp_directory_path() / "slipway_ncnn_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~Ncnn() override { fs::remove_all(folder_); }

  std::unique_ptr<ir::Graph> Graph(const std::string& text) {
    auto g = ir::ParseText("graph \"g\" {\n" + text + "\n}");
    EXPECT_TRUE(g.ok()) << g.status().ToString();
    EXPECT_TRUE(ir::InferShapes(**g).ok());
    return std::move(*g);
  }
  // The lines of the .param, or the error.
  Result<std::vector<std::string>> Write(const ir::Graph& g, bool half = false) {
    SLIPWAY_ASSIGN_OR_RETURN(done_, ExportNcnn(g, Path("net"), {.half_weights = half}));
    SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(Path("net.param")));
    std::istringstream in(std::string(file->bytes().begin(), file->bytes().end()));
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      std::string tidy;
      for (char c : line) {
        if (c != ' ' || (!tidy.empty() && tidy.back() != ' ')) tidy += c;
      }
      lines.push_back(tidy);
    }
    return lines;
  }
  std::vector<std::string> Lines(const std::string& text) {
    auto lines = Write(*Graph(text));
    EXPECT_TRUE(lines.ok()) << lines.status().ToString();
    return lines.ok() ? *lines : std::vector<std::string>{};
  }
  void Refused(const std::string& text, const std::vector<std::string>& parts) {
    auto lines = Write(*Graph(text));
    ASSERT_FALSE(lines.ok()) << text;
    EXPECT_EQ(lines.status().code(), StatusCode::kUnsupported);
    for (const std::string& p : parts)
      EXPECT_NE(lines.status().message().find(p), std::string::npos) << lines.status().message();
  }
  std::vector<uint8_t> Bin() {
    auto file = MappedFile::Open(Path("net.bin"));
    EXPECT_TRUE(file.ok());
    return {(*file)->bytes().begin(), (*file)->bytes().end()};
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
  Exported done_;
};

TEST_F(Ncnn, AConvolutionWithItsParametersAndWeights) {
  auto g = Graph(
      "input %x: float32[1, 2, 5, 6]\nconst %w: float32[4, 2, 3, 1] = iota\n"
      "const %b: float32[4] = [1, 2, 3, 4]\n"
      "%y = slipway.Conv(%x, %w, %b) {strides = [2, 1], pads = [1, 0, 1, 0], activation = "
      "\"Clip\", "
      "activation_params = [0, 6]} \"conv 1\"\noutput %y");
  auto lines = Write(*g);
  ASSERT_TRUE(lines.ok()) << lines.status().ToString();
  EXPECT_EQ((*lines)[0], "7767517");
  EXPECT_EQ((*lines)[2], "Input x 0 1 x 0=6 1=5 2=2");
  EXPECT_EQ(
      (*lines)[3],
      "Convolution conv_1 1 1 x y 0=4 1=1 2=1 3=1 4=0 5=1 6=24 9=3 -23310=2,0.0,6.0 11=3 12=1 "
      "13=2 14=1 15=0 16=1");
  const auto bin = Bin();
  ASSERT_EQ(bin.size(), 4u + 24 * 4 + 4 * 4);
  EXPECT_EQ(static_cast<int64_t>(bin.size()), done_.weight_bytes);
  uint32_t flag;
  float seventh, bias;
  std::memcpy(&flag, bin.data(), 4);
  std::memcpy(&seventh, bin.data() + 4 + 7 * 4, 4);
  std::memcpy(&bias, bin.data() + 4 + 24 * 4 + 4, 4);
  EXPECT_EQ(flag, 0u);
  EXPECT_EQ(seventh, 7);
  EXPECT_EQ(bias, 2);
  ASSERT_TRUE(Write(*g, true).ok());
  const auto half = Bin();
  ASSERT_EQ(half.size(), 4u + 24 * 2 + 4 * 4);
  std::memcpy(&flag, half.data(), 4);
  EXPECT_EQ(flag, 0x01306B47u);
  EXPECT_EQ(half[4 + 7 * 2] | half[5 + 7 * 2] << 8, 0x4700);  // 7 in half precision
}

TEST_F(Ncnn, SharedBlobsAreSplitAndCounted) {
  const auto lines = Lines(
      "input %x: float32[1, 2, 3, 3]\n%a = Relu(%x)\n%b = Sigmoid(%a)\n%y = Add(%a, %b)\noutput "
      "%y");
  // Input, ReLU, Split, Sigmoid, BinaryOp.
  EXPECT_EQ(lines[1], "5 6");
  EXPECT_EQ(lines[4], "Split split_a 1 2 a a_split0 a_split1");
  EXPECT_EQ(lines[5].substr(0, 7), "Sigmoid");
  EXPECT_NE(lines[6].find(" 2 1 a_split1 b y 0=0"), std::string::npos) << lines[6];
}

TEST_F(Ncnn, OutputsKeepTheirNamesBehindViews) {
  const auto lines = Lines(
      "input %x: float32[1, 8]\nconst %s: int64[4] = [1, 2, 2, 2]\n%y = Reshape(%x, %s)\noutput "
      "%y\noutput %x");
  const std::string all = [&] {
    std::string t;
    for (const auto& l : lines) t += l + "\n";
    return t;
  }();
  EXPECT_NE(all.find("0=2 1=2 2=2"), std::string::npos) << all;
  EXPECT_NE(all.find(" y\n"), std::string::npos) << all;
}

TEST_F(Ncnn, SixDimensionsBecomeFour) {
  // Swin's windows: [1, 8, 7, 8, 7, 96] with the middle turned.
  const auto lines = Lines(
      "input %x: float32[1, 56, 56, 96]\nconst %s: int64[6] = [1, 8, 7, 8, 7, 96]\n"
      "%r = Reshape(%x, %s)\n%t = Transpose(%r) {perm = [0, 1, 3, 2, 4, 5]}\n"
      "const %u: int64[3] = [64, 49, 96]\n%y = Reshape(%t, %u)\noutput %y");
  const auto permute = std::find_if(lines.begin(), lines.end(),
                                    [](const std::string& l) { return l.starts_with("Permute"); });
  ASSERT_NE(permute, lines.end());
  // [8, 7, 8, 672]: the two in the middle change places.
  EXPECT_NE(permute->find(" 0=2"), std::string::npos) << *permute;
}

TEST_F(Ncnn, FiveDimensionsTurnInTwoSteps) {
  // Queries, keys and values of Swin: all five places are taken.
  const auto lines = Lines(
      "input %x: float32[1, 64, 49, 288]\nconst %s: int64[5] = [64, 49, 3, 3, 32]\n"
      "%r = Reshape(%x, %s)\n%t = Transpose(%r) {perm = [2, 0, 3, 1, 4]}\n"
      "const %u: int64[3] = [3, 192, 1568]\n%y = Reshape(%t, %u)\noutput %y");
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                          [](const std::string& l) { return l.starts_with("Permute"); }),
            2);
}

TEST_F(Ncnn, NumbersAreParameters) {
  const auto lines = Lines(
      "input %x: float32[1, 4]\nconst %two: float32[] = [2]\n%a = Sub(%two, %x)\n%b = Div(%a, "
      "%two)\noutput %b");
  EXPECT_NE(lines[3].find("0=7 1=1 2=2.0"), std::string::npos) << lines[3];
  EXPECT_NE(lines[4].find("0=3 1=1 2=2.0"), std::string::npos) << lines[4];
}

TEST_F(Ncnn, WhatItCannotHoldIsNamed) {
  Refused("input %x: float32[2, 3, 8, 8]\n%y = Relu(%x)\noutput %y", {"'x'", "batch", "--shape"});
  Refused("input %x: float32[1, N]\n%y = Relu(%x)\noutput %y", {"'x'", "--shape"});
  Refused("input %x: int64[1, 4]\n%y = Neg(%x)\noutput %y", {"int64", "float32"});
  Refused("input %x: float32[1, 4]\n%y = Sign(%x) \"s\"\noutput %y", {"'s'", "no layer"});
  Refused(
      "input %x: float32[1, 2, 8, 8]\ninput %w: float32[1, 2, 1, 1]\n%y = Conv(%x, %w) "
      "\"c\"\noutput %y",
      {"'c'", "weights"});
  Refused(
      "input %x: float32[1, 2, 9, 9]\n%y = MaxPool(%x) {kernel_shape = [3, 3], dilations = [2, 2]} "
      "\"p\"\noutput %y",
      {"'p'", "dilation"});
  Refused(
      "input %x: float32[1, 3, 1]\ninput %y: float32[1, 1, 4]\n%z = Add(%x, %y) \"a\"\noutput %z",
      {"'a'", "both"});
  Refused(
      "input %x: float32[1, 3, 8, 8]\nconst %s: float32[4] = [1, 1, 0.5, 0.5]\n"
      "%y = Resize(%x, _, %s) {mode = \"nearest\"} \"r\"\noutput %y",
      {"'r'", "nearest"});
}

TEST_F(Ncnn, PathsOfEitherFile) {
  EXPECT_EQ(ParamPath("a/net"), "a/net.param");
  EXPECT_EQ(ParamPath("a/net.param"), "a/net.param");
  EXPECT_EQ(ParamPath("a/net.bin"), "a/net.param");
  auto lost =
      ExportNcnn(*Graph("input %x: float32[4]\n%y = Relu(%x)\noutput %y"), Path("no/such/net"));
  EXPECT_EQ(lost.status().code(), StatusCode::kUnavailable);
}

// Gates, their order and their biases are compared by tests/ncnn_agreement.py.
TEST_F(Ncnn, RecurrentLayers) {
  const auto lines = Lines(R"(
    input %x: float32[5, 1, 3]
    input %h: float32[2, 1, 4]
    const %w: float32[2, 12, 3] = random(1)
    const %r: float32[2, 12, 4] = random(2)
    const %b: float32[2, 24] = random(3)
    %y, %last = GRU(%x, %w, %r, %b, _, %h) {hidden_size = 4, direction = "bidirectional", linear_before_reset = 1} "cell"
    output %y
    output %last)");
  // The outputs have their names, though the layer's blobs are of other extents.
  const std::vector<std::string> want = {
      "Reshape reshape_x 1 1 x x_reshaped 0=3 1=5",
      "Reshape reshape_h 1 1 h h_reshaped 0=4 1=2",
      "GRU cell 2 2 x_reshaped h_reshaped y_0 cell_hidden 0=4 1=72 2=2",
  };
  for (const std::string& line : want)
    EXPECT_NE(std::find(lines.begin(), lines.end(), line), lines.end()) << line;
  for (const std::string name : {"y", "last"}) {
    EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                            [&](const std::string& l) { return l.ends_with(" " + name); }),
              1)
        << name;
  }
  // Behind a flag each: 72 weights, 4 rows of 4 biases for each direction, 96 weights.
  EXPECT_EQ(Bin().size(), 4u * (3 + 72 + 32 + 96));

  const std::string head = R"(
    input %x: float32[5, 1, 3]
    const %w: float32[1, 12, 3] = random(1)
    const %r: float32[1, 12, 4] = random(2)
    )";
  Refused(head + "%y = GRU(%x, %w, %r) {hidden_size = 4} \"cell\"\n output %y",
          {"GRU node 'cell'", "linear_before_reset"});
  Refused(head +
              "%y = GRU(%x, %w, %r) {hidden_size = 4, linear_before_reset = 1, clip = 2.0} "
              "\"cell\"\n output %y",
          {"GRU node 'cell'", "clip"});
  Refused(head +
              "%y = GRU(%x, %w, %r) {hidden_size = 4, linear_before_reset = 1, activations = "
              "[\"HardSigmoid\", \"Tanh\"]} \"cell\"\n output %y",
          {"sigmoid and tanh"});
  Refused(R"(
    input %x: float32[1, 5, 3]
    const %w: float32[1, 4, 3] = random(1)
    const %r: float32[1, 4, 4] = random(2)
    %y = RNN(%x, %w, %r) {hidden_size = 4} "cell"
    output %y)",
          {"its batch must be 1"});
}

}  // namespace
}  // namespace slipway::ncnn
