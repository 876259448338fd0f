#include "engine/compiler/platform.h"

#include <gtest/gtest.h>

#include "engine/compiler/sparsity_pattern.h"

namespace slipway::compiler {
namespace {

constexpr char kGood[] = R"(name: chip-int8
openness: L2
arch: aarch64
backends: [reference]
precision: int8
scheme:
  weights: {bits: 8, narrow: true, per: channel}
  activations: {bits: 8, sign: auto}
  operators: [Conv, Linear]
)";

TEST(Platform, ReadsEveryKey) {
  auto p = ParsePlatform(kGood, "chip.yaml");
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_EQ(p->name, "chip-int8");
  EXPECT_EQ(p->scheme.weights.per, Granularity::kChannel);
  EXPECT_TRUE(p->scheme.weights.narrow);
  EXPECT_EQ(p->scheme.activations.sign, Sign::kAuto);
  EXPECT_EQ(p->scheme.operators.size(), 2u);
}

TEST(Platform, ReadsTheOddSchemes) {
  auto p = ParsePlatform(R"(name: odd
openness: L1
backends: [reference]
simulated: true
export: vitis
scheme:
  weights: {bits: 4, sign: unsigned, symmetric: false, per: group, group: 32}
  activations: float
  bias: {kind: power_of_two, bits: 8}
  end_bits: 8
  outputs: true
  shared: [Concat]
  operators: [Linear]
)",
                         "odd.yaml");
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_TRUE(p->simulated);
  EXPECT_EQ(p->export_format, "vitis");
  EXPECT_TRUE(p->scheme.weight_only);
  EXPECT_EQ(p->scheme.bias, BiasKind::kPowerOfTwo);
  EXPECT_EQ(p->scheme.bias_bits, 8);
  EXPECT_EQ(p->scheme.end_bits, 8);
  EXPECT_TRUE(p->scheme.outputs);
  EXPECT_EQ(p->scheme.shared, std::vector<std::string>{"Concat"});
}

TEST(Platform, MistakesAreNamedWithTheirLine) {
  struct Case {
    std::string from, to, expected;
  };
  const Case cases[] = {
      {"openness: L2", "openness: L9", "chip.yaml:2"},
      {"openness: L2\n", "", "no key 'openness'"},
      {"bits: 8, narrow", "bits: 99, narrow", "chip.yaml:7"},
      {"per: channel", "per: chanel", "it may be tensor, channel, group"},
      {"per: channel", "per: group", "needs 'group'"},
      {"operators: [Conv, Linear]", "operator: [Conv]", "unknown key 'operator'"},
      {"backends: [reference]", "backends: []", "'backends' is empty"},
      {"precision: int8", "precision: int9", "it may be float32, bfloat16, float16, int8"},
      {"arch: aarch64", "arch: [", "chip.yaml:"},
      {"narrow: true, per: channel", "narrow: true, kind: logarithmic", "not narrow"},
      {"{bits: 8, sign: auto}", "floating", "must be a mapping"},
      {"  operators", "  bias: int32\n  operators", "chip.yaml:9: scheme key 'bias' is 'int32'"},
      {"  operators", "  bias: {kind: products, bits: 8}\n  operators", "has 32 bits"},
      {"  operators", "  bias: {kind: power_of_two}\n  operators", "from 2 to 16"},
      {"  operators", "  end_bits: 17\n  operators", "'end_bits' must be from 1 to 16"},
      {"narrow: true", "sign: unsigned", "leaves no negative ones"},
      {"scheme:", "sparsity: [2:4, 4:2]\nscheme:",
       "chip.yaml:6: platform key 'sparsity': sparsity"},
      {"scheme:", "sparsity: 2:4\nscheme:", "'sparsity' must be a list"},
      {"scheme:", "sparsity: [block:8x4@0.5]\nscheme:", "write 'block:8x4@0.5' as block:8x4"},
      {"scheme:", "plugins: liba.so\nscheme:",
       "chip.yaml:6: platform key 'plugins' must be a list"},
      {"scheme:", "plugins: [[liba.so]]\nscheme:", "'plugins' must be a list of paths"},
      {"scheme:", "plugins: [{}]\nscheme:", "'plugins' must be a list of paths"},
      {"scheme:", "plugins: [{arm64: liba.so}]\nscheme:", "it may be x86_64, aarch64 or riscv64"},
      {"scheme:", "plugins: [{aarch64: [liba.so]}]\nscheme:", "'plugins' must be a list of paths"},
      {"scheme:", "device: toaster\nscheme:", "chip.yaml:6: platform key 'device' is 'toaster'"},
      {"scheme:", "device: ssh\nscheme:", "chip.yaml:6: platform key 'device' is 'ssh'"},
      {"scheme:", "device: 'command:'\nscheme:",
       "chip.yaml:6: platform key 'device' is 'command:'"},
  };
  for (const Case& c : cases) {
    std::string text = kGood;
    text.replace(text.find(c.from), c.from.size(), c.to);
    auto p = ParsePlatform(text, "chip.yaml");
    ASSERT_FALSE(p.ok()) << c.to;
    EXPECT_EQ(p.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(p.status().message().find(c.expected), std::string::npos) << p.status().message();
  }
}

TEST(Platform, Float16IsForArm) {
  const auto parse = [](const std::string& arch) {
    return ParsePlatform("name: a\nopenness: L2\nbackends: [reference]\nprecision: float16\narch: " +
                             arch + "\n",
                         "a.yaml");
  };
  EXPECT_TRUE(parse("aarch64").ok());
  const auto p = parse("x86_64");
  ASSERT_FALSE(p.ok());
  EXPECT_NE(p.status().message().find("aarch64"), std::string::npos) << p.status().message();
}

TEST(Platform, Devices) {
  const auto with = [](const std::string& lines) {
    std::string text = kGood;
    text.insert(text.find("scheme:"), lines);
    auto p = ParsePlatform(text, "boards/chip.yaml");
    EXPECT_TRUE(p.ok()) << p.status().ToString();
    return *p;
  };
  EXPECT_TRUE(with("device: qemu-riscv64\nemulated: false\n").emulated);  // its times are no times
  EXPECT_FALSE(with("device: ssh:board\n").emulated);
  EXPECT_EQ(with("device: command:own.yaml\n").device, "command:boards/own.yaml");
  EXPECT_EQ(with("device: command:/etc/own.yaml\n").device, "command:/etc/own.yaml");
}

TEST(Platform, PluginsByArchitecture) {
  std::string text = kGood;
  text.insert(text.find("scheme:"),
              "plugins: [liba.so, {x86_64: libb.so, aarch64: arm/libb.so}, {aarch64: libc.so}]\n");
  const auto p = ParsePlatform(text, "chip.yaml");
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_EQ(p->plugins, std::vector<std::string>{"liba.so"});
  ASSERT_EQ(p->arch_plugins.size(), 3u);
  EXPECT_EQ(p->arch_plugins[1].arch + " " + p->arch_plugins[1].path, "aarch64 arm/libb.so");
  EXPECT_EQ(p->arch_plugins[2].path, "libc.so");
}

TEST(Platform, SparsityThatItGainsFrom) {
  std::string text = kGood;
  text.insert(text.find("scheme:"), "sparsity: [2:4, block:8x4]\n");
  auto p = ParsePlatform(text, "chip.yaml");
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_TRUE(Gains(p->sparsity, *ParseSparsity("2:4")));
  EXPECT_TRUE(Gains(p->sparsity, *ParseSparsity("block:8x4@0.75")));
  EXPECT_FALSE(Gains(p->sparsity, *ParseSparsity("1:4")));
  EXPECT_FALSE(Gains(p->sparsity, *ParseSparsity("block:4x4@0.75")));
  EXPECT_FALSE(Gains({}, *ParseSparsity("2:4")));
}

TEST(Sparsity, PatternsAndMistakes) {
  for (const char* text : {"2:4", "1:2", "4:8", "255:256", "block:8x4@0.5", "block:1x16@0.75"}) {
    auto p = ParseSparsity(text);
    ASSERT_TRUE(p.ok()) << p.status().message();
    EXPECT_EQ(p->ToString(), text);
  }
  EXPECT_EQ(ParseSparsity("block:8x4@0.5")->span(), 4);
  for (const auto& [text, expected] :
       std::vector<std::pair<const char*, const char*>>{{"", "is no pattern"},
                                                        {"half", "is no pattern"},
                                                        {"2", "is no pattern"},
                                                        {"2:4:8", "is no pattern"},
                                                        {"2:4 ", "is no pattern"},
                                                        {"-1:4", "leaves no weights"},
                                                        {"0:4", "leaves no weights"},
                                                        {"5:4", "leaves all weights"},
                                                        {"4:4", "leaves all weights"},
                                                        {"1:1", "needs M from 2"},
                                                        {"2:257", "needs M from 2"},
                                                        {"2:99999999999", "is no pattern"},
                                                        {"block:8x4", "needs a ratio"},
                                                        {"block:8x4@", "has no such ratio"},
                                                        {"block:8x4@half", "has no such ratio"},
                                                        {"block:8x4@0", "between 0 and 1"},
                                                        {"block:8x4@1", "between 0 and 1"},
                                                        {"block:8x4@1.5", "between 0 and 1"},
                                                        {"block:8x4@-0.5", "between 0 and 1"},
                                                        {"block:8x4@nan", "between 0 and 1"},
                                                        {"block:0x4@0.5", "R and C from 1"},
                                                        {"block:8x400@0.5", "R and C from 1"},
                                                        {"block:8@0.5", "is no pattern"}}) {
    auto p = ParseSparsity(text);
    ASSERT_FALSE(p.ok()) << text;
    EXPECT_NE(p.status().message().find(expected), std::string::npos) << p.status().message();
    EXPECT_NE(p.status().message().find("as in 2:4"), std::string::npos);
  }
}

TEST(Platform, UnknownNamesListWhatThereIs) {
  auto p = FindPlatform("no-such-chip", {SLIPWAY_SOURCE_DIR "/platforms"});
  ASSERT_FALSE(p.ok());
  EXPECT_NE(p.status().message().find("x86-onednn-int8"), std::string::npos);
  EXPECT_TRUE(FindPlatform("x86-auto", {SLIPWAY_SOURCE_DIR "/platforms"}).ok());
}

TEST(Platform, EveryShippedFileIsRight) {
  auto all = LoadPlatforms({SLIPWAY_SOURCE_DIR "/platforms"});
  ASSERT_TRUE(all.ok()) << all.status().ToString();
  EXPECT_GE(all->size(), 6u);
}

}  // namespace
}  // namespace slipway::compiler
