#pragma once
// What happens between an 8-bit image and the network's input, as a preprocess.yaml says it:
//
//   resize: 256            # the short side, aspect kept; or [height, width]
//   crop: 224              # the middle square; or [height, width]
//   color: RGB             # RGB | BGR | gray; without it an image keeps its channels
//   scale: 0.00392156862745098
//   mean: [0.485, 0.456, 0.406]
//   std: [0.229, 0.224, 0.225]
//   layout: NCHW           # NCHW | NHWC
//   filter: bilinear       # bilinear | bicubic | nearest, with Pillow's antialiasing
//
// value = (pixel * scale - mean[c]) / std[c], where c counts the channels in the order of `color`.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/image.h"

namespace slipway::data {

enum class ColorOrder : int { kAsIs = 0, kRgb = 1, kBgr = 2, kGray = 3 };
enum class Layout : int { kNchw = 0, kNhwc = 1 };

struct Preprocess {
  // {} = none, {short side} or {height, width}.
  std::vector<int64_t> resize;
  std::vector<int64_t> crop;  // {} = none, {side} or {height, width}
  ColorOrder color = ColorOrder::kAsIs;
  float scale = 1.0f / 255.0f;
  std::vector<float> mean;  // empty = 0; one value = of every channel
  std::vector<float> std;   // empty = 1
  Layout layout = Layout::kNchw;
  Resample filter = Resample::kBilinear;

  bool operator==(const Preprocess&) const = default;
};

// Errors name the file and the line: unknown keys, wrong types, zero in std, lengths that do not
// fit.
Result<Preprocess> ParsePreprocess(const std::string& yaml, const std::string& name);
Result<Preprocess> ReadPreprocess(const std::string& path);
// The YAML form, which parses back to an equal value.
std::string PreprocessToYaml(const Preprocess& p);

// Shape of the tensor that an image of this size becomes, without the batch axis: [C, H, W] or [H,
// W, C].
Result<std::vector<int64_t>> OutputDims(const Preprocess& p, int64_t height, int64_t width,
                                        int64_t channels, const std::string& name);
// Resize, crop, colour, normalise, lay out. `out` has exactly the elements of OutputDims.
Status Apply(const Preprocess& p, const Image& image, const std::string& name,
             std::span<float> out);

}  // namespace slipway::data
