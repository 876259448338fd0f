#include "engine/kernels/conv/conv.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "base/checked.h"

namespace slipway::kernels {
namespace {

// Pixels of a tile of AVX-512, for how rows are divided.
constexpr int64_t kTile = 14;
// What a band of x may take of the second-level cache, beside the weights of a panel.
constexpr int64_t kBandBytes = 256 << 10;
// What a band of y may take where channels lie last.
constexpr int64_t kLastBytes = 64 << 10;

int64_t Up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Words of a step that are multiplied at most where channels lie last: what is read of x and its
// moves stay in the first-level cache.
constexpr int64_t kLastWords = 64;

// How a row of the window is cut into steps, for one output channel.
struct RowSteps {
  int64_t steps, words;  // words of each
};
RowSteps StepsOfRow(const ConvShape& s, int pair) {
  if (s.input == ConvInput::kBlocked) return {s.in_blocks() * s.kernel_width, s.block / pair};
  if (s.few()) {  // neighbours along the row, or all channels of them
    return {1, s.input == ConvInput::kPlain ? s.in_channels * Up(s.kernel_width, pair)
                                            : Up(s.in_channels * s.kernel_width, pair)};
  }
  const int64_t words = Up(s.in_channels, pair), steps = Up(words, kLastWords);
#if defined(__aarch64__)
  // Steps of one length, of whole fours, if they are not too short.
  for (int64_t length = kLastWords; length >= 16; length -= 4) {
    if (words % length == 0) return {words / length * s.kernel_width, length};
  }
#endif
  return {steps * s.kernel_width, Up(words, steps)};
}

// Vectors of output channels of a group; whole blocks of them.
int64_t Vectors(const ConvShape& s, const ConvTraits& traits) {
  return s.last ? Up(s.out_channels, traits.lanes)
                : Up(s.out_channels, s.block) * s.block / traits.lanes;
}

// Blocks or planes of a group.
int64_t Planes(const ConvShape& s) {
  return s.input == ConvInput::kBlocked ? s.in_blocks()
         : s.input == ConvInput::kPlain ? s.in_channels
                                        : 1;
}

// Whether all of x that a row lacks is one tap of its first pixel and one of its last.
bool LacksEdgesOnly(const ConvShape& s) {
  const int64_t right = (s.out_width - 1) * s.stride_width - s.pad_left +
                        (s.kernel_width - 1) * s.dilation_width;  // of the last tap
  return s.kernel_width > 1 && s.out_width > 1 && s.pad_left <= s.dilation_width &&
         s.pad_left <= s.stride_width && right - s.dilation_width < s.width &&
         right - s.stride_width < s.width;
}

// Whether the window of every output pixel can be read where x lies.
bool ReadsInPlace(const ConvShape& s) {
  const bool inside =
      s.pad_left == 0 &&
      (s.out_width - 1) * s.stride_width + (s.kernel_width - 1) * s.dilation_width < s.width;
  return inside || LacksEdgesOnly(s);
}

// Of `units` in `parts`, how much of the time all threads work.
double Balance(int64_t units, int64_t threads) {
  return static_cast<double>(units) / static_cast<double>(Up(units, threads) * threads);
}

}  // namespace

bool ConvShape::Valid() const {
  constexpr int64_t kMost = int64_t{1} << 31;
  if (block != 8 && block != 16) return false;
  for (int64_t v : {images, groups, in_channels, out_channels, height, width, out_height, out_width,
                    kernel_height, kernel_width, stride_height, stride_width, dilation_height,
                    dilation_width}) {
    if (v < 1 || v > kMost) return false;
  }
  if (pad_top < -kMost || pad_left < -kMost || pad_top > kMost || pad_left > kMost) return false;
  if (y_height == 0) {
    if (y_step_height != 1 || y_step_width != 1 || y_width != 0) return false;
  } else {
    for (int64_t v : {y_height, y_width, y_step_height, y_step_width}) {
      if (v < 1 || v > kMost) return false;
    }
    if ((out_height - 1) * y_step_height >= y_height || (out_width - 1) * y_step_width >= y_width)
      return false;
  }
  if (input == ConvInput::kBlocked
          ? last || (groups > 1 && (in_channels % block != 0 || out_channels % block != 0))
          : !few() && !(input == ConvInput::kChannelsLast && last))
    return false;
  // What is copied has one group.
  if (input == ConvInput::kChannelsLast && groups > 1 && !ReadsInPlace(*this)) return false;
  // Everything below counts elements with their padding: 2^38 are more than a machine has.
  constexpr int64_t kElements = int64_t{1} << 38;
  const auto fits = [](std::initializer_list<int64_t> extents) {
    int64_t count = 1;
    for (int64_t v : extents) {
      const auto product = CheckedMul(count, v);
      if (!product || *product > kElements) return false;
      count = *product;
    }
    return true;
  };
  if (!fits({out_height, stride_height}) || !fits({out_width, stride_width}) ||
      !fits({kernel_height, dilation_height}) || !fits({kernel_width, dilation_width}))
    return false;
  const int64_t rows = out_height * stride_height + kernel_height * dilation_height,
                columns = out_width * stride_width + kernel_width * dilation_width;
  return fits({images, groups, in_channels + 16, height, width}) &&
         fits({images, groups, out_channels + 32, std::max(out_height, y_height),
               std::max(out_width, y_width)}) &&
         fits({in_channels + 16, rows, columns}) &&
         fits({groups, out_channels + 32, in_channels + 16, kernel_height, kernel_width});
}

ConvPlan PlanConv(const ConvShape& shape, const ConvTraits& traits, int threads) {
  ConvPlan p;
  p.shape = shape;
  p.traits = traits;
  ConvShape& s = p.shape;
  const bool few = s.few();
  const int64_t element = 4 / traits.pair;
  if (!few && s.y_height == 0 && s.kernel_height == 1 && s.kernel_width == 1 &&
      s.stride_height == 1 && s.stride_width == 1 && s.pad_top == 0 && s.pad_left == 0 &&
      s.height == s.out_height && s.width == s.out_width) {
    s.width = s.out_width = s.height * s.width;
    s.height = s.out_height = 1;
  }
  const RowSteps row = StepsOfRow(s, traits.pair);
  p.vectors = Vectors(s, traits);
  p.row_steps = row.steps;
  p.num_steps = p.row_steps * s.kernel_height;
  p.step_words = row.words;
  p.num_moves = few ? p.num_steps * p.step_words : p.step_words;
  p.column_bytes = (s.input == ConvInput::kBlocked ? s.block
                    : s.input == ConvInput::kPlain ? 1
                                                   : s.groups * s.in_channels) *
                   element;
  const int64_t window = (s.kernel_width - 1) * s.dilation_width + 1;
  p.copies = few || !ReadsInPlace(s);

  // Bands and splits.
  const bool flat = s.out_height == 1;
  const int64_t units = flat ? Up(s.out_width, kTile) : s.out_height;
  const int64_t window_rows = (s.kernel_height - 1) * s.dilation_height + 1;
  const int64_t planes = Planes(s);
  const int64_t unit_bytes = flat ? kTile * s.stride_width * p.column_bytes * planes * window_rows
                                  : s.stride_height * s.width * p.column_bytes * planes;
  p.bands = std::clamp<int64_t>(Up(units * unit_bytes, kBandBytes), 1, units);
  const int64_t weight_bytes = ConvWeightWords(s, traits) / s.groups * 4;
  // Every panel writes a piece of every pixel: the pixels stay in the cache until they are whole.
  if (s.last && weight_bytes <= kBandBytes) {
    const int64_t out_bytes = s.out_height * s.out_width * s.out_channels * element;
    p.bands = std::max(p.bands, std::min(units, Up(out_bytes, kLastBytes)));
  }
  const int64_t pairs = Up(p.vectors, 2);
  const int64_t others = s.images * s.groups;
  if (threads > 1) {
    // Jobs of some 15 us, four for every thread at most: threads that start late or run slowly take
    // fewer.
    const double work = static_cast<double>(p.num_steps * p.step_words * p.vectors) *
                        static_cast<double>(others * s.out_height * s.out_width) * 0.28e-3 *
                        traits.lanes / 16;
    const int64_t wanted =
        std::clamp<int64_t>(static_cast<int64_t>(work / 15), 1, int64_t{4} * threads);
    if (others * p.bands < wanted) {
      const int64_t more = Up(wanted, others), rows = std::min(units, std::max(more, p.bands)),
                    channels = std::min(pairs, more);
      const double by_rows = Balance(others * rows, threads),
                   by_channels = Balance(others * channels, threads);
      const bool heavy = weight_bytes > units * unit_bytes && p.bands == 1;
      if (by_channels > by_rows + 0.05 || (heavy && by_channels >= by_rows - 0.05))
        p.splits = channels;
      else
        p.bands = rows;
    }
  }
  p.jobs = others * p.bands * p.splits;

  if (!p.copies) {
    p.columns = s.width;
    p.row_bytes = s.width * p.column_bytes;
    p.plane_bytes = s.height * p.row_bytes;
    return p;
  }
  // A band may have one unit more than another.
  const int64_t band = Up(units, p.bands);
  // Bands of a row are whole tiles of the kernel, which may be a tile more of other widths.
  const int64_t tiles = traits.lanes == 16 ? band : band + 1;
  const int64_t out_columns = flat ? std::min(s.out_width, tiles * kTile) : s.out_width;
  p.columns = (out_columns - 1) * s.stride_width + window;
  // The second of a pair may lie behind the last column.
  p.row_bytes = Up(p.columns * p.column_bytes + 4, 64) * 64;
  const int64_t rows = std::min(s.height, ((flat ? 1 : band) - 1) * s.stride_height + window_rows);
  p.plane_bytes = rows * p.row_bytes;
  p.workspace_bytes = planes * p.plane_bytes;
  return p;
}

void ConvSteps(const ConvPlan& p, ConvStep* steps, int64_t* moves) {
  const ConvShape& s = p.shape;
  const int64_t right =
      (s.out_width - 1) * s.stride_width - s.pad_left + (s.kernel_width - 1) * s.dilation_width;
  std::fill(moves, moves + p.num_moves, 4);
  if (s.few()) {
    // To the next plane, and from the last one to the next row.
    const int64_t planes = Planes(s), across = p.step_words / planes;
    for (int64_t k = across; k < p.num_moves; k += across) {
      moves[k - 1] =
          (k % p.step_words ? p.plane_bytes
                            : s.dilation_height * p.row_bytes - (planes - 1) * p.plane_bytes) -
          (across - 1) * 4;
    }
    return;
  }
  const auto add = [&](int64_t row, int64_t column, int64_t at, int64_t words) {
    const int edges = p.copies ? 0
                               : (column == 0 && s.pad_left > 0 ? 1 : 0) +
                                     (column == s.kernel_width - 1 && right >= s.width ? 2 : 0);
    *steps++ = {
        row * s.dilation_height * p.row_bytes + column * s.dilation_width * p.column_bytes + at,
        static_cast<int32_t>(std::min(words, p.step_words)), edges};
  };
  for (int64_t i = 0; i < s.kernel_height; ++i) {
    if (s.input == ConvInput::kBlocked) {
      for (int64_t b = 0; b < s.in_blocks(); ++b) {
        for (int64_t j = 0; j < s.kernel_width; ++j)
          add(i, j, b * p.plane_bytes, Up(s.in_channels - b * s.block, p.traits.pair));
      }
      continue;
    }
    const int64_t pieces = p.row_steps / s.kernel_width;
    for (int64_t j = 0; j < s.kernel_width; ++j) {
      for (int64_t k = 0; k < pieces; ++k)
        add(i, j, k * p.step_words * 4, Up(s.in_channels, p.traits.pair) - k * p.step_words);
    }
  }
}

int64_t ConvWeightWords(const ConvShape& s, const ConvTraits& traits) {
  const RowSteps row = StepsOfRow(s, traits.pair);
  return s.groups * Vectors(s, traits) * traits.lanes * s.kernel_height * row.steps * row.words;
}

int64_t ConvPackedBytes(const ConvShape& s, const ConvTraits& traits) {
  int64_t words = ConvWeightWords(s, traits) + s.groups * Vectors(s, traits) * traits.lanes;
#if defined(__aarch64__)
  if (s.few()) words += 16;  // windows are multiplied in fours of words
#endif
  return words * 4;
}

void PackConv(const ConvShape& s, const ConvTraits& traits, const void* weights, const void* bias,
              void* packed) {
  const size_t element = traits.pair == 2 ? 2 : 4;
  const auto* from = static_cast<const uint8_t*>(weights);
  auto* to = static_cast<uint8_t*>(packed);
  std::memset(to, 0, static_cast<size_t>(ConvPackedBytes(s, traits)));
  const RowSteps steps = StepsOfRow(s, traits.pair);
  const int64_t row_words = steps.steps * steps.words;
  // Where channel c and kernel column j lie in a row of the window, in elements.
  const auto place = [&](int64_t c, int64_t j) {
    if (s.input == ConvInput::kBlocked)
      return (c / s.block * s.kernel_width + j) * s.block + c % s.block;
    if (s.input == ConvInput::kPlain) return c * Up(s.kernel_width, traits.pair) * traits.pair + j;
    return c + j * (s.few() ? s.in_channels : row_words / s.kernel_width * traits.pair);
  };
  for (int64_t g = 0; g < s.groups; ++g) {
    for (int64_t v = 0; v < Vectors(s, traits); ++v) {
      const int64_t o = v * traits.lanes;
      const int64_t lanes = std::clamp<int64_t>(s.out_channels - o, 0, traits.lanes);
      for (int64_t i = 0; i < s.kernel_height; ++i) {
        for (int64_t c = 0; c < s.in_channels; ++c) {
          for (int64_t j = 0; j < s.kernel_width; ++j) {
            const int64_t at = place(c, j);
            uint8_t* row = to + static_cast<size_t>(at / traits.pair * traits.lanes) * 4 +
                           static_cast<size_t>(at % traits.pair) * element;
            const uint8_t* in =
                from + static_cast<size_t>(
                           (((g * s.out_channels + o) * s.in_channels + c) * s.kernel_height + i) *
                               s.kernel_width +
                           j) *
                           element;
            const int64_t next = s.in_channels * s.kernel_height * s.kernel_width;
            for (int64_t l = 0; l < lanes; ++l) {
              std::memcpy(row + l * 4, in + static_cast<size_t>(l * next) * element, element);
            }
          }
        }
        to += static_cast<size_t>(row_words * traits.lanes) * 4;
      }
    }
  }
  for (int64_t g = 0; bias && g < s.groups; ++g) {
    for (int64_t o = 0; o < s.out_channels; ++o) {
      // A bfloat16 is the upper half of a float.
      std::memcpy(
          to + o * 4 + (4 - static_cast<int64_t>(element)),
          static_cast<const uint8_t*>(bias) + static_cast<size_t>(g * s.out_channels + o) * element,
          element);
    }
    to += static_cast<size_t>(Vectors(s, traits) * traits.lanes) * 4;
  }
}

const ConvKernels& GetConv(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kBaseline ? baseline::kConv : isa == Isa::kAvx2 ? avx2::kConv : avx512::kConv;
#else
  (void)isa;
  return baseline::kConv;
#endif
}

const ConvKernels* GetConvBf16(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512Bf16 ? &avx512bf16::kConv : nullptr;
#else
  (void)isa;
  return nullptr;
#endif
}

}  // namespace slipway::kernels
