// Tiles of integer products on NEON: part of qgemm_impl.h, inside of its namespace.
//
// Weights lie for the level they are packed for (qgemm.h, QGemmPlace). Rows are read in place, or
// from a panel on the stack where their codes must be moved to signed ones or runs are short. What
// one level can do:
//
//   baseline  products of 8 bits in lanes of 16, as many of them as are safe for the two ranges,
//             then SADALP; or in lanes of 8 where four products (or two) fit (Han et al.,
//             "Extremely Low-bit Convolution Optimization for Quantized Neural Network on Modern
//             Computer Architectures", ICPP 2020)
//   dotprod   SDOT by element: 4 products a lane
//   i8mm      SMMLA: two rows by two columns, 8 products each
//
// All sums are exact; the order of intrinsics is that of issue on cores that do not reorder.

#if defined(__ARM_FEATURE_DOTPROD)
constexpr int kMaxRows = 8;
#else
constexpr int kMaxRows = 12;  // loops take 4 rows or 3
#endif
constexpr bool kBiasInSums = false;
constexpr int64_t kChunk = 1024;  // bytes of a row in the panel

// One run of codes for some rows and the columns of one block.
struct Piece {
  const int8_t* x[kMaxRows];
  const int8_t* w;  // of the block, where the run begins
  int64_t half;     // bytes from the first 8 columns to the others
  int64_t k;        // codes, a multiple of 16
  int32_t* sums;    // of the first row, 16 columns; added to
  int64_t row;      // sums from one row to the next
  // Products that a lane of 16 bits, and one of 8, can sum; steps of 4 of them (both baseline).
  int products, byte_products;
  int64_t together;
};

// How far the weights of code k lie from the first, of 8 columns (of 16 with SDOT).
inline int64_t PiecePlace(int64_t k) {
#if defined(__ARM_FEATURE_DOTPROD) && !defined(__ARM_FEATURE_MATMUL_INT8)
  return 16 * k;
#else
  return 8 * k;
#endif
}
inline int8x16_t LoadW(const int8_t* p) { return vld1q_s8(p); }
// The weights of one step, which w then lies behind.
inline void LoadFour(int8x16_t (&b)[4], const int8_t*& w) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) b[i] = LoadW(w + 16 * i);
  w += 64;
}
inline void AddTo(int32_t* to, int32x4_t v) { vst1q_s32(to, vaddq_s32(vld1q_s32(to), v)); }
// Keeps the compiler from pointers of its own for each row, which it would let loads increment.
#define SLIPWAY_OPAQUE(v) asm("" : "+r"(v))

#include "engine/kernels/qgemm/arm_loops.h"

#if defined(__ARM_FEATURE_MATMUL_INT8)

// kPairs pairs of rows: 2 rows of 8 codes lie side by side in the panel.
template <int kPairs>
__attribute__((noinline)) void Products(const Piece& p) {
  for (int h = 0; h < 2; ++h) {
    int32x4_t acc[kPairs][4];
#pragma GCC unroll 4
    for (int m = 0; m < kPairs; ++m) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) acc[m][j] = vdupq_n_s32(0);
    }
    const int8_t* w = p.w + h * p.half;
    const int8_t* x = p.x[0];
    const int8_t* const end = w + 8 * p.k;
    do {
      int8x16_t b[4];
      LoadFour(b, w);
#pragma GCC unroll 4
      for (int m = 0; m < kPairs; ++m) {
        const int8x16_t a = vld1q_s8(x + 16 * m);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) acc[m][j] = vmmlaq_s32(acc[m][j], a, b[j]);
      }
      x += 2 * kMaxRows * 4;
      SLIPWAY_OPAQUE(x);
    } while (w != end);
#pragma GCC unroll 4
    for (int m = 0; m < kPairs; ++m) {
      int32_t* to = p.sums + 2 * m * p.row + 8 * h;
#pragma GCC unroll 2
      for (int j = 0; j < 4; j += 2) {
        const int64x2_t a = vreinterpretq_s64_s32(acc[m][j]),
                        b = vreinterpretq_s64_s32(acc[m][j + 1]);
        AddTo(to + 2 * j, vreinterpretq_s32_s64(vzip1q_s64(a, b)));
        AddTo(to + p.row + 2 * j, vreinterpretq_s32_s64(vzip2q_s64(a, b)));
      }
    }
  }
}

constexpr bool kInPlace = false;
inline void RunPiece(const Piece& p, int rows) {
  if (rows > 4) return Products<4>(p);
  if (rows > 2) return Products<2>(p);
  Products<1>(p);
}

#elif defined(__ARM_FEATURE_DOTPROD)

template <int kRows>
__attribute__((noinline)) void Products(const Piece& p) {
  int32x4_t acc[kRows][4];
#pragma GCC unroll 4
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[m][j] = vdupq_n_s32(0);
  }
  const int8_t* w = p.w;
  int64_t at = 0;
  do {
    int8x16_t a[kRows];
#pragma GCC unroll 4
    for (int m = 0; m < kRows; ++m) a[m] = vld1q_s8(p.x[m] + at);
    const auto step = [&](auto lane) {
      int8x16_t b[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) b[j] = LoadW(w + 64 * lane() + 16 * j);
#pragma GCC unroll 4
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) acc[m][j] = vdotq_laneq_s32(acc[m][j], b[j], a[m], lane());
      }
    };
    step([]() constexpr { return 0; });
    step([]() constexpr { return 1; });
    step([]() constexpr { return 2; });
    step([]() constexpr { return 3; });
    w += 256;
    at += 16;
    SLIPWAY_OPAQUE(at);
  } while (at != p.k);
#pragma GCC unroll 4
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) AddTo(p.sums + m * p.row + 4 * j, acc[m][j]);
  }
}

__attribute__((noinline)) void TallProducts(const Piece& p) {
  int32_t out[4 * 16];
  LoopDot(p.x, p.w, p.k, out);
  for (int m = 0; m < 4; ++m) {
    for (int j = 0; j < 16; j += 4) AddTo(p.sums + m * p.row + j, vld1q_s32(out + 16 * m + j));
  }
}

constexpr bool kInPlace = true;
inline void RunPiece(Piece p, int rows) {
  for (int m = 0; m < rows;) {
    const int left = rows - m, now = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    Piece q = p;
    for (int i = 0; i < now; ++i) q.x[i] = p.x[m + i];
    q.sums += m * p.row;
    now == 4 ? TallProducts(q) : now == 2 ? Products<2>(q) : Products<1>(q);
    m += now;
  }
}

#else

// Sums of products in lanes of 16 bits: of one pair of codes each; of two; or of 4 pairs of every
// step, `together` steps long.
enum class Form : uint8_t { kOne, kTwo, kMany };

inline int8x8_t Low(int8x16_t v) { return vget_low_s8(v); }

// 8 columns and kRows rows, two codes of a row beside each other in a lane pair.
template <Form kForm, int kRows>
__attribute__((noinline)) void Products(const Piece& p) {
  for (int h = 0; h < 2; ++h) {
    int32x4_t acc[kRows][2];
#pragma GCC unroll 4
    for (int m = 0; m < kRows; ++m) acc[m][0] = acc[m][1] = vdupq_n_s32(0);
    const int8_t* w = p.w + h * p.half;
    int64_t at = 0;
    if constexpr (kForm == Form::kMany) {
      do {
        int16x8_t sum[kRows][2];
#pragma GCC unroll 4
        for (int m = 0; m < kRows; ++m) sum[m][0] = sum[m][1] = vdupq_n_s16(0);
        const int64_t end = at + 8 * p.together < p.k ? at + 8 * p.together : p.k;
        do {
          int8x16_t b[4];
          LoadFour(b, w);
#pragma GCC unroll 4
          for (int m = 0; m < kRows; ++m) {
            const int16x8x4_t a = vld4q_dup_s16(reinterpret_cast<const int16_t*>(p.x[m] + at));
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
              const int8x16_t c = vreinterpretq_s8_s16(a.val[i]);
              sum[m][0] = vmlal_s8(sum[m][0], Low(b[i]), Low(c));
              sum[m][1] = vmlal_high_s8(sum[m][1], b[i], c);
            }
          }
          at += 8;
          SLIPWAY_OPAQUE(at);
        } while (at != end);
#pragma GCC unroll 4
        for (int m = 0; m < kRows; ++m) {
          acc[m][0] = vpadalq_s16(acc[m][0], sum[m][0]);
          acc[m][1] = vpadalq_s16(acc[m][1], sum[m][1]);
        }
      } while (at != p.k);
    } else {
      do {
        int8x16_t b[4];
        LoadFour(b, w);
#pragma GCC unroll 4
        for (int m = 0; m < kRows; ++m) {
          const int16x8x4_t a = vld4q_dup_s16(reinterpret_cast<const int16_t*>(p.x[m] + at));
          int16x8_t s[4];
          int8x16_t c[4];
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) c[i] = vreinterpretq_s8_s16(a.val[i]);
          if constexpr (kForm == Form::kTwo) {
            s[0] = vmull_s8(Low(b[0]), Low(c[0]));
            s[1] = vmull_high_s8(b[0], c[0]);
            s[2] = vmull_s8(Low(b[2]), Low(c[2]));
            s[3] = vmull_high_s8(b[2], c[2]);
            s[0] = vmlal_s8(s[0], Low(b[1]), Low(c[1]));
            s[1] = vmlal_high_s8(s[1], b[1], c[1]);
            s[2] = vmlal_s8(s[2], Low(b[3]), Low(c[3]));
            s[3] = vmlal_high_s8(s[3], b[3], c[3]);
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) acc[m][i % 2] = vpadalq_s16(acc[m][i % 2], s[i]);
          } else {
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
              acc[m][0] = vpadalq_s16(acc[m][0], vmull_s8(Low(b[i]), Low(c[i])));
              acc[m][1] = vpadalq_s16(acc[m][1], vmull_high_s8(b[i], c[i]));
            }
          }
        }
        at += 8;
        SLIPWAY_OPAQUE(at);
      } while (at != p.k);
    }
#pragma GCC unroll 4
    for (int m = 0; m < kRows; ++m) {
      AddTo(p.sums + m * p.row + 8 * h, acc[m][0]);
      AddTo(p.sums + m * p.row + 8 * h + 4, acc[m][1]);
    }
  }
}

// Sums of kBody products in lanes of 8 bits; where kBody is 4, of as many again for `together`
// steps.
template <int kBody, int kRows>
__attribute__((noinline)) void ByteProducts(const Piece& p) {
  // A lane of 16 bits takes 127 pairs of sums of at most 128 each.
  const int64_t most = 8 * 127 * (kBody == 4 ? p.together : 1) / (4 / kBody);
  for (int h = 0; h < 2; ++h) {
    const int8_t* w = p.w + h * p.half;
    for (int64_t at = 0; at != p.k;) {
      int16x8_t acc[kRows];
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) acc[m] = vdupq_n_s16(0);
      const int64_t flush = at + most / 8 * 8 < p.k ? at + most / 8 * 8 : p.k;
      do {
        int8x16_t sum[kRows];
        const auto first = [&] {
          int8x16_t b[4];
          LoadFour(b, w);
#pragma GCC unroll 8
          for (int m = 0; m < kRows; ++m) {
            const int16x8x4_t a = vld4q_dup_s16(reinterpret_cast<const int16_t*>(p.x[m] + at));
            int8x16_t c[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) c[i] = vreinterpretq_s8_s16(a.val[i]);
            if constexpr (kBody == 4) {
              sum[m] = vmulq_s8(b[0], c[0]);
              sum[m] = vmlaq_s8(sum[m], b[1], c[1]);
              sum[m] = vmlaq_s8(sum[m], b[2], c[2]);
              sum[m] = vmlaq_s8(sum[m], b[3], c[3]);
            } else {
              const int8x16_t s = vmlaq_s8(vmulq_s8(b[0], c[0]), b[1], c[1]),
                              t = vmlaq_s8(vmulq_s8(b[2], c[2]), b[3], c[3]);
              acc[m] = vpadalq_s8(acc[m], s);
              acc[m] = vpadalq_s8(acc[m], t);
            }
          }
          at += 8;
          SLIPWAY_OPAQUE(at);
        };
        first();
        if constexpr (kBody == 4) {
          const int64_t end = at + 8 * (p.together - 1) < flush ? at + 8 * (p.together - 1) : flush;
          while (at != end) {
            int8x16_t b[4];
            LoadFour(b, w);
#pragma GCC unroll 8
            for (int m = 0; m < kRows; ++m) {
              const int16x8x4_t a = vld4q_dup_s16(reinterpret_cast<const int16_t*>(p.x[m] + at));
#pragma GCC unroll 4
              for (int i = 0; i < 4; ++i)
                sum[m] = vmlaq_s8(sum[m], b[i], vreinterpretq_s8_s16(a.val[i]));
            }
            at += 8;
            SLIPWAY_OPAQUE(at);
          }
#pragma GCC unroll 8
          for (int m = 0; m < kRows; ++m) acc[m] = vpadalq_s8(acc[m], sum[m]);
        }
      } while (at != flush);
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
        int32_t* to = p.sums + m * p.row + 8 * h;
        vst1q_s32(to, vaddw_s16(vld1q_s32(to), vget_low_s16(acc[m])));
        vst1q_s32(to + 4, vaddw_high_s16(vld1q_s32(to + 4), acc[m]));
      }
    }
  }
}

// 4 rows, by the loops of arm_loops.h.
template <Form kForm>
__attribute__((noinline)) void TallProducts(const Piece& p) {
  for (int h = 0; h < 2; ++h) {
    const int8_t *w = p.w + h * p.half, *x[4] = {p.x[0], p.x[1], p.x[2], p.x[3]};
    int32_t out[4 * 8];
    if constexpr (kForm == Form::kTwo) {
      LoopTwo(x, w, p.k, out);
    } else {
      std::memset(out, 0, sizeof out);
      for (int64_t at = 0; at < p.k; at += 8 * p.together) {
        const int64_t now = p.k - at < 8 * p.together ? p.k - at : 8 * p.together;
        LoopMany(x, w + 8 * at, now, out);
        for (const int8_t*& row : x) row += now;
      }
    }
    for (int m = 0; m < 4; ++m) {
      for (int i = 0; i < 8; i += 4)
        AddTo(p.sums + m * p.row + 8 * h + i, vld1q_s32(out + 8 * m + i));
    }
  }
}

inline void AddRow(const int16_t* out, int32_t* to) {
  const int16x8_t a = vld1q_s16(out), b = vld1q_s16(out + 8);
  vst1q_s32(to, vaddw_s16(vld1q_s32(to), vget_low_s16(a)));
  vst1q_s32(to + 4, vaddw_s16(vld1q_s32(to + 4), vget_low_s16(b)));
  vst1q_s32(to + 8, vaddw_high_s16(vld1q_s32(to + 8), a));
  vst1q_s32(to + 12, vaddw_high_s16(vld1q_s32(to + 12), b));
}

// 4 rows.
__attribute__((noinline)) void TallByteProducts(const Piece& p) {
  // A lane of 16 bits takes 127 pairs of sums of at most 128 each.
  constexpr int64_t kMost = 16 * 31;
  for (int64_t at = 0; at < p.k; at += kMost) {
    const int64_t now = p.k - at < kMost ? p.k - at : kMost;
    const int8_t *w = p.w + 8 * at, *x[4];
    for (int m = 0; m < 4; ++m) x[m] = p.x[m] + at;
    int16_t out[4 * 2 * 8];
    LoopBytes2(x, w, w + p.half, now, out);
    for (int m = 0; m < 4; ++m) AddRow(out + m * 16, p.sums + m * p.row);
  }
}

// 3 rows, or 2: then the second is the third too, whose sums are dropped.
template <int kRows>
__attribute__((noinline)) void ThreeByteProducts(const Piece& p) {
  const bool often = p.byte_products < 8, seldom = p.byte_products >= 16;
  const auto loop = often ? LoopBytes4 : seldom ? LoopBytes16 : LoopBytes8;
  const int64_t most = often ? 32 * 31 : seldom ? 32 * 126 : 32 * 63;  // as above
  int16_t out[3 * 2 * 8];
  Bytes bytes;
  bytes.out = out;
  for (int64_t at = 0; at < p.k; at += most) {
    bytes.k = p.k - at < most ? p.k - at : most;
    bytes.w = p.w + 8 * at;
    bytes.v = bytes.w + p.half;
    for (int m = 0; m < 3; ++m) bytes.x[m] = p.x[m < kRows ? m : kRows - 1] + at;
    loop(bytes);
    for (int m = 0; m < kRows; ++m) AddRow(out + m * 16, p.sums + m * p.row);
  }
}

constexpr bool kInPlace = true;

using PieceFunction = void (*)(const Piece&);
// Of 1, 2, 3 and 4 rows; null where a piece has fewer.
template <Form kForm>
constexpr PieceFunction kProducts[4] = {
    Products<kForm, 1>, Products<kForm, 2>, nullptr,
    kForm == Form::kOne ? Products<kForm, 4> : TallProducts<kForm>};
constexpr PieceFunction kByteProducts[2][4] = {
    {ByteProducts<2, 1>, ByteProducts<2, 2>, nullptr, TallByteProducts},
    {ByteProducts<4, 1>, ThreeByteProducts<2>, ThreeByteProducts<3>, nullptr}};
inline void RunPiece(Piece p, int rows) {
  const PieceFunction* functions = p.products >= 8   ? kProducts<Form::kMany>
                                   : p.products >= 2 ? kProducts<Form::kTwo>
                                                     : kProducts<Form::kOne>;
  p.together = p.products / 4;
  if (p.byte_products >= 2) {
    functions = kByteProducts[p.byte_products >= 4];
    p.together = p.byte_products / 4;
  }
  for (int m = 0; m < rows;) {
    int now = rows - m < 4 ? rows - m : 4;
    while (!functions[now - 1]) --now;
    Piece q = p;
    for (int r = 0; r < now; ++r) q.x[r] = p.x[m + r];
    q.sums += m * p.row;
    functions[now - 1](q);
    m += now;
  }
}

#endif

// Where the codes of a row lie in the panel.
inline int8_t* PanelPlace(int8_t* panel, int row, int64_t k) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  return panel + k * kMaxRows + row * 8;  // k: a multiple of 8
#else
  return panel + row * kChunk + k;
#endif
}

// Codes [at, at + n) of the runs one behind the other, each of `run` bytes (a multiple of 4), with
// zeros behind the last.
inline void FillRow(int8_t* panel, int row, const uint8_t* x, const int64_t* runs, int64_t count,
                    int64_t run, uint8_t flip, int64_t at, int64_t n) {
  const uint8x16_t flips = vdupq_n_u8(flip);
  int64_t r = at / run, in = at % run;
  for (int64_t k = 0; k < n;) {
    int64_t left = n - k;
    if (r == count) {
      for (; k < n; k += 4) std::memset(PanelPlace(panel, row, k & ~7) + (k & 7), 0, 4);
      return;
    }
    left = left < run - in ? left : run - in;
    const uint8_t* from = x + runs[r] + in;
    ++r, in = 0;
    for (; left >= 16 && k % 8 == 0; left -= 16, k += 16, from += 16) {
      const uint8x16_t v = veorq_u8(vld1q_u8(from), flips);
      vst1_u8(reinterpret_cast<uint8_t*>(PanelPlace(panel, row, k)), vget_low_u8(v));
      vst1_u8(reinterpret_cast<uint8_t*>(PanelPlace(panel, row, k + 8)), vget_high_u8(v));
    }
    for (; left > 0; left -= 4, k += 4, from += 4) {
      uint32_t four;
      std::memcpy(&four, from, 4);
      four ^= 0x01010101u * flip;
      std::memcpy(PanelPlace(panel, row, k & ~7) + (k & 7), &four, 4);
    }
  }
}

void RunTile(const Tile& t, int rows) {
  const QGemmCall& c = *t.call;
  const int64_t* runs = RunsOf(c);
  const int64_t count = CountOf(c), run = 4 * t.steps, depth = (count * run + 15) / 16 * 16;
  const QGemmBounds safe = SafeProducts(c.x_low, c.x_high, c.w_low, c.w_high);
  Piece p;
  p.half = 8 * depth;
  p.row = t.blocks * kQGemmBlock;
  p.products = safe.halves;
  p.byte_products = safe.bytes;
  std::memset(t.sums, 0, static_cast<size_t>((rows + 1) / 2 * 2 * p.row) * 4);
  if (kInPlace && !c.flip && run % 16 == 0 && (count == 1 || run >= 64)) {
    for (int v = 0; v < t.blocks; ++v) {
      p.sums = t.sums + v * kQGemmBlock;
      p.k = run;
      for (int64_t r = 0; r < count; ++r) {
        for (int m = 0; m < rows; ++m)
          p.x[m] = reinterpret_cast<const int8_t*>(t.x[m] + runs[r] + t.group_x[v]);
        p.w = t.w + v * t.block + PiecePlace(r * run);
        RunPiece(p, rows);
      }
    }
    return;
  }
  alignas(16) int8_t panel[kMaxRows * kChunk];
  for (int64_t at = 0; at < depth; at += kChunk) {
    p.k = depth - at < kChunk ? depth - at : kChunk;
    for (int m = 0; m < kMaxRows; ++m) p.x[m] = PanelPlace(panel, m, 0);
    for (int v = 0; v < t.blocks; ++v) {
      if (v == 0 || t.group_x[v] != t.group_x[v - 1]) {
        for (int m = 0; m < rows; ++m)
          FillRow(panel, m, t.x[m] + t.group_x[v], runs, count, run, c.flip ? 0x80 : 0, at, p.k);
      }
      p.sums = t.sums + v * kQGemmBlock;
      p.w = t.w + v * t.block + PiecePlace(at);
      RunPiece(p, rows);
    }
  }
}

using TileFunction = void (*)(const Tile&);
template <int kRows>
void RunRows(const Tile& t) {
  RunTile(t, kRows);
}
constexpr TileFunction kOneTile[kMaxRows] = {
    RunRows<1>, RunRows<2>,  RunRows<3>,  RunRows<4>,
    RunRows<5>, RunRows<6>,  RunRows<7>,  RunRows<8>,
#if !defined(__ARM_FEATURE_DOTPROD)
    RunRows<9>, RunRows<10>, RunRows<11>, RunRows<12>,
#endif
};
