// Elementwise functions, reductions and operators on indices. Places (SourceWriter::Instance): @N
// the name, @X, @Z types of inputs, @Y of the output, @S of sums, @E an expression; others are
// said.

#include "engine/backends/csource/kernels.h"

namespace slipway::backends::csource {
namespace {

constexpr Piece kPieces[] = {
    {"map1", "", R"(
static void sw_@N(int32_t count, const @X* px, @Y* py) {
  int32_t i;
  for (i = 0; i < count; ++i) {
    const @X x = px[i];
    py[i] = (@Y)(@E);
  }
}
)"},
    {"map2", "nd", R"(
static void sw_@N(const sw_nd* n, const @X* pa, const @Z* pb, @Y* py) {
  int32_t index[8] = {0, 0, 0, 0, 0, 0, 0, 0}, ia = 0, ib = 0, i;
  for (i = 0; i < n->count; ++i) {
    const @X a = pa[ia];
    const @Z b = pb[ib];
    py[i] = (@Y)(@E);
    sw_next(n, index, &ia, &ib);
  }
}
)"},
    {"clip", "", R"(
static void sw_@N(int32_t count, const @X* x, const @X* lo, const @X* hi, @X* y) {
  int32_t i;
  for (i = 0; i < count; ++i) {
    @X v = x[i];
    if (lo && v < *lo) v = *lo;
    if (hi && v > *hi) v = *hi;
    y[i] = v;
  }
}
)"},
    // n: offsets of the condition and a; m: of b.
    {"where", "nd", R"(
static void sw_where(const sw_nd* n, const sw_nd* m, int32_t size, const uint8_t* c, const void* a, const void* b, void* y) {
  int32_t index[8] = {0, 0, 0, 0, 0, 0, 0, 0}, other[8] = {0, 0, 0, 0, 0, 0, 0, 0}, ic = 0, ia = 0, ib = 0, none = 0, i;
  for (i = 0; i < n->count; ++i) {
    const char* from = c[ic] ? (const char*)a + (size_t)ia * (size_t)size : (const char*)b + (size_t)ib * (size_t)size;
    memcpy((char*)y + (size_t)i * (size_t)size, from, (size_t)size);
    sw_next(n, index, &ic, &ia);
    sw_next(m, other, &ib, &none);
  }
}
)"},
    {"power", "", R"(
/* Integers: modulo 2^64; a negative exponent gives the truncated reciprocal. */
static uint64_t sw_power(int64_t base, uint64_t exponent, int negative) {
  uint64_t result = 1, factor = (uint64_t)base;
  if (negative) return base == 1 ? 1u : base == -1 ? ((exponent & 1) ? (uint64_t)-1 : 1u) : 0u;
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result *= factor;
    factor *= factor;
  }
  return result;
}
)"},
    {"cut", "", R"(
/* A float as an integer: cut towards zero, at the ends of int64. */
static int64_t sw_cut(double x) {
  if (!(x == x)) return 0;
  if (x >= 9223372036854775808.0) return INT64_MAX;
  if (x < -9223372036854775808.0) return INT64_MIN;
  return (int64_t)x;
}
)"},
    {"cutu", "cut", R"(
static uint64_t sw_cutu(double x) {
  if (x >= 18446744073709551616.0) return UINT64_MAX;
  return x >= 9223372036854775808.0 ? (uint64_t)x : (uint64_t)sw_cut(x);
}
)"},
    {"half", "", R"(
static double sw_half(uint16_t h) {
  const int32_t e = (h >> 10) & 31, m = h & 1023;
  const double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024.0 + m, e - 25) : ldexp(m, -24);
  return h & 0x8000 ? -v : v;
}
)"},
    {"tohalf", "", R"(
/* Rounded to nearest even. */
static uint16_t sw_tohalf(double x) {
  const uint16_t sign = signbit(x) ? 0x8000 : 0;
  int e;
  double m;
  if (!(x == x)) return (uint16_t)(sign | 0x7e00);
  x = fabs(x);
  if (x >= 65520.0) return (uint16_t)(sign | 0x7c00);
  if (x < 6.103515625e-05) return (uint16_t)(sign | (uint16_t)rint(x * 16777216.0));
  m = frexp(x, &e); /* x = m * 2^e, m in [0.5, 1) */
  return (uint16_t)(sign + (uint16_t)(((e + 14) << 10) + (int32_t)rint((m - 0.5) * 2048.0)));
}
)"},
    {"bfloat", "", R"(
static float sw_bfloat(uint16_t h) {
  const uint32_t bits = (uint32_t)h << 16;
  float v;
  memcpy(&v, &bits, 4);
  return v;
}
)"},
    {"tobfloat", "", R"(
/* From a double: first to odd, so that it is rounded once. */
static uint16_t sw_tobfloat(double x) {
  float v = (float)x;
  uint32_t bits;
  memcpy(&bits, &v, 4);
  if (!(x == x)) return (uint16_t)((bits >> 16) | 0x40);
  if ((double)v != x && x - x == 0.0 && !(bits & 1)) {
    bits += fabs((double)v) < fabs(x) ? 1u : (uint32_t)-1; /* the odd neighbour on x's side */
  }
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
)"},
    // n: elements of y and where each begins in x (b); r: the elements of x that become one (b).
    // @I: where acc begins, @A: how v enters it.
    {"reduce", "nd", R"(
static void sw_@N(const sw_nd* n, const sw_nd* r, const @X* x, @Y* y) {
  int32_t index[8] = {0, 0, 0, 0, 0, 0, 0, 0}, to = 0, from = 0, i;
  for (i = 0; i < n->count; ++i) {
    int32_t inner[8] = {0, 0, 0, 0, 0, 0, 0, 0}, none = 0, at = from, k;
    @S acc = @I;
    for (k = 0; k < r->count; ++k) {
      const @S v = (@S)x[at];
      @A;
      sw_next(r, inner, &none, &at);
    }
    y[i] = (@Y)(@E);
    sw_next(n, index, &to, &from);
  }
}
)"},
    // @E: whether v is better than best.
    {"argbest", "", R"(
static void sw_@N(int32_t outer, int32_t count, int32_t inner, const @X* x, int64_t* y) {
  int32_t o, i, k;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < inner; ++i) {
      const @X* from = x + o * count * inner + i;
      @X best = from[0];
      int32_t where = 0;
      for (k = 1; k < count; ++k) {
        const @X v = from[k * inner];
        if (@E) {
          best = v;
          where = k;
        }
      }
      y[o * inner + i] = where;
    }
  }
}
)"},
    {"cumulate", "", R"(
static void sw_@N(int32_t outer, int32_t count, int32_t inner, int32_t exclusive, int32_t reverse, const @X* x, @X* y) {
  int32_t o, i, k;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < inner; ++i) {
      @S total = @I;
      for (k = 0; k < count; ++k) {
        const int32_t at = (o * count + (reverse ? count - 1 - k : k)) * inner + i;
        const @S v = (@S)x[at];
        if (!exclusive) total = total @E v;
        y[at] = (@X)total;
        if (exclusive) total = total @E v;
      }
    }
  }
}
)"},
    {"index", "", R"(
/* An index of n elements; negative ones count from the end, others outside become the nearest. */
static int32_t sw_index(int64_t i, int32_t n) {
  if (i < 0) i += n;
  return i < 0 ? 0 : i >= n ? n - 1 : (int32_t)i;
}
)"},
    // Elements of `size` bytes; @X: type of the indices.
    {"gather", "index", R"(
static void sw_@N(int32_t outer, int32_t n, int32_t count, int32_t size, const void* x, const @X* indices, void* y) {
  int32_t o, i;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < count; ++i) {
      const int32_t from = o * n + sw_index((int64_t)indices[i], n);
      memcpy((char*)y + (size_t)(o * count + i) * (size_t)size, (const char*)x + (size_t)from * (size_t)size, (size_t)size);
    }
  }
}
)"},
    // n: over the indices; b: the element of x (or of y) were the axis' index 0. @A: to do at `at`.
    {"elements", "index nd", R"(
static void sw_@N(const sw_nd* n, int32_t extent, int32_t stride, const @X* indices, const @Z* x, @Z* y) {
  int32_t index[8] = {0, 0, 0, 0, 0, 0, 0, 0}, none = 0, base = 0, i;
  for (i = 0; i < n->count; ++i) {
    const int32_t at = base + sw_index((int64_t)indices[i], extent) * stride;
    @A;
    sw_next(n, index, &none, &base);
  }
}
)"},
    // Tuples of `depth` indices into x's dims, in `batches`; each names `inner` elements. @A: as
    // above, of k.
    {"tuples", "index", R"(
static void sw_@N(int32_t batches, int32_t tuples, int32_t depth, const int32_t* dims, int32_t slab, int32_t inner, const @X* indices, const @Z* x, @Z* y) {
  int32_t t, d, k;
  for (t = 0; t < batches * tuples; ++t) {
    int32_t at = 0;
    for (d = 0; d < depth; ++d) at = at * dims[d] + sw_index((int64_t)indices[t * depth + d], dims[d]);
    at = at * inner + t / tuples * slab;
    for (k = 0; k < inner; ++k) {
      @A;
    }
  }
}
)"},
    {"onehot", "", R"(
static void sw_@N(int32_t count, int32_t depth, int32_t inner, const @X* indices, const @Z* values, @Z* y) {
  int32_t i, k;
  for (i = 0; i < count; ++i) {
    const double raw = (double)indices[i];
    int32_t hot = raw >= -(double)depth && raw < (double)depth ? (int32_t)raw : depth;
    if (hot < 0) hot += depth;
    for (k = 0; k < depth; ++k) y[(i / inner * depth + k) * inner + i % inner] = values[k == hot];
  }
}
)"},
    // Insertion into the sorted k best; equal ones by index. @E: whether v comes before w.
    {"topk", "", R"(
static void sw_@N(int32_t outer, int32_t count, int32_t inner, int32_t most, const @X* x, @X* values, int64_t* indices) {
  int32_t o, i, k, p;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < inner; ++i) {
      const @X* from = x + o * count * inner + i;
      @X* to = values + o * most * inner + i;
      int64_t* at = indices + o * most * inner + i;
      for (k = 0; k < count; ++k) {
        const @X v = from[k * inner];
        for (p = k < most ? k : most; p > 0; --p) {
          const @X w = to[(p - 1) * inner];
          if (!(@E)) break;
          if (p < most) {
            to[p * inner] = w;
            at[p * inner] = at[(p - 1) * inner];
          }
        }
        if (p < most) {
          to[p * inner] = v;
          at[p * inner] = k;
        }
      }
    }
  }
}
)"},
    // Rows of a lower or upper triangle; elements of `size` bytes.
    {"trilu", "", R"(
static void sw_trilu(int32_t rows, int32_t height, int32_t width, int32_t size, int32_t upper, int64_t k, const void* x, void* y) {
  int32_t r, j;
  for (r = 0; r < rows; ++r) {
    for (j = 0; j < width; ++j) {
      const size_t at = (size_t)(r * width + j) * (size_t)size;
      if (upper ? j - r % height >= k : j - r % height <= k) {
        memcpy((char*)y + at, (const char*)x + at, (size_t)size);
      } else {
        memset((char*)y + at, 0, (size_t)size);
      }
    }
  }
}
)"},
};

}  // namespace

std::span<const Piece> ElementPieces() { return kPieces; }

}  // namespace slipway::backends::csource
