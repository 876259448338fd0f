// TfIdfVectorizer on integers: how often each n-gram of the pool occurs in a row, with its elements
// 1 to max_skip_count + 1 places apart (single elements are counted once).

#include <algorithm>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

// Occurrences of the n-gram `gram` in row [0, length).
int64_t Occurrences(const TensorView& x, int64_t base, int64_t length,
                    std::span<const int64_t> gram, int64_t distances) {
  const int64_t n = static_cast<int64_t>(gram.size());
  int64_t count = 0;
  for (int64_t distance = 1; distance <= distances; ++distance) {
    for (int64_t start = 0; start + distance * (n - 1) < length; ++start) {
      bool hit = true;
      for (int64_t k = 0; hit && k < n; ++k)
        hit = IndexAt(x, base + start + k * distance) == gram[static_cast<size_t>(k)];
      count += hit;
    }
    if (n == 1 || distance > length) break;
  }
  return count;
}

}  // namespace

Status OnnxTfIdfVectorizer(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(x, "X"));
  const Attributes& a = *c.attributes;
  const auto counts = a.Ints("ngram_counts"), columns = a.Ints("ngram_indexes"),
             pool = a.Ints("pool_int64s");
  const auto weights = a.Floats("weights");
  const int64_t least = a.Int("min_gram_length", 1), most = a.Int("max_gram_length", 1);
  const int64_t skips = a.Int("max_skip_count", 0);
  const auto mode = a.String("mode", "TF");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF")
    return InvalidArgument("unknown mode '" + std::string(mode) + "'; expected TF, IDF or TFIDF");
  if (skips < 0) return InvalidArgument("max_skip_count must not be negative");
  const int64_t width = y.dims.rank() > 0 ? y.dims.back() : 0,
                rows = x.dims.rank() == 2 ? x.dims[0] : 1;
  if (x.dims.rank() > 2 || y.dtype != DType::kFloat32 || y.dims.rank() < 1 || width < 1 ||
      y.count() != rows * width) {
    return InvalidArgument("expects X [length] or [batch, length], got " + x.dims.ToString());
  }
  const int64_t length = x.dims.rank() == 0 ? 1 : x.dims.back();
  std::fill_n(y.as<float>(), y.count(), 0.0f);
  size_t gram = 0;  // position in ngram_indexes
  for (size_t i = 0; i < counts.size(); ++i) {
    const int64_t begin = counts[i], size = static_cast<int64_t>(i) + 1;
    const int64_t end = i + 1 < counts.size() ? counts[i + 1] : static_cast<int64_t>(pool.size());
    if (begin < 0 || end < begin || end > static_cast<int64_t>(pool.size()))
      return InvalidArgument("ngram_counts does not divide pool_int64s into parts");
    for (int64_t at = begin; at + size <= end; at += size, ++gram) {
      if (gram >= columns.size()) return InvalidArgument("ngram_indexes is too short");
      const int64_t column = columns[gram];
      if (column < 0 || column >= width) return InvalidArgument("ngram_indexes is out of range");
      if (size < least || size > most) continue;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = Occurrences(
            x, r * length, length, pool.subspan(static_cast<size_t>(at), static_cast<size_t>(size)),
            std::min(skips, length) + 1);
        y.as<float>()[r * width + column] += static_cast<float>(n);
      }
    }
  }
  if (mode == "TF") return OkStatus();
  for (int64_t i = 0, n = y.count(); i < n; ++i) {
    float& v = y.as<float>()[i];
    const size_t column = static_cast<size_t>(i % width);
    const float weight = column < weights.size() ? weights[column] : 1.0f;
    if (mode == "IDF") v = v > 0 ? 1.0f : 0.0f;
    v *= weight;
  }
  return OkStatus();
}

}  // namespace slipway::ops
