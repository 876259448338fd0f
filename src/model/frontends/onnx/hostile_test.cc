// Wrong, broken and malicious models: each is refused with an error that names what is wrong,
// quickly and without harm.

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "base/mapped_file.h"
#include "model/frontends/onnx/import.h"
#include "model/frontends/onnx/test_model.h"

namespace slipway::onnx {
namespace {

using ir::Tensor;
namespace fs = std::filesystem;

// The import fails with `code` and a message that has all `parts`.
void ExpectRefused(const Result<std::unique_ptr<ir::Graph>>& r, StatusCode code,
                   std::vector<std::string> parts) {
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.status().code(), code) << r.status().ToString();
  for (const std::string& p : parts) {
    EXPECT_NE(r.status().message().find(p), std::string::npos)
        << "'" << p << "' is not in: " << r.status().message();
  }
}

Result<std::unique_ptr<ir::Graph>> FromText(std::string_view text) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(text.begin(), text.end());
  return ImportOnnxBytes(*bytes, bytes);
}

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "slipway_onnx_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  void Write(const std::string& name, const std::vector<uint8_t>& bytes) const {
    std::ofstream(path_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

TEST(Hostile, NotOnnxAtAll) {
  ExpectRefused(ImportOnnx("/nonexistent/model.onnx"), StatusCode::kNotFound,
                {"/nonexistent/model.onnx"});
  ExpectRefused(ImportOnnx(fs::temp_directory_path().string()), StatusCode::kInvalidArgument,
                {"not a file"});
  ExpectRefused(FromText(""), StatusCode::kInvalidArgument, {"empty"});
  ExpectRefused(FromText("hello, this is no model\n"), StatusCode::kInvalidArgument,
                {"not an ONNX model", "text"});
  ExpectRefused(FromText("\x89PNG\r\n\x1a\n...."), StatusCode::kInvalidArgument, {"PNG"});
  ExpectRefused(FromText("PK\x03\x04 zip"), StatusCode::kInvalidArgument,
                {"ZIP", "torch.onnx.export"});
  ExpectRefused(FromText(std::string("\0\0\0\0\0\0\0\0", 8)), StatusCode::kInvalidArgument,
                {"not an ONNX model"});
  ExpectRefused(FromText(std::string("\x08\x08", 2)), StatusCode::kInvalidArgument,
                {"without a graph"});
  Folder f;
  f.Write("empty.onnx", {});
  ExpectRefused(ImportOnnx(f / "empty.onnx"), StatusCode::kInvalidArgument,
                {"empty.onnx", "empty"});
}

TestModel Good() {
  TestModel m;
  m.Input("x", {"N", "4"}).Output("y").Floats("w", {4}, {1, 2, 3, 4});
  m.Node("Add", {"x", "w"}, {"t"}, {}, "add").Node("Relu", {"t"}, {"y"}, {}, "relu");
  return m;
}

TEST(Hostile, EveryTruncationIsAnError) {
  const auto bytes = Good().Bytes();
  ASSERT_TRUE(Good().Import().ok());
  int refused = 0;
  for (size_t n = 0; n < bytes.size(); ++n) {
    auto cut = std::make_shared<std::vector<uint8_t>>(bytes.begin(),
                                                      bytes.begin() + static_cast<ptrdiff_t>(n));
    auto r = ImportOnnxBytes(*cut, cut);
    refused += !r.ok();
    if (n > bytes.size() / 2 && !r.ok() && n < bytes.size() - 10) {
      EXPECT_EQ(r.status().code(), StatusCode::kDataLoss) << n << ": " << r.status().ToString();
    }
  }
  EXPECT_EQ(refused, static_cast<int>(bytes.size()));
}

TEST(Hostile, FlippedBytesNeverCrash) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto good = Good().Bytes();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (int i = 0; i < 20000 && std::chrono::steady_clock::now() < end; ++i) {
    auto bytes = std::make_shared<std::vector<uint8_t>>(good);
    for (int k = 0, flips = 1 + static_cast<int>(random() % 3); k < flips; ++k) {
      (*bytes)[random() % bytes->size()] ^= static_cast<uint8_t>(1 + random() % 255);
    }
    auto r = ImportOnnxBytes(*bytes, bytes);
    if (!r.ok()) {
      EXPECT_NE(r.status().code(), StatusCode::kInternal) << r.status().ToString();
    }
  }
}

TEST(Hostile, UnknownOperatorsAreAllListed) {
  TestModel m;
  m.Input("x", {"2"}).Output("y").Node("Frobnicate", {"x"}, {"a"}, {}, "first");
  m.Node("FusedGelu", {"a"}, {"b"}, {}, "second", "com.microsoft")
      .Node("Frobnicate", {"b"}, {"y"}, {}, "third");
  ExpectRefused(m.Import(), StatusCode::kUnsupported,
                {"2 operators", "'Frobnicate' (domain ai.onnx, opset 17; node 'first')",
                 "'FusedGelu' (domain 'com.microsoft'", "'second'"});
  ImportOptions keep;
  keep.keep_unknown_operators = true;
  auto g = m.Import(keep);
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  EXPECT_EQ((*g)->nodes().size(), 3u);
}

TEST(Hostile, ControlFlowWithoutBodiesIsRefused) {
  TestModel m;
  m.Input("c", {}, DType::kBool).Output("y").Node("If", {"c"}, {"y"}, {}, "branch");
  ExpectRefused(m.Import(), StatusCode::kInvalidArgument, {"'branch'", "'then_branch' is missing"});
}

TEST(Hostile, Opsets) {
  auto with = [](int opset) {
    TestModel m(opset);
    m.Input("x", {"2"}).Output("y").Node("Relu", {"x"}, {"y"});
    return m.Import();
  };
  EXPECT_TRUE(with(1).ok());
  EXPECT_TRUE(with(7).ok());
  EXPECT_TRUE(with(26).ok());
  ExpectRefused(with(27), StatusCode::kUnsupported, {"opset 27"});
  ExpectRefused(with(0), StatusCode::kUnsupported, {"opset 0"});
}

TEST(Hostile, BrokenWiring) {
  TestModel missing;
  missing.Input("x", {"2"}).Output("y").Node("Add", {"x", "nothing"}, {"y"}, {}, "add");
  ExpectRefused(missing.Import(), StatusCode::kInvalidArgument, {"'add'", "'nothing'"});
  TestModel twice;
  twice.Input("x", {"2"})
      .Output("y")
      .Node("Relu", {"x"}, {"y"}, {}, "a")
      .Node("Neg", {"x"}, {"y"}, {}, "b");
  ExpectRefused(twice.Import(), StatusCode::kInvalidArgument, {"'y'", "twice", "'b'"});
  TestModel shadow;
  shadow.Input("x", {"2"}).Output("x").Node("Relu", {"x"}, {"x"}, {}, "a");
  ExpectRefused(shadow.Import(), StatusCode::kInvalidArgument, {"'x'", "twice"});
  TestModel inputs;
  inputs.Input("x", {"2"}).Input("x", {"2"}).Output("x");
  ExpectRefused(inputs.Import(), StatusCode::kInvalidArgument, {"'x'", "twice"});
  TestModel cycle;
  cycle.Input("x", {"2"})
      .Output("y")
      .Node("Add", {"x", "b"}, {"a"}, {}, "one")
      .Node("Relu", {"a"}, {"b"}, {}, "two")
      .Node("Neg", {"b"}, {"y"}, {}, "three");
  ExpectRefused(cycle.Import(), StatusCode::kInvalidArgument, {"cycle", "'one'", "'two'"});
  TestModel self;
  self.Output("y").Node("Relu", {"y"}, {"y"}, {}, "self");
  ExpectRefused(self.Import(), StatusCode::kInvalidArgument, {"cycle", "'self'"});
  TestModel output;
  output.Input("x", {"2"}).Output("nothing").Node("Relu", {"x"}, {"y"});
  ExpectRefused(output.Import(), StatusCode::kInvalidArgument, {"'nothing'", "output"});
  TestModel none;
  none.Input("x", {"2"}).Node("Relu", {"x"}, {"y"});
  ExpectRefused(none.Import(), StatusCode::kInvalidArgument, {"no outputs"});
}

TEST(Hostile, WrongNodes) {
  auto node = [](const std::string& op, std::vector<std::string> inputs,
                 std::vector<WireWriter> attributes) {
    TestModel m;
    m.Input("x", {"2", "3"}).Output("y").Node(op, inputs, {"y"}, attributes, "node");
    return m.Import();
  };
  ExpectRefused(node("Add", {"x"}, {}), StatusCode::kInvalidArgument, {"'node'"});
  ExpectRefused(node("Relu", {"x", "x"}, {}), StatusCode::kInvalidArgument, {"'node'"});
  ExpectRefused(node("Relu", {"x"}, {TestModel::Int("banana", 1)}), StatusCode::kInvalidArgument,
                {"'node'", "'banana'"});
  ExpectRefused(node("Transpose", {"x"}, {TestModel::Text("perm", "no")}),
                StatusCode::kInvalidArgument, {"'node'", "perm"});
  ExpectRefused(node("Concat", {"x", "x"}, {}), StatusCode::kInvalidArgument, {"'node'", "axis"});
  ExpectRefused(node("Cast", {"x"}, {TestModel::Int("to", 8)}), StatusCode::kUnsupported,
                {"'node'", "strings"});
  ExpectRefused(node("Cast", {"x"}, {TestModel::Int("to", 99)}), StatusCode::kInvalidArgument,
                {"'node'", "99"});
  ExpectRefused(node("Transpose", {"x"}, {TestModel::IntList("perm", {0, 7})}),
                StatusCode::kInvalidArgument, {"'node'"});
  ExpectRefused(node("MatMul", {"x", "x"}, {}), StatusCode::kInvalidArgument, {"'node'"});
  ExpectRefused(node("Softmax", {"x"}, {TestModel::Int("axis", 5)}), StatusCode::kInvalidArgument,
                {"'node'"});
}

TEST(Hostile, ImpossibleShapes) {
  const std::string huge = std::to_string(int64_t{1} << 62);
  TestModel input;
  input.Input("x", {huge, "8"}).Output("y").Node("Relu", {"x"}, {"y"});
  ExpectRefused(input.Import(), StatusCode::kInvalidArgument, {"'x'", "impossible"});
  auto tensor = [](std::vector<int64_t> dims, const std::vector<uint8_t>& raw, int64_t type = 1) {
    TestModel m;
    WireWriter t;
    for (int64_t d : dims) t.Int(1, d);
    t.Int(2, type);
    t.Text(8, "w");
    t.Blob(9, raw);
    m.graph.Message(5, t);
    m.Output("w");
    auto bytes = std::make_shared<std::vector<uint8_t>>(m.Bytes());
    return ImportOnnxBytes(*bytes, bytes);
  };
  const std::vector<uint8_t> raw(16, 0);
  EXPECT_TRUE(tensor({4}, raw).ok());
  ExpectRefused(tensor({int64_t{1} << 62, 4}, raw), StatusCode::kInvalidArgument,
                {"'w'", "impossible"});
  ExpectRefused(tensor({-1}, raw), StatusCode::kInvalidArgument, {"'w'"});
  ExpectRefused(tensor({5}, raw), StatusCode::kInvalidArgument, {"'w'", "needs 20 bytes", "16"});
  ExpectRefused(tensor({3}, raw), StatusCode::kInvalidArgument, {"'w'", "needs 12 bytes"});
  ExpectRefused(tensor(std::vector<int64_t>(13, 1), raw), StatusCode::kUnsupported,
                {"'w'", "13 dimensions"});
  ExpectRefused(tensor({2}, raw, 8), StatusCode::kUnsupported, {"'w'", "strings"});
  ExpectRefused(tensor({2}, raw, 15), StatusCode::kUnsupported, {"'w'", "complex"});
  ExpectRefused(tensor({2}, raw, 77), StatusCode::kUnsupported, {"'w'", "77"});
  // A tensor that claims terabytes without holding them costs nothing.
  TestModel m;
  WireWriter t;
  t.Int(1, int64_t{1} << 40);
  t.Int(2, 1);
  t.Text(8, "w");
  m.graph.Message(5, t);
  m.Output("w");
  ExpectRefused(m.Import(), StatusCode::kInvalidArgument, {"'w'"});
}

TEST(Hostile, OtherKindsOfValues) {
  TestModel strings;
  strings.Input("x", {"2"}, DType::kString).Output("x");
  ExpectRefused(strings.Import(), StatusCode::kUnsupported, {"'x'", "strings"});
  // A TypeProto in so many others; each is field `id` of the next, whose element is field 1.
  const auto typed = [](std::vector<uint32_t> ids, const WireWriter& innermost) {
    WireWriter type = innermost, info;
    for (uint32_t id : ids) {
      WireWriter holder, outer;
      holder.Message(1, type);
      outer.Message(id, holder);
      type = outer;
    }
    info.Text(1, "x");
    info.Message(2, type);
    TestModel m;
    m.graph.Message(11, info);
    m.Output("x");
    return m.Import();
  };
  WireWriter floats, strings_type, map, none;
  floats.Int(1, 1);
  strings_type.Int(1, 8);
  WireWriter f, s8, dictionary;
  f.Message(1, floats);
  s8.Message(1, strings_type);
  dictionary.Message(5, map);
  EXPECT_TRUE(typed({4}, f).ok());
  EXPECT_TRUE(typed({9}, f).ok());
  EXPECT_TRUE(typed({4, 9}, f).ok());
  const std::string nested = "a sequence or an optional of something else than tensors";
  ExpectRefused(typed({4, 4}, f), StatusCode::kUnsupported, {"'x'", nested});
  ExpectRefused(typed({9, 4}, f), StatusCode::kUnsupported, {"'x'", nested});
  ExpectRefused(typed({9, 9}, f), StatusCode::kUnsupported, {"'x'", nested});
  ExpectRefused(typed({4}, none), StatusCode::kUnsupported, {"'x'", nested});
  ExpectRefused(typed(std::vector<uint32_t>(5000, 4), f), StatusCode::kUnsupported, {"'x'", nested});
  ExpectRefused(typed({4}, s8), StatusCode::kUnsupported, {"'x'", "strings"});
  ExpectRefused(typed({4}, dictionary), StatusCode::kUnsupported, {"'x'", "a map"});
  TestModel sparse;
  WireWriter values, s;
  values.Text(8, "sparse_w");
  values.Int(2, 1);
  s.Message(1, values);
  sparse.graph.Message(15, s);
  sparse.Input("x", {"2"}).Output("x");
  ExpectRefused(sparse.Import(), StatusCode::kUnsupported, {"'sparse_w'", "sparse"});
}

TEST(Hostile, RuinedWeights) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  auto matmul = [](float bad) {
    TestModel m;
    m.Input("x", {"1", "2"})
        .Output("y")
        .Floats("w", {2, 2}, {1, bad, 0, 1})
        .Node("MatMul", {"x", "w"}, {"y"}, {}, "mm");
    return m;
  };
  ExpectRefused(matmul(kNan).Import(), StatusCode::kInvalidArgument, {"'w'", "NaN"});
  ExpectRefused(matmul(kInf).Import(), StatusCode::kInvalidArgument, {"'w'", "infinity", "'mm'"});
  ImportOptions trusting;
  trusting.check_finite = false;
  EXPECT_TRUE(matmul(kNan).Import(trusting).ok());
  TestModel mask;  // an infinite mask is no ruin
  mask.Input("x", {"1", "2"})
      .Output("y")
      .Floats("m", {2}, {0, -kInf})
      .Node("Add", {"x", "m"}, {"y"});
  EXPECT_TRUE(mask.Import().ok());
}

TestModel WithExternal(const std::string& location, const std::string& offset,
                       const std::string& length) {
  TestModel m;
  WireWriter t;
  t.Int(1, 4);
  t.Int(2, 1);
  t.Text(8, "w");
  for (const auto& [key, value] : {std::pair<std::string, std::string>{"location", location},
                                   {"offset", offset},
                                   {"length", length}}) {
    if (value.empty()) continue;
    WireWriter pair;
    pair.Text(1, key);
    pair.Text(2, value);
    t.Message(13, pair);
  }
  t.Int(14, 1);
  m.graph.Message(5, t);
  m.Input("x", {"4"}).Output("y").Node("Add", {"x", "w"}, {"y"});
  return m;
}

TEST(External, DataStaysInsideTheModelsFolder) {
  Folder f;
  fs::create_directory(f.path() / "model");
  fs::create_directory(f.path() / "model" / "sub");
  std::vector<uint8_t> data(32, 0);
  data[16 + 3] = 0x3f;
  data[16 + 2] = 0x80;  // 1.0f at 16
  f.Write("model/w.bin", data);
  f.Write("model/sub/w.bin", data);
  f.Write("secret.bin", data);
  fs::create_symlink("../secret.bin", f.path() / "model" / "link.bin");
  fs::create_symlink("w.bin", f.path() / "model" / "inner.bin");
  auto import = [&](const std::string& location, const std::string& offset = "",
                    const std::string& length = "") {
    f.Write("model/m.onnx", WithExternal(location, offset, length).Bytes());
    return ImportOnnx(f / "model/m.onnx");
  };
  auto good = import("w.bin", "16", "16");
  ASSERT_TRUE(good.ok()) << good.status().ToString();
  EXPECT_EQ((*good)->FindValue("w")->constant()->ToDoubles()[0], 1.0);
  EXPECT_TRUE(import("sub/w.bin").ok());
  EXPECT_TRUE(import("inner.bin").ok());
  EXPECT_TRUE(import("sub/../w.bin").ok());
  ExpectRefused(import("../secret.bin"), StatusCode::kInvalidArgument, {"'w'", "outside"});
  ExpectRefused(import("link.bin"), StatusCode::kInvalidArgument, {"'w'", "outside"});
  ExpectRefused(import(f / "model/w.bin"), StatusCode::kInvalidArgument, {"'w'", "relative"});
  ExpectRefused(import("nothing.bin"), StatusCode::kNotFound, {"'w'", "nothing.bin"});
  ExpectRefused(import("sub"), StatusCode::kInvalidArgument, {"'w'", "not a file"});
  ExpectRefused(import("w.bin", "17"), StatusCode::kDataLoss, {"'w'", "only 32"});
  ExpectRefused(import("w.bin", "16", "12"), StatusCode::kInvalidArgument, {"'w'", "length 12"});
  ExpectRefused(import("w.bin", "-4"), StatusCode::kInvalidArgument, {"offset"});
  ExpectRefused(import("w.bin", "9223372036854775807"), StatusCode::kDataLoss, {"'w'"});
  ExpectRefused(import("w.bin", "99999999999999999999"), StatusCode::kInvalidArgument, {"offset"});
  ExpectRefused(WithExternal("w.bin", "", "").Import(), StatusCode::kUnsupported,
                {"'w'", "memory"});
}

TEST(Hostile, LimitsAndQuadraticTraps) {
  TestModel m;
  m.Input("x", {"2"}).Output("v0");
  for (int i = 0; i < 50; ++i) m.Node("Relu", {"x"}, {"v" + std::to_string(i)});
  ImportOptions few;
  few.limits.nodes = 10;
  ExpectRefused(m.Import(few), StatusCode::kResourceExhausted, {"more than 10 nodes"});
  // Many nodes of one name, each with a constant made beside it.
  TestModel same(9);
  same.Input("x", {"2"});
  constexpr int kNodes = 20000;
  std::string last = "x";
  for (int i = 0; i < kNodes; ++i) {
    std::string next = "v" + std::to_string(i);
    same.Node("Clip", {last}, {next}, {TestModel::Float("min", 0)}, "same");
    last = next;
  }
  same.Output(last);
  const auto start = std::chrono::steady_clock::now();
  auto g = same.Import();
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace slipway::onnx
