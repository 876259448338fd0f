// Products of 8 pixels with two vectors of output channels, part of the namespace of conv_impl.h.
// In assembly, since their order decides on cores that do not reorder: as gemm/arm_float_tile.h,
// but pixels are read where they lie, each by its own pointer. bench/arm measures both.
//
// Sums lie in v16 to v31 (two vectors a pixel), 4 input channels of each pixel in v0 to v7, their
// weights for the first vector in v8 to v11 and for the second in v12 to v15.

// What is added to the pointers for 4 input channels: to that of the first pixel, to that of the
// last, to the others.
struct Offsets {
  int64_t others, first, last;
};

// It would indent each of the lists below a hundred columns deep:
// clang-format off

#define C_ONE(S, W, X, LANE) "fmla v" #S ".4s, v" #W ".4s, v" #X ".s[" #LANE "]\n"
#define C_EIGHT(A, B, C, D, E, F, G, H, W, LANE)                                              \
  C_ONE(A, W, 0, LANE) C_ONE(B, W, 1, LANE) C_ONE(C, W, 2, LANE) C_ONE(D, W, 3, LANE)         \
  C_ONE(E, W, 4, LANE) C_ONE(F, W, 5, LANE) C_ONE(G, W, 6, LANE) C_ONE(H, W, 7, LANE)
#define C_FIRST(W, LANE) C_EIGHT(16, 18, 20, 22, 24, 26, 28, 30, W, LANE)
#define C_SECOND(W, LANE) C_EIGHT(17, 19, 21, 23, 25, 27, 29, 31, W, LANE)
#define C_SUMS(OP)                                                                            \
  #OP " q16, q17, [%[sums]]\n" #OP " q18, q19, [%[sums], #32]\n"                              \
  #OP " q20, q21, [%[sums], #64]\n" #OP " q22, q23, [%[sums], #96]\n"                         \
  #OP " q24, q25, [%[sums], #128]\n" #OP " q26, q27, [%[sums], #160]\n"                       \
  #OP " q28, q29, [%[sums], #192]\n" #OP " q30, q31, [%[sums], #224]\n"
#define C_POINTERS                                                                            \
  "ldp x4, x5, [%[x]]\nldp x6, x7, [%[x], #16]\nldp x8, x9, [%[x], #32]\n"                    \
  "ldp x10, x11, [%[x], #48]\n"
#define C_LOADS                                                                               \
  "ldr q0, [x4, x13]\nldr q1, [x5, x12]\nldr q2, [x6, x12]\nldr q3, [x7, x12]\n"              \
  "ldr q4, [x8, x12]\nldr q5, [x9, x12]\nldr q6, [x10, x12]\nldr q7, [x11, x14]\n"
#define C_NEXT "ldp x12, x13, [%[at]]\nldr x14, [%[at], #16]\nadd %[at], %[at], #24\n"
#define C_OPERANDS                                                                            \
  : [at] "+r"(at), [n] "+r"(groups), [a] "+r"(a), [b] "+r"(b)                                 \
  : [x] "r"(x), [sums] "r"(sums)                                                              \
  : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "v0", "v1", "v2",  \
    "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",       \
    "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27",       \
    "v28", "v29", "v30", "v31", "cc", "memory"

// Adds `groups` (1 at least) times 4 input channels to sums [8][2][4]: x points to 8 pixels, a and
// b to weights of [channel][4]. Nothing is read beyond that. For the Cortex-A53: loads stand
// together, where the pointers move.
__attribute__((noinline)) void PixelsTogether(const char* const* x, const Offsets* at,
                                              int64_t groups, const float* a, const float* b,
                                              float* sums) {
  asm volatile(
      C_POINTERS C_NEXT C_LOADS "ld1 {v8.4s-v11.4s}, [%[a]], #64\n" C_SUMS(ldp)
      "subs %[n], %[n], #1\nb.eq 2f\n" C_NEXT
      ".p2align 4\n1:\n"
      "ld1 {v12.4s-v15.4s}, [%[b]]\n"
      C_FIRST(8, 0) C_SECOND(12, 0) C_FIRST(9, 1) C_SECOND(13, 1) C_FIRST(10, 2) C_SECOND(14, 2)
      C_FIRST(11, 3) "ld1 {v8.4s-v11.4s}, [%[a]]\n" C_SECOND(15, 3)
      C_LOADS C_NEXT "add %[a], %[a], #64\nadd %[b], %[b], #64\nsubs %[n], %[n], #1\nb.ne 1b\n"
      "2:\n"
      "ld1 {v12.4s-v15.4s}, [%[b]]\n"
      C_FIRST(8, 0) C_SECOND(12, 0) C_FIRST(9, 1) C_SECOND(13, 1) C_FIRST(10, 2) C_SECOND(14, 2)
      C_FIRST(11, 3) C_SECOND(15, 3) C_SUMS(stp)
      C_OPERANDS);
}

// The same for cores of ARMv8.2: each load alone among products.
#define C_BOTH(S, T, W, V, X, LANE, LOAD) C_ONE(S, W, X, LANE) LOAD C_ONE(T, V, X, LANE)
#define C_LANE(LANE, W, V, A, B, P, Q, R, X0, X1, X2, X3, X4, X5, X6, X7)                     \
  C_BOTH(16, 17, W, V, 0, LANE, "") X0 C_BOTH(18, 19, W, V, 1, LANE, "") X1                   \
  C_BOTH(20, 21, W, V, 2, LANE, A) X2 C_BOTH(22, 23, W, V, 3, LANE, P) X3                     \
  C_BOTH(24, 25, W, V, 4, LANE, Q) X4 C_BOTH(26, 27, W, V, 5, LANE, B) X5                     \
  C_BOTH(28, 29, W, V, 6, LANE, R) X6 C_BOTH(30, 31, W, V, 7, LANE, "") X7
#define C_W(R, P, AT) "ldr q" #R ", [%[" #P "], #" #AT "]\n"
#define C_X(R, P, O) "ldr q" #R ", [" #P ", " #O "]\n"
__attribute__((noinline)) void PixelsApart(const char* const* x, const Offsets* at, int64_t groups,
                                           const float* a, const float* b, float* sums) {
  asm volatile(
      C_POINTERS C_NEXT C_LOADS
      "ldp q8, q9, [%[a]]\nldr q10, [%[a], #32]\nldp q12, q13, [%[b]]\nldr q14, [%[b], #32]\n"
      C_SUMS(ldp)
      "subs %[n], %[n], #1\nb.eq 2f\n"
      ".p2align 4\n1:\n"
      C_LANE(0, 8, 12, C_W(11, a, 48), C_W(15, b, 48), "ldr x12, [%[at]]\n",
             "ldr x13, [%[at], #8]\n", "ldr x14, [%[at], #16]\n", "", "", "", "", "", "", "", "")
      C_LANE(1, 9, 13, C_W(8, a, 64), C_W(12, b, 64), "", "", "", "", "", "", "", "", "", "", "")
      C_LANE(2, 10, 14, C_W(9, a, 80), C_W(13, b, 80), "", "", "", "", "", "", "", "", "", "", "")
      C_LANE(3, 11, 15, C_W(10, a, 96), C_W(14, b, 96), "", "", "", C_X(0, x4, x13),
             C_X(1, x5, x12), C_X(2, x6, x12), C_X(3, x7, x12), C_X(4, x8, x12), C_X(5, x9, x12),
             C_X(6, x10, x12), C_X(7, x11, x14))
      "add %[a], %[a], #64\nadd %[b], %[b], #64\nadd %[at], %[at], #24\nsubs %[n], %[n], #1\n"
      "b.ne 1b\n"
      "2:\n"
      C_LANE(0, 8, 12, C_W(11, a, 48), C_W(15, b, 48), "", "", "", "", "", "", "", "", "", "", "")
      C_FIRST(9, 1) C_SECOND(13, 1) C_FIRST(10, 2) C_SECOND(14, 2) C_FIRST(11, 3) C_SECOND(15, 3)
      C_SUMS(stp)
      C_OPERANDS);
}
// clang-format on

#undef C_BOTH
#undef C_EIGHT
#undef C_FIRST
#undef C_LANE
#undef C_LOADS
#undef C_NEXT
#undef C_ONE
#undef C_OPERANDS
#undef C_POINTERS
#undef C_SECOND
#undef C_SUMS
#undef C_W
#undef C_X
