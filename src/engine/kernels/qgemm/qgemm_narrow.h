// Products of few columns and few k with AVX-512 VNNI: there the tiles of qgemm_impl.h spend more
// on their pointers, calls and sums in between than on the products. Rows of a line are equally far
// apart, so two pointers reach eight of them; sums become codes in their registers. Included by
// qgemm_impl.h (no include guard, no includes).

constexpr int kNarrowRows = 8;
constexpr int64_t kNarrowSteps = 16;  // of 4 k, in all runs: more pay for tall tiles

// The columns of a block, 16 or (kHalf) 8 in half a vector.
template <bool kHalf>
struct Narrow {
  using V = __m512i;
  static V Set(int32_t four) { return _mm512_set1_epi32(four); }
  static V Xor(V a, V b) { return _mm512_xor_si512(a, b); }
};
template <>
struct Narrow<true> {
  using V = __m256i;
  static V Set(int32_t four) { return _mm256_set1_epi32(four); }
  static V Xor(V a, V b) { return _mm256_xor_si256(a, b); }
};

// Eight rows of 8, 16 or 32 columns to codes or values.
template <int kColumns, Activates kActivates, typename Y>
__attribute__((always_inline)) inline void NarrowRows(const QGemmCall& c, const Epilogue& e,
                                                      const uint8_t* x, Y* y) {
  constexpr int kBlocks = kColumns == 32 ? 2 : 1;
  constexpr bool kHalf = kColumns == 8;
  using N = Narrow<kHalf>;
  using V = typename N::V;
  const auto load = [](const void* p) __attribute__((always_inline)) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
  };
  const int64_t steps = (c.k + 3) / 4, block = CountOf(c) * steps * 64, s = c.x_stride, s3 = 3 * s;
  const V flip = N::Set(c.flip ? static_cast<int>(0x80808080) : 0);
  V acc[kNarrowRows][kBlocks];
#pragma GCC unroll 2
  for (int v = 0; v < kBlocks; ++v) {
    const V bias = load(c.bias + v * kQGemmBlock);
#pragma GCC unroll 8
    for (int m = 0; m < kNarrowRows; ++m) acc[m][v] = bias;
  }
  const int8_t* w = c.weights;
  const int64_t* runs = RunsOf(c);
  const int64_t* const last = runs + CountOf(c);
  do {
    const uint8_t* p = x + *runs++;
    const uint8_t* const end = p + 4 * steps;
    const uint8_t* q = p + 4 * s;
    do {
      V b[kBlocks];
#pragma GCC unroll 2
      for (int v = 0; v < kBlocks; ++v) b[v] = load(w + v * block);
      w += 64;
#pragma GCC unroll 8
      for (int m = 0; m < kNarrowRows; ++m) {
        const uint8_t* from = m < 4 ? p : q;
        from += m % 4 == 3 ? s3 : m % 4 * s;
        int32_t four;
        std::memcpy(&four, from, 4);
        const V a = N::Xor(N::Set(four), flip);
#pragma GCC unroll 2
        for (int v = 0; v < kBlocks; ++v)
          asm("vpdpbusd %2, %1, %0" : "+v"(acc[m][v]) : "v"(a), "v"(b[v]));
      }
      p += 4, q += 4;
    } while (p != end);
  } while (runs != last);
  // Of so many rows four vectors are made codes at once.
  constexpr int kTogether = 64 / kColumns;
#pragma GCC unroll 4
  for (int m = 0; m < kNarrowRows; m += kTogether, y += kTogether * c.y_stride) {
    __m512i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      __m512i sum;
      __m512 multiplier;
      if constexpr (kHalf) {
        sum =
            _mm512_inserti64x4(_mm512_castsi256_si512(acc[m + 2 * i][0]), acc[m + 2 * i + 1][0], 1);
        multiplier = _mm512_castpd_ps(
            _mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(c.multiplier))));
      } else {
        sum = acc[m + i / kBlocks][i % kBlocks];
        multiplier = _mm512_loadu_ps(c.multiplier + i % kBlocks * kQGemmBlock);
      }
      const __m512 f = e.Activated<kActivates>(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier));
      if constexpr (std::is_same_v<Y, float>) {
        if constexpr (kHalf) {
          _mm256_storeu_ps(y + 2 * i * c.y_stride, _mm512_castps512_ps256(f));
          _mm256_storeu_ps(y + (2 * i + 1) * c.y_stride, _mm512_extractf32x8_ps(f, 1));
        } else {
          _mm512_storeu_ps(y + i / kBlocks * c.y_stride + i % kBlocks * kQGemmBlock, f);
        }
      } else {
        v[i] = _mm512_cvtps_epi32(f);
      }
    }
    if constexpr (std::is_same_v<Y, float>) continue;
    const __m512i codes = e.to.Codes4(v[0], v[1], v[2], v[3]);
    if (c.y_stride == kColumns) {
      _mm512_storeu_si512(y, codes);
    } else {
      alignas(64) uint8_t line[64];
      _mm512_store_si512(line, codes);
#pragma GCC unroll 8
      for (int r = 0; r < kTogether; ++r)
        std::memcpy(y + r * c.y_stride, line + r * kColumns, kColumns);
    }
  }
}

template <int kColumns, Activates kActivates, typename Y = uint8_t>
__attribute__((noinline)) void RunNarrow(const QGemmCall& c, const Epilogue& e) {
  const int64_t line = c.line > 0 ? c.line : c.rows;
  const uint8_t* x = c.x;
  Y* y = static_cast<Y*>(c.y);
  for (int64_t row = 0; row < c.rows; row += line, x += c.line_stride) {
    // The last eight of a line overlap with those before.
    const int64_t rows = c.rows - row < line ? c.rows - row : line;
    for (int64_t i = 0; i < rows; i += kNarrowRows) {
      const int64_t at = i + kNarrowRows <= rows ? i : rows - kNarrowRows;
      NarrowRows<kColumns, kActivates>(c, e, x + at * c.x_stride, y + (row + at) * c.y_stride);
    }
  }
}

template <int kColumns>
void RunNarrow(const QGemmCall& c, const Epilogue& e) {
  if (c.y_type == CodeType::kF32)
    return c.activation ? RunNarrow<kColumns, Activates::kLeaky, float>(c, e)
                        : RunNarrow<kColumns, Activates::kNot, float>(c, e);
  if (!c.activation) return RunNarrow<kColumns, Activates::kNot>(c, e);
  if (c.leaky) return RunNarrow<kColumns, Activates::kLeaky>(c, e);
  RunNarrow<kColumns, Activates::kTable>(c, e);
}

// Whether it was such a call, which is done then.
inline bool TryNarrow(const QGemmCall& c, const Epilogue& e) {
  const bool codes = c.y_type != CodeType::kF32;
  if ((codes && !c.bounded) || c.groups != 1 || c.row_add || c.z ||
      (c.activation && !c.leaky && !(codes && c.rectifier.limit > 0)))
    return false;
  if ((c.columns != 8 && c.columns != 16 && c.columns != 32) || c.first_block > 0 ||
      c.end_block < (c.columns + kQGemmBlock - 1) / kQGemmBlock)
    return false;
  const int64_t line = c.line > 0 ? c.line : c.rows, left = c.rows % (line > 0 ? line : 1);
  if (CountOf(c) * ((c.k + 3) / 4) > kNarrowSteps || line < kNarrowRows || c.rows < kNarrowRows ||
      (left > 0 && left < kNarrowRows))
    return false;
  if (c.columns == 8)
    RunNarrow<8>(c, e);
  else if (c.columns == 16)
    RunNarrow<16>(c, e);
  else
    RunNarrow<32>(c, e);
  return true;
}
