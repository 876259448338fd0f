// The pieces of C of Resize and QResize: see kernels.cc.

#include "engine/backends/csource/kernels.h"

namespace slipway::backends::csource {
namespace {

constexpr Piece kPieces[] = {
    // index, weight: of every axis, [out, taps]; none where nothing happens along it, no weights
    // where the nearest is taken. last: the axis whose sums come last.
    {"resizing", "", R"(
typedef struct {
  int32_t rank, count, last;
  int32_t out[8], stride[8], taps[8];
  const int32_t* index[8];
  const float* weight[8];
} sw_resizing;
/* Where output o of axis d reads for the k-th time. */
static int32_t sw_resize_at(const sw_resizing* r, int32_t d, int32_t o, int32_t k) {
  return (r->index[d] ? r->index[d][o * r->taps[d] + k] : o) * r->stride[d];
}
/* The next of count[0] x count[1] x ... ; 0 behind the last. An axis `fixed` stays. */
static int sw_resize_next(int32_t rank, const int32_t* count, int32_t fixed, int32_t* at) {
  int32_t d;
  for (d = rank - 1; d >= 0; --d) {
    if (d == fixed) continue;
    if (++at[d] < count[d]) return 1;
    at[d] = 0;
  }
  return 0;
}
)"},
    {"resize_weight", "resizing", R"(
/* What it counts there. */
static float sw_resize_weight(const sw_resizing* r, int32_t d, int32_t o, int32_t k) {
  return r->weight[d] ? r->weight[d][o * r->taps[d] + k] : 1.0f;
}
)"},
    {"resize_nearest", "resizing", R"(
static void sw_resize_nearest(const sw_resizing* r, int32_t size, const void* x, void* y) {
  int32_t o[8] = {0, 0, 0, 0, 0, 0, 0, 0}, i, d;
  for (i = 0; i < r->count; ++i) {
    int32_t from = 0;
    for (d = 0; d < r->rank; ++d) from += sw_resize_at(r, d, o[d], 0);
    memcpy((char*)y + (size_t)i * (size_t)size, (const char*)x + (size_t)from * (size_t)size, (size_t)size);
    sw_resize_next(r->rank, r->out, -1, o);
  }
}
)"},
    {"resize", "resize_weight", R"(
static void sw_resize(const sw_resizing* r, const float* x, float* y) {
  int32_t o[8] = {0, 0, 0, 0, 0, 0, 0, 0}, i, d;
  for (i = 0; i < r->count; ++i) {
    int32_t k[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    double sum = 0.0;
    do {
      double w = 1.0;
      int32_t from = 0;
      for (d = 0; d < r->rank; ++d) {
        from += sw_resize_at(r, d, o[d], k[d]);
        w *= sw_resize_weight(r, d, o[d], k[d]);
      }
      if (w != 0.0) sum += w * x[from];
    } while (sw_resize_next(r->rank, r->taps, -1, k));
    y[i] = (float)sum;
    sw_resize_next(r->rank, r->out, -1, o);
  }
}
)"},
    {"qresize", "resize_weight store", R"(
static void sw_qresize(const sw_resizing* r, int32_t flip, int32_t zero, float multiplier, const sw_target* to, const uint8_t* x, void* y) {
  int32_t o[8] = {0, 0, 0, 0, 0, 0, 0, 0}, i, d, j;
  for (i = 0; i < r->count; ++i) {
    float v = 0.0f;
    for (j = 0; j < r->taps[r->last]; ++j) {
      int32_t k[8] = {0, 0, 0, 0, 0, 0, 0, 0};
      float sum = 0.0f;
      k[r->last] = j;
      do {
        float w = 1.0f;
        int32_t from = 0;
        for (d = 0; d < r->rank; ++d) {
          from += sw_resize_at(r, d, o[d], k[d]);
          if (d != r->last) w *= sw_resize_weight(r, d, o[d], k[d]);
        }
        sum += w * (float)((int32_t)(x[from] ^ flip) - zero);
      } while (sw_resize_next(r->rank, r->taps, r->last, k));
      v += sw_resize_weight(r, r->last, o[r->last], j) * sum;
    }
    sw_store(to, i, v * multiplier, y);
    sw_resize_next(r->rank, r->out, -1, o);
  }
}
)"},
};

}  // namespace

std::span<const Piece> ResizePieces() { return kPieces; }

}  // namespace slipway::backends::csource
