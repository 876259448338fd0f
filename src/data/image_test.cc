#include "data/image.h"

#include <random>

#include "base/mapped_file.h"
#include "data/preprocess.h"
#include "data/data_test_util.h"

namespace slipway::data {
namespace {

Image Pattern(int64_t h, int64_t w, int64_t c) {
  Image out{h, w, c, {}};
  for (int64_t y = 0; y < h; ++y) {
    for (int64_t x = 0; x < w; ++x) {
      for (int64_t k = 0; k < c; ++k) {
        out.pixels.push_back(static_cast<uint8_t>(x * x * 7 + y * y * 13 + x * y * 5 + k * 61));
      }
    }
  }
  return out;
}

// The digests are of Pillow 9.4's Image.resize on the same pattern.
TEST(Resize, EqualsPillowBitByBit) {
  const auto digest = [](int64_t c, int64_t h, int64_t w, Resample f) {
    return HexOf(Resize(Pattern(37, 53, c), h, w, f).pixels);
  };
  EXPECT_EQ(digest(3, 16, 20, Resample::kBilinear),
            "2fe791e25c8a0d14c8c7af557f447696ee0565ddffae909f20e1f62db0aea2d5");
  EXPECT_EQ(digest(3, 80, 61, Resample::kBilinear),
            "f315041c05a1ff65550a197d0897cfb0e2ff130c09ac5ca4952d797a844c0cbb");
  EXPECT_EQ(digest(1, 16, 53, Resample::kBilinear),
            "9f6bcb8de04c77e1b17ce1aa94df107ed51cc02b306f74f937dfb5c67ab32293");
  EXPECT_EQ(digest(3, 16, 20, Resample::kBicubic),
            "8e2eea0002e0be2075af6ca6c4b7fb46a2d4cc2fadd46b6c7606ea48594919be");
  EXPECT_EQ(digest(3, 90, 100, Resample::kBicubic),
            "8321ed87ed684ed0b3d6ea9dfd00c6461f0c344e83f05639b71fdc3b7fcc41a0");
  EXPECT_EQ(digest(3, 16, 20, Resample::kNearest),
            "aa30d5e96609052fc5f2ca5ee16a196b67fc5ae0d1b2fc00d75c994cebc74b49");
  EXPECT_EQ(digest(3, 70, 99, Resample::kNearest),
            "0fa8130919ceb1b672ac9ca70da7854b0c36a9adc56c8b896bc8f7b96dd2ec5d");
  EXPECT_EQ(HexOf(ToGray(Pattern(37, 53, 3)).pixels),
            "bbf331d31e4f523356faaf563b47260aaa6eb07b08de0db987606842e936c193");
}

// Pillow: resize short side to 256, centre crop 224 of a real photo, decoded by the same libjpeg.
TEST(Preprocess, PhotoEqualsPillowAndTorchvision) {
  const std::string path = SharedData("imagenet_sample/n01440764_tench.JPEG");
  SKIP_WITHOUT(path);
  const std::string file = ReadFile(path).value();
  const auto image =
      DecodeImage({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, path);
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_EQ(image->width, 341);
  Preprocess p;
  p.resize = {256};
  p.crop = {224};
  p.scale = 1;
  p.layout = Layout::kNhwc;
  std::vector<float> out(224 * 224 * 3);
  ASSERT_TRUE(Apply(p, *image, path, out).ok());
  double sum = 0;
  for (float v : out) sum += static_cast<double>(v);
  EXPECT_NEAR(sum, 17197242,
              17197242 * 1e-4);  // another libjpeg may differ by a step here and there
}

TEST(DecodeImage, TruncatedAndGarbledFilesAreErrors) {
  const std::string path = SharedData("photos/2.jpg");
  SKIP_WITHOUT(path);
  const std::string file = ReadFile(path).value();
  const auto decode = [&](const std::string& bytes) {
    const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
    return DecodeImage(exact, "photo.jpg").status();
  };
  EXPECT_TRUE(decode(file).ok());
  EXPECT_EQ(decode(file.substr(0, file.size() / 2)).code(), StatusCode::kDataLoss);
  EXPECT_MESSAGE(decode(file.substr(0, file.size() / 2)), "photo.jpg");
  EXPECT_FALSE(decode(file.substr(0, 4)).ok());
  EXPECT_FALSE(decode("").ok());
  EXPECT_EQ(decode("GIF89a").code(), StatusCode::kUnsupported);
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 60; ++i) {
    std::string bad = file.substr(0, 2000 + random() % 8000);
    for (int k = 0; k < 8; ++k) bad[2 + random() % (bad.size() - 2)] = static_cast<char>(random());
    (void)decode(bad);
  }
}

// A 2x2 RGBA PNG with known pixels, written by Pillow.
TEST(DecodeImage, PngDropsAlpha) {
  const uint8_t png[] = {0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d,
                         0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02,
                         0x08, 0x06, 0x00, 0x00, 0x00, 0x72, 0xb6, 0x0d, 0x24, 0x00, 0x00, 0x00,
                         0x1a, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0xf0,
                         0x9f, 0xe1, 0x3f, 0x03, 0x03, 0x03, 0x03, 0xc3, 0xff, 0x06, 0x2e, 0x11,
                         0x39, 0x0d, 0x00, 0x34, 0x29, 0x04, 0xe1, 0x36, 0x2f, 0xbd, 0xea, 0x00,
                         0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};
  const auto image = DecodeImage(png, "a.png");
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_EQ(image->channels, 3);
  EXPECT_EQ(image->pixels, (std::vector<uint8_t>{255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30}));
  for (size_t n = 0; n < sizeof png; ++n) {
    const std::vector<uint8_t> cut(png, png + n);
    (void)DecodeImage(cut, "cut.png");
  }
  EXPECT_FALSE(DecodeImage(std::span(png, sizeof png / 2), "cut.png").ok());
}

TEST(Preprocess, YamlRoundTripsAndErrorsNameTheLine) {
  const auto parse = [](const std::string& text) { return ParsePreprocess(text, "p.yaml"); };
  const auto p = parse(
      "resize: [240, 320]\ncrop: 200\ncolor: BGR\nscale: 1\nmean: [1, 2, 3]\nstd: 2\nlayout: "
      "NHWC\nfilter: bicubic\n");
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_EQ(p->resize, (std::vector<int64_t>{240, 320}));
  EXPECT_EQ(p->std, std::vector<float>{2});
  const auto again = parse(PreprocessToYaml(*p));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *p);
  EXPECT_EQ(*parse(PreprocessToYaml(Preprocess{})), Preprocess{});
  EXPECT_MESSAGE(parse("scale: 1\nresise: 3\n").status(), "p.yaml line 2: 'resise'");
  EXPECT_MESSAGE(parse("scale: 1\nmean: [a]\n").status(), "line 2");
  EXPECT_MESSAGE(parse("std: 0\n").status(), "divide by zero");
  EXPECT_MESSAGE(parse("resize: -3\n").status(), "line 1");
  EXPECT_MESSAGE(parse("crop: 1.5\n").status(), "whole");
  EXPECT_MESSAGE(parse("color: CMYK\n").status(), "RGB, BGR or gray");
  EXPECT_MESSAGE(parse("a: [1,\nb").status(), "line");
  EXPECT_MESSAGE(parse("- 1\n- 2\n").status(), "line 1");
  EXPECT_MESSAGE(parse("scale: .nan\n").status(), "finite");
}

TEST(Preprocess, OrderOfChannelsAndLayouts) {
  const Image image{1, 2, 3, {10, 20, 30, 40, 50, 60}};
  Preprocess p;
  p.scale = 1;
  p.color = ColorOrder::kBgr;
  p.mean = {1, 2, 3};  // in the order of the output: B, G, R
  p.std = {1, 1, 2};
  std::vector<float> out(6);
  ASSERT_TRUE(Apply(p, image, "i", out).ok());
  EXPECT_EQ(out, (std::vector<float>{29, 59, 18, 48, 3.5, 18.5}));
  p.layout = Layout::kNhwc;
  ASSERT_TRUE(Apply(p, image, "i", out).ok());
  EXPECT_EQ(out, (std::vector<float>{29, 18, 3.5, 59, 48, 18.5}));
  p = Preprocess{};
  p.scale = 1;
  p.color = ColorOrder::kRgb;
  std::vector<float> rgb(6);
  ASSERT_TRUE(Apply(p, Image{1, 2, 1, {7, 9}}, "gray", rgb).ok());
  EXPECT_EQ(rgb, (std::vector<float>{7, 9, 7, 9, 7, 9}));
  p.mean = {1, 2};
  EXPECT_MESSAGE(Apply(p, image, "i", out), "3 channels");
  p = Preprocess{};
  p.crop = {4};
  EXPECT_MESSAGE(Apply(p, image, "i", out), "crop 4x4 does not fit in 2x1");
}

}  // namespace
}  // namespace slipway::data
