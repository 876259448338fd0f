// Finds faces in a photo with the first two networks of MTCNN (Zhang et al., 2016,
// https://arxiv.org/abs/1604.02878): det1 slides over a pyramid of the photo, det2 refines what it
// proposes. Uses nothing of Slipway but its C interface; libjpeg and libpng for images.
//
//   slipway compile det1.prototxt --shape data=1,3,H,W --platform x86 -o det1.slip
//   slipway compile det2.prototxt --shape data=N,3,24,24 --platform x86 -o det2.slip
//   mtcnn_detect PHOTO.jpg det1.slip det2.slip [boxes.png]
#include <png.h>
#include <setjmp.h>
#include <slipway.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

// clang-format off: jpeglib.h needs FILE and size_t before it
#include <jpeglib.h>
// clang-format on

namespace {

constexpr int kSmallest = 40;      // pixels of the smallest face looked for
constexpr double kFactor = 0.709;  // between the pyramid's levels
constexpr float kProposed = 0.6f;  // score of det1
constexpr float kSure = 0.97f;  // of det2: high, for the cascade's third network, which drops hands
                                // and the like, is not here
constexpr size_t kBatch = 32;   // windows that det2 sees at once

// --- images: RGB, rows from the top ---

struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;

  Image(int w, int h)
      : width(w), height(h), pixels(static_cast<size_t>(w) * static_cast<size_t>(h) * 3) {}
  uint8_t* At(int x, int y) {
    return pixels.data() +
           (static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) * 3;
  }
  const uint8_t* At(int x, int y) const { return const_cast<Image*>(this)->At(x, y); }
};

struct JpegError {
  jpeg_error_mgr manager;
  jmp_buf back;
  char message[JMSG_LENGTH_MAX];
};

Image ReadJpeg(const char* path) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(path, "rb"), fclose);
  if (!file) throw std::runtime_error(std::string("cannot read ") + path);
  jpeg_decompress_struct jpeg;
  JpegError error;
  Image image(0, 0);
  jpeg.err = jpeg_std_error(&error.manager);
  error.manager.error_exit = [](j_common_ptr info) {
    auto* e = reinterpret_cast<JpegError*>(info->err);
    e->manager.format_message(info, e->message);
    longjmp(e->back, 1);
  };
  if (setjmp(error.back)) {
    jpeg_destroy_decompress(&jpeg);
    throw std::runtime_error(std::string(path) + ": " + error.message);
  }
  jpeg_create_decompress(&jpeg);
  jpeg_stdio_src(&jpeg, file.get());
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  image = Image(static_cast<int>(jpeg.output_width), static_cast<int>(jpeg.output_height));
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = image.At(0, static_cast<int>(jpeg.output_scanline));
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return image;
}

void WritePng(const Image& image, const char* path) {
  png_image png = {};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  if (!png_image_write_to_file(&png, path, 0, image.pixels.data(), 0, nullptr))
    throw std::runtime_error(std::string(path) + ": " + png.message);
}

// The part [x, x + width) x [y, y + height), black outside the image, as `side_w` x `side_h` pixels
// of the mean colour of what each covers, written as the networks want it: planes of (colour -
// 127.5) / 128 whose rows are the picture's columns (they were trained so).
void Prepare(const Image& image, double x, double y, double width, double height, int side_w,
             int side_h, float* to) {
  const double step_x = width / side_w, step_y = height / side_h;
  for (int i = 0; i < side_w; ++i) {
    const double left = x + i * step_x, right = left + step_x;
    for (int j = 0; j < side_h; ++j) {
      const double top = y + j * step_y, bottom = top + step_y;
      double sum[3] = {0, 0, 0};
      for (int v = std::max(0, static_cast<int>(std::floor(top)));
           v < std::min<double>(image.height, std::ceil(bottom)); ++v) {
        const double tall = std::min<double>(v + 1, bottom) - std::max<double>(v, top);
        for (int u = std::max(0, static_cast<int>(std::floor(left)));
             u < std::min<double>(image.width, std::ceil(right)); ++u) {
          const double share = tall * (std::min<double>(u + 1, right) - std::max<double>(u, left));
          for (int c = 0; c < 3; ++c) sum[c] += share * image.At(u, v)[c];
        }
      }
      for (int c = 0; c < 3; ++c)
        to[(static_cast<size_t>(c) * static_cast<size_t>(side_w) + static_cast<size_t>(i)) *
               static_cast<size_t>(side_h) +
           static_cast<size_t>(j)] = static_cast<float>((sum[c] / (step_x * step_y) - 127.5) / 128);
    }
  }
}

// --- a network ---

class Network {
 public:
  explicit Network(const char* path) {
    slipway_error error = {};
    slipway_package* package = nullptr;
    if (slipway_package_load(path, &package, &error) != 0) throw std::runtime_error(error.message);
    package_.reset(package);
    slipway_session_options options;
    slipway_session_options_init(&options);
    slipway_session* session = nullptr;
    if (slipway_session_create(package, &options, &session, &error) != 0)
      throw std::runtime_error(error.message);
    session_.reset(session);
  }

  // The input's memory for a batch of images.
  float* Input(int64_t batch, int64_t height, int64_t width) {
    slipway_error error = {};
    slipway_tensor tensor;
    const int64_t dims[4] = {batch, 3, height, width};
    if (slipway_session_set_shape(session_.get(), "data", dims, 4, &error) != 0 ||
        slipway_session_input(session_.get(), "data", &tensor, &error) != 0)
      throw std::runtime_error(error.message);
    return static_cast<float*>(tensor.data);
  }

  void Run() {
    slipway_error error = {};
    if (slipway_session_run(session_.get(), &error) != 0) throw std::runtime_error(error.message);
  }

  slipway_tensor Output(const char* name) {
    slipway_error error = {};
    slipway_tensor tensor;
    if (slipway_session_output(session_.get(), name, &tensor, &error) != 0)
      throw std::runtime_error(error.message);
    return tensor;
  }

 private:
  std::unique_ptr<slipway_package, decltype(&slipway_package_free)> package_{nullptr,
                                                                             slipway_package_free};
  std::unique_ptr<slipway_session, decltype(&slipway_session_free)> session_{nullptr,
                                                                             slipway_session_free};
};

// --- boxes ---

struct Box {
  double x1, y1, x2, y2;
  float score, move[4];  // how far each corner is off, in the box's size

  double Area() const { return (x2 - x1) * (y2 - y1); }
};

// Keeps the best of boxes that overlap by more than `most`.
std::vector<Box> Suppress(std::vector<Box> boxes, double most) {
  std::sort(boxes.begin(), boxes.end(),
            [](const Box& a, const Box& b) { return a.score > b.score; });
  std::vector<Box> kept;
  for (const Box& b : boxes) {
    bool good = true;
    for (const Box& k : kept) {
      const double w = std::min(b.x2, k.x2) - std::max(b.x1, k.x1),
                   h = std::min(b.y2, k.y2) - std::max(b.y1, k.y1);
      const double common = std::max(w, 0.0) * std::max(h, 0.0);
      good = good && common <= most * (b.Area() + k.Area() - common);
    }
    if (good) kept.push_back(b);
  }
  return kept;
}

void Refine(std::vector<Box>* boxes) {
  for (Box& b : *boxes) {
    const double w = b.x2 - b.x1, h = b.y2 - b.y1;
    b.x1 += b.move[0] * w;
    b.y1 += b.move[1] * h;
    b.x2 += b.move[2] * w;
    b.y2 += b.move[3] * h;
  }
}

std::vector<Box> Propose(Network& net, const Image& image) {
  std::vector<Box> found;
  for (double scale = 12.0 / kSmallest; std::min(image.width, image.height) * scale >= 12;
       scale *= kFactor) {
    const int width = static_cast<int>(std::ceil(image.width * scale)),
              height = static_cast<int>(std::ceil(image.height * scale));
    Prepare(image, 0, 0, image.width, image.height, width, height, net.Input(1, width, height));
    net.Run();
    const slipway_tensor score = net.Output("prob1"), move = net.Output("conv4-2");
    const int64_t columns = score.dims[2], rows = score.dims[3], plane = columns * rows;
    const auto *s = static_cast<const float*>(score.data) + plane,
               *m = static_cast<const float*>(move.data);
    std::vector<Box> level;
    for (int64_t i = 0; i < plane; ++i) {
      if (s[i] <= kProposed) continue;
      const double x = 2.0 * static_cast<double>(i / rows), y = 2.0 * static_cast<double>(i % rows);
      level.push_back({(x + 1) / scale,
                       (y + 1) / scale,
                       (x + 12) / scale,
                       (y + 12) / scale,
                       s[i],
                       {m[i], m[plane + i], m[2 * plane + i], m[3 * plane + i]}});
    }
    for (const Box& b : Suppress(std::move(level), 0.5)) found.push_back(b);
  }
  found = Suppress(std::move(found), 0.7);
  Refine(&found);
  for (Box& b : found) {  // the next network sees squares
    const double x = (b.x1 + b.x2) / 2, y = (b.y1 + b.y2) / 2,
                 half = std::max(b.x2 - b.x1, b.y2 - b.y1) / 2;
    b = {x - half, y - half, x + half, y + half, b.score, {}};
  }
  return found;
}

std::vector<Box> Confirm(Network& net, const Image& image, const std::vector<Box>& boxes) {
  std::vector<Box> found;
  for (size_t first = 0; first < boxes.size(); first += kBatch) {
    const size_t n = std::min(kBatch, boxes.size() - first);
    float* to = net.Input(static_cast<int64_t>(n), 24, 24);
    for (size_t i = 0; i < n; ++i) {
      const Box& b = boxes[first + i];
      const double x = std::round(b.x1), y = std::round(b.y1);
      Prepare(image, x, y, std::max(std::round(b.x2) - x, 1.0), std::max(std::round(b.y2) - y, 1.0),
              24, 24, to + i * 3 * 24 * 24);
    }
    net.Run();
    const auto *score = static_cast<const float*>(net.Output("prob1").data),
               *move = static_cast<const float*>(net.Output("conv5-2").data);
    for (size_t i = 0; i < n; ++i) {
      if (score[2 * i + 1] <= kSure) continue;
      Box b = boxes[first + i];
      b.score = score[2 * i + 1];
      std::copy(move + 4 * i, move + 4 * i + 4, b.move);
      found.push_back(b);
    }
  }
  found = Suppress(std::move(found), 0.7);
  Refine(&found);
  return Suppress(std::move(found), 0.4);
}

void Draw(Image* image, const Box& b) {
  auto green = [&](int x, int y) {
    if (x < 0 || y < 0 || x >= image->width || y >= image->height) return;
    const uint8_t colour[3] = {0, 255, 0};
    memcpy(image->At(x, y), colour, 3);
  };
  const int x1 = static_cast<int>(b.x1), y1 = static_cast<int>(b.y1), x2 = static_cast<int>(b.x2),
            y2 = static_cast<int>(b.y2);
  for (int thick = 0; thick < 2; ++thick) {
    for (int x = x1; x <= x2; ++x) {
      green(x, y1 + thick);
      green(x, y2 - thick);
    }
    for (int y = y1; y <= y2; ++y) {
      green(x1 + thick, y);
      green(x2 - thick, y);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    fprintf(stderr, "usage: %s PHOTO.jpg det1.slip det2.slip [boxes.png]\n", argv[0]);
    return 2;
  }
  try {
    Image image = ReadJpeg(argv[1]);
    Network det1(argv[2]), det2(argv[3]);
    const std::vector<Box> faces = Confirm(det2, image, Propose(det1, image));
    for (const Box& b : faces) {
      printf("face %.0f %.0f %.0f %.0f score %.3f\n", b.x1, b.y1, b.x2, b.y2,
             static_cast<double>(b.score));
      Draw(&image, b);
    }
    printf("%zu faces\n", faces.size());
    if (argc == 5) WritePng(image, argv[4]);
  } catch (const std::exception& e) {
    fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 2;
  }
  return 0;
}
