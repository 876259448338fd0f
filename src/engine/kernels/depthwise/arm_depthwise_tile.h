// The depthwise convolution of 3 x 3 taps one column after the other, part of the namespace of
// depthwise_impl.h: a column of the image is multiplied by all taps for the four rows of outputs
// and the three columns of them that it reaches. So an image's number is loaded for 6 products, and
// the border needs nothing of its own: columns outside do not come, rows outside are a vector of
// zeros. In assembly, since its order decides on cores that do not reorder; bench/arm measures it
// by llvm-mca.

constexpr int kStripRows = 4;  // of outputs

// What the assembly reads and writes, at these places.
struct Strip {
  const float* x[kStripRows + 2];  // rows of the image, at the first column
  float* y[kStripRows];            // rows of outputs, where the first column completes one
  int64_t first, others, last;  // bytes from a column to the next: of x[0], of all others, of x[5]
  int64_t turns;                // of three columns each, at least one
  float low[4], high[4], bias[4][4];
  // Of the outputs that the first column completes, and of those behind them.
  float sums[2][kStripRows][4];
};
static_assert(offsetof(Strip, y) == 48 && offsetof(Strip, first) == 80 &&
              offsetof(Strip, low) == 112 && offsetof(Strip, bias) == 144 &&
              offsetof(Strip, sums) == 208);

// The same with stride 2: nine rows of the image, of which each output takes two columns.
struct StripOfTwo {
  const float* x[kStripRows * 2 + 1];  // at the second column of the first output's window
  float* y[kStripRows];
  int64_t first, others, last;  // bytes from a column to the next: of x[0], of all others, of x[8]
  int64_t pixel;                // bytes from an output to the next
  int64_t turns;                // of two outputs each, at least one
  float low[4], high[4], bias[4][4];
  float sums[kStripRows][4];  // of the first outputs, by the first column of their windows
};
static_assert(offsetof(StripOfTwo, y) == 72 && offsetof(StripOfTwo, first) == 104 &&
              offsetof(StripOfTwo, turns) == 136 && offsetof(StripOfTwo, low) == 144 &&
              offsetof(StripOfTwo, bias) == 176 && offsetof(StripOfTwo, sums) == 240);

// It would indent each of the lists below a hundred columns deep:
// clang-format off

// Taps lie in v0 to v8, sums in v9 to v20, the column in v21 to v26, the limits in v30 and v31.
#define D_SUMS0 9, 10, 11, 12
#define D_SUMS1 13, 14, 15, 16
#define D_SUMS2 17, 18, 19, 20
#define D_ONE(S, X, TAP) "fmla v" #S ".4s, v" #X ".4s, v" #TAP ".4s\n"
#define D_FOUR(...) D_FOUR_(__VA_ARGS__)
#define D_FOUR_(S, T, U, V, X, Y, Z, W, TAP) D_ONE(S, X, TAP) D_ONE(T, Y, TAP) D_ONE(U, Z, TAP) D_ONE(V, W, TAP)
#define D_EACH(...) D_EACH_(__VA_ARGS__)
#define D_EACH_(F, S, T, U, V) F(S, 0) F(T, 1) F(U, 2) F(V, 3)
#define D_LOW(S, I) "fmax v" #S ".4s, v" #S ".4s, v30.4s\n"
#define D_HIGH(S, I) "fmin v" #S ".4s, v" #S ".4s, v31.4s\n"
#define D_X(R, X, AT) "ldr q" #R ", [" #X ", " #AT "]\n"
#define D_ADD(X, Y) "add " #X ", " #X ", " #Y "\n"
// x0 to x5: rows of the image, x6 to x9: rows of outputs, x20 to x22: steps, x23: turns.
#define D_BEGIN                                                                                    \
  "ldp x0, x1, [%[t]]\nldp x2, x3, [%[t], #16]\nldp x4, x5, [%[t], #32]\n"                         \
  "ldp x6, x7, [%[t], #48]\nldp x8, x9, [%[t], #64]\n"                                             \
  "ldp x20, x21, [%[t], #80]\nldp x22, x23, [%[t], #96]\nadd x24, %[t], #144\n"                    \
  "ldp q30, q31, [%[t], #112]\nldp q13, q14, [%[t], #208]\nldp q15, q16, [%[t], #240]\n"           \
  "ldp q17, q18, [%[t], #272]\nldp q19, q20, [%[t], #304]\nldp q0, q1, [%[w]]\n"                   \
  "ldp q2, q3, [%[w], #32]\nldp q4, q5, [%[w], #64]\nldp q6, q7, [%[w], #96]\n"                    \
  "ldr q8, [%[w], #128]\n"
#define D_END                                                                                      \
  "stp q13, q14, [%[t], #208]\nstp q15, q16, [%[t], #240]\n"                                       \
  "stp q17, q18, [%[t], #272]\nstp q19, q20, [%[t], #304]\n"                                       \
  : : [t] "r"(t), [w] "r"(taps)                                                                    \
  : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",        \
    "x14", "x15", "x16", "x17", "x19", "x20", "x21", "x22", "x23", "x24", "v0", "v1", "v2", "v3",  \
    "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17",    \
    "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v30", "v31", "cc", "memory"

// For the Cortex-A53, where an instruction completes no sooner than those before it: nothing stands
// among the products, of which one waits 10 cycles and each sum twelve. Columns are at x10 to x12
// (first row), x13 to x15 and x16, x17, x19 (last row).
#define D_COLUMN(DONE, NEXT, NEW)                                                                  \
  D_FOUR(DONE, 21, 22, 23, 24, 2) D_FOUR(NEXT, 21, 22, 23, 24, 1) D_FOUR(NEW, 21, 22, 23, 24, 0)   \
  D_FOUR(DONE, 22, 23, 24, 25, 5) D_FOUR(NEXT, 22, 23, 24, 25, 4) D_FOUR(NEW, 22, 23, 24, 25, 3)   \
  D_FOUR(DONE, 23, 24, 25, 26, 8) D_FOUR(NEXT, 23, 24, 25, 26, 7) D_FOUR(NEW, 23, 24, 25, 26, 6)
#define D_LOAD_FIRST(FIRST, AT) D_X(21, x0, FIRST) D_X(22, x1, AT)
#define D_LOAD_REST(AT, LAST) D_X(23, x2, AT) D_X(24, x3, AT) D_X(25, x4, AT) D_X(26, x5, LAST)
#define D_STORE(...) D_STORE_(__VA_ARGS__)
#define D_STORE_(S, T, U, V, AT)                                                                   \
  "str q" #S ", [x6, " #AT "]\nstr q" #T ", [x7, " #AT "]\n"                                       \
  "str q" #U ", [x8, " #AT "]\nstr q" #V ", [x9, " #AT "]\n"
#define D_BIAS(...) D_BIAS_(__VA_ARGS__)
#define D_BIAS_(S, T, U, V) "ld1 {v" #S ".4s-v" #V ".4s}, [x24]\n"
#define D_THREE(A, B, C, STEP)                                                                     \
  "mov " #A ", #0\nmov " #B ", " #STEP "\nadd " #C ", " #STEP ", " #STEP "\n"                      \
  "add " #STEP ", " #STEP ", " #C "\n"
__attribute__((noinline)) void ColumnsTogether(Strip* t, const float* taps) {
  asm volatile(
      D_BEGIN D_THREE(x10, x11, x12, x20) D_THREE(x13, x14, x15, x21) D_THREE(x16, x17, x19, x22)
      ".p2align 4\n1:\n"
      D_LOAD_FIRST(x10, x13) D_LOAD_REST(x13, x16) D_BIAS(D_SUMS0)
      D_COLUMN(D_SUMS1, D_SUMS2, D_SUMS0)
      D_EACH(D_LOW, D_SUMS1) D_LOAD_FIRST(x11, x14) D_EACH(D_HIGH, D_SUMS1) D_LOAD_REST(x14, x17)
      D_STORE(D_SUMS1, x13) D_BIAS(D_SUMS1)
      D_COLUMN(D_SUMS2, D_SUMS0, D_SUMS1)
      D_EACH(D_LOW, D_SUMS2) D_LOAD_FIRST(x12, x15) D_EACH(D_HIGH, D_SUMS2) D_LOAD_REST(x15, x19)
      D_STORE(D_SUMS2, x14) D_BIAS(D_SUMS2)
      D_COLUMN(D_SUMS0, D_SUMS1, D_SUMS2)
      D_EACH(D_LOW, D_SUMS0) D_EACH(D_HIGH, D_SUMS0) D_STORE(D_SUMS0, x15)
      "subs x23, x23, #1\n"
      D_ADD(x10, x20) D_ADD(x11, x20) D_ADD(x12, x20) D_ADD(x13, x21) D_ADD(x14, x21)
      D_ADD(x15, x21) D_ADD(x16, x22) D_ADD(x17, x22) D_ADD(x19, x22)
      "b.ne 1b\n"
      D_END);
}

// For cores of ARMv8.2, which start two instructions a cycle: each of the others beside a product.
// The column is at x10 (first row), x13 and x16 (last row).
#define D_FIRST_SUMS(...) D_FIRST_SUMS_(__VA_ARGS__)
#define D_FIRST_SUMS_(D, E, F, G, M, N, O, P, Q, R, S, T, FIRST)                                   \
  D_ONE(D, 21, 2) D_ONE(E, 22, 2) D_X(25, x4, x13) D_ONE(F, 23, 2) D_ONE(G, 24, 2)                 \
  D_X(26, x5, x16) D_ONE(M, 21, 1) D_ONE(N, 22, 1) D_ONE(O, 23, 1) "ldr q" #Q ", [x24]\n"          \
  D_ONE(P, 24, 1) D_ONE(D, 22, 5) D_ONE(E, 23, 5) "ldr q" #R ", [x24]\n" D_ONE(F, 24, 5)           \
  D_ONE(G, 25, 5) D_ONE(M, 22, 4) "ldr q" #S ", [x24]\n" D_ONE(N, 23, 4) D_ONE(O, 24, 4)           \
  D_ONE(P, 25, 4) "ldr q" #T ", [x24]\n" D_ONE(D, 23, 8) D_ONE(E, 24, 8) D_ADD(x16, x22)           \
  D_ONE(F, 25, 8) D_ONE(G, 26, 8) D_ADD(x13, x21) D_ONE(M, 23, 7) D_ONE(N, 24, 7) FIRST            \
  D_ONE(O, 25, 7) D_ONE(P, 26, 7)                                                                  \
  D_LOW(D, 0) D_ONE(Q, 21, 0) D_LOW(E, 1) D_ONE(R, 22, 0)                                          \
  D_LOW(F, 2) D_ONE(S, 23, 0) D_LOW(G, 3) D_ONE(T, 24, 0)                                          \
  D_HIGH(D, 0) D_ONE(Q, 22, 3) D_HIGH(E, 1) D_ONE(R, 23, 3)                                        \
  D_HIGH(F, 2) D_ONE(S, 24, 3) D_HIGH(G, 3) D_ONE(T, 25, 3)
// The rest, with the loads for the next column, or without.
#define D_REST_SUMS(...) D_REST_SUMS_(__VA_ARGS__)
#define D_REST_SUMS_(D, E, F, G, Q, R, S, T)                                                       \
  D_X(21, x0, x10) D_ONE(Q, 23, 6) "str q" #D ", [x6, x13]\n" D_X(22, x1, x13) D_ONE(R, 24, 6)     \
  D_X(23, x2, x13) D_ONE(S, 25, 6) "str q" #E ", [x7, x13]\n" D_X(24, x3, x13) D_ONE(T, 26, 6)     \
  "str q" #F ", [x8, x13]\nstr q" #G ", [x9, x13]\n"
#define D_LAST_SUMS(...) D_LAST_SUMS_(__VA_ARGS__)
#define D_LAST_SUMS_(D, E, F, G, Q, R, S, T)                                                       \
  "str q" #D ", [x6, x13]\n" D_ONE(Q, 23, 6) "str q" #E ", [x7, x13]\n" D_ONE(R, 24, 6)            \
  "str q" #F ", [x8, x13]\n" D_ONE(S, 25, 6) "str q" #G ", [x9, x13]\n" D_ONE(T, 26, 6)
__attribute__((noinline)) void ColumnsApart(Strip* t, const float* taps) {
  asm volatile(
      D_BEGIN "mov x10, #0\nmov x13, #0\nmov x16, #0\n"
      // What is stored has x13 at the next column.
      "sub x6, x6, x21\nsub x7, x7, x21\nsub x8, x8, x21\nsub x9, x9, x21\n"
      ".p2align 4\n1:\n"
      D_X(21, x0, x10) D_ADD(x10, x20) D_X(22, x1, x13) D_X(23, x2, x13) D_X(24, x3, x13)
      D_FIRST_SUMS(D_SUMS1, D_SUMS2, D_SUMS0, "") D_REST_SUMS(D_SUMS1, D_SUMS0)
      D_FIRST_SUMS(D_SUMS2, D_SUMS0, D_SUMS1, D_ADD(x10, x20)) D_REST_SUMS(D_SUMS2, D_SUMS1)
      D_FIRST_SUMS(D_SUMS0, D_SUMS1, D_SUMS2, D_ADD(x10, x20))
      "subs x23, x23, #1\n" D_LAST_SUMS(D_SUMS0, D_SUMS2)
      "b.ne 1b\n"
      D_END);
}

// Stride 2. Sums lie in v9 to v16. x0 to x8: rows of the image, x9 to x12: of outputs; the column is
// at x13 (first row), x14, x15 (last row). The second column of a window lies in v17 to v25; of the
// third rows 2, 4, 6 and 8 in v26 to v29 and the others where those of the second were.
#define D_FORWARD D_ADD(x13, x16) D_ADD(x14, x17) D_ADD(x15, x19)
#define D_STORE_HALF(...) D_STORE_HALF_(__VA_ARGS__)
#define D_STORE_HALF_(S, T, U, V)                                                                  \
  "str q" #S ", [x9, x20]\nstr q" #T ", [x10, x20]\n"                                              \
  "str q" #U ", [x11, x20]\nstr q" #V ", [x12, x20]\n"
#define D_HALF_BIAS(...) D_HALF_BIAS_(__VA_ARGS__)
#define D_HALF_BIAS_(S, T, U, V) "ld1 {v" #S ".4s-v" #V ".4s}, [x23]\n"
// Loads stand where sums wait for the products before.
#define D_OUTPUT(DONE, NEW)                                                                        \
  D_X(17, x0, x13) D_X(18, x1, x14) D_X(19, x2, x14) D_X(20, x3, x14) D_X(21, x4, x14)             \
  D_X(22, x5, x14) D_X(23, x6, x14) D_X(24, x7, x14) D_X(25, x8, x15) D_FORWARD D_HALF_BIAS(NEW)   \
  D_FOUR(DONE, 17, 19, 21, 23, 1)                                                                  \
  D_X(17, x0, x13) D_X(26, x2, x14) D_X(27, x4, x14) D_X(28, x6, x14) D_X(29, x8, x15)             \
  D_FOUR(DONE, 18, 20, 22, 24, 4)                                                                  \
  D_X(18, x1, x14) D_X(20, x3, x14) D_X(22, x5, x14) D_X(24, x7, x14)                              \
  D_FOUR(DONE, 19, 21, 23, 25, 7)                                                                  \
  D_FOUR(NEW, 17, 26, 27, 28, 0) D_FOUR(DONE, 17, 26, 27, 28, 2)                                   \
  D_FOUR(NEW, 18, 20, 22, 24, 3) D_FOUR(DONE, 18, 20, 22, 24, 5)                                   \
  D_FOUR(NEW, 26, 27, 28, 29, 6) D_FOUR(DONE, 26, 27, 28, 29, 8)                                   \
  D_EACH(D_LOW, DONE) D_EACH(D_HIGH, DONE) D_STORE_HALF(DONE) D_FORWARD D_ADD(x20, x21)
#define D_TWO_BEGIN                                                                                \
  "ldp x0, x1, [%[t]]\nldp x2, x3, [%[t], #16]\nldp x4, x5, [%[t], #32]\n"                         \
  "ldp x6, x7, [%[t], #48]\nldp x8, x9, [%[t], #64]\nldp x10, x11, [%[t], #80]\n"                  \
  "ldp x12, x16, [%[t], #96]\nldp x17, x19, [%[t], #112]\nldp x21, x22, [%[t], #128]\n"            \
  "add x23, %[t], #176\nmov x13, #0\nmov x14, #0\nmov x15, #0\nmov x20, #0\n"                      \
  "ldp q30, q31, [%[t], #144]\nldp q9, q10, [%[t], #240]\nldp q11, q12, [%[t], #272]\n"            \
  "ldp q0, q1, [%[w]]\nldp q2, q3, [%[w], #32]\nldp q4, q5, [%[w], #64]\n"                         \
  "ldp q6, q7, [%[w], #96]\nldr q8, [%[w], #128]\n"
#define D_TWO_END                                                                                  \
  "stp q9, q10, [%[t], #240]\nstp q11, q12, [%[t], #272]\n"                                        \
  : : [t] "r"(t), [w] "r"(taps)                                                                    \
  : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",        \
    "x14", "x15", "x16", "x17", "x19", "x20", "x21", "x22", "x23", "v0", "v1", "v2", "v3", "v4",   \
    "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18",   \
    "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31",     \
    "cc", "memory"
__attribute__((noinline)) void TwoTogether(StripOfTwo* t, const float* taps) {
  asm volatile(
      D_TWO_BEGIN ".p2align 4\n1:\n"
      D_OUTPUT(D_SUMS0, D_SUMS1) D_OUTPUT(D_SUMS1, D_SUMS0)
      "subs x22, x22, #1\nb.ne 1b\n"
      D_TWO_END);
}

// For cores of ARMv8.2: each load beside a product.
#define D_APART(...) D_APART_(__VA_ARGS__)
#define D_APART_(D, E, F, G, N, O, P, Q, BEFORE, NEXT0, NEXT2, NEXT4, NEXT6)                       \
  D_ONE(D, 17, 1) D_X(18, x1, x14) D_ONE(E, 19, 1) D_X(20, x3, x14) D_ONE(F, 21, 1)                \
  D_X(22, x5, x14) D_ONE(G, 23, 1) D_X(24, x7, x14) D_X(25, x8, x15) D_FORWARD                     \
  D_ONE(D, 18, 4) D_X(17, x0, x13) D_ONE(E, 20, 4) D_X(26, x2, x14) D_ONE(F, 22, 4)                \
  D_X(27, x4, x14) D_ONE(G, 24, 4) D_X(28, x6, x14)                                                \
  D_ONE(D, 19, 7) D_X(29, x8, x15) D_ONE(E, 21, 7) D_X(18, x1, x14) D_ONE(F, 23, 7)                \
  D_X(20, x3, x14) D_ONE(G, 25, 7) D_X(22, x5, x14) D_X(24, x7, x14) BEFORE D_FORWARD              \
  D_ONE(D, 17, 2) D_X(N, x23, xzr) D_ONE(E, 26, 2) D_X(O, x23, xzr) D_ONE(F, 27, 2)                \
  D_X(P, x23, xzr) D_ONE(G, 28, 2) D_X(Q, x23, xzr)                                                \
  D_ONE(D, 18, 5) D_ONE(N, 17, 0) D_ONE(E, 20, 5) D_ONE(O, 26, 0) D_ONE(F, 22, 5)                  \
  D_ONE(P, 27, 0) D_ONE(G, 24, 5) D_ONE(Q, 28, 0)                                                  \
  D_ONE(D, 26, 8) NEXT0 D_ONE(E, 27, 8) NEXT2 D_ONE(F, 28, 8) NEXT4 D_ONE(G, 29, 8) NEXT6          \
  D_LOW(D, 0) D_ONE(N, 18, 3) D_LOW(E, 1) D_ONE(O, 20, 3) D_LOW(F, 2) D_ONE(P, 22, 3)              \
  D_LOW(G, 3) D_ONE(Q, 24, 3)                                                                      \
  D_HIGH(D, 0) D_ONE(N, 26, 6) D_HIGH(E, 1) D_ONE(O, 27, 6) D_HIGH(F, 2) D_ONE(P, 28, 6)           \
  D_HIGH(G, 3) D_ONE(Q, 29, 6)
__attribute__((noinline)) void TwoApart(StripOfTwo* t, const float* taps) {
  asm volatile(
      D_TWO_BEGIN ".p2align 4\n1:\n"
      D_X(17, x0, x13) D_X(19, x2, x14) D_X(21, x4, x14) D_X(23, x6, x14)
      D_APART(D_SUMS0, D_SUMS1, "", D_X(17, x0, x13), D_X(19, x2, x14), D_X(21, x4, x14),
              D_X(23, x6, x14))
      D_APART(D_SUMS1, D_SUMS0, D_STORE_HALF(D_SUMS0) D_ADD(x20, x21), "", "", "", "")
      "subs x22, x22, #1\n" D_STORE_HALF(D_SUMS1) D_ADD(x20, x21) "b.ne 1b\n"
      D_TWO_END);
}
// clang-format on

#undef D_ADD
#undef D_APART
#undef D_APART_
#undef D_BEGIN
#undef D_BIAS
#undef D_BIAS_
#undef D_COLUMN
#undef D_EACH
#undef D_EACH_
#undef D_END
#undef D_FIRST_SUMS
#undef D_FIRST_SUMS_
#undef D_FORWARD
#undef D_FOUR
#undef D_FOUR_
#undef D_HALF_BIAS
#undef D_HALF_BIAS_
#undef D_HIGH
#undef D_LAST_SUMS
#undef D_LAST_SUMS_
#undef D_LOAD_FIRST
#undef D_LOAD_REST
#undef D_LOW
#undef D_ONE
#undef D_OUTPUT
#undef D_REST_SUMS
#undef D_REST_SUMS_
#undef D_STORE
#undef D_STORE_
#undef D_STORE_HALF
#undef D_STORE_HALF_
#undef D_SUMS0
#undef D_SUMS1
#undef D_SUMS2
#undef D_THREE
#undef D_TWO_BEGIN
#undef D_TWO_END
#undef D_X
