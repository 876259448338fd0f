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

constexpr int kMaxRows = 8;
constexpr bool kBiasInSums = false;
constexpr int64_t kChunk = 1024;  // bytes of a row in the panel

// One run of codes for some rows and the columns of one block.
struct Piece {
  const int8_t* x[kMaxRows];
  const int8_t* w;    // of the block, where the run begins
  int64_t half;       // bytes from the first 8 columns to the others
  int64_t k;          // codes, a multiple of 8 (dotprod: 16)
  int32_t* sums;      // of the first row, 16 columns; added to
  int64_t row;        // sums from one row to the next
  int64_t together;   // steps of 8 codes whose products may be summed in narrow lanes
};

inline int8x16_t LoadW(const int8_t* p) { return vld1q_s8(p); }
inline void AddTo(int32_t* to, int32x4_t v) { vst1q_s32(to, vaddq_s32(vld1q_s32(to), v)); }
// Keeps the compiler from pointers of its own for each row, which it would let loads increment.
#define SLIPWAY_OPAQUE(v) asm("" : "+r"(v))

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
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) b[j] = LoadW(w + 16 * j);
#pragma GCC unroll 4
      for (int m = 0; m < kPairs; ++m) {
        const int8x16_t a = vld1q_s8(x + 16 * m);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) acc[m][j] = vmmlaq_s32(acc[m][j], a, b[j]);
      }
      w += 64;
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

constexpr bool kInPlace = true;
inline void RunPiece(Piece p, int rows) {
  for (int m = 0; m < rows;) {
    const int left = rows - m, now = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    Piece q = p;
    for (int i = 0; i < now; ++i) q.x[i] = p.x[m + i];
    q.sums += m * p.row;
    now == 4 ? Products<4>(q) : now == 2 ? Products<2>(q) : Products<1>(q);
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
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) b[i] = LoadW(w + 16 * i);
          w += 64;
#pragma GCC unroll 4
          for (int m = 0; m < kRows; ++m) {
            const int16x8x4_t a =
                vld4q_dup_s16(reinterpret_cast<const int16_t*>(p.x[m] + at));
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
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) b[i] = LoadW(w + 16 * i);
        w += 64;
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
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) b[i] = LoadW(w + 16 * i);
          w += 64;
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
          const int64_t end =
              at + 8 * (p.together - 1) < flush ? at + 8 * (p.together - 1) : flush;
          while (at != end) {
            int8x16_t b[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) b[i] = LoadW(w + 16 * i);
            w += 64;
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

constexpr bool kInPlace = true;

using PieceFunction = void (*)(const Piece&);
template <Form kForm>
constexpr PieceFunction kProducts[3] = {Products<kForm, 1>, Products<kForm, 2>,
                                        Products<kForm, 4>};
constexpr PieceFunction kByteProducts[2][4] = {
    {ByteProducts<2, 1>, ByteProducts<2, 2>, ByteProducts<2, 4>, ByteProducts<2, 8>},
    {ByteProducts<4, 1>, ByteProducts<4, 2>, ByteProducts<4, 4>, ByteProducts<4, 8>}};
inline void RunPiece(Piece p, int rows) {
  // From the ranges to the form: how many products are safe in a lane.
  return;
}

#endif
