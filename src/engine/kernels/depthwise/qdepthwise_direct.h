// The way of small windows with AVX-512 VNNI, without a buffer. Included by qdepthwise_impl.h (no
// include guard, no includes).

// A window of three columns and three rows at most: weights and interleaved columns stay in
// registers, as storing the columns would take longer than anything else. For full blocks without
// a residual; kActivate: codes of an activation, or floats.
template <int kPieces, int kStride, bool kActivate>
void RunDirect(const QDepthwiseView& d, const QDepthwiseCall& call, const Unit& u) {
  Strip<kPieces> strip;
  const int64_t outputs = u.column_end - u.column;
  Prepare(d, u, (outputs - 1) * kStride + 3, strip);
  const QDepthwiseParams& p = d.params;
  const uint8_t* packed = d.packed + u.block->packed;
  I w[12], x[3][4], flip = _mm512_set1_epi8(static_cast<char>(strip.flip));
#pragma GCC unroll 12
  for (int k = 0; k < 12; ++k) {
    w[k] = Load<I>(packed + k * kBytes);
    asm("" : "+v"(w[k]));  // GCC would load them again for every output
  }
  const uint8_t* bias = packed + 12 * kBytes;
  const uint8_t* multipliers = packed + 16 * kBytes;
  const bool floats = kActivate && p.y == CodeType::kF32;
  const int64_t size = floats ? 4 : 1;
  const Activate activate(p);
  const uint8_t* at[3][kPieces];
  int64_t step[3][kPieces];
  const auto column = [&](int64_t c, I(&to)[4]) __attribute__((always_inline)) {
    if (c < strip.inside || c >= strip.inside_end) {
      to[0] = to[1] = to[2] = to[3] = _mm512_set1_epi8(static_cast<char>(p.x_zero)) ^ flip;
      return;
    }
    const I a = Gather<kPieces>(at[0], step[0]) ^ flip, b = Gather<kPieces>(at[1], step[1]) ^ flip,
            e = Gather<kPieces>(at[2], step[2]) ^ flip;
    const I low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b),
            low2 = _mm512_unpacklo_epi8(e, e), high2 = _mm512_unpackhi_epi8(e, e);
    to[0] = _mm512_unpacklo_epi16(low, low2);
    to[1] = _mm512_unpackhi_epi16(low, low2);
    to[2] = _mm512_unpacklo_epi16(high, high2);
    to[3] = _mm512_unpackhi_epi16(high, high2);
  };
  uint8_t* y[kPieces];
  for (int64_t band = u.band; band < u.band_end; ++band) {
    Place(d, call, u, band, strip);
    for (int piece = 0; piece < kPieces; ++piece) {
      for (int t = 0; t < 3; ++t) {
        step[t][piece] = strip.rows[0].step[t][piece];
        at[t][piece] = strip.rows[0].at[t][piece] + (strip.left + strip.inside) * step[t][piece];
      }
      const int64_t row = band + piece * u.bands;
      y[piece] = static_cast<uint8_t*>(call.y) +
                 (u.block->channel +
                  ((u.image * d.shape.out_h + row) * d.shape.out_w + u.column) * d.shape.channels) *
                     size;
      // Where there is no such row its values go before those of the first piece, stored last.
      if (row >= d.shape.out_h) y[piece] = y[0];
    }
    column(0, x[0]);
    if (kStride == 1) column(1, x[1]);
    for (int64_t o = 0; o < outputs; ++o) {
      if (kStride == 2) column(o * 2 + 1, x[1]);
      column(o * kStride + 2, x[2]);
      I acc[4];
      F value[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        acc[j] = Load<I>(bias + j * kBytes);
#pragma GCC unroll 3
        for (int k = 0; k < 3; ++k) acc[j] = Dot(acc[j], x[k][j], w[k * 4 + j]);
        value[j] = _mm512_mul_ps(ToFloat(acc[j]), Load<F>(multipliers + j * kBytes));
        if (kActivate) value[j] = activate.Of(value[j]);
        acc[j] = ToInt(value[j]);
        if (kStride == 1) {
          x[0][j] = x[1][j];
          x[1][j] = x[2][j];
        } else {
          x[0][j] = x[2][j];
        }
      }
      const int64_t to = o * d.shape.channels * size;
      if (floats) {
        F lanes[4];
        ToLanes(value[0], value[1], value[2], value[3], lanes);
#pragma GCC unroll 4
        for (int l = 3; l >= 0; --l) {
          if constexpr (kPieces == 8) {
            Store(y[2 * l + 1] + to, _mm512_extractf32x8_ps(lanes[l], 1));
            Store(y[2 * l] + to, _mm512_castps512_ps256(lanes[l]));
          } else {
            uint8_t* const piece = y[l / (4 / kPieces)];
            Store(piece + to + l % (4 / kPieces) * kBytes, lanes[l]);
          }
        }
        continue;
      }
      I first = _mm512_packs_epi32(acc[0], acc[1]), second = _mm512_packs_epi32(acc[2], acc[3]);
      if (!d.plain) {
        const I zero = _mm512_set1_epi16(static_cast<short>(p.to.zero_point)),
                lo = _mm512_set1_epi16(static_cast<short>(p.to.lo)),
                hi = _mm512_set1_epi16(static_cast<short>(p.to.hi));
        first = _mm512_min_epi16(_mm512_max_epi16(_mm512_adds_epi16(first, zero), lo), hi);
        second = _mm512_min_epi16(_mm512_max_epi16(_mm512_adds_epi16(second, zero), lo), hi);
      }
      const I codes = p.y == CodeType::kU8 ? _mm512_packus_epi16(first, second)
                                           : _mm512_packs_epi16(first, second);
      if constexpr (kPieces == 1) {
        Store(y[0] + to, codes);
      } else if constexpr (kPieces == 2) {
        Store(y[1] + to, _mm512_extracti64x4_epi64(codes, 1));
        Store(y[0] + to, _mm512_castsi512_si256(codes));
      } else {
        const __m128i lane[4] = {_mm512_castsi512_si128(codes), _mm512_extracti32x4_epi32(codes, 1),
                                 _mm512_extracti32x4_epi32(codes, 2),
                                 _mm512_extracti32x4_epi32(codes, 3)};
#pragma GCC unroll 4
        for (int l = 3; l >= 0; --l) {
          if constexpr (kPieces == 4) {
            Store(y[l] + to, lane[l]);
          } else {
            _mm_storeh_pd(reinterpret_cast<double*>(y[2 * l + 1] + to), _mm_castsi128_pd(lane[l]));
            _mm_storel_epi64(reinterpret_cast<__m128i*>(y[2 * l] + to), lane[l]);
          }
        }
      }
    }
  }
}

template <int kPieces>
void RunDirect(const QDepthwiseView& d, const QDepthwiseCall& call, const Unit& u) {
  const bool activate = d.params.activation || d.params.y == CodeType::kF32;
  const auto run = d.shape.stride_w == 1
                       ? activate ? RunDirect<kPieces, 1, true> : RunDirect<kPieces, 1, false>
                   : activate ? RunDirect<kPieces, 2, true>
                              : RunDirect<kPieces, 2, false>;
  run(d, call, u);
}
