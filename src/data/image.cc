#include "data/image.h"

#include <jerror.h>
#include <jpeglib.h>  // needs cstdio before it
#include <png.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstring>

namespace slipway::data {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 27;

Status TooLarge(const std::string& name, int64_t height, int64_t width) {
  return ResourceExhausted(name + ": " + std::to_string(width) + "x" + std::to_string(height) +
                           " pixels are too many (limit 2^27); shrink the image");
}
Status Damaged(const std::string& name, const std::string& why) {
  return DataLoss(name + ": damaged image (" + why + "); replace or remove the file");
}

// libjpeg reports errors by longjmp: the objects with destructors live in the caller of
// DecodeJpegBody.
struct JpegError {
  jpeg_error_mgr base;
  jmp_buf jump;
  char text[JMSG_LENGTH_MAX] = {};
};

void JpegFail(j_common_ptr info) {
  auto* error = reinterpret_cast<JpegError*>(info->err);
  error->base.format_message(info, error->text);
  longjmp(error->jump, 1);
}

// libjpeg calls a truncated or garbled scan a warning and paints it gray; an evaluation must not
// run on gray.
void JpegMessage(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:
      JpegFail(info);
      break;
    default:
      break;
  }
}

enum class JpegResult { kOk, kFailed, kTooLarge, kNoMemory };

JpegResult DecodeJpegBody(std::span<const uint8_t> file, jpeg_decompress_struct* info,
                          JpegError* error, Image* out) {
  if (setjmp(error->jump)) return JpegResult::kFailed;
  jpeg_create_decompress(info);
  jpeg_mem_src(info, file.data(), static_cast<unsigned long>(file.size()));
  jpeg_read_header(info, TRUE);
  out->height = info->image_height;
  out->width = info->image_width;
  if (out->height * out->width > kMaxPixels) return JpegResult::kTooLarge;
  const bool cmyk = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
  const bool gray = info->jpeg_color_space == JCS_GRAYSCALE;
  info->out_color_space = cmyk ? JCS_CMYK : gray ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(info);
  out->channels = info->output_components;
  const size_t stride = static_cast<size_t>(out->width * out->channels);
  out->pixels.resize(stride * static_cast<size_t>(out->height));
  while (info->output_scanline < info->output_height) {
    JSAMPROW row = out->pixels.data() + stride * info->output_scanline;
    jpeg_read_scanlines(info, &row, 1);
  }
  jpeg_finish_decompress(info);
  return JpegResult::kOk;
}

Result<Image> DecodeJpeg(std::span<const uint8_t> file, const std::string& name) {
  jpeg_decompress_struct info{};
  JpegError error;
  info.err = jpeg_std_error(&error.base);
  error.base.error_exit = JpegFail;
  error.base.emit_message = JpegMessage;
  Image image;
  const JpegResult result = DecodeJpegBody(file, &info, &error, &image);
  const bool inverted = info.saw_Adobe_marker;
  jpeg_destroy_decompress(&info);
  if (result == JpegResult::kTooLarge) return TooLarge(name, image.height, image.width);
  if (result != JpegResult::kOk) return Damaged(name, error.text);
  if (image.channels == 4) {  // CMYK; Adobe stores it inverted
    Image rgb{image.height, image.width, 3, {}};
    const size_t n = static_cast<size_t>(image.height * image.width);
    rgb.pixels.resize(n * 3);
    for (size_t i = 0; i < n; ++i) {
      const int k = inverted ? image.pixels[i * 4 + 3] : 255 - image.pixels[i * 4 + 3];
      for (size_t c = 0; c < 3; ++c) {
        const int v = inverted ? image.pixels[i * 4 + c] : 255 - image.pixels[i * 4 + c];
        rgb.pixels[i * 3 + c] = static_cast<uint8_t>((v * k + 127) / 255);
      }
    }
    return rgb;
  }
  return image;
}

Result<Image> DecodePng(std::span<const uint8_t> file, const std::string& name) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&png, file.data(), file.size())) {
    return Damaged(name, png.message);
  }
  Image out{png.height, png.width, 0, {}};
  if (out.height * out.width > kMaxPixels) {
    png_image_free(&png);
    return TooLarge(name, out.height, out.width);
  }
  // Read with alpha where there is one and drop it: the simplified API would blend it onto a
  // background.
  const bool color = png.format & PNG_FORMAT_FLAG_COLOR;
  const bool alpha = png.format & PNG_FORMAT_FLAG_ALPHA;
  png.format = (color ? PNG_FORMAT_FLAG_COLOR : 0) | (alpha ? PNG_FORMAT_FLAG_ALPHA : 0);
  const size_t stored = PNG_IMAGE_PIXEL_CHANNELS(png.format);
  out.channels = color ? 3 : 1;
  const size_t n = static_cast<size_t>(out.height * out.width);
  std::vector<uint8_t> raw(n * stored);
  if (!png_image_finish_read(&png, nullptr, raw.data(), 0, nullptr)) {
    const std::string why = png.message;
    png_image_free(&png);
    return Damaged(name, why);
  }
  if (png.warning_or_error & PNG_IMAGE_ERROR) return Damaged(name, png.message);
  if (!alpha) {
    out.pixels = std::move(raw);
    return out;
  }
  const size_t channels = static_cast<size_t>(out.channels);
  out.pixels.resize(n * channels);
  for (size_t i = 0; i < n; ++i) {
    for (size_t c = 0; c < channels; ++c) out.pixels[i * channels + c] = raw[i * stored + c];
  }
  return out;
}

double FilterSupport(Resample f) { return f == Resample::kBicubic ? 2.0 : 1.0; }

double FilterValue(Resample f, double x) {
  x = std::fabs(x);
  if (f != Resample::kBicubic) return x < 1.0 ? 1.0 - x : 0.0;
  constexpr double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

constexpr int kPrecision = 22;  // 32 bits less 8 of the pixel and 2 of headroom

// For each output position: the first input position and the fixed-point weights.
struct Taps {
  size_t per = 0;
  std::vector<int64_t> first;
  std::vector<int64_t> length;
  std::vector<int32_t> weight;
};

Taps MakeTaps(int64_t in, int64_t out, Resample f) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double widen = std::max(scale, 1.0);
  const double support = FilterSupport(f) * widen;
  Taps t;
  t.per = static_cast<size_t>(std::ceil(support)) * 2 + 1;
  t.first.resize(static_cast<size_t>(out));
  t.length.resize(static_cast<size_t>(out));
  t.weight.assign(static_cast<size_t>(out) * t.per, 0);
  std::vector<double> w(t.per);
  for (int64_t i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const int64_t begin = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t end = std::min<int64_t>(in, static_cast<int64_t>(center + support + 0.5));
    const int64_t n = std::max<int64_t>(end - begin, 0);
    double sum = 0;
    for (int64_t k = 0; k < n; ++k) {
      w[static_cast<size_t>(k)] =
          FilterValue(f, (static_cast<double>(k + begin) - center + 0.5) * (1.0 / widen));
      sum += w[static_cast<size_t>(k)];
    }
    for (int64_t k = 0; k < n; ++k) {
      const double v = (sum != 0 ? w[static_cast<size_t>(k)] / sum : 0.0) * (1 << kPrecision);
      t.weight[static_cast<size_t>(i) * t.per + static_cast<size_t>(k)] =
          static_cast<int32_t>(v < 0 ? v - 0.5 : v + 0.5);
    }
    t.first[static_cast<size_t>(i)] = begin;
    t.length[static_cast<size_t>(i)] = n;
  }
  return t;
}

uint8_t Clip(int32_t v) {
  v >>= kPrecision;
  return static_cast<uint8_t>(std::clamp(v, 0, 255));
}

}  // namespace

bool IsImageName(const std::string& path) {
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return false;
  std::string end = path.substr(dot);
  for (char& c : end) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return end == ".jpg" || end == ".jpeg" || end == ".png";
}

Result<Image> DecodeImage(std::span<const uint8_t> file, const std::string& name) {
  if (file.empty()) return Damaged(name, "empty file");
  if (file.size() >= 3 && file[0] == 0xff && file[1] == 0xd8) return DecodeJpeg(file, name);
  if (file.size() >= 8 && std::memcmp(file.data(), "\x89PNG\r\n\x1a\n", 8) == 0) {
    return DecodePng(file, name);
  }
  return Unsupported(name + ": neither JPEG nor PNG; convert it to one of them");
}

Image Resize(const Image& in, int64_t height, int64_t width, Resample filter) {
  if (height == in.height && width == in.width) return in;
  const size_t ch = static_cast<size_t>(in.channels);
  Image out{height, width, in.channels, {}};
  out.pixels.resize(static_cast<size_t>(height * width) * ch);
  if (filter == Resample::kNearest) {
    for (int64_t y = 0; y < height; ++y) {
      const int64_t sy =
          static_cast<int64_t>((static_cast<double>(y) + 0.5) * static_cast<double>(in.height) /
                               static_cast<double>(height));
      for (int64_t x = 0; x < width; ++x) {
        const int64_t sx =
            static_cast<int64_t>((static_cast<double>(x) + 0.5) * static_cast<double>(in.width) /
                                 static_cast<double>(width));
        std::memcpy(&out.pixels[static_cast<size_t>(y * width + x) * ch],
                    &in.pixels[static_cast<size_t>(sy * in.width + sx) * ch], ch);
      }
    }
    return out;
  }
  const uint8_t* source = in.pixels.data();
  std::vector<uint8_t> rows;
  if (width != in.width) {  // horizontal
    const Taps t = MakeTaps(in.width, width, filter);
    rows.resize(static_cast<size_t>(in.height * width) * ch);
    for (int64_t y = 0; y < in.height; ++y) {
      const uint8_t* line = source + static_cast<size_t>(y * in.width) * ch;
      uint8_t* to = rows.data() + static_cast<size_t>(y * width) * ch;
      for (size_t x = 0; x < static_cast<size_t>(width); ++x) {
        const int32_t* w = &t.weight[x * t.per];
        const uint8_t* p = line + static_cast<size_t>(t.first[x]) * ch;
        for (size_t c = 0; c < ch; ++c) {
          int32_t sum = 1 << (kPrecision - 1);
          for (size_t k = 0; k < static_cast<size_t>(t.length[x]); ++k) sum += p[k * ch + c] * w[k];
          to[x * ch + c] = Clip(sum);
        }
      }
    }
    source = rows.data();
  }
  const size_t row = static_cast<size_t>(width) * ch;
  if (height == in.height) {
    out.pixels = std::move(rows);
    return out;
  }
  const Taps t = MakeTaps(in.height, height, filter);
  std::vector<int32_t> sums(row);
  for (size_t y = 0; y < static_cast<size_t>(height); ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (kPrecision - 1));
    for (size_t k = 0; k < static_cast<size_t>(t.length[y]); ++k) {
      const int32_t w = t.weight[y * t.per + k];
      const uint8_t* p = source + (static_cast<size_t>(t.first[y]) + k) * row;
      for (size_t i = 0; i < row; ++i) sums[i] += p[i] * w;
    }
    uint8_t* to = out.pixels.data() + y * row;
    for (size_t i = 0; i < row; ++i) to[i] = Clip(sums[i]);
  }
  return out;
}

Image Crop(const Image& in, int64_t top, int64_t left, int64_t height, int64_t width) {
  if (top == 0 && left == 0 && height == in.height && width == in.width) return in;
  Image out{height, width, in.channels, {}};
  const size_t row = static_cast<size_t>(width * in.channels);
  out.pixels.resize(row * static_cast<size_t>(height));
  for (int64_t y = 0; y < height; ++y) {
    std::memcpy(out.pixels.data() + static_cast<size_t>(y) * row,
                in.pixels.data() + static_cast<size_t>(((top + y) * in.width + left) * in.channels),
                row);
  }
  return out;
}

Image ToGray(const Image& in) {
  if (in.channels == 1) return in;
  Image out{in.height, in.width, 1, {}};
  const size_t n = static_cast<size_t>(in.height * in.width);
  out.pixels.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const uint8_t* p = &in.pixels[i * 3];
    out.pixels[i] =
        static_cast<uint8_t>((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
  }
  return out;
}

Image ToRgb(const Image& in) {
  if (in.channels == 3) return in;
  Image out{in.height, in.width, 3, {}};
  out.pixels.resize(in.pixels.size() * 3);
  for (size_t i = 0; i < in.pixels.size(); ++i) {
    std::fill_n(&out.pixels[i * 3], 3, in.pixels[i]);
  }
  return out;
}

}  // namespace slipway::data
