// Packing of the right side of a product of two activations, and sums of rows. Part of
// qgemm_impl.h, inside of its namespace.

#if defined(__aarch64__)

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr Isa kLevel = Isa::kArmI8mm;
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr Isa kLevel = Isa::kArmDotprod;
#else
constexpr Isa kLevel = Isa::kBaseline;
#endif

// The code of k and column n is b[k * k_stride + n * n_stride]. 16 by 16 at a time.
inline void PackCodes(const uint8_t* b, int64_t k_stride, int64_t n_stride, int64_t k, int64_t n,
                      bool flip, int8_t* packed, int32_t* sums) {
  const uint8_t mask = flip ? 0x80 : 0;
  const int64_t depth = (k + 15) / 16 * 16;
  for (int64_t j = 0; j < n; j += kQGemmBlock, packed += depth * kQGemmBlock) {
    const int64_t columns = n - j < kQGemmBlock ? n - j : kQGemmBlock;
    for (int c = 0; c < kQGemmBlock; ++c) sums[j + c] = 0;
    for (int64_t i = 0; i < depth; i += 16) {
      alignas(16) int8_t part[256] = {};
      const int64_t codes = k - i < 16 ? k - i : 16;
      for (int64_t t = 0; t < codes; ++t) {
        const uint8_t* from = b + (i + t) * k_stride + j * n_stride;
        for (int64_t c = 0; c < columns; ++c) {
          const auto v = static_cast<int8_t>(from[c * n_stride] ^ mask);
          part[QGemmPlace(kLevel, 16, t, c)] = v;
          sums[j + c] += v;
        }
      }
      if (kLevel == Isa::kArmDotprod) {
        std::memcpy(packed + i * 16, part, 256);
      } else {
        std::memcpy(packed + i * 8, part, 128);
        std::memcpy(packed + depth * 8 + i * 8, part + 128, 128);
      }
    }
  }
}
void Pack(const uint8_t* b, int64_t row_stride, int64_t k, int64_t n, bool flip, int8_t* packed,
          int32_t* sums) {
  PackCodes(b, row_stride, 1, k, n, flip, packed, sums);
}
void PackRows(const uint8_t* b, int64_t stride, int64_t k, int64_t n, bool flip, int8_t* packed,
              int32_t* sums) {
  PackCodes(b, 1, stride, k, n, flip, packed, sums);
}

#else

void Pack(const uint8_t* b, int64_t row_stride, int64_t k, int64_t n, bool flip, int8_t* packed,
          int32_t* sums) {
  const uint8_t mask = flip ? 0x80 : 0;
  for (int64_t j = 0; j < n; j += kQGemmBlock) {
    const int64_t columns = n - j < kQGemmBlock ? n - j : kQGemmBlock;
#if defined(__AVX2__)
    const __m128i flips = _mm_set1_epi8(static_cast<char>(mask)),
                  live = _mm_cmpgt_epi8(
                      _mm_set1_epi8(static_cast<char>(columns)),
                      _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    __m256i low = _mm256_setzero_si256(), high = low;  // sums of columns 0 to 7, 8 to 15
    const __m256i ones = _mm256_set1_epi8(1), pairs = _mm256_set1_epi16(1);
#else
    for (int c = 0; c < kQGemmBlock; ++c) sums[j + c] = 0;
#endif
    for (int64_t i = 0; i < k; i += 4, packed += 64) {
      const uint8_t* from = b + i * row_stride + j;
#if defined(__AVX2__)
      __m256i lower, upper;
      // Behind the columns of a narrow block lies the next row, of all but the last.
      if (i + 4 <= k && (columns == kQGemmBlock || (i + 4 < k && columns + row_stride >= 16))) {
        __m128i r[4];
        for (int t = 0; t < 4; ++t)
          r[t] = _mm_and_si128(
              _mm_xor_si128(
                  _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + t * row_stride)), flips),
              live);
        const __m128i ab = _mm_unpacklo_epi8(r[0], r[1]), cd = _mm_unpacklo_epi8(r[2], r[3]),
                      ef = _mm_unpackhi_epi8(r[0], r[1]), gh = _mm_unpackhi_epi8(r[2], r[3]);
        lower = _mm256_set_m128i(_mm_unpackhi_epi16(ab, cd), _mm_unpacklo_epi16(ab, cd));
        upper = _mm256_set_m128i(_mm_unpackhi_epi16(ef, gh), _mm_unpacklo_epi16(ef, gh));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed), lower);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed + 32), upper);
      } else
#endif
      {
        std::memset(packed, 0, 64);
        const int64_t rows = k - i < 4 ? k - i : 4;
        for (int64_t t = 0; t < rows; ++t) {
          for (int64_t c = 0; c < columns; ++c)
            packed[c * 4 + t] = static_cast<int8_t>(from[t * row_stride + c] ^ mask);
        }
#if defined(__AVX2__)
        lower = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed));
        upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + 32));
#endif
      }
#if defined(__AVX2__)
      // Pairs of signed bytes do not leave 16 bits.
      const auto four = [&](__m256i v) {
        return _mm256_madd_epi16(_mm256_maddubs_epi16(ones, v), pairs);
      };
      low = _mm256_add_epi32(low, four(lower));
      high = _mm256_add_epi32(high, four(upper));
#else
      for (int c = 0; c < kQGemmBlock; ++c)
        sums[j + c] += packed[4 * c] + packed[4 * c + 1] + packed[4 * c + 2] + packed[4 * c + 3];
#endif
    }
#if defined(__AVX2__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + j), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + j + 8), high);
#endif
  }
}

// Columns that lie together in b. 16 of k at a time, of 4 columns.
void PackRows(const uint8_t* b, int64_t stride, int64_t k, int64_t n, bool flip, int8_t* packed,
              int32_t* sums) {
  const uint8_t mask = flip ? 0x80 : 0;
  const int64_t steps = (k + 3) / 4;
  for (int64_t j = 0; j < n; j += kQGemmBlock, packed += 64 * steps) {
#if defined(__AVX2__)
    const __m128i ones = _mm_set1_epi8(1), pairs = _mm_set1_epi16(1);
    const __m128i flips = _mm_set1_epi8(static_cast<char>(mask));
    for (int64_t quad = 0; quad < kQGemmBlock; quad += 4) {
      __m128i sum = _mm_setzero_si128();
      for (int64_t i = 0; i < k; i += 16) {
        __m128i r[4];
        for (int64_t t = 0; t < 4; ++t) {
          const uint8_t* from = b + (j + quad + t) * stride + i;
          if (j + quad + t >= n) {
            r[t] = _mm_setzero_si128();
          } else if (i + 16 <= k) {
            r[t] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)), flips);
          } else {
            alignas(16) uint8_t end[16] = {};
            for (int64_t c = 0; c < k - i; ++c) end[c] = from[c] ^ mask;
            r[t] = _mm_load_si128(reinterpret_cast<const __m128i*>(end));
          }
        }
        const __m128i ab = _mm_unpacklo_epi32(r[0], r[1]), cd = _mm_unpacklo_epi32(r[2], r[3]),
                      ef = _mm_unpackhi_epi32(r[0], r[1]), gh = _mm_unpackhi_epi32(r[2], r[3]);
        const __m128i out[4] = {_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd),
                                _mm_unpacklo_epi64(ef, gh), _mm_unpackhi_epi64(ef, gh)};
        for (int64_t t = 0; t < 4 && i / 4 + t < steps; ++t) {
          _mm_store_si128(reinterpret_cast<__m128i*>(packed + (i / 4 + t) * 64 + quad * 4), out[t]);
          sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_maddubs_epi16(ones, out[t]), pairs));
        }
      }
      _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + j + quad), sum);
    }
#else
    for (int64_t c = 0; c < kQGemmBlock; ++c) {
      sums[j + c] = 0;
      for (int64_t i = 0; i < 4 * steps; ++i) {
        const bool real = j + c < n && i < k;
        const int8_t code = real ? static_cast<int8_t>(b[(j + c) * stride + i] ^ mask) : int8_t{0};
        packed[i / 4 * 64 + c * 4 + i % 4] = code;
        sums[j + c] += code;
      }
    }
#endif
  }
}

#endif

template <typename X>
void RowSums(const void* vx, int64_t stride, int64_t rows, int64_t k, int32_t* sums) {
  for (int64_t m = 0; m < rows; ++m) {
    const X* x = static_cast<const X*>(vx) + m * stride;
    int32_t sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += x[i];
    sums[m] = sum;
  }
}
