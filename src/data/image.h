#pragma once
// 8-bit images: decoding (JPEG by libjpeg, PNG by libpng) and resampling with the arithmetic of
// Pillow, which torchvision and most training code use, so that a deployed pipeline sees the pixels
// that the network was trained on.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::data {

// Interleaved rows, top to bottom: pixels[(y * width + x) * channels + c]; channels 1 (gray) or 3
// (RGB).
struct Image {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;
};

// Explicit values: they are stored with pipelines.
enum class Resample : int { kNearest = 0, kBilinear = 1, kBicubic = 2 };

// JPEG or PNG by its first bytes. Alpha is dropped, palettes expanded, 16 bits cut to 8, CMYK
// converted; the EXIF orientation is not applied (as in torchvision). `name` is for messages.
// DataLoss when damaged or truncated, Unsupported for other formats, ResourceExhausted beyond 2^27
// pixels.
Result<Image> DecodeImage(std::span<const uint8_t> file, const std::string& name);
bool IsImageName(const std::string& path);  // .jpg .jpeg .png in any case

// Pillow's Image.resize: the filter is widened by the scale when shrinking (antialias), horizontal
// pass first, 8-bit between passes, fixed-point coefficients of 22 bits: equal to Pillow bit by
// bit. kNearest takes the pixel under the centre.
Image Resize(const Image& in, int64_t height, int64_t width, Resample filter = Resample::kBilinear);

// The rectangle at (top, left), which must lie inside.
Image Crop(const Image& in, int64_t top, int64_t left, int64_t height, int64_t width);

// ITU-R 601-2 luma (Pillow's convert("L")), and gray copied to three channels.
Image ToGray(const Image& in);
Image ToRgb(const Image& in);

}  // namespace slipway::data
