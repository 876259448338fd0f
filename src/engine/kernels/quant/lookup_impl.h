// Lookups in tables of 256 codes. Part of quant_impl.h, inside of its namespace.

void Lookup(const uint8_t* x, const uint8_t* table, uint8_t* y, int64_t n) {
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

constexpr int64_t kTogether = 64;  // channels whose tables stay in the first-level cache

// Words of eight codes: single bytes would be as many loads and stores again.
void ChannelLookup(const uint8_t* x, const uint8_t* table, uint8_t* y, int64_t rows, int64_t stride,
                   int64_t channels) {
  for (int64_t first = 0; first < channels; first += kTogether) {
    const int64_t end = first + kTogether < channels ? first + kTogether : channels;
    for (int64_t r = 0; r < rows; ++r) {
      const uint8_t* from = x + r * stride;
      uint8_t* to = y + r * stride;
      int64_t c = first;
      for (; c + 8 <= end; c += 8) {
        const uint8_t* tables = table + c * 256;
        uint64_t codes, values = 0;
        std::memcpy(&codes, from + c, 8);
        for (int i = 0; i < 8; ++i)
          values |= static_cast<uint64_t>(tables[i * 256 + (codes >> (8 * i) & 255)]) << (8 * i);
        std::memcpy(to + c, &values, 8);
      }
      for (; c < end; ++c) to[c] = table[c * 256 + from[c]];
    }
  }
}

#if defined(__AVX512BW__)
// The table in four registers, 64 codes at a time.
__attribute__((target("avx512vbmi"))) void LookupVbmi(const uint8_t* x, const uint8_t* table,
                                                      uint8_t* y, int64_t n) {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64),
                t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  for (int64_t i = 0; i < n; i += 64) {
    const __mmask64 live = n - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (n - i)) - 1;
    const __m512i v = _mm512_maskz_loadu_epi8(live, x + i);
    const __m512i low = _mm512_permutex2var_epi8(t0, v, t1),
                  high = _mm512_permutex2var_epi8(t2, v, t3);
    _mm512_mask_storeu_epi8(y + i, live, _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high));
  }
}

#define SLIPWAY_VBMI __attribute__((target("avx512vbmi")))

// m[i] holds 16 dwords of row i; afterwards of column i.
__attribute__((target("avx512vbmi"), always_inline)) inline void Transpose16(__m512i (&m)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(m[i], m[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(m[i], m[i + 1]);
  }
  // m[4 * i + j]: lane l holds column 4 * l + j of rows 4 * i and the three after it.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    m[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    m[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    m[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    m[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(m[j], m[4 + j], 0x88),
                  b = _mm512_shuffle_i32x4(m[j], m[4 + j], 0xdd),
                  c = _mm512_shuffle_i32x4(m[8 + j], m[12 + j], 0x88),
                  d = _mm512_shuffle_i32x4(m[8 + j], m[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
    t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) m[i] = t[i];
}

// 16 channels of 64 rows: the codes of a channel come together in a register, whose table is then
// four others, and go back where they came from.
__attribute__((target("avx512vbmi"), noinline)) void Lookup16(const uint8_t* x,
                                                              const uint8_t* table, uint8_t* y,
                                                              int64_t stride) {
  alignas(64) uint8_t order[64], back[64];
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 16; ++c) {
      order[4 * c + r] = static_cast<uint8_t>(16 * r + c);
      back[16 * r + c] = static_cast<uint8_t>(4 * c + r);
    }
  }
  const __m512i to_channels = _mm512_load_si512(order), to_rows = _mm512_load_si512(back);
  __m512i m[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    const uint8_t* p = x + 4 * i * stride;
    const auto load = [&](int64_t at) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + at));
    };
    __m512i v = _mm512_castsi128_si512(load(0));
    v = _mm512_inserti32x4(v, load(stride), 1);
    v = _mm512_inserti32x4(v, load(2 * stride), 2);
    v = _mm512_inserti32x4(v, load(3 * stride), 3);
    m[i] = _mm512_permutexvar_epi8(to_channels, v);
  }
  Transpose16(m);
#pragma GCC unroll 16
  for (int c = 0; c < 16; ++c) {
    const uint8_t* t = table + 256 * c;
    const __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(t), m[c],
                                                 _mm512_loadu_si512(t + 64)),
                  high = _mm512_permutex2var_epi8(_mm512_loadu_si512(t + 128), m[c],
                                                  _mm512_loadu_si512(t + 192));
    m[c] = _mm512_mask_blend_epi8(_mm512_movepi8_mask(m[c]), low, high);
  }
  Transpose16(m);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    const __m512i v = _mm512_permutexvar_epi8(to_rows, m[i]);
    uint8_t* p = y + 4 * i * stride;
    const auto store = [&](int64_t at, __m128i part) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p + at), part);
    };
    store(0, _mm512_castsi512_si128(v));
    store(stride, _mm512_extracti32x4_epi32(v, 1));
    store(2 * stride, _mm512_extracti32x4_epi32(v, 2));
    store(3 * stride, _mm512_extracti32x4_epi32(v, 3));
  }
}

// `columns` (at most 64) channels of n (at most 64) rows. They are copied together: rows often lie
// so far apart that the first-level cache holds few of them. What comes next is fetched meanwhile.
SLIPWAY_VBMI void LookupBlock(const uint8_t* x, const uint8_t* table, uint8_t* y, int64_t n,
                              int64_t stride, int64_t columns, const uint8_t* next,
                              const uint8_t* next_table) {
  alignas(64) uint8_t block[64 * kTogether];
  const __mmask64 live = columns >= 64 ? ~__mmask64{0} : (__mmask64{1} << columns) - 1;
  for (int64_t i = 0; i < n; ++i) {
    _mm512_store_si512(block + i * kTogether, _mm512_maskz_loadu_epi8(live, x + i * stride));
    _mm_prefetch(reinterpret_cast<const char*>(next + i * stride), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(next_table + i * 64), _MM_HINT_T0);
  }
  for (int64_t c = 0; c < columns; c += 16)
    Lookup16(block + c, table + c * 256, block + c, kTogether);
  for (int64_t i = 0; i < n; ++i)
    _mm512_mask_storeu_epi8(y + i * stride, live, _mm512_load_si512(block + i * kTogether));
}

SLIPWAY_VBMI void ChannelLookupVbmi(const uint8_t* x, const uint8_t* table, uint8_t* y,
                                    int64_t rows, int64_t stride, int64_t channels) {
  constexpr int64_t kRows = 64, kFew = 12;  // so few rows are faster one by one
  constexpr int64_t kNear = 512;
  const int64_t whole = channels / 16 * 16;
  for (int64_t first = 0; first < whole; first += kTogether) {
    const int64_t columns = first + kTogether < whole ? kTogether : whole - first;
    for (int64_t r = 0; r < rows; r += kRows) {
      const int64_t at = r * stride + first, n = rows - r < kRows ? rows - r : kRows;
      if (n < kFew) {
        ChannelLookup(x + at, table + first * 256, y + at, n, stride, columns);
        continue;
      }
      if (n == kRows && stride <= kNear) {
        for (int64_t c = 0; c < columns; c += 16)
          Lookup16(x + at + c, table + (first + c) * 256, y + at + c, stride);
        continue;
      }
      const bool more = r + kRows < rows;
      LookupBlock(x + at, table + first * 256, y + at, n, stride, columns,
                  more ? x + at + kRows * stride : x + first + kTogether,
                  table + (first + kTogether) * 256 + r * 64);
    }
  }
  if (whole < channels)
    ChannelLookup(x + whole, table + whole * 256, y + whole, rows, stride, channels - whole);
}
#undef SLIPWAY_VBMI
#endif
